//! `docs/errors.md` says of every condition of ours what the code says, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking and is read by nobody else"
)]

use pgweir::client::condition::{ALL, Condition};
use pgweir::wire::reply::Severity;

/// Severity, SQLSTATE and message of each row.
fn rows(document: &str) -> Vec<[String; 3]> {
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let rows = document.lines().filter(|line| line.starts_with("| ")).map(cells);
    rows.filter(|cells| cells[1] != "severity")
        .map(|cells| {
            assert_eq!(cells.len(), 7, "{cells:?}");
            [cells[1].clone(), cells[2].clone(), cells[3].clone()]
        })
        .collect()
}

fn row(condition: &Condition) -> [String; 3] {
    let severity = match condition.severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
        Severity::Notice => "NOTICE",
    };
    [severity.into(), condition.sqlstate.into(), condition.message.replace("{}", "…")]
}

#[test]
fn every_condition_has_its_row_and_every_row_its_condition() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    let mut documented = rows(&std::fs::read_to_string(path).unwrap());
    let mut coded: Vec<_> = ALL.iter().map(row).collect();
    documented.sort();
    coded.sort();
    let missing: Vec<_> = coded.iter().filter(|row| !documented.contains(row)).collect();
    let surplus: Vec<_> = documented.iter().filter(|row| !coded.contains(row)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}, surplus {surplus:#?}");
    assert_eq!(documented, coded, "a row stands there twice");
}

#[test]
fn conditions_are_well_formed() {
    for condition in ALL {
        let Condition { sqlstate, message, hint, .. } = condition;
        assert!(sqlstate.len() == 5, "{sqlstate}");
        assert!(sqlstate.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()));
        assert!(!message.is_empty() && !message.contains('|'), "{message}");
        assert!(hint.is_empty() || hint.ends_with('.'), "{hint}");
    }
}
