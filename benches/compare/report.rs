//! The tables: medians, and ratios as the median of each round's ratio to PgBouncer.

use crate::cases::{Case, OPEN_LOOP_RATE, OpenLoop, Part, Turn, Unit};
use crate::memory::{CROWDS, Footprint};
use crate::peers::{Peer, Statements};
use crate::postgres::{Bench, BenchPart};
use crate::run::Run;
use crate::watched::Watched;

/// A table in Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: &str, header: Vec<String>) -> Self {
        Self { title: title.to_owned(), header, rows: Vec::new() }
    }

    /// The table, if it has rows.
    pub(crate) fn markdown(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: String = self.header.iter().map(|_| "---|").collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("### {}\n\n{}|{rule}\n{rows}\n", self.title, line(&self.header))
    }
}

/// The median; of nothing, nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// Ratios round by round.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// A figure with as many digits as mean something.
fn figure(value: f64) -> String {
    let digits =
        if value >= 100.0 { 0 } else { usize::from(value < 100.0) + usize::from(value < 1.0) };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// "13.4 (.82)": the median and the median ratio; a dash where nothing was measured.
fn cell(values: Option<&[f64]>, base: Option<&[f64]>) -> String {
    let Some(middle) = values.and_then(median) else { return "–".to_owned() };
    match values.zip(base).and_then(|(values, base)| median(&ratios(values, base))) {
        Some(ratio) => format!("{} ({ratio:.2})", figure(middle)),
        None => figure(middle),
    }
}

/// How far the rounds' ratios lie apart, as a share of their median.
fn spread(values: Option<&[f64]>, base: Option<&[f64]>) -> String {
    let ratios = values.zip(base).map(|(values, base)| ratios(values, base)).unwrap_or_default();
    let Some(middle) = median(&ratios) else { return "–".to_owned() };
    let farthest = ratios.iter().map(|ratio| (ratio - middle).abs()).fold(0.0, f64::max);
    format!("±{:.0} %", farthest / middle * 100.0)
}

/// The values of a peer, and PgBouncer's as the base unless it is PgBouncer.
fn row_cells<P>(
    parts: &[P],
    peer_of: impl Fn(&P) -> Option<Peer>,
    values_of: impl Fn(&P) -> Vec<f64>,
) -> (Vec<String>, String) {
    let values = |peer| parts.iter().find(|part| peer_of(part) == Some(peer)).map(&values_of);
    let base = values(Peer::PgBouncer);
    let mut cells = Vec::new();
    for peer in Peer::ALL {
        let base = base.as_deref().filter(|_| peer != Peer::PgBouncer);
        cells.push(cell(values(peer).as_deref(), base));
    }
    let ours = values(Peer::Pgweir).or_else(|| values(Peer::Relay));
    (cells, spread(ours.as_deref(), base.as_deref()))
}

fn peers_header(run: &Run, first: &str, last: &[&str]) -> Vec<String> {
    let mut header = vec![first.to_owned()];
    header.extend(Peer::ALL.map(|peer| run.title(peer)));
    header.extend(last.iter().map(|&title| title.to_owned()));
    header
}

/// What a title says when the poolers run in different modes.
fn modes(run: &Run, statements: Statements) -> &'static str {
    match statements {
        Statements::Named if !run.pgbouncer_prepares() => {
            " (PgBouncer in session mode, pgweir in transaction mode)"
        }
        Statements::Named | Statements::Unnamed => "",
    }
}

/// The three tables of the cases over the null server.
#[derive(Debug)]
pub(crate) struct NullTables {
    pub(crate) cpu: Table,
    pub(crate) rate: Table,
    pub(crate) calls: Table,
}

impl NullTables {
    /// Empty tables.
    pub(crate) fn new(run: &Run) -> Self {
        Self {
            cpu: Table::new(
                "CPU microseconds of the pooler per transaction (bulk: per MB); in brackets the \
                 ratio to PgBouncer",
                peers_header(run, "null server", &["aim", "spread of the ratio"]),
            ),
            rate: Table::new(
                "Throughput of the null server: transactions (bulk: MB) per second, everything on \
                 this machine; in brackets the ratio to PgBouncer",
                peers_header(run, "null server", &[]),
            ),
            calls: Table::new(
                "System calls of the pooler per transaction (bulk: per MB)",
                peers_header(run, "null server", &[]),
            ),
        }
    }

