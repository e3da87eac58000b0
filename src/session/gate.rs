//! What is asked of a request before it may ask for a server: that its client does not ask too
//! often, and may do what it is seen to try.

use std::sync::Arc;

use super::{ClientFault, End, Session};
use crate::client::condition::{self, wait_for};
use crate::client::pace::Pace;
use crate::sql::readonly::{Attempt, attempt};
use crate::traffic::Side;
use crate::wire::frame::{self, Header};
use crate::wire::reply::Report;
use crate::wire::view::{self, Parse};

/// Limits on a client's requests. Most clients have none.
#[derive(Debug)]
pub struct Gate {
    /// The limits' keys, and what is left of them.
    pub paces: Vec<(&'static str, Arc<Pace>)>,
}

impl Gate {
    /// Why a request may not ask for a server now. A token that another limit has given is gone:
    /// asking costs.
    fn objection(&self) -> Option<Report> {
        self.paces.iter().find_map(|(key, pace)| {
            let wait = pace.take().err()?;
            Some(wait_for(condition::QUERY_RATE, key, wait))
        })
    }
}

impl Session {
    /// Why it may not ask for servers now.
    pub(super) fn objection(&self) -> Option<Report> {
        self.gate.as_ref().and_then(|gate| gate.objection())
    }

    /// Refuses the requests in `bytes` if their client may not ask for a server now: gives the
    /// number of bytes that this took, and 0 when it may.
    pub(super) fn stop_at_gate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, End> {
        let message_max = self.tenancy.terms.message_max;
        let (bytes, side, report) = match self.objection() {
            Some(report) => (bytes, Side::Pooler, report),
            None if self.tenancy.terms.read_only => match first_write(bytes, message_max) {
                Some((end, command)) => {
                    let request = bytes.get(..end).unwrap_or(bytes);
                    (request, Side::Client, condition::READ_ONLY.about(command))
                }
                None => return Ok(0),
            },
            None => return Ok(0),
        };
        let Self { client, names, .. } = self;
        let used = client.ignore.refuse(bytes, message_max, names, &report, out);
        self.note_refusals(side, &report);
        Ok(used?)
    }
}

/// The end of the first request in `bytes`, if it is seen to write, and its command.
fn first_write(bytes: &[u8], message_max: u32) -> Option<(usize, &'static str)> {
    let (mut end, mut writing) = (0, None);
    while let Ok(Some((header, body))) =
        frame::message(bytes.get(end..).unwrap_or_default(), message_max)
    {
        end += header.message_len();
        let text = match header.tag {
            b'Q' => view::query_text(body),
            b'P' => Parse::read(body).map(|parse| parse.text),
            _ => None,
        };
        if let Some(Attempt::Writing(command)) = text.map(attempt) {
            writing = writing.or(Some(command));
        }
        if matches!(header.tag, b'Q' | b'S' | b'F') {
            break;
        }
    }
    writing.map(|command| (end, command))
}

/// Whether a message of a user who may only read may go to a server. A text that is not whole yet
/// comes again when it is.
///
/// # Errors
/// When it might lead to a transaction that writes.
pub(super) fn check_reading(
    header: Header,
    body: Option<&[u8]>,
    text_max: usize,
) -> Result<(), ClientFault> {
    let text = match (header.tag, body) {
        (b'Q', Some(body)) => view::query_text(body),
        (b'P', Some(body)) => Parse::read(body).map(|parse| parse.text),
        (b'Q' | b'P', None) if header.body_len > text_max => {
            return Err(ClientFault::ReadOnly("a text longer than max_statement_size"));
        }
        (b'F', _) => return Err(ClientFault::ReadOnly("a call of a function by its number")),
        _ => None,
    };
    match text.map(attempt) {
        Some(Attempt::Escaping(what)) => Err(ClientFault::ReadOnly(what)),
        _ => Ok(()),
    }
}
