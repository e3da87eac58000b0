//! The table `[alerts]`: when something is worth an alert, and who is told.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::units::ByteSize;
use super::url::{parse_port, split_port};

/// The keys of `[alerts]`. Thresholds that are `None`, and sizes of 0, are off; what is raised by
/// its duration alone is off where that is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// How far a value has to come back from its threshold, in a hundred.
    pub hysteresis: usize,
    /// For how long it has to have been back.
    pub resolve_after: Duration,
    /// Alerts that are kept, whatever their state.
    pub max_alerts: usize,

    /// How long ago a replica had everything.
    pub replica_lag_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub replica_lag_critical: Option<Duration>,
    /// For how long.
    pub replica_lag_for: Duration,
    /// What a replica lacks.
    pub replica_lag_bytes_warning: ByteSize,
    /// The same, for a critical alert.
    pub replica_lag_bytes_critical: ByteSize,
    /// For how long.
    pub replica_lag_bytes_for: Duration,
    /// For how long a replica's lag is unknown.
    pub replica_lag_unknown_for: Option<Duration>,
    /// For how long a host does not answer.
    pub host_down_for: Option<Duration>,
    /// For how long no replica can be used.
    pub replicas_out_for: Option<Duration>,
    /// For how long there is no primary.
    pub no_primary_for: Option<Duration>,
    /// For how long another host takes itself for the primary.
    pub two_primaries_for: Option<Duration>,
    /// Changes of the primary.
    pub role_flapping_warning: Option<usize>,
    /// Within this time.
    pub role_flapping_window: Duration,

    /// Clients of a pool that wait.
    pub clients_waiting_warning: Option<usize>,
    /// The same, for a critical alert.
    pub clients_waiting_critical: Option<usize>,
    /// For how long.
    pub clients_waiting_for: Duration,
    /// How long the client in front has waited.
    pub longest_wait_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub longest_wait_critical: Option<Duration>,
    /// For how long.
    pub longest_wait_for: Duration,
    /// How long 95 of 100 requests have waited at most.
    pub wait_p95_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub wait_p95_critical: Option<Duration>,
    /// For how long.
    pub wait_p95_for: Duration,
    /// How long 99 of 100 requests have taken at most.
    pub query_p99_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub query_p99_critical: Option<Duration>,
    /// For how long.
    pub query_p99_for: Duration,
    /// How long 99 of 100 transactions have taken at most.
    pub transaction_p99_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub transaction_p99_critical: Option<Duration>,
    /// For how long.
    pub transaction_p99_for: Duration,
    /// Servers of a pool in use while clients wait, in a hundred.
    pub pool_saturated_warning: Option<usize>,
    /// The same, for a critical alert.
    pub pool_saturated_critical: Option<usize>,
    /// For how long.
    pub pool_saturated_for: Duration,
    /// Clients, in a hundred of those that there may be.
    pub client_limit_warning: Option<usize>,
    /// The same, for a critical alert.
    pub client_limit_critical: Option<usize>,
    /// For how long.
    pub client_limit_for: Duration,
    /// How long a client has had its server.
    pub holder_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub holder_critical: Option<Duration>,
    /// For how long a database is paused.
    pub paused_for: Option<Duration>,

    /// Errors in a hundred requests.
    pub error_rate_warning: Option<usize>,
    /// The same, for a critical alert.
    pub error_rate_critical: Option<usize>,
    /// For how long.
    pub error_rate_for: Duration,
    /// Cancels in a hundred requests.
    pub cancels_warning: Option<usize>,
    /// The same, for a critical alert.
    pub cancels_critical: Option<usize>,
    /// For how long.
    pub cancels_for: Duration,
    /// Open files, in a hundred of those that there may be.
    pub open_files_warning: Option<usize>,
    /// The same, for a critical alert.
    pub open_files_critical: Option<usize>,
    /// For how long.
    pub open_files_for: Duration,
    /// What is in memory, in a hundred of what may be.
    pub memory_warning: Option<usize>,
    /// The same, for a critical alert.
    pub memory_critical: Option<usize>,
    /// For how long.
    pub memory_for: Duration,
    /// What may be; empty = what the system gives.
    pub memory_limit: ByteSize,

    /// How soon a certificate expires.
    pub certificate_warning: Option<Duration>,
    /// The same, for a critical alert.
    pub certificate_critical: Option<Duration>,
    /// Whether a reload that has failed is worth one.
    pub reload_failed: bool,

    /// Where alerts are posted to.
    pub webhook_url: Option<Secret>,
    /// The header `Authorization` of these requests.
    pub webhook_authorization: Option<Secret>,
    /// Authorities of the receiver's certificate; `None` = those of the system.
    pub webhook_ca_file: Option<PathBuf>,
    /// The longest attempt.
    pub webhook_timeout: Duration,
    /// How often Alertmanager hears of what is still raised.
    pub webhook_repeat: Option<Duration>,
    /// What is run for each alert, with its arguments.
    pub command: Vec<String>,
    /// The longest run.
    pub command_timeout: Duration,
    /// What this process calls itself; `None` = the machine's name.
    pub instance: Option<String>,
}

