//! Texts that would take minutes if work grew with the square of their length.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// What a Query holds at most that is looked at (`max_statement_size`).
const TEXT: usize = 1 << 20;
/// None takes a second, unless each byte is looked at as often as there are bytes.
const LIMIT: Duration = Duration::from_secs(10);

fn within_limit(text: String) -> Effects {
    assert!(text.len() <= TEXT, "{}", text.len());
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(effects(text.as_bytes())));
    finished.recv_timeout(LIMIT).unwrap()
}

fn numbered(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).collect()
}

#[test]
fn calls_that_nest_are_walked_through_once() {
    for piece in ["set_config(", "set_config('a',", "set_config(;", "set_config(;;"] {
        let text = format!("SELECT {}", piece.repeat((TEXT - 7) / piece.len()));
        let found = within_limit(text);
        assert!(found.leaves.has_any(Leaves::ANY_SETTINGS | Leaves::SETTINGS), "{piece}");
    }
}

#[test]
fn settings_are_reset_in_any_number() {
    let reset = within_limit(numbered(80_000, |n| format!("RESET a{n:05};")));
    assert!(reset.resets.has(b"a00000") && reset.resets.has(b"a79999"));
    let set = within_limit(numbered(40_000, |n| format!("RESET b{n:05};SET b{n:05}=1;")));
    assert!(set.resets.is_empty());
}

#[test]
fn statements_are_prepared_and_named_in_any_number() {
    let prepared = within_limit("PREPARE a AS TABLE b;".repeat(TEXT / 21));
    assert_eq!(prepared.leaves, Leaves::PREPARED);
    let named = |names: &BTreeSet<Box<[u8]>>| names.len();
    let mentions = |text| within_limit(text).mentions.unwrap();
    assert_eq!(
        named(&mentions(numbered(69_000, |n| format!("EXECUTE a{n:05};"))).executed),
        69_000
    );
    assert_eq!(named(&mentions("EXECUTE a;".repeat(TEXT / 10)).executed), 1);
}

#[test]
fn a_setting_is_no_less_known_for_what_is_nested_in_its_call() {
    let any = Leaves::CODE | Leaves::ANY_SETTINGS | Leaves::SEED;
    for (text, leaves) in [
        ("select set_config('a.b', set_config('c.d', 'x', true), true)", any),
        ("select set_config('a.b', set_config('c.d', 'x', false), true)", any),
        ("select set_config('a.b', 'x', false), set_config('c.d', 'x', true)", Leaves::SETTINGS),
        (
            "select set_config('a.b', lower('x'), true), set_config('c.d', 'x', true)",
            Leaves::NOTHING,
        ),
        ("select set_config(concat('a.b', true), 'x', false)", any),
        ("select set_config('a.b', 'x', true and false)", Leaves::SETTINGS),
    ] {
        assert_eq!(effects(text.as_bytes()).leaves, leaves, "{text}");
    }
}
