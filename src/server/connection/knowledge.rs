//! What is known of a server's session: what may have been left in it, and the question that
//! settles that.

use std::sync::Arc;

use tokio::time::timeout;

use super::own::Own;
use super::{Server, ServerError};
use crate::server::doubt::{Doubt, Found, Question};
use crate::server::ledger::{Audience, Awaited, Violation};
use crate::server::params::{Params, ParamsTable, quote_text};
use crate::server::receive::Fault;
use crate::server::unseen::{self, Asking};
use crate::sql::Leaves;
use crate::wire::request;

impl Server {
    /// Whether all that is owed has come, to the last byte.
    #[inline]
    pub fn has_answered(&self) -> bool {
        self.ledger.is_empty() && self.receiver.is_between_messages()
    }

    /// Shares what it reports with all that have the same settings.
    pub fn know_reported(&mut self) {
        if let Some(shared) = self.applied.proven() {
            self.receiver.share_reported(shared);
        }
    }

    /// What runs may leave this in its session.
    pub fn doubt(&mut self, leaves: Leaves, settings: &[Box<[u8]>]) {
        // What it sets may have any name, and then only a reset is sure to end it.
        if leaves.has(Leaves::CODE) {
            self.taint();
        }
        self.listens |= leaves.has(Leaves::LISTENER);
        self.add_doubt(leaves, settings);
    }

    fn add_doubt(&mut self, leaves: Leaves, settings: &[Box<[u8]>]) {
        if !self.doubt.add(leaves, settings) {
            self.taint();
        }
    }

    /// What tells it where its client's last request ran.
    pub fn told_route(&mut self, text: &str) -> Vec<u8> {
        self.knows_route = true;
        let mut sql = b"SELECT pg_catalog.set_config('pgweir.last_route', ".to_vec();
        quote_text(&mut sql, text.as_bytes());
        sql.extend_from_slice(b", false)");
        sql
    }

    /// It listens to channels from now on, or may.
    pub fn listens(&mut self) {
        self.listens = true;
    }

    /// It listens to none any more.
    pub fn unlistened(&mut self) {
        self.listens = false;
    }

    /// Whether it may listen to channels.
    pub fn may_listen(&self) -> bool {
        self.listens
    }

    /// What may have been left in its session since it was last known.
    #[inline]
    pub fn doubted(&self) -> Leaves {
        self.doubt.leaves()
    }

    /// Appends the question that settles what of these kinds may have been left. `None` where nothing can be
    /// asked for: what there is can only be reset.
    ///
    /// # Errors
    /// Not for a server at rest.
    pub fn ask(
        &mut self,
        kinds: Leaves,
        table: &ParamsTable,
        out: &mut Vec<u8>,
    ) -> Result<Option<Question>, Violation> {
        let doubt = self.doubt.take(kinds);
        let asked = Question::of(doubt, &self.applied, table, self.prepared.len());
        let (mut question, sql) = match asked {
            Ok(asked) => asked,
            Err(Doubt { leaves, settings }) => {
                self.add_doubt(leaves, &settings);
                return Ok(None);
            }
        };
        if let Some(sequence) = self.ledger.sent(Awaited::Query, Audience::Pooler)? {
            question.sequence = sequence;
            request::query(out, &sql);
        }
        Ok(Some(question))
    }

    /// Takes the answer for the truth; `startup` is what the client brought.
    pub fn answered(&mut self, question: Question, startup: &Params, table: &ParamsTable) -> Found {
        let reported = self.unset.proven();
        let user = reported.and_then(|reported| reported.get("session_authorization"));
        let mut found = question.found(&self.applied, startup, user.unwrap_or_default(), table);
        match &found.settings {
            Some(settings) => {
                settings.prove(Arc::clone(self.receiver.reported()));
                self.applied = Arc::clone(settings);
                self.know_reported();
            }
            None => self.add_doubt(Leaves::ANY_SETTINGS, &[]),
        }
        if found.too_much {
            // Nobody knows their names any more.
            self.taint();
        }
        if !found.statements_stand {
            self.prepared.forget();
            self.taint();
        }
        let fixed = found.fixed.unwrap_or_else(|| self.objects.has(Leaves::FIXED));
        if let Some(objects) = found.objects.as_mut().filter(|_| fixed) {
            *objects |= Leaves::FIXED;
        }
        self.objects = found.objects.unwrap_or(self.objects);
        self.listens = found.channels.as_ref().map_or(self.listens, |found| !found.is_empty());
        found
    }

    /// The question has got no answer.
    pub fn unanswered(&mut self, question: Question) {
        let Doubt { leaves, settings } = question.doubt;
        self.add_doubt(leaves, &settings);
    }

    /// Asks what code its database has that changes sessions unseen.
    ///
    /// # Errors
    /// As [`ServerError`] says.
    pub async fn ask_for_code(&mut self, asking: Asking) -> Result<(), ServerError> {
        self.ledger.sent(Awaited::Query, Audience::Pooler).map_err(Fault::from)?;
        let mut out = Vec::new();
        request::query(&mut out, unseen::QUESTION.as_bytes());
        let mut own = Own { asking: Some(asking), ..Own::default() };
        let done = timeout(self.upkeep.deadline, self.exchange(&out, &mut own)).await;
        let done = done.unwrap_or(Err(ServerError::TimedOut));
        match (&done, own.asking.take()) {
            (Ok(()), Some(asking)) => asking.answered(),
            (Err(ServerError::Refused(error)), Some(asking)) => asking.refused(error),
            _ => {}
        }
        done
    }
}
