//! What an application may rely on, as transcripts: as with Postgres itself, though there are
//! fewer servers than clients, and never the same one twice where there are two.

use crate::setup::{file, pooler, shared};
use crate::support::{LIMIT, Pooler, eventually};
use crate::wire::{Client, USER, message};

/// Two servers, and another one for every transaction.
const HOPS: &str = "default_pool_size = 2; debug_force_hop = true";

#[track_caller]
fn table(name: &str) {
    let sql = format!("create table {name} (n int); grant all on {name} to app");
    shared().sql("shop", &sql).unwrap();
}

#[track_caller]
fn check(client: &mut Client, transcript: &[(&str, &str)]) {
    for (said, heard) in transcript {
        client.talk(said, heard);
    }
}

#[test]
fn wrong_startup_parameter_gives_the_server_s_error() {
    let pooler = pooler(HOPS);
    let wrong: &[(&str, &str, &str, &str)] = &[
        (
            "statement_timeout",
            "abc",
            "22023",
            "invalid value for parameter \"statement_timeout\": \"abc\"",
        ),
        (
            "options",
            "-c statement_timeout=abc",
            "22023",
            "invalid value for parameter \"statement_timeout\": \"abc\"",
        ),
        (
            "client_encoding",
            "nonsense",
            "22023",
            "invalid value for parameter \"client_encoding\": \"nonsense\"",
        ),
        (
            "no_such_parameter",
            "1",
            "42704",
            "unrecognized configuration parameter \"no_such_parameter\"",
        ),
        (
            "options",
            "-c no_such_parameter=1",
            "42704",
            "unrecognized configuration parameter \"no_such_parameter\"",
        ),
        ("role", "nobody", "22023", "role \"nobody\" does not exist"),
        (
            "shared_buffers",
            "1",
            "55P02",
            "parameter \"shared_buffers\" cannot be changed without restarting the server",
        ),
    ];
    for (name, value, sqlstate, text) in wrong {
        for _ in 0..2 {
            let refused = Client::try_login(pooler.port(), &[USER[0], USER[1], (*name, *value)]);
            let error = refused.expect_err(name);
            assert_eq!(error.text(), format!("FATAL[{sqlstate}]"), "{name}={value}");
            assert_eq!(error.field(b'M').as_deref(), Some(*text));
        }
    }
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn startup_parameters_hold_on_every_server() {
    let pooler = pooler(HOPS);
    let given = [
        ("application_name", "it's \\ me"),
        ("TimeZone", "Asia/Kathmandu"),
        ("options", "-c search_path=a,\\ b --work-mem=7MB -cgeqo=off"),
        ("statement_timeout", "12345"),
    ];
    let mut other = Client::login(pooler.port());
    let mut client = Client::login_as(pooler.port(), &[&USER[..], &given].concat());
    assert_eq!(client.parameters["TimeZone"], "Asia/Kathmandu");
    assert_eq!(client.parameters["application_name"], "it's \\ me");
    for _ in 0..3 {
        for (name, value) in [
            ("application_name", "it's \\ me"),
            ("timezone", "Asia/Kathmandu"),
            ("search_path", "a, b"),
            ("work_mem", "7MB"),
            ("geqo", "off"),
            ("statement_timeout", "12345ms"),
        ] {
            assert_eq!(client.value(&format!("show {name}")), value);
        }
        for (name, value) in [("work_mem", "4MB"), ("geqo", "on"), ("statement_timeout", "0")] {
            assert_eq!(other.value(&format!("show {name}")), value);
        }
    }
}

#[test]
fn names_of_statements_behave_as_in_one_session() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            // Unknown, and the connection goes on.
            ("B nope / E / S", "E[26000] ZI"),
            ("D nope / S", "E[26000] ZI"),
            ("B pgweir_1 / E / S", "E[26000] ZI"),
            ("P a select $1::text / S", "1 ZI"),
            ("B a x / E / S", "2 D[x] C[SELECT 1] ZI"),
            ("D a / S", "t T ZI"),
            // Twice the same name.
            ("P a select 2 / S", "E[42P05] ZI"),
            ("P a select $1::text / S", "E[42P05] ZI"),
            ("B a y / E / S", "2 D[y] C[SELECT 1] ZI"),
            // A Parse that fails leaves nothing.
            ("P b selct / S", "E[42601] ZI"),
            ("B b / E / S", "E[26000] ZI"),
            ("P b select 3 / B b / E / S", "1 2 D[3] C[SELECT 1] ZI"),
            // One that succeeds before an error stays.
            ("P c select 4 / B nope / E / S", "1 E[26000] ZI"),
            ("B c / E / S", "2 D[4] C[SELECT 1] ZI"),
            // One behind an error has not happened.
            ("B nope / P d select 5 / S", "E[26000] ZI"),
            ("B d / E / S", "E[26000] ZI"),
            // Closing, also what doesn't exist.
            ("C c / S", "3 ZI"),
            ("C c / S", "3 ZI"),
            ("B c / E / S", "E[26000] ZI"),
            ("P c select 6 / B c / E / C c / S", "1 2 D[6] C[SELECT 1] 3 ZI"),
            // Closed behind an error: still there.
            ("B nope / C a / S", "E[26000] ZI"),
            ("B a z / E / S", "2 D[z] C[SELECT 1] ZI"),
            // Many requests at once.
            (
                "B a 1 / E / S / B nope / S / B a 2 / E / S / Q select 3",
                "2 D[1] C[SELECT 1] ZI E[26000] ZI 2 D[2] C[SELECT 1] ZI T D[3] C[SELECT 1] ZI",
            ),
        ],
    );
    let mut other = Client::login(pooler.port());
    check(
        &mut other,
        &[
            ("B a x / E / S", "E[26000] ZI"),
            ("P a select 7 / S", "1 ZI"),
            ("B a / E / S", "2 D[7] C[SELECT 1] ZI"),
        ],
    );
    client.talk("B a x / E / S", "2 D[x] C[SELECT 1] ZI");
}

