//! What is behind a relation, by name: the relations that a view is made of, and the tables that a
//! table is a part of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Behind, Oid, Relation, RelationKind};
use crate::sql::facts::Name;

/// The relations whose rows may be among those of a relation, or have its own among theirs, and itself:
/// family by family, which all share that have it. `None` where that can't be said.
pub(super) type Kin = Option<Arc<[Family]>>;

/// A table with all its partitions, or a relation by itself.
type Family = Arc<[Name]>;

/// The kin of all relations that have some. What it takes grows with the relations, not with how many
/// partitions each partition is beside.
pub(super) fn kin(relations: &[Relation], behind: &[Behind]) -> HashMap<Oid, Kin> {
    let by_oid: HashMap<Oid, &Relation> = relations.iter().map(|it| (it.oid, it)).collect();
    let is_table = |oid: &Oid| by_oid.get(oid).is_some_and(|it| it.kind == RelationKind::Table);
    // Partitions and their tables, both ways; what a view is made of has nothing to do with the view.
    let (mut parts, mut made_of) = (Near::new(), Near::new());
    for part in behind.iter().filter(|part| !part.is_policy) {
        let whole = part.relation;
        for oid in &part.relations {
            if is_table(&whole) {
                parts.entry(whole).or_default().push(*oid);
                parts.entry(*oid).or_default().push(whole);
            } else {
                made_of.entry(whole).or_default().push(*oid);
                made_of.entry(*oid).or_default();
            }
        }
        made_of.entry(whole).or_default();
    }
    let all: Vec<Oid> = made_of.keys().chain(parts.keys()).copied().collect();
    let (families, family_of) = families(&all, &parts);
    // Which families each is made of.
    let below: Vec<Vec<usize>> = families
        .iter()
        .map(|members| {
            let oids = members.iter().filter_map(|oid| made_of.get(oid)).flatten();
            oids.filter_map(|oid| family_of.get(oid).copied()).collect()
        })
        .collect();
    let names: Vec<Option<Family>> = families
        .iter()
        .map(|members| {
            let name = |oid: &Oid| {
                let Relation { schema, name, .. } = by_oid.get(oid)?;
                Some(Name { schema: Some(schema.as_str().into()), name: name.as_str().into() })
            };
            members.iter().map(name).collect()
        })
        .collect();
    let kin = |family: usize| {
        let (mut open, mut seen) = (vec![family], HashSet::from([family]));
        while let Some(next) = open.pop() {
            open.extend(below.get(next).into_iter().flatten().filter(|it| seen.insert(**it)));
        }
        seen.iter().map(|family| names.get(*family).cloned().flatten()).collect::<Kin>()
    };
    let kin: Vec<Kin> = (0..families.len()).map(kin).collect();
    let wholes = behind.iter().filter(|part| !part.is_policy).map(|part| part.relation);
    let own: HashSet<Oid> = wholes.chain(parts.into_keys()).collect();
    let of = |oid: Oid| Some((oid, kin.get(*family_of.get(&oid)?)?.clone()));
    own.into_iter().filter_map(of).collect()
}

type Near = BTreeMap<Oid, Vec<Oid>>;

/// Puts together what is near to each other; also, in which family each is.
fn families(all: &[Oid], near: &Near) -> (Vec<Vec<Oid>>, HashMap<Oid, usize>) {
    let (mut families, mut family_of) = (Vec::new(), HashMap::new());
    for oid in all {
        if family_of.contains_key(oid) {
            continue;
        }
        let number = families.len();
        family_of.insert(*oid, number);
        let (mut open, mut members) = (vec![*oid], Vec::new());
        while let Some(next) = open.pop() {
            members.push(next);
            for other in near.get(&next).into_iter().flatten() {
                if family_of.insert(*other, number).is_none() {
                    open.push(*other);
                }
            }
        }
        families.push(members);
    }
    (families, family_of)
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
            let own = relations.iter().find(|it| it.oid == oid)?;
            let others = all.iter().flat_map(|family| family.iter());
            let others = others.filter(|name| *name.name != *own.name);
            let mut names: Vec<String> = others.map(|name| name.name.to_string()).collect();
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

    #[test]
    fn partitions_share_what_is_known_of_them() {
        const COUNT: Oid = 20_000;
        let relations: Vec<_> = (0..=COUNT)
            .map(|oid| Relation {
                oid,
                schema: "public".to_owned(),
                name: format!("part_{oid}"),
                kind: RelationKind::Table,
                unlogged: false,
            })
            .collect();
        let whole = Behind { relation: 0, relations: (1..=COUNT).collect(), ..Behind::default() };
        let kin = kin(&relations, &[whole]);
        // Each by itself has 20,000 others, which together would be 400 million names.
        let known = |oid| kin.get(&oid).cloned().flatten().unwrap();
        assert_eq!(kin.len(), relations.len());
        assert!(Arc::ptr_eq(&known(0), &known(COUNT)));
        let count: usize = known(7).iter().map(|family| family.len()).sum();
        assert_eq!(count, relations.len());
    }
}
