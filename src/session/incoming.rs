//! From server to client: replies verbatim, and ours where it is their turn.

use std::ops::Range;
use std::sync::Arc;

use super::flow::{Again, Describing, Flow, Refusal, Restore, Stop};
use super::names::{Names, NamesUndo};
use super::outgoing::REFUSED_CODE;
use super::report::{count, count_server};
use super::state::Reply;
use crate::client::condition;
use crate::notify::Ear;
use crate::server::CancelKey;
use crate::server::doubt::Question;
use crate::server::ledger::Local;
use crate::server::lent::{Lent, Listed};
use crate::server::params::Params;
use crate::server::prepared::{PreparedSet, Shape, StatementTable};
use crate::server::processes::Processes;
use crate::server::receive::Sink;
use crate::server::reported::Reported;
use crate::server::schema::Schema;
use crate::server::site::Site;
use crate::traffic::{ErrorBook, Side};
use crate::wire::reply::{self, Report};
use crate::wire::splice::Splice;
use crate::wire::view;

/// Takes what a server sends to one client.
pub(super) struct Incoming<'a, 'b> {
    /// What goes to the client.
    pub out: &'a mut Splice<'b>,
    /// The client's prepared statements.
    pub names: &'a mut Names,
    /// How to undo what is done to them.
    pub undo: &'a mut NamesUndo,
    /// The server's.
    pub prepared: &'a mut PreparedSet,
    /// Those that it has under clients' names.
    pub lent: &'a mut Lent,
    /// What the client knows of its session.
    pub known: &'a mut Arc<Reported>,
    /// The client's settings.
    pub params: &'a Params,
    /// All prepared statements.
    pub statements: &'a StatementTable,
    /// What is known of the database's schema.
    pub schema: &'a Schema,
    /// Where the reading of the client's messages stands.
    pub flow: &'a mut Flow,
    /// Who hears for the client.
    pub ear: Option<&'a Ear>,
    /// Which client is which process.
    pub numbers: Numbers<'a>,
    /// How the question ended.
    pub learnt: Option<(Box<Question>, Reply)>,
    /// How our message that ended the server's listening did.
    pub ceased: Option<Reply>,
    /// A request of ours is over.
    pub settled: bool,
    /// The server refused the client's settings; this is its error.
    pub refused: Option<Vec<u8>>,
    /// The server has told the client that this is the end.
    pub told_fatal: &'a mut bool,
    /// The host that the server is on.
    pub site: &'a Site,
    /// What clients are told of that goes wrong; `None` where it is another session that tells the client.
    pub errors: Option<&'a ErrorBook>,
}

/// Writing is refused; the server ends, has crashed, or starts.
const NO_PRIMARY: [&[u8]; 4] = [b"25006", b"57P01", b"57P02", b"57P03"];
/// How often a schema may change while a statement is described.
const VERSIONS_TRIED: usize = 4;
/// The routine of a server that finds that a statement has other columns than it had.
const OTHER_COLUMNS: &[u8] = b"RevalidateCachedQuery";
/// There is a statement of this name.
const NAME_TAKEN: &[u8] = b"42P05";
/// There is no statement of this name.
const NO_STATEMENT: &[u8] = b"26000";
/// What is wrong with a statement that was prepared before a table or type of it was changed: no
/// such column, object, operator or table, or another type.
const OUTDATED: [&[u8]; 5] = [b"42703", b"42704", b"42883", b"42P01", b"42804"];

impl Sink for Incoming<'_, '_> {
    #[inline]
    fn forward(&mut self, part: Range<usize>) {
        match &mut self.flow.placed.tentative {
            None => self.out.forward(part),
            Some(tentative) => tentative.hold(self.out.input(part)),
        }
    }

    #[inline]
    fn shows(&mut self, tag: u8) {
        if let Some(tentative) = &mut self.flow.placed.tentative
            && tentative.is_decided_by(tag)
        {
            self.show();
        }
    }

    fn local(&mut self, sequence: u64, local: Local, status: u8) {
        let went = match &mut self.flow.placed.tentative {
            None => self.out.insert(|out| local_reply(out, local, status)),
            Some(tentative) => local_reply(tentative.held(), local, status),
        };
        if went == Went::Refused {
            self.names.undo(self.undo, sequence..sequence + 1);
            let report = condition::FAILED_TRANSACTION.report();
            self.told(|errors| count(errors, Side::Client, &report));
        }
    }

