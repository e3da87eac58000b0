//! What applications, drivers and tools really send, as scripts.

use crate::runner::{Protocol, bench};

/// Runs the statements, one per line, in each protocol, with these startup parameters.
#[track_caller]
fn same_with(startup: &[(&str, &str)], script: &str) {
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        // Several statements in one string are for the simple protocol alone.
        let lines = lines.map(|line| match line.strip_prefix("Q ") {
            Some(text) => (Protocol::Simple, text.to_owned()),
            None => (protocol, line.to_owned()),
        });
        let script: Vec<_> = lines.collect();
        if let Err(difference) = bench().compare(startup, &script) {
            panic!("{difference}");
        }
    }
}

#[track_caller]
fn same(script: &str) {
    same_with(&[], script);
}

const SHOW: &str = "select current_setting('search_path'), current_setting('timezone'), \
    current_setting('datestyle'), current_setting('statement_timeout'), current_user";

#[test]
fn settings_stay_with_their_client() {
    same(&format!(
        "set timezone = 'Asia/Tokyo'
         {SHOW}
         set time zone -3
         show timezone
         set session statement_timeout to '2s'
         {SHOW}
         set search_path to one, \"$user\", public
         select * from place
         set search_path = two
         select * from place
         set datestyle to 'German'
         select '2020-02-01'::date
         set datestyle to dmy
         {SHOW}
         set names 'LATIN1'
         show client_encoding
         set client_encoding to 'UTF8'
         set app.tenant = 'it''s me'
         select current_setting('app.tenant')
         select set_config('app.tenant', 'Zoë \\ '' \"', false)
         select current_setting('app.tenant')
         set session characteristics as transaction read only
         create table nowhere (n int)
         set session characteristics as transaction read write, isolation level serializable
         show transaction_isolation
         reset timezone
         {SHOW}
         set search_path to default
         {SHOW}
         reset all
         {SHOW}
         show transaction_isolation"
    ));
}

#[test]
fn settings_follow_their_transaction() {
    same(&format!(
        "begin
         set timezone = 'Asia/Tokyo'
         {SHOW}
         rollback
         {SHOW}
         begin
         set timezone = 'Asia/Tokyo'
         commit
         {SHOW}
         begin
         savepoint a
         set timezone = 'Asia/Dubai'
         rollback to a
         {SHOW}
         set local timezone = 'Asia/Dhaka'
         {SHOW}
         commit
         {SHOW}
         set local.tenant = 'kept'
         select current_setting('local.tenant')
         set transaction.tenant to 'kept'
         select current_setting('transaction.tenant')
         begin
         set app.tenant = 'kept'
         set local app.tenant = 'local'
         commit
         select current_setting('app.tenant')
         set local timezone = 'Asia/Dhaka'
         {SHOW}
         set timezone = 'Nowhere/At_All'
         {SHOW}
         begin
         set timezone = 'Europe/Rome'
         select 1/0
         set timezone = 'Europe/Oslo'
         commit
         {SHOW}
         Q set timezone = 'Europe/Rome'; set app.tenant = 'two'; select 1/0
         {SHOW}
         Q set timezone = 'Europe/Rome'; set app.tenant = 'two'
         {SHOW}
         Q set timezone = 'Europe/Oslo'; begin; set timezone = 'Europe/Riga'; rollback
         {SHOW}
         Q set timezone = 'Europe/Oslo'; commit; set timezone = 'Europe/Riga'; select 1/0
         {SHOW}"
    ));
}

#[test]
fn roles_stay_with_their_client() {
    same(&format!(
        "set role other
         {SHOW}
         begin
         set local role app
         {SHOW}
         commit
         {SHOW}
         set role none
         {SHOW}
         set role other
         reset role
         {SHOW}
         begin
         set role other
         rollback
         {SHOW}
         set role nobody
         {SHOW}
         set session authorization other
         {SHOW}
         set session authorization default
         reset session authorization
         {SHOW}"
    ));
}

#[test]
fn what_code_sets_is_found() {
    same(
        "select hidden('by a function')
         select current_setting('app.tenant')
         do $$ begin perform set_config('app.tenant', 'by a block', false); end $$
         select current_setting('app.tenant')
         begin
         select hidden('rolled back')
         rollback
         select current_setting('app.tenant')
         select hidden_table()
         insert into hidden values (1), (2)
         select count(*) from hidden
         drop table hidden
         select count(*) from hidden",
    );
}

#[test]
fn startup_settings_are_what_is_reset_to() {
    let options = "-c app.tenant=start -c search_path=one,public -c statement_timeout=7s";
    same_with(
        &[("options", options), ("TimeZone", "Asia/Tokyo"), ("application_name", "scripts")],
        &format!(
            "{SHOW}
             set search_path = two
             set timezone = 'UTC'
             reset search_path
             {SHOW}
             reset all
             {SHOW}
             set app.tenant = 'changed'
             set timezone to default
             {SHOW}
             discard all
             select current_setting('app.tenant')
             {SHOW}
             begin
             set search_path = two
             reset all
             {SHOW}
             rollback
             {SHOW}
             begin
             set timezone = 'UTC'
             reset timezone
             commit
             {SHOW}
             begin
             select 1/0
             reset all
             rollback
             {SHOW}
             set application_name = 'other'
             reset application_name
             {SHOW}"
        ),
    );
}

