//! Messages that are refused. The server hears of each: in its place goes one that fails, so that
//! its transaction fails as well, whose error the client is then told by us.

use super::{ClientFault, Outgoing, Taken};
use crate::server::ledger::Awaited;
use crate::server::prepared::StatementName;
use crate::session::pins::Pin;
use crate::wire::request;

/// Fails when it is analysed: in a failed transaction not even that is done.
const FAILING: &[u8] = b"SELECT \"refused by pgweir\"";
/// The SQLSTATE with which it fails: there is no such column.
pub(in crate::session) const REFUSED_CODE: &[u8] = b"42703";

impl Outgoing<'_, '_> {
    /// Refuses a Query.
    pub(super) fn refuse_query(&mut self, pin: Pin) -> Result<Taken, ClientFault> {
        let sent = self.begin_query()?;
        self.out.insert(|out| request::query(out, FAILING));
        self.flow.refused.extend(sent.map(|sequence| (sequence, pin)));
        Ok(Taken::Whole)
    }

    /// Refuses a Parse of this name.
    pub(super) fn refuse_parse(&mut self, pin: Pin, name: &[u8]) -> Result<Taken, ClientFault> {
        let sent = self.sent(Awaited::Parse)?;
        let identity = [FAILING, b"\0\0\0"].concat();
        let ours = StatementName::to_ask();
        // The unnamed statement goes even where the one that replaces it fails.
        let name = if name.is_empty() { name } else { ours.as_bytes() };
        self.out.insert(|out| request::parse(out, name, &identity));
        if let Some(sequence) = sent {
            self.flow.refused.push((sequence, pin));
            if name.is_empty() {
                self.names.drop_unnamed_first(self.undo, sequence);
            }
        }
        Ok(Taken::Whole)
    }
}
