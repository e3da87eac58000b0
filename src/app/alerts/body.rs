//! Alerts as JSON: Alertmanager's form, and ours.

use crate::alerts::Notice;
use crate::app::json::string;
use crate::calendar::rfc3339;

/// What Alertmanager takes at `/api/v2/alerts`. What is raised has no end: it is told again.
/// <https://prometheus.io/docs/alerting/latest/alerts_api/>
pub(super) fn alertmanager(notices: &[Notice], instance: &str) -> String {
    let alerts = notices.iter().map(|notice| {
        let Notice { key, since, resolved, value, .. } = notice;
        let ends = resolved.map(|at| format!(",\"endsAt\":{}", string(&rfc3339(at))));
        format!(
            "{{\"labels\":{{\"alertname\":{},\"about\":{},\"severity\":{},\"service\":\"pgweir\",\
             \"instance\":{}}},\"annotations\":{{\"summary\":{},\"value\":\"{value}\"}},\
             \"startsAt\":{}{}}}",
            string(&format!("pgweir_{}", key.name)),
            string(&key.about),
            string(key.severity.name()),
            string(instance),
            string(&notice.summary()),
            string(&rfc3339(*since)),
            ends.unwrap_or_default(),
        )
    });
    format!("[{}]", alerts.collect::<Vec<_>>().join(","))
}

/// Ours for a webhook: `{"alerts": […]}`.
pub(super) fn plain(notices: &[Notice], instance: &str) -> String {
    let alerts = notices.iter().map(|notice| one(notice, instance));
    format!("{{\"alerts\":[{}]}}", alerts.collect::<Vec<_>>().join(","))
}

/// One alert, as a command gets it.
pub(super) fn one(notice: &Notice, instance: &str) -> String {
    let Notice { key, since, resolved, value, threshold, unit, detail, .. } = notice;
    let state = if resolved.is_some() { "resolved" } else { "raised" };
    let resolved = resolved.map_or_else(|| "null".to_owned(), |at| string(&rfc3339(at)));
    format!(
        "{{\"alert\":{},\"about\":{},\"severity\":{},\"state\":\"{state}\",\"since\":{},\
         \"resolved\":{resolved},\"value\":{value},\"threshold\":{threshold},\"unit\":{},\
         \"detail\":{},\"summary\":{},\"instance\":{}}}",
        string(key.name),
        string(&key.about),
        string(key.severity.name()),
        string(&rfc3339(*since)),
        string(unit.name()),
        string(detail),
        string(&notice.summary()),
        string(instance),
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::alerts::{Key, Severity, Unit};

    fn notice() -> Notice {
        let about = "shop/\"db2\":5432".to_owned();
        Notice {
            key: Key { name: "replica_lag", about, severity: Severity::Warning },
            since: UNIX_EPOCH,
            resolved: None,
            value: 12.5,
            threshold: 10.0,
            unit: Unit::Seconds,
            detail: String::new(),
            silenced: false,
        }
    }

    #[test]
    fn alertmanager_gets_labels_and_moments() {
        let summary = r#"replica_lag of shop/\"db2\":5432: 12.5 s (threshold 10 s)"#;
        let raised = format!(
            r#"{{"labels":{{"alertname":"pgweir_replica_lag","about":"shop/\"db2\":5432","severity":"warning","service":"pgweir","instance":"here"}},"annotations":{{"summary":"{summary}","value":"12.5"}},"startsAt":"1970-01-01T00:00:00.000Z""#
        );
        assert_eq!(alertmanager(&[notice()], "here"), format!("[{raised}}}]"));
        let resolved = Notice { resolved: Some(UNIX_EPOCH + Duration::from_secs(1)), ..notice() };
        let ended = format!(r#"[{raised},"endsAt":"1970-01-01T00:00:01.000Z"}}]"#);
        assert_eq!(alertmanager(&[resolved], "here"), ended);
        assert_eq!(alertmanager(&[], "here"), "[]");
    }

    #[test]
    fn ours_has_everything() {
        let resolved = Notice { resolved: Some(UNIX_EPOCH + Duration::from_secs(1)), ..notice() };
        let summary = r#"replica_lag of shop/\"db2\":5432: 12.5 s (threshold 10 s)"#;
        let expected = format!(
            r#"{{"alert":"replica_lag","about":"shop/\"db2\":5432","severity":"warning","state":"resolved","since":"1970-01-01T00:00:00.000Z","resolved":"1970-01-01T00:00:01.000Z","value":12.5,"threshold":10,"unit":"seconds","detail":"","summary":"{summary}","instance":"here"}}"#
        );
        assert_eq!(one(&resolved, "here"), expected);
        assert_eq!(plain(&[resolved], "here"), format!("{{\"alerts\":[{expected}]}}"));
    }
}
