//! The main cases over a real Postgres of the run's own, driven by pgbench.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use pgweir::demo::cluster::Cluster;

use crate::cases::PLAIN;
use crate::client::Target;
use crate::keeper::pause;
use crate::peers::{Peer, Pooler, SECOND_SHARD, Setup, Spread, Statements, Tls};
use crate::process::cpu_time;
use crate::run::Run;
use crate::tls;

/// Size of pgbench's tables: enough rows that TPC-B is not one queue for one row.
const SCALE: u32 = 20;

/// A case of pgbench.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Arguments; `{script}` is the file with a transaction of one select.
    arguments: &'static [&'static str],
    clients: usize,
    pub(crate) statements: Statements,
    tls: Tls,
    /// pgweir knows a replica, and reads from it.
    pub(crate) routed: bool,
}

const SELECT: Bench = Bench {
    name: "pg-simple",
    title: "select-only, simple, 50 clients, pool 20",
    arguments: &["-S", "-M", "simple"],
    clients: 50,
    statements: Statements::Unnamed,
    tls: Tls::None,
    routed: false,
};

/// All of them, in the order of the table.
pub(crate) const BENCHES: [Bench; 13] = [
    SELECT,
    Bench {
        name: "pg-extended",
        title: "select-only, extended, 50 clients, pool 20",
        arguments: &["-S", "-M", "extended"],
        ..SELECT
    },
    Bench {
        name: "pg-prepared",
        title: "select-only, prepared, 20 clients, pool 20",
        arguments: &["-S", "-M", "prepared"],
        clients: 20,
        statements: Statements::Named,
        ..SELECT
    },
    Bench {
        name: "pg-transaction",
        title: "BEGIN, select, COMMIT, 50 clients, pool 20",
        arguments: &["-f", "{script}", "-M", "simple"],
        ..SELECT
    },
    Bench {
        name: "pg-tpcb",
        title: "TPC-B, simple, 50 clients, pool 20",
        arguments: &["-M", "simple"],
        ..SELECT
    },
    Bench {
        name: "pg-tpcb-extended",
        title: "TPC-B, extended, 50 clients, pool 20",
        arguments: &["-M", "extended"],
        ..SELECT
    },
    Bench {
        name: "pg-tls",
        title: "select-only, simple, 50 clients with TLS, pool 20",
        tls: Tls::Clients,
        ..SELECT
    },
    Bench {
        name: "pg-tls-both",
        title: "select-only, simple, 50 clients with TLS, pool 20 with TLS",
        tls: Tls::Both,
        ..SELECT
    },
    Bench {
        name: "pg-tls-connect",
        title: "connect with TLS, select, close, 10 clients",
        arguments: &["-S", "-M", "simple", "-C"],
        clients: 10,
        tls: Tls::Clients,
        ..SELECT
    },
    Bench { name: "pg-routed-simple", title: "reads on a replica, simple", routed: true, ..SELECT },
    Bench {
        name: "pg-routed-extended",
        title: "reads on a replica, extended",
        arguments: &["-S", "-M", "extended"],
        routed: true,
        ..SELECT
    },
    Bench {
        name: "pg-routed-prepared",
        title: "reads on a replica, prepared, 20 clients",
        arguments: &["-S", "-M", "prepared"],
        clients: 20,
        statements: Statements::Named,
        routed: true,
        ..SELECT
    },
    Bench {
        name: "pg-routed-texts",
        title: "reads on a replica, simple, 1,000 texts",
        arguments: &["{texts}", "-M", "simple"],
        routed: true,
        ..SELECT
    },
];

/// What is compared between a database on two shards and one that is none. Each is for one shard.
pub(crate) const SHARDED: [Bench; 4] = [
    Bench { name: "sharded-simple", title: "select-only, simple", clients: 20, ..SELECT },
    Bench {
        name: "sharded-extended",
        title: "select-only, extended",
        arguments: &["-S", "-M", "extended"],
        clients: 20,
        ..SELECT
    },
    Bench {
        name: "sharded-prepared",
        title: "select-only, prepared",
        arguments: &["-S", "-M", "prepared"],
        clients: 20,
        statements: Statements::Named,
        ..SELECT
    },
    Bench {
        name: "sharded-transaction",
        title: "BEGIN, select, COMMIT",
        arguments: &["-f", "{script}", "-M", "simple"],
        clients: 20,
        ..SELECT
    },
];

