//! What comes from a server, judged message by message against the ledger.
//!
//! Only headers are looked at, and the bodies of the few small messages that carry state: all
//! the rest passes as runs of bytes, in pieces of any size.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::ledger::{Fate, Ledger, Local, Violation};
use super::reported::Reported;
use crate::wire::frame::{self, FrameError, HEADER_LEN, Header};
use crate::wire::view;

/// Who takes what a server sent.
pub trait Sink {
    /// This part of the input goes to the client verbatim, after all that went before.
    fn forward(&mut self, part: Range<usize>);
    /// A message of this type is the next that goes to the client.
    #[inline]
    fn shows(&mut self, _tag: u8) {}
    /// It is the turn of this reply of ours, to the message with this number.
    fn local(&mut self, sequence: u64, local: Local, status: u8);
    /// The request that ends with the message of this number is answered.
    #[inline]
    fn answered(&mut self, _sequence: u64) {}
    /// The server reports an error, (the start of) whose body this is; these messages of the
    /// client have had no effect. Says whether the client gets it: `false` where it has been told
    /// something in its place.
    fn failed(&mut self, messages: Range<u64>, error: &[u8]) -> bool;
    /// A notification, which is this part of the input: its body.
    fn notified(&mut self, part: Range<usize>, body: &[u8]);
    /// Whether the request, which has failed with this error before anything was shown of it, is
    /// run once more instead. These messages of it have had no effect.
    fn runs_again(&mut self, _: &Range<u64>, _: &[u8]) -> bool {
        false
    }
    /// Whether the request, which has failed with this error, is run on another server instead: the
    /// client gets nothing more of it. These messages of it have had no effect.
    fn runs_elsewhere(&mut self, _: &Range<u64>, _: &[u8]) -> bool {
        false
    }
    /// The server ends with this error, and owes nothing; whether its client need not know, as what it
    /// has begun, if this is its transaction's status, goes on elsewhere.
    fn is_spared(&mut self, _error: &[u8], _status: u8) -> bool {
        false
    }
    /// What the server reports of its session has changed, and the client is told by the part
    /// that was forwarded last.
    fn reported(&mut self, reported: &Arc<Reported>);
    /// A row of the answer to the request of our own with this number: its body.
    fn own_row(&mut self, sequence: u64, body: &[u8]);
    /// A message of the answer to the Describe of our own with this number.
    fn own_described(&mut self, _sequence: u64, _tag: u8, _body: &[u8]) {}
    /// The answer to the request of our own with this number is complete.
    fn own_complete(&mut self, sequence: u64, reported: &Arc<Reported>);
    /// The server refused the request of our own with this number; this is (the start of) its
    /// error's body.
    fn own_refused(&mut self, sequence: u64, error: &[u8]);
}

/// Why a server can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It sent what is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It sent what nobody asked for.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A message that we read has a body that is none.
    #[error("server sent a malformed message of type {tag:#04x}")]
    Malformed {
        /// The message's type.
        tag: u8,
    },
}

/// Where the reading of a server's bytes stands.
#[derive(Debug)]
pub struct Receiver {
    /// Bytes of the message under way that are still to come.
    pass: usize,
    /// Whether the client gets them.
    pass_forward: bool,
    /// The transaction status that the server reported last: `I`, `T` or `E`.
    status: u8,
    reported: Arc<Reported>,
    ready: Ready,
}

/// Whether a ReadyForQuery that ends a client's transaction is passed on as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// It is.
    Passes,
    /// It will be left unread when it comes.
    Stops,
    /// It has come, and is left unread.
    Stopped,
    /// The next one passes, and no other.
    OnePasses,
    /// The next one is read, but the client does not get it.
    OneIsKept,
}

/// The longest message that a server may send: Postgres's own limit is 1 GB.
const MESSAGE_MAX: u32 = 0x7fff_ffff;
/// The longest ParameterStatus that is believed.
const PARAMETER_MAX: usize = 64 * 1024;
/// The longest notification that is believed: Postgres's have 8000 bytes.
const NOTIFICATION_MAX: usize = 64 * 1024;
/// How much of an error is looked at: all of it but for the most talkative ones.
const ERROR_LOOK: usize = 4096;
/// The longest row of an answer to us that is believed.
const OWN_ROW_MAX: usize = 1024 * 1024;

