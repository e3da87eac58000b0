//! The top-level keys of databases with several hosts.

use super::{DAY, GIB, Group, HOUR, YEAR, key, limit_of, off, time};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// How it is found out which host is the primary.
pub(super) const HOSTS: Group = Group {
    title: "Databases with several hosts",
    keys: &[
        key!(
            check_interval,
            time(50, HOUR),
            "Time between two looks at each host of a database that has several: is it there, is \
             it the primary, how far is it? Faster while no primary is known."
        ),
        key!(
            check_timeout,
            time(10, HOUR),
            "Longest look at a host. One that has not answered three times in a row is down; where \
             nobody listens any more it is so at once."
        ),
        key!(
            failover_timeout,
            time(0, HOUR),
            "How long clients wait for a primary when none is known, from its loss on; then they \
             are refused until one is found. query_wait_timeout holds as well."
        ),
        key!(
            breaker_errors,
            Kind::Count(1, 100),
            "With load_balance_hosts: a host is left out when so many of a hundred attempts to open \
             a server there have failed, of at least three. One that takes longer than \
             check_timeout has, where there is another host to be tried."
        ),
        key!(
            breaker_reset,
            time(100, HOUR),
            "How long it is left out; then one attempt decides. Also how long an attempt counts."
        ),
        key!(
            check_user,
            Kind::Text,
            "The user who asks the hosts. Its password is the one under [users] or in auth_file. \
             docs/routing.md says what it may need on the servers. \"\" is the database's user, \
             or else auth_user."
        ),
        key!(
            catalog_interval,
            time(100, DAY),
            "How often it is looked whether something has been defined past the pooler in a database \
             with several hosts, as far as it decides what may run on a replica: functions, views, \
             tables. What passes through is seen at once (docs/routing.md)."
        ),
        key!(
            facts_cache_size,
            Kind::Size(0, GIB),
            "What may be kept of texts that were taken apart, so that it need not be done again. Texts \
             that differ in numbers and strings alone count as one. 0 keeps none."
        ),
        key!(
            read_routing,
            Kind::Reads,
            "Which reads go to replicas, where there are some: all that are proven to do nothing but \
             read (auto), those of transactions that say that they are read only and those with a \
             hint (explicit), or none (off)."
        ),
        key!(
            transaction_routing,
            Kind::Transactions,
            "Where transactions begin that don't say whether they write, where there are replicas: on \
             the primary (primary), or on a replica, to go on on the primary as soon as they do more than \
             to read (optimistic). What they have read by then may be as old as max_lag allows \
             (docs/routing.md)."
        ),
        key!(
            max_lag,
            limit_of("no bound", YEAR),
            "A replica that lacks more than the last of this time is not read from."
        ),
        key!(
            read_your_writes,
            Kind::OwnWrites,
            "Whose writes a read sees, wherever it runs: those of its session, and of others with \
             the same pgweir.causal_token (session), those of all sessions of this process on its \
             database (database). With off only max_lag counts: reads may go backwards, too."
        ),
        key!(
            replica_wait,
            off(1),
            "How long a read waits for a replica that may lack only what its session has just written \
             or seen, before it runs on the primary: more reads on replicas, for some milliseconds \
             after each write (docs/routing.md)."
        ),
        key!(
            replica_balance,
            Kind::Spread,
            "Which of several replicas is read from: one that few others read from (least_conn), \
             each in its turn, or any. All go by the hosts' weights."
        ),
        key!(
            fallback_percent,
            Kind::Count(0, 100),
            "While no replica is there that could answer them, reads have at most so many of a hundred \
             servers of the primary's pool at a time, rounded up, and others wait for their turn up to \
             query_wait_timeout: so writes need not stand in line behind them. 0 = no such bound."
        ),
        key!(
            read_only_functions,
            Kind::Names,
            "Functions that only read though they are declared VOLATILE (or not declared at all), as \
             name or schema.name; calls of them need no primary (docs/routing.md)."
        ),
        key!(
            primary_functions,
            Kind::Names,
            "Functions that are for the primary, whatever they are declared to be."
        ),
        key!(
            primary_tables,
            Kind::Names,
            "Tables and views that are read on the primary alone, as name or schema.name; so is every \
             view with one of them behind it."
        ),
    ],
};