    fn runs_elsewhere(&mut self, messages: &Range<u64>, error: &[u8]) -> bool {
        let code = view::error_field(error, b'C').unwrap_or_default();
        let tentative = self.flow.placed.tentative.as_mut();
        let Some(tentative) = tentative.filter(|tentative| !tentative.failed) else {
            return false;
        };
        if !tentative.fails(messages, code) {
            return false;
        }
        let first = tentative.first;
        if code != b"25006" && NO_PRIMARY.contains(&code) {
            self.site.doubt();
        }
        self.flow.requests.forget();
        self.flow.describing.retain(|own| !messages.contains(&own.sequence));
        self.names.undo(self.undo, first..messages.end);
        self.prepared.undo(messages.clone());
        self.lent.undo(messages.clone());
        true
    }

    fn is_spared(&mut self, error: &[u8], status: u8) -> bool {
        let ends = matches!(view::error_field(error, b'V'), Some(b"FATAL" | b"PANIC"));
        ends && self.flow.placed.tentative.is_none() && self.flow.placed.loses_nothing(status)
    }

    #[inline]
    fn answered(&mut self, sequence: u64) {
        self.flow.requests.answered(sequence);
    }

    fn failed(&mut self, messages: Range<u64>, error: &[u8]) -> bool {
        self.show();
        self.flow.requests.failed();
        *self.told_fatal |= matches!(view::error_field(error, b'V'), Some(b"FATAL" | b"PANIC"));
        if view::error_field(error, b'C').is_some_and(|code| NO_PRIMARY.contains(&code)) {
            self.site.doubt();
        }
        self.flow.restore.take_if(
            |(when, _)| matches!(when, Restore::Behind(message) if messages.contains(message)),
        );
        self.undone(messages.clone());
        let flow = &mut *self.flow;
        // It may have been prepared by what we have not seen.
        flow.finds_names |= view::error_field(error, b'C') == Some(NAME_TAKEN);
        // A statement has other columns than it was prepared with.
        if view::error_field(error, b'R') == Some(OTHER_COLUMNS)
            && let Some(version) = flow.version
        {
            self.schema.outlived(version);
        }
        if let Some(ahead) = &mut flow.ahead {
            if ahead.fails(messages.start, error) {
                return false;
            }
            if let Some(error) = ahead.instead_of(messages.start, error) {
                self.told(|errors| count_server(errors, &error));
                self.out.insert(|out| reply::raw(out, b'E', &[&error]));
                return false;
            }
        }
        let refused = flow.refused.iter().find(|(message, _)| *message == messages.start).cloned();
        flow.refused.retain(|(message, _)| *message >= messages.end);
        // In a failed transaction the server says that, as it does to everything.
        let report = match (refused, view::error_field(error, b'C')) {
            (Some((_, Refusal::Pin(pin))), Some(REFUSED_CODE)) => {
                condition::PIN_REJECTED.about(pin)
            }
            (Some((_, Refusal::OnReplica(what))), Some(REFUSED_CODE | NO_STATEMENT)) => {
                condition::ON_REPLICA.about(what)
            }
            (Some((_, Refusal::StatementsFull)), Some(REFUSED_CODE)) => {
                condition::STATEMENTS_FULL.report()
            }
            (Some((_, Refusal::OnShards(report))), Some(REFUSED_CODE | NO_STATEMENT)) => {
                Report::clone(&report)
            }
            (Some((_, Refusal::OtherColumns)), Some(NO_STATEMENT)) => {
                let routine = std::str::from_utf8(OTHER_COLUMNS).ok();
                Report { routine, ..condition::OTHER_COLUMNS.report() }
            }
            _ => {
                self.told(|errors| count_server(errors, error));
                return true;
            }
        };
        self.told(|errors| count(errors, Side::Pooler, &report));
        self.out.insert(|out| report.write(out));
        false
    }

    fn notified(&mut self, part: Range<usize>, body: &[u8]) {
        let Some((pid, channel, payload)) = view::notification(body) else {
            return self.out.forward(part);
        };
        // It is heard in another way.
        if self.ear.is_some_and(|ear| ear.has(channel)) {
            return;
        }
        let pid = self.numbers.of(pid);
        self.out.insert(|out| reply::notification(out, pid, channel, payload));
    }

