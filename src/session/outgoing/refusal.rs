//! Messages that are refused. The server hears of each: in its place goes one that fails, so that
//! its transaction fails as well, whose error the client is then told by us.

use super::{ClientFault, Outgoing, Taken};
use crate::server::ledger::Awaited;
use crate::server::prepared::StatementName;
use crate::session::flow::Refusal;
use crate::session::pins::Pin;
use crate::wire::frame::{HEADER_LEN, Header};
use crate::wire::request;
use crate::wire::view::Bind;

/// Fails when it is analysed: in a failed transaction not even that is done.
const FAILING: &[u8] = b"SELECT \"refused by pgweir\"";
/// The SQLSTATE with which it fails: there is no such column.
pub(in crate::session) const REFUSED_CODE: &[u8] = b"42703";

impl Outgoing<'_, '_> {
    /// Refuses a Query.
    pub(super) fn refuse_query(&mut self, pin: Pin) -> Result<Taken, ClientFault> {
        let sent = self.begin_query()?;
        self.out.insert(|out| request::query(out, FAILING));
        self.flow.refused.extend(sent.map(|sequence| (sequence, Refusal::Pin(pin))));
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
            self.flow.refused.push((sequence, Refusal::Pin(pin)));
            if name.is_empty() {
                self.names.drop_unnamed_first(self.undo, sequence);
            }
        }
        Ok(Taken::Whole)
    }

    /// Refuses a Bind: its statement has other columns than the client was told. The server finds
    /// none of the name that it is given.
    pub(super) fn refuse_bind(
        &mut self,
        bind: &Bind<'_>,
        header: Header,
    ) -> Result<Taken, ClientFault> {
        let sent = self.sent(Awaited::Bind)?;
        self.flow.refused.extend(sent.map(|sequence| (sequence, Refusal::OtherColumns)));
        let name = StatementName::nobody();
        self.out.insert(|out| request::bind_start(out, bind, header.body_len, name.as_bytes()));
        Ok(Taken::Start(HEADER_LEN + bind.names_len))
    }
}
