//! What `docker/` composes: its files by those who judge such files, and the same layout by hand,
//! of what is installed here: a primary, two replicas, pgweir, an application's load, and
//! Prometheus with the rules and the questions of the dashboard. Images are neither pulled nor built.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::console::pages;
use crate::docker::{dashboard, rules, text};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, cluster_with_replicas, eventually, pgbench,
};

/// Whether a program is installed; what is not run is said.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("{program} is not installed: nothing was asked of it");
    }
    found
}

#[test]
fn composition_is_one() {
    let compose = text("compose.yml");
    // Services are what stands two blanks deep below their heading.
    let services: BTreeSet<&str> = compose
        .lines()
        .skip_while(|line| *line != "services:")
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
        .filter(|name| !name.starts_with(' '))
        .collect();
    let wanted =
        ["application", "grafana", "pgweir", "primary", "prometheus", "replica1", "replica2"];
    assert_eq!(services.iter().copied().collect::<Vec<_>>(), wanted);
    if !installed("docker-compose") {
        return;
    }
    // Versions before 2 don't know that a composition may have a name.
    let compose: String = compose
        .lines()
        .filter(|line| !line.starts_with("name: "))
        .map(|line| format!("{line}\n"))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
    let mut command = Command::new("docker-compose");
    command.args(["-f", "-", "--project-directory"]).arg(folder).arg("config");
    let mut judge = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    judge.stdin.take().unwrap().write_all(compose.as_bytes()).unwrap();
    let judged = judge.wait_with_output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let resolved = String::from_utf8(judged.stdout).unwrap();
    for line in ["read_only: true", "- no-new-privileges:true", "- ALL", "stop_grace_period: 30s"] {
        assert!(resolved.lines().any(|found| found.trim() == line), "{line}\n{resolved}");
    }
}

/// The instructions of a Dockerfile, each with its words, lines that go on put together.
fn instructions(dockerfile: &str) -> Vec<(String, Vec<String>)> {
    let lines = dockerfile.lines().filter(|line| !line.starts_with('#'));
    let whole = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = whole.lines().filter(|line| !line.trim().is_empty());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    lines.map(words).map(|mut words| (words.remove(0), words)).collect()
}

#[test]
fn dockerfile_has_stages_and_the_last_one_is_nobodys() {
    let known = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    ];
    let all = instructions(&text("Dockerfile"));
    let mut stages: Vec<String> = Vec::new();
    for (instruction, words) in &all {
        assert!(known.contains(&instruction.as_str()), "{instruction}");
        assert!(!words.is_empty(), "{instruction}");
        match (instruction.as_str(), words.as_slice()) {
            ("FROM", [image]) => {
                assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
                stages.push(String::new());
            }
            ("FROM", [image, way, name]) => {
                assert!(image.contains(':') && way == "AS", "{words:?}");
                stages.push(name.clone());
            }
            ("FROM", _) => panic!("{words:?}"),
            ("COPY", words) => {
                let from = words.iter().find_map(|word| word.strip_prefix("--from="));
                let own = stages.len() - 1;
                assert!(from.is_none_or(|from| stages[..own].iter().any(|name| name == from)));
                assert!(words.len() >= 2, "{words:?}");
            }
            ("ENV", words) => assert!(words.iter().all(|word| word.contains('=')), "{words:?}"),
            ("ENTRYPOINT", words) => {
                let list: Vec<String> = serde_json::from_str(&words.join(" ")).unwrap();
                assert!(list[0].starts_with('/'), "a program, and no shell that keeps its signals");
            }
            ("HEALTHCHECK", words) => {
                let command = words.iter().position(|word| word == "CMD").unwrap();
                assert!(words[..command].iter().all(|word| word.starts_with("--")), "{words:?}");
                let list: Vec<String> =
                    serde_json::from_str(&words[command + 1..].join(" ")).unwrap();
                assert!(list[0].starts_with('/'), "{list:?}");
            }
            _ => {}
        }
    }
    assert_eq!(stages, ["build", ""], "what builds is not what runs");
    let last: Vec<_> = all.iter().rev().take_while(|(name, _)| name != "FROM").collect();
    let of = |wanted: &str| last.iter().filter(|(name, _)| name == wanted).count();
    for instruction in ["USER", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "EXPOSE"] {
        assert_eq!(of(instruction), 1, "{instruction}");
    }
    let (_, user) = last.iter().find(|(name, _)| name == "USER").unwrap();
    assert!(user[0].parse::<u32>().is_ok_and(|uid| uid > 0), "{user:?}");
    // Nothing is written by root behind that.
    let behind = all.iter().skip_while(|(name, _)| name != "USER");
    assert!(behind.clone().all(|(name, _)| !["RUN", "COPY"].contains(&name.as_str())));
}

#[test]
fn scripts_of_the_containers_are_scripts() {
    for name in ["health", "postgres/primary.sh", "postgres/replica.sh"] {
        let mut shell = Command::new("bash");
        shell.arg("-n").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(name));
        let judged = shell.output().unwrap();
        assert!(judged.status.success(), "{name}: {}", String::from_utf8_lossy(&judged.stderr));
        assert!(text(name).starts_with("#!/bin/bash\n"), "{name}");
    }
}

