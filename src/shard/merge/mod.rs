//! Rows of several shards become those that one Postgres would give: merged in their order, groups
//! put together, in a stream.
//!
//! A [`Merge`] is pulled: it says of which shard it needs the next row, is fed with it, and gives rows
//! out. It holds one row of each shard, one group, and, only where groups are ordered by something else
//! than what they are told apart by, rows up to [`Manner::held_bytes_max`]. It knows no sockets: what
//! is not asked for is not read. Rows that pass unchanged are copied once and allocate nothing.

mod bound;
mod columns;
mod fault;
mod groups;
mod having;
mod key;
mod moment;
mod number;
mod row;
mod sorter;
mod stored;

use std::fmt;

pub use bound::{Bound, Window};
use columns::Columns;
pub use fault::Fault;
use groups::Group;
use having::Having;
use key::Sorted;
use number::Number;
use row::Held;
pub use row::Row;
use sorter::Sorter;
pub use stored::Joined;

use crate::sql::fan::{Column, Fan, Order};

/// What is known of a session and its database that does not show in rows.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How text is ordered: the database's collation, and those of columns that are asked for.
    pub texts: Texts,
    /// Text comes in another encoding than the database's (`client_encoding`).
    pub converts: bool,
    /// Dates and times that are text are written in the ISO style.
    pub iso_dates: bool,
    /// Floats that are text are written with all digits that it takes to read them again
    /// (`extra_float_digits` of 1 or more).
    pub exact_floats: bool,
    /// How many bytes rows that are held may take, and each single row.
    pub held_bytes_max: usize,
}

/// How text is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// By its bytes: `C`, `POSIX`, `ucs_basic`, and the built-in `C.UTF-8`.
    ByBytes,
    /// In another way, but what has different bytes is different.
    Deterministic,
    /// Nothing is known.
    Unknown,
}

/// The rows of several shards on their way to the client.
#[derive(Debug)]
pub struct Merge {
    columns: Columns,
    sorted: Vec<Sorted>,
    way: Way,
    sources: Vec<Source>,
    /// Shards with a row, the one whose is the next last.
    ready: Vec<usize>,
    /// Shards of which a row is awaited.
    waiting: Vec<usize>,
    window: Window,
    rows: u64,
    held_bytes_max: usize,
    number: Number,
}

/// What becomes of rows.
enum Way {
    /// They go on as they are.
    Rows,
    /// Those of a group become one.
    Groups(Box<Grouping>),
    /// All groups are there, and go out in another order.
    Kept(Box<dyn Iterator<Item = Box<[u8]>> + Send>, Box<[u8]>),
    /// They are of a change of rows.
    Joined(Joined),
}

/// Groups, one after the other.
#[derive(Debug)]
struct Grouping {
    group: Group,
    /// What the rows of the group are equal in, while there is one.
    key: Option<Vec<u8>>,
    having: Option<Having>,
    row: Held,
    sorted: Vec<Sorted>,
    sorter: Option<Sorter>,
}

