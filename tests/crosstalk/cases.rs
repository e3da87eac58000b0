//! Batches that once went wrong, or may well: each is played against the model.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, SCHEMAS};
use crate::model::Message;
use crate::statement::{Does, Statement};
use crate::support::{Cluster, Pooler, cluster, eventually};
use crate::wire::{Cut, tagged};
use crate::{Run, configuration, prepare, superuser};

struct House {
    cluster: Arc<Cluster>,
    _pooler: Pooler,
    run: Run,
}

impl House {
    fn new() -> Self {
        let cluster = Arc::new(cluster());
        prepare(&cluster);
        let pooler = Pooler::start(&configuration(&cluster));
        let run = Run::new(&cluster, pooler.port(), 1, 0);
        Self { cluster, _pooler: pooler, run }
    }

    /// Plays these batches as one client after another.
    #[track_caller]
    fn play(&self, client: usize, batches: &[Vec<Message>]) {
        let mut client = Client::new(&self.run, client);
        if let Err(what) = client.play_these(batches) {
            panic!("{what}");
        }
    }
}

fn check(batches: &[Vec<Message>]) {
    House::new().play(0, batches);
}

fn series() -> Rc<Statement> {
    Statement::series(3, 1_000_000)
}

fn parse(name: &str, statement: Rc<Statement>) -> Message {
    Message::Parse { name: name.to_owned(), statement }
}

/// Bind and Execute.
fn run(name: &str) -> [Message; 2] {
    let values = Some(("tag".to_owned(), 2));
    [
        Message::Bind { portal: String::new(), name: name.to_owned(), values },
        Message::Execute { portal: String::new(), limit: 0 },
    ]
}

fn run_plain(name: &str) -> [Message; 2] {
    [
        Message::Bind { portal: String::new(), name: name.to_owned(), values: None },
        Message::Execute { portal: String::new(), limit: 0 },
    ]
}

fn query(does: Does) -> Message {
    Message::Query(vec![(Statement::plain(does), String::new(), 0)])
}

fn batch(parts: &[&[Message]]) -> Vec<Message> {
    parts.concat()
}

const SYNC: &[Message] = &[Message::Sync];

#[test]
fn statement_prepared_in_the_batch_before_is_waited_for() {
    check(&[batch(&[
        &[parse("s0", series())],
        SYNC,
        &[parse("s1", Statement::owned()), parse("s2", series())],
        &run("s2"),
        SYNC,
    ])]);
}

#[test]
fn thousands_of_requests_without_a_sync_are_answered_in_order() {
    let mut messages = vec![parse("s0", series())];
    for _ in 0..12_000 {
        messages.extend(run("s0"));
    }
    messages.push(Message::Sync);
    check(&[messages]);
}

#[test]
fn thousands_of_requests_before_a_copy_do_not_hold_its_rows_back() {
    let mut messages = vec![parse("s0", Statement::owned())];
    for _ in 0..(16 * 1024 - 4) / 2 {
        messages.extend(run("s0"));
    }
    messages.push(parse("", Statement::plain(Does::CopyIn)));
    messages.extend(run_plain(""));
    let lines = crate::model::CopyLines { client: 0, rows: 3, broken: false };
    messages.extend([Message::CopyData(lines), Message::CopyDone, Message::Sync]);
    check(&[messages]);
}

#[test]
fn statement_whose_closing_was_skipped_is_not_prepared_again() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let parses: Vec<_> =
        (1..).zip(names).map(|(pad, name)| parse(name, Statement::series(pad, 100))).collect();
    let duplicate = parse("", Statement::plain(Does::Duplicate));
    // Each of the two servers has as many as it may: for one more, the first would be closed.
    let runs: Vec<_> = names.iter().flat_map(|name| run(name)).collect();
    let surplus = parse("g", Statement::series(7, 100));
    check(&[
        batch(&[&parses, SYNC]),
        batch(&[&runs, SYNC]),
        batch(&[&runs, SYNC]),
        batch(&[&[duplicate], &run_plain(""), &[surplus], SYNC, &run("a"), SYNC, &run("b"), SYNC]),
    ]);
}

#[test]
fn unnamed_statement_stays_when_another_is_prepared_in_doubt() {
    check(&[
        batch(&[&[query(Does::Begin), parse("s0", series())], SYNC]),
        batch(&[&[parse("", Statement::plain(Does::Begin))], SYNC]),
        batch(&[
            SYNC,
            &[parse("s1", series())],
            SYNC,
            &[parse("s2", Statement::plain(Does::NoTable))],
            SYNC,
            &[Message::DescribeStatement(String::new())],
            SYNC,
        ]),
        batch(&[&[query(Does::Rollback)]]),
    ]);
}

#[test]
fn deallocate_ends_an_implicit_transaction() {
    check(&[
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[
            &[parse("", Statement::owned())],
            &run(""),
            &[query(Does::Deallocate("s0".into()))],
        ]),
        batch(&[&run("s0"), SYNC]),
    ]);
}

