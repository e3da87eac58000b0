//! Prepared statements on the way out: which of them the server has, under which name, and what
//! must be prepared before a message that names one.

use std::sync::Arc;

use super::again::Telling;
use super::lending::{For, Lending};
use super::{ClientFault, Frees, NAME_PREFIX, Names, Outgoing, Restore, Stop, Unnamed};
use crate::server::ledger::{Audience, Awaited};
use crate::server::prepared::{By, Statement, StatementName};
use crate::sql::{self, Command, Leaves};
use crate::wire::request;
use crate::wire::view::Fields;

pub(super) enum There {
    Yes,
    No,
}

/// What goes to the server for a name.
pub(super) enum Resolved {
    Same,
    As(StatementName),
    Later,
}

impl Outgoing<'_, '_> {
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

    /// Whether it depends on replies that are owed what this name stands for: the flow is
    /// stopped until then.
    pub(super) fn has_to_wait_for(&mut self, name: &[u8]) -> bool {
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
        if !self.may_run(statement)? {
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

    /// Notes what the statement may leave, and lends what it names. `false` where that has to
    /// wait: the flow is stopped.
    fn may_run(&mut self, statement: &Statement) -> Result<bool, ClientFault> {
        let effects = &statement.effects;
        self.flow.alters |= effects.alters;
        if effects.leaves.is_empty() {
            return Ok(true);
        }
        if self.lend(effects, For::Request)? == Lending::Later {
            return Ok(false);
        }
        let all = self.with_executed(effects);
        let text = Fields::new(&statement.identity).cstr();
        self.suspect(all.leaves, text.unwrap_or(&statement.identity));
        self.note(all.leaves, &all.settings);
        Ok(true)
    }

    fn surplus(&self) -> Option<Arc<Statement>> {
        self.server.prepared.surplus(self.terms.max_prepared_statements)
    }

    /// Prepares the statement on the server, closing another where there are too many.
    pub(super) fn prepare(
        &mut self,
        statement: &Arc<Statement>,
        audience: Audience,
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
        Ok(sent)
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
            let is_ready = self.may_run(&statement)?
                && self.lend_these(vec![(name.into(), statement)], For::Request)? == Lending::Done;
            return Ok(if is_ready { Resolved::Same } else { Resolved::Later });
        }
        // The server knows whether there still is one of this name.
        if self.doubts_statements() && self.server.lent.get(name).is_some() {
            self.note(Leaves::UNSEEN, &[]);
            return Ok(Resolved::Same);
        }
        let known = statement.version;
        let statement = self.as_it_is_now(statement, telling);
        self.flow.version = Some(statement.version);
        let _any = self.note_resets(&statement.effects.resets, Restore::BeforeSync);
        let sent = match self.is_there(&statement)? {
            None => return Ok(Resolved::Later),
            Some(There::Yes) => Some(self.server.ledger.next()),
            Some(There::No) => self.prepare(&statement, Audience::Pooler)?,
        };
        if let Some(sequence) = sent.filter(|_| statement.version != known) {
            self.names.prepare(self.undo, sequence, name, Arc::clone(&statement));
        }
        Ok(Resolved::As(self.server.prepared.name(statement.id)))
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
