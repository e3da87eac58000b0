use proptest::prelude::*;

use super::*;

/// Plays a transcript against a ledger and says what the client was given.
///
/// `P B D E C S Q F` are sent for the client, lower case for ourselves; `c` after `>` is CopyDone;
/// `L` is a local ParseComplete. `<` starts what the server says: forwarded tags are noted as
/// they are, skipped ones as `-`, local replies as `1*`, errors as `E` and the number undone.
fn play(transcript: &str) -> Result<String, Violation> {
    let mut ledger = Ledger::default();
    let mut seen = String::new();
    let mut from_server = false;
    for symbol in transcript.bytes() {
        match symbol {
            b'>' => from_server = false,
            b'<' => from_server = true,
            b' ' => {}
            tag if from_server => match ledger.received(tag)? {
                Fate::Forward => seen.push(char::from(tag)),
                Fate::Skip => seen.push('-'),
                Fate::Failed(undone) => seen += &format!("E{}", undone.end - undone.start),
                Fate::OursFailed => seen.push('!'),
            },
            symbol => {
                let audience = if symbol.is_ascii_lowercase() && symbol != b'c' {
                    Audience::Pooler
                } else {
                    Audience::Client
                };
                let awaited = match symbol.to_ascii_uppercase() {
                    _ if symbol == b'c' => Awaited::CopyEnd,
                    b'P' => Awaited::Parse,
                    b'B' => Awaited::Bind,
                    b'D' => Awaited::Describe,
                    b'E' => Awaited::Execute,
                    b'C' => Awaited::Close,
                    b'S' => Awaited::Sync,
                    b'Q' => Awaited::Query,
                    b'F' => Awaited::FunctionCall,
                    b'L' => Awaited::Local(Local::ParseComplete),
                    other => panic!("no such symbol: {other}"),
                };
                ledger.sent(awaited, audience)?;
            }
        }
        while ledger.next_local().is_some() {
            seen.push_str("1*");
        }
    }
    seen.push_str(if ledger.is_quiet() { "." } else { "?" });
    Ok(seen)
}

#[test]
fn replies_reach_whom_they_are_for() {
    for (transcript, expected) in [
        ("> Q < TDDCZ", "TDDCZ."),
        ("> Q < TDCTDCZ", "TDCTDCZ."),
        ("> Q < IZ", "IZ."),
        ("> Q < TDEZ", "TDE1Z."),
        ("> F < VZ", "VZ."),
        ("> F < EZ", "E1Z."),
        ("> PBDES < 12TDCZ", "12TDCZ."),
        ("> PDS < 1tTZ", "1tTZ."),
        ("> PDS < 1tnZ", "1tnZ."),
        ("> BES < 2DDsZ > ES < DCZ", "2DDsZDCZ."),
        ("> PBE < 12", "12?"),
        ("> PBE < 12C", "12C?"),
        ("> PBE < 12C > S < Z", "12CZ."),
        ("> PBE < 12C > Q < CZ", "12CCZ."),
        ("> CS < 3Z", "3Z."),
        // Our own messages are not seen.
        ("> qQ < CZTDCZ", "--TDCZ."),
        ("> qQ < NSCZNTDCZ", "----NTDCZ."),
        ("> pBES < 12CZ", "-2CZ."),
        ("> cpBES < 312CZ", "Violation"),
        // Local replies keep their place.
        ("> LBES < 2CZ", "1*2CZ."),
        ("> PLBES < 12CZ", "11*2CZ."),
        ("> BELS < 2CZ", "2C1*Z."),
        // Several requests in flight.
        ("> PBESPBES < 12CZ12CZ", "12CZ12CZ."),
        ("> QQQ < CZCZCZ", "CZCZCZ."),
        // Nothing is owed.
        ("< N", "N."),
        ("< S", "S."),
        ("< E", "E0."),
    ] {
        let seen = play(transcript).unwrap_or_else(|_| "Violation".into());
        assert_eq!(seen, expected, "{transcript}");
    }
}

