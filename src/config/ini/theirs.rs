//! The keys of PgBouncer, as data: what each of them becomes here.
//!
//! Names and defaults are those of its versions up to 1.25. The converter, the hints about keys
//! that we don't have, and the check that every key of ours with its name is on the list come from
//! here.

use super::special;
use super::translate::{Outcome, View};

/// A key of `[pgbouncer]`.
pub(in crate::config) struct Theirs {
    pub(in crate::config) name: &'static str,
    /// What holds in PgBouncer where it is missing; empty for nothing.
    pub(super) default: &'static str,
    pub(super) way: Way,
}

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// The key of the same name; where it is missing PgBouncer's default holds.
    Ours,
    /// The key of the same name; where it is missing our default holds, for it is no worse.
    OursByDefault,
    /// Something else, that its value and others decide.
    Special(fn(&View<'_>, &'static str, &str) -> Outcome),
    /// Nothing, because.
    NotNeeded(&'static str),
    /// Nothing, with this effect.
    NotSupported(&'static str),
}

impl Theirs {
    /// Why it is no key of ours; `None` when it is one.
    pub(in crate::config) fn absence(&self) -> Option<String> {
        match self.way {
            Way::NotNeeded(why) => Some(format!("not needed: {why}")),
            Way::NotSupported(effect) => Some(format!("not supported: {effect}")),
            Way::Special(_) if self.name == "log_stats" => Some(special::NO_FIGURES.to_owned()),
            Way::Special(_) if self.name == "conffile" => Some(special::ONE_FILE.to_owned()),
            Way::Ours | Way::OursByDefault | Way::Special(_) => None,
        }
    }
}

/// The key of this name.
pub(in crate::config) fn find(name: &str) -> Option<&'static Theirs> {
    GENERAL.iter().find(|key| key.name == name)
}

macro_rules! theirs {
    ($($name:literal $default:literal $way:ident $(($what:expr))?;)*) => {
        &[$(Theirs { name: $name, default: $default, way: Way::$way $(($what))? }),*]
    };
}

