//! What messages may leave in the server's session, noted as they are sent.

use super::lending::{For, Lending};
use super::{ClientFault, Outgoing, Restore, Stop};
use crate::server::ledger::{Awaited, Local};
use crate::server::prepared::Statement;
use crate::server::unseen::Unseen;
use crate::session::flow::OwnReset;
use crate::session::pins::OTHERS;
use crate::sql::{self, Command, Effects, Leaves, Resets};
use crate::wire::request;
use crate::wire::view::Fields;

/// What may pin a session to its server.
const PINNING: Leaves = Leaves::OBJECTS
    .without(Leaves::ENDS.with(Leaves::PREPARED))
    .with(Leaves::LIBRARY)
    .with(Leaves::SEED);
/// How much of a text is shown.
const TEXT_SHOWN: usize = 200;
/// More settings of unnamed statements are not kept by name.
const NAMES_MAX: usize = 32;
/// The name of a statement and portal of ours, which are gone before anything else is sent.
const OWN: &[u8] = b"pgweir_";

impl Outgoing<'_, '_> {
    /// The server is about to run what may leave this.
    pub(super) fn note(&mut self, leaves: Leaves, settings: &[Box<[u8]>]) {
        if leaves.is_empty() {
            return;
        }
        let in_question = !self.flow.pins.is_empty() || self.flow.asked.is_some();
        if leaves == Leaves::ENDS && !in_question && self.server.doubted().is_empty() {
            return;
        }
        if leaves.has(Leaves::NO_STATEMENTS) {
            self.server.prepared.forget();
        }
        for (kind, pin) in OTHERS {
            if leaves.has(kind) && leaves != Leaves::ANYTHING {
                self.flow.pins.add(pin);
                self.server.give_up();
            }
        }
        let asked_for = leaves & !(Leaves::LIBRARY | Leaves::SEED | Leaves::EXECUTED);
        if !asked_for.is_empty() {
            self.server.doubt(asked_for, settings);
        }
    }

    /// Whether the text may run code that is not seen in it.
    #[inline]
    pub(super) fn runs_unseen(&self, text: &[u8]) -> bool {
        self.may_run_unseen(|unseen| unseen.may_run(text))
    }

    /// The same of a statement that is prepared.
    pub(super) fn statement_runs_unseen(&self, statement: &Statement) -> bool {
        self.may_run_unseen(|unseen| unseen.may_run_again(statement.text(), &statement.unseen))
    }

    #[inline]
    fn may_run_unseen(&self, may_run: impl FnOnce(&Unseen) -> bool) -> bool {
        // What has just been defined may be such code.
        self.terms.knows_code() && (self.flow.alters || may_run(&self.schema.unseen))
    }

    /// The server is about to be given this text, and the request begins with it, if with none before.
    #[inline]
    pub(super) fn note_text(&mut self, text: &[u8]) {
        self.server.card().given(text);
        if self.terms.tells_costs() {
            self.flow.requests.begin(text);
        }
    }

    /// The request ends with the message of this number.
    #[inline]
    pub(super) fn note_request(&mut self, sequence: u64) {
        if self.terms.tells_costs() {
            self.flow.requests.sent(sequence);
        }
    }

    /// What the text may leave, with what it runs unseen.
    pub(super) fn effects(&mut self, text: &[u8]) -> Effects {
        self.with_unseen(text, sql::effects(text))
    }

    /// The same of a text of the message that is next.
    pub(super) fn effects_of_next(&mut self, text: &[u8]) -> Effects {
        let shard = &self.flow.shard;
        let is_clean = shard.judged > 0 && shard.clean;
        let seen = if is_clean { Effects::default() } else { sql::effects(text) };
        self.with_unseen(text, seen)
    }

    fn with_unseen(&mut self, text: &[u8], mut effects: Effects) -> Effects {
        self.note_text(text);
        if self.runs_unseen(text) {
            effects.leaves |= Leaves::UNSEEN;
        }
        effects
    }

    /// This text may become a reason to keep the server; the first one is remembered.
    pub(super) fn suspect(&mut self, leaves: Leaves, text: &[u8]) {
        if self.flow.pins.is_empty() && leaves.has_any(PINNING) {
            self.flow.suspect = text.get(..text.len().min(TEXT_SHOWN)).unwrap_or_default().into();
        }
    }

    /// Unnamed statements may be run again as long as this server is attached, whatever becomes
    /// of those that replace them.
    pub(super) fn note_unnamed(&mut self, effects: Effects) {
        match &mut self.flow.unnamed {
            None => self.flow.unnamed = Some(Box::new(effects)),
            // To set again what another one has reset would undo what was set since.
            Some(known) => {
                known.leaves |= effects.leaves;
                known.settings.extend(effects.settings);
                known.channels.clear();
                // What is lent for those that are replaced stays where it is.
                known.mentions = effects.mentions;
                known.resets = effects.resets;
                known.asks_route = effects.asks_route;
                if known.settings.len() > NAMES_MAX {
                    known.leaves |= Leaves::ANY_SETTINGS | Leaves::CODE;
                    known.settings.clear();
                }
            }
        }
    }

    /// The unnamed statement is one now that resets no setting, asks for none of ours, and names no other.
    pub(super) fn unnamed_is_clean(&mut self) {
        if let Some(known) = &mut self.flow.unnamed {
            known.resets = Resets::default();
            known.mentions = None;
            known.asks_route = false;
        }
    }

