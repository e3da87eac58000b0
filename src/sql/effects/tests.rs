use std::collections::BTreeSet;

use super::*;

mod bounds;

#[test]
fn clean_statements_leave_nothing() {
    for text in [
        "",
        ";",
        "-- nothing",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 42;",
        "select count(*), max(x) from t where lower(y) in ('a', 'b') group by (z)",
        "(select 1) union (select 2)",
        "select pg_catalog.now(), pg_advisory_xact_lock(1)",
        "select set_config('a.b', $1, true)",
        "prepare transaction 'x'",
        "discard plans",
        "select pg_export_snapshot()",
        "insert into t (a, b) values (1, 'x'), ($1, $2) on conflict (a) do update set b = 2",
        "insert into s.t (a) select nextval('q') returning id",
        "update t set a = a + 1 where b = any($1)",
        "delete from t using u where t.id = u.id",
        "with x as (select 1) select * from x",
        "BEGIN; UPDATE t SET a = 1; COMMIT",
        "begin isolation level serializable read only",
        "set local search_path = x",
        "SET TRANSACTION READ ONLY",
        "set constraints all deferred",
        "copy t (a, b) from stdin",
        "copy (select 1) to stdout",
        "create table t (id int primary key, v varchar(10) check (v > 'a'))",
        "create index on t (a)",
        "create temp table t (a int) on commit drop",
        "CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1",
        "alter table t add column c numeric(10,2)",
        "declare c cursor for select 1",
        "fetch 10 from c",
        "explain analyze select 1",
        "select temp from weather",
        "select cast(a as varchar(3)), a::numeric(4,2), interval '1 day' from t",
        "vacuum analyze t",
        "savepoint a; rollback to a; release a",
        "notify x, 'y'",
        "show search_path",
        "select extract(epoch from now()), coalesce(a, 0) from generate_series(1, 3) as a",
    ] {
        let found = Effects { alters: false, defines: false, ..effects(text.as_bytes()) };
        assert_eq!(found, Effects::default(), "{text}");
    }
}

#[test]
fn what_may_change_a_session_is_seen() {
    for text in [
        "SET search_path = x",
        "set session authorization bob",
        "SET ROLE bob",
        "reset all",
        "select set_config('a.b', 'c', false)",
        "select pg_catalog.set_config('a.b', 'c', false)",
        "select \"set_config\"('a.b', 'c', false)",
        "select pg_advisory_lock(1)",
        "select my_function(1)",
        "select public.lower('x')",
        "select setseed(0.5)",
        "select query_to_xml('set a.b = c', true, true, '')",
        "begin; set x.y = 1; commit",
        "select 1; listen x",
        "LISTEN x",
        "prepare p as select 1",
        "execute p",
        "explain execute p",
        "create table t as execute p",
        "deallocate p",
        "create temp table t (a int)",
        "create local temporary table t (a int)",
        "create temp table t (a int) on commit delete rows",
        "create temp table t (a int) on commit drop; create temp table u (a int)",
        "create temp table t (\"on\" int, commit int, drop int)",
        "create or replace temp view v as select 1",
        "select 1 into temp t",
        "select * from x into temporary table t",
        "create table pg_temp.t (a int)",
        "insert into pg_temp_3.t values (1)",
        "create table t as select my_function()",
        "declare c cursor with hold for select 1",
        "do $$ begin perform set_config('a.b', 'c', false); end $$",
        "call p()",
        "load 'x'",
        "discard temp",
        "/* c */ set x.y = 1",
        "grant_or_something_new",
        "select 'a\\' , set_config('x', 'y', false) --'",
        "select 'unclosed",
        "update t set a = f(b)",
        "with x as (select f()) select 1",
        "values (f(1))",
    ] {
        assert!(!effects(text.as_bytes()).leaves.is_empty(), "{text}");
    }
}

