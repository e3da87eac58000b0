//! The top-level keys about what operators and their tools see.

use super::{CONNECTIONS, Group, key};
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
             some 80 lines. Those beyond it are counted together, as database and user \"other\"."
        ),
        key!(
            max_events,
            Kind::Count(0, 100_000),
            "Events that SHOW EVENTS remembers, the last ones. Each is a line of at most 600 letters."
        ),
    ],
};
