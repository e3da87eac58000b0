//! Rows that shards give of a change: what RETURNING gives of what each has stored, changed or deleted.

use super::{Columns, Fault, Merge, Next, Number, Source, Way, Window};

/// How they become the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Each is of the shard whose turn it is, from the last turn on; when a shard has no more its turns
    /// are left out, and where there are no more turns they come in any order.
    Turns(Vec<usize>),
    /// All shards give the same ones.
    Same,
}

impl Merge {
    /// For rows of so many shards that come of a change, of which the first has described them so
    /// (RowDescription). Each may have so many bytes.
    ///
    /// # Errors
    ///
    /// It is no description.
    pub fn of_change(
        joined: Joined,
        description: &[u8],
        shards: usize,
        held_bytes_max: usize,
    ) -> Result<Self, Fault> {
        Ok(Self {
            columns: Columns::read(description, 0).ok_or(Fault::Broken)?,
            sorted: Vec::new(),
            way: Way::Joined(joined),
            sources: (0..shards).map(|_| Source::default()).collect(),
            ready: Vec::with_capacity(shards),
            waiting: (0..shards).rev().collect(),
            window: Window::default(),
            rows: 0,
            held_bytes_max,
            number: Number::default(),
        })
    }

    /// How they become the client's, where they come of a change.
    pub fn joined(&self) -> Option<&Joined> {
        if let Way::Joined(joined) = &self.way { Some(joined) } else { None }
    }
}

impl Joined {
    /// A row of every shard is needed before one goes out.
    pub(super) fn needs_all(&self) -> bool {
        *self == Self::Same
    }

    /// What is next; `None` = any row that is there.
    pub(super) fn next(
        &mut self,
        sources: &[Source],
        ready: &mut Vec<usize>,
        waiting: &mut Vec<usize>,
    ) -> Result<Option<Next>, Fault> {
        match self {
            Self::Turns(turns) => {
                while let Some(turn) = turns.last().copied() {
                    if waiting.contains(&turn) {
                        return Ok(Some(Next::Need(turn)));
                    }
                    turns.pop();
                    if let Some(at) = ready.iter().position(|ready| *ready == turn) {
                        ready.remove(at);
                        waiting.push(turn);
                        return Ok(Some(Next::Of(turn)));
                    }
                }
                Ok(None)
            }
            Self::Same => {
                let Some((first, others)) = sources.split_first() else {
                    return Ok(Some(Next::Done));
                };
                if ready.is_empty() {
                    return Ok(Some(Next::Done));
                }
                if ready.len() < sources.len() || others.iter().any(|it| !it.row.is(&first.row)) {
                    return Err(Fault::Apart);
                }
                waiting.append(ready);
                Ok(Some(Next::Of(0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Step, tests};
    use super::*;

    /// Puts rows of shards together that are named in words.
    fn joined(joined: Joined, shards: &[&[&str]]) -> Result<Vec<String>, Fault> {
        let columns = tests::described(&[("name", 25)]);
        let mut merge = Merge::of_change(joined, &columns, shards.len(), 400)?;
        let mut left: Vec<_> = shards.iter().map(|rows| rows.iter()).collect();
        let mut found = Vec::new();
        loop {
            let at = match merge.step()? {
                Step::Row(row) => {
                    found.push(tests::words(&row));
                    continue;
                }
                Step::Done => return Ok(found),
                Step::Need(at) => at,
                Step::NeedAny => *merge.waiting.first().unwrap(),
            };
            match left[at].next() {
                Some(word) => merge.feed(at, &tests::row(&[Some(word)]))?,
                None => merge.end(at)?,
            }
        }
    }

    #[test]
    fn rows_come_in_their_turns() {
        let shards: &[&[&str]] = &[&["a1", "a2"], &["b1"], &["c1", "c2"]];
        let turns = Joined::Turns(vec![0, 2, 1, 2, 0]);
        assert_eq!(joined(turns, shards).unwrap(), ["a1", "c1", "b1", "c2", "a2"]);
        // One has fewer, and one has more, than was thought.
        let turns = Joined::Turns(vec![2, 1, 1, 0]);
        assert_eq!(joined(turns, shards).unwrap()[..3], ["a1", "b1", "c1"]);
        let mut any = joined(Joined::Turns(vec![]), shards).unwrap();
        any.sort();
        assert_eq!(any, ["a1", "a2", "b1", "c1", "c2"]);
    }

    #[test]
    fn copies_are_the_same() {
        let same: &[&[&str]] = &[&["x", "y"], &["x", "y"]];
        assert_eq!(joined(Joined::Same, same).unwrap(), ["x", "y"]);
        assert_eq!(joined(Joined::Same, &[&[], &[]]).unwrap(), [""; 0]);
        let others: [&[&[&str]]; 3] = [&[&["x"], &["y"]], &[&["x", "y"], &["x"]], &[&[], &["x"]]];
        for other in others {
            assert_eq!(joined(Joined::Same, other), Err(Fault::Apart), "{other:?}");
        }
    }
}
