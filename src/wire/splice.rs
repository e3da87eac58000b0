//! Output made of runs of the input, with our own bytes between them.
//!
//! As long as the output is one run of the input it is not copied.

use std::ops::Range;

/// Puts an output together.
#[derive(Debug)]
pub struct Splice<'a> {
    input: &'a [u8],
    /// The run that is not copied yet; behind all of `output`.
    run: Range<usize>,
    output: &'a mut Vec<u8>,
}

impl<'a> Splice<'a> {
    /// Starts with nothing. `output` has to be empty; it is used only if it must be.
    pub fn new(input: &'a [u8], output: &'a mut Vec<u8>) -> Self {
        Self { input, run: 0..0, output }
    }

    /// Appends this part of the input.
    #[inline]
    pub fn forward(&mut self, part: Range<usize>) {
        if part.start == self.run.end {
            self.run.end = part.end;
        } else {
            self.settle();
            self.run = part;
        }
    }

    /// This part of the input.
    #[inline]
    pub fn input(&self, part: Range<usize>) -> &'a [u8] {
        self.input.get(part).unwrap_or_default()
    }

    /// Appends what `write` appends, and gives what it gives.
    pub fn insert<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.settle();
        write(self.output)
    }

    /// The output.
    pub fn finish(mut self) -> &'a [u8] {
        if self.output.is_empty() {
            return self.input.get(self.run).unwrap_or_default();
        }
        self.settle();
        self.output
    }

    fn settle(&mut self) {
        let run = std::mem::replace(&mut self.run, 0..0);
        // An empty run has to end where the next part can't begin by chance.
        self.run = run.end..run.end;
        self.output.extend_from_slice(self.input.get(run).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splice(build: impl FnOnce(&mut Splice<'_>)) -> (Vec<u8>, bool) {
        let input = b"abcdefghij";
        let mut output = Vec::new();
        let mut splice = Splice::new(input, &mut output);
        build(&mut splice);
        let result = splice.finish();
        (result.to_vec(), input.as_ptr_range().contains(&result.as_ptr()))
    }

    #[test]
    fn one_run_is_not_copied() {
        let (bytes, in_place) = splice(|s| {
            s.forward(0..3);
            s.forward(3..7);
        });
        assert_eq!((bytes.as_slice(), in_place), (&b"abcdefg"[..], true));
    }

    #[test]
    fn runs_and_insertions_keep_their_order() {
        let (bytes, _) = splice(|s| {
            s.forward(0..2);
            s.insert(|out| out.extend_from_slice(b"--"));
            s.forward(2..4);
            s.forward(6..8);
            s.insert(|out| out.extend_from_slice(b"++"));
            s.forward(8..10);
        });
        assert_eq!(bytes, b"ab--cdgh++ij");
        assert_eq!(splice(|_| {}).0, b"");
        assert_eq!(splice(|s| s.forward(4..6)).0, b"ef");
    }
}
