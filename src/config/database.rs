//! One database, as the rest of the program reads it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::choice::{LoadBalance, OwnWrites, PoolMode, ReadRouting, Spread, TransactionRouting};
use super::host_port::HostPort;
#[cfg(doc)]
use super::model::Config;
use super::model::General;
use super::secret::Secret;
use super::shards::Shards;
use super::tls::{SslMode, SslNegotiation};
use super::url::ServerUrl;

/// One `[databases.NAME]`. `pool_size`, `min_pool_size`, `reserve_pool_size` and `pool_mode` are
/// `None` where the table says nothing; the other limits have the general value filled in, so that
/// `None` means that there is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The name that clients ask for.
    pub name: String,
    /// Server's host name or address, or the directory of its unix socket (starts with `/`);
    /// several with commas between them. [`Database::all_hosts`] has all of them.
    pub host: String,
    /// Port of each of these.
    pub port: u16,
    /// Hosts with their ports, in the place of `host` and `port`.
    pub hosts: Vec<HostPort>,
    /// Name of the database on the server.
    pub dbname: String,
    /// The user that all clients become on the server; `None` = their own.
    pub user: Option<String>,
    /// Password for logging in to the server.
    pub password: Option<Secret>,
    /// Further hosts, which are thought to be replicas.
    pub replicas: Vec<HostPort>,
    /// How servers are spread over the hosts, where all are as good; `None` = there is a primary.
    pub load_balance_hosts: Option<LoadBalance>,
    /// Weights of hosts among replicas, as `host:port=weight`. [`Database::share_of`] reads them.
    pub weights: Vec<String>,
    /// Hosts that are read from only when there is no other.
    pub backup: Vec<HostPort>,
    /// Which reads go to replicas. [`Config::read_routing`] has the defaults in.
    pub read_routing: Option<ReadRouting>,
    /// Where transactions begin that don't say what they do. [`Config::transaction_routing`] has the
    /// defaults in.
    pub transaction_routing: Option<TransactionRouting>,
    /// How much a replica may lack. [`Config::max_lag`] has the defaults in.
    pub max_lag: Option<Option<Duration>>,
    /// Whose writes reads have to see. [`Config::read_your_writes`] has the default in.
    pub read_your_writes: Option<OwnWrites>,
    /// How reads are spread. [`Config::replica_balance`] has the default in.
    pub replica_balance: Option<Spread>,
    /// Who asks the hosts for their roles. [`Config::check_user`] has the defaults in.
    pub check_user: Option<String>,
    /// The shard of all tables that are not spread, where there are shards.
    pub default_shard: Option<String>,
    /// Tables that every shard has a copy of.
    pub reference_tables: Option<Vec<String>>,
    /// Rows may be changed on all shards at once by what has no key.
    pub allow_fan_out_writes: bool,
    /// Reads over several shards may come in a transaction.
    pub allow_fan_out_in_transactions: bool,
    /// How it is spread over shards; its hosts are those of the default shard.
    pub shards: Option<Arc<Shards>>,
    /// The database that it is a shard of. No client can ask for it.
    pub shard_of: Option<String>,
    /// Functions that only read; `None` = as in general.
    pub read_only_functions: Option<Vec<String>>,
    /// Functions that are for the primary; `None` = as in general.
    pub primary_functions: Option<Vec<String>>,
    /// Tables and views that are read on the primary; `None` = as in general.
    pub primary_tables: Option<Vec<String>>,
    /// Servers per pool. [`Config::pool_size`] has the defaults in.
    pub pool_size: Option<usize>,
    /// Servers that a pool keeps open. [`Config::min_pool_size`] has the defaults in.
    pub min_pool_size: Option<usize>,
    /// Extra servers per pool. [`Config::reserve_pool_size`] has the defaults in.
    pub reserve_pool_size: Option<usize>,
    /// When a server goes back to the pool. [`Config::pool_mode`] has the defaults in.
    pub pool_mode: Option<PoolMode>,
    /// Servers of this database over all users.
    pub max_db_connections: Option<usize>,
    /// Clients of this database.
    pub max_db_client_connections: Option<usize>,
    /// Longest wait for a server. [`Config::query_wait_timeout`] has the user's in.
    pub query_wait_timeout: Option<Duration>,
    /// Age at which a server is closed once it is free.
    pub server_lifetime: Option<Duration>,
    /// Run on every new server before its first client.
    pub connect_query: Option<String>,
    /// `client_encoding` of clients that bring none.
    pub client_encoding: Option<String>,
    /// `DateStyle` of clients that bring none.
    pub datestyle: Option<String>,
    /// `TimeZone` of clients that bring none.
    pub timezone: Option<String>,
    /// `application_name` of clients that bring none.
    pub application_name: Option<String>,
    /// Who looks up secrets. [`Config::auth_user`] has the default in.
    pub auth_user: Option<String>,
    /// How secrets are looked up; `None` = as in general.
    pub auth_query: Option<String>,
    /// The database whose server is asked for secrets; `None` = as in general.
    pub auth_dbname: Option<String>,
    /// TLS with the server.
    pub server_tls_sslmode: SslMode,
    /// How it starts.
    pub server_tls_negotiation: SslNegotiation,
    /// File with the authorities of the server's certificate; `system` = those of the system.
    pub server_tls_ca_file: Option<PathBuf>,
    /// File with the key of our certificate for the server.
    pub server_tls_key_file: Option<PathBuf>,
    /// File with our certificate for the server.
    pub server_tls_cert_file: Option<PathBuf>,
}

