//! Generated queries, asked of one database with all rows and of four that have them by their keys:
//! what is put together of the four is what the one says, to the byte.
//!
//! `FAN_QUERIES` says how many, `FAN_SEED` which; `FAN_SHOW=1` shows what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

mod copied;
mod maker;
mod scribe;
mod shop;
mod types;
mod wire;

use std::collections::BTreeMap;
use std::env;

use pgweir::shard::merge::{Bound, Fault, Manner, Merge, Step, Texts, Window, description};
use pgweir::shard::{ShardSet, Target, Values};
use pgweir::sql::fan::{Fan, fan};
use pgweir::sql::keys::{Plan, plan};
use pgweir::wire::parameters::Parameters;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::maker::{Maker, Query};
use crate::shop::{SHARDS, Shop};
use crate::support::Cluster;
use crate::wire::{Answer, Binding, bind, values};

/// How a statement is sent: as a Query, or with parameters.
type Sent = Option<Binding>;

fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

fn cluster() -> Cluster {
    Cluster::builder().hba(&["host all all 127.0.0.1/32 trust"]).start().unwrap()
}

fn manner(texts: Texts) -> Manner {
    Manner { texts, converts: false, iso_dates: true, exact_floats: true, held_bytes_max: 1 << 20 }
}

/// What became of queries, by its name.
type Seen = BTreeMap<String, u64>;

fn run(shop: &mut Shop, texts: Texts, count: u64, seed: u64) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = Seen::new();
    for _ in 0..count {
        let query = Maker { random: &mut random }.query();
        let (text, sent) = rendered(&format!("{}{}", query.text, query.limit), &mut random);
        let what = compare(shop, &query, &text, &sent, texts);
        *seen.entry(what).or_default() += 1;
    }
    let answered = share(&seen, "answered", count);
    println!("{texts:?}: answered {answered} % of {count}");
    for (what, times) in &seen {
        println!("  {times:6} {what}");
    }
    seen
}

/// How many of what Postgres answers begin so, in percent.
fn share(seen: &Seen, with: &str, count: u64) -> u64 {
    let errors = seen.get("error").copied().unwrap_or(0);
    let of: u64 = seen.iter().filter(|(what, _)| what.starts_with(with)).map(|(_, n)| n).sum();
    of * 100 / (count - errors)
}

/// With values in the text, or as parameters.
fn rendered(text: &str, random: &mut StdRng) -> (String, Sent) {
    let binds = random.random_ratio(2, 3);
    let declares = random.random_bool(0.5);
    let mut binding = Binding { result: i16::from(random.random_bool(0.5)), ..Binding::default() };
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('«') {
        let (value, after) = after.split_once('»').unwrap();
        let (_, value) = value.split_once(':').unwrap();
        out += before;
        if binds {
            let binary = declares && random.random_bool(0.5);
            let bytes = match value.parse::<i64>() {
                Ok(value) if binary => Some(value.to_be_bytes().to_vec()),
                Ok(_) => Some(value.as_bytes().to_vec()),
                Err(_) => None,
            };
            binding.values.push((bytes, i16::from(binary)));
            binding.types.push(if declares { 20 } else { 0 });
            out += &format!("${}", binding.values.len());
        } else {
            out += value;
        }
        rest = after;
    }
    (out + rest, binds.then_some(binding))
}

fn ask(client: &mut wire::Client, text: &str, sent: &Sent) -> Answer {
    match sent {
        None => client.query(text),
        Some(binding) => client.bound(text, binding),
    }
}

/// The shards that a text is for, if it is for several.
fn targets(shop: &Shop, text: &str, sent: &Sent, body: &[u8]) -> Result<ShardSet, &'static str> {
    match plan(text.as_bytes(), &shop.sharding) {
        Plan::AllShards(_) => Ok(shop.sharding.all()),
        Plan::Keyed(keyed) => {
            let mut values = match sent {
                None => Values::of_query(text.as_bytes()),
                Some(binding) => {
                    let parameters = Parameters::read(body).unwrap();
                    Values::of_bind(text.as_bytes(), parameters, &binding.types)
                }
            };
            match shop.sharding.target(&keyed, &mut values) {
                Ok(Target::Parts(set)) => Ok(set),
                Ok(_) => Err("one shard"),
                Err(_) => Err("refused by its keys"),
            }
        }
        _ => Ok(shop.sharding.all()),
    }
}

