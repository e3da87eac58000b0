//! From texts and values to shards.

use super::super::{Draft, DraftGroup};
use super::*;
use crate::sql::keys::{Plan, plan};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

/// Users by the last digit of their number, and tenants by the list.
fn shop() -> Sharding {
    let shards: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let users = DraftGroup {
        name: "users".to_owned(),
        key_type: "bigint".to_owned(),
        tables: pairs(&[("users", "id"), ("orders", "user_id"), ("app.events", "user_id")]),
        function: "modulo".to_owned(),
        overrides: pairs(&[("42", "s9")]),
        ..DraftGroup::default()
    };
    let tenants = DraftGroup {
        name: "tenants".to_owned(),
        key_type: "text".to_owned(),
        tables: pairs(&[("docs", "tenant"), ("a.logs", "tenant"), ("b.logs", "tenant")]),
        function: "list".to_owned(),
        values: pairs(&[("eu", "s1"), ("us", "s2")]),
        ..DraftGroup::default()
    };
    let draft = Draft {
        shards,
        default_shard: "s3".to_owned(),
        reference_tables: vec!["countries".to_owned()],
        schemas: None,
        groups: vec![users, tenants],
    };
    draft.check().unwrap()
}

fn shown(target: Result<Target, NoShard>) -> String {
    match target {
        Ok(Target::Any) => "any".to_owned(),
        Ok(Target::One(shard)) => shard.to_string(),
        Ok(Target::Parts(set)) => format!("parts {set:?}"),
        Ok(Target::Rows(set)) => format!("rows {set:?}"),
        Err(NoShard::NotAKey(_)) => "no key".to_owned(),
        Err(NoShard::Unplaced(_)) => "unplaced".to_owned(),
        Err(NoShard::Several { shards, .. }) => format!("several {shards}"),
        Err(NoShard::NoParameter(number)) => format!("no ${number}"),
        Err(NoShard::UnknownType(number)) => format!("type of ${number}"),
        Err(
            NoShard::Encoding
            | NoShard::NoGroup(_)
            | NoShard::Untyped(_)
            | NoShard::WrongType { .. },
        ) => "not here".to_owned(),
    }
}