#[test]
fn it_is_known_what_may_be_left() {
    for (text, leaves) in [
        ("set a.b = 1", Leaves::SETTINGS),
        ("set local.b = 1", Leaves::SETTINGS),
        ("set transaction.b to 1", Leaves::SETTINGS),
        ("set constraints = 1", Leaves::SETTINGS),
        ("set local a.b = 1", Leaves::NOTHING),
        ("set local local.b = 1", Leaves::NOTHING),
        ("set transaction read only", Leaves::NOTHING),
        ("reset a.b", Leaves::RESET | Leaves::ANY_SETTINGS),
        ("set a.b to default", Leaves::RESET | Leaves::ANY_SETTINGS),
        ("set \"a\"\"b\" to 1", Leaves::CODE | Leaves::ANY_SETTINGS),
        ("set seed to 0.5", Leaves::SEED),
        ("select set_config('a.b', $1, false)", Leaves::SETTINGS),
        ("select set_config('a.b', $1, $2)", Leaves::SETTINGS),
        ("select set_config($1, $2, false)", Leaves::CODE | Leaves::ANY_SETTINGS | Leaves::SEED),
        (
            "select set_config('a' || 'b', 'c', false)",
            Leaves::CODE | Leaves::ANY_SETTINGS | Leaves::SEED,
        ),
        ("select set_config('a.b', f('x', true), false)", Leaves::SETTINGS | Leaves::UNSEEN),
        ("select pg_advisory_lock(1)", Leaves::LOCK),
        ("select pg_try_advisory_lock_shared(1)", Leaves::LOCK),
        ("select pg_advisory_unlock(1)", Leaves::ENDS),
        ("select my.pg_advisory_lock(1)", Leaves::UNSEEN),
        ("select setseed(0.1)", Leaves::SEED),
        ("create temp table t ()", Leaves::TEMPORARY),
        ("drop table t", Leaves::ENDS),
        ("close c", Leaves::ENDS),
        ("declare c cursor with hold for select 1", Leaves::CURSOR),
        ("load 'x'", Leaves::LIBRARY),
        ("listen x", Leaves::LISTENER),
        ("prepare p as select 1", Leaves::PREPARED),
        ("prepare p as select f()", Leaves::PREPARED),
        ("prepare p as select 'a\\b'", Leaves::PREPARED | Leaves::FIXED),
        ("prepare p as select E'a\\tb'", Leaves::PREPARED | Leaves::FIXED),
        ("prepare p as select '\u{e9}'", Leaves::PREPARED | Leaves::FIXED),
        ("execute p", Leaves::EXECUTED),
        ("execute p(f(1))", Leaves::EXECUTED | Leaves::UNSEEN),
        ("explain (analyze) execute p(1)", Leaves::EXECUTED),
        ("create table t as execute p", Leaves::EXECUTED),
        ("execute", Leaves::UNSEEN),
        ("select * from pg_prepared_statements", Leaves::PREPARED),
        ("discard;", Leaves::ANYTHING),
        ("discard temp", Leaves::ENDS),
        ("discard all", Leaves::NEW_SESSION),
        ("deallocate p", Leaves::PREPARED | Leaves::ENDS),
        ("deallocate pgweir_1", Leaves::PREPARED | Leaves::NO_STATEMENTS | Leaves::ENDS),
        ("deallocate prepare all", Leaves::NO_STATEMENTS | Leaves::ENDS),
        ("select 'unclosed", Leaves::ANYTHING),
        ("prepare", Leaves::ANYTHING),
        ("begin; set a.b = 1; listen x; commit", Leaves::SETTINGS | Leaves::LISTENER),
    ] {
        assert_eq!(effects(text.as_bytes()).leaves, leaves, "{text}");
    }
}

#[test]
fn settings_are_known_by_name() {
    for (text, names) in [
        ("SET Search_Path TO x, y", "search_path"),
        ("set session a.B = 1; set local c = 2", "a.b"),
        ("set \"Weird.Name\" = 1", "weird.name"),
        ("set \"a\".b = 1", "a.b"),
        ("set time zone 'UTC'", "timezone"),
        ("set timezone = 'UTC'", "timezone"),
        ("set names 'utf8'", "client_encoding"),
        ("set schema 'x'", "search_path"),
        ("set xml option document", "xmloption"),
        ("set role bob", "role"),
        ("set role to bob", "role"),
        ("set session authorization bob", "role session_authorization"),
        ("set session_authorization to bob", "role session_authorization"),
        (
            "set session characteristics as transaction read only",
            "default_transaction_isolation default_transaction_read_only \
             default_transaction_deferrable",
        ),
        ("select 1, pg_catalog.set_config ( 'A.b' , 'x' , false ), now()", "a.b"),
    ] {
        let found = effects(text.as_bytes());
        assert_eq!(found.leaves, Leaves::SETTINGS, "{text}");
        let found: Vec<_> =
            found.settings.iter().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(found.join(" "), names, "{text}");
    }
}