/// Every key of `[pgbouncer]`, in the order of its documentation.
pub(in crate::config) static GENERAL: &[Theirs] = theirs! {
    "logfile" "" Ours;
    "pidfile" "" Ours;
    "listen_addr" "" Ours;
    "listen_port" "6432" Ours;
    "unix_socket_dir" "/tmp" Ours;
    "unix_socket_mode" "0777" Ours;
    "unix_socket_group" "" Ours;
    "user" "" Ours;
    "pool_mode" "session" Ours;
    "max_client_conn" "100" Ours;
    "default_pool_size" "20" Ours;
    "min_pool_size" "0" Special(special::min_pool_size);
    "reserve_pool_size" "0" Ours;
    "reserve_pool_timeout" "5" Ours;
    "max_db_connections" "0" Ours;
    "max_db_client_connections" "0" Ours;
    "max_user_connections" "0" Ours;
    "max_user_client_connections" "0" Ours;
    "server_round_robin" "0" Ours;
    "track_extra_parameters" "IntervalStyle"
        NotNeeded("every setting of a session is kept for its client");
    "ignore_startup_parameters" "" Ours;
    "peer_id" "0" NotSupported("a cancel request is not passed on to other processes; one process uses all cores");
    "disable_pqexec" "0" NotSupported("the simple query protocol stays open: a text may hold several statements");
    "application_name_add_host" "0"
        NotSupported("application_name arrives as the client has set it; SHOW SERVERS and SHOW CLIENTS have the addresses");
    "conffile" "" Special(special::conffile);
    "service_name" "pgbouncer" NotNeeded("it names a service of Windows");
    "job_name" "pgbouncer" NotNeeded("it names a service of Windows");
    "stats_period" "60" NotSupported("averages are taken over 60 s");
    "max_prepared_statements" "200" Ours;
    "scram_iterations" "4096" NotSupported("plain passwords are proven with 4096 iterations");
    "query_wait_notify" "5" Ours;
    "login_notify_message" "" NotSupported("clients get no such NOTICE");
    "auth_type" "md5" Ours;
    "auth_hba_file" "" Special(special::of_hba);
    "auth_ident_file" "" Special(special::of_hba);
    "auth_file" "" Special(special::auth_file);
    "auth_user" "" Ours;
    "auth_query" "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END \
                  FROM pg_authid WHERE rolname=$1 AND rolcanlogin" OursByDefault;
    "auth_dbname" "" Ours;
    "auth_ldap_options" "" NotSupported("there is no LDAP");
    "syslog" "0" NotSupported("the log goes to standard error, and to logfile");
    "syslog_ident" "pgbouncer" NotNeeded("there is no syslog");
    "syslog_facility" "daemon" NotNeeded("there is no syslog");
    "log_connections" "1" Ours;
    "log_disconnections" "1" Ours;
    "log_pooler_errors" "1" Ours;
    "log_stats" "1" Special(special::log_stats);
    "verbose" "0" Special(special::verbose);
    "admin_users" "" Ours;
    "stats_users" "" Ours;
    "server_reset_query" "DISCARD ALL" Ours;
    "server_reset_query_always" "0" Ours;
    "server_check_delay" "30" Special(special::server_check_delay);
    "server_check_query" "<empty>" Special(special::server_check_query);
    "server_fast_close" "0"
        NotSupported("in session mode, servers that RECONNECT or RELOAD replaces stay until their client leaves");
    "server_lifetime" "3600" Special(special::server_lifetime);
    "server_idle_timeout" "600" Ours;
    "server_connect_timeout" "15" Special(special::no_limit);
    "server_login_retry" "15" Special(special::server_login_retry);
    "client_login_timeout" "60" Special(special::no_limit);
    "autodb_idle_timeout" "3600" Ours;
    "pool_idle_timeout" "0" OursByDefault;
    "dns_max_ttl" "15" NotNeeded("the system looks a name up each time that a server is opened");
    "dns_nxdomain_ttl" "15" NotNeeded("the system looks a name up each time that a server is opened");
    "dns_zone_check_period" "0"
        NotSupported("servers stay at the address that a name had, until server_lifetime or RECONNECT");
    "resolv_conf" "" NotSupported("names are looked up as the system is set up to");
    "client_tls_sslmode" "disable" Ours;
    "client_tls_key_file" "" Ours;
    "client_tls_cert_file" "" Ours;
    "client_tls_ca_file" "" Ours;
    "client_tls_protocols" "secure" Special(special::tls_protocols);
    "client_tls_ciphers" "default" Special(special::tls_ciphers);
    "client_tls13_ciphers" "" Special(special::tls_ciphers);
    "client_tls_ecdhcurve" "auto" NotNeeded("X25519, P-256 and P-384 are offered");
    "client_tls_dheparams" "auto" NotNeeded("keys are exchanged over elliptic curves");
    "server_tls_sslmode" "prefer" Ours;
    "server_tls_ca_file" "" Ours;
    "server_tls_key_file" "" Ours;
    "server_tls_cert_file" "" Ours;
    "server_tls_protocols" "secure" Special(special::tls_protocols);
    "server_tls_ciphers" "default" Special(special::tls_ciphers);
    "server_tls13_ciphers" "" Special(special::tls_ciphers);
    "query_timeout" "0" Ours;
    "query_wait_timeout" "120" Ours;
    "cancel_wait_timeout" "10" Special(special::no_limit);
    "client_idle_timeout" "0" Ours;
    "idle_transaction_timeout" "0" Ours;
    "transaction_timeout" "0" Ours;
    "suspend_timeout" "10" NotNeeded("SUSPEND waits for transactions, as PAUSE does, and no process takes sockets over");
    "pkt_buf" "4096" NotNeeded("buffers are borrowed while bytes flow");
    "max_packet_size" "2147483647" Ours;
    "listen_backlog" "128" OursByDefault;
    "sbuf_loopcnt" "5" NotNeeded("clients take turns by themselves");
    "so_reuseport" "0" Ours;
    "tcp_defer_accept" "1" NotNeeded("connections that send nothing cost little, and are bounded by max_unauthenticated_clients");
    "tcp_socket_buffer" "0" NotSupported("the system sizes the buffers of sockets");
    "tcp_keepalive" "1" Ours;
    "tcp_keepcnt" "0" Ours;
    "tcp_keepidle" "0" Ours;
    "tcp_keepintvl" "0" Ours;
    "tcp_user_timeout" "0" Ours;
};

/// The keys of a connection string in `[databases]`, and of `[databases.NAME]`.
pub(super) static DATABASE: &[(&str, &str)] = &[
    ("dbname", "dbname"),
    ("host", "host"),
    ("port", "port"),
    ("user", "user"),
    ("password", "password"),
    ("auth_user", "auth_user"),
    ("auth_query", "auth_query"),
    ("auth_dbname", "auth_dbname"),
    ("pool_size", "pool_size"),
    ("min_pool_size", "min_pool_size"),
    ("reserve_pool", "reserve_pool_size"),
    ("reserve_pool_size", "reserve_pool_size"),
    ("connect_query", "connect_query"),
    ("pool_mode", "pool_mode"),
    ("query_wait_timeout", "query_wait_timeout"),
    ("load_balance_hosts", "load_balance_hosts"),
    ("max_db_connections", "max_db_connections"),
    ("max_db_client_connections", "max_db_client_connections"),
    ("server_lifetime", "server_lifetime"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "datestyle"),
    ("timezone", "timezone"),
    ("application_name", "application_name"),
];

/// The keys of `[users]`, which are those of `[users.NAME]`.
pub(super) static USER: &[(&str, &str)] = &[
    ("pool_size", "pool_size"),
    ("reserve_pool_size", "reserve_pool_size"),
    ("pool_mode", "pool_mode"),
    ("max_user_connections", "max_user_connections"),
    ("max_user_client_connections", "max_user_client_connections"),
    ("query_timeout", "query_timeout"),
    ("query_wait_timeout", "query_wait_timeout"),
    ("idle_transaction_timeout", "idle_transaction_timeout"),
    ("transaction_timeout", "transaction_timeout"),
    ("client_idle_timeout", "client_idle_timeout"),
];

/// The keys of `[peers]`.
pub(super) static PEER: &[&str] = &["host", "port", "pool_size"];