    /// Adds a case.
    pub(crate) fn add(&mut self, run: &Run, case: &Case, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        let mut title = case.title.to_owned();
        if case.idle > run.idle_clients(case.idle) {
            title += &format!(" (only {} idle: descriptors)", run.idle_clients(case.idle));
        }
        title += modes(run, case.setup.statements);
        let of = |part: &Part| Some(part.peer);
        let cpu = |part: &Part| part.turns.iter().map(|turn| turn.cpu).collect();
        let rate = |part: &Part| part.turns.iter().map(|turn| turn.rate).collect();
        let (cells, spread) = row_cells(parts, of, cpu);
        let aim = case.aim.map_or("–".to_owned(), |aim| format!("≤ {aim:.2}"));
        self.cpu.rows.push([vec![title.clone()], cells, vec![aim, spread]].concat());
        let (cells, _) = row_cells(parts, of, rate);
        self.rate.rows.push([vec![title.clone()], cells].concat());
        if parts.iter().any(|part| part.calls.is_some()) {
            let calls = Peer::ALL.map(|peer| {
                let part = parts.iter().find(|part| part.peer == peer);
                let Some(calls) = part.and_then(|part| part.calls.as_ref()) else {
                    return "–".to_owned();
                };
                let decimals = if case.unit == Unit::Megabyte { 0 } else { 1 };
                let most: Vec<String> =
                    calls.most.iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
                format!("{:.decimals$} ({})", calls.total, most.join(", "))
            });
            self.calls.rows.push([vec![title], calls.to_vec()].concat());
        }
    }
}

/// The table of the open loop.
pub(crate) fn latency(run: &Run, parts: &[OpenLoop]) -> Table {
    let mut header =
        peers_header(run, &format!("open loop, {OPEN_LOOP_RATE} simple queries/s"), &[]);
    header.insert(1, "direct".to_owned());
    let mut table = Table::new(
        "Added latency: microseconds over direct connections, medians of the rounds",
        header,
    );
    let find = |peer| parts.iter().find(|part| part.peer == peer);
    let direct = find(None);
    let mut add = |title: &str, values: fn(&OpenLoop) -> &[f64]| {
        let base = direct.map(values).unwrap_or_default();
        let mut row = vec![title.to_owned(), cell(Some(base), None)];
        for peer in Peer::ALL {
            let added: Option<Vec<f64>> = find(Some(peer))
                .map(|part| values(part).iter().zip(base).map(|(of, to)| of - to).collect());
            row.push(
                added
                    .and_then(|added| median(&added))
                    .map_or("–".to_owned(), |added| format!("{added:+.0}")),
            );
        }
        table.rows.push(row);
    };
    add("median", |part| &part.p50);
    add("95th percentile", |part| &part.p95);
    let of = |part: &OpenLoop| part.peer;
    let (cells, _) = row_cells(parts, of, |part| part.cpu.clone());
    let title = "CPU microseconds per transaction".to_owned();
    table.rows.push([vec![title, "–".to_owned()], cells].concat());
    table
}

/// The tables of what it costs to be watched, and of how soon those who watch are answered.
pub(crate) fn watched(watched: &Watched) -> String {
    let header = ["", "nobody looks", "scraped, and asked once a second", "spread of the ratio"];
    let mut cost = Table::new(
        "pgweir watched, 50 simple clients, as many as there may be; in brackets the ratio to the \
         same unwatched",
        header.map(str::to_owned).into(),
    );
    for (title, value) in [
        ("CPU microseconds per transaction", (|turn| turn.cpu) as fn(&Turn) -> f64),
        ("transactions per second", |turn| turn.rate),
    ] {
        let [base, own] =
            [&watched.quiet, &watched.watched].map(|turns| turns.iter().map(value).collect());
        let (base, own): (Vec<f64>, Vec<f64>) = (base, own);
        cost.rows.push(vec![
            title.to_owned(),
            cell(Some(&base), None),
            cell(Some(&own), Some(&base)),
            spread(Some(&own), Some(&base)),
        ]);
    }
    let header = ["asked for", "median", "99th percentile", "longest", "within 10 ms", "times"];
    let mut answers = Table::new(
        "Milliseconds to an answer of the console and the pages, under the same load",
        header.map(str::to_owned).into(),
    );
    for answer in &watched.answers {
        let mut took: Vec<f64> = answer.took.iter().map(|it| it.as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100).copied();
        let mut row = vec![answer.to.to_owned()];
        row.extend([50, 99, 100].map(|share| at(share).map_or("–".to_owned(), figure)));
        let within = took.iter().filter(|took| **took <= 10.0).count();
        row.push(format!("{:.1} %", within as f64 / took.len().max(1) as f64 * 100.0));
        row.push(took.len().to_string());
        answers.rows.push(row);
    }
    cost.markdown() + &answers.markdown()
}

