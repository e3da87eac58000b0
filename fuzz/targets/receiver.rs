//! What a server sends gives the same however it is cut. The input: how many requests were sent
//! and which, where to cut, and the server's bytes.

#![no_main]

use std::ops::Range;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pgweir::net::socket::Inbox;
use pgweir::server::ledger::{Audience, Awaited, Ledger, Local};
use pgweir::server::receive::{Fault, Receiver, Sink};
use pgweir::server::reported::Reported;

/// What reaches the client and the session, in order; runs of bytes are joined.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(Vec<Event>);

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Bytes(Vec<u8>),
    Local(u64, Local, u8),
    Failed(Range<u64>, Vec<u8>),
    Reported,
    OwnRow(u64, Vec<u8>),
    OwnComplete(u64),
    OwnRefused(u64, Vec<u8>),
}

struct Take<'a> {
    input: &'a [u8],
    seen: &'a mut Seen,
}

impl Sink for Take<'_> {
    fn forward(&mut self, part: Range<usize>) {
        let bytes = &self.input[part];
        match self.seen.0.last_mut() {
            Some(Event::Bytes(run)) => run.extend(bytes),
            _ => self.seen.0.push(Event::Bytes(bytes.to_vec())),
        }
    }
    fn local(&mut self, sequence: u64, local: Local, status: u8) {
        self.seen.0.push(Event::Local(sequence, local, status));
    }
    fn failed(&mut self, messages: Range<u64>, error: &[u8]) -> bool {
        self.seen.0.push(Event::Failed(messages, error.to_vec()));
        true
    }
    fn notified(&mut self, part: Range<usize>, _: &[u8]) {
        self.forward(part);
    }
    fn reported(&mut self, _: &Arc<Reported>) {
        self.seen.0.push(Event::Reported);
    }
    fn own_row(&mut self, sequence: u64, body: &[u8]) {
        self.seen.0.push(Event::OwnRow(sequence, body.to_vec()));
    }
    fn own_complete(&mut self, sequence: u64, _: &Arc<Reported>) {
        self.seen.0.push(Event::OwnComplete(sequence));
    }
    fn own_refused(&mut self, sequence: u64, error: &[u8]) {
        self.seen.0.push(Event::OwnRefused(sequence, error.to_vec()));
    }
}

fn sent(steps: &[u8]) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for step in steps {
        let awaited = match step % 9 {
            0 => Awaited::Query,
            1 => Awaited::Parse,
            2 => Awaited::Bind,
            3 => Awaited::Describe,
            4 => Awaited::Execute,
            5 => Awaited::Sync,
            6 => Awaited::Close,
            7 => Awaited::Local(Local::ParseComplete),
            _ => Awaited::FunctionCall,
        };
        let audience = if step & 0x80 == 0 { Audience::Client } else { Audience::Pooler };
        ledger.sent(awaited, audience).ok()?;
    }
    Some(ledger)
}

fn receive<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut ledger: Ledger,
) -> (Seen, Result<(), Fault>, u8) {
    let mut receiver = Receiver::new(Arc::default());
    let mut inbox = Inbox::default();
    let mut seen = Seen::default();
    for piece in pieces {
        let judged = inbox.join(piece, |input| {
            receiver.receive(input, &mut ledger, &mut Take { input, seen: &mut seen })
        });
        if let Err(fault) = judged {
            return (seen, Err(fault), receiver.status());
        }
    }
    (seen, Ok(()), receiver.status())
}

fuzz_target!(|data: &[u8]| {
    let Some((&[count, cut], rest)) = data.split_first_chunk::<2>() else { return };
    let Some((steps, bytes)) = rest.split_at_checked(usize::from(count % 16)) else { return };
    let ledgers = || sent(steps);
    let (Some(first), Some(second)) = (ledgers(), ledgers()) else { return };
    let whole = receive([bytes].into_iter(), first);
    let pieces = bytes.chunks(usize::from(cut).max(1)).chain([&[][..]]);
    let pieces = receive(pieces, second);
    assert_eq!(whole, pieces);
});
