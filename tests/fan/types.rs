//! Values of each type in the order that Postgres gives them, and its arithmetic, to the digit.

use pgweir::shard::merge::{Bound, Merge, Step, Texts};
use pgweir::sql::facts::Name;
use pgweir::sql::fan::{Column, Combine, Count, Fan, Groups, Order, Ordered};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::SUPERUSER;
use crate::wire::{Answer, Binding, Client, values};
use crate::{cluster, manner};

/// A type, how values of it are made, and some that are worth it.
struct Case {
    name: &'static str,
    make: fn(&mut StdRng) -> String,
    special: &'static [&'static str],
    /// Its order is known in text, too.
    in_text: bool,
}

const fn case(
    name: &'static str,
    make: fn(&mut StdRng) -> String,
    special: &'static [&'static str],
) -> Case {
    Case { name, make, special, in_text: true }
}

const CASES: &[Case] = &[
    case("smallint", |random| random.random::<i16>().to_string(), &["-32768", "0"]),
    case("integer", |random| (random.random::<i32>() >> 9).to_string(), &["-2147483648"]),
    case(
        "bigint",
        |random| (random.random::<i64>() >> random.random_range(0..60)).to_string(),
        &["-9223372036854775808", "9223372036854775807"],
    ),
    case("oid", |random| random.random::<u32>().to_string(), &["0", "4294967295"]),
    case("boolean", |random| random.random::<bool>().to_string(), &[]),
    case(
        "numeric",
        numeric,
        &["NaN", "Infinity", "-Infinity", "0", "0.000", "-0.0", "1.0", "1.00"],
    ),
    case("real", float, &["NaN", "Infinity", "-Infinity", "0", "-0", "1e-45", "3.4e38"]),
    case("double precision", float, &["NaN", "Infinity", "-Infinity", "0", "-0", "5e-324"]),
    case("text", word, &["", " ", "a", "a ", "A", "\u{1}", "\u{10ffff}"]),
    case("varchar(12)", word, &["", "a", "a "]),
    case("char(9)", word, &["", "a", "a ", "a\u{1}", "a\u{1f}b"]),
    case("name", word, &["", "pg_class"]),
    case("bytea", bytes, &["", "\\x00", "\\x0000", "\\x0001", "\\xff"]),
    case("uuid", |random| format!("{:032x}", random.random::<u128>()), &[]),
    case("date", date, &["infinity", "-infinity", "4714-11-24 BC", "5874897-12-31"]),
    case("time", clock, &["00:00", "24:00", "23:59:59.999999"]),
    case("timestamp", moment, &["infinity", "-infinity", "4714-11-24 BC", "294276-12-31"]),
    case("timestamptz", moment, &["infinity", "-infinity", "1890-01-01", "2021-10-31 03:30"]),
    Case { name: "interval", make: interval, special: &["1 mon", "30 days"], in_text: false },
];

fn digits(random: &mut StdRng, max: usize) -> String {
    (0..random.random_range(0..=max)).map(|_| random.random_range(0..10).to_string()).collect()
}

fn numeric(random: &mut StdRng) -> String {
    let sign = ["", "-"].choose(random).unwrap();
    let len = *[1, 3, 8, 30].choose(random).unwrap();
    let zeros = "0".repeat(random.random_range(0..9));
    let (whole, behind) = (digits(random, len), digits(random, len));
    let behind = if random.random() { format!("{zeros}{behind}") } else { behind };
    format!("{sign}{whole}0.{behind}")
}

fn float(random: &mut StdRng) -> String {
    let value = (random.random::<f64>() - 0.5) * 10_f64.powi(random.random_range(-30..30));
    value.to_string()
}

fn word(random: &mut StdRng) -> String {
    const LETTERS: [char; 8] = ['a', 'Z', '0', ' ', '~', 'é', '漢', '🦀'];
    (0..random.random_range(0..9)).map(|_| *LETTERS.choose(random).unwrap()).collect()
}

fn bytes(random: &mut StdRng) -> String {
    let bytes = (0..random.random_range(0..6)).map(|_| random.random_range(0..3) * 127);
    bytes.fold("\\x".to_owned(), |text, byte: u8| format!("{text}{byte:02x}"))
}