#[test]
fn reset_batches_of_drivers_are_answered() {
    same(&format!(
        "set timezone = 'Asia/Tokyo'
         Q SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
         {SHOW}
         set timezone = 'Asia/Tokyo'
         discard all
         {SHOW}
         Q set session authorization default
         Q reset all
         Q close all
         Q unlisten *
         Q select pg_advisory_unlock_all()
         Q discard sequences
         Q discard temp
         Q discard plans
         Q deallocate all
         Q reset session authorization
         Q discard all; select 1
         begin
         discard all
         rollback
         begin
         set timezone = 'Asia/Tokyo'
         Q SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
         commit
         {SHOW}
         begin
         Q SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; select 1/0
         Q reset all
         rollback
         Q reset nonsense
         Q reset app.never_set"
    ));
}

#[test]
fn temporary_objects_stay_until_they_are_gone() {
    same(
        "create temp table t1 (n int)
         insert into t1 select generate_series(1, 3)
         select count(*) from t1
         begin
         drop table t1
         rollback
         select count(*) from t1
         drop table t1
         select count(*) from t1
         create temp table t1 on commit drop as select 1
         select count(*) from t1
         begin
         create temp table t1 on commit drop as select 1
         select count(*) from t1
         commit
         select count(*) from t1
         select 7 as n into temp t1
         select * from t1
         create temp view v as select * from t1
         select * from v
         create function pg_temp.f() returns int language sql as 'select 5'
         select pg_temp.f()
         discard temp
         select * from v
         create temp sequence q
         select nextval('q')
         select nextval('q')
         discard all
         select nextval('q')",
    );
}

#[test]
fn cursors_stay_as_long_as_on_a_server_of_ones_own() {
    same(
        "declare c cursor with hold for select generate_series(1, 5)
         fetch 2 from c
         fetch 1 from c
         close c
         fetch 1 from c
         begin
         declare c cursor with hold for select generate_series(1, 5)
         declare d cursor for select generate_series(1, 5)
         fetch 1 from c
         fetch 1 from d
         commit
         fetch 1 from c
         fetch 1 from d
         move 1 in c
         fetch all from c
         close all
         fetch 1 from c
         begin
         declare c cursor with hold for select 1
         rollback
         fetch 1 from c
         declare c cursor for select 1
         declare c cursor with hold for select 1
         discard all
         fetch 1 from c",
    );
}

#[test]
fn session_locks_are_held_until_they_are_released() {
    const HELD: &str = "select objid, mode from pg_locks where locktype = 'advisory' and objid < 900 order by objid";
    same(&format!(
        "select pg_advisory_lock(1)
         select pg_advisory_lock(1)
         {HELD}
         select pg_advisory_unlock(1)
         {HELD}
         select pg_advisory_unlock(1)
         {HELD}
         select pg_advisory_unlock(1)
         select pg_try_advisory_lock(2), pg_try_advisory_lock_shared(3)
         {HELD}
         select pg_advisory_unlock_all()
         {HELD}
         begin
         select pg_advisory_lock(4), pg_advisory_xact_lock(5)
         rollback
         {HELD}
         Q select pg_advisory_unlock_all(); close all; unlisten *; reset all
         {HELD}
         begin
         select pg_advisory_xact_lock(6)
         commit
         {HELD}"
    ));
}

/// Parses, and says what running it as often as the connection hops gives.
#[track_caller]
fn prepared(client: &mut crate::wire::Client, expected: &str) {
    for _ in 0..4 {
        client.talk("B place / D place / E / S", expected);
    }
}

#[test]
fn the_same_text_is_another_statement_under_another_search_path() {
    let mut one = bench().pooled(&[("search_path", "one")]);
    let mut two = bench().pooled(&[]);
    one.talk("P place select * from place / S", "1 ZI");
    two.talk("P place select * from place / S", "1 ZI");
    prepared(&mut one, "2 t T D[one] C[SELECT 1] ZI");
    prepared(&mut two, "2 t T D[public] C[SELECT 1] ZI");
    let mut three = bench().pooled(&[("search_path", "two")]);
    three.talk("P place select * from place / S", "1 ZI");
    prepared(&mut three, "2 t T D[two|2] C[SELECT 1] ZI");
    two.talk("Q set search_path = one", "C[SET] ZI");
    prepared(&mut two, "2 t T D[one] C[SELECT 1] ZI");
    prepared(&mut one, "2 t T D[one] C[SELECT 1] ZI");
}