#[test]
fn deallocate_that_is_skipped_or_refused_frees_no_name() {
    check(&[
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[
            &[parse("", Statement::plain(Does::BadSyntax)), query(Does::Deallocate("s0".into()))],
            &[query(Does::DeallocateAll)],
            SYNC,
            &run("s0"),
            SYNC,
        ]),
        batch(&[
            &[query(Does::Begin), query(Does::DiscardAll), query(Does::Deallocate("s0".into()))],
            &[query(Does::DeallocateAll), query(Does::Rollback)],
        ]),
        batch(&[&run("s0"), SYNC]),
    ]);
}

#[test]
fn names_are_freed_behind_a_rollback_of_the_same_batch() {
    check(&[
        batch(&[&[parse("s0", series()), parse("s1", series())], SYNC]),
        batch(&[&[query(Does::Begin), query(Does::Duplicate)]]),
        batch(&[&[query(Does::Rollback), query(Does::Deallocate("s0".into()))]]),
        batch(&[&run("s0"), SYNC, &run("s1"), SYNC]),
        batch(&[&[query(Does::Begin), query(Does::Duplicate)]]),
        batch(&[&[query(Does::Rollback), query(Does::DiscardAll)]]),
        batch(&[&[parse("s1", series())], &run("s1"), SYNC]),
    ]);
}

#[test]
fn failed_parse_drops_the_unnamed_statement_and_a_skipped_query_does_not() {
    check(&[
        batch(&[&[parse("", series())], SYNC]),
        batch(&[&[parse("s0", Statement::plain(Does::BadSyntax)), query(Does::Empty)], SYNC]),
        batch(&[&run(""), SYNC]),
        batch(&[&[parse("", Statement::plain(Does::BadSyntax))], SYNC]),
        batch(&[&run(""), SYNC]),
    ]);
}

#[test]
fn failed_parse_behind_a_failed_call_drops_the_unnamed_statement() {
    check(&[
        batch(&[&[query(Does::Begin), parse("s0", series())], SYNC, &[query(Does::NoTable)]]),
        batch(&[
            &[parse("", Statement::plain(Does::RollbackTo(2)))],
            SYNC,
            &[Message::Call("a".into(), "b".into()), parse("", series())],
            SYNC,
            // To hear what the server says to this, it is given to it as the unnamed statement.
            &[parse("s1", series())],
            SYNC,
        ]),
        batch(&[&run_plain(""), SYNC, &[query(Does::Rollback)]]),
    ]);
}

#[test]
fn name_that_is_taken_is_refused_as_often_as_it_is_asked_for() {
    check(&[
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[&[query(Does::Begin), query(Does::Savepoint(0))]]),
        batch(&[&[parse("s0", Statement::owned())], SYNC]),
        // The transaction has failed: this is said first now.
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[&[parse("s0", Statement::plain(Does::BadSyntax))], SYNC]),
        batch(&[&[query(Does::RollbackTo(0)), parse("s0", series())], SYNC]),
        batch(&[&[query(Does::Rollback)], &run("s0"), SYNC]),
    ]);
}

/// A Parse on one server, its Bind on another: what runs there must be seen there.
#[test]
fn setting_made_by_a_statement_that_was_parsed_elsewhere_does_not_stay() {
    let house = House::new();
    let set = Statement::plain(Does::SetTag("c0".to_owned()));
    house.play(0, &[batch(&[&[parse("", set)], SYNC]), batch(&[&run_plain(""), SYNC])]);
    for client in 1..2 * SCHEMAS.len() {
        let settings = Statement::settings();
        house.play(client, &[vec![Message::Query(vec![(settings, "tag".to_owned(), 1)])]]);
    }
}

#[test]
fn batch_that_fails_leaves_the_names_of_the_batches_behind_it() {
    check(&[
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[
            &[parse("", Statement::plain(Does::NoTable))],
            SYNC,
            &[parse("", series()), parse("s0", Statement::plain(Does::NoTable))],
            SYNC,
            &[Message::CloseStatement("s0".into()), parse("s0", Statement::owned())],
            SYNC,
            &[parse("s1", Statement::plain(Does::NoTable))],
            SYNC,
            &[parse("s1", Statement::owned())],
            SYNC,
        ]),
        batch(&[&run(""), SYNC, &run("s0"), SYNC, &run("s1"), SYNC]),
        batch(&[&[query(Does::Begin), query(Does::Duplicate), parse("s1", series())], SYNC]),
        batch(&[&[query(Does::Rollback), parse("s2", series())], &run("s2"), SYNC]),
    ]);
}

/// A client with the same settings leaves a statement without a name on each server.
#[test]
fn unnamed_statement_that_was_skipped_is_not_found_as_another_clients() {
    let house = House::new();
    let left = batch(&[&[parse("", Statement::owned())], &run(""), SYNC]);
    house.play(0, &[left.clone(), left.clone(), left]);
    house.play(
        0,
        &[batch(&[
            &[parse("s0", Statement::plain(Does::BadSyntax)), parse("", series())],
            SYNC,
            &run(""),
            SYNC,
        ])],
    );
}

