//! Texts that differ in plain literals alone: the one that stands for all has the facts of each, and
//! stands for itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::facts::{common, facts};

fuzz_target!(|data: &[u8]| {
    let data = data.to_vec();
    let look = move || {
        let (mut buffer, mut again) = (vec![0; data.len()], vec![0; data.len()]);
        let stands = common(&data, &mut buffer);
        assert!(stands.len() <= data.len());
        assert_eq!(facts(stands), facts(&data));
        assert_eq!(common(stands, &mut again), stands);
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(look);
    assert!(thread.expect("a thread").join().is_ok());
});
