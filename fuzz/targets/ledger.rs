//! Any order of sent and received messages: no reply is given twice, to nobody, or to the wrong
//! one. Each byte of the input is a step.

#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use pgweir::server::ledger::{Audience, Awaited, Fate, Ledger, Local};

const AWAITED: [Awaited; 10] = [
    Awaited::Query,
    Awaited::FunctionCall,
    Awaited::Parse,
    Awaited::Bind,
    Awaited::Describe,
    Awaited::Execute,
    Awaited::Close,
    Awaited::Sync,
    Awaited::CopyEnd,
    Awaited::Local(Local::ParseComplete),
];
const TAGS: &[u8] = b"TDCIEZ123nstGHdcVNSAW";

fuzz_target!(|data: &[u8]| {
    let mut ledger = Ledger::default();
    // What was entered and is not settled, by sequence number.
    let mut owed: VecDeque<(u64, Awaited, Audience)> = VecDeque::new();
    let mut next = 0;
    // Syncs may have been read as part of a COPY, and be answered by nothing.
    let mut copied = false;
    for byte in data {
        let before = ledger.settled_to();
        if byte & 0x80 == 0 {
            let awaited = AWAITED[usize::from(byte & 0x3f) % AWAITED.len()];
            let audience = if byte & 0x40 == 0 { Audience::Client } else { Audience::Pooler };
            match ledger.sent(awaited, audience) {
                Err(_) => return,
                Ok(None) => {}
                Ok(Some(sequence)) => {
                    assert_eq!(sequence, next, "numbers are given without gaps");
                    next += 1;
                    owed.push_back((sequence, awaited, audience));
                }
            }
        } else {
            let tag = TAGS[usize::from(byte & 0x7f) % TAGS.len()];
            let first = owed.front().copied();
            let Ok(fate) = ledger.received(tag) else { return };
            copied |= tag == b'G';
            match (&fate, first) {
                // Nobody is owed anything: only what may come unasked goes on.
                (Fate::Forward | Fate::Failed(_), None) => assert!(b"NSAE".contains(&tag)),
                (_, None) => panic!("{fate:?} of what nobody asked for"),
                // A notification is for who listens, whatever is being answered.
                (Fate::Forward, Some((.., audience))) => {
                    assert!(audience == Audience::Client || tag == b'A');
                }
                (Fate::Skip, Some((.., audience))) => assert_eq!(audience, Audience::Pooler),
                (Fate::Failed(_) | Fate::OursFailed, Some(_)) => assert_eq!(tag, b'E'),
            }
            if let Fate::Failed(undone) = fate {
                // A request that is one message still owes its ReadyForQuery.
                let is_one = first.is_some_and(|(_, awaited, _)| {
                    matches!(awaited, Awaited::Query | Awaited::FunctionCall)
                });
                let end = if is_one { before + 1 } else { ledger.settled_to() };
                assert_eq!(undone, before..end);
                // The end of a request is never undone.
                for (sequence, awaited, _) in &owed {
                    let is_end = *awaited == Awaited::Sync && !copied;
                    assert!(!(is_end && undone.contains(sequence)));
                }
            }
        }
        // Locals come at their turn.
        loop {
            while owed.front().is_some_and(|(sequence, ..)| *sequence < ledger.settled_to()) {
                owed.pop_front();
            }
            let Some((sequence, local)) = ledger.next_local() else { break };
            let first = owed.front().map(|(sequence, awaited, _)| (*sequence, *awaited));
            assert_eq!(first, Some((sequence, Awaited::Local(local))));
        }
        assert!(ledger.settled_to() >= before && ledger.settled_to() <= next);
        assert_eq!(ledger.len(), owed.len());
        assert!(!ledger.is_quiet() || ledger.is_empty());
    }
});
