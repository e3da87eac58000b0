//! The configuration as the rest of the program reads it.
//!
//! Plain data in final types; a limit that is off is `None`. Where a database or a user may override
//! a general setting, the methods of [`Config`] give the value that holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::alerts::Alerts;
use super::choice::{
    AuthType, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread, TransactionRouting,
};
use super::database::Database;
use super::hba::{HbaRule, IdentLine};
use super::keys::AUTH_QUERY;
use super::rate::Rate;
use super::tls::{SslMode, SslNegotiation, TlsVersions};
use super::units::{ByteSize, FileMode};
use super::user::User;

/// Everything that was configured; immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The top-level keys.
    pub general: General,
    /// `[databases.NAME]`, by the name that clients ask for; at least one.
    pub databases: BTreeMap<String, Arc<Database>>,
    /// `[users.NAME]` and the entries of `auth_file`, by name.
    pub users: BTreeMap<String, User>,
    /// `[[hba]]` or the rules of `auth_hba_file`: the first that fits counts.
    pub hba: Vec<HbaRule>,
    /// The lines of `auth_ident_file`.
    pub ident: Vec<IdentLine>,
    /// `[alerts]`.
    pub alerts: Alerts,
}

impl Config {
    /// Nothing but the top-level keys.
    pub(super) fn empty(general: General) -> Self {
        let (databases, users) = (BTreeMap::new(), BTreeMap::new());
        let (hba, ident) = (Vec::new(), Vec::new());
        Self { general, databases, users, hba, ident, alerts: Alerts::default() }
    }
}

/// The top-level keys of `pooler.toml`. An `Option` that is `None` is off or unlimited (0 in the
/// file). `docs/config.md` says more about each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, one per key of the file")]
pub struct General {
    /// Addresses to listen on: IP addresses, host names, `*` for all.
    pub listen_addr: Vec<String>,
    /// Port to listen on; 0 = any free port.
    pub listen_port: u16,
    /// Directory of a unix socket to listen on, `@name` for the abstract namespace; `None` = off.
    pub unix_socket_dir: Option<String>,
    /// Permissions of the unix socket.
    pub unix_socket_mode: FileMode,
    /// Group of the unix socket; `None` = the process's.
    pub unix_socket_group: Option<String>,
    /// Share the port with other processes.
    pub so_reuseport: bool,
    /// Connections that the kernel may queue before they are accepted.
    pub listen_backlog: u32,

    /// When a server goes back to the pool.
    pub pool_mode: PoolMode,
    /// Clients at once, the console apart.
    pub max_client_conn: usize,
    /// Servers per pool (database, user, host).
    pub default_pool_size: usize,
    /// Servers that a pool keeps open.
    pub min_pool_size: usize,
    /// Extra servers for a pool whose clients wait longer than `reserve_pool_timeout`.
    pub reserve_pool_size: usize,
    /// Wait after which the reserve may be used.
    pub reserve_pool_timeout: Duration,
    /// Servers per database over all users.
    pub max_db_connections: Option<usize>,
    /// Servers per user over all databases.
    pub max_user_connections: Option<usize>,
    /// Clients per database.
    pub max_db_client_connections: Option<usize>,
    /// Clients per user.
    pub max_user_client_connections: Option<usize>,
    /// Servers per server host over all pools.
    pub max_server_connections: Option<usize>,
    /// Connection attempts at once per server host.
    pub max_server_logins: usize,
    /// Replication connections at once.
    pub max_replication_connections: usize,
    /// Databases at once that `[databases."*"]` stands for.
    pub max_auto_databases: usize,
    /// When one of them is forgotten that nobody uses.
    pub autodb_idle_timeout: Option<Duration>,
    /// When a user's pools of a listed database are forgotten that have nobody and nothing.
    pub pool_idle_timeout: Option<Duration>,
    /// Clients per address.
    pub max_address_client_connections: Option<usize>,
    /// Clients at once that have not logged in yet.
    pub max_unauthenticated_clients: usize,
    /// What they may have sent together.
    pub unauthenticated_memory: ByteSize,
    /// Open files that are kept for servers.
    pub reserved_open_files: usize,
    /// Logins per address.
    pub login_rate_per_address: Option<Rate>,
    /// Logins per user.
    pub login_rate_per_user: Option<Rate>,
    /// Requests for a server per user.
    pub query_rate_per_user: Option<Rate>,
    /// Requests for a server per database.
    pub query_rate_per_database: Option<Rate>,
    /// Requests for a server per application name.
    pub query_rate_per_application_name: Option<Rate>,

