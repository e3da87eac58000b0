//! What a text may leave behind: whatever stands before it, a statement that changes the session
//! is seen, and a text that is clean stays so when clean text follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::{Command, effects};

fuzz_target!(|data: &[u8]| {
    let alone = effects(data);
    if alone.command != Command::Other {
        assert!(alone.changes_session);
    }
    // The line break ends a comment that the text may end with.
    let with = |more: &[u8]| [data, b"\n;", more].concat();
    assert!(effects(&with(b"listen x")).changes_session);
    assert!(effects(&with(b"deallocate all")).drops_statements);
    assert_eq!(effects(&with(b"select 1")).changes_session, alone.changes_session);
    let before = [b"select 1;", data].concat();
    assert_eq!(effects(&before).changes_session, alone.changes_session);
});