#[test]
fn unnamed_statement_lives_over_round_trips_and_servers() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    let (first, second) =
        (client.value("select pg_backend_pid()"), client.value("select pg_backend_pid()"));
    assert_ne!(first, second, "no hop");
    check(
        &mut client,
        &[
            ("B - / E / S", "E[26000] ZI"),
            ("P - select $1::text / S", "1 ZI"),
            ("D - / S", "t T ZI"),
            ("B - x / E / S", "2 D[x] C[SELECT 1] ZI"),
            ("B - y / E / S", "2 D[y] C[SELECT 1] ZI"),
            // A simple query drops it.
            ("Q select 1", "T D[1] C[SELECT 1] ZI"),
            ("B - x / E / S", "E[26000] ZI"),
            // So does a Parse that fails.
            ("P - select 1 / S", "1 ZI"),
            ("P - selct / S", "E[42601] ZI"),
            ("B - / E / S", "E[26000] ZI"),
            // But not one that is skipped, nor a query that is.
            ("P - select 8 / S", "1 ZI"),
            ("B nope / P - selct / S", "E[26000] ZI"),
            ("B - / E / S", "2 D[8] C[SELECT 1] ZI"),
            ("B nope / Q select 1 / S", "E[26000] ZI"),
            ("B - / E / S", "2 D[8] C[SELECT 1] ZI"),
            // Failures do not reach into the requests behind them.
            (
                "P - selct / S / P - select 9 / S / Q selct / P - select 10 / S",
                "E[42601] ZI 1 ZI E[42601] ZI 1 ZI",
            ),
            ("B - / E / S", "2 D[10] C[SELECT 1] ZI"),
            ("C - / S", "3 ZI"),
            ("B - / E / S", "E[26000] ZI"),
        ],
    );
    let mut other = Client::login(pooler.port());
    client.talk("P - select 'mine' / S", "1 ZI");
    other.talk("B - / E / S", "E[26000] ZI");
    other.talk("P - select 'other' / B - / E / S", "1 2 D[other] C[SELECT 1] ZI");
    client.talk("B - / E / S", "2 D[mine] C[SELECT 1] ZI");
}

