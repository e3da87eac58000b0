//! Messages that are refused. The server hears of each: in its place goes one that fails, so that
//! its transaction fails as well, whose error the client is then told by us.

use super::{ClientFault, Outgoing, Taken};
use crate::server::ledger::Awaited;
use crate::server::prepared::{Statement, StatementName};
use crate::session::flow::Refusal;
use crate::session::names::size_of;
use crate::session::pins;
use crate::sql::facts::Does;
use crate::sql::{Effects, Leaves};
use crate::wire::frame::{HEADER_LEN, Header};
use crate::wire::request;
use crate::wire::view::Bind;

/// Fails when it is analysed: in a failed transaction not even that is done.
const FAILING: &[u8] = b"SELECT \"refused by pgweir\"";
/// The SQLSTATE with which it fails: there is no such column.
pub(in crate::session) const REFUSED_CODE: &[u8] = b"42703";

impl Outgoing<'_, '_> {
    /// Why a text that leaves this is refused here, if it is.
    pub(super) fn refuses(&self, text: &[u8], leaves: Leaves) -> Option<Refusal> {
        if let Some(pin) = self.terms.pins.refuses(leaves) {
            return Some(Refusal::Pin(pin));
        }
        self.refuses_on_replica(text, leaves)
    }

    /// Why a text of these effects is refused here, if it is.
    pub(super) fn refuses_text(&self, text: &[u8], effects: &Effects) -> Option<Refusal> {
        let prepares = effects.leaves.has(Leaves::PREPARED)
            && !effects.leaves.has(Leaves::ENDS)
            && effects.mentions.as_ref().is_some_and(|names| !names.defined.is_empty());
        if prepares && self.has_no_room_for(text.len()) {
            return Some(Refusal::StatementsFull);
        }
        self.refuses(text, effects.leaves)
    }

    /// Why a statement is refused a name, if it is.
    pub(super) fn refuses_named(&self, name: &[u8], statement: &Statement) -> Option<Refusal> {
        if self.has_no_room_for(size_of(name, &statement.identity)) {
            return Some(Refusal::StatementsFull);
        }
        self.refuses(statement.text(), statement.effects.leaves)
    }

    fn has_no_room_for(&self, bytes: usize) -> bool {
        self.names.bytes().saturating_add(bytes) > self.terms.client_statements_max
    }

    /// Why a text that leaves this is refused in a transaction on a replica, if it is. Outside of one
    /// it would not have come here.
    pub(super) fn refuses_on_replica(&self, text: &[u8], leaves: Leaves) -> Option<Refusal> {
        let place = self.place.filter(|place| place.replica.is_some())?;
        if self.server.receiver.status() == b'I' {
            return None;
        }
        if let Some(pin) = pins::seen(leaves).next() {
            return Some(Refusal::OnReplica(pin.reason()));
        }
        match &place.judge.readings.of(text).facts().does {
            // Locks of rows and tables are refused by the server itself.
            Does::Locks(by) if by.starts_with("pg_") => Some(Refusal::OnReplica("advisory lock")),
            _ => None,
        }
    }

    /// Refuses a Query.
    pub(super) fn refuse_query(&mut self, why: Refusal) -> Result<Taken, ClientFault> {
        let sent = self.begin_query()?;
        self.out.insert(|out| request::query(out, FAILING));
        self.flow.refused.extend(sent.map(|sequence| (sequence, why)));
        Ok(Taken::Whole)
    }

    /// Refuses a Parse of this name.
    pub(super) fn refuse_parse(&mut self, why: Refusal, name: &[u8]) -> Result<Taken, ClientFault> {
        let sent = self.sent(Awaited::Parse)?;
        let identity = [FAILING, b"\0\0\0"].concat();
        let ours = StatementName::to_ask();
        // The unnamed statement goes even where the one that replaces it fails.
        let name = if name.is_empty() { name } else { ours.as_bytes() };
        self.out.insert(|out| request::parse(out, name, &identity));
        if let Some(sequence) = sent {
            self.flow.refused.push((sequence, why));
            if name.is_empty() {
                self.names.drop_unnamed_first(self.undo, sequence);
            }
        }
        Ok(Taken::Whole)
    }

    /// Refuses a Bind, as of a statement that has other columns than the client was told. The server
    /// finds none of the name that it is given.
    pub(super) fn refuse_bind(
        &mut self,
        why: Refusal,
        bind: &Bind<'_>,
        header: Header,
    ) -> Result<Taken, ClientFault> {
        let sent = self.sent(Awaited::Bind)?;
        self.flow.refused.extend(sent.map(|sequence| (sequence, why)));
        let name = StatementName::nobody();
        self.out.insert(|out| request::bind_start(out, bind, header.body_len, name.as_bytes()));
        Ok(Taken::Start(HEADER_LEN + bind.names_len))
    }
}
