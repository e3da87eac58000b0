//! `pgweir.last_route`: a server is told it ahead of what asks for it, and answers as it does of its
//! own settings, in whatever way it is asked. The next client's settings take it away again.

use super::lending::For;
use super::{ClientFault, Outgoing};
use crate::server::ledger::Awaited;
use crate::wire::request;

impl Outgoing<'_, '_> {
    /// The server is about to be asked where its client's last request ran.
    pub(super) fn tell_route(&mut self, to: For) -> Result<(), ClientFault> {
        if self.server.ledger.is_copying_in() || self.server.ledger.is_skipping() {
            return Ok(());
        }
        let replica = self.place.and_then(|place| place.replica);
        let mut sql = self.server.told_route(&self.route.text(self.flow.placed.last, replica));
        match to {
            // A Query would end what is open.
            For::Query if !self.server.ledger.is_open() => {
                if self.sent_own(Awaited::Query)?.is_some() {
                    self.out.insert(|out| request::query(out, &sql));
                }
            }
            For::Query | For::Request => {
                sql.extend_from_slice(b"\0\0\0");
                self.run_own(&sql)?;
            }
        }
        Ok(())
    }
}
