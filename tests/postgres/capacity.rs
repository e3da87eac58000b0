//! What pools may open beside what servers take, in the console of a running pooler.

use std::net::TcpListener;

use tokio_postgres::{Client, NoTls};

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer, StopMode, eventually,
    psql_rows,
};

fn cluster() -> Cluster {
    Cluster::builder().settings(&[("max_connections", "20")]).start().unwrap()
}

/// Two users, with the application's database at this port.
fn configuration(port: u16, general: &str, database: &str) -> String {
    format!(
        "listen_port = 0\nadmin_users = \"boss\"\n{general}\n[databases.{APP_DATABASE}]\n\
         host = \"127.0.0.1\"\nport = {port}\n{database}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n[users.boss]\npassword = \"{PASSWORD}\"\n"
    )
}

/// The lines of SHOW CAPACITY, without the host and with the age at 0 where there is one.
#[track_caller]
fn shown(pooler: &Pooler) -> Vec<String> {
    let table = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW CAPACITY");
    let line = |line: &str| {
        let mut fields: Vec<_> = line.split('|').collect();
        assert_eq!(fields[0], "127.0.0.1");
        if fields[11].parse::<u32>().is_ok_and(|age| age < 30) {
            fields[11] = "0";
        }
        fields[1..].join("|")
    };
    table.lines().map(line).collect()
}

#[track_caller]
fn becomes(pooler: &Pooler, wanted: &str) {
    let mut found = Vec::new();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(wanted, LIMIT, || {
            found = shown(pooler);
            found == [wanted]
        });
    }));
    assert!(result.is_ok(), "{found:#?}");
}

async fn connected(server: &PostgresServer) -> Client {
    let url = server.url(APP_USER, PASSWORD, APP_DATABASE);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

#[test]
fn pools_are_shown_beside_what_the_server_takes_with_advice() {
    let cluster = cluster();
    let (server, port) = (cluster.primary(), cluster.primary().port());
    let pooler = Pooler::start(&configuration(port, "default_pool_size = 18", ""));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1");
    let too_many = "pools may open 36, the server takes 17";
    let line = format!(
        "{port}|error|36|shop 36|0|20|3|1|0|16|0|{too_many}: lower default_pool_size to 6, or set \
         max_server_connections = 13: requests wait then|"
    );
    becomes(&pooler, &line);

    let others = runtime.block_on(async { [connected(server).await, connected(server).await] });
    let line = format!(
        "{port}|error|36|shop 36|0|20|3|1|2|14|0|{too_many}: lower default_pool_size to 6, or set \
         max_server_connections = 12: requests wait then|"
    );
    becomes(&pooler, &line);

    // 16 of 17, of which others have two.
    pooler.rewrite(&configuration(port, "default_pool_size = 8", ""));
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    let line = format!(
        "{port}|warning|16|shop 16|0|20|3|1|2|14|0|pools may open 16, and others leave 15 (2 are \
         theirs): lower default_pool_size to 6, or set max_server_connections = 12: requests wait \
         then|"
    );
    becomes(&pooler, &line);
    pooler.rewrite(&configuration(port, "max_server_connections = 12", ""));
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    becomes(&pooler, &format!("{port}|ok|12|shop 40|12|20|3|1|2|14|0||"));
    drop(others);
}

#[test]
fn host_that_cannot_be_asked_keeps_what_it_has_said_and_says_why() {
    let cluster = cluster();
    let (server, port) = (cluster.primary(), cluster.primary().port());
    let pooler = Pooler::start(&configuration(port, "", "pool_size = 2"));
    becomes(&pooler, &format!("{port}|ok|4|shop 4|0|20|3|0|0|17|0||"));
    server.stop(StopMode::Fast).unwrap();
    eventually("it says that nobody answers", LIMIT, || {
        let line = shown(&pooler).concat();
        line.starts_with(&format!("{port}|ok|4|shop 4|0|20|3|0|0|17|0||cannot connect"))
    });
}

/// Users who are not listed have pools of their own; nobody is there to ask.
#[test]
fn what_is_not_known_is_not_said() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let pooler = Pooler::start(&configuration(port, "", "auth_user = \"boss\""));
    let found = shown(&pooler).concat();
    let wanted = format!(
        "{port}|unknown||shop 40|0|||0||||what the server takes is not known|cannot connect to server"
    );
    assert!(found.starts_with(&wanted), "{found}");
}

#[test]
fn server_that_is_full_says_so() {
    let cluster = cluster();
    let (server, port) = (cluster.primary(), cluster.primary().port());
    let pooler = Pooler::start(&configuration(port, "", "pool_size = 2"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let others = runtime.block_on(async {
        let mut others = Vec::new();
        for _ in 0..17 {
            others.push(connected(server).await);
        }
        others
    });
    let line = shown(&pooler).concat();
    assert!(line.starts_with(&format!("{port}|unknown|4|")), "{line}");
    assert!(line.contains("53300"), "{line}");
    drop(others);
    becomes(&pooler, &format!("{port}|ok|4|shop 4|0|20|3|0|0|17|0||"));
}
