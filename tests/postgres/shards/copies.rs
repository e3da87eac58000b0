//! `COPY … FROM STDIN` over several shards.

use std::fmt::Write as _;

use super::across::memory_most_kib;
use super::through::{Spread, home, one_each, owned, spread};
use super::writes::login;
use crate::support::{APP_DATABASE, LIMIT, eventually};
use crate::wire::Client;

/// Sends a COPY in pieces of so many bytes; what is heard.
fn copy(client: &mut Client, sql: &str, data: &[u8], piece: usize) -> String {
    client.talk(&format!("Q {sql}"), "G");
    for piece in data.chunks(piece) {
        let len = u32::try_from(piece.len() + 4).unwrap();
        client.send(&[b"d", &len.to_be_bytes()[..], piece].concat());
    }
    client.say("c");
    client.hears_up_to("ZI")
}

fn are_at_home(spread: &Spread, count: i64) {
    for (shard, found) in spread.on_each("SELECT id FROM users ORDER BY id").iter().enumerate() {
        let wanted: Vec<String> =
            (1..=count).filter(|id| home(*id) == shard).map(|id| id.to_string()).collect();
        assert_eq!(*found, wanted.join("\n"), "{shard}");
    }
}

fn holds_nothing(spread: &Spread) {
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"]);
    eventually("no transaction is open", LIMIT, || {
        let open = "SELECT count(*) FROM pg_stat_activity \
                    WHERE xact_start IS NOT NULL AND usename = 'app'";
        spread.on_each(open) == ["0", "0", "0", "0"]
    });
}

#[test]
fn rows_go_to_their_shards_in_every_format() {
    let spread = spread();
    let mut client = login(&spread);
    let (mut text, mut csv, mut binary) = (String::new(), String::new(), Vec::new());
    csv.push_str("name,id\n");
    binary.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for id in 1..=300_i64 {
        writeln!(text, "{id}\tu{id}\\n").unwrap();
        writeln!(csv, "\"u,\n{id}\",\"{id}\"").unwrap();
        binary.extend_from_slice(&[0, 2, 0, 0, 0, 8]);
        binary.extend_from_slice(&id.to_be_bytes());
        binary.extend_from_slice(&[0, 0, 0, 1, b'x']);
    }
    binary.extend_from_slice(&[0xff, 0xff]);
    for (sql, data, name) in [
        ("COPY users (id, name) FROM STDIN", text.as_bytes(), "u1\n"),
        ("COPY users (name, id) FROM STDIN WITH (FORMAT csv, HEADER)", csv.as_bytes(), "u,\n1"),
        ("COPY users (id, name) FROM STDIN (FORMAT binary)", &binary, "x"),
    ] {
        for piece in [7, 100_000] {
            assert_eq!(copy(&mut client, sql, data, piece), "C[COPY 300] ZI", "{sql}");
            are_at_home(&spread, 300);
            client.talk(
                "Q SELECT name FROM users WHERE id = 1",
                &format!("T D[{name}] C[SELECT 1] ZI"),
            );
            client.talk("Q /* pgweir: all_shards */ DELETE FROM users", "C[DELETE 300] ZI");
        }
    }
    let [a, b, c, d] = one_each();
    let rows = [a, b, c, d].map(|id| format!("d {id}\tu")).join(" / ");
    client.talk(
        &format!("Q COPY users (id, name) FROM STDIN / {rows} / c / Q SELECT count(*) FROM users"),
        "G C[COPY 4] ZI T D[4] C[SELECT 1] ZI",
    );
    client.talk(
        &format!(
            "P - COPY orders (user_id) FROM STDIN / B - / p / E / S / d {a} / H / d {d} / c / S"
        ),
        "1 2 n G C[COPY 2] ZI",
    );
    assert_eq!(spread.on_each("SELECT count(*) FROM orders"), ["1", "0", "0", "1"]);
}

