//! Texts and their plans, as `tests/corpus/shards/plans.tsv` has them: the plan, and the text.

mod depth;
mod work;

use super::*;

/// Users with their orders and items; tenants with their documents; countries on every shard.
struct Shop;

impl Tables for Shop {
    fn table(&self, name: &Name) -> Table<'_> {
        static ITEMS: std::sync::LazyLock<Vec<Box<str>>> = std::sync::LazyLock::new(|| {
            ["id", "user_id", "order_id", "qty"].map(Into::into).into()
        });
        let sharded = |group, key| Table::Sharded { group, key, columns: None };
        match (name.schema.as_deref(), &*name.name) {
            (Some("pg_catalog" | "information_schema"), _) => Table::Local,
            (None, name) if name.starts_with("pg_") => Table::Local,
            (None | Some("public"), "users") => sharded(0, "id"),
            (None | Some("public"), "orders" | "archive") => sharded(0, "user_id"),
            (None | Some("public"), "items") => {
                Table::Sharded { group: 0, key: "user_id", columns: Some(&ITEMS) }
            }
            (None | Some("app"), "events") => sharded(0, "user_id"),
            (_, "tenants" | "docs") => sharded(1, "tenant_id"),
            (_, "Mixed") => sharded(0, "Key"),
            (_, "countries" | "rates") => Table::Reference,
            (_, "v_orders") => Table::Unclear,
            _ => Table::Default,
        }
    }

    fn keeps(&self, group: u16, type_name: &str) -> bool {
        match group {
            0 => ["bigint", "int", "integer", "int8", "int4"].contains(&type_name),
            _ => ["text", "varchar"].contains(&type_name),
        }
    }
}

fn shown(text: &str, plan: &Plan) -> String {
    let access = |access| if access == Access::Writes { " writes" } else { "" };
    match plan {
        Plan::Session => "session".to_owned(),
        Plan::Default => "default".to_owned(),
        Plan::Reference(of) => format!("reference{}", access(*of)),
        Plan::Keyed(keyed) => {
            let roots: Vec<String> =
                keyed.roots.iter().map(|root| shown_root(text, root)).collect();
            let spread = match &keyed.spread {
                Spread::Parts => "parts".to_owned(),
                Spread::Rows => "rows".to_owned(),
                Spread::No(refusal) => format!("no {}", refusal.construct.name()),
            };
            format!("key {}{}; {spread}", roots.join(" + "), access(keyed.access))
        }
        Plan::AllShards(Everywhere { access: of, table, .. }) => {
            format!("all {table}{}", access(*of))
        }
        Plan::CopyIn(CopyIn { table, key, fields, .. }) => format!("copy {table} {key}/{fields}"),
        Plan::Defines => "defines".to_owned(),
        Plan::Refused(Refusal { table: None, construct }) => {
            format!("refused {}", construct.name())
        }
        Plan::Refused(Refusal { table: Some(table), construct }) => {
            format!("refused {} {table}", construct.name())
        }
    }
}

fn shown_root(text: &str, root: &Root) -> String {
    let mut literals = Literals::new(text.as_bytes());
    let mut slot = |slot: &Slot| match slot {
        Slot::Null => "NULL".to_owned(),
        Slot::Literal { at, minus, array } => {
            let raw = String::from_utf8_lossy(literals.get(*at).unwrap()).into_owned();
            format!("{}{raw}{}", if *minus { "-" } else { "" }, if *array { "[]" } else { "" })
        }
        Slot::Parameter { number, own, array } => {
            let (own, array) = (if *own { "" } else { "?" }, if *array { "[]" } else { "" });
            format!("${number}{own}{array}")
        }
    };
    let one_of = |one: &OneOf| {
        let slots: Vec<String> = one.slots.iter().map(&mut slot).collect();
        format!("{}{}", if one.stored { "=" } else { "" }, slots.join("|"))
    };
    root.among.iter().map(one_of).collect::<Vec<_>>().join(" & ")
}

fn lines() -> Vec<(String, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/shards/plans.tsv");
    let file = std::fs::read_to_string(path).unwrap();
    let lines =
        file.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| {
            let (plan, text) = line.split_once('\t').unwrap_or_else(|| panic!("line {}", at + 1));
            (format!("{}", at + 1), plan.to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn texts_have_the_plans_that_they_should() {
    let lines = lines();
    assert!(lines.len() >= 250, "{}", lines.len());
    let mut wrong = Vec::new();
    for (at, expected, text) in &lines {
        let found = shown(text, &plan(text.as_bytes(), &Shop));
        if found != *expected {
            wrong.push(format!("line {at}: {found}, not {expected}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n{} of {}", wrong.join("\n"), wrong.len(), lines.len());
    let unseen = Construct::PLANS
        .iter()
        .filter(|construct| !lines.iter().any(|(_, plan, _)| plan.contains(construct.name())));
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<&Construct>::new());
}

/// A plan is kept for all texts that differ in plain values alone.
#[test]
fn text_that_stands_for_others_has_their_plan() {
    let mut others = 0;
    for (at, _, text) in lines() {
        let mut buffer = vec![0; text.len()];
        let common = crate::sql::facts::common(text.as_bytes(), &mut buffer);
        assert_eq!(plan(common, &Shop), plan(text.as_bytes(), &Shop), "line {at}: {text}");
        others += usize::from(common != text.as_bytes());
    }
    assert!(others > 150, "{others}");
}

/// Whatever a text is, it has a plan.
#[test]
fn texts_cut_anywhere_have_plans() {
    for (_, _, text) in lines() {
        for end in 0..text.len() {
            if let Some(cut) = text.get(..end) {
                plan(cut.as_bytes(), &Shop);
            }
        }
    }
    assert_eq!(
        plan(b"SELECT * FROM users WHERE name = '\xff'", &Shop),
        Plan::Refused(Refusal::of(Construct::Text))
    );
}