fn date(random: &mut StdRng) -> String {
    let era = ["", "", " BC"].choose(random).unwrap();
    let last = *[10, 2500, 4000].choose(random).unwrap();
    let year = random.random_range(1..last);
    format!("{year:04}-{:02}-{:02}{era}", random.random_range(1..13), random.random_range(1..29))
}

fn clock(random: &mut StdRng) -> String {
    let (hour, minute) = (random.random_range(0..24), random.random_range(0..60));
    let second = ["00", "59", "07.5", "07.000001", "07.123"].choose(random).unwrap();
    format!("{hour:02}:{minute:02}:{second}")
}

fn moment(random: &mut StdRng) -> String {
    let (date, clock) = (date(random), clock(random));
    match date.strip_suffix(" BC") {
        Some(date) => format!("{date} {clock} BC"),
        None => format!("{date} {clock}"),
    }
}

fn interval(random: &mut StdRng) -> String {
    format!(
        "{} mons {} days {} secs",
        random.random_range(-3..4),
        random.random_range(-90..90),
        random.random_range(-200_000..200_000)
    )
}

fn login() -> (crate::support::Cluster, Client) {
    let cluster = cluster();
    let settings = [
        ("user", SUPERUSER),
        ("database", "typed"),
        ("client_encoding", "UTF8"),
        ("TimeZone", "Europe/Berlin"),
    ];
    let create = "CREATE DATABASE typed TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'";
    cluster.primary().sql("postgres", create).unwrap();
    let client = Client::login(cluster.primary().port(), &settings);
    (cluster, client)
}

fn plain(order: Vec<Order>, extras: u16, groups: Option<Groups>) -> Fan {
    Fan {
        text: String::new(),
        table: Name::plain("t"),
        extras,
        order: order.into(),
        groups,
        limit: Count::None,
        offset: Count::None,
    }
}

fn by(at: u16, descending: bool, nulls_first: bool) -> Order {
    Order { column: Column::At(at), descending, nulls_first, values: Ordered::ByType }
}

fn asked(client: &mut Client, text: &str, result: i16) -> Answer {
    let answer = client.bound(text, &Binding { result, ..Binding::default() });
    assert_eq!(answer.error, None, "{text}");
    answer
}

/// What is put together of these.
fn merged(fan: &Fan, answers: &[Answer]) -> Vec<Vec<u8>> {
    let (bound, manner) = (Bound::none(), manner(Texts::ByBytes));
    let mut merge =
        Merge::new(fan, &answers[0].description, answers.len(), &bound, &manner).unwrap();
    let mut next = vec![0; answers.len()];
    let mut rows = Vec::new();
    loop {
        match merge.step().unwrap() {
            Step::Row(row) => rows.push([&row.columns.to_be_bytes(), row.values].concat()),
            Step::Need(shard) => {
                match answers[shard].rows.get(next[shard]) {
                    Some(row) => {
                        let fed = merge.feed(shard, row);
                        fed.unwrap_or_else(|fault| panic!("{fault}: {}", row.escape_ascii()));
                    }
                    None => merge.end(shard).unwrap(),
                }
                next[shard] += 1;
            }
            Step::NeedAny => panic!("they are ordered"),
            Step::Done => return rows,
        }
    }
}