/// What the application gives pgbench, but for where it is and for how long.
fn application() -> Vec<String> {
    let compose = text("compose.yml");
    let command = compose.lines().find_map(|line| line.split_once("while true; do pgbench "));
    let (arguments, _) = command.unwrap().1.split_once(';').unwrap();
    let mut words = arguments.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-h" | "-p" | "-U" | "-T" | "-R" => drop(words.next()),
            "shop" => {}
            _ => kept.push(word.to_owned()),
        }
    }
    assert!(kept.len() > 4, "{kept:?}");
    kept
}

/// A running Prometheus, which ends with the test, whatever its end.
struct Prometheus {
    keeper: Child,
    stdin: Option<ChildStdin>,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// With the configuration and the rules of `docker/`, for a pooler whose pages are there.
    fn start(pages: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("rules.yml"), text("prometheus/rules.yml")).unwrap();
        let configuration = text("prometheus/prometheus.yml")
            .replace("/etc/prometheus/rules.yml", "rules.yml")
            .replace("pgweir:9127", pages)
            .replace(": 5s", ": 1s");
        std::fs::write(file("prometheus.yml"), configuration).unwrap();
        let script = "\"$@\" 2>&1 & read -r _; kill -KILL $!";
        let mut command = Command::new("sh");
        command.args([
            "-c",
            script,
            "prometheus",
            "prometheus",
            "--web.listen-address=127.0.0.1:0",
        ]);
        command.arg(format!("--config.file={}", file("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", file("data").display()));
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = keeper.stdin.take();
        let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            said += &format!("{line}\n");
            let (_, address) = line.split_once("msg=\"Listening on\" address=")?;
            Some(address.trim().to_owned())
        });
        let address = address.unwrap_or_else(|| panic!("Prometheus does not listen:\n{said}"));
        // Or it would wait for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { keeper, stdin, address, _folder: folder }
    }

    /// What its API answers; `None` as long as it is not ready.
    fn ask(&self, path: &str, query: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let body: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let body = if query.is_empty() { String::new() } else { format!("query={body}") };
        let method = if query.is_empty() { "GET" } else { "POST" };
        write!(
            stream,
            "{method} /api/v1/{path} HTTP/1.0\r\nHost: here\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.keeper.wait().ok();
    }
}

#[test]
fn layout_of_the_composition_works_by_hand() {
    let cluster = cluster_with_replicas(2);
    let mut servers = vec![cluster.primary()];
    servers.extend(cluster.replicas());
    let mut toml = text("pooler.toml")
        .replace("listen_addr = \"*\"", "listen_addr = \"127.0.0.1\"\nlisten_port = 0")
        .replace("http_listen = \"*:9127\"", "http_listen = \"127.0.0.1:0\"");
    for (name, server) in ["primary", "replica1", "replica2"].iter().zip(&servers) {
        let (named, here) =
            (format!("\"{name}:5432\""), format!("\"127.0.0.1:{}\"", server.port()));
        assert_eq!(toml.matches(&named).count(), 1, "{named}");
        toml = toml.replace(&named, &here);
    }
    let pooler = Pooler::start(&toml);
    for (server, role) in servers.iter().zip(["primary", "replica", "replica"]) {
        let row = |table: &str| {
            let port = format!("|127.0.0.1|{}|{role}|up|", server.port());
            table.lines().any(|line| line.contains(&port))
        };
        let console = pooler.url("admin", PASSWORD, "pgweir");
        eventually(role, LIMIT, || row(&crate::support::psql_rows(&console, "SHOW REPLICAS")));
    }
    // As the application does, and not as long.
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let filled = pgbench(&["-i", "-q", &url], "", LIMIT * 2);
    assert!(filled.status.success(), "{}", filled.stderr);
    let arguments = application();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["-t", "20", &url]);
    let load = pgbench(&arguments, "", LIMIT * 2);
    assert!(load.status.success(), "{}", load.stderr);
    assert!(load.stdout.contains("number of failed transactions: 0"), "{}", load.stdout);

    if !installed("prometheus") {
        return;
    }
    let prometheus = Prometheus::start(&pages(&pooler));
    let value = |query: &str| -> Option<String> {
        let answer = prometheus.ask("query", query)?;
        Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
    };
    eventually("it has scraped", LIMIT, || value("pgbouncer_up").as_deref() == Some("1"));
    let transactions = "pgbouncer_stats_totals_sql_transactions_pooled_total{database=\"shop\"}";
    assert!(value(transactions).unwrap().parse::<u64>().unwrap() >= 30 * 20);
    let hosts = "count(pgweir_host_role{role=\"replica\"} == 1)";
    eventually("it knows the replicas", LIMIT, || value(hosts).as_deref() == Some("2"));
    eventually("all rules have been evaluated", LIMIT, || {
        let Some(answer) = prometheus.ask("rules", "") else { return false };
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        let all: Vec<_> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let unwell = all.iter().find(|rule| rule["health"] == "err");
        assert!(unwell.is_none(), "{unwell:?}");
        all.len() == rules().len() && all.iter().all(|rule| rule["health"] == "ok")
    });
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut asked = 0;
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        let query = query
            .replace("$instance", ".*")
            .replace("$database", ".*")
            .replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        let answer = prometheus.ask("query", &query).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
}
