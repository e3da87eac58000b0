//! pgweir beside PgBouncer and a bare relay, in alternating rounds, over a server that answers at
//! once and over a real Postgres. `docs/benchmarks.md` says how to run it and read it.
//!
//! This program is also the null server, the relay and the keeper of child processes: it starts
//! itself with a subcommand, so that the costs of each are those of a process of its own.
#![allow(clippy::print_stdout, reason = "the report goes to standard output")]
#![allow(clippy::print_stderr, reason = "the progress goes to standard error")]
#![allow(clippy::cast_precision_loss, reason = "no figure here has 53 bits")]

mod cases;
mod client;
mod keeper;
mod load;
mod memory;
mod null_server;
mod peers;
mod postgres;
mod process;
mod relay;
mod report;
mod run;
mod scram;
mod script;
mod tls;
mod watched;
mod wire;

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::run::{Pace, Run};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["null-server"] => serve_null(),
        ["relay", upstream] => {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            println!("{}{}", keeper::LISTENS, listener.local_addr()?);
            relay::run(listener, upstream.parse()?)
        }
        ["keep", ..] => keeper::keep(arguments.get(1..).unwrap_or_default()),
        words if words.contains(&"--bench") || words.contains(&"--help") => compare(words),
        // Cargo starts benches without `--bench` when it tests all targets.
        _ => {
            println!("start it with `cargo bench --bench compare`");
            Ok(())
        }
    }
}

fn serve_null() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        println!("{}{}", keeper::LISTENS, listener.local_addr()?);
        null_server::serve(tokio::net::TcpListener::from_std(listener)?).await?;
        Ok(())
    })
}

const USAGE: &str = "\
cargo bench --bench compare -- [--quick] [--cases NAME,...] [--rounds N] [--seconds S]

--quick         fewer and shorter rounds, and fewer cases over a real Postgres
--cases NAMES   only these cases; a name that ends in * stands for all that begin so
--rounds N      rounds per case
--seconds S     what is measured of each pooler's turn in a round
--list          the names of the cases

PGWEIR_BIN, PGBOUNCER   other binaries than the built one, and than the one that benches/pgbouncer
                        has fetched or else the installed one
PG_BINDIR               the folder of the Postgres server's binaries";

/// What the user asked for.
#[derive(Debug)]
struct Options {
    pace: Pace,
    cases: Option<Vec<String>>,
    quick: bool,
}

impl Options {
    fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let quick = words.contains(&"--quick");
        let (rounds, window, warm_up) = if quick { (3, 0.4, 0.2) } else { (5, 1.0, 0.3) };
        let mut pace = Pace {
            rounds,
            window: Duration::from_secs_f64(window),
            warm_up: Duration::from_secs_f64(warm_up),
        };
        let mut cases = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match *word {
                "--bench" | "--quick" => {}
                "--cases" => cases = Some(value()?.split(',').map(str::to_owned).collect()),
                "--rounds" => pace.rounds = value()?.parse().context("--rounds")?,
                "--seconds" => {
                    let seconds = value()?.parse().context("--seconds")?;
                    pace.window = Duration::try_from_secs_f64(seconds).context("--seconds")?;
                }
                other => bail!("{other} is not known\n{USAGE}"),
            }
        }
        let options = Self { pace, cases, quick };
        for wanted in options.cases.iter().flatten() {
            if !names().iter().any(|name| matches(wanted, name)) {
                bail!("no case is called {wanted}; there are {}", names().join(", "));
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        match &self.cases {
            Some(cases) => cases.iter().any(|wanted| matches(wanted, name)),
            None => !self.quick || !QUICK_WITHOUT.contains(&name),
        }
    }
}

/// Cases that a quick run leaves out.
const QUICK_WITHOUT: [&str; 5] =
    ["pg-prepared", "pg-tpcb", "pg-tpcb-extended", "pg-tls-both", "pg-tls-connect"];

fn matches(wanted: &str, name: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == name, |start| name.starts_with(start))
}

fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = cases::all().iter().map(|case| case.name).collect();
    names.extend(["open-loop", "watched", "idle", "idle-prepared"]);
    names.extend(postgres::BENCHES.iter().chain(&postgres::SHARDED).map(|bench| bench.name));
    names
}

fn compare(words: &[&str]) -> anyhow::Result<()> {
    if words.contains(&"--help") {
        println!("{USAGE}");
        return Ok(());
    }
    if words.contains(&"--list") {
        println!("{}", names().join("\n"));
        return Ok(());
    }
    let options = Options::parse(words)?;
    raise_descriptors(words)?;
    watch_for_interrupts()?;
    let begin = Instant::now();
    let mut run = Run::begin(options.pace)?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut report = over_null_server(&mut run, &options)?;
    report += &over_postgres(&mut run, &options)?;
    println!("{report}");
    let cores = std::thread::available_parallelism()?;
    println!(
        "{} rounds of {:?} for each pooler, {cores} cores shared by all processes, load at the \
         start {}, {:.0} s in all.",
        run.rounds,
        run.window,
        load.split_whitespace().next().unwrap_or_default(),
        begin.elapsed().as_secs_f64(),
    );
    for note in run.notes() {
        println!("- {note}");
    }
    Ok(())
}