/// What came of it for the client: its columns and rows.
enum Outcome {
    Rows { description: Vec<u8>, rows: Vec<Vec<u8>> },
    Fault(Fault),
    Error(String),
}

fn merged(
    shop: &mut Shop,
    fan: &Fan,
    shards: ShardSet,
    sent: &Sent,
    bound: &Bound<'_>,
    manner: &Manner,
) -> Outcome {
    if let Err(fault) = Window::of(fan, bound) {
        return Outcome::Fault(fault);
    }
    let mut answers = Vec::new();
    for shard in shards.iter() {
        let answer = ask(&mut shop.shards[usize::from(shard.0)], &fan.text, sent);
        if let Some(error) = answer.error {
            return Outcome::Error(error);
        }
        answers.push(answer);
    }
    merge(fan, &answers, bound, manner).unwrap_or_else(Outcome::Fault)
}

fn merge(
    fan: &Fan,
    answers: &[Answer],
    bound: &Bound<'_>,
    manner: &Manner,
) -> Result<Outcome, Fault> {
    let mut merge = Merge::new(fan, &answers[0].description, answers.len(), bound, manner)?;
    for answer in &answers[1..] {
        merge.described(&answer.description)?;
    }
    let mut next = vec![0; answers.len()];
    let mut rows: Vec<Vec<u8>> = Vec::new();
    loop {
        let shard = match merge.step()? {
            Step::Row(row) => {
                rows.push([&row.columns.to_be_bytes(), row.values].concat());
                continue;
            }
            Step::Done => break,
            Step::Need(shard) => shard,
            Step::NeedAny => {
                (0..answers.len()).find(|at| next[*at] <= answers[*at].rows.len()).unwrap()
            }
        };
        match answers[shard].rows.get(next[shard]) {
            Some(row) => merge.feed(shard, row)?,
            None => merge.end(shard)?,
        }
        next[shard] += 1;
    }
    assert_eq!(merge.rows(), u64::try_from(rows.len()).unwrap());
    Ok(Outcome::Rows { description: description(fan, &answers[0].description)?, rows })
}

fn compare(shop: &mut Shop, query: &Query, text: &str, sent: &Sent, texts: Texts) -> String {
    let show = |what: String| {
        if env::var("FAN_SHOW").is_ok() && what.starts_with("refused") {
            println!("{what}: {text}");
        }
        what
    };
    let whole = ask(&mut shop.whole, text, sent);
    let body = sent.as_ref().map(bind).unwrap_or_default();
    let shards = match targets(shop, text, sent, &body) {
        Ok(shards) => shards,
        Err(what) => return if whole.error.is_some() { "error".into() } else { what.to_owned() },
    };
    let fan = match fan(text.as_bytes(), &shop.sharding) {
        Ok(fan) => fan,
        Err(_) if whole.error.is_some() => return "error".to_owned(),
        Err(refusal) => return show(format!("refused: {}", refusal.construct.name())),
    };
    let bound = match sent {
        None => Bound::none(),
        Some(binding) => Bound::new(Parameters::read(&body).unwrap(), &binding.types),
    };
    let context = || format!("{text}\n{sent:?}\nasked: {}\n{fan:#?}", fan.text);
    let (description, rows) = match merged(shop, &fan, shards, sent, &bound, &manner(texts)) {
        Outcome::Rows { description, rows } => (description, rows),
        Outcome::Fault(_) if whole.error.is_some() => return "error".to_owned(),
        Outcome::Fault(fault) => {
            let name = format!("{fault:?}");
            return show(format!("refused by types: {name}"));
        }
        Outcome::Error(_) if whole.error.is_some() => return "error".to_owned(),
        // An alias that is the name of a column as well.
        Outcome::Error(error) if error.contains("GROUPING") => {
            return show("refused by the server: GROUPING".to_owned());
        }
        Outcome::Error(error) => panic!("a shard says {error}\n{}", context()),
    };
    assert!(whole.error.is_none(), "{} is {rows:?}\n{}", whole.error.unwrap(), context());
    assert_same_columns(&whole.description, &description, &context);
    assert_same_rows(shop, query, &whole, rows, sent, &context);
    let way = match (&fan.groups, fan.order.is_empty()) {
        (None, true) => "rows",
        (None, false) => "ordered rows",
        (Some(groups), _) if !groups.sorted.is_empty() => "sorted groups",
        (Some(_), _) => "groups",
    };
    format!("answered: {way}")
}