    /// Use the idle server that was used longest ago, instead of the latest.
    pub server_round_robin: bool,
    /// What cleans a server between clients.
    pub server_reset_query: String,
    /// Run `server_reset_query` in transaction mode too.
    pub server_reset_query_always: bool,

    /// How often a database is asked for code that changes sessions unseen; `None` = never.
    pub unseen_code_interval: Option<Duration>,
    /// Clients that may keep a server between transactions, per pool; `None` = as many as it has.
    pub max_pinned_clients: Option<usize>,
    /// How long a client may keep its server between transactions; `None` = no limit.
    pub pin_timeout: Option<Duration>,
    /// What becomes of a client that leaves temporary objects.
    pub pin_temporary: PinPolicy,
    /// What becomes of a client that leaves cursors `WITH HOLD`.
    pub pin_cursor: PinPolicy,
    /// What becomes of a client that leaves session advisory locks.
    pub pin_lock: PinPolicy,
    /// What becomes of a client that leaves statements prepared by SQL which can't travel.
    pub pin_prepared: PinPolicy,
    /// What becomes of a client that loads a library.
    pub pin_library: PinPolicy,
    /// What becomes of a client that seeds random numbers.
    pub pin_seed: PinPolicy,
    /// Idle time after which a server is probed before use.
    pub server_check_delay: Duration,
    /// The probe; an empty string is an empty query.
    pub server_check_query: String,
    /// Age at which a server is closed once it is free.
    pub server_lifetime: Option<Duration>,
    /// Idle time after which a server is closed.
    pub server_idle_timeout: Option<Duration>,
    /// Time for connecting and logging in to a server.
    pub server_connect_timeout: Duration,
    /// Ceiling of the back-off between failed connection attempts.
    pub server_login_retry: Duration,

    /// Time between two looks at each of several hosts.
    pub check_interval: Duration,
    /// Longest look.
    pub check_timeout: Duration,
    /// How long clients wait for a primary.
    pub failover_timeout: Duration,
    /// Share of failed attempts, in a hundred, at which a host is left out.
    pub breaker_errors: usize,
    /// For how long.
    pub breaker_reset: Duration,
    /// Who looks; `None` = the database's user. [`Config::check_user`] has the defaults in.
    pub check_user: Option<String>,
    /// Time between two looks at what is defined in a database with several hosts.
    pub catalog_interval: Duration,
    /// What may be kept of texts that were taken apart.
    pub facts_cache_size: ByteSize,
    /// Which reads go to replicas. [`Config::read_routing`] has the overrides in.
    pub read_routing: ReadRouting,
    /// Where transactions begin that don't say what they do. [`Config::transaction_routing`] has the
    /// overrides in.
    pub transaction_routing: TransactionRouting,
    /// How much a replica may lack that is read from. [`Config::max_lag`] has the overrides in.
    pub max_lag: Option<Duration>,
    /// Whose writes reads have to see. [`Config::read_your_writes`] has the override in.
    pub read_your_writes: OwnWrites,
    /// How long a read waits for a replica that lacks only what its session has just written or seen.
    pub replica_wait: Option<Duration>,
    /// How reads are spread over replicas. [`Config::replica_balance`] has the override in.
    pub replica_balance: Spread,
    /// How much of the primary's pool reads may have while no replica is there; 0 = all of it.
    pub fallback_percent: usize,
    /// Functions that only read, whatever their volatility.
    pub read_only_functions: Vec<String>,
    /// Functions that are for the primary.
    pub primary_functions: Vec<String>,
    /// Tables and views that are read on the primary.
    pub primary_tables: Vec<String>,

