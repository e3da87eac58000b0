//! Generated inputs of `COPY … FROM STDIN`, given to Postgres as they are, and split by their keys and
//! given to a table for each shard: what the tables have together is what the one has, in its order,
//! and each row is where the key that Postgres has read says.
//!
//! `COPY_INPUTS` says how many, `COPY_SEED` which; `COPY_SHOW=1` shows what is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::env;

use pgweir::shard::copy::{Fault, Field, Format, Part, Rows, Strings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::scribe::{Input, input};
use crate::support::SUPERUSER;
use crate::wire::{Answer, Client, values};
use crate::{cluster, setting};

const SHARDS: usize = 3;

/// What a shard is to get.
#[derive(Default)]
struct Share {
    data: Vec<u8>,
    /// The keys of its rows.
    keys: Vec<Option<Vec<u8>>>,
}

fn home(key: Option<&[u8]>) -> usize {
    key.map_or(0, |key| key.iter().map(|byte| usize::from(*byte)).sum::<usize>() % SHARDS)
}

/// Cut as it may come.
fn pieces<'d>(data: &'d [u8], random: &mut StdRng) -> Vec<&'d [u8]> {
    let mut pieces = Vec::new();
    let most = *rand::seq::IndexedRandom::choose(&[1, 3, 20, 1000][..], random).unwrap();
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.random_range(1..=most).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

fn split(format: Format, input: &Input, pieces: &[&[u8]]) -> Result<Vec<Share>, Fault> {
    let key = input.columns.iter().position(|column| *column == "k").unwrap();
    let mut rows = Rows::new(format, key, input.columns.len(), 1 << 20);
    let mut shares: Vec<Share> = (0..SHARDS).map(|_| Share::default()).collect();
    let mut take = |part: Part<'_>| {
        match part {
            Part::All(bytes) => shares.iter_mut().for_each(|share| share.data.extend(bytes)),
            Part::Row { bytes, key, .. } => {
                let key = match key {
                    Field::Null => None,
                    Field::Text(key) => Some(Cow::into_owned(key)),
                    Field::Binary(key) => Some(key.to_vec()),
                };
                let share = &mut shares[home(key.as_deref())];
                share.data.extend(bytes);
                share.keys.push(key);
            }
        }
        Ok::<_, Fault>(())
    };
    for piece in pieces {
        rows.feed(piece, &mut take)?;
    }
    rows.finish(&mut take)?;
    Ok(shares)
}

/// What a table has of it: rows with the key first.
fn copied(client: &mut Client, text: &str, data: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
    let texts = ["BEGIN", text, "SELECT k, a, b FROM t ORDER BY n", "ROLLBACK"];
    let answers = client.copy_in(&texts, 1, data);
    let [begun, copy, rows, _]: [Answer; 4] = answers.try_into().unwrap();
    assert_eq!(begun.error, None);
    copy.error.map_or(Ok(rows.rows), Err)
}

/// What came of it, by its name; or how Postgres and what is split differ.
fn compare(client: &mut Client, input: &Input, random: &mut StdRng) -> Result<String, String> {
    let text = format!("COPY t ({}) FROM STDIN {}", input.columns.join(", "), input.options);
    let shown = |what: &str| format!("{what}\n{text}\n{}", input.data.escape_ascii());
    let refused = |what: &str| {
        if env::var("COPY_SHOW").is_ok() {
            println!("{}", shown(what));
        }
        Ok(what.to_owned())
    };
    let cut = pieces(&input.data, random);
    let whole = copied(client, &text, &cut);
    let format = match (Format::read(&text, "k", Strings::Conforming), &whole) {
        (Ok(format), _) => format,
        (Err(_), Ok(_)) => return refused("options refused"),
        (Err(_), Err(_)) => return Ok("error, options refused".to_owned()),
    };
    let shares = match (split(format, input, &cut), &whole) {
        (Ok(shares), _) => shares,
        (Err(Fault::Doubtful { .. }), Ok(_)) => return refused("doubtful"),
        (Err(fault), Ok(_)) => return Err(shown(&format!("Postgres takes it, but {fault}"))),
        (Err(_), Err(_)) => return Ok("error, refused".to_owned()),
    };
    let mut parts = Vec::new();
    for share in &shares {
        let data = pieces(&share.data, random);
        let rows = match (copied(client, &text, &data), &whole) {
            (Ok(rows), _) => rows,
            (Err(_), Err(_)) => return Ok("error, on a shard".to_owned()),
            (Err(error), Ok(_)) => {
                let data = share.data.escape_ascii();
                return Err(shown(&format!("Postgres takes it, but not {data}: {error}")));
            }
        };
        let keys: Vec<_> = rows.iter().map(|row| values(row)[0].clone()).collect();
        if keys != share.keys {
            return Err(shown(&format!("keys are {keys:?}, not {:?}", share.keys)));
        }
        parts.push(rows);
    }
    let whole = whole.map_err(|error| shown(&format!("all shards take it, but {error}")))?;
    let mut next = [0; SHARDS];
    for row in &whole {
        let shard = home(values(row)[0].as_deref());
        if parts[shard].get(next[shard]) != Some(row) {
            return Err(shown(&format!("{} is not there next", row.escape_ascii())));
        }
        next[shard] += 1;
    }
    if parts.iter().map(Vec::len).sum::<usize>() != whole.len() {
        return Err(shown("there is more on shards"));
    }
    Ok(if whole.is_empty() { "no rows" } else { "copied" }.to_owned())
}

#[test]
fn generated_copies_split_by_key_give_what_one_server_has() {
    let cluster = cluster();
    let (count, seed) = (setting("COPY_INPUTS", 3_000), setting("COPY_SEED", 5));
    let server = cluster.primary();
    let create = "CREATE DATABASE copied TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'";
    server.sql("postgres", create).unwrap();
    server.sql("copied", "CREATE UNLOGGED TABLE t (a text, k text, b text, n serial)").unwrap();
    let settings = [("user", SUPERUSER), ("database", "copied"), ("client_encoding", "UTF8")];
    let mut client = Client::login(server.port(), &settings);
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = BTreeMap::<String, u64>::new();
    let mut differences = Vec::new();
    for _ in 0..count {
        let input = input(&mut random);
        match compare(&mut client, &input, &mut random) {
            Ok(what) => *seen.entry(what).or_default() += 1,
            Err(difference) => differences.push(difference),
        }
    }
    let differ = differences.len();
    differences.truncate(10);
    assert!(differences.is_empty(), "{differ} differ: {}", differences.join("\n\n"));
    println!("{count} inputs: {seen:#?}");
    let share = |what: &str| seen.get(what).copied().unwrap_or(0) * 100 / count;
    assert!(share("copied") >= 40, "{seen:?}");
    assert!(share("doubtful") + share("options refused") <= 15, "{seen:?}");
    assert!(seen.contains_key("error, refused"), "{seen:?}");
    assert!(seen.contains_key("error, on a shard"), "{seen:?}");
}