impl Receiver {
    /// Starts at a message boundary, with what the server reported at login.
    pub fn new(reported: Arc<Reported>) -> Self {
        Self { pass: 0, pass_forward: false, status: b'I', reported, ready: Ready::Passes }
    }

    /// The transaction status that the server reported last: `I`, `T` or `E`.
    #[inline]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// What the server reports of its session.
    #[inline]
    pub fn reported(&self) -> &Arc<Reported> {
        &self.reported
    }

    /// Puts an equal value that others share in the place of our own.
    pub fn share_reported(&mut self, shared: &Arc<Reported>) {
        // Mostly it is there already, and this is asked after every transaction.
        if !Arc::ptr_eq(&self.reported, shared) && self.reported == *shared {
            self.reported = Arc::clone(shared);
        }
    }

    /// No message is under way.
    #[inline]
    pub fn is_between_messages(&self) -> bool {
        self.pass == 0
    }

    /// How much is still to come of a message that the client has the start of: nothing of ours may
    /// be said to it before.
    pub fn owed_of_message(&self) -> usize {
        if self.pass_forward { self.pass } else { 0 }
    }

    /// So many bytes of that message were read from the server without being judged here.
    pub fn passed_on(&mut self, count: usize) {
        self.pass = self.pass.saturating_sub(count);
    }

    /// What ends a transaction of the client's is left unread from now on, or no longer.
    #[inline]
    pub fn stop_at_ready(&mut self, stop: bool) {
        self.ready = match (stop, self.ready) {
            // It has been promised already.
            (false, Ready::OneIsKept) => Ready::OneIsKept,
            (false, _) => Ready::Passes,
            (true, Ready::Passes) => Ready::Stops,
            (true, as_it_is) => as_it_is,
        };
    }

    /// Whether the end of a transaction has been left unread.
    pub fn is_stopped(&self) -> bool {
        self.ready == Ready::Stopped
    }

    /// Whether that may be read now.
    pub fn may_go_on(&self) -> bool {
        matches!(self.ready, Ready::OnePasses | Ready::OneIsKept)
    }

    /// Reads on behind the end that was left unread, up to the next one.
    pub fn pass_ready(&mut self) {
        self.ready = Ready::OnePasses;
    }

    /// As [`pass_ready`](Self::pass_ready), but the caller tells the client itself.
    pub fn keep_ready(&mut self) {
        self.ready = Ready::OneIsKept;
    }

    /// Judges as many of these bytes as can be judged, and gives their number: fewer than all
    /// when the last message has to be seen whole and is not.
    ///
    /// # Errors
    /// The server has to be closed then.
    pub fn receive(
        &mut self,
        input: &[u8],
        ledger: &mut Ledger,
        sink: &mut impl Sink,
    ) -> Result<usize, Fault> {
        let mut position = 0;
        loop {
            if self.pass > 0 {
                let count = self.pass.min(input.len() - position);
                if self.pass_forward && count > 0 {
                    sink.forward(position..position + count);
                }
                self.pass -= count;
                position += count;
                if self.pass > 0 {
                    return Ok(position);
                }
            }
            while let Some((sequence, local)) = ledger.next_local() {
                sink.local(sequence, local, self.status);
            }
            let rest = input.get(position..).unwrap_or_default();
            let Some(header) = frame::header(rest, MESSAGE_MAX)? else {
                return Ok(position);
            };
            let looked_at = looked_at(header, ledger)?;
            let Some(body) = rest.get(HEADER_LEN..HEADER_LEN + looked_at) else {
                return Ok(position);
            };
            let mut kept = false;
            if self.ready != Ready::Passes && header.tag == b'Z' {
                kept = self.ready == Ready::OneIsKept;
                if self.stops(body, ledger) {
                    return Ok(position);
                }
            }
            let sequence = ledger.settled_to();
            let fate = ledger.received(header.tag)?;
            match header.tag {
                b'Z' => {
                    self.ready(body)?;
                    if fate == Fate::Forward {
                        ledger.answered(self.status);
                        sink.answered(sequence);
                    }
                }
                b'S' => self.parameter(body)?,
                _ => {}
            }
            self.pass = header.message_len();
            self.pass_forward = matches!(fate, Fate::Forward | Fate::Failed(_)) && !kept;
            if self.pass_forward {
                sink.shows(header.tag);
            }
            match fate {
                Fate::Forward if header.tag == b'A' => {
                    sink.notified(position..position + self.pass, body);
                    position += self.pass;
                    self.pass = 0;
                }
                Fate::Forward => {}
                Fate::Failed(_) if ledger.is_quiet() && sink.is_spared(body, self.status) => {
                    self.pass_forward = false;
                }
                Fate::Failed(undone) if sink.runs_elsewhere(&undone, body) => {
                    self.pass_forward = false;
                    ledger.hide_next();
                }
                Fate::Failed(undone)
                    if ledger.owes_one_sync() && sink.runs_again(&undone, body) =>
                {
                    self.pass_forward = false;
                    ledger.hide_next();
                }
                Fate::Failed(undone) => self.pass_forward = sink.failed(undone, body),
                Fate::OursFailed => sink.own_refused(sequence, body),
                Fate::Skip if header.tag == b'Z' => {
                    // What it says of its session is complete now.
                    sink.own_complete(sequence, &self.reported);
                }
                Fate::Skip if header.tag == b'D' => sink.own_row(sequence, body),
                Fate::Skip if matches!(header.tag, b't' | b'T' | b'n') => {
                    sink.own_described(sequence, header.tag, body);
                }
                Fate::Skip => {}
            }
            if header.tag == b'S' && self.pass_forward {
                sink.forward(position..position + self.pass);
                sink.reported(&self.reported);
                position += self.pass;
                self.pass = 0;
            }
        }
    }

