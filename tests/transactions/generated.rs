//! Sequences that nobody has thought of.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::runner::{Protocol, bench};

/// Statements that change a session, look at it, fail, or end what others began.
const STATEMENTS: &[&str] = &[
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "release a",
    "set timezone = 'Asia/Tokyo'",
    "set timezone = 'Europe/Rome'",
    "set local timezone = 'Asia/Dubai'",
    "set timezone to default",
    "reset timezone",
    "set app.tenant = 'a'",
    "set app.tenant to 'b'",
    "set local app.tenant = 'c'",
    "select set_config('app.tenant', 'd', false)",
    "select set_config('app.tenant', 'e', true)",
    "select hidden('f')",
    "do $$ begin perform set_config('timezone', 'Asia/Dhaka', false); end $$",
    "set search_path = one",
    "set search_path = two, public",
    "set search_path = public",
    "set role other",
    "reset role",
    "set role none",
    "reset all",
    "discard all",
    "discard temp",
    "select * from place",
    "select current_user, current_setting('timezone'), current_setting('search_path')",
    // Once it has been reset it is empty, or not there: docs/transactions.md.
    "select coalesce(current_setting('app.tenant', true), '')",
    "show statement_timeout",
    "set statement_timeout = '20s'",
    "set datestyle = 'SQL, DMY'",
    "select '2020-02-01'::date",
    "select 1/0",
    "selec 1",
    "select * from nowhere",
    "create temp table t1 (n int)",
    "create temp table t1 on commit drop as select 1 as n",
    "insert into t1 values (1)",
    "select count(*) from t1",
    "drop table t1",
    "select hidden_table()",
    "select count(*) from hidden",
    "drop table if exists hidden",
    "declare c cursor with hold for select generate_series(1, 3)",
    "declare c cursor for select generate_series(1, 3)",
    "fetch 1 from c",
    "close c",
    "close all",
    "select pg_advisory_lock(7)",
    "select pg_try_advisory_lock(8)",
    "select pg_advisory_unlock(7)",
    "select pg_advisory_unlock_all()",
    "select pg_advisory_xact_lock(9)",
    "select count(*) from pg_locks where locktype = 'advisory' and objid < 900",
    "select pg_advisory_unlock_all(); close all; unlisten *; reset all",
    "prepare p as select 1 as n",
    "prepare p (int) as select $1 + 1",
    "prepare q as select name from place",
    "prepare r as select set_config('app.tenant', 'g', false)",
    "prepare s as select E'\\t'",
    "execute p",
    "execute p (41)",
    "execute q",
    "execute r",
    "execute s",
    "explain (costs off) execute q",
    "create temp table t1 as execute p",
    "deallocate p",
    "deallocate prepare q",
    "deallocate all",
    "deallocate all; select 1",
    "listen x",
    "listen \"Y y\"",
    "unlisten x",
    "unlisten *",
    "notify x, 'a'",
    "notify x",
    "notify \"Y y\", 'b'",
    "select pg_notify('x', 'c'), pg_notify('z', 'd')",
    "do $$ begin perform pg_notify('x', 'e'); end $$",
    "do $$ begin execute 'listen z'; end $$",
    "select c from pg_listening_channels() c order by 1",
];

/// Those that are about channels.
const LISTENING: &[&str] = &[
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "select 1/0",
    "discard all",
    "create temp table if not exists t1 (n int)",
    "drop table if exists t1",
];

/// A statement by itself, or some in one string.
fn step(from: Vec<&'static str>) -> impl Strategy<Value = (Protocol, String)> {
    let statement = move || proptest::sample::select(from.clone()).prop_map(str::to_owned);
    prop_oneof![
        4 => statement().prop_map(|sql| (Protocol::Simple, sql)),
        // A string of several can't be prepared.
        3 => statement().prop_filter("one statement", |sql| !sql.contains("; close") && !sql.contains("; select"))
            .prop_map(|sql| (Protocol::Extended, sql)),
        1 => proptest::collection::vec(statement(), 2..5)
            .prop_map(|list| (Protocol::Simple, list.join("; ")))
            .prop_filter("not heard early", |(_, sql)| !listens_behind_a_commit(sql))
            .prop_filter("heard at the end", |(_, sql)| !commits_and_begins(sql))
            .prop_filter("not freed in vain", |(_, sql)| !may_fail_behind_all(sql)),
    ]
}

/// What a string commits before it listens may be heard: docs/transactions.md.
fn listens_behind_a_commit(sql: &str) -> bool {
    let before = sql.rfind("listen").map_or("", |listen| &sql[..listen]);
    ["notify", "commit"].iter().any(|word| before.contains(word))
}

/// A transaction that listens has to end in a string that begins no other: docs/transactions.md.
fn commits_and_begins(sql: &str) -> bool {
    let ended = sql.find("commit").map_or("", |commit| &sql[commit..]);
    ended.contains("begin")
}

/// Names stay where something fails behind DEALLOCATE ALL in a string: docs/transactions.md.
fn may_fail_behind_all(sql: &str) -> bool {
    sql.contains("deallocate all") && !sql.ends_with("deallocate all; select 1")
}

/// What stands behind a reset in one string sees the server's own settings instead of those of the
/// startup packet, as docs/transactions.md says: such a string is sent one by one.
fn without_more_behind_a_reset((protocol, sql): (Protocol, String)) -> Vec<(Protocol, String)> {
    let resets = |part: &str| part.starts_with("reset") || part.ends_with("default");
    let parts: Vec<&str> = sql.split("; ").collect();
    if parts.iter().rev().skip(1).any(|part| resets(part)) {
        return parts.into_iter().map(|part| (protocol, part.to_owned())).collect();
    }
    vec![(protocol, sql)]
}

/// How many sequences are tried.
fn cases() -> u32 {
    std::env::var("GENERATED_CASES").ok().map_or(300, |text| text.parse().expect("a number"))
}

fn check(startup: &[(&str, &str)], cases: u32, from: Vec<&'static str>) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let sequences = proptest::collection::vec(step(from), 3..16);
    let ran = TestRunner::new(config).run(&sequences, |mut script| {
        // The first is what a new session shows; custom settings are there from then on.
        script.insert(0, (Protocol::Simple, "set app.tenant = 'x'".to_owned()));
        if !startup.is_empty() {
            script = script.into_iter().flat_map(without_more_behind_a_reset).collect();
        }
        bench().compare(startup, &script).map_err(TestCaseError::fail)
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
}

#[test]
fn generated_sequences_are_answered_as_by_postgres() {
    check(&[], cases(), STATEMENTS.to_vec());
}

#[test]
fn generated_sequences_hold_with_startup_settings() {
    let options = "-c app.tenant=start -c search_path=one,public";
    check(&[("options", options), ("TimeZone", "Asia/Kolkata")], cases() / 3, STATEMENTS.to_vec());
}

#[test]
fn generated_sequences_listen_as_with_postgres() {
    let about_channels = |sql: &&str| {
        ["listen", "notify"].iter().any(|word| sql.contains(word)) && !sql.contains("; ")
    };
    let mut from: Vec<_> = STATEMENTS.iter().copied().filter(about_channels).collect();
    from.extend(LISTENING);
    check(&[], cases(), from);
}