    fn runs_again(&mut self, messages: &Range<u64>, error: &[u8]) -> bool {
        let field = |field| view::error_field(error, field).unwrap_or_default();
        let outdated = field(b'R') == OTHER_COLUMNS || OUTDATED.contains(&field(b'C'));
        let first = |again: &&mut Again| again.sequence == messages.start;
        let flow = &mut *self.flow;
        let (Some(again), None, Some(version), true) =
            (flow.again.as_mut().filter(first), flow.stop, flow.version, outdated)
        else {
            return false;
        };
        again.is_due = true;
        flow.placed.tentative = None;
        flow.requests.forget();
        flow.stop = Some(Stop::Replies);
        self.schema.outlived(version);
        self.undone(messages.clone());
        true
    }

    fn reported(&mut self, reported: &Arc<Reported>) {
        *self.known = Arc::clone(reported);
    }

    fn own_row(&mut self, sequence: u64, body: &[u8]) {
        if let Some(question) = self.flow.asked.as_mut().filter(|asked| asked.sequence == sequence)
        {
            question.row(body);
        }
    }

    fn own_described(&mut self, sequence: u64, tag: u8, body: &[u8]) {
        let describing = &mut self.flow.describing;
        let Some(index) = describing.iter().position(|own| own.sequence == sequence) else {
            return;
        };
        let Some(own) = describing.get_mut(index).filter(|_| tag != b'n') else {
            return self.described(index);
        };
        if tag == b't' {
            own.shape.extend_from_slice(body);
        } else if view::columns(body, &mut own.shape).is_some() {
            self.described(index);
        }
    }

    fn own_complete(&mut self, sequence: u64, reported: &Arc<Reported>) {
        self.flow.listening.bringing.take_if(|bringing| *bringing == sequence);
        if self.flow.listening.ceasing.take_if(|ceasing| *ceasing == sequence).is_some() {
            self.ceased = Some(Reply::Answered);
        }
        self.flow.beginning.take_if(|beginning| *beginning <= sequence);
        self.settled = self.flow.beginning.is_none();
        self.flow.resets.retain(|reset| reset.sequence > sequence);
        self.flow.maybe.retain(|maybe| *maybe > sequence);
        let answered = self.flow.asked.take_if(|asked| asked.sequence == sequence);
        if let Some(mut question) = answered {
            if let Some(list) = question.statements.take() {
                self.learn_statements(sequence, list);
            }
            let reply = if question.is_too_long() { Reply::TooLong } else { Reply::Answered };
            self.learnt = Some((question, reply));
        }
        let known = &mut *self.known;
        self.out.insert(|out| tell(out, known, reported));
    }

    fn own_refused(&mut self, sequence: u64, error: &[u8]) {
        let flow = &mut *self.flow;
        let ahead = flow.ahead.as_mut().is_some_and(|ahead| ahead.fails(sequence, error));
        if ahead || flow.maybe.contains(&sequence) {
            self.lent.undo(sequence..sequence + 1);
        } else if self.flow.listening.bringing == Some(sequence) {
            self.flow.listening.in_vain = true;
        } else if self.flow.listening.ceasing.take_if(|ceasing| *ceasing == sequence).is_some() {
            self.ceased = Some(Reply::Refused);
        } else if let Some(question) = self.flow.asked.take_if(|asked| asked.sequence == sequence) {
            self.learnt = Some((question, Reply::Refused));
        } else if [self.flow.adopting, self.flow.beginning].contains(&Some(sequence)) {
            self.refused = Some(error.to_vec());
        } else if view::error_field(error, b'C') == Some(b"57014")
            && let Some(index) = self.flow.resets.iter().position(|own| own.sequence == sequence)
        {
            // A cancel was meant for what the client ran.
            let own = self.flow.resets.swap_remove(index);
            // What is sent once more for an earlier one includes it.
            if self.flow.redo.is_empty() {
                self.flow.redo = own.strings;
            }
        }
        // Else the client's transaction has failed, and what we asked for with it.
    }
}