fn over_null_server(run: &mut Run, options: &Options) -> anyhow::Result<String> {
    let mut tables = report::NullTables::new(run);
    for case in cases::all().iter().filter(|case| options.wants(case.name)) {
        eprintln!("{} ...", case.name);
        let parts = cases::measure(run, case)?;
        tables.add(run, case, &parts);
    }
    let mut text = [&tables.cpu, &tables.rate, &tables.calls].map(report::Table::markdown).concat();
    if options.wants("open-loop") {
        eprintln!("open-loop ...");
        let parts = cases::measure_open_loop(run)?;
        text += &report::latency(run, &parts).markdown();
    }
    if options.wants("watched") {
        eprintln!("watched ...");
        match watched::measure(run) {
            Ok(Some(watched)) => text += &report::watched(&watched),
            // pgweir can't be started, which is noted.
            Ok(None) => {}
            Err(error) if keeper::INTERRUPTED.load(Ordering::Relaxed) => return Err(error),
            Err(error) => run.note(format!("pgweir FAILED in watched: {error:#}")),
        }
    }
    let mut memory = report::memory(run);
    if options.wants("idle") {
        eprintln!("idle ...");
        let footprints = memory::measure_idle(run)?;
        report::add_memory(&mut memory, run, "after one simple query each", &footprints);
    }
    if options.wants("idle-prepared") {
        eprintln!("idle-prepared ...");
        let footprints = memory::measure_idle_prepared(run)?;
        report::add_memory(&mut memory, run, "with 10 prepared statements each", &footprints);
    }
    Ok(text + &memory.markdown())
}

fn over_postgres(run: &mut Run, options: &Options) -> anyhow::Result<String> {
    let sharded = postgres::SHARDED.iter().filter(|bench| options.wants(bench.name));
    let sharded: Vec<_> = sharded.collect();
    if sharded.is_empty() && !postgres::BENCHES.iter().any(|bench| options.wants(bench.name)) {
        return Ok(String::new());
    }
    let routed = postgres::BENCHES.iter().any(|bench| bench.routed && options.wants(bench.name));
    eprintln!("starting Postgres ...");
    let postgres = match postgres::Postgres::start(run, usize::from(routed)) {
        Ok(postgres) => postgres,
        Err(error) => {
            run.note(format!("Real Postgres is left out: {error:#}"));
            return Ok(String::new());
        }
    };
    let mut tables = report::PostgresTables::new(run);
    for bench in postgres::BENCHES.iter().filter(|bench| options.wants(bench.name)) {
        eprintln!("{} ...", bench.name);
        match postgres.measure(run, bench) {
            Ok(parts) => tables.add(run, bench, &parts),
            Err(error) if keeper::INTERRUPTED.load(Ordering::Relaxed) => return Err(error),
            // As when pgbench has not even connected within its time: the rest is told all the same.
            Err(error) => run.note(format!("{} is left out: {error:#}", bench.name)),
        }
    }
    let mut spread = report::sharded();
    if !sharded.is_empty() {
        postgres.spread()?;
    }
    for bench in sharded {
        eprintln!("{} ...", bench.name);
        match postgres.measure_sharded(run, bench) {
            Ok(Some(parts)) => report::add_sharded(&mut spread, bench, &parts),
            // pgweir can't be started, which is noted.
            Ok(None) => {}
            Err(error) if keeper::INTERRUPTED.load(Ordering::Relaxed) => return Err(error),
            Err(error) => run.note(format!("{} is left out: {error:#}", bench.name)),
        }
    }
    Ok(tables.cpu.markdown() + &tables.rate.markdown() + &spread.markdown())
}

/// Descriptors for 8,000 clients and the relay's two connections for each.
const DESCRIPTORS: usize = 17_000;

/// Starts this program again with as many descriptors as it may have, if it has too few.
fn raise_descriptors(words: &[&str]) -> anyhow::Result<()> {
    const RAISED: &str = "PGWEIR_COMPARE_RAISED";
    if run::descriptors()? >= DESCRIPTORS || std::env::var_os(RAISED).is_some() {
        return Ok(());
    }
    // The shell's ulimit: a call into libc would need unsafe code.
    let error = Command::new("sh")
        .args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .args(words)
        .env(RAISED, "1")
        .exec();
    Err(error).context("sh")
}

/// Lets Ctrl-C and SIGTERM end the run where it can tidy up.
fn watch_for_interrupts() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            keeper::INTERRUPTED.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}
