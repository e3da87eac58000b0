//! Prepared statements on the way out: which of them the server has, under which name, and what
//! must be prepared before a message that names one.

use std::sync::Arc;

use super::again::Telling;
use super::lending::{For, Lending};
use super::{
    ClientFault, Frees, NAME_PREFIX, Names, Outgoing, Restore, Stop, Taken, Unnamed, view,
};
use crate::server::ledger::{Audience, Awaited, Local};
use crate::server::prepared::{By, Shape, Statement, StatementName};
use crate::session::flow::Describing;
use crate::sql::{self, Command, Leaves};
use crate::wire::request;
use crate::wire::view::Fields;

/// How much is taken note of that may have to be taken back, before replies are waited for: a pipeline
/// prepares dozens of statements, and each that is named is looked for among them.
const UNDO_MAX: usize = 500;

pub(super) enum There {
    Yes,
    No,
}

/// What goes to the server for a name.
pub(super) enum Resolved {
    Same,
    As(StatementName),
    Later,
    /// The statement has other columns than its client was told.
    Refused,
}

/// Whether a client may be given rows of a statement.
enum Fits {
    Yes,
    /// That has to be found out first: the flow is stopped.
    Later,
    No,
}

impl Outgoing<'_, '_> {
    pub(super) fn close(&mut self, body: &[u8]) -> Result<Taken, ClientFault> {
        if let Some(view::Target::Statement(name)) = view::Target::read(body)
            && self.has_to_wait_for(name)
        {
            return Ok(Taken::Not);
        }
        match view::Target::read(body) {
            // The server may have it by what we have not seen.
            Some(view::Target::Statement(name))
                if !name.is_empty()
                    && !name.starts_with(NAME_PREFIX)
                    && self.doubts_statements() =>
            {
                self.note(Leaves::PREPARED | Leaves::ENDS, &[]);
                if let Some(sequence) = self.sent(Awaited::Close)? {
                    self.free(sequence, Frees::One(name.into()));
                }
                Ok(Taken::Start(0))
            }
            Some(view::Target::Statement(name)) if self.names.get(name).is_some() => {
                if let Some(sequence) = self.reply(Local::CloseComplete)? {
                    self.names.close(self.undo, sequence, name);
                }
                Ok(Taken::Whole)
            }
            Some(view::Target::Statement(b"")) => {
                if let Some(sequence) = self.sent(Awaited::Close)? {
                    self.names.set_unnamed(self.undo, sequence, Unnamed::None);
                }
                Ok(Taken::Start(0))
            }
            // Closing what doesn't exist is no error; and one of ours stays.
            Some(view::Target::Statement(name)) if name.starts_with(NAME_PREFIX) => {
                self.reply(Local::CloseComplete)?;
                Ok(Taken::Whole)
            }
            Some(view::Target::Statement(_) | view::Target::Portal(_)) | None => {
                // It may be a cursor that is held.
                self.note(Leaves::ENDS, &[]);
                self.verbatim(Awaited::Close)
            }
        }
    }

    /// Whether the transaction has failed, or may have by the time that a message sent now is
    /// read: its server refuses all but its end then.
    pub(super) fn may_be_refused(&self) -> bool {
        let owed = self.server.ledger.settled_to();
        self.server.receiver.status() == b'E' || self.flow.batch.is_some_and(|batch| batch >= owed)
    }

    /// What the server has prepared already is given to it once more, under a name that is freed
    /// at once, to hear what it says.
    pub(super) fn parse_to_ask(&mut self, identity: &[u8]) -> Result<Option<u64>, ClientFault> {
        let name = StatementName::to_ask();
        let sent = self.sent(Awaited::Parse)?;
        self.out.insert(|out| request::parse(out, name.as_bytes(), identity));
        self.sent_own(Awaited::Close)?;
        self.out.insert(|out| request::close_statement(out, name.as_bytes()));
        Ok(sent)
    }

    /// Whether so much may have to be taken back of what has been sent that replies come first: the flow
    /// is stopped until then.
    pub(super) fn has_to_wait(&mut self) -> bool {
        let waits = self.undo.len() >= UNDO_MAX
            && !self.server.has_answered()
            && !self.server.ledger.is_copying_in();
        if waits {
            self.flow.stop = Some(Stop::Replies);
        }
        waits
    }

    /// Whether it depends on replies that are owed what this name stands for: the flow is
    /// stopped until then.
    pub(super) fn has_to_wait_for(&mut self, name: &[u8]) -> bool {
        if self.has_to_wait() {
            return true;
        }
        let doubtful = self.flow.batch.is_some_and(|batch| {
            !self.server.ledger.is_copying_in() && Names::is_doubtful(self.undo, name, batch)
        });
        if doubtful {
            self.flow.stop = Some(Stop::Replies);
        }
        doubtful
    }

