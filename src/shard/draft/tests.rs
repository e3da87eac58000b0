//! Drafts and what is wrong with them.

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

fn group(function: &str, change: impl FnOnce(&mut DraftGroup)) -> Draft {
    let mut group = DraftGroup {
        name: "g".to_owned(),
        key_type: "bigint".to_owned(),
        tables: pairs(&[("users", "id")]),
        function: function.to_owned(),
        ..DraftGroup::default()
    };
    change(&mut group);
    Draft {
        shards: vec!["a".to_owned(), "b".to_owned()],
        default_shard: "a".to_owned(),
        reference_tables: vec!["countries".to_owned()],
        schemas: None,
        groups: vec![group],
    }
}

fn range(from: &str, to: &str) -> DraftRange {
    let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    DraftRange { from: bound(from), to: bound(to), shard: "a".to_owned() }
}

fn faults(draft: &Draft) -> Vec<String> {
    let faults = draft.check().err().unwrap_or_default();
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn draft_becomes_what_it_says() {
    let draft = group("postgres", |group| {
        group.buckets = Some(8);
        group.bucket_map = pairs(&[("0-2", "a"), ("3", "b"), (" 4 - 7 ", "b")]);
        group.overrides = pairs(&[("42", "b"), ("-1", "a")]);
    });
    let sharding = draft.check().unwrap();
    assert_eq!(sharding.shards(), ["a", "b"]);
    assert_eq!((sharding.default_shard(), sharding.all().len()), (ShardId(0), 2));
    let (_, keys) = sharding.groups().next().unwrap();
    let (_, placement) = keys.unwrap();
    let mut seen = [0, 0];
    for key in 0..100 {
        let key = Key::Int(key);
        let Ok(ShardId(shard)) = placement.shard(&key) else { panic!() };
        if let Some(bucket) = placement.bucket(&key) {
            assert_eq!(shard, u8::from(bucket > 2), "{key}");
        }
        seen[usize::from(shard)] += 1;
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    assert_eq!(placement.shard(&Key::Int(42)), Ok(ShardId(1)));
    // Buckets go round where nothing is said: a multiple of the shards spreads keys as these do.
    let plain = group("postgres", |_| {}).check().unwrap();
    let many = group("postgres", |group| group.buckets = Some(64)).check().unwrap();
    for key in 0..100 {
        let of = |sharding: &Sharding| sharding.of_text(0, Some(key.to_string().as_bytes()));
        assert_eq!(of(&plain), of(&many), "{key}");
    }
}

#[test]
fn each_fault_is_told_in_one_line() {
    let twice =
        |draft: &mut Draft, name: &str| draft.groups[0].tables.push((name.into(), "x".into()));
    let of = |function: &str, change: fn(&mut DraftGroup)| group(function, change);
    let mut twice_named = group("postgres", |_| {});
    twice(&mut twice_named, "public.countries");
    let mut shards = group("postgres", |_| {});
    shards.shards.push("a".to_owned());
    shards.default_shard = "c".to_owned();
    let mut groups = group("postgres", |_| {});
    let mut again = groups.groups[0].clone();
    again.tables = pairs(&[("orders", "x"), (".x", "y"), ("z", "")]);
    groups.groups.push(again);
    let none = Draft { groups: Vec::new(), ..Draft::default() };
    let many = Draft {
        shards: (0..300).map(|number| number.to_string()).collect(),
        default_shard: "1".to_owned(),
        ..Draft::default()
    };
    for (draft, expected) in [
        (none, &["there are no shards", "default_shard: there is no shard "][..]),
        (many, &["there are 300 shards, and 256 at most are possible"]),
        (shards, &["two shards are called a", "default_shard: there is no shard c"]),
        (
            groups,
            &[
                "two groups are called g",
                "groups.g.tables: \".x\" is no name of a table with its key column",
                "groups.g.tables: \"z\" is no name of a table with its key column",
            ],
        ),
        (twice_named, &["groups.g.tables: table public.countries is there twice"]),
        (of("postgres", |group| group.tables.clear()), &["groups.g: there are no tables"]),
        (
            of("postgres", |group| group.key_type = "money".to_owned()),
            &[
                "groups.g.key_type: money is no type of keys; types are smallint, integer, bigint, text, uuid, \
               bytea, date",
            ],
        ),
        (
            of("crc32", |_| {}),
            &[
                "groups.g.function: crc32 is no function; functions are postgres, md5_hex8_mod, modulo, range, \
               list",
            ],
        ),
        (of("", |group| group.key_type.clear()), &["groups.g: function is missing"]),
        (
            of("modulo", |group| group.key_type = "text".to_owned()),
            &["groups.g: modulo does not go with keys of type text"],
        ),
    ] {
        assert_eq!(faults(&draft), expected);
    }
}

#[test]
fn each_fault_of_a_function_is_told_in_one_line() {
    let of = |function: &str, change: fn(&mut DraftGroup)| group(function, change);
    for (draft, expected) in [
        (
            of("postgres", |group| group.otherwise = Some("a".to_owned())),
            &["groups.g: otherwise does not go with postgres"][..],
        ),
        (
            of("list", |group| group.buckets = Some(4)),
            &["groups.g: buckets does not go with list", "groups.g: there are no values"],
        ),
        (
            of("postgres", |group| group.buckets = Some(0)),
            &["groups.g: there may be 1 to 65536 buckets"],
        ),
        (
            of("postgres", |group| {
                group.buckets = Some(8);
                group.bucket_map = pairs(&[("0-5", "a"), ("5-6", "b"), ("8", "a"), ("x", "c")]);
            }),
            &[
                "groups.g.bucket_map: bucket 5 is on two shards",
                "groups.g.bucket_map: 8 is no bucket, nor are they several, of those from 0 to 7",
                "groups.g.bucket_map: there is no shard c",
                "groups.g.bucket_map: x is no bucket, nor are they several, of those from 0 to 7",
                "groups.g.bucket_map: bucket 7 is on no shard",
            ],
        ),
        (
            of("modulo", |group| group.overrides = pairs(&[("x", "a"), ("1", "a"), ("01", "b")])),
            &[
                "groups.g.overrides: \"x\": the shard key is no bigint",
                "groups.g.overrides: the key 01 is there twice",
            ],
        ),
        (of("range", |_| {}), &["groups.g.ranges: there are no ranges"]),
        (
            of("range", |group| group.ranges = vec![range("1", "10"), range("10", "10")]),
            &["groups.g.ranges: range [10, 10) is empty"],
        ),
        (
            of("range", |group| group.ranges = vec![range("9", ""), range("", "10")]),
            &["groups.g.ranges: ranges [, 10) and [9, ) overlap"],
        ),
        (
            of("range", |group| group.ranges = vec![range("", "10"), range("11", "")]),
            &["groups.g.ranges: between ranges [, 10) and [11, ) there is a gap"],
        ),
        (
            of("range", |group| group.ranges = vec![range("x", "")]),
            &["groups.g.ranges: \"x\": the shard key is no bigint"],
        ),
    ] {
        assert_eq!(faults(&draft), expected);
    }
}