#[test]
fn server_keeps_no_more_statements_than_it_may() {
    let pooler = pooler("default_pool_size = 1; max_prepared_statements = 2");
    let mut client = Client::login(pooler.port());
    let names: Vec<_> = (0..6).map(|index| format!("s{index}")).collect();
    for name in &names {
        client.talk(&format!("P {name} select '{name}' / S"), "1 ZI");
    }
    for _ in 0..3 {
        for name in &names {
            let row = format!("2 D[{name}] C[SELECT 1] ZI");
            client.talk(&format!("B {name} / E / S"), &row);
        }
        assert_eq!(client.value("select count(*) from pg_prepared_statements"), "2");
    }
    let script: Vec<_> = names.iter().map(|name| format!("B {name} / E")).collect();
    let rows: Vec<_> = names.iter().map(|name| format!("2 D[{name}] C[SELECT 1]")).collect();
    client.talk(&format!("{} / S", script.join(" / ")), &format!("{} ZI", rows.join(" ")));
    assert_eq!(client.value("select count(*) from pg_prepared_statements"), "2");
}

#[test]
fn statements_too_long_to_be_kept_work() {
    let pooler = pooler(
        "default_pool_size = 2; debug_force_hop = true; max_statement_size = 1000; request_buffer_size = 4096",
    );
    let mut client = Client::login(pooler.port());
    let padding = "x".repeat(20_000);
    let long = format!("select 1 /* {padding} */");
    check(
        &mut client,
        &[
            (&format!("Q {long}"), "T D[1] C[SELECT 1] ZI"),
            (&format!("P - {long} / B - / E / S"), "1 2 D[1] C[SELECT 1] ZI"),
            (&format!("P big {long} / S"), "1 ZI"),
            ("B big / E / S", "2 D[1] C[SELECT 1] ZI"),
            ("P a select 2 / S", "1 ZI"),
            ("B a / E / S", "2 D[2] C[SELECT 1] ZI"),
            ("B big / E / S", "2 D[1] C[SELECT 1] ZI"),
            (&format!("P a {long} / S"), "E[42P05] ZI"),
            (&format!("P big {long} / S"), "E[42P05] ZI"),
            ("C big / S", "3 ZI"),
            ("B big / E / S", "E[26000] ZI"),
            (&format!("P bad selct {padding} / S"), "E[42601] ZI"),
        ],
    );
    let mut other = Client::login(pooler.port());
    check(
        &mut other,
        &[
            ("B big / E / S", "E[26000] ZI"),
            (&format!("P big {long} / B big / E / S"), "1 2 D[1] C[SELECT 1] ZI"),
            ("P v select $1::text / S", "1 ZI"),
            (&format!("B v {padding} / E / S"), &format!("2 D[{padding}] C[SELECT 1] ZI")),
        ],
    );
}

#[test]
fn requests_may_be_answered_before_their_sync() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            ("P - select 1 / B - / E / H", "1 2 D[1] C[SELECT 1]"),
            ("S", "ZI"),
            ("P - select generate_series(1, 3) / B - / E 2 / H", "1 2 D[1] D[2] s"),
            ("E 2 / S", "D[3] C[SELECT 1] ZI"),
            (
                "P - select generate_series(1, 3) / B - / p / E 1 / E 1 / S",
                "1 2 T D[1] s D[2] s ZI",
            ),
            ("E / S", "E[34000] ZI"),
            ("H / H / S", "ZI"),
            ("S / S / S", "ZI ZI ZI"),
            ("Q ", "I ZI"),
            ("P - / B - / E / S", "1 2 I ZI"),
            ("Q select 1; select 2", "T D[1] C[SELECT 1] T D[2] C[SELECT 1] ZI"),
            ("Q select 1; select 1/0; select 2", "T D[1] C[SELECT 1] E[22012] ZI"),
        ],
    );
}

