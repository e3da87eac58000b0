//! The top-level keys about what operators and their tools see.

use super::{CONNECTIONS, GIB, Group, YEAR, key, off};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// What operators and their tools see.
pub(super) const FIGURES: Group = Group {
    title: "Figures (docs/metrics.md)",
    keys: &[
        key!(
            max_metrics_users,
            Kind::Count(0, CONNECTIONS),
            "Users on databases, in pairs, that the histograms of /metrics tell apart: each pair is \
             some 80 lines. Those beyond it are counted together, as database and user \"other\". Of more \
             pools than this, /metrics leaves out those that have neither clients nor servers."
        ),
        key!(
            query_stats_size,
            Kind::Size(0, GIB),
            "Memory for SHOW QUERIES: what texts cost, by their form without values. When it is \
             full, those that took the least time are counted together. 0 = nothing is counted."
        ),
        key!(
            log_min_duration,
            off(10 * YEAR),
            "Log requests that take so long, their wait for a server included: both times, and the \
             text without the values in it. What is repeated is logged as a number every 10 s."
        ),
        key!(
            max_events,
            Kind::Count(0, 100_000),
            "Events that SHOW EVENTS remembers, the last ones. Each is a line of at most 600 letters."
        ),
    ],
};
