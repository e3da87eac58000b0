//! What a client's bytes ask for while it has no server.

use std::sync::Arc;

use super::flow::ClientFault;
use super::names::Names;
use crate::server::params::{Params, ParamsTable, Reset};
use crate::sql::{self, Command};
use crate::wire::frame::{self, Header};
use crate::wire::reply::{self, ColumnType, Format, Value};
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
pub(super) fn need(
    bytes: &[u8],
    standing: Standing<'_>,
    limits: Limits,
) -> Result<Need, ClientFault> {
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
        match kind(header, body, standing) {
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

fn kind(header: Header, body: &[u8], standing: Standing<'_>) -> Kind {
    match header.tag {
        b'S' | b'H' | b'X' => Kind::Now,
        // Without a server there is neither a COPY nor a portal.
        b'd' | b'c' | b'f' => Kind::Ours,
        b'C' if Target::read(body).is_some() => Kind::Ours,
        b'Q' if standing.commands(body).is_some() => Kind::Now,
        b'Q' | b'F' => Kind::ForServerNow,
        _ => Kind::ForServer,
    }
}

/// What of a client's session it is known by that has no server.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    /// Its prepared statements.
    pub names: &'a Names,
    /// Its settings.
    pub params: &'a Params,
    /// Those that it brought.
    pub startup: &'a Arc<Params>,
    /// All settings of its pool.
    pub table: &'a ParamsTable,
}

impl Standing<'_> {
    /// What settings it has after a reset; `None` where a server has to be asked.
    pub(super) fn after_reset(&self, reset: Reset<'_>) -> Option<Arc<Params>> {
        if let Reset::One(name) = reset {
            self.params.get(name)?;
        }
        let wanted = self.table.after(self.params, self.startup, reset);
        wanted.proven().is_some().then_some(wanted)
    }

    fn can_answer(&self, command: &Command<'_>, alone: bool) -> bool {
        match command {
            Command::Deallocate(name) => alone && self.names.get(name).is_some(),
            // In a batch it is an error.
            Command::DiscardAll => alone,
            Command::Reset(name) | Command::SetDefault(name) => {
                alone && self.after_reset(Reset::One(name)).is_some()
            }
            Command::ResetAuthorization | Command::DefaultAuthorization => {
                let same = |name| self.params.get(name) == self.startup.get(name);
                same(b"role") && same(b"session_authorization")
            }
            Command::DeallocateAll
            | Command::Discard(_)
            | Command::CloseAll
            | Command::UnlistenAll
            | Command::LastRoute
            | Command::UnlockAll => true,
            Command::ResetAll => self.after_reset(Reset::Settings).is_some(),
        }
    }

    /// The commands of a Query that we can carry out without a server.
    pub(super) fn commands<'b>(&self, body: &'b [u8]) -> Option<Vec<Command<'b>>> {
        let commands = sql::commands(view::query_text(body)?)?;
        let alone = commands.len() == 1;
        commands.iter().all(|command| self.can_answer(command, alone)).then_some(commands)
    }
}

/// Appends the reply to a command, but for its ReadyForQuery.
pub(super) fn reply_to(
    command: &Command<'_>,
    last_route: impl FnOnce() -> String,
    out: &mut Vec<u8>,
) {
    match command {
        Command::UnlockAll => out.extend_from_slice(UNLOCKED),
        Command::LastRoute => {
            let column = ("pgweir.last_route", ColumnType::Text);
            reply::row_description(out, [column], |_| Format::Text);
            reply::data_row(out, &[Value::Text(last_route())], |_| Format::Text);
        }
        _ => {}
    }
    reply::command_complete(out, command.tag());
}

/// The result of `SELECT pg_advisory_unlock_all()`: one column of type void (2278), one row.
const UNLOCKED: &[u8] = b"T\0\0\0\x2f\0\x01pg_advisory_unlock_all\0\0\0\0\0\0\0\
    \0\0\x08\xe6\0\x04\xff\xff\xff\xff\0\0\
    D\0\0\0\x0a\0\x01\0\0\0\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{reply, request};

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        reply::raw(&mut out, tag, &[body]);
        out
    }

    const LIMITS: Limits = Limits { message: 1 << 20, request: 1000, statement: 1500 };

    fn needs(bytes: &[u8]) -> Result<Need, ClientFault> {
        let table = ParamsTable::default();
        let startup = table.share([]);
        startup.prove(Arc::default());
        let params = table.share([(b"a.b".to_vec(), b"1".to_vec())]);
        let (names, table) = (&Names::default(), &table);
        let standing = Standing { names, params: &params, startup: &startup, table };
        need(bytes, standing, LIMITS)
    }

    fn check(messages: &[(u8, &[u8])], expected: Need) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        assert_eq!(needs(&bytes), Ok(expected), "{messages:?}");
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
    fn commands_about_the_own_session_need_none() {
        for (text, alone) in [
            ("reset all", true),
            ("reset a.b", true),
            ("reset never_set", false),
            ("discard all", true),
            ("close all; reset all", true),
            ("close all; discard all", false),
            ("select pg_advisory_unlock_all(); unlisten *", true),
            ("set session authorization default", true),
            ("select pg_advisory_unlock_all(), 1", false),
        ] {
            let mut bytes = Vec::new();
            request::query(&mut bytes, text.as_bytes());
            let expected = if alone { Need::Alone(bytes.len()) } else { Need::Server };
            assert_eq!(needs(&bytes), Ok(expected), "{text}");
        }
    }

    #[test]
    fn replies_of_ours_are_whole_messages() {
        let mut out = Vec::new();
        reply_to(&Command::UnlockAll, String::new, &mut out);
        let (mut rest, mut tags) = (&out[..], Vec::new());
        while let Some((header, _)) = frame::message(rest, 1000).unwrap() {
            tags.push(header.tag);
            rest = &rest[header.message_len()..];
        }
        assert_eq!((tags.as_slice(), rest), (&b"TDC"[..], &b""[..]));
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
            let found = needs(&bytes[..100]);
            assert_eq!(found, Ok(expected), "{} {len}", char::from(tag));
        };
        check(b'Q', 500, Need::More);
        check(b'B', 500, Need::More);
        check(b'B', 1200, Need::Server);
        // A text has to be seen whole.
        check(b'Q', 1200, Need::More);
        check(b'P', 1500, Need::More);
        check(b'Q', 1501, Need::Server);
        assert!(needs(b"Q\0\0\0\x01").is_err());
    }

    #[test]
    fn half_a_text_behind_a_long_request_is_not_waited_for() {
        let mut bytes = message(b'B', &[b'x'; 1200]);
        bytes.extend_from_slice(&message(b'P', &[b'x'; 1200])[..100]);
        assert_eq!(needs(&bytes), Ok(Need::Server));
    }
}