#[test]
fn reset_all_does_not_change_who_the_session_is() {
    same(&format!(
        "set role other
         set timezone = 'Asia/Tokyo'
         {SHOW}
         reset all
         {SHOW}
         Q SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
         {SHOW}
         Q {SHOW}; {SHOW}
         discard all
         {SHOW}"
    ));
    same_with(
        &[("options", "-c role=other -c statement_timeout=7s")],
        &format!(
            "{SHOW}
             set role none
             set timezone = 'Asia/Tokyo'
             reset all
             {SHOW}
             begin
             reset all
             {SHOW}
             commit
             discard all
             {SHOW}"
        ),
    );
}

#[test]
fn what_is_set_after_a_reset_stays_set() {
    same_with(
        &[("TimeZone", "Asia/Tokyo"), ("options", "-c app.tenant=start")],
        &format!(
            "begin
             reset timezone
             {SHOW}
             set timezone = 'UTC'
             {SHOW}
             reset all
             set app.tenant = 'other'
             select current_setting('app.tenant')
             commit
             {SHOW}
             create temp table t1 (n int)
             set timezone to default
             Q set timezone = 'Europe/Rome'
             begin
             {SHOW}
             commit
             drop table t1
             {SHOW}"
        ),
    );
}

#[test]
fn channels_follow_their_transaction() {
    let channels = "select c from pg_listening_channels() c order by 1";
    same(&format!(
        "listen a
         {channels}
         notify a, '1'
         begin
         listen b
         {channels}
         notify b, '2'
         notify a, '3'
         commit
         {channels}
         begin
         unlisten a
         savepoint s
         listen c
         rollback to s
         rollback
         {channels}
         select pg_notify('b', '4')
         Q begin; unlisten b; notify b, '5'; commit
         {channels}
         discard all
         {channels}
         Q listen a; listen b; notify a, '6'
         Q unlisten *; notify a, '7'
         notify a, '8'"
    ));
}

#[test]
fn statements_prepared_by_sql_travel() {
    const LIST: &str = "select name, from_sql, statement, parameter_types from pg_prepared_statements \
        where name <> '' and name !~ '^pgweir' order by 1";
    same(&format!(
        "prepare p (int) as select $1 + 1 as n
         execute p (1)
         execute p (41)
         {LIST}
         explain (costs off) execute p (1)
         create temp table t1 on commit drop as execute p (1)
         prepare p as select 2
         execute p (2)
         begin
         prepare q as select name from place
         select 1/0
         rollback
         execute q
         prepare q as select 3
         begin
         deallocate p
         rollback
         execute p (1)
         {LIST}
         prepare \"P q\" as select set_config('app.tenant', 'set by it', false)
         execute \"P q\"
         select current_setting('app.tenant')
         prepare j as insert into serial (note) values ($1) returning note
         execute j ('x')
         execute nothing
         deallocate nothing
         deallocate prepare q
         execute q
         {LIST}
         deallocate all
         {LIST}
         prepare p as select * from place
         begin
         execute p
         select 1/0
         execute p
         rollback
         execute p
         discard all
         execute p"
    ));
}

#[test]
fn what_strings_and_code_prepare_travels() {
    const LIST: &str = "select name, from_sql from pg_prepared_statements \
        where name <> '' and name !~ '^pgweir' order by 1";
    same(&format!(
        "prepare p (int) as select $1 + 1
         show statement_timeout
         Q prepare r as select set_config('app.tenant', 'g', false); execute s; select '2020-02-01'::date
         execute r
         select current_setting('app.tenant')
         create temp table t1 on commit drop as execute p
         Q select 1; prepare q as select 'a;b'; execute q; deallocate p
         execute q
         execute p (1)
         Q deallocate q; prepare q as select 'anew'; select 1/0
         execute q
         do $$ begin execute 'prepare c as select 7'; end $$
         execute c
         {LIST}
         do $$ begin execute 'deallocate c'; end $$
         execute c
         do $$ declare found text; begin execute 'execute q' into found; raise notice '%', found; end $$
         Q deallocate all; select 1
         {LIST}
         execute q
         Q set timezone = 'Asia/Tokyo'; prepare q as select 'q'
         Q deallocate all; prepare q as select 'q'
         {LIST}
         execute q
         prepare fixed as select E'a\\tb', 'Zoë'
         execute fixed
         select 1
         execute fixed
         deallocate fixed
         execute fixed"
    ));
}

#[test]
fn end_that_is_kept_back_for_a_question_is_told_once() {
    let options = "-c app.tenant=start -c search_path=one,public";
    for _ in 0..3 {
        same_with(
            &[("options", options), ("TimeZone", "Asia/Kolkata")],
            "set app.tenant = 'x'
             Q listen x; set search_path = public
             select pg_try_advisory_lock(8)
             select hidden('f')
             listen x
             set timezone = 'Europe/Rome'
             notify x, 'a'
             Q select pg_advisory_unlock_all(); close all; unlisten *; reset all
             select count(*) from hidden
             select 1
             select 2",
        );
    }
}
