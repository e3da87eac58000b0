//! What is in `docker/`, as far as it can be tried without images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::console::{fetch, pages};
use crate::hosts::configuration;
use crate::support::{
    LIMIT, PASSWORD, Pooler, check, cluster_with_replicas, eventually, psql_rows,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn dashboard() -> Value {
    serde_json::from_str(&text("grafana/dashboards/pgweir.json")).unwrap()
}

/// One rule, by its keys: lines of YAML of which we write the simplest.
pub type Rule = Vec<(String, String)>;

pub fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let text = text("prometheus/rules.yml");
    let lines = text.lines().skip_while(|line| *line != "    rules:").skip(1);
    for line in lines {
        let (key, value) = line.split_once(':').expect(line);
        let key = match key.trim_start().strip_prefix("- ") {
            Some(key) => {
                rules.push(Rule::new());
                key
            }
            None => key.trim_start(),
        };
        let value = value.trim();
        let value = match value.strip_prefix('\'') {
            Some(quoted) => {
                let inside = quoted.strip_suffix('\'').expect(line);
                assert!(!inside.replace("''", "").contains('\''), "{line}");
                inside.replace("''", "'")
            }
            None => value.to_owned(),
        };
        rules.last_mut().expect(line).push((key.to_owned(), value));
    }
    rules
}

/// The names of metrics in an expression; those of a histogram are its own.
fn metrics(expression: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expression.split(|letter| !is_part(letter));
    let ours = words.filter(|word| word.starts_with("pgweir_") || word.starts_with("pgbouncer_"));
    ours.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

#[test]
fn rules_can_be_read_and_say_what_is_wrong() {
    let rules = rules();
    assert!(rules.len() > 15, "{}", rules.len());
    let mut seen = BTreeSet::new();
    for rule in &rules {
        let keys: Vec<&str> = rule.iter().map(|(key, _)| key.as_str()).collect();
        let wanted =
            ["alert", "expr", "for", "labels", "severity", "annotations", "summary", "value"];
        assert_eq!(keys, wanted);
        let [alert, expression, lasts, _, severity, ..] = rule.as_slice() else { unreachable!() };
        assert!(["warning", "critical"].contains(&severity.1.as_str()), "{rule:?}");
        assert!(lasts.1.strip_suffix('s').unwrap().parse::<u32>().is_ok(), "{rule:?}");
        assert!(!expression.1.contains("{}"), "{rule:?}");
        let depth = |open: char, close: char| {
            expression.1.matches(open).count() == expression.1.matches(close).count()
        };
        assert!(depth('(', ')') && depth('{', '}') && depth('[', ']'), "{rule:?}");
        assert!(seen.insert((alert.1.clone(), severity.1.clone())), "{rule:?} is there twice");
    }
}

/// Prometheus's own judgement, where it is installed.
#[test]
fn rules_raise_what_they_are_for() {
    for (what, name) in [("check", "rules.yml"), ("test", "rules_test.yml")] {
        let mut promtool = Command::new("promtool");
        match promtool.args([what, "rules"]).arg(file("prometheus").join(name)).output() {
            Ok(judged) => {
                let said = [judged.stdout, judged.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                assert!(judged.status.success(), "{said}");
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                eprintln!("promtool is not installed: {what} was not run");
            }
        }
    }
}

#[test]
fn dashboard_begins_with_who_waits_and_nothing_overlaps() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    assert_eq!(panels[0]["title"], "Is anyone waiting, and why?");
    let (mut taken, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
    }
}

#[test]
fn every_metric_that_is_named_exists() {
    let cluster = cluster_with_replicas(1);
    let hosts = [cluster.primary(), &cluster.replicas()[0]];
    let pooler = Pooler::start(&configuration(&hosts, "http_listen = \"127.0.0.1:0\""));
    let page = fetch(&pooler, "/metrics");
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut named = BTreeSet::new();
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| variable["definition"].as_str());
    let of_rules = rules().into_iter().flatten().filter(|(key, _)| key == "expr");
    let all = expressions.chain(variables.map(str::to_owned)).chain(of_rules.map(|rule| rule.1));
    all.for_each(|expression| named.extend(metrics(&expression)));
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}\n{page}");
}

#[test]
fn configuration_of_the_composition_is_valid_and_its_files_exist() {
    let checked = check(&text("pooler.toml"), &[]);
    assert!(checked.status.success(), "{}{}", checked.stdout, checked.stderr);
    assert!(!checked.stdout.contains("warning"), "{}", checked.stdout);
    let compose = text("compose.yml");
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
    let mounts: Vec<_> = mounts.filter_map(|mount| mount.split(':').next()).collect();
    assert!(mounts.len() >= 6, "{mounts:?}");
    for mount in mounts {
        assert!(file(mount).exists(), "{mount}");
    }
    let image = text("Dockerfile");
    for line in image.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<_> = line.split(' ').filter(|word| !word.starts_with("--")).collect();
        let from_elsewhere = line.starts_with("--from");
        for source in words.iter().take(words.len() - 1).filter(|_| !from_elsewhere) {
            assert!(file("..").join(source).exists(), "{line}");
        }
    }
    for line in ["USER 10001", "STOPSIGNAL SIGTERM", "EXPOSE 6432 9127"] {
        assert!(image.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn container_is_healthy_until_it_drains() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "http_listen = \"127.0.0.1:0\"");
    let pooler = Pooler::start(&toml);
    let address = pages(&pooler);
    let is_healthy = || {
        let mut health = Command::new(file("health"));
        health.env("PGWEIR_HTTP_LISTEN", &address).status().unwrap().success()
    };
    assert!(is_healthy());
    let console = pooler.url("boss", PASSWORD, "pgweir");
    psql_rows(&console, "DRAIN");
    assert!(!is_healthy());
    assert!(fetch(&pooler, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(fetch(&pooler, "/livez").starts_with("HTTP/1.1 200 "));
    psql_rows(&console, "UNDRAIN");
    eventually("it is healthy again", LIMIT, is_healthy);
}
