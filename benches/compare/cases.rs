//! The cases over the null server, and how one of them is measured: rounds in which each pooler
//! has its turn, so that what else the machine does meets all of them alike.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::keeper::pause;
use crate::load::Crowd;
use crate::peers::{Login, Peer, Pooler, Setup, Spread, Statements, Tls};
use crate::process::{Tracer, cpu_time};
use crate::run::Run;
use crate::script::{self, Script};

/// What a case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Transaction,
    Megabyte,
}

/// Whether system calls are counted in an additional turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Counted,
    NotCounted,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Case {
    /// As in `--cases`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The ratio to PgBouncer that pgweir is to reach.
    pub(crate) aim: Option<f64>,
    pub(crate) unit: Unit,
    pub(crate) script: fn() -> Script,
    /// Clients at work.
    pub(crate) clients: usize,
    /// Clients that only sit there.
    pub(crate) idle: usize,
    pub(crate) setup: Setup,
    pub(crate) calls: Calls,
}

pub(crate) const PLAIN: Setup = Setup {
    pool_size: 20,
    databases: 1,
    login: Login::Trust,
    statements: Statements::Unnamed,
    tls: Tls::None,
    replica: None,
    spread: Spread::Nowhere,
    clients_max: 10_000,
    pages: None,
};

const SIMPLE: Case = Case {
    name: "simple",
    title: "simple, 50 clients, pool 20",
    aim: Some(0.90),
    unit: Unit::Transaction,
    script: script::simple,
    clients: 50,
    idle: 0,
    setup: PLAIN,
    calls: Calls::Counted,
};

/// Every case over the null server, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let named = Setup { statements: Statements::Named, ..PLAIN };
    vec![
        SIMPLE,
        Case {
            name: "simple1000",
            title: "simple, 1,000 clients",
            clients: 1000,
            calls: Calls::NotCounted,
            ..SIMPLE
        },
        Case {
            name: "beside-idle",
            title: "simple, 50 busy beside 8,000 idle",
            aim: Some(0.80),
            idle: 8000,
            calls: Calls::NotCounted,
            ..SIMPLE
        },
        Case {
            name: "databases",
            title: "simple, 200 databases and users, one client each",
            clients: 200,
            setup: Setup { databases: 200, pool_size: 2, ..PLAIN },
            ..SIMPLE
        },
        Case {
            name: "extended",
            title: "extended, 50 clients, pool 20",
            aim: Some(0.85),
            script: script::extended,
            ..SIMPLE
        },
        Case {
            name: "prepared",
            title: "prepared, 20 clients, pool 20",
            aim: Some(0.72),
            script: || script::prepared(1),
            clients: 20,
            setup: named,
            ..SIMPLE
        },
        Case {
            name: "pipeline",
            title: "pipeline of 10 prepared, one Sync, 20 clients, pool 20",
            aim: Some(0.18),
            script: || script::prepared(10),
            clients: 20,
            setup: named,
            ..SIMPLE
        },
        Case {
            name: "transaction",
            title: "BEGIN, select, COMMIT, 50 clients, pool 20",
            script: script::transaction,
            ..SIMPLE
        },
        Case {
            name: "connect",
            title: "connect, select, close (SCRAM), 20 clients",
            aim: Some(0.80),
            script: script::connect,
            clients: 20,
            setup: Setup { login: Login::Scram, ..PLAIN },
            ..SIMPLE
        },
        Case {
            name: "large",
            title: "large result, per MB, 4 clients",
            aim: Some(0.42),
            unit: Unit::Megabyte,
            script: || script::large_result(4),
            clients: 4,
            ..SIMPLE
        },
        Case {
            name: "copy",
            title: "COPY in, per MB, 4 clients",
            aim: Some(0.50),
            unit: Unit::Megabyte,
            script: || script::copy_in(4),
            clients: 4,
            ..SIMPLE
        },
    ]
}

impl Case {
    /// Whether this pooler can take part at all.
    fn admits(&self, peer: Peer) -> bool {
        // The relay has no logins: the null server behind it trusts everybody.
        peer != Peer::Relay || self.setup.login == Login::Trust
    }
}

/// What one pooler's turn in one round gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// CPU microseconds of the pooler per unit.
    pub(crate) cpu: f64,
    /// Units per second.
    pub(crate) rate: f64,
}

/// System calls per unit, and which.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallCounts {
    pub(crate) total: f64,
    pub(crate) most: Vec<(String, f64)>,
}

/// A pooler's part in a case.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) peer: Peer,
    pub(crate) turns: Vec<Turn>,
    pub(crate) calls: Option<CallCounts>,
}

/// Measures a case; a pooler that cannot take part is missing and has its reason in the notes.
pub(crate) fn measure(run: &mut Run, case: &Case) -> anyhow::Result<Vec<Part>> {
    let mut running: Vec<(Pooler, Part)> = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| case.admits(*peer)) {
        if let Some(pooler) = run.start(peer, &case.setup, case.name)? {
            running.push((pooler, Part { peer, turns: Vec::new(), calls: None }));
        }
    }
    for _ in 0..run.rounds {
        let mut still_running = Vec::new();
        for (pooler, mut part) in running {
            match turn(run, case, &pooler) {
                Ok(turn) => {
                    part.turns.push(turn);
                    still_running.push((pooler, part));
                }
                Err(error) => run.failed(part.peer, case.name, &error, &pooler)?,
            }
        }
        running = still_running;
    }
    if let (Calls::Counted, Some(tracer)) = (case.calls, run.tracer) {
        for (pooler, part) in &mut running {
            match count_calls(run, case, pooler, tracer) {
                Ok(calls) => part.calls = Some(calls),
                Err(error) => run.failed(part.peer, case.name, &error, pooler)?,
            }
        }
    }
    Ok(running.into_iter().map(|(_, part)| part).collect())
}

