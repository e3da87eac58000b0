//! Texts that are too long to be kept.

use std::sync::Arc;

use super::lending::{For, Lending};
use super::{ClientFault, Outgoing, PARSE_NAME_MAX, Taken, Unnamed};
use crate::server::ledger::Awaited;
use crate::session::pins::Pin;
use crate::sql::{Effects, Leaves};
use crate::wire::frame::{HEADER_LEN, Header};
use crate::wire::view;

impl Outgoing<'_, '_> {
    /// A text that is too long to be kept passes through unseen, which is to say that it may be
    /// anything.
    pub(super) fn long_query(&mut self) -> Result<Taken, ClientFault> {
        if self.lend(&Effects::WORST, For::Query)? == Lending::Later {
            return Ok(Taken::Not);
        }
        self.note(Leaves::ANYTHING, &[]);
        self.flow.may_define(&Effects::WORST);
        self.begin_query()?;
        Ok(Taken::Start(0))
    }

    /// See [`long_query`](Self::long_query). The statement is known to this server only, under
    /// the client's own name.
    pub(super) fn long_parse(&mut self, header: Header, rest: &[u8]) -> Result<Taken, ClientFault> {
        let body = rest.get(HEADER_LEN..).unwrap_or_default();
        let Some(name) = view::Fields::new(body).cstr() else {
            if body.len() < PARSE_NAME_MAX {
                return Ok(Taken::Not);
            }
            self.server.give_up();
            return self.verbatim(Awaited::Parse);
        };
        if self.has_to_wait_for(name) {
            return Ok(Taken::Not);
        }
        if let Some(statement) = self.names.get(name).map(Arc::clone) {
            return self.parse_again(header, name, &statement);
        }
        if self.lend(&Effects::WORST, For::Request)? == Lending::Later {
            return Ok(Taken::Not);
        }
        self.note(Leaves::ANYTHING, &[]);
        self.flow.may_define(&Effects::WORST);
        self.flow.unnamed = Some(Box::new(Effects::WORST));
        self.flow.pins.add(Pin::LargeStatement);
        if let Some(sequence) = self.sent(Awaited::Parse)?
            && name.is_empty()
        {
            self.names.drop_unnamed_first(self.undo, sequence);
            self.names.set_unnamed(self.undo, sequence, Unnamed::OnlyHere);
        }
        Ok(Taken::Start(0))
    }
}
