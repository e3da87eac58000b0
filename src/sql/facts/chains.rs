//! Words by which the parser's tree gets deeper without brackets.

use crate::sql::scan::Token;

/// How much a word may make a tree deeper.
pub(in crate::sql) fn by_word(word: Token<'_>) -> usize {
    match word.is("join") {
        // One behind another may stand in it, and the parser takes much of the stack for that.
        true => 4,
        false => usize::from(CHAINS.iter().any(|chains| word.is(chains))),
    }
}

/// Words that work as operators do; for the parser at least, which knows more of them than Postgres.
const CHAINS: [&str; 29] = [
    "and",
    "or",
    "not",
    "is",
    "in",
    "like",
    "ilike",
    "similar",
    "between",
    "collate",
    "at",
    "union",
    "except",
    "intersect",
    "isnull",
    "notnull",
    "overlaps",
    "case",
    "div",
    "glob",
    "match",
    "member",
    "minus",
    "operator",
    "pivot",
    "regexp",
    "rlike",
    "unpivot",
    "xor",
];
