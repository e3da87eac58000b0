//! What one client does: the bytes that it sends once, and in each transaction, and what it
//! waits for after each piece. Built once and shared by all clients of a case.

use std::sync::Arc;

use crate::null_server::LARGE;
use crate::wire;

/// What a client waits for after it has sent a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// ReadyForQuery.
    Ready,
    /// CopyInResponse.
    CopyIn,
    /// Nothing: the next step goes out at once.
    Sent,
}

/// Bytes to send, and what to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) until: Until,
}

impl Step {
    fn new(until: Until, build: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        build(&mut bytes);
        Self { bytes: bytes.into(), until }
    }

    fn query(text: &str) -> Self {
        Self::new(Until::Ready, |out| wire::query(out, text))
    }
}

/// A client's work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Once after login.
    pub(crate) setup: Vec<Step>,
    /// One transaction; empty for a client that only sits there.
    pub(crate) transaction: Vec<Step>,
    /// Whether each transaction has a connection of its own.
    pub(crate) reconnects: bool,
    /// What a transaction counts as: 1, or the MB that it moves.
    pub(crate) units: u64,
}

const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";
const SELECT_PARAMETER: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";

/// A client that logs in and then sits there.
fn idle() -> Script {
    Script { units: 1, ..Script::default() }
}

/// A client that has asked once and then sits there, as most of an application's connections do.
pub(crate) fn idle_after_query() -> Script {
    Script { setup: vec![Step::query(SELECT)], ..idle() }
}

/// An idle client that has prepared this many statements; the same ones as its neighbours.
pub(crate) fn idle_with_statements(count: usize) -> Script {
    let setup = (0..count)
        .map(|number| {
            Step::new(Until::Ready, |out| {
                wire::parse(out, &format!("s{number}"), &format!("{SELECT_PARAMETER} + {number}"));
                wire::sync(out);
            })
        })
        .collect();
    Script { setup, ..idle() }
}

/// One simple query.
pub(crate) fn simple() -> Script {
    Script { transaction: vec![Step::query(SELECT)], ..idle() }
}

/// An unnamed statement, as most drivers send it for a query with parameters.
pub(crate) fn extended() -> Script {
    let step = Step::new(Until::Ready, |out| {
        wire::parse(out, "", SELECT_PARAMETER);
        wire::bind(out, "", "4711");
        wire::describe_portal(out);
        wire::execute(out);
        wire::sync(out);
    });
    Script { transaction: vec![step], ..idle() }
}

/// `count` executions of a named statement with one Sync.
pub(crate) fn prepared(count: usize) -> Script {
    let setup = Step::new(Until::Ready, |out| {
        wire::parse(out, "s0", SELECT_PARAMETER);
        wire::sync(out);
    });
    let step = Step::new(Until::Ready, |out| {
        for _ in 0..count {
            wire::bind(out, "s0", "4711");
            wire::execute(out);
        }
        wire::sync(out);
    });
    Script { setup: vec![setup], transaction: vec![step], ..idle() }
}

/// A transaction of three simple queries.
pub(crate) fn transaction() -> Script {
    let transaction = ["BEGIN", SELECT, "COMMIT"].map(Step::query).to_vec();
    Script { transaction, ..idle() }
}

/// A connection for one query.
pub(crate) fn connect() -> Script {
    Script { reconnects: true, ..simple() }
}

/// A result of so many MB.
pub(crate) fn large_result(megabytes: u64) -> Script {
    let transaction = vec![Step::query(&format!("{LARGE}{megabytes}"))];
    Script { transaction, units: megabytes, ..idle() }
}

/// A COPY of so many MB into the server, in rows of some 100 bytes, which libpq's `\copy` and
/// most drivers send as messages of 8 KB.
pub(crate) fn copy_in(megabytes: u64) -> Script {
    let message = [b'x'; 8 * 1024];
    let megabyte = Step::new(Until::Sent, |out| {
        while out.len() < 1 << 20 {
            wire::message(out, b'd', &[&message]);
        }
    });
    let begin = Step::new(Until::CopyIn, |out| wire::query(out, "COPY bulk FROM STDIN"));
    let end = Step::new(Until::Ready, |out| wire::message(out, b'c', &[]));
    let mut transaction = vec![begin];
    transaction.extend((0..megabytes).map(|_| megabyte.clone()));
    transaction.push(end);
    Script { transaction, units: megabytes, ..idle() }
}
