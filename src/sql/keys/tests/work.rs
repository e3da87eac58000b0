//! Texts that are short, and stand for more than a memory holds or a day has time for.

use super::Shop;
use crate::sql::keys::{Construct, Plan, Refusal, Slot, plan};

/// What is between the first and the last, so many times.
fn list(start: &str, item: impl Fn(usize) -> String, times: usize, end: &str) -> String {
    let items: Vec<String> = (0..times).map(item).collect();
    format!("{start}{}{end}", items.join(","))
}

fn same(item: &str) -> impl Fn(usize) -> String {
    move |_| item.to_owned()
}

/// Each of all would take minutes, or more memory than there is.
fn attacks() -> Vec<(&'static str, String)> {
    [columns(), names(), looks()].concat()
}

const STARS: &str = "*,*,*,*,*,*,*,*,*,*";

fn numbers(times: usize) -> String {
    list("(VALUES ", same("(1)"), times, ") v(x)")
}

fn named(times: usize) -> String {
    list("SELECT ", same("1 a"), times, ", 1 users")
}

/// Columns that are copied.
fn columns() -> Vec<(&'static str, String)> {
    let nested = (0..10).fold("SELECT 1 AS users".to_owned(), |inner, _| {
        format!("SELECT {STARS} FROM ({inner}) t")
    });
    let wide = list("SELECT ", |at| format!("1 c{at}"), 5_000, ", 1 users");
    vec![
        ("stars of stars", nested),
        (
            "stars of columns",
            list("SELECT ", same("*"), 5_000, &format!(" FROM ({}) t", named(5_000))),
        ),
        (
            "long names",
            list(
                "SELECT ",
                same("*"),
                50_000,
                &format!(" FROM (SELECT 1 {}, 1 users) t", "a".repeat(50_000)),
            ),
        ),
        (
            "stars of merged columns",
            format!(
                "SELECT {STARS},{STARS} FROM ({wide}) a JOIN ({wide}) b {}",
                list("USING (", |at| format!("c{at}"), 5_000, ")")
            ),
        ),
    ]
}

/// Queries that are looked at wherever they are named.
fn names() -> Vec<(&'static str, String)> {
    let chained = |body: &str| format!("WITH a AS ({body}) SELECT 1 FROM users");
    vec![
        ("a query by its name", {
            let cte = format!("WITH a AS ({}) SELECT 1 FROM ", named(60_000));
            list(&cte, same("a b"), 390, "")
        }),
        ("values by their name", {
            let cte = list("WITH a AS (VALUES ", same("(1)"), 40_000, ") SELECT 1 FROM users,");
            list(&cte, same("a"), 390, "")
        }),
        ("a query inside of one that has a name", {
            let inner = list("SELECT ", same("1"), 60_000, "");
            let cte = format!("WITH a AS (WITH b AS ({inner}) SELECT 1 FROM users) SELECT 1 FROM ");
            list(&cte, same("a"), 390, "")
        }),
        ("a write inside of one that has a name", {
            let inner = list("INSERT INTO t (", same("c"), 60_000, ") VALUES (1)");
            let cte = format!("WITH a AS (WITH b AS ({inner}) SELECT 1 FROM users) SELECT 1 FROM ");
            list(&cte, same("a"), 390, "")
        }),
        ("queries with names inside of one another", {
            let inner = list("SELECT ", same("1"), 100_000, "");
            (0..12).fold(inner, |inner, _| chained(&inner))
        }),
    ]
}

/// Names that are looked up, and what is found.
fn looks() -> Vec<(&'static str, String)> {
    let branch = format!("({}id=1)", "id=1 AND ".repeat(150));
    vec![
        (
            "columns by their names",
            list("SELECT ", same("x"), 60_000, &format!(" FROM ({}) t", named(30_000))),
        ),
        (
            "columns of functions",
            list("SELECT ", same("a"), 60_000, &list(" FROM ", same("f()"), 30_000, ", users")),
        ),
        ("functions", list("SELECT 1 FROM ", same("f()"), 60_000, ", users")),
        ("rows of columns of values", {
            let from = format!("SELECT 1 FROM users u, {} WHERE ", numbers(20_000));
            list(&list(&format!("{from}("), same("u.id"), 8_000, ") = ("), same("v.x"), 8_000, ")")
        }),
        ("keys that are the same values", {
            let equal = vec!["u.id = v.x"; 140].join(" AND ");
            format!("SELECT 1 FROM users u, {} WHERE {equal}", numbers(30_000))
        }),
        (
            "merged columns",
            format!(
                "SELECT 1 FROM users a JOIN users b {}",
                list("USING (", |at| format!("c{at}"), 30_000, ")")
            ),
        ),
        ("branches of conditions", {
            format!("SELECT 1 FROM users WHERE {branch} OR {}", vec![&*branch; 140].join(" OR "))
        }),
        ("branches without columns", {
            let other = format!("({}1=1)", "1=1 AND ".repeat(150));
            format!("SELECT 1 FROM users WHERE {branch} OR {}", vec![&*other; 140].join(" OR "))
        }),
        ("rows that MERGE stores", {
            let clause = " WHEN NOT MATCHED THEN INSERT (id) VALUES (1)";
            format!("MERGE INTO users USING countries ON true{}", clause.repeat(5_500))
        }),
        ("statements that are almost too much each", {
            let one = (0..4).fold("SELECT 1 AS users".to_owned(), |inner, _| {
                format!("SELECT {STARS} FROM ({inner}) t")
            });
            vec![one; 400].join(";")
        }),
    ]
}

