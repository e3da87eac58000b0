//! Statements that SQL and the protocol prepare share their names, as on a server of one's own, and
//! are nobody else's.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::runner::bench;
use crate::wire::Client;

/// What is sent, and what is heard of it: on a connection of one's own, and through the pooler.
#[track_caller]
fn both(script: &[(&str, &str)]) {
    for mut client in [bench().direct(&[]), bench().pooled(&[])] {
        for (sent, heard) in script {
            client.talk(sent, heard);
        }
    }
}

#[test]
fn sql_runs_what_the_protocol_has_prepared() {
    both(&[
        ("P s select 'of s' as c / S", "1 ZI"),
        ("Q execute s", "T D[of s] C[SELECT 1] ZI"),
        ("Q begin", "C[BEGIN] ZT"),
        ("Q execute s", "T D[of s] C[SELECT 1] ZT"),
        ("Q commit", "C[COMMIT] ZI"),
        ("P - execute s / B - / p / E / S", "1 2 T D[of s] C[SELECT 1] ZI"),
        ("P e execute s / S", "1 ZI"),
        ("B e / D e / E / S", "2 t T D[of s] C[SELECT 1] ZI"),
        ("B e / D e / E / S", "2 t T D[of s] C[SELECT 1] ZI"),
        ("Q prepare s as select 2", "E[42P05] ZI"),
        ("B s / D s / E / S", "2 t T D[of s] C[SELECT 1] ZI"),
        ("Q explain (costs off) execute s", "T D[Result] C[EXPLAIN] ZI"),
        (
            "Q select 1; execute s; deallocate s",
            "T D[1] C[SELECT 1] T D[of s] C[SELECT 1] C[DEALLOCATE] ZI",
        ),
        ("B s / E / S", "E[26000] ZI"),
        ("Q execute s", "E[26000] ZI"),
        ("P s select 'anew' / S", "1 ZI"),
        ("P - deallocate s / B - / E / S", "1 2 C[DEALLOCATE] ZI"),
        ("P s select 'again' / S", "1 ZI"),
        ("B s / E / S", "2 D[again] C[SELECT 1] ZI"),
        ("C s / S", "3 ZI"),
        ("Q execute s", "E[26000] ZI"),
    ]);
}

#[test]
fn the_protocol_runs_what_sql_has_prepared() {
    both(&[
        ("Q prepare p as select 'of p' as c", "C[PREPARE] ZI"),
        ("B p / D p / E / S", "2 t T D[of p] C[SELECT 1] ZI"),
        ("D p / S", "t T ZI"),
        ("P p select 1 / S", "E[42P05] ZI"),
        ("Q select 1", "T D[1] C[SELECT 1] ZI"),
        ("B p / E / S", "2 D[of p] C[SELECT 1] ZI"),
        ("C p / S", "3 ZI"),
        ("B p / E / S", "E[26000] ZI"),
        ("Q execute p", "E[26000] ZI"),
        ("P - prepare p as select 'by both' / B - / E / S", "1 2 C[PREPARE] ZI"),
        ("Q execute p", "T D[by both] C[SELECT 1] ZI"),
        (
            "Q begin; deallocate p; prepare p as select 'newest'",
            "C[BEGIN] C[DEALLOCATE] C[PREPARE] ZT",
        ),
        ("B p / E / S", "2 D[newest] C[SELECT 1] ZT"),
        ("Q rollback", "C[ROLLBACK] ZI"),
        ("B p / E / S", "2 D[newest] C[SELECT 1] ZI"),
        (
            "Q begin; deallocate p; prepare p as select 'last'",
            "C[BEGIN] C[DEALLOCATE] C[PREPARE] ZT",
        ),
        ("C p / S", "3 ZT"),
        ("Q commit", "C[COMMIT] ZI"),
        ("Q execute p", "E[26000] ZI"),
        ("P p select 'free' / S", "1 ZI"),
        ("B p / E / S", "2 D[free] C[SELECT 1] ZI"),
        ("Q deallocate all; select 1", "C[DEALLOCATE ALL] T D[1] C[SELECT 1] ZI"),
        ("P p select 'free again' / S", "1 ZI"),
        ("B p / E / S", "2 D[free again] C[SELECT 1] ZI"),
    ]);
}

