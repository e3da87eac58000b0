//! What follows from what was loaded, and from what was not.

use super::*;
use crate::sql::facts::facts;

fn function(oid: Oid, schema: &str, name: &str, volatility: Volatility) -> Function {
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Function { oid, schema, name, volatility, is_attribute: false }
}

fn relation(oid: Oid, name: &str, kind: RelationKind) -> Relation {
    Relation { oid, schema: "public".to_owned(), name: name.to_owned(), kind, unlogged: false }
}

fn behind(relation: Oid, relations: &[Oid], functions: &[Oid]) -> Behind {
    let (relations, functions) = (relations.to_vec(), functions.to_vec());
    Behind { relation, relations, functions, ..Behind::default() }
}

fn judged(loaded: Loaded, overrides: &Overrides, text: &str) -> Option<(Reason, String)> {
    match Catalog::new(loaded, overrides).judge(&facts(text.as_bytes())) {
        Judgement::Harmless => None,
        Judgement::Doubtful(reason, about) => Some((reason, about.to_string())),
        Judgement::NotLoaded => panic!("it is loaded"),
    }
}

#[test]
fn empty_catalog_knows_nothing() {
    let judged = |text| judged(Loaded::default(), &Overrides::default(), text);
    assert_eq!(judged("SELECT 1"), None);
    assert_eq!(judged("SELECT count(*)"), None);
    assert_eq!(judged("SELECT f(1)"), Some((Reason::UnknownFunction, "f".to_owned())));
    assert_eq!(judged("SELECT * FROM a.t"), Some((Reason::UnknownRelation, "a.t".to_owned())));
}

#[test]
fn strictest_of_all_schemas_and_overloads_counts() {
    let loaded = || Loaded {
        functions: vec![
            function(1, "a", "f", Volatility::Stable),
            function(2, "a", "f", Volatility::Immutable),
            function(3, "b", "f", Volatility::Volatile),
        ],
        ..Loaded::default()
    };
    let judged = |text, overrides: &Overrides| judged(loaded(), overrides, text);
    let volatile = Some((Reason::VolatileFunction, "b.f".to_owned()));
    let none = Overrides::default();
    assert_eq!(judged("SELECT f(1)", &none), volatile);
    assert_eq!(judged("SELECT a.f(1)", &none), None);
    assert_eq!(judged("SELECT b.f(1)", &none), volatile);

    let trusted = Overrides { read_only: vec!["b.f".to_owned()], ..Overrides::default() };
    assert_eq!(judged("SELECT f(1)", &trusted), None);
    let primary = Overrides { primary: vec!["f".to_owned()], ..trusted };
    let expected = Some((Reason::PrimaryFunction, "a.f".to_owned()));
    assert_eq!(judged("SELECT a.f(1)", &primary), expected);
}

#[test]
fn doubt_reaches_whatever_it_is_behind_and_nothing_else() {
    let loaded = || Loaded {
        functions: vec![function(1, "public", "f", Volatility::Volatile)],
        relations: vec![
            relation(10, "t", RelationKind::Table),
            relation(11, "v", RelationKind::View),
            relation(12, "w", RelationKind::View),
            relation(13, "x", RelationKind::View),
            relation(14, "y", RelationKind::View),
        ],
        // v calls f, w reads v, and w and x each other; y only reads t.
        behind: vec![
            behind(11, &[10], &[1]),
            behind(12, &[11, 13], &[]),
            behind(13, &[12], &[]),
            behind(14, &[10], &[]),
        ],
        ..Loaded::default()
    };
    let judged = |text: &str| judged(loaded(), &Overrides::default(), text);
    for name in ["v", "w", "x"] {
        let (reason, about) = judged(&format!("SELECT * FROM {name}")).unwrap();
        assert_eq!(reason, Reason::View);
        assert!(about.ends_with("public.v: public.f"), "{about}");
    }
    assert_eq!(judged("SELECT * FROM t, y"), None);
}

#[test]
fn what_is_behind_and_was_not_loaded_is_doubtful() {
    let relations =
        vec![relation(10, "v", RelationKind::View), relation(11, "w", RelationKind::View)];
    let behind = vec![behind(10, &[99], &[]), behind(11, &[], &[98])];
    let loaded =
        || Loaded { relations: relations.clone(), behind: behind.clone(), ..Loaded::default() };
    for name in ["v", "w"] {
        let found = judged(loaded(), &Overrides::default(), &format!("TABLE {name}"));
        assert_eq!(found.unwrap().0, Reason::View, "{name}");
    }
}

#[test]
fn implicit_cast_that_writes_makes_everything_doubtful() {
    let loaded = Loaded {
        functions: vec![function(1, "public", "f", Volatility::Volatile)],
        hidden: vec![Hidden { by: By::ImplicitCast, name: "t".to_owned(), function: 1 }],
        ..Loaded::default()
    };
    assert_eq!(judged(loaded, &Overrides::default(), "SELECT 1").unwrap().0, Reason::VolatileType);
}

#[test]
fn table_that_the_owner_keeps_to_the_primary_is_found_behind_views() {
    let loaded = || Loaded {
        relations: vec![
            relation(10, "t", RelationKind::Table),
            relation(11, "v", RelationKind::View),
            relation(12, "u", RelationKind::Table),
        ],
        behind: vec![behind(11, &[10], &[])],
        ..Loaded::default()
    };
    for listed in ["t", "public.t"] {
        let overrides =
            Overrides { primary_tables: vec![listed.to_owned()], ..Overrides::default() };
        let reason = |text| judged(loaded(), &overrides, text).map(|(reason, _)| reason);
        assert_eq!(reason("TABLE t"), Some(Reason::PrimaryTable), "{listed}");
        assert_eq!(reason("TABLE v"), Some(Reason::PrimaryTable), "{listed}");
        assert_eq!(reason("TABLE u"), None, "{listed}");
    }
}
