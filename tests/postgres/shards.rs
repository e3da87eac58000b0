//! Keys and their shards, held against what a server says of the same values.

mod across;
mod away;
mod changes;
mod check;
mod copies;
mod definitions;
mod differential;
mod exact;
mod figures;
mod hints;
mod messages;
mod sessions;
mod tenants;
mod through;
mod types;
mod writes;

use pgweir::shard::{Format, Hash, Key, KeyType, Placement, Rule, ShardId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::support::{APP_DATABASE, Cluster, PASSWORD, SUPERUSER, cluster};

/// A prime, so that every bit of the hash counts.
const BUCKETS: u16 = 65_521;
const CHUNK: usize = 10_000;

struct Case {
    /// The column's type.
    column: &'static str,
    count: usize,
    /// What gives its binary form.
    send: &'static str,
    make: fn(&mut StdRng) -> String,
    extremes: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        column: "bigint",
        count: 100_000,
        send: "int8send",
        make: |random| {
            let value = random.random::<i64>() >> random.random_range(0..60);
            value.to_string()
        },
        extremes: &["0", "-1", "9223372036854775807", "-9223372036854775808", " +7 "],
    },
    Case { column: "text", count: 100_000, send: "textsend", make: word, extremes: &["", " "] },
    Case { column: "uuid", count: 100_000, send: "uuid_send", make: uuid, extremes: &[] },
    Case {
        column: "integer",
        count: 20_000,
        send: "int4send",
        make: |random| random.random::<i32>().to_string(),
        extremes: &["-2147483648", "2147483647"],
    },
    Case {
        column: "smallint",
        count: 20_000,
        send: "int2send",
        make: |random| random.random::<i16>().to_string(),
        extremes: &["-32768"],
    },
    Case { column: "varchar", count: 20_000, send: "varcharsend", make: word, extremes: &[] },
    Case {
        column: "bytea",
        count: 20_000,
        send: "byteasend",
        make: |random| {
            let bytes = (0..random.random_range(0..40)).map(|_| random.random::<u8>());
            bytes.fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02X}"))
        },
        extremes: &["", "plain", "a\\\\b\\377"],
    },
    Case {
        column: "date",
        count: 20_000,
        send: "date_send",
        make: |random| {
            let year = random.random_range(1..10_000);
            format!("{year:04}-{:02}-{:02}", random.random_range(1..13), random.random_range(1..29))
        },
        extremes: &["2000-02-29", "infinity", "-infinity"],
    },
];

fn word(random: &mut StdRng) -> String {
    const LETTERS: [char; 8] = ['a', 'Z', '0', ' ', '\'', 'é', '漢', '🦀'];
    (0..random.random_range(0..40)).map(|_| LETTERS[random.random_range(0..8)]).collect()
}

fn uuid(random: &mut StdRng) -> String {
    let hex = format!("{:032x}", random.random::<u128>());
    let dashed = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    match random.random_range(0..4) {
        0 => hex,
        1 => format!("{{{dashed}}}"),
        2 => dashed.to_uppercase(),
        _ => dashed,
    }
}

/// A superuser's session, and what runs it.
fn connected(cluster: &Cluster) -> (Runtime, Client) {
    let url = cluster.primary().url(SUPERUSER, PASSWORD, APP_DATABASE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    (runtime, client)
}

/// Where we say that a row is, the server would have it.
#[test]
fn hash_is_that_of_partitions_of_postgres() {
    let cluster = cluster();
    let (runtime, client) = connected(&cluster);
    runtime.block_on(async {
        let buckets = (0..BUCKETS).map(|_| ShardId(0)).collect();
        let placement = Placement::new(Rule::Buckets(Hash::Postgres, buckets), Vec::new());
        for case in CASES {
            compare(&client, &placement, case).await;
        }
    });
}

async fn compare(client: &Client, placement: &Placement, case: &Case) {
    let Case { column, count, send, make, extremes } = case;
    let kind = KeyType::of(column).unwrap();
    let table = format!("CREATE TABLE by_{column} (k {column}) PARTITION BY HASH (k)");
    client.batch_execute(&table).await.unwrap();
    let satisfies = |remainder: &str, key: &str| {
        format!("satisfies_hash_partition('by_{column}'::regclass, {BUCKETS}, {remainder}, {key})")
    };
    let (right, null) = (satisfies("r", "k"), satisfies("0", &format!("NULL::{column}")));
    let chunk = format!(
        "SELECT t, {right}, {send}(k) FROM (SELECT t, r, t::{column} AS k \
         FROM unnest($1::text[], $2::int[]) AS given (t, r)) AS read"
    );
    let chunk = client.prepare(&chunk).await.unwrap();

    let mut random = StdRng::seed_from_u64(7);
    let mut keys: Vec<String> = (0..*count).map(|_| make(&mut random)).collect();
    keys.extend(extremes.iter().map(|key| (*key).to_owned()));
    for keys in keys.chunks(CHUNK) {
        let bucket = |key: &String| {
            let key = Key::of_text(kind, key.as_bytes()).unwrap();
            i32::try_from(placement.bucket(&key).unwrap()).unwrap()
        };
        let buckets: Vec<i32> = keys.iter().map(bucket).collect();
        for row in client.query(&chunk, &[&keys, &buckets]).await.unwrap() {
            let text: &str = row.get(0);
            assert!(row.get::<_, bool>(1), "{column} {text:?} is elsewhere");
            let (read, sent) = (Key::of_text(kind, text.as_bytes()), row.get::<_, &[u8]>(2));
            let binary = Key::of_parameter(kind, 0, Format::Binary, Some(sent));
            assert_eq!(read, binary, "{column} {text:?}");
        }
    }
    let null = client.query_one(&format!("SELECT {null}"), &[]).await.unwrap();
    assert!(null.get::<_, bool>(0), "{column} NULL is elsewhere");
    assert_eq!(placement.bucket(&Key::Null), Some(0));
}
