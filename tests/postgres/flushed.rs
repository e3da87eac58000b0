//! Statements that are prepared and described by a Flush, and run by what comes behind it.

use super::reads::Scene;
use crate::support::{APP_DATABASE, APP_USER, PASSWORD};
use crate::wire::Client;

fn client(scene: &Scene) -> Client {
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    Client::login_with(scene.pooler.port(), &startup, PASSWORD)
}

fn scene() -> Scene {
    Scene::new(1, "default_pool_size = 1\nread_your_writes = \"off\"")
}

#[test]
fn what_is_prepared_by_a_flush_runs_where_it_may() {
    let scene = scene();
    let (replica, primary) = (scene.cluster.replicas()[0].port(), scene.primary());
    let mut client = client(&scene);
    let here = |port: u16| format!("2 D[{port}] C[SELECT 1] ZI");
    for name in ["read", "-", "read", "-"] {
        let prepare = format!("P {name} SELECT here() / D {name} / H");
        client.talk(&prepare, "1 t T");
        client.talk(&format!("B {name} / E / S"), &here(replica));
        if name != "-" {
            client.talk("C read / S", "3 ZI");
        }
    }
    // Without waiting, without a Describe, twice, without running it, and by another Flush.
    client.talk("P a SELECT here() / D a / H / B a / E / S", &format!("1 t T {}", here(replica)));
    client.talk("P b SELECT here() / H", "1");
    client.talk("C b / P b SELECT here() / H", "3 1");
    client.talk("D b / H", "t T");
    client.talk("S", "ZI");
    client.talk("B a / E / B b / E / S", &format!("2 D[{replica}] C[SELECT 1] {}", here(replica)));
    client.talk("B a / E / H", &format!("2 D[{primary}] C[SELECT 1]"));
    client.talk("B a / E / S", &here(primary));
    // What follows is for the primary: what was prepared is there, too.
    let insert = "INSERT INTO t VALUES (1, 1) RETURNING inet_server_port()";
    for then in
        [format!("P - {insert} / B - / E / S"), format!("Q {}", insert.replace("(1, 1)", "(2, 1)"))]
    {
        client.talk("P - SELECT 1 / D - / H", "1 t T");
        client.say(&then);
        assert!(client.hears_up_to("ZI").contains(&format!("D[{primary}] C[INSERT 0 1]")));
    }
    client.talk("P - SELECT here() / D - / H", "1 t T");
    client.talk("P write INSERT INTO t VALUES (3, 1) / D write / H", "1 t n");
    let both = format!("2 D[{primary}] C[SELECT 1] 2 C[INSERT 0 1] ZI");
    client.talk("B - / E / B write / E / S", &both);
    assert_eq!(client.value("/* pgweir: primary */ SELECT count(*) FROM t"), "3");
}

#[test]
fn what_a_replica_cannot_prepare_is_prepared_by_the_primary() {
    let scene = scene();
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    let mut client = client(&scene);
    // Its owner says it, and the replica can't know it yet.
    let text = "/* pgweir: replica */ SELECT inet_server_port() FROM later";
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    client.talk("Q CREATE TABLE later AS SELECT 1 AS a", "C[SELECT 1] ZI");
    for turn in 0..3 {
        client.talk(&format!("P s{turn} {text} / D s{turn} / H"), "1 t T");
        let primary = scene.primary();
        client.talk(&format!("B s{turn} / E / S"), &format!("2 D[{primary}] C[SELECT 1] ZI"));
    }
    client.talk("P wrong SELECT wibble FROM t / D wrong / H", "E[42703]");
    client.talk("S", "ZI");
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    client.talk("P - SELECT 1 / D - / H", "1 t T");
    client.talk("B - / E / S", "2 D[1] C[SELECT 1] ZI");
}

#[test]
fn names_that_one_server_alone_knows_stay_on_the_primary() {
    let scene = Scene::new(1, "max_prepared_statements = 0\nread_your_writes = \"off\"");
    let primary = scene.primary();
    let mut client = client(&scene);
    client.talk("P a SELECT here() / D a / H", "1 t T");
    client.talk("B a / E / S", &format!("2 D[{primary}] C[SELECT 1] ZI"));
}

/// What is not told yet of what was prepared is told before what follows can fail.
#[test]
fn columns_that_come_in_pieces_are_told_whole() {
    let scene = scene();
    let columns: Vec<_> =
        (0..700).map(|n| format!("{} int", format!("c{n}_").repeat(10))).collect();
    let table = format!("CREATE TABLE wide ({})", columns.join(", "));
    let grant = format!("GRANT SELECT ON wide TO {APP_USER}");
    scene.cluster.primary().sql(APP_DATABASE, &format!("{table}; {grant}")).unwrap();
    scene.cluster.wait_replayed().unwrap();
    let mut client = client(&scene);
    for _ in 0..100 {
        let text = "/* pgweir: replica */ SELECT * FROM wide WHERE 1/(SELECT 0) = 1";
        client.talk(&format!("P - {text} / D - / H / B - / E / S"), "1 t T 2 E[22012] ZI");
    }
}
