//! Statements that a text names go to the server under the client's own names, ahead of the text;
//! those that another client has left there under such names are closed.

use std::borrow::Cow;
use std::sync::Arc;

use super::{ClientFault, Frees, Outgoing, Stop, Unnamed};
use crate::server::doubt::NAMES_MAX;
use crate::server::ledger::Awaited;
use crate::server::lent::Named;
use crate::server::prepared::{By, Statement};
use crate::session::flow::Ahead;
use crate::sql::{Effects, Leaves, Mentions, Prepare};
use crate::wire::request;

/// What needs them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A Query.
    Query,
    /// A message of an extended request.
    Request,
}

/// Whether the message can be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Lending {
    /// The server has what it names.
    Done,
    /// That depends on replies that are owed: the flow is stopped until then.
    Later,
}

type Wanted = Vec<Named>;

/// How many bytes of statements go ahead of code that may name any of them: code names few, if any.
const LENT_MAX: usize = 1024 * 1024;

impl Outgoing<'_, '_> {
    /// Lends the server what a text of these effects may name.
    pub(super) fn lend(&mut self, effects: &Effects, to: For) -> Result<Lending, ClientFault> {
        if effects.asks_route {
            self.tell_route(to)?;
        }
        let mentions = effects.mentions.as_deref();
        // Code may name any statement.
        let any = effects.leaves.has(Leaves::CODE) || mentions.is_some_and(|all| all.any);
        if any {
            self.lend_all(mentions)?;
        }
        let names_any = any || mentions.is_some_and(|mentions| mentions.names().next().is_some());
        if !names_any {
            return Ok(Lending::Done);
        }
        let mut wanted: Wanted = Vec::new();
        for name in mentions.iter().flat_map(|mentions| mentions.names()) {
            if self.has_to_wait_for(name) {
                return Ok(Lending::Later);
            }
            let own = self.names.get(name);
            wanted.extend(own.map(|own| (name.into(), Arc::clone(own))));
        }
        self.lend_these(wanted, to)
    }

    /// Lends all that SQL has prepared but those that are named, where it does no harm if one of them can't be: each by a
    /// Query of ours, outside of a transaction.
    fn lend_all(&mut self, but: Option<&Mentions>) -> Result<(), ClientFault> {
        let alone = self.server.ledger.owes_only_us() && self.server.receiver.status() == b'I';
        let any = || self.names.sql().next().is_some();
        if !alone || *self.names.unnamed() == Unnamed::OnlyHere || !any() {
            return Ok(());
        }
        self.close_names(&self.foreign())?;
        let named = |own: &[u8]| but.is_some_and(|but| but.has(own));
        let lacking = |(name, _): &Named| self.server.lent.get(name).is_none() && !named(name);
        let mut room = LENT_MAX;
        let fits = |(name, own): &Named| {
            let room_then = room.checked_sub(name.len() + own.identity.len());
            room_then.inspect(|then| room = *then).is_some()
        };
        let lacking = self.names.sql().filter(lacking).take_while(fits);
        let wanted: Wanted = lacking.take(self.terms.max_prepared_statements).collect();
        for (name, statement) in wanted {
            self.names.leave_server();
            let first = self.server.ledger.next();
            self.lend_one(&name, statement, For::Query)?;
            self.flow.maybe.push(first);
        }
        Ok(())
    }

    /// Lends the server these statements, under these names.
    pub(super) fn lend_these(
        &mut self,
        mut wanted: Wanted,
        to: For,
    ) -> Result<Lending, ClientFault> {
        if self.server.ledger.is_copying_in() || self.server.ledger.is_skipping() {
            return Ok(Lending::Done);
        }
        let foreign = self.foreign();
        let doubtful = self.flow.batch.is_some_and(|batch| {
            let mut names = wanted.iter().map(|(name, _)| name).chain(&foreign);
            names.any(|name| self.server.lent.is_doubtful(name, batch))
        });
        let lent = &self.server.lent;
        wanted.retain(|(name, own)| lent.get(name).is_none_or(|lent| lent.id != own.id));
        // What becomes of a message of ours before a Query depends on what is before both.
        let early = to == For::Query && !wanted.is_empty() && self.owes_client();
        if doubtful || early {
            self.flow.stop = Some(Stop::Replies);
            return Ok(Lending::Later);
        }
        let first = self.server.ledger.next();
        self.close_names(&foreign)?;
        // All that the client sends is refused, but for what ends the transaction.
        if self.server.receiver.status() == b'E' {
            wanted.clear();
        }
        let mut ahead = Vec::new();
        for (name, statement) in wanted {
            self.lend_one(&name, statement, to)?;
            ahead.push((self.server.ledger.next(), name));
        }
        if to == For::Query {
            let lent = (!ahead.is_empty()).then_some(Ahead { first, lent: ahead, failed: None });
            self.flow.ahead = lent;
        }
        Ok(Lending::Done)
    }

