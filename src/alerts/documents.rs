//! The conditions as documents: the table in `docs/alerts.md`, and rules for Prometheus.

use super::Severity;
use super::condition::{CONDITIONS, Condition, Sense, Unit};
use crate::config::{Alerts, show_duration};

/// The table of `docs/alerts.md`.
pub fn markdown() -> String {
    let defaults = Alerts::default();
    let mut table = String::from(
        "| alert | of each | what is read | warning | critical | for | keys |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for condition in CONDITIONS {
        let Condition { name, of, help, unit, sense, keys, .. } = condition;
        let level = |severity| match condition.threshold(&defaults, severity) {
            None => "–".to_owned(),
            Some(_) if *unit == Unit::Flag => "yes".to_owned(),
            Some(threshold) => {
                let sign = if *sense == Sense::AtLeast { "≥" } else { "≤" };
                format!("{sign} {}", unit.show(threshold))
            }
        };
        let (warning, critical) = (level(Severity::Warning), level(Severity::Critical));
        let lasts = show_duration((condition.lasts)(&defaults));
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let keys = keys.join(", ");
        table +=
            &format!("| `{name}` | {of} | {help} | {warning} | {critical} | {lasts} | {keys} |\n");
    }
    table
}

/// `docker/prometheus/rules.yml`.
pub fn rules() -> String {
    let defaults = Alerts::default();
    let mut text = String::from(RULES_HEAD);
    for condition in CONDITIONS {
        for severity in Severity::ALL {
            let Some(threshold) = condition.threshold(&defaults, severity) else { continue };
            let expression =
                (condition.expression)(&defaults).replace("{}", &threshold.to_string());
            let lasts = (condition.lasts)(&defaults).as_secs();
            let (name, help, severity) = (condition.name, condition.help, severity.name());
            text += &format!(
                "      - alert: pgweir_{name}\n        expr: '{expression}'\n        \
                 for: {lasts}s\n        labels:\n          severity: {severity}\n        \
                 annotations:\n          summary: '{of}: {help}'\n          \
                 value: '{{{{ $value }}}}'\n",
                of = quoted(condition.of),
                help = quoted(help),
            );
        }
    }
    text
}

/// What may stand between single quotes in YAML.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

const RULES_HEAD: &str = "\
# The alerts that pgweir raises itself, with the same thresholds, as rules for Prometheus: for
# those who would rather keep them there. Beside `webhook_url` they say everything twice.
# Made from src/alerts/condition.rs.
groups:
  - name: pgweir
    rules:
      - alert: pgweir_down
        expr: 'up{job=\"pgweir\"} == 0'
        for: 60s
        labels:
          severity: critical
        annotations:
          summary: 'process: Prometheus does not reach it'
          value: '{{ $value }}'
";