impl Incoming<'_, '_> {
    /// When it read the message of this number, the server had these statements under names that
    /// are not ours: those that it was not known to have are what its client has prepared by SQL,
    /// and those that it had no more are none of the client's.
    fn learn_statements(&mut self, sequence: u64, list: Vec<Listed>) {
        self.lent.settle(sequence);
        self.undo.settle(sequence);
        let (gone, new) = self.lent.learn(list);
        for (name, statement) in gone {
            self.names.unlearn(self.undo, &name, statement.id);
        }
        for listed in new {
            if let Some(prepare) = listed.prepare() {
                let (lookup, version) = (self.params.lookup(), self.schema.version());
                let statement = self.statements.share_sql(&prepare, lookup, version);
                self.names.restore(self.undo, listed.name.clone(), Some(Arc::clone(&statement)));
                self.lent.found(listed.name, statement);
            }
        }
    }

    /// The server has said all of a statement that it has prepared.
    fn described(&mut self, index: usize) {
        let Describing { statement, name, shape, .. } = self.flow.describing.swap_remove(index);
        let shape: Box<[u8]> = shape.into();
        if *statement.shape.get_or_init(|| shape.clone()) == shape {
            return self.prepared.found(statement.id, Shape::Known);
        }
        // Clients that were told something else must not be given this.
        self.prepared.found(statement.id, Shape::Other);
        self.schema.outlived(statement.version);
        let Some(name) = name else { return };
        for _ in 0..VERSIONS_TRIED {
            let version = self.schema.version();
            let effects = || statement.effects.clone();
            let now =
                self.statements.share(&statement.identity, &statement.lookup, version, effects);
            if *now.shape.get_or_init(|| shape.clone()) == shape {
                return self.names.replace(self.undo, &name, statement.id, &now);
            }
            self.schema.outlived(version);
        }
        // It changes faster than that: the client has to prepare it anew.
        self.names.restore(self.undo, name, None);
    }

    /// The client is shown what was kept back.
    fn show(&mut self) {
        let decided = self.flow.placed.tentative.take_if(|tentative| !tentative.failed);
        if let Some(tentative) = decided {
            let held = tentative.show();
            self.out.insert(|out| out.extend_from_slice(&held));
        }
    }

    /// The client is told of an error, which is counted so.
    fn told(&self, count: impl FnOnce(&ErrorBook)) {
        if let Some(errors) = self.errors {
            count(errors);
        }
    }

    /// These messages have had no effect.
    fn undone(&mut self, messages: Range<u64>) {
        self.flow.describing.retain(|own| !messages.contains(&own.sequence));
        self.names.undo(self.undo, messages.clone());
        self.prepared.undo(messages.clone());
        self.lent.undo(messages);
    }
}

/// Which client each process of a server works for.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    /// That is attached.
    pub server: &'a CancelKey,
    /// The client that it is attached to.
    pub client: u32,
    /// All others.
    pub processes: &'a Processes,
}

impl Numbers<'_> {
    /// What the client knows this process as.
    fn of(self, pid: u32) -> u32 {
        if pid == self.server.pid {
            return self.client;
        }
        match self.processes.client_of(&self.server.address, pid) {
            Some(client) => client,
            // One who is not connected to us is nobody's number.
            None if pid == self.client => 0,
            None => pid,
        }
    }
}

/// What became of a message that we answer ourselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    /// It has had no effect.
    Refused,
}

/// A reply that we give without the server; `status` is the transaction's.
pub(super) fn local_reply(out: &mut Vec<u8>, local: Local, status: u8) -> Went {
    let tag = match local {
        Local::ParseComplete | Local::CloseComplete => {
            out.extend_from_slice(if local == Local::ParseComplete {
                &reply::PARSE_COMPLETE
            } else {
                &reply::CLOSE_COMPLETE
            });
            return Went::Well;
        }
        Local::Deallocated => "DEALLOCATE",
        Local::Reset => "RESET",
        Local::Set => "SET",
        Local::DiscardedAll => "DISCARD ALL",
    };
    let went = if status == b'E' { Went::Refused } else { Went::Well };
    match went {
        Went::Refused => condition::FAILED_TRANSACTION.report().write(out),
        Went::Well => reply::command_complete(out, tag),
    }
    out.extend_from_slice(&reply::ready(status));
    went
}

/// Tells the client what is different from what it knows.
pub(super) fn tell(out: &mut Vec<u8>, known: &mut Arc<Reported>, now: &Arc<Reported>) {
    if Arc::ptr_eq(known, now) {
        return;
    }
    for (name, value) in now.differing_from(known) {
        reply::parameter_status(out, name, value);
    }
    *known = Arc::clone(now);
}
