use super::*;
use crate::sql::keys::Table;

/// Users with their orders; countries on every shard.
pub(super) struct Shop;

impl Tables for Shop {
    fn table(&self, name: &Name) -> Table<'_> {
        let sharded = |key| Table::Sharded { group: 0, key, columns: None };
        match &*name.name {
            "users" => sharded("id"),
            "orders" => sharded("user_id"),
            "countries" => Table::Reference,
            "pg_class" => Table::Local,
            _ => Table::Default,
        }
    }

    fn keeps(&self, _: u16, type_name: &str) -> bool {
        type_name == "bigint"
    }
}

fn made(text: &str) -> Result<Fan, Refusal> {
    fan(text.as_bytes(), &Shop)
}

#[track_caller]
fn check(text: &str, asked: &str) -> Fan {
    let fan = made(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
    assert_eq!(fan.text, asked, "{text}");
    fan
}

#[test]
fn text_stays_where_nothing_is_missing() {
    for text in [
        "SELECT * FROM users",
        "select id, Name from users -- all\n where age > 3 limit 5;",
        "SELECT id FROM users ORDER BY id DESC LIMIT 10",
        "SELECT u.id AS x FROM users u ORDER BY x, 1",
        "SELECT id, /* its name */ name FROM users ORDER BY (name), (2) FETCH FIRST 3 ROWS ONLY",
        "SELECT *, name AS n FROM users ORDER BY n",
        "SELECT count(*), sum(age), min(age) FROM users",
        "SELECT user_id, count(*) FROM orders GROUP BY user_id HAVING count(*) > 3 ORDER BY 2",
        "SELECT DISTINCT user_id, qty FROM orders ORDER BY user_id",
        "SELECT DISTINCT * FROM users",
        "SELECT DISTINCT qty FROM orders ORDER BY qty LIMIT $1",
        "WITH w AS (SELECT * FROM orders) SELECT w.qty FROM w JOIN users u ON u.id = w.user_id",
        "SELECT id FROM users WHERE id IN (1, 2) ORDER BY id",
        "SELECT a IS DISTINCT FROM b AS from, t.order FROM users t ORDER BY \"from\"",
    ] {
        check(text, text);
    }
}

#[test]
fn order_is_followed_by_columns_behind_those_of_the_client() {
    for (text, asked) in [
        (
            "SELECT name FROM users ORDER BY id, lower( Name )",
            "SELECT name, (id) AS _pgweir_0, (lower( Name )) AS _pgweir_1 FROM users \
             ORDER BY id, lower( Name )",
        ),
        (
            "SELECT u.* FROM users u ORDER BY u.age DESC",
            "SELECT u.*, (u.age) AS _pgweir_0 FROM users u ORDER BY u.age DESC",
        ),
        (
            "SELECT age + 1 AS age FROM users ORDER BY age, (age + 1), -age",
            "SELECT age + 1 AS age, (-age) AS _pgweir_0 FROM users ORDER BY age, (age + 1), -age",
        ),
        (
            "SELECT name FROM users ORDER BY name COLLATE \"C\" NULLS FIRST",
            "SELECT name FROM users ORDER BY name COLLATE \"C\" NULLS FIRST",
        ),
    ] {
        check(text, asked);
    }
    let fan = made("SELECT name, * FROM users ORDER BY 3 DESC, name COLLATE \"C\", age").unwrap();
    let found: Vec<_> = fan.order.iter().map(|by| (by.column.clone(), by.values)).collect();
    let expected = [
        (Column::At(2), Ordered::ByType),
        (Column::At(0), Ordered::ByBytes),
        (Column::Named("age".into()), Ordered::ByType),
    ];
    assert_eq!(found, expected);
    let nulls: Vec<bool> = fan.order.iter().map(|by| by.nulls_first).collect();
    assert_eq!(nulls, [true, false, false]);
}

#[test]
fn rows_are_left_out_when_all_are_there() {
    for (text, asked) in [
        ("LIMIT 5 OFFSET 2", "LIMIT 7 "),
        ("OFFSET 2 LIMIT 5", " LIMIT 7"),
        ("OFFSET 2 ROWS FETCH NEXT 5 ROWS ONLY", " LIMIT 7"),
        ("OFFSET 2 ROWS FETCH FIRST ROW ONLY", " LIMIT 3"),
        ("LIMIT ALL OFFSET 2", "LIMIT ALL "),
        ("LIMIT 9223372036854775807 OFFSET 1", " "),
        ("OFFSET $1", "OFFSET $1::bigint * 0"),
        (
            "LIMIT $2 OFFSET $1",
            "LIMIT least($2::bigint::numeric + coalesce($1::bigint::numeric, 0), \
             9223372036854775807)::bigint ",
        ),
        // A cast may be what says the type.
        ("LIMIT $1::integer", "LIMIT $1::integer"),
        ("OFFSET CAST($1 AS bigint)", "OFFSET (CAST($1 AS bigint))::bigint * 0"),
        (
            "LIMIT $1::INTEGER OFFSET ($2::INTEGER)",
            "LIMIT least(($1::INTEGER)::bigint::numeric + \
             coalesce((($2::INTEGER))::bigint::numeric, 0), 9223372036854775807)::bigint ",
        ),
    ] {
        check(&format!("SELECT id FROM users {text}"), &format!("SELECT id FROM users {asked}"));
    }
    let fan = made("SELECT id FROM users LIMIT $3 OFFSET 4").unwrap();
    assert_eq!((fan.limit, fan.offset), (Count::Parameter(3), Count::Number(4)));
    // Groups that are ordered by what they come to are all wanted.
    check(
        "SELECT qty, count(*) FROM orders GROUP BY qty ORDER BY 2 LIMIT $1 OFFSET 1",
        "SELECT qty, count(*), CAST(qty AS text) COLLATE \"C\" AS _pgweir_0 FROM orders GROUP BY qty \
         ORDER BY 3 LIMIT NULLIF($1::bigint, $1::bigint) ",
    );
}

#[test]
fn groups_are_told_apart_by_their_text() {
    for (text, asked) in [
        (
            "SELECT DISTINCT qty, status FROM orders ORDER BY status",
            "SELECT DISTINCT qty, status, CAST(qty AS text) COLLATE \"C\" AS _pgweir_0 FROM orders \
             ORDER BY status, 3",
        ),
        (
            "SELECT sum(qty) FROM orders o GROUP BY o.status;",
            "SELECT sum(qty), CAST(o.status AS text) COLLATE \"C\" AS _pgweir_0, (o.status) AS _pgweir_1 \
             FROM orders o GROUP BY o.status ORDER BY 2;",
        ),
        (
            "SELECT status, avg(DISTINCT_qty) FILTER (WHERE qty > 0) FROM orders GROUP BY 1",
            "SELECT status, avg(DISTINCT_qty) FILTER (WHERE qty > 0), \
             sum(DISTINCT_qty) FILTER (WHERE qty > 0) AS _pgweir_0, \
             count(DISTINCT_qty) FILTER (WHERE qty > 0) AS _pgweir_1, \
             CAST(status AS text) COLLATE \"C\" AS _pgweir_2 FROM orders GROUP BY 1 ORDER BY 5",
        ),
        // What is called so may be a column, too.
        (
            "SELECT lower(status) AS s, count(*) FROM orders GROUP BY S",
            "SELECT lower(status) AS s, count(*), GROUPING(lower(status)) AS _pgweir_0, \
             CAST(lower(status) AS text) COLLATE \"C\" AS _pgweir_1 FROM orders GROUP BY S ORDER BY 4",
        ),
        (
            "SELECT o.qty AS qty, count(*) FROM orders o GROUP BY qty ORDER BY qty",
            "SELECT o.qty AS qty, count(*) FROM orders o GROUP BY qty ORDER BY qty",
        ),
        (
            "SELECT qty, count(*) FROM orders GROUP BY qty \
             HAVING qty > $1 AND (count(*) > $2 OR NOT sum(price) < 3)",
            "SELECT qty, count(*), sum(price) AS _pgweir_0, CAST(qty AS text) COLLATE \"C\" AS _pgweir_1 \
             FROM orders GROUP BY qty \
             HAVING qty > $1 AND ((count(*) > $2 OR NOT sum(price) < 3) OR true) ORDER BY 4",
        ),
    ] {
        check(text, asked);
    }
    let fan = made(
        "SELECT qty, coalesce(sum(price), 0), count(*)::int FROM orders GROUP BY qty \
         HAVING max(price) IS NOT NULL ORDER BY avg(price) DESC",
    );
    let groups = fan.unwrap().groups.unwrap();
    let avg = Combine::Avg { sum: 4, count: 5 };
    let first = Combine::First;
    let expected =
        [first, Combine::Sum, Combine::Sum, Combine::Max, Combine::Sum, Combine::Sum, avg, first];
    assert_eq!(*groups.columns, expected);
    assert_eq!(groups.sorted[0].column, Column::At(6));
    let not_null = Condition::Not(Box::new(Condition::IsNull(3)));
    assert_eq!(groups.having, Some(Condition::And([not_null].into())));
}

#[test]
fn what_can_not_be_told_is_refused() {
    use Construct as C;
    let cases = [
        ("SELECT random() FROM users", C::Varying),
        ("SELECT id FROM users WHERE unknown(id) = 1", C::Varying),
        ("SELECT now(), id FROM users", C::Varying),
        ("SELECT 'now'::timestamptz FROM users", C::Varying),
        ("SELECT current_user FROM users", C::Varying),
        ("SELECT ctid FROM users", C::Varying),
        ("SELECT u.id FROM users u, pg_class c", C::Varying),
        ("SELECT id FROM users TABLESAMPLE system (10)", C::Varying),
        ("SELECT id FROM users FOR UPDATE", C::Locks),
        ("SELECT DISTINCT ON (age) age FROM users", C::OverGroups),
        ("SELECT DISTINCT ON (id) age AS id FROM users", C::OverGroups),
        ("SELECT DISTINCT ON ((id)) age AS id FROM users", C::OverGroups),
        ("SELECT DISTINCT ON (id) c.*, name FROM users u, countries c", C::OverGroups),
        ("SELECT DISTINCT ON (upper) upper(u.name) FROM users u (upper)", C::OverGroups),
        ("SELECT DISTINCT age, count(*) FROM users GROUP BY age", C::OverGroups),
        ("SELECT rank() OVER (ORDER BY age) FROM users", C::WindowOver),
        ("SELECT id FROM users UNION ALL SELECT user_id FROM orders", C::SetOperation),
        ("(SELECT id FROM users)", C::Shape),
        ("TABLE users", C::Shape),
        ("SELECT id FROM (SELECT id FROM users ORDER BY id LIMIT 3) u", C::Limit),
        ("SELECT 1; SELECT id FROM users", C::Several),
        ("EXPLAIN (ANALYZE) SELECT id FROM users", C::Explained),
        ("DECLARE c CURSOR FOR SELECT id FROM users", C::Cursor),
        ("COPY users TO STDOUT", C::CopyOut),
        ("COPY (SELECT id FROM users) TO STDOUT", C::CopyOut),
        ("SELECT count(*) + 1 FROM users", C::Computed),
        ("SELECT coalesce(max(age), 0) FROM users", C::Computed),
        ("SELECT sum(age)::int FROM users", C::Computed),
        ("SELECT age, (SELECT 1) FROM users GROUP BY age", C::Computed),
        ("SELECT age, unnest(ARRAY[1]) FROM users GROUP BY age", C::Computed),
        ("SELECT count(DISTINCT age) FROM users", C::Aggregate),
        ("SELECT array_agg(age) FROM users", C::Aggregate),
        ("SELECT sum(age ORDER BY id) FROM users", C::Aggregate),
        ("SELECT app.sum(age) FROM users", C::Varying),
        ("SELECT rank(5) WITHIN GROUP (ORDER BY id) FROM users", C::Aggregate),
        (
            "SELECT age, count(*), dense_rank(5) WITHIN GROUP (ORDER BY id) FROM users GROUP BY age",
            C::Aggregate,
        ),
        (
            "SELECT age FROM users GROUP BY age HAVING percent_rank(5) WITHIN GROUP (ORDER BY id) > 2",
            C::Having,
        ),
        ("SELECT (SELECT rank(u.id) WITHIN GROUP (ORDER BY u.id)) FROM users u", C::Outside),
        ("SELECT (SELECT count(u.id)) FROM users u", C::Outside),
        ("SELECT (SELECT count(u.*)) FROM users u", C::Outside),
        ("SELECT (SELECT count(row_to_json(u.*))) FROM users u", C::Outside),
        ("SELECT (SELECT count(lower((u.*)::text))) FROM users u", C::Outside),
        (
            "SELECT (SELECT sum((SELECT max(c.n) FROM countries c WHERE c.code = u.country)) \
             FROM countries c) FROM users u",
            C::Outside,
        ),
        ("SELECT DISTINCT q.* FROM (SELECT age FROM users) q", C::GroupKey),
        ("SELECT age FROM users GROUP BY ROLLUP (age)", C::GroupKey),
        ("SELECT age FROM users GROUP BY GROUPING SETS ((age), ())", C::GroupKey),
        ("SELECT upper(a) AS b, upper(u.a) AS c FROM users u GROUP BY b, c", C::GroupKey),
        ("SELECT upper((u).a) AS b, count(*) FROM users u GROUP BY upper(u.a), b", C::GroupKey),
        ("SELECT upper(a) AS b, count(*) FROM users u GROUP BY upper((u).a), b", C::GroupKey),
        ("SELECT age, sum(age) FROM users GROUP BY age HAVING sum(age) + 1 > 2", C::Having),
        ("SELECT age FROM users GROUP BY age HAVING count(*) > 1 OR age = 3", C::Having),
        ("SELECT age FROM users GROUP BY age HAVING min(name) = 'a'", C::Having),
        ("SELECT age FROM users WHERE age > $1 GROUP BY age HAVING count(*) > $1", C::Having),
        ("SELECT id FROM users ORDER BY $1", C::OrderKey),
        ("SELECT id FROM users ORDER BY name COLLATE \"de_DE\"", C::OrderKey),
        ("SELECT DISTINCT age FROM users ORDER BY name", C::OrderKey),
        ("SELECT id FROM users ORDER BY age + $1", C::Parameter),
        ("SELECT count(*) FROM users GROUP BY age + $1", C::Parameter),
        ("SELECT id FROM users LIMIT 5 + 5", C::Count),
        ("SELECT id FROM users LIMIT 5::integer", C::Count),
        ("SELECT id FROM users LIMIT $1::numeric", C::Count),
        ("SELECT id FROM users LIMIT $1::text::integer", C::Count),
        ("SELECT id FROM users LIMIT $1::integer + 1", C::Count),
        ("SELECT id FROM users ORDER BY id FETCH FIRST 5 ROWS WITH TIES", C::Count),
        ("SELECT id AS _pgweir_0 FROM users", C::Shape),
        ("SELECT u.id FROM users u JOIN orders o ON o.qty = u.age", C::AcrossKeys),
        ("SELECT code FROM countries", C::Shape),
    ];
    for (text, construct) in &cases {
        let found = made(text).map(|fan| fan.text).map_err(|refusal| refusal.construct);
        assert_eq!(found, Err(*construct), "{text}");
    }
    let is_seen = |construct: &&Construct| cases.iter().any(|(_, seen)| seen == *construct);
    let unseen: Vec<_> = Construct::FANS.iter().filter(|construct| !is_seen(construct)).collect();
    assert_eq!(unseen, Vec::<&Construct>::new());
}

#[test]
fn aggregates_of_a_subquery_are_its_own() {
    for text in [
        "SELECT (SELECT max(c.n) FROM countries c WHERE c.code = u.country) FROM users u",
        "SELECT (SELECT count(*) FROM countries) FROM users u",
        "SELECT (SELECT rank(3) WITHIN GROUP (ORDER BY c.n) FROM countries c) FROM users u",
        "SELECT (SELECT sum(c.n + u.age) FROM countries c) FROM users u",
        "SELECT id FROM users WHERE age > (SELECT avg(countries.n) FROM countries)",
    ] {
        check(text, text);
    }
}

#[test]
fn aggregate_in_an_order_makes_one_row() {
    for key in ["count(*)", "cume_dist(5) WITHIN GROUP (ORDER BY id)"] {
        let text = format!("SELECT 1 FROM users ORDER BY {key}");
        let groups = check(&text, &text).groups.unwrap();
        assert_eq!(*groups.columns, [Combine::First], "{text}");
    }
}

#[test]
fn groups_are_not_told_apart_by_what_their_keys_look_like() {
    // 1.0 and 1.00 are one group.
    for (text, asked) in [
        (
            "SELECT qty, count(*) FROM orders GROUP BY qty ORDER BY qty, qty::text",
            "SELECT qty, count(*), (qty::text) AS _pgweir_0, \
             CAST(qty AS text) COLLATE \"C\" AS _pgweir_1 FROM orders GROUP BY qty \
             ORDER BY qty, qty::text, 4",
        ),
        (
            "SELECT qty, qty::text AS t, count(*) FROM orders GROUP BY qty ORDER BY 1, t",
            "SELECT qty, qty::text AS t, count(*), CAST(qty AS text) COLLATE \"C\" AS _pgweir_0 \
             FROM orders GROUP BY qty ORDER BY 1, t, 4",
        ),
        (
            "SELECT qty, status FROM orders GROUP BY 1, 2 ORDER BY status, qty",
            "SELECT qty, status FROM orders GROUP BY 1, 2 ORDER BY status, qty",
        ),
    ] {
        check(text, asked);
    }
}

#[test]
fn more_than_can_be_compared_is_refused() {
    let list = |count: usize| vec!["age"; count].join(", ");
    let sized = |items, by, order| {
        let (by, order) = (list(by), list(order));
        made(&format!("SELECT {} FROM users GROUP BY {by} ORDER BY {order}", list(items)))
    };
    assert!(sized(1600, 200, 200).is_ok());
    for (items, by, order) in [(1601, 1, 1), (1, 201, 1), (1, 1, 201)] {
        let refusal = sized(items, by, order).unwrap_err();
        assert_eq!(refusal.construct, Construct::Size, "{items} {by} {order}");
    }
    let plain = made(&format!("SELECT {} FROM users", list(1601)));
    assert_eq!(plain.unwrap_err().construct, Construct::Size);
}

#[test]
fn refusal_names_table_construct_and_way_out() {
    let refusal = made("SELECT count(DISTINCT age) FROM users").unwrap_err();
    let said = "table users: an aggregate over several shards other than count, sum, avg, min, \
                max, bool_… and bit_… can't be run on shards; \
                Group by the key, or select the rows and aggregate in the application.";
    assert_eq!(refusal.to_string(), said);
}

#[test]
fn time_may_tell_which_rows_there_are() {
    let since = "SELECT id FROM users WHERE seen > now() - interval '1 day' AND born < 'today'";
    check(since, since);
    let plain = "SELECT 'nowhere' FROM users";
    check(plain, plain);
}