    /// Time for a client to log in.
    pub client_login_timeout: Duration,
    /// Idle time after which a client is closed.
    pub client_idle_timeout: Option<Duration>,
    /// Longest query.
    pub query_timeout: Option<Duration>,
    /// Longest wait for a server. [`Config::query_wait_timeout`] has the overrides in.
    pub query_wait_timeout: Option<Duration>,
    /// Wait after which a client is told that it is queued.
    pub query_wait_notify: Option<Duration>,
    /// Longest wait of a cancel request for a server.
    pub cancel_wait_timeout: Duration,
    /// Longest idle time inside a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// Longest transaction.
    pub transaction_timeout: Option<Duration>,
    /// Time to roll back for a client that vanished in a transaction.
    pub rollback_timeout: Duration,

    /// Time for which clients still come in after SIGTERM.
    pub drain_delay: Duration,
    /// Clients per second that are asked to go; `None` = all at once.
    pub drain_pace: Option<u32>,
    /// Longest graceful stop; `None` = for ever.
    pub drain_timeout: Option<Duration>,

    /// Startup parameters to swallow.
    pub ignore_startup_parameters: Vec<String>,
    /// Prepared statements kept per server; 0 = not tracked.
    pub max_prepared_statements: usize,
    /// Longest protocol message, in bytes.
    pub max_packet_size: u32,
    /// A request up to this size is collected before it takes a server.
    pub request_buffer_size: ByteSize,
    /// Statement text up to this size is kept, to be prepared again on other servers.
    pub max_statement_size: ByteSize,
    /// What the prepared statements of a client may take.
    pub client_statements_size: ByteSize,
    /// What a request over several shards may hold to put their rows together.
    pub fan_out_buffer_size: ByteSize,
    /// How long a change over several shards waits for a lock.
    pub fan_out_lock_timeout: Option<Duration>,
    /// Notifications that wait for one client.
    pub listen_queue_size: ByteSize,

    /// How clients prove who they are.
    pub auth_type: AuthType,
    /// PgBouncer's list of users; its entries are in [`Config::users`] already.
    pub auth_file: Option<PathBuf>,
    /// Passwords of databases; they are in [`Config::databases`] already.
    pub password_file: Option<PathBuf>,
    /// Rules of who is let in how; they are in [`Config::hba`] already.
    pub auth_hba_file: Option<PathBuf>,
    /// Maps of names for `cert` and `peer`; they are in [`Config::ident`] already.
    pub auth_ident_file: Option<PathBuf>,
    /// Who looks up the secrets of users that are not listed; `None` = they are unknown.
    pub auth_user: Option<String>,
    /// How they are looked up; `$1` is the user.
    pub auth_query: String,
    /// The database whose server is asked; `None` = the one that the client asks for.
    pub auth_dbname: Option<String>,
    /// Longest look-up.
    pub auth_query_timeout: Duration,
    /// Connections at once for look-ups at one server.
    pub auth_query_connections: usize,
    /// How long an answer is good for; `None` = for those who wait for it already.
    pub auth_cache_time: Option<Duration>,
    /// Answers that are kept per server.
    pub auth_cache_size: usize,
    /// Users who may do everything in the console.
    pub admin_users: Vec<String>,
    /// Users who may SHOW in the console.
    pub stats_users: Vec<String>,

    /// TLS with clients.
    pub client_tls_sslmode: SslMode,
    /// File with the key of our certificate for clients.
    pub client_tls_key_file: Option<PathBuf>,
    /// File with our certificate for clients, and those between it and its authority.
    pub client_tls_cert_file: Option<PathBuf>,
    /// File with the authorities of clients' certificates.
    pub client_tls_ca_file: Option<PathBuf>,
    /// Versions of TLS with clients.
    pub client_tls_protocols: TlsVersions,
    /// Cipher suites of TLS 1.2 with clients, by OpenSSL's names; none = all.
    pub client_tls_ciphers: Vec<String>,
    /// Cipher suites of TLS 1.3 with clients; none = all.
    pub client_tls13_ciphers: Vec<String>,
    /// TLS with servers.
    pub server_tls_sslmode: SslMode,
    /// How TLS with servers starts.
    pub server_tls_negotiation: SslNegotiation,
    /// File with the authorities of servers' certificates; `system` = those of the system.
    pub server_tls_ca_file: Option<PathBuf>,
    /// File with the key of our certificate for servers.
    pub server_tls_key_file: Option<PathBuf>,
    /// File with our certificate for servers.
    pub server_tls_cert_file: Option<PathBuf>,
    /// Versions of TLS with servers.
    pub server_tls_protocols: TlsVersions,
    /// Cipher suites of TLS 1.2 with servers, by OpenSSL's names; none = all.
    pub server_tls_ciphers: Vec<String>,
    /// Cipher suites of TLS 1.3 with servers; none = all.
    pub server_tls13_ciphers: Vec<String>,