    fn lend_one(
        &mut self,
        name: &[u8],
        statement: Arc<Statement>,
        to: For,
    ) -> Result<(), ClientFault> {
        let text = &statement.identity;
        let sent = match (statement.by, to) {
            (By::Parse, _) => {
                let sent = self.sent_own(Awaited::Parse)?;
                self.out.insert(|out| request::parse(out, name, text));
                if to == For::Query {
                    self.sent_own(Awaited::Sync)?;
                    self.out.insert(request::sync);
                }
                sent
            }
            (By::Sql, For::Query) => {
                let sent = self.sent_own(Awaited::Query)?;
                self.out.insert(|out| request::query(out, text));
                sent
            }
            (By::Sql, For::Request) => self.run_own(&[text, &b"\0\0\0"[..]].concat())?,
        };
        if let Some(sequence) = sent {
            self.server.lent.given(sequence, name, statement);
        }
        Ok(())
    }

    /// Closes what goes by names that are others' on the server: the client has to hear that there
    /// is nothing.
    pub(super) fn close_foreign(&mut self) -> Result<(), ClientFault> {
        if !self.server.lent.is_empty() && !self.server.ledger.is_copying_in() {
            self.close_names(&self.foreign())?;
        }
        Ok(())
    }

    fn foreign(&self) -> Vec<Box<[u8]>> {
        let own = |name: &[u8], id| self.names.get(name).is_some_and(|own| own.id == id);
        self.server.lent.foreign(|name, lent| own(name, lent.id))
    }

    fn close_names(&mut self, names: &[Box<[u8]>]) -> Result<(), ClientFault> {
        for name in names {
            if let Some(sequence) = self.sent_own(Awaited::Close)? {
                self.out.insert(|out| request::close_statement(out, name));
                self.server.lent.taken(sequence, name);
            }
        }
        Ok(())
    }

    /// The message with this number is a Query that does nothing but prepare a statement.
    pub(super) fn prepare_by_sql(&mut self, sequence: u64, prepare: &Prepare<'_>) {
        let (lookup, version) = (self.server.applied().lookup(), self.schema.version());
        let statement = self.statements.share_sql(prepare, lookup, version);
        self.names.prepare(self.undo, sequence, &prepare.name, Arc::clone(&statement));
        self.server.lent.given(sequence, &prepare.name, statement);
    }

    /// The message with this number frees names, on the server as well.
    pub(super) fn free(&mut self, sequence: u64, frees: Frees) {
        match frees {
            Frees::All => {
                self.names.free_all(self.undo, sequence);
                self.server.lent.all_taken(sequence);
            }
            Frees::One(name) => {
                self.names.close(self.undo, sequence, &name);
                self.server.lent.taken(sequence, &name);
            }
        }
    }

    /// Whether anything of the client's is not answered yet.
    fn owes_client(&self) -> bool {
        let ledger = &self.server.ledger;
        !ledger.is_empty() && (ledger.is_open() || !ledger.owes_only_us())
    }

    /// Whether it is not known which statements the server has under the client's own names.
    pub(super) fn doubts_statements(&self) -> bool {
        let doubted = self.server.doubted();
        doubted.has_any(Leaves::STATEMENTS | Leaves::NO_STATEMENTS) || self.flow.asked.is_some()
    }

    /// These effects and those of the statements that are executed by name, if there are any.
    pub(super) fn with_executed(&self, effects: &Effects) -> Option<Effects> {
        let mentions = effects.mentions.as_ref().filter(|it| !it.executed.is_empty())?;
        let mut all = effects.clone();
        all.leaves = all.leaves.without(Leaves::EXECUTED);
        for name in &mentions.executed {
            match self.names.get(name) {
                Some(own)
                    if own.effects.mentions.is_none()
                        && !self.doubts_statements()
                        && !self.runs_unseen(own.text()) =>
                {
                    all.leaves |= own.effects.leaves;
                    // More than the server is asked for by name add nothing.
                    if all.settings.len() <= NAMES_MAX {
                        all.settings.extend(own.effects.settings.iter().cloned());
                    }
                    all.alters |= own.effects.alters;
                    all.defines |= own.effects.defines;
                }
                // It may have been prepared in this transaction, by what we have not seen.
                _ => all.leaves |= Leaves::UNSEEN,
            }
        }
        Some(all)
    }

    /// Where the names in a statement are looked up: what it executes is among them.
    pub(super) fn lookup(&self, effects: &Effects) -> Cow<'_, [u8]> {
        let path = self.server.applied().lookup();
        let Some(mentions) = effects.mentions.as_ref().filter(|it| !it.executed.is_empty()) else {
            return Cow::Borrowed(path);
        };
        let mut lookup = path.to_vec();
        for name in &mentions.executed {
            let id = self.names.get(name).map_or(0, |own| own.id);
            lookup.push(0);
            lookup.extend(id.to_be_bytes());
        }
        Cow::Owned(lookup)
    }
}
