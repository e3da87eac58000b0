//! Words of the grammar, as far as they are no names.
//! <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>

use std::collections::HashSet;
use std::sync::LazyLock;

/// Whether nobody's function has this name without quotes.
pub(in crate::sql) fn is_reserved(word: &str) -> bool {
    KEYWORDS.reserved.contains(word)
}

/// Whether the word stands before a bracket for another reason than to be called, most likely.
pub(super) fn is_syntax(word: &str) -> bool {
    KEYWORDS.syntax.contains(word)
}

struct Keywords {
    reserved: HashSet<&'static str>,
    syntax: HashSet<&'static str>,
}

static KEYWORDS: LazyLock<Keywords> = LazyLock::new(|| {
    let text = include_str!("keywords.txt").trim_start_matches("= reserved");
    let (reserved, syntax) = text.split_once("= syntax").unwrap_or_default();
    let words = |text: &'static str| text.split_ascii_whitespace().collect();
    Keywords { reserved: words(reserved), syntax: words(syntax) }
});