    /// Address of `/metrics`, `/livez` and `/readyz`; `None` = off.
    pub http_listen: Option<String>,
    /// Event loops; `None` = one per core.
    pub workers: Option<usize>,
    /// Take another server at every checkout, to show what depends on staying on one.
    pub debug_force_hop: bool,

    /// Keepalive probes on sockets.
    pub tcp_keepalive: bool,
    /// Idle time before the first probe; `None` = the system's.
    pub tcp_keepidle: Option<Duration>,
    /// Time between probes; `None` = the system's.
    pub tcp_keepintvl: Option<Duration>,
    /// Lost probes that end a connection; `None` = the system's.
    pub tcp_keepcnt: Option<u32>,
    /// Time that sent data may stay unacknowledged; `None` = the system's.
    pub tcp_user_timeout: Option<Duration>,

    /// File that the log is appended to.
    pub logfile: Option<PathBuf>,
    /// File with the process's number.
    pub pidfile: Option<PathBuf>,
    /// The user of the system to become.
    pub user: Option<String>,
    /// What a line of the log looks like.
    pub log_format: LogFormat,
    /// Log logins.
    pub log_connections: bool,
    /// Log disconnects, with the reason.
    pub log_disconnections: bool,
    /// Log errors that the pooler sends to clients.
    pub log_pooler_errors: bool,
    /// More words in the log, 0 to 3.
    pub verbose: u8,
    /// Users on databases that metrics tell apart.
    pub max_metrics_users: usize,
    /// What is kept of the costs of texts may take so much; 0 = nothing is.
    pub query_stats_size: ByteSize,
    /// Requests that take so long are logged.
    pub log_min_duration: Option<Duration>,
    /// Events that are kept for the console.
    pub max_events: usize,
}

