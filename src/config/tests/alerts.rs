//! The table `[alerts]`: what does not fit is said, and receivers are taken apart.

use super::super::alerts::{Alerts, Webhook};
use super::{load, problems, with_database};

#[track_caller]
fn check(line: &str, expected: &str) {
    let report = problems(&format!("{}[alerts]\n{line}\n", with_database(""))).to_string();
    assert_eq!(report.trim_end(), format!("pooler.toml:7: alerts.{expected}"), "{line}");
}

#[test]
fn what_does_not_fit_is_told_without_secrets() {
    check("webhook_url = \"hook/s3cret\"", "webhook_url: must start with http:// or https://");
    check("webhook_url = \"https:///s3cret\"", "webhook_url: there is no host");
    check(
        "webhook_url = \"https://u:s3cret@h/\"",
        "webhook_url: can't hold a user: set webhook_authorization",
    );
    check("webhook_url = \"http://h:0/s3cret\"", "webhook_url: the port must be from 1 to 65535");
    check(
        "webhook_url = \"http://h/s3 cret\"",
        "webhook_url: can't hold spaces, \"#\", or other than ASCII; they are percent-encoded",
    );
    check(
        "webhook_authorization = \"s3cret\\nX: y\"",
        "webhook_authorization: must be one line of ASCII",
    );
    check("command = [\"page\"]", "command: the program must be a whole path, from /");
    check("replica_lag_critical = 9", "replica_lag_critical: is reached before the warning");
    check("certificate_critical = \"15d\"", "certificate_critical: is reached before the warning");
    check("hysteresis = 91", "hysteresis: must be from 0 to 90, not 91");
    check("replica_lag = 1", "replica_lag: unknown key (did you mean `replica_lag_warning`?)");
    let report = problems("alerts = 1\n[databases.shop]\nhost = \"db\"\n").to_string();
    assert!(report.contains("1: alerts: must be a table"), "{report}");
}

#[test]
fn thresholds_are_turned_off_one_by_one() {
    let table = "[alerts]\nreplica_lag_warning = 0\nreplica_lag_critical = 5\n\
                 replica_lag_bytes_warning = 0\nno_primary_for = 0\nclient_limit_warning = 0\n";
    let alerts = load(&format!("{}{table}", with_database(""))).alerts;
    assert_eq!(alerts.replica_lag_warning, None);
    assert_eq!(alerts.no_primary_for, None);
    assert!(alerts.replica_lag_bytes_warning.is_empty());
    assert_eq!(alerts.host_down_for, Alerts::default().host_down_for);
}

#[test]
fn receivers_are_taken_apart() {
    for (url, host, port, path, secure) in [
        ("http://h", "h", 80, "/", false),
        ("https://h.example/a/b?c=d", "h.example", 443, "/a/b?c=d", true),
        ("http://[::1]:99?x", "::1", 99, "/?x", false),
    ] {
        let webhook = Webhook::parse(url).unwrap();
        let found = (webhook.host.as_str(), webhook.port, webhook.path.expose(), webhook.secure);
        assert_eq!(found, (host, port, path, secure), "{url}");
    }
    let is_alertmanager = |url: &str| Webhook::parse(url).unwrap().is_alertmanager();
    assert!(is_alertmanager("http://am:9093/api/v2/alerts"));
    assert!(is_alertmanager("http://am/prefix/api/v2/alerts"));
    assert!(!is_alertmanager("http://am:9093/api/v2/alerts/x"));
}