fn assert_same_columns(whole: &[u8], merged: &[u8], context: &dyn Fn() -> String) {
    let columns = |body: &[u8]| {
        let mut columns = Vec::new();
        pgweir::wire::view::columns(body, &mut columns).unwrap();
        columns
    };
    assert_eq!(columns(whole), columns(merged), "{}", context());
}

fn assert_same_rows(
    shop: &mut Shop,
    query: &Query,
    whole: &Answer,
    rows: Vec<Vec<u8>>,
    sent: &Sent,
    context: &dyn Fn() -> String,
) {
    let shown = |rows: &[Vec<u8>]| {
        let row = |row: &Vec<u8>| {
            let value = |value: Option<Vec<u8>>| {
                value.map_or("NULL".to_owned(), |value| value.escape_ascii().to_string())
            };
            values(row).into_iter().map(value).collect::<Vec<_>>().join(" | ")
        };
        rows.iter().map(row).collect::<Vec<_>>().join("\n")
    };
    let differ =
        || format!("{}\n-- whole\n{}\n-- merged\n{}", context(), shown(&whole.rows), shown(&rows));
    if query.total {
        assert!(whole.rows == rows, "{}", differ());
        return;
    }
    assert!(whole.rows.len() == rows.len(), "{}", differ());
    if let Some(columns) = &query.ordered {
        let keys = |rows: &[Vec<u8>]| -> Vec<_> {
            let key = |row: &Vec<u8>| {
                let values = values(row);
                columns.iter().map(|at| values[*at].clone()).collect::<Vec<_>>()
            };
            rows.iter().map(key).collect()
        };
        assert!(keys(&whole.rows) == keys(&rows), "{}", differ());
    }
    // Which of those that have the same place are among the first is nobody's to say.
    let mut unlimited = whole.rows.clone();
    if !query.limit.is_empty() {
        let (text, _) = literal(&query.text, sent);
        let all = ask(&mut shop.whole, &text, &formats(sent));
        assert_eq!(all.error, None, "{text}");
        unlimited = all.rows;
    }
    for row in &rows {
        let at = unlimited.iter().position(|other| other == row);
        assert!(at.is_some(), "{}", differ());
        unlimited.swap_remove(at.unwrap());
    }
    assert!(!query.limit.is_empty() || unlimited.is_empty(), "{}", differ());
}

/// The text with its values in it.
fn literal(text: &str, _: &Sent) -> (String, Sent) {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('«') {
        let (value, after) = after.split_once('»').unwrap();
        out = out + before + value.split_once(':').unwrap().1;
        rest = after;
    }
    (out + rest, None)
}

/// The same formats of columns, without parameters.
fn formats(sent: &Sent) -> Sent {
    sent.as_ref().map(|binding| Binding { result: binding.result, ..Binding::default() })
}

