//! What a text may leave behind: whatever stands before it, a statement that changes the session
//! is seen, and nothing of a text is lost when clean text follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::{Leaves, commands, effects};

fuzz_target!(|data: &[u8]| {
    let alone = effects(data);
    let _commands = commands(data);
    // The line break ends a comment that the text may end with.
    let with = |more: &[u8]| effects(&[data, b"\n;", more].concat());
    assert!(with(b"listen x").leaves.has(Leaves::LISTENER));
    assert!(with(b"deallocate all").leaves.has(Leaves::NO_STATEMENTS));
    assert!(with(b"set x.y = 1").leaves.has_any(Leaves::SETTINGS | Leaves::CODE));
    // Half a statement may be another one when more follows.
    assert!(with(b"select 1").leaves.has(alone.leaves));
    assert_eq!(effects(&[b"select 1;", data].concat()), alone);
});
