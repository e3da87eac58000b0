//! What a text does: whatever stands before it, a write and a lock are seen, on the small stack of a
//! loop.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::facts::{Does, Opaque, facts};

fuzz_target!(|data: &[u8]| {
    let data = data.to_vec();
    let look = move || {
        let _alone = facts(&data);
        // The line break ends a comment that the text may end with.
        let with = |more: &[u8]| facts(&[&data, b"\n".as_slice(), more].concat()).does;
        // Stronger than all that may go to a replica.
        assert!(with(b";delete from t") >= Does::Opaque(Opaque::Text));
        // What is behind a COPY is its options, and an error if it is anything else.
        if data.to_ascii_lowercase().windows(4).any(|word| word == b"copy") {
            return;
        }
        assert_ne!(with(b" for update"), Does::Reads);
        assert_ne!(with(b", nextval('s')"), Does::Reads);
        assert_ne!(with(b" union select nextval ('s')"), Does::Reads);
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(look);
    assert!(thread.expect("a thread").join().is_ok());
});
