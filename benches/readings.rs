//! What it costs to find out what a text does, and where it may run: `cargo bench --bench readings`.
//!
//! A thousand different texts of some sixty bytes, whose values change each time. A *miss* takes a text
//! apart, a *hit* finds it; *judged* is a hit with the judgement of a catalog that is known.
//!
//! Figures of two runs on two shared cores at a load of 10, in CPU time:
//!
//! | | |
//! |---|---|
//! | taken apart, nothing kept | 12-14 µs |
//! | miss | 16-17 µs |
//! | hit, with values in it | 167-168 ns |
//! | hit, with parameters | 160-161 ns |
//! | hit, judged | 234-310 ns |
//! | judged again, the reading at hand | 49-50 ns |
//! | hit, judged, two threads at once | 253-296 ns |

#![expect(clippy::print_stdout, reason = "its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pgweir::catalog::{Catalog, Catalogs, Readings};
use pgweir::sql::facts::facts;

const TEXTS: usize = 1000;
const BYTES: usize = 8 << 20;

/// The same thousand texts, with other values in each round.
fn texts(round: usize) -> Vec<String> {
    let text = |number: usize| {
        let value = round * TEXTS + number;
        format!("SELECT a, b{number} FROM t WHERE id = {value} AND name = 'n{value}'")
    };
    (0..TEXTS).map(text).collect()
}

fn prepared() -> Vec<String> {
    (0..TEXTS)
        .map(|number| format!("SELECT a, b{number}, c FROM t WHERE id = $1 AND name = $2"))
        .collect()
}

/// What this thread has had of a CPU: the machine is shared.
fn on_cpu() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = times.split_ascii_whitespace().next().and_then(|time| time.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

/// Says what CPU each of these takes on average, run for so many rounds.
fn report(what: &str, texts: &[String], rounds: usize, mut run: impl FnMut(&[u8])) {
    let began = on_cpu();
    for _ in 0..rounds {
        texts.iter().for_each(|text| run(text.as_bytes()));
    }
    let each = (on_cpu() - began) / u32::try_from(rounds * texts.len()).unwrap_or(u32::MAX);
    println!("{what:<40} {each:>10.0?}");
}

fn main() {
    let (texts, prepared): (Vec<_>, _) = ((0..20).flat_map(texts).collect(), prepared());
    let first: Vec<String> = texts.iter().take(TEXTS).cloned().collect();
    println!(
        "{TEXTS} texts of {} bytes",
        texts.iter().map(String::len).sum::<usize>() / texts.len()
    );

    report("taken apart, nothing kept", &first, 1, |text| drop(black_box(facts(text))));
    let readings = Readings::new(BYTES);
    report("miss", &first, 1, |text| drop(black_box(readings.of(text))));
    report("hit, with values in it", &texts, 100, |text| drop(black_box(readings.of(text))));
    report("hit, with parameters", &prepared, 2000, |text| drop(black_box(readings.of(text))));
    let catalogs = Catalogs::new(Arc::default());
    let current = catalogs.of("d");
    current.attempt().loaded(Catalog::default(), "here".to_owned());
    let judge = |text: &[u8]| drop(black_box(readings.of(text).judge(&current)));
    report("hit, judged", &texts, 100, judge);
    let reading = readings.of(b"SELECT a FROM t");
    report("judged again, the reading at hand", &texts, 100, |_| {
        drop(black_box(black_box(&reading).judge(&current)));
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| report("hit, judged, two threads at once", &texts, 100, judge));
        }
    });
    println!("{:?}", readings.kept());
}
