//! Statements that change rows on several shards, and those that define something on all of them.

use sqlparser::ast::Statement;

use super::source::Source;
use super::varying::{Freedom, is_alike};
use crate::sql::keys::{
    Construct, DEFINITIONS, Found, Numbered, Refusal, Tables, around, one_statement, piece,
    readable, statements,
};

/// Whether an UPDATE, DELETE, MERGE, or INSERT … SELECT means on each shard what it would mean where all
/// rows are. `copies`: it is about rows that every shard has a copy of, which have to stay alike.
///
/// # Errors
///
/// It may not.
pub fn changes(text: &[u8], tables: &dyn Tables, copies: bool) -> Found<()> {
    let text = readable(text)?;
    let tokens = one_statement(text)?;
    let is_change = ["insert", "update", "delete", "merge"].iter().any(|word| tokens.is(0, word));
    let parsed = is_change
        .then(|| piece(&tokens.text, |parser| parser.parse_statement().ok()))
        .flatten()
        .ok_or_else(|| Refusal::of(around(&tokens).unwrap_or(Construct::ChangeShape)))?;
    // Which of several rows a copy's new values come from is up to each server.
    if copies && matches!(&parsed, Statement::Update(update) if update.from.is_some()) {
        return Err(Refusal::of(Construct::Varying));
    }
    let freedom = if copies { Freedom::Copies } else { Freedom::Rows };
    let source = Source { text, tokens: &tokens };
    is_alike(source, &parsed, tables, freedom)
}

/// How definitions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defining {
    /// In a transaction, which can be undone.
    Together,
    /// By itself: Postgres does not run it in a transaction.
    Alone,
}

/// How a text of definitions is run, or of commands about tables as a whole.
///
/// # Errors
///
/// It is something else, or can't be run on all shards.
pub fn defining(text: &[u8]) -> Found<Defining> {
    let statements = statements(readable(text)?)?;
    let mut alone = false;
    for statement in &statements {
        let first = |words: &[&str]| words.iter().any(|word| statement.is(0, word));
        if !first(&DEFINITIONS) {
            return Err(Refusal::of(Construct::NoDefinition));
        }
        alone |= first(&["vacuum", "cluster", "reindex"])
            || has(statement, "concurrently")
            || ["database", "tablespace", "system"].iter().any(|word| statement.is(1, word));
    }
    match (alone, statements.len()) {
        (_, 0) => Err(Refusal::of(Construct::NoDefinition)),
        (false, _) => Ok(Defining::Together),
        (true, 1) => Ok(Defining::Alone),
        (true, _) => Err(Refusal::of(Construct::Several)),
    }
}

fn has(statement: &Numbered<'_>, word: &str) -> bool {
    (0..statement.tokens.len()).any(|at| statement.is(at, word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::fan::tests::Shop;

    fn changed(text: &str, copies: bool) -> Result<(), Construct> {
        changes(text.as_bytes(), &Shop, copies).map_err(|refusal| refusal.construct)
    }

    #[test]
    fn change_means_the_same_on_each_shard() {
        for text in [
            "UPDATE users SET name = upper(name), seen = now() WHERE age > 3 RETURNING *",
            "DELETE FROM orders USING users u WHERE u.id = user_id AND made < current_date",
            "UPDATE users SET token = gen_random_uuid(), luck = random(), at = clock_timestamp()",
            "INSERT INTO orders (user_id, note) SELECT id, name FROM users",
            "UPDATE users SET name = name COLLATE \"de-x-icu\"",
        ] {
            assert_eq!(changed(text, false), Ok(()), "{text}");
        }
        for text in [
            "DELETE FROM users WHERE luck = (SELECT random())",
            "UPDATE users SET n = nextval('numbers')",
            "UPDATE users SET n = pg_catalog.random()",
            "DELETE FROM users WHERE ctid = '(0,1)'",
            "UPDATE users SET n = own(n)",
            "UPDATE users SET by = current_user",
        ] {
            assert_eq!(changed(text, false), Err(Construct::Varying), "{text}");
        }
        for (text, construct) in [
            ("WITH x AS (SELECT 1) DELETE FROM users", Construct::ChangeShape),
            ("SELECT 1", Construct::ChangeShape),
            ("EXPLAIN DELETE FROM users", Construct::Explained),
            ("COPY (DELETE FROM users RETURNING id) TO STDOUT", Construct::CopyOut),
        ] {
            assert_eq!(changed(text, false), Err(construct), "{text}");
        }
        assert_eq!(changed("UPDATE countries SET name = 'x'", true), Ok(()));
        for text in ["'now'", "now()", "random()", "current_date", "(SELECT 1 LIMIT 1)"] {
            let text = format!("UPDATE countries SET name = {text}");
            assert_eq!(changed(&text, true), Err(Construct::Varying), "{text}");
        }
        let text = "UPDATE countries c SET name = d.name FROM countries d WHERE d.zone = c.zone";
        assert_eq!(changed(text, true), Err(Construct::Varying), "{text}");
        for (query, alike) in [
            ("country = (SELECT code FROM countries LIMIT 1)", false),
            ("country IN (SELECT DISTINCT ON (zone) code FROM countries)", false),
            ("country = (SELECT code FROM countries ORDER BY code LIMIT 1)", true),
            ("EXISTS (SELECT * FROM countries c WHERE c.code = country LIMIT 1)", true),
            ("age IN (SELECT g FROM generate_series(1, 10) g LIMIT 3)", true),
        ] {
            let text = format!("UPDATE users SET age = 1 WHERE {query}");
            assert_eq!(changed(&text, false).is_ok(), alike, "{text}");
        }
    }

    #[test]
    fn definitions_are_undone_where_postgres_can() {
        for (text, expected) in [
            ("CREATE INDEX i ON users (name)", Ok(Defining::Together)),
            ("ALTER TABLE users ADD a int; COMMENT ON TABLE users IS 'x';", Ok(Defining::Together)),
            ("create index concurrently i on users (name)", Ok(Defining::Alone)),
            ("VACUUM users", Ok(Defining::Alone)),
            ("DROP DATABASE shop", Ok(Defining::Alone)),
            ("VACUUM users; VACUUM orders", Err(Construct::Several)),
            ("ALTER TABLE users ADD a int; SELECT 1", Err(Construct::NoDefinition)),
            ("LOCK TABLE users", Err(Construct::NoDefinition)),
            ("", Err(Construct::NoDefinition)),
        ] {
            let found = defining(text.as_bytes()).map_err(|refusal| refusal.construct);
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(Construct::CHANGES, [Construct::ChangeShape, Construct::NoDefinition]);
    }
}
