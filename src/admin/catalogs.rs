//! What is known of texts, and of the names in databases with several hosts, as the console and the
//! metrics tell of it.

use tokio::time::Instant;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::{number, text};
use crate::catalog::{Figures, Kept};
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static CATALOGS: &[Column] = &[
    ("database", Text),
    ("state", Text),
    ("number", Integer),
    ("age_seconds", Text),
    ("host", Text),
    ("functions", Integer),
    ("relations", Integer),
    ("loads", Integer),
    ("checks", Integer),
    ("failures", Integer),
    ("error", Text),
];

pub(super) fn catalogs(registry: &dyn Registry) -> Vec<Row> {
    let now = Instant::now();
    let row = |figures: Figures| {
        let count = |count: u64| number(usize::try_from(count).unwrap_or(usize::MAX));
        let age = figures.read.as_ref().map(|(as_of, _)| now.saturating_duration_since(*as_of));
        let (functions, relations) = figures.size.unzip();
        vec![
            text(figures.database),
            text(if figures.in_force { "known" } else { "unknown" }),
            figures.number.map_or(Value::Null, count),
            age.map_or(Value::Null, |age| text(format!("{:.3}", age.as_secs_f64()))),
            figures.read.map_or(Value::Null, |(_, at)| text(at)),
            functions.map_or(Value::Null, number),
            relations.map_or(Value::Null, number),
            count(figures.loads),
            count(figures.checks),
            count(figures.failures),
            text(figures.error.unwrap_or_default()),
        ]
    };
    registry.catalogs().into_iter().map(row).collect()
}

pub(super) static FACTS: &[Column] = &[
    ("texts", Integer),
    ("bytes", Text),
    ("bytes_max", Text),
    ("hits", Text),
    ("misses", Text),
    ("evictions", Text),
];

pub(super) fn facts(registry: &dyn Registry) -> Vec<Row> {
    let Kept { texts, bytes, bytes_max, hits, misses, evictions } = registry.readings();
    let size = |bytes: usize| text(bytes.to_string());
    let count = |count: u64| text(count.to_string());
    vec![vec![
        number(texts),
        size(bytes),
        size(bytes_max),
        count(hits),
        count(misses),
        count(evictions),
    ]]
}

fn metrics_of_facts(page: &mut Page, registry: &dyn Registry) {
    let Kept { texts, bytes, bytes_max: _, hits, misses, evictions } = registry.readings();
    page.gauge("pgweir_facts_texts", "Texts of which it is kept what they do.", texts);
    page.gauge("pgweir_facts_bytes", "Bytes that this takes.", bytes);
    for (name, help, count) in [
        ("pgweir_facts_hits_total", "How often a text was among them.", hits),
        ("pgweir_facts_misses_total", "How often it was not.", misses),
        ("pgweir_facts_evictions_total", "How many were forgotten to make room.", evictions),
    ] {
        page.head_of("counter", name, help);
        page.sample(name, &[], count);
    }
}

/// One sample per database, where it has the figure.
type Sample = (&'static str, &'static str, fn(&Figures, Instant) -> Option<f64>);

static GAUGES: &[Sample] = &[
    (
        "pgweir_catalog_known",
        "Whether it is known what names in the database stand for.",
        |figures, _| Some(f64::from(u8::from(figures.in_force))),
    ),
    ("pgweir_catalog_age_seconds", "How long ago that was so.", |figures, now| {
        let (as_of, _) = figures.read.as_ref()?;
        Some(now.saturating_duration_since(*as_of).as_secs_f64())
    }),
];

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
static COUNTERS: &[Sample] = &[
    ("pgweir_catalog_loads_total", "How often the catalog was loaded.", |figures, _| {
        Some(figures.loads as f64)
    }),
    (
        "pgweir_catalog_checks_total",
        "How often it was looked at and found to be as before.",
        |figures, _| Some(figures.checks as f64),
    ),
    ("pgweir_catalog_failures_total", "How often it could not be looked at.", |figures, _| {
        Some(figures.failures as f64)
    }),
];

/// Adds what there is to tell of texts and catalogs.
pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    metrics_of_facts(page, registry);
    let (catalogs, now) = (registry.catalogs(), Instant::now());
    for (samples, kind) in [(GAUGES, "gauge"), (COUNTERS, "counter")] {
        for (name, help, value) in samples {
            page.head_of(kind, name, help);
            for figures in &catalogs {
                if let Some(value) = value(figures, now) {
                    page.sample(name, &[("database", &*figures.database)], value);
                }
            }
        }
    }
}
