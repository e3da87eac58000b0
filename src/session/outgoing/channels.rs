//! Channels on the way out: who hears for the client has to listen before its server does, and its
//! server to those that it listens to already.

use super::{ClientFault, Outgoing, Stop};
use crate::config::PoolMode;
use crate::notify;
use crate::server::ledger::Awaited;
use crate::sql::{CHANNELS_MAX, Leaves};
use crate::wire::request;

impl Outgoing<'_, '_> {
    /// Whether these channels have to be tuned to first: the flow is stopped until then. Nothing
    /// that is notified once the server listens is missed so.
    pub(super) fn has_to_hear(&mut self, channels: &[Box<[u8]>]) -> bool {
        if channels.is_empty()
            || self.terms.mode == PoolMode::Session
            || self.server.ledger.is_copying_in()
        {
            return false;
        }
        if self.flow.asked.is_some() {
            self.flow.stop = Some(Stop::Settling);
            return true;
        }
        let (has, lacks) = match self.ear {
            Some(ear) => ear.count(channels),
            None => (0, channels.len()),
        };
        // With more than that it keeps its server, which then says that it listens to others.
        if lacks == 0 || has + lacks > CHANNELS_MAX {
            return false;
        }
        self.flow.listening.wanted = channels.to_vec();
        self.flow.stop = Some(Stop::Hearing);
        true
    }

    /// A request that is not answered yet may change what the client listens to: what comes
    /// behind it has to wait, so that the server can be asked in between.
    pub(super) fn is_unsettled(&self) -> bool {
        let ledger = &self.server.ledger;
        self.server.doubted().has(Leaves::LISTENER)
            && self.terms.mode != PoolMode::Session
            && !ledger.is_open()
            && !ledger.is_empty()
            && !ledger.is_copying_in()
    }

    /// Between transactions: the server listens to what the client does, so that what becomes of
    /// that there is what becomes of it.
    pub(super) fn bring_channels(&mut self) -> Result<(), ClientFault> {
        let begins = self.server.receiver.status() == b'I' && self.server.ledger.owes_only_us();
        if self.flow.listening.brought || !begins {
            return Ok(());
        }
        let channels = self.ear.map(|ear| ear.channels()).unwrap_or_default();
        if channels.is_empty() {
            return Ok(());
        }
        let sql = notify::listening_to(&channels);
        if let Some(sequence) = self.sent_own(Awaited::Query)? {
            self.out.insert(|out| request::query(out, &sql));
            self.server.listens();
            self.flow.listening.brought = true;
            self.flow.listening.bringing = Some(sequence);
        }
        Ok(())
    }
}