/// What a shard has.
#[derive(Debug, Default)]
struct Source {
    row: Held,
    key: Vec<u8>,
    /// The key of the row before.
    last: Vec<u8>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'m> {
    /// The next row of this shard, or its end, is needed.
    Need(usize),
    /// The next row, or the end, of any shard that has not ended.
    NeedAny,
    /// This row goes to the client.
    Row(Row<'m>),
    /// There are no more. Shards that have not ended yet have nothing that is wanted.
    Done,
}

/// The same, without the row.
enum Next {
    Need(usize),
    NeedAny,
    Of(usize),
    OfGroup,
    Kept,
    Done,
}

impl Merge {
    /// For shards of which the first that answered has described its rows so (RowDescription).
    ///
    /// # Errors
    ///
    /// They can't be put together exactly.
    pub fn new(
        fan: &Fan,
        description: &[u8],
        shards: usize,
        bound: &Bound<'_>,
        manner: &Manner,
    ) -> Result<Self, Fault> {
        let columns = Columns::read(description, fan.extras).ok_or(Fault::Broken)?;
        let window = Window::of(fan, bound)?;
        let way = match &fan.groups {
            None => Way::Rows,
            Some(groups) => {
                let having = groups.having.as_ref();
                let wanted = window.limit.map(|limit| limit.saturating_add(window.offset));
                let sorted = columns.sorted(&groups.sorted, manner)?;
                Way::Groups(Box::new(Grouping {
                    group: Group::new(&groups.columns, &columns, manner)?,
                    key: None,
                    having: having
                        .map(|having| Having::new(having, &columns, bound))
                        .transpose()?,
                    row: Held::default(),
                    sorter: (!sorted.is_empty())
                        .then(|| Sorter::new(wanted, manner.held_bytes_max)),
                    sorted,
                }))
            }
        };
        let sorted = columns.sorted(&fan.order, manner)?;
        // A number that the client orders by is one of its own columns, which Postgres did not see.
        let is_shown = |order: &Order| match order.column {
            Column::At(at) => usize::from(at) < columns.shown,
            Column::Extra(_) | Column::Named(_) => true,
        };
        if let Some(order) = fan.order.iter().find(|order| !is_shown(order))
            && fan.groups.is_none()
        {
            let at = if let Column::At(at) = order.column { at + 1 } else { 0 };
            return Err(Fault::NoColumn(at.to_string()));
        }
        Ok(Self {
            sorted,
            columns,
            way,
            sources: (0..shards).map(|_| Source::default()).collect(),
            ready: Vec::with_capacity(shards),
            waiting: (0..shards).rev().collect(),
            window,
            rows: 0,
            held_bytes_max: manner.held_bytes_max,
            number: Number::default(),
        })
    }

    /// Whether another shard may describe its rows so.
    ///
    /// # Errors
    ///
    /// They are not the same.
    pub fn described(&self, description: &[u8]) -> Result<(), Fault> {
        if self.columns.are(description) { Ok(()) } else { Err(Fault::Differs) }
    }

    /// How many rows were given out.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes the next row (the body of a DataRow) of a shard that was needed.
    ///
    /// # Errors
    ///
    /// It is none, or too long, or was not needed.
    pub fn feed(&mut self, shard: usize, row: &[u8]) -> Result<(), Fault> {
        if row.len() > self.held_bytes_max {
            return Err(Fault::TooLarge(self.held_bytes_max));
        }
        self.awaited(shard)?;
        let source = self.sources.get_mut(shard).ok_or(Fault::Broken)?;
        source.row.fill(row, self.columns.fields.len()).ok_or(Fault::Broken)?;
        std::mem::swap(&mut source.key, &mut source.last);
        source.key.clear();
        for sorted in &self.sorted {
            let value = source.row.value(sorted.column);
            sorted.write(value, &mut self.number, &mut source.key).ok_or(Fault::Broken)?;
        }
        if source.key < source.last {
            return Err(Fault::Unsorted);
        }
        let place = if self.is_merged() {
            let key = |at: &usize| self.sources.get(*at).map(|source| (&source.key, *at));
            let own = key(&shard);
            self.ready.partition_point(|at| key(at) > own)
        } else {
            0
        };
        self.ready.insert(place, shard);
        Ok(())
    }

    /// A shard that was needed has no more rows.
    ///
    /// # Errors
    ///
    /// It was not needed.
    pub fn end(&mut self, shard: usize) -> Result<(), Fault> {
        self.awaited(shard)
    }

    fn awaited(&mut self, shard: usize) -> Result<(), Fault> {
        let at = self.waiting.iter().rposition(|waiting| *waiting == shard);
        self.waiting.swap_remove(at.ok_or(Fault::Broken)?);
        Ok(())
    }

    /// Says what is to be done next.
    ///
    /// # Errors
    ///
    /// A group can't be put together, or more would have to be held than is allowed.
    pub fn step(&mut self) -> Result<Step<'_>, Fault> {
        let next = loop {
            let next = self.next()?;
            match next {
                Next::Of(_) | Next::OfGroup | Next::Kept if self.window.offset > 0 => {
                    self.window.offset -= 1;
                }
                next => break next,
            }
        };
        if let Next::Of(_) | Next::OfGroup | Next::Kept = next {
            self.rows += 1;
            self.window.limit = self.window.limit.map(|limit| limit - 1);
        }
        let shown = self.columns.shown;
        Ok(match (next, &self.way) {
            (Next::Need(shard), _) => Step::Need(shard),
            (Next::NeedAny, _) => Step::NeedAny,
            (Next::Of(shard), _) => self
                .sources
                .get(shard)
                .map_or(Step::Done, |source| Step::Row(source.row.shown(shown))),
            (Next::OfGroup, Way::Groups(grouping)) => Step::Row(grouping.row.shown(shown)),
            (Next::Kept, Way::Kept(_, values)) => {
                Step::Row(Row { columns: u16::try_from(shown).unwrap_or(u16::MAX), values })
            }
            _ => Step::Done,
        })
    }