impl Default for Alerts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            hysteresis: 20,
            resolve_after: seconds(10),
            max_alerts: 1000,
            replica_lag_warning: Some(seconds(10)),
            replica_lag_critical: Some(seconds(60)),
            replica_lag_for: seconds(5),
            replica_lag_bytes_warning: ByteSize::from_kib(64 << 10),
            replica_lag_bytes_critical: ByteSize::from_kib(1 << 20),
            replica_lag_bytes_for: seconds(30),
            replica_lag_unknown_for: Some(seconds(30)),
            host_down_for: Some(seconds(30)),
            replicas_out_for: Some(seconds(5)),
            no_primary_for: Some(seconds(5)),
            two_primaries_for: Some(seconds(2)),
            role_flapping_warning: Some(3),
            role_flapping_window: seconds(600),
            clients_waiting_warning: Some(1),
            clients_waiting_critical: None,
            clients_waiting_for: seconds(120),
            longest_wait_warning: Some(seconds(1)),
            longest_wait_critical: Some(seconds(10)),
            longest_wait_for: seconds(30),
            wait_p95_warning: Some(Duration::from_millis(50)),
            wait_p95_critical: Some(seconds(1)),
            wait_p95_for: seconds(300),
            query_p99_warning: Some(seconds(1)),
            query_p99_critical: None,
            query_p99_for: seconds(600),
            transaction_p99_warning: Some(seconds(5)),
            transaction_p99_critical: None,
            transaction_p99_for: seconds(600),
            pool_saturated_warning: Some(90),
            pool_saturated_critical: None,
            pool_saturated_for: seconds(300),
            client_limit_warning: Some(80),
            client_limit_critical: Some(95),
            client_limit_for: seconds(30),
            holder_warning: Some(seconds(60)),
            holder_critical: Some(seconds(600)),
            paused_for: Some(seconds(1800)),
            error_rate_warning: Some(1),
            error_rate_critical: Some(5),
            error_rate_for: seconds(120),
            cancels_warning: Some(10),
            cancels_critical: None,
            cancels_for: seconds(120),
            open_files_warning: Some(80),
            open_files_critical: Some(95),
            open_files_for: seconds(30),
            memory_warning: Some(80),
            memory_critical: Some(95),
            memory_for: seconds(60),
            memory_limit: ByteSize::from_kib(0),
            certificate_warning: Some(seconds(14 * 86_400)),
            certificate_critical: Some(seconds(3 * 86_400)),
            reload_failed: true,
            webhook_url: None,
            webhook_authorization: None,
            webhook_ca_file: None,
            webhook_timeout: seconds(5),
            webhook_repeat: Some(seconds(60)),
            command: Vec::new(),
            command_timeout: seconds(10),
            instance: None,
        }
    }
}

impl Alerts {
    /// Where alerts are posted to.
    #[must_use]
    pub fn webhook(&self) -> Option<Webhook> {
        Webhook::parse(self.webhook_url.as_ref()?.expose()).ok()
    }
}

/// A receiver of HTTP requests. Its path may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query, from the slash on.
    pub path: Secret,
}

impl Webhook {
    /// Reads `http://host:port/path` or `https://…`.
    ///
    /// # Errors
    /// What is wrong with it, in words, without the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("must start with http:// or https://"),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("can't hold a user: set webhook_authorization");
        }
        let visible = |byte: u8| byte.is_ascii_graphic();
        if !text.bytes().all(visible) || path.contains('#') {
            return Err("can't hold spaces, \"#\", or other than ASCII; they are percent-encoded");
        }
        let (host, port) = split_port(authority).map_err(|_malformed| "the host is malformed")?;
        let port = match port {
            None if secure => 443,
            None => 80,
            Some(port) => parse_port(port).ok_or("the port must be from 1 to 65535")?,
        };
        if host.is_empty() {
            return Err("there is no host");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = Secret::new(format!("{slash}{path}"));
        Ok(Self { secure, host: host.to_owned(), port, path })
    }

    /// Whether it is Alertmanager's interface, which has a form of its own.
    #[must_use]
    pub fn is_alertmanager(&self) -> bool {
        self.path.expose().ends_with("/api/v2/alerts")
    }
}
