//! The buffers of a loop: one pair per thread, borrowed only inside a poll, so that a session
//! that moves no bytes owns none.

use std::cell::RefCell;

/// A loop's buffers.
#[derive(Debug)]
pub struct Scratch {
    /// Bytes are read into it.
    pub input: Vec<u8>,
    /// What goes out is put together in it, where it is not a run of the input.
    pub output: Vec<u8>,
}

/// Bytes read at once: what a slow peer may make us hold per direction.
pub const INPUT_LEN: usize = 128 * 1024;

/// An output buffer that grew beyond this is given back to the system after use.
const OUTPUT_KEPT: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { input: vec![0; INPUT_LEN], output: Vec::new() });
    static SEALED: RefCell<Scratch> =
        const { RefCell::new(Scratch { input: Vec::new(), output: Vec::new() }) };
}

/// Lends this thread's buffers. `output` is empty at the start.
///
/// # Panics
/// When called from inside itself.
pub fn with<T>(borrow: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.output.clear();
        let result = borrow(scratch);
        if scratch.output.capacity() > OUTPUT_KEPT {
            scratch.output = Vec::new();
        }
        result
    })
}

/// Lends this thread's buffers for encrypted bytes, which whoever has those of [`with`] may borrow
/// as well. They have whatever was in them, and grow as they are needed.
///
/// # Panics
/// When called from inside itself.
pub(super) fn with_sealed<T>(borrow: impl FnOnce(&mut Scratch) -> T) -> T {
    SEALED.with_borrow_mut(borrow)
}