#[test]
fn copy_that_fails_stores_nothing() {
    let spread = spread();
    for shard in &spread.shards {
        let check = "ALTER TABLE users ADD CONSTRAINT short CHECK (length(name) < 9)";
        shard.primary().sql(APP_DATABASE, &owned(check)).unwrap();
    }
    let mut client = login(&spread);
    let [a, b, c, d] = one_each();
    let all = format!("{a}\ta\n{b}\tb\n{c}\tc\n");
    let sql = "COPY users (id, name) FROM STDIN";
    for (row, code) in [
        (format!("{d}\tmuch too long\n"), "23514"),
        (format!("{d}\td\n{d}\tt\n"), "23505"),
        ("no number\td\n".to_owned(), "0A000"),
        (format!("{d}\n"), "22P04"),
    ] {
        // The error comes while rows are sent, or at their end.
        for behind in [0, 100_000] {
            let data = format!("{all}{row}{}", format!("{d}\td\n").repeat(behind));
            let heard = copy(&mut client, sql, data.as_bytes(), 5000);
            assert_eq!(heard, format!("E[{code}] ZI"), "{row}");
            holds_nothing(&spread);
        }
    }
    client.talk(
        &format!("Q {sql} / d {a}\ta / f enough / Q SELECT 1"),
        "G E[57014] ZI T D[1] C[SELECT 1] ZI",
    );
    client.talk(
        &format!("P - {sql} / B - / E / S / d {a}\ta / f enough / S / Q SELECT 1"),
        "1 2 G E[57014] ZI T D[1] C[SELECT 1] ZI",
    );
    client.talk(
        &format!("Q {sql} / d {a}\ta / Q SELECT 1 / Q SELECT 2"),
        "G E[08P01] ZI T D[2] C[SELECT 1] ZI",
    );
    for more in ["; COMMIT", " WHERE id > 0; SELECT 1", "; COPY users (id, name) FROM STDIN"] {
        client.talk(&format!("Q {sql}{more}"), "E[0A000] ZI");
    }
    // What comes behind an error is nobody's.
    client.talk(
        &format!("Q {sql} / d x\ta / d {a}\ta / c / Q SELECT 1"),
        "G E[0A000] ZI T D[1] C[SELECT 1] ZI",
    );
    client.talk(
        &format!("P - {sql} / B - / E / S / d x\ta / d {a}\ta / c / S / Q SELECT 1"),
        "1 2 G E[0A000] ZI T D[1] C[SELECT 1] ZI",
    );
    holds_nothing(&spread);
    // Who leaves has stored nothing.
    let mut gone = login(&spread);
    gone.talk(&format!("Q {sql} / d {a}\ta / d {b}\tb"), "G");
    drop(gone);
    holds_nothing(&spread);
    client
        .talk(&format!("Q BEGIN / Q {sql} / Q ROLLBACK"), "C[BEGIN] ZT E[0A000] ZE C[ROLLBACK] ZI");
    assert_eq!(copy(&mut client, sql, all.as_bytes(), 100), "C[COPY 3] ZI");
}

#[test]
fn rows_are_streamed() {
    let spread = spread();
    let mut client = login(&spread);
    let name = "x".repeat(1000);
    client.talk("Q COPY users (id, name) FROM STDIN", "G");
    let before = memory_most_kib(spread.pooler.pid());
    for first in (1..=60_000_i64).step_by(100) {
        let rows: String = (first..first + 100).map(|id| format!("{id}\t{name}\n")).collect();
        let len = u32::try_from(rows.len() + 4).unwrap();
        client.send(&[b"d", &len.to_be_bytes()[..], rows.as_bytes()].concat());
    }
    client.talk("c", "C[COPY 60000] ZI");
    let grown = memory_most_kib(spread.pooler.pid()) - before;
    // Of 60 MB.
    assert!(grown < 8 * 1024, "{grown} KiB");
    for (shard, found) in spread.on_each("SELECT count(*), sum(id) FROM users").iter().enumerate() {
        let own = (1..=60_000).filter(|id| home(*id) == shard);
        assert_eq!(*found, format!("{}|{}", own.clone().count(), own.sum::<i64>()));
    }
}
