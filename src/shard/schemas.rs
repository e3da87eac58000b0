//! Schemas that say where their tables are: a tenant has a schema, and all of it is on one shard.

use super::ShardId;
use super::key::Key;
use super::placement::{Placement, Unplaced};

/// Which schemas these are, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemas {
    /// What their names begin with, besides those that are listed.
    pub(super) prefix: Option<Box<str>>,
    /// Of their names, as texts.
    pub(super) placement: Placement,
}

impl Schemas {
    /// Whether a schema is one of them. Postgres's own never are.
    pub fn has(&self, schema: &str) -> bool {
        if schema.starts_with("pg_") || schema == "information_schema" {
            return false;
        }
        let begins = self.prefix.as_ref().is_some_and(|prefix| schema.starts_with(&**prefix));
        begins || self.placement.lists(&key(schema))
    }

    /// The shard of a schema; `None` where it is none of them.
    ///
    /// # Errors
    ///
    /// It has no shard.
    pub fn shard(&self, schema: &str) -> Option<Result<ShardId, Unplaced>> {
        self.has(schema).then(|| self.placement.shard(&key(schema)))
    }

    /// Those that are listed by name, with their shards.
    pub fn listed(&self) -> impl Iterator<Item = (String, ShardId)> {
        self.placement.listed().map(|(key, shard)| (key.to_string(), shard))
    }

    /// How names are spread.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }
}

fn key(schema: &str) -> Key<'_> {
    Key::Text(schema.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, DraftGroup, DraftSchemas, Fault};
    use super::*;

    fn draft(prefix: Option<&str>, function: &str, values: &[(&str, &str)]) -> Draft {
        let pair = |(key, shard): &(&str, &str)| ((*key).to_owned(), (*shard).to_owned());
        let by = DraftGroup {
            function: function.to_owned(),
            values: values.iter().map(pair).collect(),
            ..DraftGroup::default()
        };
        Draft {
            shards: vec!["a".to_owned(), "b".to_owned()],
            default_shard: "a".to_owned(),
            schemas: Some(DraftSchemas { prefix: prefix.map(str::to_owned), by }),
            ..Draft::default()
        }
    }

    #[test]
    fn schemas_are_those_of_the_prefix_and_of_the_list() {
        let (a, b, none) =
            (Some(Ok(ShardId(0))), Some(Ok(ShardId(1))), Some(Err(Unplaced::NotListed)));
        let listed = draft(Some("t_"), "list", &[("t_1", "a"), ("big", "b")]).check().unwrap();
        let hashed = draft(Some("t_"), "md5_hex8_mod", &[]).check().unwrap();
        for (name, of_list, of_hash) in [
            ("t_1", a, a),
            ("big", b, None),
            ("t_2", none, b),
            ("T_1", None, None),
            ("public", None, None),
            ("pg_catalog", None, None),
        ] {
            let shard = |sharding: &crate::shard::Sharding| {
                sharding.schemas().and_then(|schemas| schemas.shard(name))
            };
            assert_eq!(shard(&listed), of_list, "{name}");
            assert_eq!(shard(&hashed).is_some(), of_hash.is_some(), "{name}");
        }
        let names: Vec<_> = listed.schemas().unwrap().listed().collect();
        assert_eq!(names, [("big".to_owned(), ShardId(1)), ("t_1".to_owned(), ShardId(0))]);
    }

    #[test]
    fn schemas_without_a_prefix_have_to_be_listed() {
        let absent = |key| Fault::Absent { at: "schemas".to_owned(), key };
        assert_eq!(draft(None, "postgres", &[]).check(), Err(vec![absent("prefix")]));
        assert_eq!(draft(Some("t_"), "", &[]).check(), Err(vec![absent("function")]));
        let modulo = draft(Some("t_"), "modulo", &[]).check().unwrap_err();
        assert!(
            matches!(&*modulo, [Fault::FunctionOfType { at, .. }] if at == "schemas"),
            "{modulo:?}"
        );
    }
}
