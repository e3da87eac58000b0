//! What texts cost, by their form without values.
//!
//! Each loop has a book of its own. What all may take is bounded; when a book is full, those that
//! have taken the least time are counted together.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::times::Distribution;

/// What texts of one form have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests that began with it.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that ran on replicas.
    pub on_replicas: u64,
    /// How long servers were at work for them.
    pub ran: Distribution,
    /// How long they waited for a server together.
    pub waited: Duration,
}

impl Cost {
    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.on_replicas += other.on_replicas;
        self.ran.merge(&other.ran);
        self.waited += other.waited;
    }
}

/// A database, and a text without its values.
type Form = (Box<str>, Box<str>);

/// Stands for the forms that were forgotten.
pub const OTHERS: &str = "(others)";
/// What an entry takes beside its texts, roughly.
const WEIGHT: usize = 2 * size_of::<Form>() + size_of::<Cost>() + 64;

#[derive(Debug, Default)]
struct Book {
    costs: HashMap<Form, Cost>,
    bytes: usize,
}

/// All of them.
#[derive(Debug)]
pub struct Queries {
    by_loop: Box<[Mutex<Book>]>,
    bytes_max: AtomicUsize,
}

impl Queries {
    /// None yet. There are so many loops, and all may take so many bytes.
    pub fn new(loops: usize, bytes_max: usize) -> Self {
        let by_loop = (0..loops.max(1)).map(|_| Mutex::default()).collect();
        Self { by_loop, bytes_max: AtomicUsize::new(bytes_max) }
    }

    /// So many bytes from now on; none forgets all.
    pub fn resize(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        if bytes_max == 0 {
            self.by_loop.iter().for_each(|book| *book.lock() = Book::default());
        }
    }

    /// A request has cost so much, on this loop.
    pub fn add(&self, on: usize, database: &str, text: String, cost: &Cost) {
        let max = self.bytes_max.load(Ordering::Relaxed) / self.by_loop.len();
        let Some(book) = self.by_loop.get(on).or(self.by_loop.first()).filter(|_| max > 0) else {
            return;
        };
        let mut book = book.lock();
        book.add((database.into(), text.into()), cost);
        if book.bytes > max {
            book.forget_half(max / 2);
        }
    }

    /// What each has cost, the dearest first: database, text, cost.
    pub fn list(&self) -> Vec<(String, String, Cost)> {
        let mut all = Book::default();
        for book in &self.by_loop {
            for (form, cost) in &book.lock().costs {
                all.add(form.clone(), cost);
            }
        }
        let line = |((database, text), cost): (Form, Cost)| (database.into(), text.into(), cost);
        let mut list: Vec<(String, String, Cost)> = all.costs.into_iter().map(line).collect();
        list.sort_by_key(|(.., cost)| Reverse(cost.ran.micros));
        list
    }
}

impl Book {
    fn add(&mut self, form: Form, cost: &Cost) {
        if let Some(sum) = self.costs.get_mut(&form) {
            return sum.join(cost);
        }
        self.bytes += form.0.len() + form.1.len() + WEIGHT;
        self.costs.insert(form, *cost);
    }

    /// Forgets those that took the least time, until the others take no more than this.
    fn forget_half(&mut self, bytes_max: usize) {
        let mut all: Vec<_> = std::mem::take(self).costs.into_iter().collect();
        all.sort_by_key(|(_, cost)| Reverse(cost.ran.micros));
        for ((database, text), cost) in all {
            let fits = self.bytes + database.len() + text.len() + WEIGHT <= bytes_max;
            let text = if fits { text } else { OTHERS.into() };
            let database = if fits { database } else { Box::default() };
            self.add((database, text), &cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(micros: u64) -> Cost {
        let ran = Distribution::of(Duration::from_micros(micros));
        Cost { calls: 1, errors: 0, on_replicas: 0, ran, waited: Duration::from_micros(1) }
    }

    #[test]
    fn loops_are_added_up_and_the_dearest_come_first() {
        let queries = Queries::new(2, 1 << 20);
        queries.add(0, "shop", "select ?".into(), &cost(100));
        queries.add(1, "shop", "select ?".into(), &cost(300));
        queries.add(1, "shop", "select x".into(), &Cost { errors: 1, ..cost(1000) });
        let list = queries.list();
        let shown: Vec<_> = list
            .iter()
            .map(|(_, text, it)| (text.as_str(), it.calls, it.errors, it.ran.micros))
            .collect();
        assert_eq!(shown, [("select x", 1, 1, 1000), ("select ?", 2, 0, 400)]);
        assert_eq!(list[1].2.waited, Duration::from_micros(2));
        queries.resize(0);
        assert!(queries.list().is_empty());
    }

    #[test]
    fn cheap_ones_are_counted_together_when_there_are_many() {
        let queries = Queries::new(1, 100 * WEIGHT);
        for number in 0..1000 {
            queries.add(0, "shop", format!("select a{number}"), &cost(number));
        }
        let list = queries.list();
        assert!(list.len() < 100, "{}", list.len());
        let all: u64 = list.iter().map(|(.., cost)| cost.calls).sum();
        assert_eq!(all, 1000);
        assert!(list.iter().any(|(_, text, _)| text == OTHERS));
        assert!(list.iter().any(|(_, text, _)| text == "select a999"));
    }
}