#[test]
fn copy_passes_both_ways() {
    table("copied");
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            ("Q copy copied from stdin", "G"),
            ("d 1 / d 2 / c", "C[COPY 2] ZI"),
            ("Q copy copied from stdin", "G"),
            ("d 1 / f no", "E[57014] ZI"),
            ("Q copy copied from stdin", "G"),
            ("d x / c", "E[22P02] ZI"),
            ("Q copy copied to stdout", "H d[1] d[2] c C[COPY 2] ZI"),
            // The Sync behind the Execute is lost to the COPY.
            ("P - copy copied from stdin / B - / E / S", "1 2 G"),
            ("d 3 / c / S", "C[COPY 1] ZI"),
            ("P - copy copied from stdin / B - / E / d 4 / c / S", "1 2 G C[COPY 1] ZI"),
            ("P - copy copied from stdin / B - / E / d x / d 5 / c / S", "1 2 G E[22P02] ZI"),
            ("Q select 1; copy copied from stdin; select 2", "T D[1] C[SELECT 1] G"),
            ("d 5 / c", "C[COPY 1] T D[2] C[SELECT 1] ZI"),
            ("Q select count(*) from copied", "T D[5] C[SELECT 1] ZI"),
            // Outside of a COPY they mean nothing.
            ("c / d x / f y / Q select 1", "T D[1] C[SELECT 1] ZI"),
        ],
    );
}

#[test]
fn functions_are_called() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    let call = |oid: u32, arguments: &[&str]| {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&(arguments.len() as u16).to_be_bytes());
        for argument in arguments {
            body.extend_from_slice(&(argument.len() as u32).to_be_bytes());
            body.extend_from_slice(argument.as_bytes());
        }
        body.extend_from_slice(&[0, 0]);
        message(b'F', &body)
    };
    // int4pl and int4div.
    client.send(&call(177, &["1", "2"]));
    client.hears("V[3] ZI");
    client.send(&call(154, &["1", "0"]));
    client.hears("E[22012] ZI");
    client.send(&call(4_000_000_000, &[]));
    client.hears("E[42883] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.send(&[call(177, &["1", "2"]), call(154, &["1", "0"]), call(177, &["1", "2"])].concat());
    client.hears("V[3] ZT E[22012] ZE E[25P02] ZE");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
}

#[test]
fn what_the_server_says_beside_the_answer_is_passed_on() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    let zone = client.parameters["TimeZone"].clone();
    check(
        &mut client,
        &[
            ("Q do $$ begin raise notice 'x'; end $$", "N[00000] C[DO] ZI"),
            ("Q commit", "N[25P01] C[COMMIT] ZI"),
            (
                "Q begin; set local timezone = 'Asia/Kathmandu'",
                "C[BEGIN] C[SET] S[TimeZone=Asia/Kathmandu] ZT",
            ),
            ("Q rollback", &format!("C[ROLLBACK] S[TimeZone={zone}] ZI")),
        ],
    );
}

#[test]
fn requests_before_a_goodbye_are_carried_out_and_answered() {
    table("before_goodbye");
    let pooler = pooler(HOPS);
    let count = || shared().sql("shop", "select count(*) from before_goodbye").unwrap();
    let large = format!("T D[{}] C[SELECT 1] ZI", "x".repeat(3_000_000));
    for (script, expected) in [
        ("Q insert into before_goodbye values (1) / X", "C[INSERT 0 1] ZI"),
        ("P - insert into before_goodbye values (1) / B - / E / S / X", "1 2 C[INSERT 0 1] ZI"),
        (
            "Q begin / Q insert into before_goodbye values (1) / Q commit / X",
            "C[BEGIN] ZT C[INSERT 0 1] ZT C[COMMIT] ZI",
        ),
        ("Q select repeat('x', 3000000) / X", &large),
        ("S / X", "ZI"),
        ("C a / S / Q deallocate all / X", "3 ZI C[DEALLOCATE ALL] ZI"),
        ("X / Q insert into before_goodbye values (1)", ""),
    ] {
        let mut client = Client::login(pooler.port());
        client.say(script);
        assert_eq!(client.rest(), expected, "{script}");
    }
    assert_eq!(count(), "3");
    // Nor need anybody wait for the answer.
    for index in 4..10 {
        let mut client = Client::login(pooler.port());
        client.say("Q insert into before_goodbye values (1) / X");
        drop(client);
        eventually("the insert of one who did not wait", LIMIT, || count() == index.to_string());
    }
}