#[test]
fn what_can_not_be_prepared_any_more_gives_its_own_error() {
    for mut client in [bench().direct(&[]), bench().pooled(&[])] {
        client.talk("Q create table gone (n int)", "C[CREATE TABLE] ZI");
        client.talk("Q prepare p as select * from gone", "C[PREPARE] ZI");
        client.talk("Q drop table gone", "C[DROP TABLE] ZI");
        client.talk("Q execute p", "E[42P01] ZI");
        // A server that lacks it says so as soon as it is named.
        client.say("P - execute p / B - / E / S");
        let heard = client.hears_up_to("ZI");
        assert!(["1 2 E[42P01] ZI", "E[42P01] ZI"].contains(&&*heard), "{heard}");
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk("Q execute p", "E[42P01] ZE");
        client.talk("Q rollback", "C[ROLLBACK] ZI");
        client.talk("Q create table gone as select 5 as n", "C[SELECT 1] ZI");
        client.talk("Q execute p", "T D[5] C[SELECT 1] ZI");
        client.talk("Q drop table gone", "C[DROP TABLE] ZI");
    }
}

/// All servers but one are held, so that it is known which of them has the statement.
#[test]
fn server_that_lacks_what_can_not_be_prepared_any_more_gives_its_own_error() {
    let mut direct = bench().direct(&[]);
    direct.talk("Q create table lacking (n int)", "C[CREATE TABLE] ZI");
    let [mut one, mut two, mut three, mut client] = [(); 4].map(|()| bench().pooled(&[]));
    one.talk("Q begin", "C[BEGIN] ZT");
    two.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q prepare p as select * from lacking", "C[PREPARE] ZI");
    three.talk("Q begin", "C[BEGIN] ZT");
    one.talk("Q rollback", "C[ROLLBACK] ZI");
    direct.talk("Q drop table lacking", "C[DROP TABLE] ZI");
    client.talk("Q execute p", "E[42P01] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q execute p", "E[42P01] ZE");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    client.talk("Q execute p", "E[42P01] ZI");
}

/// A client with statements of its own, and one that must find none.
struct Owner {
    client: Client,
    tag: String,
}

impl Owner {
    fn ask(&mut self, random: &mut StdRng) {
        let tag = self.tag.clone();
        let row = format!("D[{tag}] C[SELECT 1]");
        match random.random_range(0..7) {
            0 => self.client.talk("Q execute p", &format!("T {row} ZI")),
            1 => self.client.talk("P - execute p / B - / E / S", &format!("1 2 {row} ZI")),
            2 => self.client.talk("B p / E / S", &format!("2 {row} ZI")),
            3 => self.client.talk("Q execute s", &format!("T {row} ZI")),
            4 => self.client.talk("B e / E / S", &format!("2 {row} ZI")),
            5 => {
                self.client.talk("Q deallocate p", "C[DEALLOCATE] ZI");
                self.client.talk(&format!("Q prepare p as select '{tag}'"), "C[PREPARE] ZI");
            }
            _ => {
                self.client.talk("Q begin", "C[BEGIN] ZT");
                let string = format!("Q deallocate p; prepare p as select '{tag}'; execute p");
                let heard = format!("C[DEALLOCATE] C[PREPARE] T {row} ZT");
                self.client.talk(&string, &heard);
                self.client.talk("Q rollback", "C[ROLLBACK] ZI");
            }
        }
    }
}

fn finds_nothing(client: &mut Client, random: &mut StdRng) {
    const NONE: &str = "E[26000] ZI";
    match random.random_range(0..8) {
        0 => client.talk("Q execute p", NONE),
        1 => client.talk("B p / E / S", NONE),
        2 => client.talk("D s / S", NONE),
        3 => client.talk("Q deallocate s", NONE),
        4 => client.talk("Q do $$ begin execute 'execute p'; end $$", NONE),
        5 => client.talk("P - explain execute e / B - / E / S", "1 2 E[26000] ZI"),
        6 => {
            let count = "select count(*) from pg_prepared_statements where name in ('p', 's', 'e')";
            assert_eq!(client.value(count), "0");
        }
        _ => {
            client.talk("Q prepare p as select 'its own'", "C[PREPARE] ZI");
            client.talk("Q execute p", "T D[its own] C[SELECT 1] ZI");
            client.talk("Q deallocate p", "C[DEALLOCATE] ZI");
        }
    }
}

/// `CROSSED_QUERIES=100000` makes it long.
#[test]
fn statements_of_clients_on_the_same_servers_never_cross() {
    let turns = std::env::var("CROSSED_QUERIES").map_or(2_000, |count| count.parse().unwrap());
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut owners = ["one", "two"].map(|tag| {
        let mut client = bench().pooled(&[]);
        client.talk(&format!("Q prepare p as select '{tag}'"), "C[PREPARE] ZI");
        client.talk(&format!("P s select '{tag}' / S"), "1 ZI");
        client.talk("P e execute p / S", "1 ZI");
        Owner { client, tag: tag.to_owned() }
    });
    let mut stranger = bench().pooled(&[]);
    for _ in 0..turns {
        match random.random_range(0..3) {
            2 => finds_nothing(&mut stranger, &mut random),
            owner => owners[owner].ask(&mut random),
        }
    }
}