    /// Whether the server has the statement. `None` when that depends on replies that are owed, or
    /// what has to be closed to make room for it does: the flow is stopped until then.
    pub(super) fn is_there(&mut self, statement: &Statement) -> Result<Option<There>, ClientFault> {
        if self.has_to_hear(&statement.effects.channels) {
            return Ok(None);
        }
        if self.lend(&statement.effects, For::Request)? == Lending::Later {
            return Ok(None);
        }
        let there = self.server.prepared.touch(statement.id);
        let surplus = if there { None } else { self.surplus() };
        let doubtful = self.flow.batch.is_some_and(|batch| {
            let prepared = &self.server.prepared;
            !self.server.ledger.is_copying_in()
                && (prepared.is_doubtful(statement.id, batch)
                    || surplus.is_some_and(|surplus| prepared.is_doubtful(surplus.id, batch)))
        });
        if doubtful {
            self.flow.stop = Some(Stop::Replies);
            return Ok(None);
        }
        Ok(Some(if there { There::Yes } else { There::No }))
    }

    /// Notes what the statement may leave.
    pub(super) fn may_run(&mut self, statement: &Statement) {
        let effects = &statement.effects;
        let text = statement.text();
        self.note_text(text);
        if self.statement_runs_unseen(statement) {
            self.suspect(Leaves::UNSEEN, text);
            self.note(Leaves::UNSEEN, &[]);
        }
        self.flow.may_define(effects);
        if !effects.leaves.is_empty() {
            let all = self.with_executed(effects);
            let all = all.as_ref().unwrap_or(effects);
            self.suspect(all.leaves, text);
            self.note(all.leaves, &all.settings);
        }
    }

    fn surplus(&self) -> Option<Arc<Statement>> {
        self.server.prepared.surplus(self.terms.max_prepared_statements)
    }

    /// Prepares the statement on the server, closing another where there are too many. The client
    /// is told of it under this name.
    pub(super) fn prepare(
        &mut self,
        statement: &Arc<Statement>,
        audience: Audience,
        name: Option<&[u8]>,
    ) -> Result<Option<u64>, ClientFault> {
        if let Some(surplus) = self.surplus()
            && let Some(sequence) = self.sent_own(Awaited::Close)?
        {
            let name = self.server.prepared.name(surplus.id);
            self.out.insert(|out| request::close_statement(out, name.as_bytes()));
            self.server.prepared.closed(sequence, surplus.id);
        }
        let sent = self.server.ledger.sent(Awaited::Parse, audience)?;
        if let Some(sequence) = sent {
            let name = self.server.prepared.name(statement.id);
            self.out.insert(|out| request::parse(out, name.as_bytes(), &statement.identity));
            self.server.prepared.prepared(sequence, Arc::clone(statement));
        }
        self.describe_to_us(statement, name)?;
        Ok(sent)
    }

    /// Asks the server for the shape of what it has prepared.
    fn describe_to_us(
        &mut self,
        statement: &Arc<Statement>,
        name: Option<&[u8]>,
    ) -> Result<(), ClientFault> {
        if let Some(sequence) = self.sent_own(Awaited::Describe)? {
            let own = self.server.prepared.name(statement.id);
            self.out.insert(|out| request::describe_statement(out, own.as_bytes()));
            let (statement, name) = (Arc::clone(statement), name.map(Box::from));
            let describing = Describing { sequence, statement, name, shape: Vec::new() };
            self.flow.describing.push(describing);
        }
        Ok(())
    }

    /// A statement that the server has under our name is named by a message that tells this of its
    /// columns.
    fn fits(
        &mut self,
        name: &[u8],
        own: &Statement,
        now: &Arc<Statement>,
        telling: Telling,
    ) -> Result<Fits, ClientFault> {
        // Nothing runs in a failed transaction, nor in the midst of a COPY, and the server says so.
        if self.server.receiver.status() == b'E' || self.server.ledger.is_copying_in() {
            return Ok(Fits::Yes);
        }
        let shape = self.server.prepared.shape(now.id);
        let expected = own.shape.get().filter(|_| telling == Telling::Nothing);
        if shape == Shape::Known && (own.id == now.id || expected.is_none()) {
            return Ok(Fits::Yes);
        }
        let of = |describing: &&Describing| describing.statement.id == now.id;
        let describing = self.flow.describing.iter().find(of);
        // The client has been told nothing else by this name.
        let told_of_this = describing.is_some_and(|own| own.name.as_deref() == Some(name));
        if shape == Shape::Unknown && describing.is_none() {
            let told = (telling == Telling::Anew).then_some(name);
            self.describe_to_us(now, told)?;
        }
        Ok(match (shape, expected) {
            (_, None) => Fits::Yes,
            (Shape::Other, _) => Fits::No,
            (Shape::Unknown, Some(_)) if told_of_this => Fits::Yes,
            (Shape::Unknown, Some(_)) => {
                self.flow.stop = Some(Stop::Replies);
                Fits::Later
            }
            (Shape::Known, expected) if now.shape.get() == expected => Fits::Yes,
            (Shape::Known, _) => Fits::No,
        })
    }