    /// The unnamed statement, or the one of this identity in its place, is about to run.
    pub(super) fn note_bound(&mut self, elsewhere: Option<&[u8]>) -> Result<Lending, ClientFault> {
        if let Some(identity) = elsewhere {
            let text = Fields::new(identity).cstr();
            let effects = text.map_or(Effects::WORST, |text| self.effects(text));
            self.flow.may_define(&effects);
            if effects.leaves.is_empty() && !effects.asks_route {
                self.unnamed_is_clean();
            } else {
                self.note_unnamed(self.with_executed(&effects).unwrap_or(effects));
            }
        }
        let Some(effects) = self.flow.unnamed.take() else {
            return Ok(Lending::Done);
        };
        let lending = self.lend(&effects, For::Request)?;
        if lending == Lending::Done {
            let all = self.with_executed(&effects);
            let all = all.as_ref().unwrap_or(&effects);
            self.note(all.leaves, &all.settings);
            let _any = self.note_resets(&effects.resets, Restore::BeforeSync);
        }
        self.flow.unnamed = Some(effects);
        Ok(lending)
    }

    /// What the client brought of these settings is to be set again, if there is any.
    pub(super) fn note_resets(&mut self, resets: &Resets, when: Restore) -> bool {
        if resets.is_empty() {
            return false;
        }
        let sql = self.startup.restoring(resets);
        let any = !sql.is_empty();
        if any {
            self.flow.restore = Some((when, sql));
        }
        any
    }

    /// A reset by itself goes to the server together with what is set again, so that the client
    /// is told of no other value in between. `false` where there is nothing to be set again.
    pub(super) fn reset_and_restore(
        &mut self,
        text: &[u8],
        command: &Command<'_>,
        resets: &Resets,
    ) -> Result<bool, ClientFault> {
        // It can't be in one string with others, nor in a transaction, where it is an error.
        let outside = || self.server.receiver.status() == b'I' && self.server.ledger.owes_only_us();
        let local = match command {
            Command::Reset(_) | Command::ResetAll => Local::Reset,
            Command::SetDefault(_) => Local::Set,
            Command::DiscardAll if outside() => Local::DiscardedAll,
            _ => return Ok(false),
        };
        let restoring = self.startup.restoring(resets);
        if restoring.is_empty() {
            return Ok(false);
        }
        let strings = match local {
            Local::DiscardedAll => vec![text.to_vec(), restoring],
            _ => vec![[text, b";", &restoring].concat()],
        };
        if let Some(sequence) = self.reset_by(strings)? {
            self.names.drop_unnamed_first(self.undo, sequence);
        }
        if let Some(sequence) = self.reply(local)? {
            self.flow.batch = Some(sequence);
            self.flow.requests.skip();
            if local == Local::DiscardedAll {
                self.names.free_all(self.undo, sequence);
            }
        }
        Ok(true)
    }

    /// A string has been answered that reset what the client brought, and did not fail: that is
    /// set again, in whatever transaction the reset was. So is what a cancel has hit.
    pub(super) fn restore_behind(&mut self) -> Result<(), ClientFault> {
        let of_string = |(when, _): &mut (Restore, _)| matches!(when, Restore::Behind(_));
        let mut strings = std::mem::take(&mut self.flow.redo);
        strings.extend(self.flow.restore.take_if(of_string).map(|(_, sql)| sql));
        self.reset_by(strings)?;
        Ok(())
    }

    /// Sends these strings, each a query of ours. Nothing of the client's may follow before they
    /// have been answered: it would run with other settings where one of them was cancelled.
    fn reset_by(&mut self, strings: Vec<Vec<u8>>) -> Result<Option<u64>, ClientFault> {
        let mut last = None;
        for (index, sql) in strings.iter().enumerate() {
            if let Some(sequence) = self.sent_own(Awaited::Query)? {
                self.out.insert(|out| request::query(out, sql));
                let behind = strings.get(index..).unwrap_or_default().to_vec();
                self.flow.resets.push(OwnReset { sequence, strings: behind });
                self.flow.stop = Some(Stop::Replies);
                last = Some(sequence);
            }
        }
        Ok(last)
    }

    /// Sets again, at the end of an extended request, what the client brought and has reset in
    /// the request.
    pub(super) fn restore_before_sync(&mut self) -> Result<(), ClientFault> {
        let Some((_, mut identity)) = self.flow.restore.take() else {
            return Ok(());
        };
        if self.server.ledger.is_skipping() || self.server.ledger.is_copying_in() {
            return Ok(());
        }
        identity.extend_from_slice(b"\0\0\0");
        self.run_own(&identity)?;
        Ok(())
    }

    /// Runs a statement of ours within an extended request of the client's; the number is that of
    /// its Execute.
    pub(super) fn run_own(&mut self, identity: &[u8]) -> Result<Option<u64>, ClientFault> {
        for message in [Awaited::Close, Awaited::Parse, Awaited::Bind] {
            self.sent_own(message)?;
        }
        let sent = self.sent_own(Awaited::Execute)?;
        for message in [Awaited::Close, Awaited::Close] {
            self.sent_own(message)?;
        }
        self.out.insert(|out| {
            request::close_statement(out, OWN);
            request::parse(out, OWN, identity);
            request::bind(out, OWN, OWN);
            request::execute(out, OWN);
            request::close_portal(out, OWN);
            request::close_statement(out, OWN);
        });
        Ok(sent)
    }
}