    fn next(&mut self) -> Result<Next, Fault> {
        if self.window.limit == Some(0) {
            return Ok(Next::Done);
        }
        loop {
            if let Way::Kept(rows, row) = &mut self.way {
                let Some(next) = rows.next() else { return Ok(Next::Done) };
                *row = next;
                return Ok(Next::Kept);
            }
            if self.is_merged() && !self.waiting.is_empty() {
                return Ok(self.waiting.last().map_or(Next::Done, |shard| Next::Need(*shard)));
            }
            if let Way::Joined(joined) = &mut self.way
                && let Some(next) =
                    joined.next(&self.sources, &mut self.ready, &mut self.waiting)?
            {
                return Ok(next);
            }
            let head = self.ready.last().copied();
            let Way::Groups(grouping) = &mut self.way else {
                return Ok(match head {
                    Some(shard) => {
                        self.take();
                        Next::Of(shard)
                    }
                    None if self.waiting.is_empty() => Next::Done,
                    None => Next::NeedAny,
                });
            };
            let source = head.and_then(|shard| self.sources.get(shard));
            if let Some(source) = source
                && grouping.takes(source)?
            {
                self.take();
            } else if grouping.key.is_some() {
                if grouping.finish(self.columns.shown)? {
                    return Ok(Next::OfGroup);
                }
            } else if let Some(sorter) = grouping.sorter.take() {
                self.way = Way::Kept(Box::new(sorter.sorted()), Box::default());
            } else {
                return Ok(Next::Done);
            }
        }
    }

    /// Whether rows have an order that depends on all shards.
    fn is_merged(&self) -> bool {
        let joined = match &self.way {
            Way::Rows => false,
            Way::Joined(joined) => joined.needs_all(),
            Way::Groups(_) | Way::Kept(..) => true,
        };
        joined || !self.sorted.is_empty()
    }

    /// The row of the shard that is the next is used; another may come.
    fn take(&mut self) {
        self.waiting.extend(self.ready.pop());
    }
}

impl Grouping {
    /// Adds a row, if it is of the group that there is, or there is none.
    fn takes(&mut self, source: &Source) -> Result<bool, Fault> {
        match &self.key {
            Some(key) if *key != source.key => return Ok(false),
            Some(_) => self.group.add(&source.row)?,
            None => {
                self.key = Some(source.key.clone());
                self.group.begin(&source.row)?;
            }
        }
        Ok(true)
    }

    /// Ends the group; whether its row goes out now.
    fn finish(&mut self, shown: usize) -> Result<bool, Fault> {
        self.key = None;
        self.group.finish(&mut self.row)?;
        if let Some(having) = &self.having
            && having.holds(&self.row) != Some(true)
        {
            return Ok(false);
        }
        let Some(sorter) = &mut self.sorter else { return Ok(true) };
        let (mut key, mut number) = (Vec::new(), Number::default());
        for sorted in &self.sorted {
            let value = self.row.value(sorted.column);
            sorted.write(value, &mut number, &mut key).ok_or(Fault::Broken)?;
        }
        sorter.add(&key, self.row.shown(shown).values)?;
        Ok(false)
    }
}

/// The RowDescription that the client gets for that of a shard.
///
/// # Errors
///
/// It is none.
pub fn description(fan: &Fan, description: &[u8]) -> Result<Vec<u8>, Fault> {
    columns::shown(description, fan.extras).ok_or(Fault::Broken)
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rows => "Rows",
            Self::Groups(_) => "Groups",
            Self::Kept(..) => "Kept",
            Self::Joined(_) => "Joined",
        })
    }
}

#[cfg(test)]
mod tests;
