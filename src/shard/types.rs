//! Types of keys that the configuration leaves to the catalog: what columns there are decides, and what
//! they don't agree in is an error, never a guess.

use super::draft::DraftGroup;
use super::key::KeyType;
use super::sharding::{Group, Keys, Kind, Sharding};

/// A column that has the keys of a table, as a catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The table's schema.
    pub schema: Box<str>,
    /// The table.
    pub table: Box<str>,
    /// The column.
    pub column: Box<str>,
    /// Its type with its length, and what is below a domain.
    pub kind: Box<str>,
    /// Texts of different bytes may be equal.
    pub merges: bool,
}

impl Sharding {
    /// Whether the types of some keys are left to the catalog.
    pub fn is_open(&self) -> bool {
        self.groups.iter().any(|group| matches!(group.keys, Keys::Open(_)))
    }

    /// The same with the types that these columns have. `before` is what was found of it earlier: the
    /// type of keys says where rows are, so another one does not become theirs by itself.
    #[must_use]
    pub fn typed(&self, columns: &[KeyColumn], before: Option<&Self>) -> Self {
        let mut typed = self.clone();
        for (group, number) in typed.groups.iter_mut().zip(0..) {
            let Keys::Open(draft) = &group.keys else { continue };
            let earlier = before.and_then(|before| before.groups.get(usize::from(number)));
            let earlier = earlier.and_then(Group::earlier);
            let found = self.kind(number, columns).and_then(|kind| held(kind, earlier));
            group.keys = match found.and_then(|kind| Ok((kind, self.placed(draft, kind)?))) {
                Ok((kind, placement)) => Keys::Known(kind, placement),
                Err(why) => Keys::Wrong { why: why.into(), earlier },
            };
        }
        typed
    }

    /// What the columns of a group agree in.
    fn kind(&self, group: u16, columns: &[KeyColumn]) -> Result<KeyType, String> {
        let mut agreed: Option<(KeyType, String)> = None;
        for KeyColumn { schema, table, column, kind, merges } in columns {
            let entries = self.tables.get(table).map(Vec::as_slice).unwrap_or_default();
            let is_key = entries.iter().any(|entry| {
                let of_group = matches!(&entry.kind, Kind::Sharded { group: own, key, .. }
                    if *own == group && key == column);
                of_group && entry.schema.as_ref().is_none_or(|own| own == schema)
            });
            if !is_key || self.schemas.as_ref().is_some_and(|schemas| schemas.has(schema)) {
                continue;
            }
            let shown = format!("{schema}.{table}.{column}");
            let Some(own) = KeyType::of(kind) else {
                let bare = kind.split_once('(').and_then(|(bare, _)| KeyType::of(bare));
                return Err(match bare {
                    Some(_) => {
                        format!("{shown} is {kind}, which cuts off blanks beyond its length")
                    }
                    None => format!("{shown} is {kind}, which is no type of keys"),
                });
            };
            if *merges {
                return Err(format!("{shown} has a collation for which different texts are equal"));
            }
            agreed = Some(match agreed {
                None => (own, shown),
                Some((known, first)) if known == own => (known, first),
                // Equal numbers are equal keys: the wider takes all of them.
                Some((known, first)) if known.is_integer() && own.is_integer() => {
                    if own.width() > known.width() { (own, shown) } else { (known, first) }
                }
                Some((known, first)) => {
                    return Err(format!("{first} is {known}, and {shown} is {own}"));
                }
            });
        }
        let none = || "the default shard's catalog has none of its key columns".to_owned();
        agreed.map(|(kind, _)| kind).ok_or_else(none)
    }

    /// Where keys of a type are.
    fn placed(
        &self,
        draft: &DraftGroup,
        kind: KeyType,
    ) -> Result<super::placement::Placement, String> {
        draft.placed(&self.shards, kind).map_err(|faults| {
            let first = faults.first().map(|fault| fault.told().1).unwrap_or_default();
            format!("keys are {kind}, and {first}")
        })
    }
}

impl Group {
    /// The type that its keys had when it was first known.
    fn earlier(&self) -> Option<KeyType> {
        match &self.keys {
            Keys::Known(kind, _) => Some(*kind),
            Keys::Wrong { earlier, .. } => *earlier,
            Keys::Open(_) => None,
        }
    }
}