#[test]
fn what_is_reset_and_not_set_again_is_known() {
    let names = ["timezone", "search_path", "role", "client_encoding", "a.b"];
    for (text, reset) in [
        ("reset all", "timezone search_path client_encoding a.b"),
        ("discard all", "timezone search_path role client_encoding a.b"),
        ("reset all; set timezone = 'UTC'; set a.b = 1", "search_path client_encoding"),
        ("reset role; reset all", "timezone search_path role client_encoding a.b"),
        (
            "reset all; set a.b = 1; reset a.b; set role x",
            "timezone search_path client_encoding a.b",
        ),
        ("set a.b = 1; reset search_path", "search_path"),
        ("reset A.b; reset time zone", "timezone a.b"),
        ("set search_path to default", "search_path"),
        ("set time zone local; set names", "timezone client_encoding"),
        ("set names default; reset session authorization", "role client_encoding"),
        ("set session authorization default", "role"),
        ("select set_config('a.b', 'c', false)", ""),
        ("set role none", ""),
    ] {
        let resets = effects(text.as_bytes()).resets;
        let found: Vec<_> = names.into_iter().filter(|name| resets.has(name.as_bytes())).collect();
        assert_eq!(found.join(" "), reset, "{text}");
        assert_eq!(resets.is_empty(), reset.is_empty(), "{text}");
    }
}

#[test]
fn channels_are_known_by_name() {
    for (text, channels) in [
        ("LISTEN Jobs", "jobs"),
        ("listen \"Jobs\"\"x\" ; listen b", "Jobs\"x b"),
        ("begin; listen a; unlisten c; commit", "a"),
        ("unlisten *", ""),
        ("listen", ""),
        ("listen \"\"", ""),
        ("listen caf\u{e9}", ""),
        (&format!("listen {}", "x".repeat(64)), ""),
    ] {
        let found = effects(text.as_bytes());
        assert_eq!(found.leaves, Leaves::LISTENER, "{text}");
        let found: Vec<_> =
            found.channels.iter().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(found.join(" "), channels, "{text}");
    }
}

#[test]
fn what_changes_the_columns_of_others_is_seen() {
    for (text, alters) in [
        ("alter table t add column a int", true),
        ("select 1; create or replace view v as select 1", true),
        ("create table t (a int)", true),
        ("create temp table t (a int)", false),
        ("create temp table t (a int) on commit drop", false),
        ("drop table t", false),
        ("insert into t values (1)", false),
        ("select 'unclosed", true),
    ] {
        assert_eq!(effects(text.as_bytes()).alters, alters, "{text}");
    }
}

#[test]
fn prepared_statements_are_known_by_name() {
    for (text, executed, defined, any, frees_all) in [
        ("EXECUTE P(1, 2)", "p", "", false, false),
        ("explain execute \"P\"; execute q", "P q", "", false, false),
        ("create temp table t as execute p with no data", "p", "", false, false),
        ("prepare P (int) as select $1; deallocate prepare q", "", "p q", false, false),
        ("deallocate prepare", "", "prepare", false, false),
        ("deallocate all", "", "", false, true),
        ("DISCARD ALL", "", "", false, true),
        ("select count(*) from pg_catalog.\"pg_prepared_statements\"", "", "", true, false),
        ("select name from PG_prepared_statement()", "", "", true, false),
        ("execute caf\u{e9}", "", "", true, false),
    ] {
        let found = effects(text.as_bytes()).mentions.unwrap();
        let words = |names: &BTreeSet<Box<[u8]>>| {
            names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(" ")
        };
        let found = (words(&found.executed), words(&found.defined), found.any, found.frees_all);
        assert_eq!(found, (executed.into(), defined.into(), any, frees_all), "{text}");
    }
    for text in ["select 1", "prepare transaction 'x'", "grant execute on function f to x"] {
        assert_eq!(effects(text.as_bytes()).mentions, None, "{text}");
    }
}