/// The table of what shards cost.
pub(crate) fn sharded() -> Table {
    let header = ["", "one database", "on two shards", "spread of the ratio"];
    Table::new(
        "CPU microseconds of pgweir per transaction over a real Postgres, 20 clients; in brackets \
         the ratio to one database that is on no shards",
        header.map(str::to_owned).into(),
    )
}

/// Adds what both have taken.
pub(crate) fn add_sharded(table: &mut Table, bench: &Bench, [plain, sharded]: &[BenchPart; 2]) {
    let (base, own) = (&plain.cpu, &sharded.cpu);
    table.rows.push(vec![
        bench.title.to_owned(),
        cell(Some(base), None),
        cell(Some(own), Some(base)),
        spread(Some(own), Some(base)),
    ]);
}

/// The table of idle clients.
pub(crate) fn memory(run: &Run) -> Table {
    let [small, large] = CROWDS.map(|clients| figure(run.idle_clients(clients) as f64));
    Table::new(
        "Memory (PSS); per client from the large crowd",
        peers_header(
            run,
            &format!("idle clients: none / {small} / {large} / after they left"),
            &[],
        ),
    )
}

/// Adds a kind of idle clients to the table of memory.
pub(crate) fn add_memory(table: &mut Table, run: &Run, title: &str, footprints: &[Footprint]) {
    if footprints.is_empty() {
        return;
    }
    let clients = run.idle_clients(CROWDS[1]).max(1) as f64;
    let cells = Peer::ALL.map(|peer| {
        let Some(found) = footprints.iter().find(|footprint| footprint.peer == peer) else {
            return "–".to_owned();
        };
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        let per_client = found.large_crowd.saturating_sub(found.empty) as f64 / clients / 1024.0;
        let steps = [found.empty, found.small_crowd, found.large_crowd, found.left];
        format!("{per_client:.2} KB ({} MB)", steps.map(megabytes).join(" / "))
    });
    table.rows.push([vec![title.to_owned()], cells.to_vec()].concat());
}

/// The tables of pgbench over a real Postgres.
#[derive(Debug)]
pub(crate) struct PostgresTables {
    pub(crate) cpu: Table,
    pub(crate) rate: Table,
}

impl PostgresTables {
    /// Empty tables.
    pub(crate) fn new(run: &Run) -> Self {
        let mut rate = Table::new(
            "pgbench's transactions per second (average latency in ms), everything on this machine",
            peers_header(run, "Postgres", &[]),
        );
        rate.header.insert(1, "direct".to_owned());
        Self {
            cpu: Table::new(
                "Over a real Postgres: CPU microseconds of the pooler per transaction of pgbench; \
                 in brackets the ratio to PgBouncer",
                peers_header(run, "Postgres", &["spread of the ratio"]),
            ),
            rate,
        }
    }

    /// Adds a case.
    pub(crate) fn add(&mut self, run: &Run, bench: &Bench, parts: &[BenchPart]) {
        let title = format!("{}{}", bench.title, modes(run, bench.statements));
        let (cells, spread) = row_cells(parts, |part| part.peer, |part| part.cpu.clone());
        self.cpu.rows.push([vec![title.clone()], cells, vec![spread]].concat());
        let rate = |peer: Option<Peer>| {
            let part = parts.iter().find(|part| part.peer == peer)?;
            Some(format!("{} ({:.2})", figure(median(&part.rate)?), median(&part.latency_ms)?))
        };
        let peers = [None].into_iter().chain(Peer::ALL.map(Some));
        let cells = peers.map(|peer| rate(peer).unwrap_or_else(|| "–".to_owned()));
        self.rate.rows.push([title].into_iter().chain(cells).collect());
    }
}
