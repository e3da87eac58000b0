//! The top-level keys about what keeps a client on its server.

use super::{Group, YEAR, key, limit, off};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// What keeps a client on its server between transactions.
pub(super) const PINS: Group = Group {
    title: "Session state that can't travel (docs/transactions.md)",
    keys: &[
        key!(
            unseen_code_interval,
            off(10 * YEAR),
            "How often each database is asked, in transaction mode, for triggers, views, defaults and \
             the like that change the session of whoever uses them; also after definitions that \
             pass through. When it is off, what they leave reaches the next client."
        ),
        key!(
            max_pinned_clients,
            limit(),
            "Clients that may keep their server between transactions, per pool; one more is \
             closed. Below the pool's size, some servers are always there for all."
        ),
        key!(
            pin_timeout,
            off(10 * YEAR),
            "Longest time that a client may keep its server between transactions; then, once it is \
             between two, it is closed."
        ),
        key!(
            pin_temporary,
            Kind::Pin,
            "Temporary objects that outlive their transaction: the client keeps its server (pin), \
             gets an error instead, or is closed where it shows only afterwards (reject), or \
             loses them at the end of the transaction (allow)."
        ),
        key!(pin_cursor, Kind::Pin, "The same for cursors WITH HOLD."),
        key!(pin_lock, Kind::Pin, "The same for session advisory locks."),
        key!(
            pin_prepared,
            Kind::Pin,
            "The same for PREPARE in SQL, where the text has to stay on its server."
        ),
        key!(pin_library, Kind::Pin, "The same for LOAD."),
        key!(pin_seed, Kind::Pin, "The same for setseed() and SET seed."),
    ],
};