#[test]
fn commands_that_prepare_are_found_in_their_text() {
    let command = |text: &'static str, name: &str| {
        let found = prepares(text.as_bytes(), name.as_bytes())?;
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        Some((text(found.command), text(found.statement)))
    };
    let text = "select 1; PREPARE \"P\" (int) AS select ';' , $1 as as ; prepare q as values (1)";
    let found = Some(("PREPARE \"P\" (int) AS select ';' , $1 as as", "select ';' , $1 as as"));
    assert_eq!(command(text, "P"), found);
    assert_eq!(command(text, "q"), Some(("prepare q as values (1)", "values (1)")));
    assert_eq!(command(text, "p"), None);
    assert_eq!(command("prepare p as select 1; prepare p as select 2", "p"), None);
    assert_eq!(command("prepare p as select E'\\t'", "p"), None);
    assert_eq!(command("prepare transaction 'p'", "transaction"), None);
    let alone = |text: &'static str| prepare(text.as_bytes()).map(|found| found.name);
    assert_eq!(alone(" ; prepare p as select 1;"), Some((*b"p").into()));
    for text in ["prepare p as select 1; select 2", "select 2; prepare p as select 1", "prepare p"]
    {
        assert_eq!(alone(text), None, "{text}");
    }
}

#[test]
fn what_may_change_the_meaning_of_names_is_seen() {
    let judged = |text: &str| {
        let effects = effects(text.as_bytes());
        (effects.alters, effects.defines)
    };
    for text in [
        "create function f() returns int language sql as 'select 1'",
        "CREATE OR REPLACE VIEW temp AS SELECT 1",
        "create function f(temp int) returns int language sql as 'select 1'",
        "create table temp (a int)",
        "alter table t add temp int",
        "alter function f() volatile",
        "begin; alter table t set unlogged; commit",
        "create extension x",
        "create policy p on t using (f())",
        "select 'a\\' --'",
    ] {
        assert_eq!(judged(text), (true, true), "{text}");
    }
    for text in [
        "do $$ begin execute 'create table t ()'; end $$",
        "call p()",
        "import foreign schema a from server b into c",
        "select 1 into unlogged t",
        "create temp table t (a int); select * into unlogged table u from t",
        "commit prepared 'x'",
        "wibble",
    ] {
        assert!(judged(text).1, "{text}");
    }
    for text in [
        "create temp table t (a int)",
        "create or replace local temporary view v as select 1",
        "insert into t values (1)",
        "select f(1)",
        "drop table t",
        "begin; rollback prepared 'x'",
        "truncate t",
        "grant select on t to x",
        "prepare transaction 'x'",
    ] {
        assert_eq!(judged(text), (false, false), "{text}");
    }
}

#[test]
fn question_for_the_last_route_is_seen_in_its_forms() {
    for (text, asks) in [
        ("show pgweir.last_route", true),
        ("/* a */ SHOW \"pgweir\" . Last_Route;", true),
        ("select 1; show pgweir.last_route; select 2", true),
        ("select current_setting('PgWeir.last_route', true)", true),
        ("select pg_catalog.current_setting( 'pgweir.last_route')", true),
        ("select current_setting('work_mem'), 'pgweir.last_route'", false),
        ("show pgweir.last_routes", false),
        ("show work_mem", false),
        ("select current_setting($1)", false),
    ] {
        assert_eq!(effects(text.as_bytes()).asks_route, asks, "{text}");
        assert!(effects(text.as_bytes()).leaves.is_empty(), "{text}");
    }
}

#[test]
fn what_its_values_say_is_never_taken_for_nothing() {
    for (text, nothing) in [
        ("SELECT abalance FROM pgbench_accounts WHERE aid = 0", true),
        ("BEGIN", true),
        ("SET LOCAL a.b = ''", true),
        ("SELECT current_setting('')", false),
        ("SELECT pg_catalog.CURRENT_SETTING('')", false),
        ("SELECT \"current_setting\"('')", false),
        ("SELECT set_config('', '', true)", false),
        ("SET a.b = ''", false),
        ("SELECT f('')", false),
        ("SELECT '", false),
    ] {
        let text = text.as_bytes();
        assert_eq!(leaves_nothing(text, &effects(text)), nothing, "{}", text.escape_ascii());
    }
}