/// A type, if it does not say other places than the one that was known.
fn held(kind: KeyType, earlier: Option<KeyType>) -> Result<KeyType, String> {
    match earlier {
        Some(earlier) if earlier != kind && !(earlier.is_integer() && kind.is_integer()) => {
            Err(format!("its keys were {earlier}, and are {kind} now: their rows may be elsewhere"))
        }
        _ => Ok(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, NoShard, ShardId};
    use super::*;
    use crate::sql::facts::Name;
    use crate::sql::keys::{Table, Tables};

    fn open(function: &str, overrides: &[(&str, &str)]) -> Sharding {
        let pair = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
        let group = DraftGroup {
            name: "users".to_owned(),
            tables: [("users", "id"), ("app.orders", "user_id")].iter().map(pair).collect(),
            function: function.to_owned(),
            overrides: overrides.iter().map(pair).collect(),
            ..DraftGroup::default()
        };
        let shards = vec!["a".to_owned(), "b".to_owned()];
        let draft = Draft {
            shards,
            default_shard: "a".to_owned(),
            groups: vec![group],
            ..Draft::default()
        };
        draft.check().unwrap()
    }

    fn columns(found: &[(&str, &str, &str, &str)]) -> Vec<KeyColumn> {
        let column = |(schema, table, column, kind): &(&str, &str, &str, &str)| KeyColumn {
            schema: (*schema).into(),
            table: (*table).into(),
            column: (*column).into(),
            kind: (*kind).into(),
            merges: false,
        };
        found.iter().map(column).collect()
    }

    fn told(sharding: &Sharding) -> Result<KeyType, String> {
        let (_, keys) = sharding.groups().next().unwrap();
        keys.map(|(kind, _)| kind).map_err(|why| why.to_string())
    }

    #[test]
    fn types_are_what_the_columns_agree_in() {
        let open = open("postgres", &[]);
        assert!(open.is_open());
        assert!(matches!(open.of_text(0, Some(b"7")), Err(NoShard::Untyped(_))));
        let sharded = Table::Sharded { group: 0, key: "id", columns: None };
        assert_eq!(open.table(&Name::plain("users")), sharded);
        for (found, wanted) in [
            (&[("public", "users", "id", "bigint")][..], Ok(KeyType::Int8)),
            (
                &[("public", "users", "id", "integer"), ("app", "orders", "user_id", "bigint")],
                Ok(KeyType::Int8),
            ),
            (
                &[("a", "users", "id", "text"), ("b", "users", "id", "character varying")],
                Ok(KeyType::Text),
            ),
            (
                &[("public", "users", "id", "uuid"), ("other", "orders", "user_id", "text")],
                Ok(KeyType::Uuid),
            ),
            (
                &[("public", "users", "id", "uuid"), ("app", "orders", "user_id", "text")],
                Err("public.users.id is uuid, and app.orders.user_id is text"),
            ),
            (
                &[("public", "users", "id", "numeric")],
                Err("public.users.id is numeric, which is no type of keys"),
            ),
            (
                &[("public", "users", "id", "character varying(9)")],
                Err(
                    "public.users.id is character varying(9), which cuts off blanks beyond its length",
                ),
            ),
            (
                &[("public", "users", "id", "character(9)")],
                Err("public.users.id is character(9), which is no type of keys"),
            ),
            (&[], Err("the default shard's catalog has none of its key columns")),
        ] {
            let typed = open.typed(&columns(found), None);
            let wanted = wanted
                .map_err(|why| format!("the type of keys of group users is not known: {why}"));
            assert_eq!(told(&typed), wanted);
            assert!(!typed.is_open());
            if let Ok(kind) = wanted {
                assert!(typed.keeps(0, kind.name()));
            }
        }
    }

    #[test]
    fn type_that_was_known_is_not_another_by_itself() {
        let open = open("postgres", &[("7", "b")]);
        let of = |kind, before| open.typed(&columns(&[("public", "users", "id", kind)]), before);
        let first = of("integer", None);
        assert_eq!(told(&first), Ok(KeyType::Int4));
        assert_eq!(first.of_text(0, Some(b"7")), Ok(ShardId(1)));
        let wider = of("bigint", Some(&first));
        assert_eq!(told(&wider), Ok(KeyType::Int8));
        let other = of("text", Some(&wider));
        assert!(told(&other).unwrap_err().contains("its keys were bigint, and are text now"));
        let still = open.typed(&[], Some(&other));
        assert!(told(&still).is_err());
        assert_eq!(told(&of("bigint", Some(&still))), Ok(KeyType::Int8));
        // What is configured of keys has to be keys.
        assert!(told(&of("date", None)).unwrap_err().contains("keys are date, and"));
    }
}