impl Database {
    /// A database on its server's default port, with the general limits.
    pub fn new(name: impl Into<String>, host: impl Into<String>, general: &General) -> Self {
        let name = name.into();
        Self {
            host: host.into(),
            port: 5432,
            dbname: name.clone(),
            name,
            user: None,
            password: None,
            hosts: Vec::new(),
            replicas: Vec::new(),
            load_balance_hosts: None,
            weights: Vec::new(),
            backup: Vec::new(),
            read_routing: None,
            transaction_routing: None,
            max_lag: None,
            read_your_writes: None,
            replica_balance: None,
            check_user: None,
            default_shard: None,
            reference_tables: None,
            allow_fan_out_writes: false,
            allow_fan_out_in_transactions: false,
            shards: None,
            shard_of: None,
            read_only_functions: None,
            primary_functions: None,
            primary_tables: None,
            pool_size: None,
            min_pool_size: None,
            reserve_pool_size: None,
            pool_mode: None,
            max_db_connections: general.max_db_connections,
            max_db_client_connections: general.max_db_client_connections,
            query_wait_timeout: general.query_wait_timeout,
            server_lifetime: general.server_lifetime,
            connect_query: None,
            client_encoding: None,
            datestyle: None,
            timezone: None,
            application_name: None,
            auth_user: None,
            auth_query: None,
            auth_dbname: None,
            server_tls_sslmode: general.server_tls_sslmode,
            server_tls_negotiation: general.server_tls_negotiation,
            server_tls_ca_file: general.server_tls_ca_file.clone(),
            server_tls_key_file: general.server_tls_key_file.clone(),
            server_tls_cert_file: general.server_tls_cert_file.clone(),
        }
    }

    /// Takes what a URL says. What it does not say of the login and of TLS stays.
    pub(super) fn take_url(&mut self, url: ServerUrl) {
        self.host = url.host;
        self.port = url.port;
        self.hosts = url.hosts;
        self.dbname = url.dbname.unwrap_or_else(|| self.dbname.clone());
        self.user = url.user.or(self.user.take());
        self.password = url.password.or(self.password.take());
        self.application_name = url.application_name.or(self.application_name.take());
        self.server_tls_sslmode = url.sslmode.unwrap_or(self.server_tls_sslmode);
        self.server_tls_negotiation = url.sslnegotiation.unwrap_or(self.server_tls_negotiation);
        self.server_tls_ca_file = url.sslrootcert.or(self.server_tls_ca_file.take());
        self.server_tls_cert_file = url.sslcert.or(self.server_tls_cert_file.take());
        self.server_tls_key_file = url.sslkey.or(self.server_tls_key_file.take());
    }

    /// Every host, each once, in the order in which they are written; at least one.
    #[must_use]
    pub fn all_hosts(&self) -> Vec<HostPort> {
        let at = |host: &str| HostPort { host: host.to_owned(), port: self.port };
        let written: Vec<HostPort> = match self.hosts.is_empty() {
            true => self.host.split(',').map(at).collect(),
            false => self.hosts.clone(),
        };
        let mut all = Vec::new();
        for host in written.into_iter().chain(self.replicas.iter().cloned()) {
            if !all.contains(&host) {
                all.push(host);
            }
        }
        all
    }

    /// The hosts as the console shows them: without ports where all have the same.
    #[must_use]
    pub fn hosts_text(&self) -> String {
        let all = self.all_hosts();
        let alike = all.iter().all(|host| host.port == self.port);
        let text = |host: &HostPort| if alike { host.host.clone() } else { host.to_string() };
        all.iter().map(text).collect::<Vec<_>>().join(",")
    }

    /// The host that is written first.
    #[must_use]
    pub fn host_port(&self) -> HostPort {
        let first = self.all_hosts().into_iter().next();
        first.unwrap_or_else(|| HostPort { host: self.host.clone(), port: self.port })
    }

    /// Whether it has to be found out which host is the primary.
    #[must_use]
    pub fn seeks_primary(&self) -> bool {
        self.load_balance_hosts.is_none() && self.all_hosts().len() > 1
    }

    /// Whether it decides what may run where that its catalog is known: it has several hosts, or is on shards,
    /// or is one.
    pub fn has_catalog(&self) -> bool {
        self.seeks_primary() || self.shards.is_some() || self.shard_of.is_some()
    }
}