/// Scripts of ten statements each, that differ in more than their values.
const TEXTS: usize = 100;

const TRANSACTION: &str = "\\set aid random(1, 100000 * :scale)\nBEGIN;\n\
                           SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\nCOMMIT;\n";

/// What pgbench and the system said about one pooler; by round.
#[derive(Debug)]
pub(crate) struct BenchPart {
    /// `None` for the direct connections.
    pub(crate) peer: Option<Peer>,
    pub(crate) cpu: Vec<f64>,
    pub(crate) rate: Vec<f64>,
    pub(crate) latency_ms: Vec<f64>,
}

/// A real Postgres that lives as long as this.
#[derive(Debug)]
pub(crate) struct Postgres {
    script: PathBuf,
    /// Files of pgbench, of a thousand different texts together.
    texts: Vec<PathBuf>,
    address: SocketAddr,
    cluster: Cluster,
}

impl Postgres {
    /// Makes a cluster and fills pgbench's tables.
    pub(crate) fn start(run: &Run, replicas: usize) -> anyhow::Result<Self> {
        let settings = [
            ("max_connections", "200"),
            ("shared_buffers", "256MB"),
            ("max_wal_size", "4GB"),
            ("synchronous_commit", "off"),
            ("autovacuum", "off"),
        ];
        let trust = ["host all all 127.0.0.1/32 trust"];
        let cluster =
            Cluster::builder().replicas(replicas).settings(&settings).hba(&trust).start()?;
        cluster.primary().sql("postgres", "CREATE ROLE bench SUPERUSER LOGIN")?;
        cluster.primary().sql("postgres", "CREATE DATABASE bench OWNER bench")?;
        tls::serve(&cluster, run.folder())?;
        let address = SocketAddr::from(([127, 0, 0, 1], cluster.primary().port()));
        let script = run.folder().join("transaction.sql");
        std::fs::write(&script, TRANSACTION)?;
        let mut texts = Vec::new();
        for number in 0..TEXTS {
            let mut text = String::from("\\set aid random(1, 100000 * :scale)\n");
            for own in 0..10 {
                writeln!(
                    text,
                    "SELECT abalance AS a{number}_{own} FROM pgbench_accounts WHERE aid = :aid;"
                )?;
            }
            let file = run.folder().join(format!("texts{number}.sql"));
            std::fs::write(&file, text)?;
            texts.push(file);
        }
        let postgres = Self { script, texts, address, cluster };
        let mut fill = postgres.pgbench(&postgres.direct());
        fill.args(["-i", "-q", "-s", &SCALE.to_string(), "bench"]);
        let output = fill.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("pgbench -i: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(postgres)
    }

    fn direct(&self) -> Target {
        Target { address: self.address, names: vec!["bench".to_owned()].into() }
    }

    fn pgbench(&self, target: &Target) -> Command {
        let mut command = Command::new(self.cluster.install().program("pgbench"));
        command.args(["-h", "127.0.0.1", "-U", "bench", "-p"]);
        command.arg(target.address.port().to_string());
        command
    }

    /// Measures one case in alternating turns; without a pooler comes first.
    pub(crate) fn measure(&self, run: &mut Run, bench: &Bench) -> anyhow::Result<Vec<BenchPart>> {
        let Bench { name, statements, tls, routed, .. } = *bench;
        let replica = self.cluster.replicas().first().filter(|_| routed);
        let replica = replica.map(|replica| SocketAddr::from(([127, 0, 0, 1], replica.port())));
        let setup = Setup { statements, tls, replica, ..PLAIN };
        let none = |peer| BenchPart { peer, cpu: vec![], rate: vec![], latency_ms: vec![] };
        let mut running: Vec<(Option<Pooler>, BenchPart)> = vec![(None, none(None))];
        // The relay speaks no TLS.
        let speaks = |peer: &Peer| tls == Tls::None || *peer != Peer::Relay;
        for peer in Peer::ALL.into_iter().filter(speaks) {
            if let Some(pooler) = run.start_before(self.address, peer, &setup, name)? {
                running.push((Some(pooler), none(Some(peer))));
            }
        }
        for _ in 0..run.rounds {
            let mut still_running = Vec::new();
            for (pooler, mut part) in running {
                match (self.turn(run, bench, pooler.as_ref(), &mut part), &pooler, part.peer) {
                    (Ok(()), ..) => still_running.push((pooler, part)),
                    (Err(error), Some(pooler), Some(peer)) => {
                        run.failed(peer, name, &error, pooler)?;
                    }
                    (Err(error), ..) => return Err(error),
                }
            }
            running = still_running;
        }
        Ok(running.into_iter().map(|(_, part)| part).collect())
    }

    /// Makes a copy of pgbench's tables for a second shard.
    pub(crate) fn spread(&self) -> anyhow::Result<()> {
        let copy = format!("CREATE DATABASE {SECOND_SHARD} TEMPLATE bench");
        self.cluster.primary().sql("postgres", &copy)?;
        Ok(())
    }

    /// Measures pgweir alone, before a database that is one and before the same on two shards, in
    /// alternating turns; `None` where it can't be started.
    pub(crate) fn measure_sharded(
        &self,
        run: &mut Run,
        bench: &Bench,
    ) -> anyhow::Result<Option<[BenchPart; 2]>> {
        let mut start = |spread| {
            let setup = Setup { statements: bench.statements, spread, ..PLAIN };
            run.start_before(self.address, Peer::Pgweir, &setup, bench.name)
        };
        let poolers = (start(Spread::Nowhere)?, start(Spread::TwoShards)?);
        let (Some(plain), Some(spread)) = poolers else { return Ok(None) };
        let part = |_| BenchPart {
            peer: Some(Peer::Pgweir),
            cpu: vec![],
            rate: vec![],
            latency_ms: vec![],
        };
        let mut parts = [(); 2].map(part);
        // Before it knows the tables it refuses to say where they are.
        let began = std::time::Instant::now();
        while let Err(error) = self.turn(run, bench, Some(&spread), &mut part(())) {
            if began.elapsed().as_secs() > 30 {
                return Err(error);
            }
        }
        for _ in 0..run.rounds {
            for (pooler, part) in [&plain, &spread].into_iter().zip(&mut parts) {
                self.turn(run, bench, Some(pooler), part)?;
            }
        }
        Ok(Some(parts))
    }

    fn turn(
        &self,
        run: &Run,
        bench: &Bench,
        pooler: Option<&Pooler>,
        part: &mut BenchPart,
    ) -> anyhow::Result<()> {
        pause(std::time::Duration::ZERO)?;
        let cpu = || pooler.map(|pooler| cpu_time(pooler.pid())).transpose();
        let mut command = self.pgbench(pooler.map_or(&self.direct(), |pooler| &pooler.target));
        command.env("PGSSLMODE", bench.tls.for_clients());
        for argument in bench.arguments {
            match *argument {
                "{script}" => command.arg(&self.script),
                "{texts}" => self
                    .texts
                    .iter()
                    .fold(&mut command, |command, file| command.arg("-f").arg(file)),
                other => command.arg(other),
            };
        }
        let seconds = run.window.as_secs().max(2).to_string();
        let scale = format!("scale={SCALE}");
        command.args(["-n", "-j", "1", "-T", &seconds, "-D", &scale]);
        command.args(["-c", &bench.clients.to_string(), "bench"]);
        let before = cpu()?;
        let output = command.stdin(Stdio::null()).output()?;
        let after = cpu()?;
        let told = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench: {}", first_lines(&String::from_utf8_lossy(&output.stderr)));
        }
        let done = number_after(&told, "transactions actually processed: ")?;
        if let (Some(before), Some(after)) = (before, after) {
            part.cpu.push(after.saturating_sub(before).as_secs_f64() * 1e6 / done.max(1.0));
        }
        part.rate.push(number_after(&told, "tps = ")?);
        part.latency_ms.push(number_after(&told, "latency average = ")?);
        Ok(())
    }
}

fn first_lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| line.contains("error") || line.contains("fatal")).take(2)
    {
        // Writing to a string cannot fail.
        write!(out, "{line} ").ok();
    }
    if out.is_empty() { text.lines().take(3).collect::<Vec<_>>().join(" / ") } else { out }
}

fn number_after(text: &str, label: &str) -> anyhow::Result<f64> {
    let (_, rest) = text.split_once(label).with_context(|| format!("pgbench told no {label}"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default().parse().context("a figure of pgbench")
}
