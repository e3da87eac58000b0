//! Statements that may have other columns now: they are prepared anew where their client is told
//! of it before it sees a row, and a request that fails for their sake alone is run once more.

use std::sync::Arc;

use super::Outgoing;
use crate::server::prepared::Statement;
use crate::session::flow::Again;
use crate::wire::frame::{self, HEADER_LEN, Header};
use crate::wire::view::{Bind, Fields, Target};

/// What a request tells its client of the columns of a statement that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// What they are now, before any row; or it was told nothing before.
    Anew,
    /// Nothing: the client takes them for what it was told before.
    Nothing,
}

impl Outgoing<'_, '_> {
    /// What the request that begins with this Bind tells of its statement.
    pub(super) fn told_by(
        &self,
        bind: &Bind<'_>,
        header: Header,
        rest: &[u8],
        statement: &Statement,
    ) -> Telling {
        if self.flow.parsed.as_deref() == Some(bind.statement) {
            return Telling::Anew;
        }
        let values = rest.get(HEADER_LEN + bind.names_len..header.message_len());
        let next = rest.get(header.message_len()..).unwrap_or_default();
        let Ok(Some((described, body))) = frame::message(next, self.terms.message_max) else {
            return Telling::Nothing;
        };
        let described = described.tag == b'D'
            && match Target::read(body) {
                Some(Target::Portal(name)) => name == bind.portal,
                Some(Target::Statement(name)) => name == bind.statement,
                None => false,
            };
        let fits = values.is_some_and(|values| can_be_read_anew(values, &statement.identity));
        if described && fits { Telling::Anew } else { Telling::Nothing }
    }

    /// The same statement as it is under the client's search path of now, and under the schema
    /// of now where the client is told of that.
    pub(super) fn as_it_is_now(
        &self,
        statement: Arc<Statement>,
        telling: Telling,
    ) -> Arc<Statement> {
        let lookup = self.lookup(&statement.effects);
        let version = match telling {
            Telling::Anew => self.schema.version(),
            Telling::Nothing => statement.version,
        };
        if *statement.lookup == *lookup && statement.version == version {
            return statement;
        }
        let effects = || statement.effects.clone();
        self.statements.share(&statement.identity, &lookup, version, effects)
    }

    /// The number of the message that is sent next, if the server owes nothing to the client.
    pub(super) fn first(&self) -> Option<u64> {
        let ledger = &self.server.ledger;
        ledger.owes_only_ours().then(|| ledger.next())
    }

    /// Keeps a request that has just begun with the message of this number, so that it can be run
    /// once more: only if there is all of it and nothing behind it, and nothing before it that it
    /// would be rolled back with.
    pub(super) fn keep_to_run_again(&mut self, sequence: Option<u64>, request: &[u8]) {
        let tentative = self.flow.placed.tentative.as_ref();
        let alone = tentative.is_none_or(|tentative| !tentative.on_replica)
            && self.server.receiver.status() == b'I'
            && self.flow.restore.is_none()
            && request.len() <= self.terms.request_max
            && is_one_request(request, self.terms.message_max);
        self.flow.again = sequence.filter(|_| alone).map(|sequence| Again {
            sequence,
            request: request.into(),
            is_due: false,
        });
    }
}

/// Whether these bytes are a Bind and more up to a Sync, and nothing behind that.
fn is_one_request(mut bytes: &[u8], message_max: u32) -> bool {
    while let Ok(Some((header, _))) = frame::message(bytes, message_max) {
        bytes = bytes.get(header.message_len()..).unwrap_or_default();
        match header.tag {
            b'B' | b'D' | b'E' => {}
            b'S' => return bytes.is_empty(),
            _ => return false,
        }
    }
    false
}

/// Whether the values of a Bind mean the same if their types are found out once more: they are
/// text, or the statement says of what types they are.
fn can_be_read_anew(values: &[u8], identity: &[u8]) -> bool {
    let read = || {
        let mut values = Fields::new(values);
        let formats = values.short()?;
        let mut all_text = true;
        for _ in 0..formats {
            all_text &= values.short()? == 0;
        }
        let count = values.short()?;
        let mut types = Fields::new(identity);
        types.cstr()?;
        let typed = types.short()?;
        let mut all_typed = typed >= count;
        for _ in 0..typed {
            all_typed &= types.word()? != 0;
        }
        Some(all_text || all_typed)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request;

    #[test]
    fn only_a_whole_request_by_itself_is_kept() {
        let mut bytes = Vec::new();
        request::bind(&mut bytes, b"", b"s");
        request::describe_statement(&mut bytes, b"s");
        request::execute(&mut bytes, b"");
        assert!(!is_one_request(&bytes, 1000));
        bytes.extend_from_slice(b"S\0\0\0\x04");
        assert!(is_one_request(&bytes, 1000));
        for cut in 0..bytes.len() {
            assert!(!is_one_request(&bytes[..cut], 1000), "{cut}");
        }
        request::execute(&mut bytes, b"");
        assert!(!is_one_request(&bytes, 1000));
    }

    #[test]
    fn binary_values_are_read_anew_only_as_what_they_were_said_to_be() {
        let (text, binary) = (&b"\0\0\0\x01\0\0\0\x01x"[..], &b"\0\x01\0\x01\0\x01\0\0\0\x01x"[..]);
        let (untyped, typed) = (&b"select $1\0\0\0"[..], &b"select $1\0\0\x01\0\0\0\x17"[..]);
        let unknown = &b"select $1\0\0\x01\0\0\0\0"[..];
        assert!(can_be_read_anew(text, untyped) && can_be_read_anew(binary, typed));
        assert!(!can_be_read_anew(binary, untyped) && !can_be_read_anew(binary, unknown));
        assert!(can_be_read_anew(b"\0\0\0\0\0\0", untyped) && !can_be_read_anew(b"\0", typed));
    }
}