#[test]
fn values_of_all_types_are_merged_in_their_order() {
    let (_cluster, mut client) = login();
    let mut random = StdRng::seed_from_u64(5);
    for case in CASES {
        let quoted = |text: &str| format!("('{}')", text.replace('\'', "''"));
        let mut all: Vec<String> = case.special.iter().map(|text| quoted(text)).collect();
        all.extend((0..400).map(|_| quoted(&(case.make)(&mut random))));
        all.extend((0..9).map(|_| "(NULL)".to_owned()));
        let create = format!(
            "DROP TABLE IF EXISTS v; CREATE TABLE v (v {}, n serial); INSERT INTO v (v) VALUES {}",
            case.name,
            all.join(", ")
        );
        let made = client.query(&create);
        assert_eq!(made.error, None, "{}", case.name);
        for (direction, descending, nulls_first) in
            [("", false, false), ("DESC", true, true), ("NULLS FIRST", false, true)]
        {
            for result in [0, 1] {
                if result == 0 && !case.in_text {
                    continue;
                }
                let of = |filter: &str| {
                    format!("SELECT v, n FROM v WHERE {filter} ORDER BY v {direction}, n")
                };
                let whole = asked(&mut client, &of("true"), result);
                let shards: Vec<Answer> = (0..3)
                    .map(|shard| asked(&mut client, &of(&format!("n % 3 = {shard}")), result))
                    .collect();
                let fan = plain(vec![by(0, descending, nulls_first), by(1, false, false)], 0, None);
                let rows = merged(&fan, &shards);
                let shown = |rows: &[Vec<u8>]| {
                    let row = |row: &Vec<u8>| {
                        values(row)[0].as_ref().map(|v| v.escape_ascii().to_string())
                    };
                    rows.iter().map(row).collect::<Vec<_>>()
                };
                assert!(
                    whole.rows == rows,
                    "{} {direction} {result}: {:#?}",
                    case.name,
                    shown(&rows).into_iter().zip(shown(&whole.rows)).collect::<Vec<_>>()
                );
            }
        }
    }
}

/// Sums and averages of groups that lie on two shards, and what `numeric` makes of them.
#[test]
fn arithmetic_is_that_of_numeric() {
    let (_cluster, mut client) = login();
    let mut random = StdRng::seed_from_u64(9);
    let special = ["NaN", "Infinity", "-Infinity", "0", "0.00", "9999.9999", "-0.00005"];
    let number = |random: &mut StdRng| {
        let text = if random.random_ratio(1, 30) {
            (*special.choose(random).unwrap()).to_owned()
        } else {
            numeric(random)
        };
        if random.random_ratio(1, 30) { "NULL".to_owned() } else { format!("'{text}'") }
    };
    let mut all = Vec::new();
    for at in 0..3_000 {
        let (a, b) = (number(&mut random), number(&mut random));
        let (a, b) = if at % 5 == 0 { (a.clone(), a.replacen('\'', "'-", 1)) } else { (a, b) };
        let b = if b.contains("-N") || b.contains("--") { "NULL".to_owned() } else { b };
        let (n, m) = (
            random.random_range(1..60),
            random.random::<i64>().unsigned_abs() >> random.random_range(1..62),
        );
        all.push(format!("({at}, {a}, {b}, {n}, {m})"));
    }
    let create = "CREATE TABLE s (i int, a numeric, b numeric, n bigint, m bigint);";
    let made = client.query(&format!("{create} INSERT INTO s VALUES {}", all.join(", ")));
    assert_eq!(made.error, None);
    let part = |sum: &str, count: &str| {
        format!(
            "SELECT i, {sum} AS s, NULL::numeric AS avg, {sum} AS sum, {count} AS n FROM s ORDER BY i"
        )
    };
    let sum = "coalesce(a + b, a, b)";
    let whole = format!("SELECT i, {sum} AS s, {sum} / nullif(n + m, 0) AS avg FROM s ORDER BY i");
    let columns = [
        Combine::First,
        Combine::Sum,
        Combine::Avg { sum: 3, count: 4 },
        Combine::Sum,
        Combine::Sum,
    ];
    let groups = Groups { columns: columns.into(), having: None, sorted: Box::default() };
    let fan = plain(vec![by(0, false, false)], 2, Some(groups));
    for result in [0, 1] {
        let shards = [part("a", "n"), part("b", "m")].map(|text| asked(&mut client, &text, result));
        let rows = merged(&fan, &shards);
        let whole = asked(&mut client, &whole, result);
        assert_eq!(whole.rows.len(), rows.len());
        for (whole, row) in whole.rows.iter().zip(&rows) {
            let shown = |row: &[u8]| {
                let shown =
                    |value: Option<Vec<u8>>| value.map(|value| value.escape_ascii().to_string());
                values(row).into_iter().map(shown).collect::<Vec<_>>()
            };
            assert_eq!(shown(whole), shown(row), "{result}");
        }
    }
}
