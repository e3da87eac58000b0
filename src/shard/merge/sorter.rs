//! Rows that have to be kept until all of them are there.

use std::collections::BinaryHeap;

use super::Fault;

/// Rows in the order of their keys; of equal keys, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    rows: BinaryHeap<Kept>,
    /// No more than the first of so many rows are wanted.
    wanted: Option<usize>,
    came: u64,
    bytes: usize,
    bytes_max: usize,
}

/// A key, when it came, and a row.
type Kept = (Box<[u8]>, u64, Box<[u8]>);

/// What a row takes besides its bytes.
const ROW_BYTES: usize = 64;

impl Sorter {
    pub(super) fn new(wanted: Option<u64>, bytes_max: usize) -> Self {
        let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
        Self { wanted, bytes_max, ..Self::default() }
    }

    /// Takes a row in, with all values that the client sees.
    pub(super) fn add(&mut self, key: &[u8], row: &[u8]) -> Result<(), Fault> {
        if self.wanted == Some(0) {
            return Ok(());
        }
        if self.wanted.is_some_and(|wanted| self.rows.len() >= wanted) {
            match self.rows.peek() {
                Some((last, ..)) if **last <= *key => return Ok(()),
                _ => {
                    if let Some((key, _, row)) = self.rows.pop() {
                        self.bytes -= key.len() + row.len() + ROW_BYTES;
                    }
                }
            }
        }
        self.bytes += key.len() + row.len() + ROW_BYTES;
        if self.bytes > self.bytes_max {
            return Err(Fault::TooLarge(self.bytes_max));
        }
        self.rows.push((key.into(), self.came, row.into()));
        self.came += 1;
        Ok(())
    }

    /// All rows, in their order.
    pub(super) fn sorted(self) -> impl Iterator<Item = Box<[u8]>> {
        self.rows.into_sorted_vec().into_iter().map(|(_, _, row)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_rows_are_kept_than_are_wanted() {
        let mut sorter = Sorter::new(Some(3), 3 * (ROW_BYTES + 2));
        for (at, key) in [5, 3, 9, 1, 3, 7, 0].into_iter().enumerate() {
            sorter.add(&[key], &[u8::try_from(at).unwrap()]).unwrap();
        }
        let rows: Vec<u8> = sorter.sorted().map(|row| row[0]).collect();
        assert_eq!(rows, [6, 3, 1]);
    }

    #[test]
    fn more_bytes_than_allowed_are_an_error() {
        let mut sorter = Sorter::new(None, 2 * (ROW_BYTES + 2));
        assert_eq!(sorter.add(&[1], &[1]), Ok(()));
        assert_eq!(sorter.add(&[2], &[1]), Ok(()));
        assert_eq!(sorter.add(&[3], &[1]), Err(Fault::TooLarge(2 * (ROW_BYTES + 2))));
    }
}