    /// Whether this ReadyForQuery is left unread.
    fn stops(&mut self, body: &[u8], ledger: &Ledger) -> bool {
        if body != b"I" || !ledger.is_asked_by_client() {
            return false;
        }
        let passes = matches!(self.ready, Ready::OnePasses | Ready::OneIsKept);
        self.ready = if passes { Ready::Stops } else { Ready::Stopped };
        !passes
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), Fault> {
        match body {
            [status @ (b'I' | b'T' | b'E')] => {
                self.status = *status;
                Ok(())
            }
            _ => Err(Fault::Malformed { tag: b'Z' }),
        }
    }

    fn parameter(&mut self, body: &[u8]) -> Result<(), Fault> {
        let (name, value) = view::parameter_status(body).ok_or(Fault::Malformed { tag: b'S' })?;
        let known = self.reported.iter().any(|(n, v)| n == name && v == value);
        if !known {
            Arc::make_mut(&mut self.reported).set(name, value);
        }
        Ok(())
    }
}

/// How much of a message's body has to be there before it is judged.
#[inline]
fn looked_at(header: Header, ledger: &Ledger) -> Result<usize, Fault> {
    Ok(match header.tag {
        b'Z' if header.body_len == 1 => 1,
        b'S' if header.body_len <= PARAMETER_MAX => header.body_len,
        b'Z' | b'S' => return Err(Fault::Malformed { tag: header.tag }),
        b'A' if header.body_len <= NOTIFICATION_MAX => header.body_len,
        b'A' => return Err(Fault::Malformed { tag: b'A' }),
        b'E' => header.body_len.min(ERROR_LOOK),
        b'D' | b'T' | b't' if ledger.is_asked_by_us(header.tag) => match header.body_len {
            ..=OWN_ROW_MAX => header.body_len,
            _ => return Err(Fault::Malformed { tag: header.tag }),
        },
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Audience, Awaited};
    use super::*;

    #[derive(Default)]
    struct Seen {
        parts: Vec<Range<usize>>,
        events: String,
    }

    impl Sink for Seen {
        fn forward(&mut self, part: Range<usize>) {
            self.parts.push(part);
        }
        fn local(&mut self, _: u64, local: Local, _: u8) {
            self.events += &format!("{local:?} ");
        }
        fn failed(&mut self, messages: Range<u64>, _: &[u8]) -> bool {
            self.events += &format!("undone {messages:?} ");
            true
        }
        fn notified(&mut self, part: Range<usize>, _: &[u8]) {
            self.forward(part);
        }
        fn reported(&mut self, _: &Arc<Reported>) {
            self.events += "reported ";
        }
        fn own_row(&mut self, sequence: u64, body: &[u8]) {
            self.events += &format!("row {} of {sequence} ", body.len());
        }
        fn own_complete(&mut self, sequence: u64, _: &Arc<Reported>) {
            self.events += &format!("complete {sequence} ");
        }
        fn own_refused(&mut self, sequence: u64, error: &[u8]) {
            self.events += &format!("refused {sequence} {} ", error.len());
        }
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        crate::wire::reply::raw(&mut out, tag, &[body]);
        out
    }

    fn ledger(sent: &[(Awaited, Audience)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (awaited, audience) in sent {
            ledger.sent(*awaited, *audience).unwrap();
        }
        ledger
    }

    /// However the bytes are cut, the client gets the same ones.
    #[test]
    fn cut_at_every_byte_gives_the_same() {
        let input = [
            message(b'C', b"SET\0"),
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'Z', b"I"),
            message(b'T', b"\0\0"),
            message(b'D', &[7; 40]),
            message(b'S', b"TimeZone\0CET\0"),
            message(b'C', b"SELECT 1\0"),
            message(b'Z', b"T"),
        ]
        .concat();
        let skipped = 9 + 18 + 6;
        for cut in 0..=input.len() {
            let sent = [(Awaited::Query, Audience::Pooler), (Awaited::Query, Audience::Client)];
            let mut ledger = ledger(&sent);
            let mut receiver = Receiver::new(Arc::default());
            let mut forwarded = Vec::new();
            let mut held = Vec::new();
            for piece in [&input[..cut], &input[cut..]] {
                held.extend_from_slice(piece);
                let mut seen = Seen::default();
                let used = receiver.receive(&held, &mut ledger, &mut seen).unwrap();
                for part in seen.parts {
                    forwarded.extend_from_slice(&held[part]);
                }
                held.drain(..used);
            }
            assert_eq!(forwarded, input[skipped..], "cut at {cut}");
            assert!(held.is_empty() && ledger.is_quiet() && receiver.is_between_messages());
            assert_eq!(receiver.status(), b'T');
            assert_eq!(receiver.reported().get("TimeZone"), Some(&b"CET"[..]));
        }
    }

    #[test]
    fn events_are_told() {
        let sent = [
            (Awaited::Query, Audience::Pooler),
            (Awaited::Local(Local::ParseComplete), Audience::Client),
            (Awaited::Bind, Audience::Client),
            (Awaited::Sync, Audience::Client),
        ];
        let mut ledger = ledger(&sent);
        let input = [
            message(b'D', b"\0\0"),
            message(b'E', b"C22023\0\0"),
            message(b'Z', b"I"),
            message(b'E', b"C42P01\0\0"),
            message(b'Z', b"E"),
        ]
        .concat();
        let mut seen = Seen::default();
        Receiver::new(Arc::default()).receive(&input, &mut ledger, &mut seen).unwrap();
        assert_eq!(seen.events, "row 2 of 0 refused 0 8 complete 0 ParseComplete undone 2..3 ");
    }

    #[test]
    fn end_of_a_transaction_is_left_unread_until_it_may_pass() {
        let sent = [(Awaited::Query, Audience::Client), (Awaited::Query, Audience::Client)];
        let mut ledger = ledger(&sent);
        let input = [message(b'C', b"X\0"), message(b'Z', b"I"), message(b'Z', b"I")].concat();
        let mut receiver = Receiver::new(Arc::default());
        receiver.stop_at_ready(true);
        let mut take = |receiver: &mut Receiver, from: usize| {
            receiver.receive(&input[from..], &mut ledger, &mut Seen::default()).unwrap()
        };
        assert_eq!((take(&mut receiver, 0), receiver.is_stopped()), (7, true));
        receiver.stop_at_ready(true);
        assert_eq!((take(&mut receiver, 7), receiver.is_stopped()), (0, true));
        receiver.pass_ready();
        assert_eq!((take(&mut receiver, 7), receiver.is_stopped()), (6, true));
        receiver.stop_at_ready(false);
        assert_eq!((take(&mut receiver, 13), receiver.is_stopped()), (6, false));
    }

    #[test]
    fn lies_are_faults() {
        for (input, sent) in [
            (message(b'Z', b"X"), Awaited::Sync),
            (message(b'Z', b"II"), Awaited::Sync),
            (message(b'S', b"x"), Awaited::Sync),
            (b"C\0\0\0\x03".to_vec(), Awaited::Execute),
            (b"D\xff\xff\xff\xff".to_vec(), Awaited::Execute),
            (message(b'C', b""), Awaited::Bind),
        ] {
            let mut ledger = ledger(&[(sent, Audience::Client)]);
            let mut receiver = Receiver::new(Arc::default());
            assert!(receiver.receive(&input, &mut ledger, &mut Seen::default()).is_err());
        }
    }
}
