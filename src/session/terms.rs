//! What a session goes by, from the configuration of its database and user.

use std::time::Duration;

use super::cut::Limits;
use super::pins::PinTerms;
use crate::config::{Config, Database, OwnWrites, PoolMode, ReadRouting, TransactionRouting, User};

/// What is made of code that no text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnseenCode {
    /// The database is asked for it, and texts that lead to it may leave anything.
    ReckonedWith,
    /// Nothing.
    Ignored,
}

/// What is made of what texts cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryCosts {
    /// They are counted.
    Counted,
    /// Nothing.
    Ignored,
}

/// Limits and modes of a session; shared by all sessions of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct Terms {
    /// When a server is given back.
    pub mode: PoolMode,
    /// From the sending of a request to its end.
    pub query_timeout: Option<Duration>,
    /// A transaction without a request.
    pub idle_transaction_timeout: Option<Duration>,
    /// From the first request of a transaction to its end.
    pub transaction_timeout: Option<Duration>,
    /// A client without a transaction.
    pub client_idle_timeout: Option<Duration>,
    /// A request without a server.
    pub query_wait_timeout: Option<Duration>,
    /// When a client whose request waits is told so.
    pub query_wait_notify: Option<Duration>,
    /// The budget to roll back for a client that has gone.
    pub rollback_timeout: Duration,
    /// The user may not write.
    pub read_only: bool,
    /// What we tell its clients of errors is logged, too.
    pub log_pooler_errors: bool,
    /// Requests that take so long, with their wait, are logged.
    pub log_min_duration: Option<Duration>,
    /// What texts cost is counted.
    pub query_costs: QueryCosts,
    /// Who may keep a server between transactions.
    pub pins: PinTerms,
    /// What is made of code that no text shows.
    pub unseen_code: UnseenCode,
    /// Reset servers after every transaction.
    pub reset_always: bool,
    /// Prepared statements kept per server; 0 leaves names to the client.
    pub max_prepared_statements: usize,
    /// The longest message of a client, in bytes.
    pub message_max: u32,
    /// A request up to this many bytes is collected before it takes a server.
    pub request_max: usize,
    /// Statement text up to this many bytes is kept, to be prepared again on other servers.
    pub statement_max: usize,
    /// What the prepared statements of a client may take, in bytes.
    pub client_statements_max: usize,
    /// What a request over several shards may hold to put their rows together, in bytes.
    pub fan_out_max: usize,
    /// How long a change over several shards waits for a lock.
    pub fan_out_lock_timeout: Option<Duration>,
    /// Reads over several shards may come in a transaction.
    pub fan_out_in_transactions: bool,
    /// What has no key may change rows on all shards.
    pub fan_out_writes: bool,
    /// Which reads go to replicas.
    pub read_routing: ReadRouting,
    /// Where transactions begin that don't say what they do.
    pub transaction_routing: TransactionRouting,
    /// Who logs in at the server, if not the user.
    pub server_user: Option<String>,
    /// How much a replica may lack that is read from.
    pub max_lag: Option<Duration>,
    /// Whose writes reads have to see; nobody's, where there are no other hosts.
    pub read_your_writes: OwnWrites,
    /// How long a read waits for a replica that lacks only what its session has just written or seen.
    pub replica_wait: Option<Duration>,
    /// Bytes of notifications that may wait for a client.
    pub listen_queue: usize,
}

impl Terms {
    /// Whether names of statements are followed; else they are known to one server alone.
    pub(super) fn follows_names(&self) -> bool {
        self.max_prepared_statements > 0
    }

    /// Whether databases are asked of their code.
    #[inline]
    pub(super) fn knows_code(&self) -> bool {
        self.unseen_code == UnseenCode::ReckonedWith
    }

    /// Statements up to so many bytes are followed by their names.
    pub(super) fn followed_max(&self) -> usize {
        if self.follows_names() { self.statement_max } else { 0 }
    }

    /// The terms of this user on this database.
    pub fn new(config: &Config, database: &Database, user: Option<&User>) -> Self {
        let general = &config.general;
        let or_general = |own: Option<Option<Duration>>, general| own.unwrap_or(general);
        Self {
            mode: config.pool_mode(database, user),
            query_timeout: or_general(user.map(|u| u.query_timeout), general.query_timeout),
            idle_transaction_timeout: or_general(
                user.map(|u| u.idle_transaction_timeout),
                general.idle_transaction_timeout,
            ),
            transaction_timeout: or_general(
                user.map(|u| u.transaction_timeout),
                general.transaction_timeout,
            ),
            client_idle_timeout: or_general(
                user.map(|u| u.client_idle_timeout),
                general.client_idle_timeout,
            ),
            query_wait_timeout: config.query_wait_timeout(database, user),
            query_wait_notify: general.query_wait_notify,
            rollback_timeout: general.rollback_timeout,
            read_only: user.is_some_and(|user| user.read_only),
            log_pooler_errors: general.log_pooler_errors,
            log_min_duration: general.log_min_duration,
            query_costs: match general.query_stats_size.len() {
                0 => QueryCosts::Ignored,
                _ => QueryCosts::Counted,
            },
            pins: PinTerms::new(general),
            unseen_code: match config.pool_mode(database, user) {
                PoolMode::Session => UnseenCode::Ignored,
                _ if general.unseen_code_interval.is_none() => UnseenCode::Ignored,
                PoolMode::Transaction | PoolMode::Statement => UnseenCode::ReckonedWith,
            },
            reset_always: general.server_reset_query_always,
            max_prepared_statements: general.max_prepared_statements,
            message_max: general.max_packet_size,
            request_max: general.request_buffer_size.len(),
            statement_max: general.max_statement_size.len(),
            client_statements_max: general.client_statements_size.len(),
            fan_out_max: general.fan_out_buffer_size.len(),
            fan_out_lock_timeout: general.fan_out_lock_timeout,
            fan_out_in_transactions: database.allow_fan_out_in_transactions,
            fan_out_writes: database.allow_fan_out_writes,
            read_routing: config.read_routing(database, user),
            transaction_routing: config.transaction_routing(database, user),
            server_user: database.user.clone(),
            max_lag: config.max_lag(database, user),
            read_your_writes: match database.seeks_primary() {
                true => config.read_your_writes(database),
                false => OwnWrites::Off,
            },
            replica_wait: general.replica_wait,
            listen_queue: general.listen_queue_size.len(),
        }
    }

    /// Whether anybody wants to know what a text costs.
    #[inline]
    pub(super) fn tells_costs(&self) -> bool {
        self.query_costs == QueryCosts::Counted || self.log_min_duration.is_some()
    }

    /// How much of a client's bytes is collected before it takes a server.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            message: self.message_max,
            request: self.request_max,
            statement: self.statement_max,
        }
    }

    /// Whether anything has to be timed while a server is attached.
    pub fn times_requests(&self) -> bool {
        self.query_timeout.is_some()
            || self.idle_transaction_timeout.is_some()
            || self.transaction_timeout.is_some()
            || self.pins.timeout.is_some()
    }
}
