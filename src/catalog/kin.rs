//! What is behind a relation, by name: the relations that a view is made of, and the tables that a
//! table is a part of.

use std::collections::{HashMap, HashSet};

use super::{Behind, Oid, Relation, RelationKind};
use crate::sql::facts::Name;

/// The relations whose rows may be among those of a relation, or have its own among theirs. `None`
/// where that can't be said.
pub(super) type Kin = Option<Box<[Name]>>;

/// The kin of all relations that have some.
pub(super) fn kin(relations: &[Relation], behind: &[Behind]) -> HashMap<Oid, Kin> {
    let by_oid: HashMap<Oid, &Relation> = relations.iter().map(|it| (it.oid, it)).collect();
    let is_table = |oid: &Oid| by_oid.get(oid).is_some_and(|it| it.kind == RelationKind::Table);
    let mut near: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for part in behind.iter().filter(|part| !part.is_policy) {
        let whole = part.relation;
        near.entry(whole).or_default().extend(&part.relations);
        // A partition; what a view is made of has nothing to do with the view.
        for oid in part.relations.iter().filter(|_| is_table(&whole)) {
            near.entry(*oid).or_default().push(whole);
        }
    }
    let mut found = HashMap::new();
    for oid in near.keys() {
        let (mut open, mut seen) = (vec![*oid], HashSet::from([*oid]));
        while let Some(next) = open.pop() {
            open.extend(near.get(&next).into_iter().flatten().filter(|oid| seen.insert(**oid)));
        }
        let names = seen.iter().filter(|other| *other != oid).map(|other| {
            let Relation { schema, name, .. } = by_oid.get(other)?;
            Some(Name { schema: Some(schema.as_str().into()), name: name.as_str().into() })
        });
        found.insert(*oid, names.collect());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_what_they_are_made_of_and_partitions_their_table() {
        let relation = |(oid, name, kind): (Oid, &str, RelationKind)| Relation {
            oid,
            schema: "public".to_owned(),
            name: name.to_owned(),
            kind,
            unlogged: false,
        };
        let (table, view) = (RelationKind::Table, RelationKind::View);
        let relations = [
            (1, "orders", table),
            (2, "orders_1", table),
            (3, "all_orders", view),
            (4, "of_view", view),
            (5, "of_catalog", view),
            (6, "plain", table),
        ]
        .map(relation);
        let part = |relation, relations: &[Oid]| Behind {
            relation,
            relations: relations.to_vec(),
            ..Behind::default()
        };
        let policy = Behind { is_policy: true, ..part(6, &[1]) };
        let behind = [part(1, &[2]), part(3, &[1]), part(4, &[3, 6]), part(5, &[99]), policy];
        let kin = kin(&relations, &behind);
        let names = |oid: Oid| {
            let all = kin.get(&oid).cloned()??;
            let mut names: Vec<String> = all.iter().map(|name| name.name.to_string()).collect();
            names.sort();
            Some(names.join(" "))
        };
        assert_eq!(names(1).as_deref(), Some("orders_1"));
        assert_eq!(names(2).as_deref(), Some("orders"));
        assert_eq!(names(3).as_deref(), Some("orders orders_1"));
        assert_eq!(names(4).as_deref(), Some("all_orders orders orders_1 plain"));
        assert_eq!(kin.get(&5), Some(&None));
        assert_eq!(kin.get(&6), None);
    }
}