#[test]
fn deallocate_is_answered_as_postgres_does() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            ("P a select 1 / P B select 2 / P c select 3 / S", "1 1 1 ZI"),
            ("Q deallocate a", "C[DEALLOCATE] ZI"),
            ("B a / E / S", "E[26000] ZI"),
            ("Q deallocate a", "E[26000] ZI"),
            ("Q DEALLOCATE PREPARE \"B\" ;", "C[DEALLOCATE] ZI"),
            ("Q deallocate all", "C[DEALLOCATE ALL] ZI"),
            ("Q deallocate all", "C[DEALLOCATE ALL] ZI"),
            ("B c / E / S", "E[26000] ZI"),
            // In a transaction.
            ("P a select 1 / P b select 2 / S", "1 1 ZI"),
            ("Q begin", "C[BEGIN] ZT"),
            ("Q deallocate a", "C[DEALLOCATE] ZT"),
            ("B a / E / S", "E[26000] ZE"),
            // In one that has failed.
            ("Q deallocate b", "E[25P02] ZE"),
            ("Q deallocate all", "E[25P02] ZE"),
            ("Q rollback", "C[ROLLBACK] ZI"),
            ("B b / E / S", "2 D[2] C[SELECT 1] ZI"),
            ("Q begin", "C[BEGIN] ZT"),
            ("Q deallocate all", "C[DEALLOCATE ALL] ZT"),
            ("Q commit", "C[COMMIT] ZI"),
            ("B b / E / S", "E[26000] ZI"),
            // In a pipeline, behind what fails.
            ("P a select 1 / S", "1 ZI"),
            (
                "Q begin / Q select 1/0 / Q deallocate a / Q rollback",
                "C[BEGIN] ZT E[22012] ZE E[25P02] ZE C[ROLLBACK] ZI",
            ),
            ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
            (
                "Q begin / Q select 1/0 / Q rollback / Q deallocate a",
                "C[BEGIN] ZT E[22012] ZE C[ROLLBACK] ZI C[DEALLOCATE] ZI",
            ),
            ("B a / E / S", "E[26000] ZI"),
            // Before what gives the name anew.
            ("P a select 1 / S", "1 ZI"),
            (
                "Q begin / Q discard all / Q rollback / C a / P a select 2 / S",
                "C[BEGIN] ZT E[25001] ZE C[ROLLBACK] ZI 3 1 ZI",
            ),
            ("B a / E / S", "2 D[2] C[SELECT 1] ZI"),
            ("C a / S", "3 ZI"),
            // Behind an error that skips it.
            ("P a select 1 / S", "1 ZI"),
            ("B nope / Q deallocate a / Q deallocate all / S", "E[26000] ZI"),
            ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
        ],
    );
}

#[test]
fn names_are_free_once_all_are_deallocated_by_the_extended_protocol() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    for all in ["discard all", "deallocate all"] {
        let tag = format!("C[{}]", all.to_uppercase());
        check(
            &mut client,
            &[
                ("P a select 1 / P b select 2 / S", "1 1 ZI"),
                // Not before it runs, and not where it fails or is skipped.
                (&format!("P - {all} / S"), "1 ZI"),
                ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
                (&format!("P - {all} / B - / B nope / E / S"), "1 2 E[26000] ZI"),
                ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
                (&format!("P - {all} / B - / E / S"), &format!("1 2 {tag} ZI")),
                ("B a / E / S", "E[26000] ZI"),
                // In one write with what takes a name anew.
                ("P a select 3 / S", "1 ZI"),
                (
                    &format!("P all {all} / B all / E / S / P a select 4 / B a / E / S"),
                    &format!("1 2 {tag} ZI 1 2 D[4] C[SELECT 1] ZI"),
                ),
                ("B all / E / S", "E[26000] ZI"),
                ("C a / S", "3 ZI"),
            ],
        );
    }
    check(
        &mut client,
        &[
            ("P a select 1 / P all discard all / S", "1 1 ZI"),
            ("Q begin / B all / E / S / Q rollback", "C[BEGIN] ZT 2 E[25001] ZE C[ROLLBACK] ZI"),
            ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
        ],
    );
}

#[test]
fn discard_all_forgets_statements_only_when_it_succeeds() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            ("P a select 1 / S", "1 ZI"),
            ("Q begin", "C[BEGIN] ZT"),
            ("Q discard all", "E[25001] ZE"),
            ("Q rollback", "C[ROLLBACK] ZI"),
            ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
            ("Q discard all", "C[DISCARD ALL] ZI"),
            ("B a / E / S", "E[26000] ZI"),
            ("P a select 2 / S", "1 ZI"),
            ("B a / E / S", "2 D[2] C[SELECT 1] ZI"),
        ],
    );
}

