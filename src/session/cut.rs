//! What a client's bytes ask for while it has no server.

use super::flow::ClientFault;
use super::names::Names;
use crate::server::ledger::Local;
use crate::sql::{self, Command};
use crate::wire::frame::{self, Header};
use crate::wire::view::{self, Target};

/// What has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: no request is complete.
    More,
    /// A server.
    Server,
    /// This many bytes can be answered without one.
    Alone(usize),
}

/// How much of a client's bytes is collected before it takes a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest message.
    pub message: u32,
    /// A request.
    pub request: usize,
    /// A message with a statement's text, which has to be seen whole before it is passed on: to
    /// take a server before that would only keep it from others.
    pub statement: usize,
}

/// How far a client's bytes reach, and what for.
///
/// # Errors
/// When they are no messages.
pub(super) fn need(bytes: &[u8], names: &Names, limits: Limits) -> Result<Need, ClientFault> {
    let mut position = 0;
    let mut alone = true;
    while let Some(header) =
        frame::header(bytes.get(position..).unwrap_or_default(), limits.message)?
    {
        let end = position + header.message_len();
        let Some(body) = bytes.get(position + frame::HEADER_LEN..end) else {
            // It is not complete, and may be too long to wait for.
            let seen_whole =
                matches!(header.tag, b'Q' | b'P') && header.body_len <= limits.statement;
            let collected = if seen_whole { position } else { end };
            return Ok(if collected > limits.request { Need::Server } else { Need::More });
        };
        // One request at a time: what is before it may change what a name stands for.
        match kind(header, body, names) {
            Kind::Now if alone && (position == 0 || header.tag != b'Q') => {
                return Ok(Need::Alone(end));
            }
            Kind::Now | Kind::ForServerNow => return Ok(Need::Server),
            Kind::ForServer => alone = false,
            Kind::Ours => {}
        }
        position = end;
    }
    Ok(if bytes.len() > limits.request { Need::Server } else { Need::More })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The server answers it when it is asked to.
    ForServer,
    /// The server answers it, and all before it, at once.
    ForServerNow,
    /// We can answer it.
    Ours,
    /// We can answer it, and must at once.
    Now,
}

fn kind(header: Header, body: &[u8], names: &Names) -> Kind {
    match header.tag {
        b'S' | b'H' | b'X' => Kind::Now,
        // Without a server there is neither a COPY nor a portal.
        b'd' | b'c' | b'f' => Kind::Ours,
        b'C' if Target::read(body).is_some() => Kind::Ours,
        b'Q' if answer(body, names).is_some() => Kind::Now,
        b'Q' | b'F' => Kind::ForServerNow,
        _ => Kind::ForServer,
    }
}

/// A query that is about the client's own names alone.
pub(super) enum Answer {
    /// `DEALLOCATE` of this name, or of all.
    Deallocate(Option<Vec<u8>>),
}

impl Answer {
    /// The reply to it.
    pub(super) fn local(&self) -> Local {
        match self {
            Self::Deallocate(Some(_)) => Local::Deallocated,
            Self::Deallocate(None) => Local::DeallocatedAll,
        }
    }
}

/// What we can answer to a Query without a server.
pub(super) fn answer(body: &[u8], names: &Names) -> Option<Answer> {
    // The longest identifier and some white space; a look at the first letter spares the rest.
    const TEXT_MAX: usize = 200;
    let text = view::query_text(body).filter(|text| text.len() < TEXT_MAX)?;
    if !text.trim_ascii_start().first().is_some_and(|first| first.eq_ignore_ascii_case(&b'd')) {
        return None;
    }
    match sql::effects(text).command {
        Command::Deallocate(name) if names.get(&name).is_some() => {
            Some(Answer::Deallocate(Some(name.into_owned())))
        }
        Command::DeallocateAll => Some(Answer::Deallocate(None)),
        Command::Deallocate(_) | Command::DiscardAll | Command::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        reply::raw(&mut out, tag, &[body]);
        out
    }

    const LIMITS: Limits = Limits { message: 1 << 20, request: 1000, statement: 1500 };

    fn check(messages: &[(u8, &[u8])], expected: Need) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        assert_eq!(need(&bytes, &Names::default(), LIMITS), Ok(expected), "{messages:?}");
    }

    #[test]
    fn a_server_is_needed_when_a_request_is_complete() {
        check(&[(b'Q', b"select 1\0")], Need::Server);
        check(&[(b'P', b"\0select 1\0\0\0")], Need::More);
        check(&[(b'P', b"\0select 1\0\0\0"), (b'H', b"")], Need::Server);
        check(&[(b'P', b"\0select 1\0\0\0"), (b'S', b"")], Need::Server);
        check(&[(b'C', b"Sx\0"), (b'Q', b"select 1\0")], Need::Server);
        check(&[(b'P', &[b'x'; 2000])], Need::Server);
    }

    #[test]
    fn what_concerns_names_alone_needs_none() {
        check(&[(b'S', b"")], Need::Alone(5));
        check(&[(b'C', b"Sx\0")], Need::More);
        check(&[(b'C', b"Sx\0"), (b'S', b"")], Need::Alone(13));
        check(&[(b'Q', b"deallocate all\0")], Need::Alone(20));
        check(&[(b'X', b"")], Need::Alone(5));
        check(&[(b'S', b""), (b'P', b"\0select 1\0\0\0")], Need::Alone(5));
        check(&[(b'c', b"")], Need::More);
    }

    #[test]
    fn half_a_message_is_waited_for_up_to_the_limit() {
        let check = |tag: u8, len: usize, expected: Need| {
            let bytes = message(tag, &vec![b'x'; len]);
            let found = need(&bytes[..100], &Names::default(), LIMITS);
            assert_eq!(found, Ok(expected), "{} {len}", char::from(tag));
        };
        check(b'Q', 500, Need::More);
        check(b'B', 500, Need::More);
        check(b'B', 1200, Need::Server);
        // A text has to be seen whole.
        check(b'Q', 1200, Need::More);
        check(b'P', 1500, Need::More);
        check(b'Q', 1501, Need::Server);
        assert!(need(b"Q\0\0\0\x01", &Names::default(), LIMITS).is_err());
    }

    #[test]
    fn half_a_text_behind_a_long_request_is_not_waited_for() {
        let mut bytes = message(b'B', &[b'x'; 1200]);
        bytes.extend_from_slice(&message(b'P', &[b'x'; 1200])[..100]);
        assert_eq!(need(&bytes, &Names::default(), LIMITS), Ok(Need::Server));
    }
}