    /// Makes sure that the server knows the statement of this name, and gives the name that it
    /// knows it by. `None` for a name to be passed on as it is.
    pub(super) fn resolve(
        &mut self,
        name: &[u8],
        own: Option<Arc<Statement>>,
        telling: Telling,
    ) -> Result<Resolved, ClientFault> {
        if self.has_to_wait_for(name) {
            return Ok(Resolved::Later);
        }
        if name.is_empty() {
            return self.resolve_unnamed();
        }
        let Some(statement) = own else {
            // The server says that it doesn't know it; but it may know one of our names.
            if name.starts_with(NAME_PREFIX) {
                return Ok(Resolved::As(StatementName::nobody()));
            }
            // Under its own name only this server may have it, and we know nothing of it.
            self.close_foreign()?;
            self.note(Leaves::UNSEEN, &[]);
            return Ok(Resolved::Same);
        };
        if statement.by == By::Sql {
            self.may_run(&statement);
            let lending = self.lend_these(vec![(name.into(), statement)], For::Request)?;
            return Ok(if lending == Lending::Done { Resolved::Same } else { Resolved::Later });
        }
        // The server knows whether there still is one of this name.
        if self.doubts_statements() && self.server.lent.get(name).is_some() {
            self.note(Leaves::UNSEEN, &[]);
            return Ok(Resolved::Same);
        }
        let own = statement;
        let statement = self.as_it_is_now(Arc::clone(&own), telling);
        self.flow.version = Some(statement.version);
        let _any = self.note_resets(&statement.effects.resets, Restore::BeforeSync);
        let sent = match self.is_there(&statement)? {
            None => return Ok(Resolved::Later),
            Some(There::Yes) => Some(self.server.ledger.next()),
            Some(There::No) => {
                let told = (telling == Telling::Anew).then_some(name);
                self.prepare(&statement, Audience::Pooler, told)?
            }
        };
        match self.fits(name, &own, &statement, telling)? {
            Fits::Yes => {}
            Fits::Later => return Ok(Resolved::Later),
            Fits::No => return Ok(Resolved::Refused),
        }
        if let Some(sequence) = sent.filter(|_| statement.version != own.version) {
            self.names.prepare(self.undo, sequence, name, Arc::clone(&statement));
        }
        let name = self.server.prepared.name(statement.id);
        // Only now: what is prepared may be forgotten with it.
        self.may_run(&statement);
        Ok(Resolved::As(name))
    }

    /// What the client's own statement frees, or the unnamed one, if it does nothing else.
    pub(super) fn frees(&self, own: Option<&Statement>) -> Option<Frees> {
        let identity = match own {
            Some(own) => own.effects.mentions.as_ref().map(|_some| &*own.identity),
            None => match (&self.flow.unnamed, self.names.unnamed()) {
                (Some(_), Unnamed::Here(identity) | Unnamed::Elsewhere(identity)) => {
                    Some(&**identity)
                }
                _ => None,
            },
        };
        match identity.and_then(|it| Fields::new(it).cstr()).and_then(sql::command)? {
            Command::DeallocateAll | Command::DiscardAll => Some(Frees::All),
            Command::Deallocate(name) => Some(Frees::One(name.into())),
            _ => None,
        }
    }

    pub(super) fn resolve_unnamed(&mut self) -> Result<Resolved, ClientFault> {
        match self.names.unnamed().clone() {
            Unnamed::Here(_) | Unnamed::OnlyHere => {
                if self.note_bound(None)? == Lending::Later {
                    return Ok(Resolved::Later);
                }
            }
            Unnamed::Elsewhere(identity) => {
                if self.note_bound(Some(&identity))? == Lending::Later {
                    return Ok(Resolved::Later);
                }
                if let Some(sequence) = self.sent_own(Awaited::Parse)? {
                    self.out.insert(|out| request::parse(out, b"", &identity));
                    self.names.set_unnamed(self.undo, sequence, Unnamed::Here(identity));
                }
            }
            // Another client may have left one; it must not be found.
            Unnamed::None => {
                self.sent_own(Awaited::Close)?;
                self.out.insert(|out| request::close_statement(out, b""));
            }
        }
        Ok(Resolved::Same)
    }
}