fn turn(run: &Run, case: &Case, pooler: &Pooler) -> anyhow::Result<Turn> {
    let _idle =
        Crowd::connect(&pooler.target, &script::idle_after_query(), run.idle_clients(case.idle))?;
    let crowd = Crowd::connect(&pooler.target, &(case.script)(), case.clients)?;
    busy(run, &crowd, pooler)
}

/// Lets a crowd work, and measures the pooler that it works at.
pub(crate) fn busy(run: &Run, crowd: &Crowd, pooler: &Pooler) -> anyhow::Result<Turn> {
    crowd.go();
    pause(run.warm_up)?;
    let before = Mark::take(crowd, pooler)?;
    pause(run.window)?;
    let after = Mark::take(crowd, pooler)?;
    crowd.check()?;
    Ok(after.since(&before))
}

fn count_calls(
    run: &Run,
    case: &Case,
    pooler: &Pooler,
    tracer: Tracer,
) -> anyhow::Result<CallCounts> {
    let crowd = Crowd::connect(&pooler.target, &(case.script)(), case.clients)?;
    crowd.go();
    pause(run.warm_up)?;
    let mut marks = Vec::new();
    let counts =
        tracer.count(pooler.pid(), run.window, run.folder(), || marks.push(crowd.done()))?;
    crowd.check()?;
    let [before, after] = marks.as_slice() else { bail!("counting did not begin and end") };
    let done = after.saturating_sub(*before) as f64;
    let per_unit = |count: u64| count as f64 / done.max(1.0);
    let total = counts.iter().map(|(_, count)| per_unit(*count)).sum();
    let most = counts.into_iter().map(|(name, count)| (name, per_unit(count)));
    Ok(CallCounts { total, most: most.filter(|(_, calls)| *calls >= 0.05).take(5).collect() })
}

/// Where a crowd and its pooler were at one moment.
#[derive(Debug)]
struct Mark {
    at: Instant,
    done: u64,
    cpu: Duration,
}

impl Mark {
    fn take(crowd: &Crowd, pooler: &Pooler) -> anyhow::Result<Self> {
        Ok(Self { cpu: cpu_time(pooler.pid())?, done: crowd.done(), at: Instant::now() })
    }

    fn since(&self, before: &Self) -> Turn {
        let done = self.done.saturating_sub(before.done) as f64;
        let cpu = self.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6;
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        Turn { cpu: cpu / done.max(1.0), rate: done / elapsed }
    }
}

/// Added latency at a fixed rate.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    /// `None` for the direct connections.
    pub(crate) peer: Option<Peer>,
    /// Medians and 95th percentiles by round, in microseconds.
    pub(crate) p50: Vec<f64>,
    pub(crate) p95: Vec<f64>,
    /// CPU microseconds per transaction by round; none for the direct connections.
    pub(crate) cpu: Vec<f64>,
}

/// Requests per second of the open loop.
pub(crate) const OPEN_LOOP_RATE: u32 = 2000;

/// Connections of the open loop.
const OPEN_LOOP_CONNECTIONS: usize = 20;

/// Measures latency without and with each pooler, in alternating turns.
pub(crate) fn measure_open_loop(run: &mut Run) -> anyhow::Result<Vec<OpenLoop>> {
    let step = script::simple().transaction.remove(0);
    let none = |peer| OpenLoop { peer, p50: Vec::new(), p95: Vec::new(), cpu: Vec::new() };
    let mut running: Vec<(Option<Pooler>, OpenLoop)> = vec![(None, none(None))];
    for peer in Peer::ALL {
        if let Some(pooler) = run.start(peer, &PLAIN, "open-loop")? {
            running.push((Some(pooler), none(Some(peer))));
        }
    }
    for _ in 0..run.rounds {
        for (pooler, part) in &mut running {
            let mut before = Duration::ZERO;
            let cpu = || pooler.as_ref().map_or(Ok(Duration::ZERO), |it| cpu_time(it.pid()));
            let direct = run.direct();
            let mut latencies = crate::load::open_loop(
                pooler.as_ref().map_or(&direct, |pooler| &pooler.target),
                &step,
                OPEN_LOOP_CONNECTIONS,
                OPEN_LOOP_RATE,
                run.window,
                run.warm_up,
                || {
                    before = cpu()?;
                    Ok(())
                },
            )?;
            let spent = cpu()?.saturating_sub(before).as_secs_f64() * 1e6;
            latencies.sort();
            let at = |percent: usize| {
                let index = latencies.len() * percent / 100;
                latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
            };
            part.p50.push(at(50));
            part.p95.push(at(95));
            if pooler.is_some() {
                part.cpu.push(spent / (latencies.len().max(1) as f64));
            }
            pause(Duration::ZERO)?;
        }
    }
    Ok(running.into_iter().map(|(_, part)| part).collect())
}
