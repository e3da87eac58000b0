//! What makes the parser's tree deeper is counted before it is parsed.

use sqlparser::keywords::ALL_KEYWORDS;

use super::Shop;
use crate::sql::facts::{Does, Opaque, facts};
use crate::sql::keys::statement::parser;
use crate::sql::keys::{Construct, Plan, Refusal, plan};
use crate::sql::looked_up;

/// Each begins, goes on as often as one likes, and ends; `{k}` is a word.
const FORMS: [(&str, &str, &str); 28] = [
    ("SELECT 1", " {k} 1", ""),
    ("SELECT 1", " NOT {k} 1", ""),
    ("SELECT 1", " {k}", ""),
    ("SELECT 1", " {k} (1)", ""),
    ("SELECT 1", " {k} OF (1)", ""),
    ("SELECT 1", " {k} (+) 1", ""),
    ("SELECT 1", " {k}(+)1", ""),
    ("SELECT 1", " {k} SELECT 1", ""),
    ("SELECT 1, 1", " {k} SELECT 1, 1", ""),
    ("SELECT 1, 1", " {k} ALL (SELECT 1, 1)", ""),
    ("SELECT 1 FROM users", " {k} (a FOR b IN (c))", ""),
    ("SELECT 1 FROM users", " {k} (a(b) FOR c IN (d))", ""),
    ("SELECT 1 FROM users", " {k} users", ""),
    ("SELECT 1 FROM users", " {k} JOIN users ON true", ""),
    ("SELECT a::int", " {k}", ""),
    ("SELECT a::int", "[]", ""),
    ("SELECT a", "[1]", ""),
    ("SELECT ", "{k} ", "1"),
    ("SELECT ", "{k}(", "1"),
    ("", "{k} ", "SELECT 1"),
    ("SELECT a::", "{k} ", "int"),
    ("SELECT a::", "{k}(", "int"),
    ("SELECT 1 FROM ", "{k} ", "users"),
    ("SELECT 1 FROM ", "{k} (", "users"),
    ("SELECT 1 FROM users", " {k} users USING (id)", ""),
    ("SELECT 1", "::int", ""),
    ("SELECT 1", " ->> 'a'", ""),
    ("SELECT 1", " !", ""),
];

fn text(form: (&str, &str, &str), word: &str, times: usize) -> String {
    let (start, more, end) = form;
    format!("{start}{}{end}", more.replace("{k}", word).repeat(times))
}

/// How deep the tree of a text is, if it has one.
fn depth(text: &str) -> Option<usize> {
    let tree = parser(text)?.parse_statements().ok()?;
    let (mut depth, mut max) = (0_usize, 0);
    for byte in format!("{tree:?}").bytes() {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        max = max.max(depth);
    }
    Some(max)
}

/// Before their trees are made, texts are refused whose trees would be deeper than a stack.
#[test]
fn whatever_makes_trees_deeper_is_counted() {
    // What is not counted is told, and overflows nothing.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(check).unwrap();
    thread.join().unwrap();
}

fn check() {
    let (mut deepen, mut uncounted) = (0, Vec::new());
    for form in FORMS {
        for word in if form.1.contains("{k}") { ALL_KEYWORDS } else { &[""] } {
            if depth(&text(form, word, 3)).is_none() {
                continue;
            }
            let depth = |times| depth(&text(form, word, times)).unwrap_or_default();
            if depth(200) < depth(100) + 100 {
                continue;
            }
            deepen += 1;
            let text = text(form, word, 1_000);
            let does = facts(text.as_bytes()).does;
            let size = Refusal::of(Construct::Size);
            if plan(text.as_bytes(), &Shop) != Plan::Refused(size)
                || looked_up(text.as_bytes()).is_some()
                || matches!(does, Does::Reads | Does::Opaque(Opaque::Grammar))
            {
                uncounted.push(text.get(..40).unwrap().to_owned());
            }
        }
    }
    assert!(deepen > 30, "{deepen}");
    assert!(uncounted.is_empty(), "{uncounted:#?}");
}

/// What is not refused has a tree that fits into a small stack.
#[test]
fn longest_chains_fit_into_a_small_stack() {
    let look = || {
        for form in FORMS {
            for word in ["AND", "UNION", "XOR", "JOIN", "MEMBER", "UNPIVOT", "CASE", "NOT"] {
                for times in [74, 299, 399, 10_000] {
                    let text = text(form, word, times);
                    plan(text.as_bytes(), &Shop);
                    looked_up(text.as_bytes());
                    facts(text.as_bytes());
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(look).unwrap();
    thread.join().unwrap();
}