impl Default for General {
    #[expect(clippy::too_many_lines, reason = "a line per key")]
    fn default() -> Self {
        Self {
            listen_addr: vec!["127.0.0.1".to_owned()],
            listen_port: 6432,
            unix_socket_dir: None,
            unix_socket_mode: FileMode::from_bits(0o777),
            unix_socket_group: None,
            so_reuseport: false,
            listen_backlog: 1024,
            pool_mode: PoolMode::Transaction,
            max_client_conn: 1000,
            default_pool_size: 20,
            min_pool_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Duration::from_secs(5),
            max_db_connections: None,
            max_user_connections: None,
            max_db_client_connections: None,
            max_user_client_connections: None,
            max_server_connections: None,
            max_server_logins: 4,
            max_replication_connections: 10,
            max_auto_databases: 1000,
            autodb_idle_timeout: Some(Duration::from_secs(3600)),
            pool_idle_timeout: Some(Duration::from_secs(3600)),
            max_address_client_connections: None,
            max_unauthenticated_clients: 1000,
            unauthenticated_memory: ByteSize::from_kib(64 * 1024),
            reserved_open_files: 100,
            login_rate_per_address: None,
            login_rate_per_user: None,
            query_rate_per_user: None,
            query_rate_per_database: None,
            query_rate_per_application_name: None,
            server_round_robin: false,
            server_reset_query: "DISCARD ALL".to_owned(),
            server_reset_query_always: false,
            unseen_code_interval: Some(Duration::from_secs(60)),
            max_pinned_clients: None,
            pin_timeout: None,
            pin_temporary: PinPolicy::Pin,
            pin_cursor: PinPolicy::Pin,
            pin_lock: PinPolicy::Pin,
            pin_prepared: PinPolicy::Pin,
            pin_library: PinPolicy::Pin,
            pin_seed: PinPolicy::Pin,
            server_check_delay: Duration::from_secs(30),
            server_check_query: String::new(),
            server_lifetime: Some(Duration::from_secs(3600)),
            server_idle_timeout: Some(Duration::from_secs(600)),
            server_connect_timeout: Duration::from_secs(15),
            server_login_retry: Duration::from_secs(15),
            check_interval: Duration::from_millis(500),
            check_timeout: Duration::from_secs(3),
            failover_timeout: Duration::from_secs(30),
            breaker_errors: 50,
            breaker_reset: Duration::from_secs(30),
            check_user: None,
            catalog_interval: Duration::from_secs(30),
            facts_cache_size: ByteSize::from_kib(8 * 1024),
            read_routing: ReadRouting::Auto,
            transaction_routing: TransactionRouting::Primary,
            max_lag: Some(Duration::from_secs(10)),
            read_your_writes: OwnWrites::Session,
            replica_wait: None,
            replica_balance: Spread::LeastConn,
            fallback_percent: 50,
            read_only_functions: Vec::new(),
            primary_functions: Vec::new(),
            primary_tables: Vec::new(),
            client_login_timeout: Duration::from_secs(60),
            client_idle_timeout: None,
            query_timeout: None,
            query_wait_timeout: Some(Duration::from_secs(120)),
            query_wait_notify: Some(Duration::from_secs(5)),
            cancel_wait_timeout: Duration::from_secs(10),
            idle_transaction_timeout: None,
            transaction_timeout: None,
            rollback_timeout: Duration::from_secs(1),
            drain_delay: Duration::ZERO,
            drain_pace: Some(500),
            drain_timeout: Some(Duration::from_secs(25)),
            ignore_startup_parameters: Vec::new(),
            max_prepared_statements: 200,
            max_packet_size: 0x7fff_ffff,
            request_buffer_size: ByteSize::from_kib(256),
            max_statement_size: ByteSize::from_kib(1024),
            fan_out_buffer_size: ByteSize::from_kib(64 * 1024),
            fan_out_lock_timeout: Some(Duration::from_secs(30)),
            client_statements_size: ByteSize::from_kib(64 * 1024),
            listen_queue_size: ByteSize::from_kib(1024),
            auth_type: AuthType::Scram,
            auth_file: None,
            password_file: None,
            auth_hba_file: None,
            auth_ident_file: None,
            auth_user: None,
            auth_query: AUTH_QUERY.to_owned(),
            auth_dbname: None,
            auth_query_timeout: Duration::from_secs(5),
            auth_query_connections: 2,
            auth_cache_time: Some(Duration::from_secs(2)),
            auth_cache_size: 1000,
            admin_users: Vec::new(),
            stats_users: Vec::new(),
            client_tls_sslmode: SslMode::Disable,
            client_tls_key_file: None,
            client_tls_cert_file: None,
            client_tls_ca_file: None,
            client_tls_protocols: TlsVersions::Secure,
            client_tls_ciphers: Vec::new(),
            client_tls13_ciphers: Vec::new(),
            server_tls_sslmode: SslMode::Prefer,
            server_tls_negotiation: SslNegotiation::Postgres,
            server_tls_ca_file: None,
            server_tls_key_file: None,
            server_tls_cert_file: None,
            server_tls_protocols: TlsVersions::Secure,
            server_tls_ciphers: Vec::new(),
            server_tls13_ciphers: Vec::new(),
            http_listen: Some("127.0.0.1:9127".to_owned()),
            workers: None,
            debug_force_hop: false,
            tcp_keepalive: true,
            tcp_keepidle: None,
            tcp_keepintvl: None,
            tcp_keepcnt: None,
            tcp_user_timeout: None,
            logfile: None,
            pidfile: None,
            user: None,
            log_format: LogFormat::Text,
            log_connections: false,
            log_disconnections: false,
            log_pooler_errors: true,
            verbose: 0,
            max_metrics_users: 200,
            query_stats_size: ByteSize::from_kib(0),
            log_min_duration: None,
            max_events: 500,
        }
    }
}
