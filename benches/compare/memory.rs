//! What a crowd of idle clients costs in memory, and what is left of it when they have gone.

use std::time::Duration;

use crate::cases::PLAIN;
use crate::load::Crowd;
use crate::peers::{Peer, Pooler, Setup, Statements};
use crate::process::{memory, settled_memory};
use crate::run::Run;
use crate::script::{self, Script};

/// Memory of a pooler in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) peer: Peer,
    /// After one client came and left.
    pub(crate) empty: u64,
    pub(crate) small_crowd: u64,
    pub(crate) large_crowd: u64,
    /// After all have left.
    pub(crate) left: u64,
}

/// Clients in the small and the large crowd.
pub(crate) const CROWDS: [usize; 2] = [1000, 8000];

/// How long a pooler has to give memory back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

/// Statements that the clients of the second case prepare.
const STATEMENTS: usize = 10;

/// Idle clients that have asked one simple query.
pub(crate) fn measure_idle(run: &mut Run) -> anyhow::Result<Vec<Footprint>> {
    measure(run, "idle", Statements::Unnamed, &script::idle_after_query())
}

/// Idle clients with prepared statements.
pub(crate) fn measure_idle_prepared(run: &mut Run) -> anyhow::Result<Vec<Footprint>> {
    let script = script::idle_with_statements(STATEMENTS);
    measure(run, "idle-prepared", Statements::Named, &script)
}

fn measure(
    run: &mut Run,
    name: &str,
    statements: Statements,
    script: &Script,
) -> anyhow::Result<Vec<Footprint>> {
    let setup = Setup { statements, ..PLAIN };
    let mut footprints = Vec::new();
    for peer in Peer::ALL {
        let old = peer == Peer::PgBouncer && !run.pgbouncer_prepares();
        if statements == Statements::Named && old {
            run.leave_out(
                peer,
                name,
                "before 1.21 it keeps no prepared statements in transaction mode, and in session \
                 mode each idle client would hold a server",
            );
            continue;
        }
        let Some(pooler) = run.start(peer, &setup, name)? else { continue };
        match footprint(run, peer, &pooler, script) {
            Ok(footprint) => footprints.push(footprint),
            Err(error) => run.failed(peer, name, &error, &pooler)?,
        }
    }
    Ok(footprints)
}

fn footprint(run: &Run, peer: Peer, pooler: &Pooler, script: &Script) -> anyhow::Result<Footprint> {
    drop(Crowd::connect(&pooler.target, script, 1)?);
    let empty = settled_memory(pooler.pid(), GIVE_BACK_WITHIN)?;
    let [small, large] = CROWDS.map(|clients| run.idle_clients(clients));
    let first = Crowd::connect(&pooler.target, script, small)?;
    let small_crowd = memory(pooler.pid())?;
    let second = Crowd::connect(&pooler.target, script, large.saturating_sub(small))?;
    let large_crowd = memory(pooler.pid())?;
    first.check()?;
    second.check()?;
    drop((first, second));
    let left = settled_memory(pooler.pid(), GIVE_BACK_WITHIN)?;
    Ok(Footprint { peer, empty, small_crowd, large_crowd, left })
}