#[test]
fn session_state_of_one_client_never_shows_at_another() {
    let pooler = pooler("default_pool_size = 1");
    let mut other = Client::login(pooler.port());
    let lock = "select count(*) from pg_locks where locktype = 'advisory' and objid = 99";
    let mut check = |leaves: &str, asks: &str, expected: &str, stays: bool| {
        let mut one = Client::login(pooler.port());
        one.say(&format!("Q {leaves}"));
        while one.hear().tag != b'Z' {}
        if !stays {
            // Its server is its own as long as it is there.
            one.say("X");
        }
        assert_eq!(other.value(asks), expected, "{leaves}");
    };
    for (leaves, asks, expected) in [
        ("set work_mem = '1MB'", "show work_mem", "4MB"),
        (
            "select set_config('app.secret', 'x', false)",
            "select coalesce(current_setting('app.secret', true), '')",
            "",
        ),
        ("begin; set work_mem = '1MB'; commit", "show work_mem", "4MB"),
        ("listen news", "select count(*) from pg_listening_channels()", "0"),
        ("set role pg_monitor", "select current_user", "app"),
        (
            "set session characteristics as transaction read only",
            "show transaction_read_only",
            "off",
        ),
        (
            "do $$ begin perform set_config('work_mem', '1MB', false); end $$",
            "show work_mem",
            "4MB",
        ),
        (
            "do $$ begin perform set_config('app.' || 'hidden', 'x', false); end $$",
            "select coalesce(current_setting('app.hidden', true), '')",
            "",
        ),
    ] {
        check(leaves, asks, expected, true);
    }
    for (leaves, asks, expected) in [
        (
            "create temp table mine (n int)",
            "select count(*) from pg_class where relname = 'mine'",
            "0",
        ),
        ("select pg_advisory_lock(99)", lock, "0"),
        (
            "prepare mine as select 1",
            "select count(*) from pg_prepared_statements where name = 'mine'",
            "0",
        ),
        ("declare mine cursor with hold for select 1", "select count(*) from pg_cursors", "0"),
        ("select setseed(0.5); select random() > 2", "select count(*) from pg_cursors", "0"),
        ("load 'plpgsql'", "select count(*) from pg_cursors", "0"),
    ] {
        check(leaves, asks, expected, false);
    }
}

#[test]
fn statement_mode_refuses_transaction_blocks() {
    let pooler = pooler("pool_mode = \"statement\"; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    client.talk("Q begin; select 1; commit", "C[BEGIN] T D[1] C[SELECT 1] C[COMMIT] ZI");
    client.say("Q begin");
    let heard = client.rest();
    assert!(heard.ends_with("FATAL[0A000]") && !heard.contains("ZI"), "{heard}");
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn session_mode_keeps_server_and_state_until_the_client_leaves() {
    let pooler = pooler("pool_mode = \"session\"; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let pid = client.value("select pg_backend_pid()");
    client.talk("Q set work_mem = '1MB'", "C[SET] ZI");
    client.talk("P a select 1 / S", "1 ZI");
    assert_eq!(client.value("show work_mem"), "1MB");
    client.talk("B a / E / S", "2 D[1] C[SELECT 1] ZI");
    assert_eq!(client.value("select pg_backend_pid()"), pid);
    client.say("X");
    let mut next = Client::login(pooler.port());
    assert_eq!(next.value("select pg_backend_pid()"), pid);
    assert_eq!(next.value("show work_mem"), "4MB");
    next.talk("B a / E / S", "E[26000] ZI");
}

#[test]
fn names_are_the_client_s_own_where_preparing_is_off() {
    let pooler = Pooler::start(&file(
        shared().port(),
        "max_prepared_statements = 0; pool_mode = \"session\"",
        "",
    ));
    let mut client = Client::login(pooler.port());
    check(
        &mut client,
        &[
            ("P a select 1 / S", "1 ZI"),
            ("B a / E / S", "2 D[1] C[SELECT 1] ZI"),
            ("P a select 1 / S", "E[42P05] ZI"),
            ("Q deallocate a", "C[DEALLOCATE] ZI"),
            ("B a / E / S", "E[26000] ZI"),
        ],
    );
}