#[test]
fn generated_queries_over_shards_give_what_one_server_gives() {
    assert_eq!(SHARDS, 4);
    let cluster = cluster();
    let (count, seed) = (setting("FAN_QUERIES", 3_000), setting("FAN_SEED", 17));
    let mut shop = Shop::fill(&cluster, "plain", "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    let seen = run(&mut shop, Texts::ByBytes, count, seed);
    assert!(share(&seen, "answered", count) >= 60, "{seen:?}");
    for what in ["rows", "ordered rows", "groups", "sorted groups"] {
        assert!(seen.contains_key(&format!("answered: {what}")), "{what}: {seen:?}");
    }

    // Text that is ordered in another way than by its bytes is merged by nobody.
    let of = "LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'";
    let mut shop = Shop::fill(&cluster, "collated", of);
    let seen = run(&mut shop, Texts::Deterministic, count / 4, seed + 1);
    assert!(share(&seen, "answered", count / 4) >= 40, "{seen:?}");
    assert!(seen.contains_key("refused by types: Collation"), "{seen:?}");
}

fn plain(text: &str) -> Query {
    Query { text: text.to_owned(), limit: String::new(), ordered: None, total: false }
}

#[test]
fn what_is_equal_is_one_group_however_it_is_written() {
    let cluster = cluster();
    let mut shop = Shop::fill(&cluster, "written", "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    for (shard, price, score) in [(0, "77.0", "0"), (1, "77.00", "-0"), (2, "77", "0")] {
        let insert = format!(
            "INSERT INTO orders (id, price) VALUES (9000, {price}); \
             INSERT INTO users (id, score) VALUES (9000, '{score}');"
        );
        for client in [&mut shop.shards[shard], &mut shop.whole] {
            assert_eq!(client.query(&insert).error, None);
        }
    }
    for text in [
        "SELECT price, count(*) FROM orders WHERE id = 9000 GROUP BY price ORDER BY price, price::text",
        "SELECT price, count(*) FROM orders WHERE id = 9000 GROUP BY 1 ORDER BY scale(price), 1",
        "SELECT price, count(*), price::text AS t FROM orders WHERE id = 9000 \
         GROUP BY price ORDER BY price, t",
        "SELECT score, count(*) FROM users WHERE id >= 9000 GROUP BY score ORDER BY score, score::text",
    ] {
        let what = compare(&mut shop, &plain(text), text, &None, Texts::ByBytes);
        assert!(what.starts_with("refused by types: NotTold"), "{what}: {text}");
    }
    // Which of the ways it is written in is nobody's to say.
    for (text, groups) in [
        ("SELECT price, count(*) FROM orders WHERE id = 9000 GROUP BY price ORDER BY price", 1),
        ("SELECT DISTINCT score FROM users WHERE id >= 9000 ORDER BY score", 1),
        (
            "SELECT price, id, count(*) FROM orders WHERE id >= 9000 GROUP BY 1, 2 \
             ORDER BY price DESC, id",
            1,
        ),
    ] {
        let (bound, manner) = (Bound::none(), manner(Texts::ByBytes));
        let fan = fan(text.as_bytes(), &shop.sharding).unwrap();
        let all = shop.sharding.all();
        match merged(&mut shop, &fan, all, &None, &bound, &manner) {
            Outcome::Rows { rows, .. } => assert_eq!(rows.len(), groups, "{text}"),
            Outcome::Fault(fault) => panic!("{text}: {fault}"),
            Outcome::Error(error) => panic!("{text}: {error}"),
        }
    }
}

/// Where the type of a parameter is not declared, it is what it needs to be where it is met first.
#[test]
fn parameters_are_of_the_types_that_they_have_on_one_server() {
    let cluster = cluster();
    let mut shop = Shop::fill(&cluster, "typed", "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    for text in [
        "SELECT DISTINCT $1, name FROM users WHERE country = $1",
        "SELECT $1, id, name FROM users ORDER BY $1 || name, id",
        "SELECT $1, $1 || 'x', count(*) FROM users GROUP BY $1 || 'x'",
        "SELECT DISTINCT age + $1, name FROM users WHERE age > $1",
    ] {
        for result in [0, 1] {
            let values = vec![(Some(b"21".to_vec()), 0)];
            let binding = Binding { values, types: vec![0], result };
            let what = compare(&mut shop, &plain(text), text, &Some(binding), Texts::ByBytes);
            assert!(what.starts_with("answered"), "{what}: {text}");
        }
    }
}
