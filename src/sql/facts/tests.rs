//! Texts and what they do. What needs a catalog is tested against servers, by the corpus.

use super::*;

fn does(text: &str) -> Does {
    facts(text.as_bytes()).does
}

fn writes(by: &str) -> Does {
    Does::Writes(by.into())
}

fn locks(by: &str) -> Does {
    Does::Locks(by.into())
}

fn session(by: &str) -> Does {
    Does::Session(by.into())
}

#[test]
fn writes_are_found_at_any_depth() {
    for (text, expected) in [
        ("INSERT INTO t VALUES (1)", writes("INSERT")),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a", writes("INSERT")),
        ("WITH a AS (WITH b AS (DELETE FROM t RETURNING 1) SELECT 1) SELECT 1", writes("DELETE")),
        ("WITH a AS (SELECT 1) UPDATE t SET x = 1", writes("UPDATE")),
        ("SELECT * INTO n FROM t", writes("SELECT INTO")),
        ("EXPLAIN ANALYZE DELETE FROM t", writes("DELETE")),
        ("EXPLAIN (ANALYZE, COSTS off) WITH a AS (DELETE FROM t) SELECT 1", writes("DELETE")),
        ("COPY (WITH a AS (DELETE FROM t) SELECT 1) TO STDOUT", writes("DELETE")),
        ("COPY t FROM STDIN", writes("COPY")),
        ("COPY t TO '/tmp/x'", writes("COPY")),
        ("SELECT (SELECT nextval('s'))", writes("nextval")),
        ("SELECT pg_catalog.setval('s', 1)", writes("setval")),
        ("SELECT \"pg_notify\"('a', 'b')", writes("pg_notify")),
        ("SELECT 1; DROP TABLE t; SELECT 2", writes("DROP")),
        ("PREPARE TRANSACTION 'x'", writes("PREPARE TRANSACTION")),
        ("SELECT * FROM t FOR UPDATE", locks("FOR UPDATE")),
        ("SELECT * FROM (SELECT * FROM t FOR NO KEY UPDATE) s", locks("FOR NO KEY UPDATE")),
        ("SELECT 1 WHERE EXISTS (SELECT FROM t FOR SHARE OF t NOWAIT)", locks("FOR SHARE")),
        ("(SELECT * FROM t) FOR KEY SHARE", locks("FOR KEY SHARE")),
        ("SELECT pg_try_advisory_xact_lock(1)", locks("pg_try_advisory_xact_lock")),
        ("LOCK TABLE t", locks("LOCK")),
    ] {
        assert_eq!(does(text), expected, "{text}");
    }
}

#[test]
fn words_of_writes_may_stand_where_they_write_nothing() {
    for text in [
        "SELECT 'insert into t', \"delete\" FROM t -- update",
        "SELECT t.update, t.merge FROM t",
        "SELECT $$ for update $$ /* delete */",
        "SELECT substring(x FROM 1 FOR 2) FROM t",
    ] {
        assert_eq!(does(text), Does::Reads, "{text}");
    }
}

#[test]
fn commands_about_the_session_and_transactions_are_told_apart() {
    let begins = |access, isolation| Does::Begins(Modes { access, isolation });
    let default = Isolation::Default;
    for (text, expected) in [
        ("", Does::Nothing),
        (" ;; -- x\n", Does::Nothing),
        ("COMMIT", Does::Nothing),
        ("SET x = 1", session("SET")),
        ("SELECT 1; SHOW x", session("SHOW")),
        ("SELECT currval('s')", session("currval")),
        ("EXPLAIN EXECUTE p", session("EXECUTE")),
        ("BEGIN", begins(Access::Default, default)),
        (
            "begin transaction read only, isolation level repeatable read",
            begins(Access::ReadOnly, Isolation::RepeatableRead),
        ),
        (
            "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
            begins(Access::Default, Isolation::ReadCommitted),
        ),
        ("START TRANSACTION READ WRITE", begins(Access::ReadWrite, default)),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", begins(Access::ReadOnly, default)),
        ("BEGIN READ ONLY; COMMIT; BEGIN", begins(Access::Default, default)),
        ("BEGIN READ ONLY READ WRITE", begins(Access::ReadWrite, default)),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            begins(Access::ReadOnly, Isolation::Serializable),
        ),
        ("SET TRANSACTION READ ONLY", begins(Access::ReadOnly, default)),
        ("SET TRANSACTION READ WRITE", session("SET")),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", session("SET")),
        ("SELECT 1; wibble", Does::Opaque(Opaque::Grammar)),
    ] {
        assert_eq!(does(text), expected, "{text}");
    }
}