fn keyed(sharding: &Sharding, text: &str) -> Keyed {
    match plan(text.as_bytes(), sharding) {
        Plan::Keyed(keyed) => keyed,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn values_in_a_text_lead_to_its_shards() {
    let shop = shop();
    for (text, expected) in [
        ("SELECT * FROM users WHERE id = 17", "7"),
        ("SELECT * FROM users WHERE id = '17'::int", "7"),
        ("SELECT * FROM users WHERE id = -3", "7"),
        ("SELECT * FROM users WHERE id = 42", "9"),
        ("SELECT * FROM users WHERE id = 17.0", "no key"),
        ("SELECT * FROM users WHERE id = 'x'", "any"),
        ("SELECT * FROM users WHERE id = 99999999999999999999", "any"),
        ("SELECT * FROM users WHERE id IN (17, 99999999999999999999)", "7"),
        ("SELECT * FROM users WHERE id = '.5e1'", "no key"),
        ("SELECT * FROM docs WHERE tenant = 5::text", "no key"),
        ("INSERT INTO users (id) VALUES ('x')", "no key"),
        ("INSERT INTO users (id) VALUES (99999999999999999999)", "no key"),
        ("SELECT * FROM users WHERE id = NULL", "any"),
        ("SELECT * FROM users WHERE id = 1 AND id = 2", "any"),
        ("SELECT * FROM users WHERE id = 1 AND id IN (1, 2)", "1"),
        ("SELECT * FROM users WHERE id IN (3, 13, 23)", "3"),
        ("SELECT * FROM users WHERE id IN (3, 14, NULL)", "parts {3, 4}"),
        ("SELECT * FROM users WHERE id = ANY('{3,NULL,14}')", "parts {3, 4}"),
        ("SELECT * FROM users WHERE id = ANY('{}')", "any"),
        ("SELECT * FROM users WHERE id = ANY(E'{3}')", "no key"),
        ("SELECT * FROM users u, orders o WHERE u.id = 1 AND o.user_id = 11", "1"),
        ("SELECT * FROM users u, orders o WHERE u.id = 1 AND o.user_id = 2", "several 2"),
        ("SELECT * FROM users u, docs d WHERE u.id = 1 AND d.tenant = 'eu'", "1"),
        ("SELECT * FROM docs WHERE tenant = 'asia'", "unplaced"),
        ("INSERT INTO orders (user_id, x) VALUES (5, 1), (15, 2)", "5"),
        ("INSERT INTO orders (user_id, x) VALUES (5, 1), (16, 2)", "rows {5, 6}"),
        ("INSERT INTO orders (user_id, x) VALUES (NULL, 1)", "unplaced"),
        ("UPDATE users SET x = 1 WHERE id = 5; DELETE FROM orders WHERE user_id = 25", "5"),
        ("UPDATE users SET x = 1 WHERE id = 5; DELETE FROM orders WHERE user_id = 26", "several 2"),
    ] {
        let keyed = keyed(&shop, text);
        let target = shop.target(&keyed, &mut Values::of_query(text.as_bytes()));
        assert_eq!(shown(target), expected, "{text}");
    }
}

#[test]
fn plan_of_one_text_serves_others_with_other_values() {
    let shop = shop();
    let keyed = keyed(&shop, "SELECT * FROM users WHERE name = '' AND id IN (0, 0)");
    let text = b"SELECT * FROM users WHERE name = 'it''s' AND id IN (15, 25)";
    assert_eq!(shop.target(&keyed, &mut Values::of_query(text)), Ok(Target::One(ShardId(5))));
}

#[test]
fn each_row_of_an_insert_has_its_shard() {
    let shop = shop();
    let text = "INSERT INTO orders (x, user_id) VALUES ('a', 5), ('b', 16), ('c', 42)";
    let keyed = keyed(&shop, text);
    let mut values = Values::of_query(text.as_bytes());
    let shards: Vec<Option<ShardId>> =
        (0..4).map(|row| shop.row(&keyed, row, &mut values).unwrap()).collect();
    assert_eq!(shards, [Some(ShardId(5)), Some(ShardId(6)), Some(ShardId(9)), None]);
}

/// Of one parameter, behind the names.
fn bind(format: u8, value: Option<&[u8]>) -> Vec<u8> {
    let len = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
    let head = [0, 1, 0, format, 0, 1];
    [&head, &len.to_be_bytes()[..], value.unwrap_or_default()].concat()
}

#[test]
fn parameters_lead_to_shards_where_their_type_is_certain() {
    let shop = shop();
    let by_id = "SELECT * FROM users WHERE id = $1";
    let twice = "SELECT * FROM users WHERE id = $1 AND age = $1";
    let array = "SELECT * FROM users WHERE id = ANY($1)";
    let docs = "SELECT * FROM docs WHERE tenant = $1 OR tenant = $1 AND body = $1";
    let one = &1_i64.to_be_bytes()[..];
    for (text, oid, format, value, expected) in [
        (by_id, 0, 0, Some(&b"17"[..]), "7"),
        (by_id, 20, 1, Some(one), "1"),
        (by_id, 0, 1, Some(one), "1"),
        (by_id, 701, 1, Some(one), "no key"),
        (by_id, 0, 0, None, "any"),
        (by_id, 0, 2, Some(one), "no $1"),
        (twice, 0, 0, Some(b"17"), "7"),
        (twice, 0, 1, Some(one), "type of $1"),
        (twice, 20, 1, Some(one), "1"),
        (array, 0, 0, Some(b"{17,27}"), "7"),
        (array, 1016, 0, Some(b"{17,28}"), "parts {7, 8}"),
        (array, 0, 0, None, "any"),
        (docs, 0, 0, Some(b"eu"), "1"),
        (docs, 0, 0, Some(b"eu "), "type of $1"),
        (docs, 25, 0, Some(b"eu "), "unplaced"),
        ("SELECT * FROM users WHERE id = $2", 0, 0, Some(b"1"), "no $2"),
        ("SELECT * FROM users WHERE id = $0", 0, 0, Some(b"1"), "no $0"),
    ] {
        let keyed = keyed(&shop, text);
        let body = bind(format, value);
        let (types, parameters) = ([oid], Parameters::read(&body).unwrap());
        let mut values = Values::of_bind(text.as_bytes(), parameters, &types);
        assert_eq!(shown(shop.target(&keyed, &mut values)), expected, "{text} {oid} {format}");
    }
    let keyed = keyed(&shop, by_id);
    let target = shop.target(&keyed, &mut Values::of_query(by_id.as_bytes()));
    assert_eq!(shown(target), "no $1");
}

#[test]
fn names_stand_for_what_is_configured() {
    let mut shop = shop();
    shop.set_unclear(&Name::plain("v"));
    shop.set_unclear(&Name { schema: Some("x".into()), name: "w".into() });
    shop.set_unclear(&Name::plain("users"));
    shop.set_columns(&Name::plain("orders"), ["id", "user_id"].map(Into::into).into());
    let kind = |name: &str| {
        let (schema, name) = name.split_once('.').map_or((None, name), |(s, n)| (Some(s), n));
        match shop.table(&Name { schema: schema.map(Into::into), name: name.into() }) {
            Table::Sharded { columns, .. } if columns.is_some() => "columns",
            Table::Sharded { group: 0, .. } => "users",
            Table::Sharded { .. } => "tenants",
            Table::Reference => "reference",
            Table::Local => "local",
            Table::Default => "default",
            Table::Unclear => "unclear",
        }
    };
    for (name, expected) in [
        ("users", "users"),
        ("public.users", "users"),
        ("orders", "columns"),
        ("events", "users"),
        ("app.events", "users"),
        ("b.events", "default"),
        ("logs", "unclear"),
        ("a.logs", "tenants"),
        ("c.logs", "default"),
        ("countries", "reference"),
        ("pg_class", "local"),
        ("pg_catalog.users", "local"),
        ("other", "default"),
        ("v", "unclear"),
        ("w", "unclear"),
        ("x.w", "unclear"),
        ("y.w", "default"),
    ] {
        assert_eq!(kind(name), expected, "{name}");
    }
    for (group, type_name, keeps) in [
        (0, "int", true),
        (0, "smallint", true),
        (0, "numeric", false),
        (1, "varchar", true),
        (1, "varchar(3)", false),
        (1, "bigint", false),
        (2, "bigint", false),
    ] {
        assert_eq!(shop.keeps(group, type_name), keeps, "{group} {type_name}");
    }
}