#[test]
fn an_error_undoes_what_the_server_skips() {
    for (transcript, expected) in [
        ("> PBDES < EZ", "E4Z."),
        ("> PBDES < 12EZ", "12E2Z."),
        ("> PBDES < 12TEZ", "12TE1Z."),
        ("> PBES < 12CEZ", "12CE0Z."),
        ("> PLBES < EZ", "E4Z."),
        // The error comes before the Sync is sent: what follows is ignored up to it.
        ("> PB < E > ESPBES < Z12CZ", "E2Z12CZ."),
        ("> PB < E > Q", "E2?"),
        // The next request is not touched.
        ("> PBESPBES < EZ12CZ", "E3Z12CZ."),
        // Our own Parse fails inside the client's request: the client is told.
        ("> pBES < EZ", "E3Z."),
        ("> q < EZ", "!-."),
    ] {
        let seen = play(transcript).unwrap_or_else(|_| "Violation".into());
        assert_eq!(seen, expected, "{transcript}");
    }
}

#[test]
fn copy_swallows_what_the_server_swallows() {
    for (transcript, expected) in [
        ("> Q < G > c < CZ", "GCZ."),
        ("> Qc < GCZ", "GCZ."),
        ("> Qcc < GCGCZ", "GCGCZ."),
        ("> Q < G > c < C < G > c < CZ", "GCGCZ."),
        ("> Q < G > S < EZ", "GE1Z."),
        ("> Q < GEZ > c", "GE1Z."),
        ("> Qc < EZ", "E1Z."),
        ("> Q < Hd", "Hd?"),
        ("> Q < HddcCZ", "HddcCZ."),
        // The whole request is sent at once, as libpq does: its Sync is lost to the COPY.
        ("> PBES < 12G > c < C", "12GC?"),
        ("> PBES < 12G > cS < CZ", "12GCZ."),
        ("> PBE < 12G > cS < CZ", "12GCZ."),
        ("> PBEScS < 12GCZ", "12GCZ."),
        // What is sent behind it closes the request too.
        ("> PBEScSQ < 12GCZCZ", "12GCZCZ."),
        ("> PBEScSPBES < 12GCZ12CZ", "12GCZ12CZ."),
        ("> PBEScSP < 12GCZ1", "12GCZ1?"),
        ("> PBES < 12GE > S < Z", "12GE2Z."),
        ("> PBES < 12G > cS < EZ", "12GE3Z."),
        // Something else in the place of rows: the COPY fails, the rest is skipped.
        ("> PBESPBES < 12GEZ", "12GE5Z."),
        // After a simple COPY nobody can tell whether it was read as rows.
        ("> Q < G > Q", "Violation"),
        ("> QQ < G", "Violation"),
    ] {
        let seen = play(transcript).unwrap_or_else(|_| "Violation".into());
        assert_eq!(seen, expected, "{transcript}");
    }
}

#[test]
fn unasked_replies_are_violations() {
    for transcript in
        ["< Z", "< C", "< D", "> Q < CZ < Z", "> Q < 1", "> P < 2", "> S < C", "> B < Z"]
    {
        assert!(play(transcript).is_err(), "{transcript}");
    }
}

proptest! {
    /// Whatever is sent and received, the ledger neither panics nor loses count.
    #[test]
    fn any_sequence_is_judged(steps in proptest::collection::vec((any::<bool>(), any::<u8>()), 0..200)) {
        let mut ledger = Ledger::default();
        let mut last = None;
        for (from_server, byte) in steps {
            if from_server {
                let tags = b"TDCIEZ123nstGHdcVNSA";
                let before = ledger.settled_to();
                if ledger.received(tags[usize::from(byte) % tags.len()]).is_err() {
                    return Ok(());
                }
                prop_assert!(ledger.settled_to() >= before);
            } else {
                let awaited = [
                    Awaited::Query, Awaited::FunctionCall, Awaited::Parse, Awaited::Bind,
                    Awaited::Describe, Awaited::Execute, Awaited::Close, Awaited::Sync,
                    Awaited::CopyEnd, Awaited::Local(Local::CloseComplete),
                ][usize::from(byte) % 10];
                match ledger.sent(awaited, Audience::Client) {
                    Err(_) => return Ok(()),
                    Ok(Some(sequence)) => {
                        prop_assert!(last.is_none_or(|last| sequence > last));
                        last = Some(sequence);
                    }
                    Ok(None) => {}
                }
            }
            while ledger.next_local().is_some() {}
            prop_assert!(!ledger.is_quiet() || ledger.is_empty());
        }
    }
}