#[test]
fn short_text_that_stands_for_very_much_is_refused() {
    let size = format!("{:?}", Plan::Refused(Refusal::of(Construct::Size)));
    for (name, text) in attacks() {
        assert!(text.len() <= crate::sql::facts::TEXT_MAX, "{name}: {}", text.len());
        let found = format!("{:.200?}", format!("{:?}", plan(text.as_bytes(), &Shop)));
        assert_eq!(found, format!("{size:?}"), "{name}");
    }
}

#[test]
fn long_text_that_names_nothing_twice_is_not() {
    let columns = list("", |at| format!("c{at}"), 200, "");
    let texts = [
        list("SELECT 1 FROM users WHERE id IN (", same("1"), 120_000, ")"),
        list("INSERT INTO users (id) VALUES ", same("(1)"), 60_000, ""),
        list("INSERT INTO users (id, a, b) VALUES ", same("(1,2,'3')"), 20_000, ""),
        list(
            "WITH v AS (VALUES ",
            same("(12345678)"),
            20_000,
            ") INSERT INTO users (id) SELECT column1 FROM v",
        ),
        format!("SELECT {columns} FROM (SELECT id, {columns} FROM users) t WHERE id = 1"),
        vec!["INSERT INTO users (id) VALUES (1)"; 6_000].join(";"),
        format!(
            "SELECT {columns} FROM users u {} WHERE u.id = 1",
            list("", |at| format!("JOIN orders o{at} ON o{at}.user_id = u.id"), 20, "")
                .replace(',', " ")
        ),
    ];
    for text in texts {
        let found = plan(text.as_bytes(), &Shop);
        assert!(matches!(found, Plan::Keyed(_)), "{text:.60}: {:.200}", format!("{found:?}"));
    }
}

/// What many columns hold is there once.
#[test]
fn columns_of_many_values_share_them() {
    let values = list("(VALUES ", same("(1)"), 20_000, ") v(x)");
    let text = list("SELECT ", same("x"), 50_000, &format!(" FROM {values}, users"));
    let found = plan(text.as_bytes(), &Shop);
    assert!(matches!(found, Plan::AllShards(_)), "{:.200}", format!("{found:?}"));
}

/// Keys are found by as few walks through a text, or through the parameters, as there can be.
#[test]
fn keys_are_asked_for_in_their_order() {
    let parameter = |at| format!("${}", 36_000 - at);
    let text = list("SELECT 1 FROM users WHERE id IN (", parameter, 36_000, ")");
    let Plan::Keyed(keyed) = plan(text.as_bytes(), &Shop) else { panic!("no keys") };
    let slots = keyed.roots[0].among[0].slots.iter();
    assert!(slots.is_sorted_by_key(|slot| match slot {
        Slot::Parameter { number, .. } => *number,
        Slot::Null | Slot::Literal { .. } => 0,
    }));
    // Which row each is of has to stay; and columns of rows can't be asked for in their order.
    let row = |at| format!("(${})", 36_000 - at);
    let rows = list("INSERT INTO users (id) VALUES ", row, 36_000, "");
    let columns = list("", |at| format!("c{}", 300 - at), 300, "");
    let row = list("(", |at| at.to_string(), 300, ")");
    let values = list("(VALUES ", |_| row.clone(), 200, "");
    let keys = list("(", same("id"), 300, ")");
    let columns = format!("SELECT 1 FROM users, {values}) v({columns}) WHERE {keys} = ({columns})");
    for text in [rows, columns] {
        let found = format!("{:.60?}", plan(text.as_bytes(), &Shop));
        let size = format!("{:.60?}", Plan::Refused(Refusal::of(Construct::Size)));
        assert_eq!(found, size, "{text:.40}");
    }
}

/// Which parameters stand nowhere else is known for as many as a text has.
#[test]
fn parameters_by_the_thousand_are_told_from_literals_at_once() {
    let text = list(
        "SELECT 1 FROM users WHERE a = $7 AND id IN (",
        |at| format!("${}", at + 1),
        36_000,
        ")",
    );
    let Plan::Keyed(keyed) = plan(text.as_bytes(), &Shop) else { panic!("no keys") };
    let slots = &keyed.roots[0].among[0].slots;
    for (at, slot) in slots.iter().enumerate() {
        let number = u16::try_from(at + 1).unwrap();
        assert_eq!(*slot, Slot::Parameter { number, own: number != 7, array: false });
    }
    assert_eq!(slots.len(), 36_000);
}