#[test]
fn what_is_named_is_listed_with_its_schema() {
    let text = "WITH c AS (SELECT * FROM a.b) SELECT f(x), s.g(1), \"H\"(2) FROM c, LATERAL k(3) AS k(n) \
                JOIN \"Quoted\" ON true WHERE x <+> 1 UNION TABLE tt";
    let facts = facts(text.as_bytes());
    let listed = |names: Vec<String>| names.join(" ");
    let called = facts.calls.iter().filter(|(_, certainty)| **certainty == Certainty::Called);
    assert_eq!(listed(called.map(|(name, _)| name.to_string()).collect()), "H f s.g");
    assert!(facts.calls.contains_key(&Name::plain("k")));
    assert_eq!(listed(facts.relations.iter().map(Name::to_string).collect()), "Quoted tt a.b");
    assert_eq!(facts.operators.iter().map(|name| &**name).collect::<Vec<_>>(), ["*", "<+>"]);
    assert_eq!(facts.does, Does::Reads);
}

#[test]
fn expression_hides_a_relation_of_its_name_only_where_it_is_seen() {
    let relations = |text: &str| {
        let names = facts(text.as_bytes()).relations;
        names.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(relations("WITH a AS (SELECT 1) SELECT * FROM a"), "");
    assert_eq!(relations("WITH a AS (SELECT * FROM a) SELECT * FROM a"), "a");
    assert_eq!(relations("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) TABLE a"), "");
    assert_eq!(relations("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b"), "b");
    assert_eq!(relations("SELECT (WITH a AS (SELECT 1) SELECT 2 FROM a) FROM a"), "a");
    assert_eq!(relations("WITH a AS (SELECT 1) SELECT * FROM public.a"), "public.a");
}

#[test]
fn hints_are_comments_of_their_own() {
    for (text, expected) in [
        ("/* pgweir: primary */ SELECT 1", Some(Hint::Primary)),
        ("SELECT 1 /*pgweir:replica*/", Some(Hint::Replica)),
        ("/* pgweir: replica */ SELECT 1 /* pgweir: primary */", Some(Hint::Primary)),
        ("SELECT '/* pgweir: primary */'", None),
        ("-- pgweir: primary\nSELECT 1", None),
        ("/* pgweir: somewhere */ SELECT 1", None),
        ("/* not pgweir: primary */ SELECT 1", None),
    ] {
        assert_eq!(facts(text.as_bytes()).hint, expected, "{text}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_opaque() {
    for text in [
        "SELECT 'a\\' FROM t --'",
        "SELECT U&'\\0061'",
        "SELECT 1for",
        "SELECT * FROM t LIMIT 1for share",
        "SELECT $1for share",
        "SELECT 'open",
    ] {
        assert_eq!(does(text), Does::Opaque(Opaque::Text), "{text}");
    }
    assert_eq!(facts(b"SELECT '\xff'").does, Does::Opaque(Opaque::Text));
}

/// Whatever is nested in whatever way: it is read or opaque, within a small stack.
#[test]
fn deep_and_long_texts_neither_overflow_nor_take_long() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("SELECT {}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let look = move || {
        for times in [10, 20, 24, 50, 100, 399, 400, 1_000, 10_000] {
            for text in [
                nested("(", "1", ")", times),
                nested("(SELECT ", "1", ")", times),
                nested("", "1", "+1", times),
                nested("", "1", " AND 1", times),
                nested("NOT ", "true", "", times),
                nested("- ", "1", "", times),
                nested("CASE WHEN true THEN ", "1", " END", times),
                nested("f(", "1", ")", times),
                nested("ARRAY[", "1", "]", times),
                nested("", "a", "[1]", times),
                nested("", "a", "::int", times),
                nested("", "1", " UNION SELECT 1", times),
                nested("", "1 FROM a", " JOIN b ON true", times),
                nested("* FROM (", "a", ")", times),
                nested("* FROM (a CROSS JOIN ", "b", ")", times),
                nested("* FROM (SELECT * FROM ", "a", ") s", times),
                nested("", "1", " IN (1)", times),
                nested("", "1", ", 1", times),
                nested("1 WHERE EXISTS (SELECT ", "", ")", times),
                format!("{} SELECT 1", "WITH a AS (".repeat(times)),
                format!("WITH {} b AS (SELECT 1) SELECT 1", "a AS (SELECT 1),".repeat(times)),
                format!("SELECT a{}", ".a".repeat(times)),
                "EXPLAIN ".repeat(times),
            ] {
                let _looked = facts(text.as_bytes());
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(look).unwrap();
    thread.join().unwrap();
}

/// What the parser does not read is put in plainer words, and names stay what they are.
#[test]
fn forms_that_the_parser_does_not_know_show_their_names() {
    let tree = "WITH RECURSIVE r(n) AS (SELECT x FROM a UNION ALL SELECT n + 1 FROM r)";
    for (text, relations, calls) in [
        ("SELECT * FROM ROWS FROM (f(1), g(2)) AS r(x, y), a, b", "a b", "f g"),
        (
            "SELECT * FROM a LEFT JOIN ROWS FROM (f((SELECT max(x) FROM b))) r ON true",
            "a b",
            "f max",
        ),
        ("SELECT * FROM f(1) AS (x int, y numeric(5, 2)), a", "a", "f"),
        ("WITH w(x) AS (SELECT f(x) FROM a) SELECT * FROM w", "a", "f"),
        ("SELECT f(x := 1, y := -2) FROM a", "a", "f"),
        ("SELECT 1 FROM a GROUP BY DISTINCT ROLLUP (x), CUBE (f(y))", "a", "f"),
        (
            "SELECT trim(LEADING FROM (SELECT x FROM a)), trim(both from f(y)) FROM b",
            "a b",
            "f trim",
        ),
        (
            "SELECT sum(x) OVER (ORDER BY y RANGE BETWEEN '1 day'::interval PRECEDING \
             AND '2'::interval FOLLOWING) FROM a",
            "a",
            "sum",
        ),
    ] {
        let facts = facts(text.as_bytes());
        assert_eq!(facts.does, Does::Reads, "{text}");
        let named: Vec<String> = facts.relations.iter().map(Name::to_string).collect();
        let called = facts.calls.iter().filter(|(_, certainty)| **certainty == Certainty::Called);
        let called: Vec<String> = called.map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            (named.join(" ").as_str(), called.join(" ").as_str()),
            (relations, calls),
            "{text}"
        );
    }
    for clauses in [
        "SEARCH DEPTH FIRST BY n SET o",
        "SEARCH BREADTH FIRST BY n, \"m\" SET o",
        "CYCLE n SET c USING p",
        "CYCLE n, m SET c TO true DEFAULT false USING p",
        "CYCLE n SET c TO 1 DEFAULT 'x' USING p",
        "SEARCH DEPTH FIRST BY n SET o CYCLE n SET c USING p",
    ] {
        let facts = facts(format!("{tree} {clauses}, s AS (SELECT * FROM b) TABLE r").as_bytes());
        let named: Vec<String> = facts.relations.iter().map(Name::to_string).collect();
        assert_eq!((facts.does, named.join(" ").as_str()), (Does::Reads, "a b"), "{clauses}");
    }
    // What only looks like one of them.
    for (text, relations) in [
        ("SELECT x, rows FROM (TABLE a) s", "a"),
        ("SELECT x, ROWS FROM (a CROSS JOIN b)", "a b"),
        ("SELECT rows FROM (SELECT * FROM a CROSS JOIN b) s", "a b"),
        ("SELECT search, cycle FROM (SELECT * FROM a) search, b cycle", "a b"),
        ("SELECT x AS cycle FROM cycle", "cycle"),
        ("SELECT * FROM (SELECT 1) AS leading_, a", "a"),
    ] {
        let facts = facts(text.as_bytes());
        let named: Vec<String> = facts.relations.iter().map(Name::to_string).collect();
        assert_eq!((facts.does, named.join(" ").as_str()), (Does::Reads, relations), "{text}");
    }
}

#[test]
fn what_is_about_its_transaction_is_told() {
    for (text, steady) in [
        ("SELECT 1", true),
        ("SELECT a FROM t WHERE knows = 'now'", true),
        ("COMMIT", true),
        ("SAVEPOINT a", false),
        ("SELECT 1; RELEASE a", false),
        ("SELECT now()", false),
        ("SELECT pg_catalog.now()", false),
        ("SELECT current_date - 1", false),
        ("SELECT age(a) FROM t", false),
        ("SELECT txid_current_if_assigned()", false),
        ("SELECT pg_current_snapshot()", false),
    ] {
        assert_eq!(facts(text.as_bytes()).is_steady(), steady, "{text}");
    }
}

/// One relation after another is not compared with all common table expressions.
#[test]
fn many_relations_and_expressions_take_no_longer_together_than_apart() {
    // The best of some, so that it does not matter what else the machine does.
    let takes = |ctes: usize, relations: usize| {
        let all: String = (0..ctes).map(|at| format!("a{at} AS (SELECT 1), ")).collect();
        let text =
            format!("WITH {all} b AS (SELECT 1) SELECT 1 FROM {} b", "x, ".repeat(relations));
        assert!(text.len() < TEXT_MAX);
        let take = |_| {
            let started = std::time::Instant::now();
            assert!(facts(text.as_bytes()).relations.len() <= 1);
            started.elapsed()
        };
        (0..3).map(take).min().unwrap()
    };
    let (together, apart) = (takes(7_000, 30_000), takes(7_000, 0) + takes(0, 30_000));
    assert!(together < apart * 3, "{together:?} {apart:?}");
}