#[test]
fn name_that_was_refused_is_not_left_on_the_server() {
    for name in ["s0", "pgweir_1", "pgweir_2"] {
        check(&[
            batch(&[&[parse(name, series())], SYNC]),
            batch(&[
                &[query(Does::Begin), query(Does::Savepoint(0)), parse(name, Statement::owned())],
                SYNC,
            ]),
            batch(&[&[query(Does::RollbackTo(0)), Message::CloseStatement(name.into())], SYNC]),
            batch(&[&run(name), SYNC]),
            batch(&[&[query(Does::RollbackTo(0)), parse("s1", Statement::owned())], SYNC]),
            batch(&[&run("s1"), &[parse("s2", series())], &run("s2"), SYNC]),
            batch(&[&[query(Does::Rollback)]]),
        ]);
    }
}

/// Longer than `max_statement_size`, and than what is read of it at once.
#[test]
fn long_statement_is_refused_a_taken_name_and_leaves_the_unnamed_one() {
    let long = Statement::series(3, 1_000_000);
    let text = format!("{} /* {} */", long.text, "z".repeat(300_000));
    let long = Rc::new(Statement { text, ..Rc::into_inner(long).unwrap() });
    let house = House::new();
    let left = batch(&[&[parse("", Statement::owned())], &run(""), SYNC]);
    house.play(0, &[left.clone(), left.clone(), left]);
    house.play(
        0,
        &[
            batch(&[&[parse("s0", Statement::owned())], SYNC]),
            batch(&[&[parse("s0", Rc::clone(&long))], SYNC]),
            batch(&[&run("s0"), SYNC]),
            batch(&[&[parse("s1", long)], SYNC, &run(""), SYNC, &run("s1"), SYNC]),
        ],
    );
}

#[test]
fn query_behind_one_that_was_skipped_drops_the_unnamed_statement() {
    check(&[
        batch(&[
            &[parse("", series())],
            SYNC,
            &[parse("s0", Statement::plain(Does::NoTable)), query(Does::Empty)],
            SYNC,
            &[query(Does::Empty)],
        ]),
        batch(&[&run(""), SYNC]),
    ]);
}

#[test]
fn client_gone_in_the_midst_of_a_message_leaves_nothing_running() {
    let house = House::new();
    let half = &tagged(b'd', &[&[0; 100]])[..50];
    for how in [Cut::Close, Cut::Reset, Cut::HalfClose] {
        let mut connection = Client::new(&house.run, 0).connect().unwrap();
        let query = tagged(b'Q', &[b"select pg_sleep(1000)\0"]);
        connection.send(&[&query[..], half].concat()).unwrap();
        let active = "select count(*) from pg_stat_activity where query like '%sleep(1000)'";
        let count = || superuser(&house.cluster, active);
        eventually("the query runs", Duration::from_secs(10), || count() == "1");
        connection.cut(how);
        eventually("it was cancelled", Duration::from_secs(10), || count() == "0");
    }
}

#[test]
fn name_that_a_refused_query_would_have_freed_is_still_there_behind_it() {
    for frees in [Does::DeallocateAll, Does::DiscardAll, Does::Deallocate("s0".into())] {
        check(&[
            batch(&[&[parse("s0", series()), parse("s1", series())], SYNC]),
            batch(&[&[query(Does::Begin), query(Does::Duplicate)]]),
            batch(&[&[query(frees), Message::CloseStatement("s0".into())], &run("s1"), SYNC]),
            batch(&[&[query(Does::Rollback)], &run("s0"), SYNC, &run("s1"), SYNC]),
        ]);
    }
}

/// What it asks for is answered without a server, or without asking the server.
#[test]
fn client_that_does_not_read_is_not_read_either() {
    let house = House::new();
    let close = Message::CloseStatement("s0".into()).bytes();
    let idle = [close.clone(), Message::Sync.bytes()].concat().repeat(1000);
    let prepare = [parse("s0", series()), Message::CloseStatement("s0".into())];
    let attached: Vec<u8> = prepare.iter().flat_map(Message::bytes).collect();
    for (first, more) in [(Vec::new(), idle), (query(Does::Begin).bytes(), attached.repeat(1000))] {
        let mut connection = Client::new(&house.run, 0).connect().unwrap();
        connection.send(&first).unwrap();
        assert!(connection.is_blocked_by(&more, 100_000_000), "all was taken");
        connection.cut(Cut::Reset);
    }
}

#[test]
fn name_that_is_freed_twice_in_one_write_is_unknown_the_second_time() {
    let deallocate = || query(Does::Deallocate("s0".into()));
    check(&[
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[&[deallocate(), deallocate()], &run("s0"), SYNC]),
        batch(&[&[parse("s0", series())], SYNC]),
        batch(&[&[Message::CloseStatement("s0".into()), deallocate(), Message::Sync]]),
    ]);
}
