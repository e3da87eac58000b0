//! The top-level keys.

use super::access;
use super::figures::FIGURES;
use super::hosts::HOSTS;
use super::pins::PINS;
use super::times::{ENDING, PROCESS, TIMEOUTS};
use super::{CONNECTIONS, DAY, GIB, Group, HOUR, KIB, YEAR, key, limit, off, seconds, time};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};
use crate::config::tls::TlsVersion;
use crate::config::units::TimeUnit;

/// The top-level keys, in the order of the reference file.
pub(crate) static GENERAL: &[Group] = &[
    Group {
        title: "Listening",
        keys: &[
            key!(
                listen_addr,
                Kind::ListenAddrs,
                "Addresses to listen on for clients. A name stands for all addresses that it has."
            ),
            key!(
                listen_port,
                Kind::Count(0, 65_535),
                "Port to listen on for clients, at each address; the unix socket's name has it, \
                 too. 0 takes any free port, which is for tests."
            ),
            key!(
                unix_socket_dir,
                Kind::SocketDir,
                "Directory of a unix socket to listen on for clients: `psql -h DIRECTORY`."
            ),
            key!(
                unix_socket_mode,
                Kind::FileMode,
                "Permissions of the unix socket: who may write to it may connect."
            ),
            key!(
                unix_socket_group,
                Kind::Text,
                "Group of the unix socket, by name or number. \"\" is the process's own."
            ),
            key!(
                so_reuseport,
                Kind::Flag,
                "Let other processes listen on the same port, as the next version does during an \
                 update: the kernel spreads new connections over all of them. All must have it on, \
                 and run as the same user. Each needs a unix_socket_dir of its own."
            ),
            key!(
                listen_backlog,
                Kind::Count(1, 65_535),
                "Connections that the kernel may queue before they are accepted. The kernel's own \
                 ceiling is net.core.somaxconn."
            ),
            key!(
                http_listen,
                Kind::ListenPort,
                "Address and port of /metrics, /livez and /readyz, by plain HTTP."
            ),
            key!(workers, Kind::Limit("one per core", 1024), "Event loops that share the clients."),
        ],
    },
    Group {
        title: "Pools",
        keys: &[
            key!(
                pool_mode,
                Kind::Mode,
                "When a server goes back to the pool: when the client disconnects (session), at \
                 the end of each transaction, or at the end of each statement (transactions of \
                 several statements are refused)."
            ),
            key!(
                max_client_conn,
                Kind::Count(1, CONNECTIONS),
                "Clients at once, the console apart. Those beyond it are refused at once, with a \
                 clear error."
            ),
            key!(
                default_pool_size,
                Kind::Count(0, CONNECTIONS),
                "Servers that one pool may hold; there is a pool per database, user and server \
                 host. 0 = as many as there may be clients."
            ),
            key!(
                min_pool_size,
                Kind::Count(0, CONNECTIONS),
                "Servers that a pool which is in use keeps open, so that a burst finds them ready."
            ),
            key!(
                reserve_pool_size,
                Kind::Count(0, CONNECTIONS),
                "Servers that a pool may open beyond its size when a client has waited for \
                 reserve_pool_timeout."
            ),
            key!(
                reserve_pool_timeout,
                time(0, HOUR),
                "Wait after which the reserve may be used. 0 = there is no reserve."
            ),
            key!(
                server_round_robin,
                Kind::Flag,
                "Use the idle server that was used longest ago. Otherwise the one used last, so \
                 that those not needed grow old and are closed."
            ),
        ],
    },
    Group {
        title: "Limits on connections",
        keys: &[
            key!(
                max_server_connections,
                limit(),
                "Servers per server host over all pools. Set it below the server's \
                 max_connections: pools then share what there is, and a pool with waiting clients \
                 gets the places of idle ones."
            ),
            key!(max_db_connections, limit(), "Servers per database over all users."),
            key!(max_user_connections, limit(), "Servers per user over all databases."),
            key!(max_db_client_connections, limit(), "Clients per database."),
            key!(max_user_client_connections, limit(), "Clients per user."),
            key!(
                max_server_logins,
                Kind::Count(1, 1024),
                "Connection attempts at once per server host, so that a restart is not a storm."
            ),
            key!(
                max_replication_connections,
                Kind::Count(0, CONNECTIONS),
                "Clients with `replication=` at once. Each has a server of its own outside the \
                 pools. 0 refuses them."
            ),
            key!(
                max_auto_databases,
                Kind::Count(1, CONNECTIONS),
                "Databases at once that [databases.\"*\"] stands for. Those that nobody uses give \
                 way first."
            ),
            key!(
                autodb_idle_timeout,
                off(10 * YEAR),
                "When such a database is forgotten, with its pools, after its last client has left."
            ),
            key!(
                pool_idle_timeout,
                off(10 * YEAR),
                "When a user's pool of a listed database is forgotten that has neither clients nor servers \
                 (server_idle_timeout closes those, min_pool_size keeps them)."
            ),
            key!(
                max_address_client_connections,
                limit(),
                "Clients per IP address. Those of a unix socket are not counted."
            ),
            key!(
                max_unauthenticated_clients,
                Kind::Count(1, CONNECTIONS),
                "Clients at once that have connected and not logged in yet. Who has been at it for \
                 longest gives way to who comes."
            ),
            key!(
                unauthenticated_memory,
                Kind::Size(64 * KIB, GIB),
                "What clients that have not logged in may have sent, all together."
            ),
            key!(
                reserved_open_files,
                Kind::Count(0, CONNECTIONS),
                "Open files (ulimit -n) that clients leave to servers, so that newcomers are \
                 refused and those inside still get servers. Set it to the servers that there may \
                 be, and some more."
            ),
        ],
    },
    access::RATES,
    access::LOGIN,
    Group {
        title: "TLS with clients",
        keys: &[
            key!(
                client_tls_sslmode,
                Kind::SslMode,
                "Whether clients may (allow, prefer: the same) or must (require) use TLS; with \
                 verify-ca and verify-full (the same) they must show a certificate that an \
                 authority in client_tls_ca_file has signed. Cancel requests are taken in clear \
                 too. Unix sockets have no TLS, and need none."
            ),
            key!(
                client_tls_key_file,
                Kind::Path,
                "The key of our certificate, in PEM and without a password."
            ),
            key!(
                client_tls_cert_file,
                Kind::Path,
                "Our certificate in PEM, and behind it those between it and its authority. This \
                 and the other files of TLS are read again when they change."
            ),
            key!(
                client_tls_ca_file,
                Kind::Path,
                "The authorities of clients' certificates, in PEM. With it clients are asked for \
                 one in every mode, and one that is shown is verified."
            ),
            key!(
                client_tls_protocols,
                Kind::TlsVersions,
                "Versions of TLS; \"secure\" is 1.2 and 1.3. Older ones are not spoken."
            ),
            key!(
                client_tls_ciphers,
                Kind::TlsSuites(TlsVersion::V12),
                "Cipher suites of TLS 1.2, by the names of OpenSSL or of the standard. OpenSSL's \
                 expressions with ! and + are refused."
            ),
            key!(
                client_tls13_ciphers,
                Kind::TlsSuites(TlsVersion::V13),
                "Cipher suites of TLS 1.3."
            ),
        ],
    },
    Group {
        title: "TLS with servers",
        keys: &[
            key!(
                server_tls_sslmode,
                Kind::SslMode,
                "As libpq's sslmode. allow: TLS where the server refuses us in clear; prefer: \
                 where it has TLS; require: always, and verified as with verify-ca if there is a \
                 server_tls_ca_file; verify-ca: with a certificate from a known authority; \
                 verify-full: with one for this host. Cancel requests go the same way."
            ),
            key!(
                server_tls_negotiation,
                Kind::SslNegotiation,
                "As libpq's sslnegotiation: ask first, or start TLS at once, which Postgres \
                 understands from version 17 on and which needs server_tls_sslmode \"require\" or \
                 more."
            ),
            key!(
                server_tls_ca_file,
                Kind::Path,
                "The authorities of servers' certificates, in PEM; \"system\" and none mean those \
                 that the system trusts."
            ),
            key!(
                server_tls_key_file,
                Kind::Path,
                "The key of our certificate for servers, in PEM and without a password."
            ),
            key!(
                server_tls_cert_file,
                Kind::Path,
                "Our certificate for servers that demand one, in PEM."
            ),
            key!(
                server_tls_protocols,
                Kind::TlsVersions,
                "Versions of TLS; \"secure\" is 1.2 and 1.3. Older ones are not spoken."
            ),
            key!(
                server_tls_ciphers,
                Kind::TlsSuites(TlsVersion::V12),
                "Cipher suites of TLS 1.2, as in client_tls_ciphers."
            ),
            key!(
                server_tls13_ciphers,
                Kind::TlsSuites(TlsVersion::V13),
                "Cipher suites of TLS 1.3."
            ),
        ],
    },
    Group {
        title: "Servers: checks, reset and age",
        keys: &[
            key!(
                server_lifetime,
                off(10 * YEAR),
                "Age at which a server is closed once it is free. Servers opened together are not \
                 closed together."
            ),
            key!(
                server_idle_timeout,
                off(10 * YEAR),
                "Idle time after which a server is closed, down to min_pool_size."
            ),
            key!(
                server_connect_timeout,
                time(1, HOUR),
                "Time for connecting and logging in to a server."
            ),
            key!(
                server_login_retry,
                time(1, HOUR),
                "Ceiling of the pause between failed attempts to connect, which doubles from a \
                 short one. Meanwhile clients are told the true cause at once, unless the next \
                 attempt is less than 0.1 s away: then its outcome."
            ),
            key!(
                server_check_delay,
                time(0, 10 * YEAR),
                "Idle time after which a server is checked before its next use."
            ),
            key!(server_check_query, Kind::Text, "The check. \"\" is an empty query."),
            key!(
                server_reset_query,
                Kind::Text,
                "What cleans a server between clients: in session mode always, in other modes when \
                 a client may have left something behind."
            ),
            key!(
                server_reset_query_always,
                Kind::Flag,
                "Run server_reset_query at every return to the pool, in each mode."
            ),
        ],
    },
    PINS,
    HOSTS,
    TIMEOUTS,
    ENDING,
    Group {
        title: "Protocol and memory",
        keys: &[
            key!(
                max_prepared_statements,
                Kind::Count(0, 1_000_000),
                "Prepared statements kept on each server; the one used longest ago goes first. 0 \
                 turns off following prepared statements."
            ),
            key!(
                ignore_startup_parameters,
                Kind::Names,
                "Startup parameters to swallow. Rarely needed: each is accepted and kept per \
                 client. `options` swallows what `options` carries."
            ),
            key!(
                max_packet_size,
                Kind::Count(8192, 0x7fff_ffff),
                "Longest protocol message, in bytes. Longer ones close the connection."
            ),
            key!(
                request_buffer_size,
                Kind::Size(4 * KIB, GIB),
                "A request up to this size is collected before it takes a server, so that a slow \
                 client holds none. A larger one streams. The text of one statement is collected \
                 up to `max_statement_size`."
            ),
            key!(
                max_statement_size,
                Kind::Size(0, GIB),
                "Text of a prepared statement up to this size is kept, to be prepared again on \
                 other servers."
            ),
            key!(
                client_statements_size,
                Kind::Size(64 * KIB, 64 * GIB),
                "What the prepared statements of one client may take, with their names and 256 \
                 bytes for each. Another one is refused (53400)."
            ),
            key!(
                fan_out_buffer_size,
                Kind::Size(64 * KIB, GIB),
                "What a request over several shards may hold to put their rows together: groups \
                 that are ordered by something else, and each single row. It fails (53400) where \
                 that is not enough. What only passes or is merged is streamed."
            ),
            key!(
                fan_out_lock_timeout,
                off(DAY),
                "A change over several shards fails (55P03) when it has waited so long for a lock on one of \
                 them: two that wait for each other on different shards are seen by no server. Where \
                 the client has set lock_timeout, that counts."
            ),
            key!(
                listen_queue_size,
                Kind::Size(4 * KIB, GIB),
                "In transaction mode, notifications that wait for a client which listens: it does \
                 not read, or is in a transaction. One with more is disconnected after its \
                 transaction."
            ),
        ],
    },
    Group {
        title: "TCP",
        keys: &[
            key!(
                tcp_keepalive,
                Kind::Flag,
                "Probe silent peers, so that one that is gone is noticed."
            ),
            key!(
                tcp_keepidle,
                Kind::TimeLimit(TimeUnit::Seconds, "the system's", seconds(32_767)),
                "Silence before the first probe."
            ),
            key!(
                tcp_keepintvl,
                Kind::TimeLimit(TimeUnit::Seconds, "the system's", seconds(32_767)),
                "Time between probes."
            ),
            key!(
                tcp_keepcnt,
                Kind::Limit("the system's", 127),
                "Lost probes that end a connection."
            ),
            key!(
                tcp_user_timeout,
                Kind::TimeLimit(TimeUnit::Milliseconds, "the system's", seconds(DAY)),
                "Time that sent data may stay unacknowledged before the connection ends. A plain \
                 number is milliseconds."
            ),
        ],
    },
    PROCESS,
    Group {
        title: "Logging and debugging",
        keys: &[
            key!(
                logfile,
                Kind::Path,
                "File that the log is appended to, beside standard error (-q: instead). It is \
                 opened anew by RELOAD and SIGHUP, as log rotation wants."
            ),
            key!(
                log_format,
                Kind::LogFormat,
                "What a line of the log is: words (text), or an object with timestamp, level, \
                 target, message and what else there is (json)."
            ),
            key!(
                log_connections,
                Kind::Flag,
                "Log each login of a client: who, from where, by which method, with which TLS."
            ),
            key!(log_disconnections, Kind::Flag, "Log each disconnect, with its reason."),
            key!(
                log_pooler_errors,
                Kind::Flag,
                "Log errors that pgweir itself sends to clients that have logged in. What is \
                 repeated is logged as a number every 10 s. Logins that fail are always logged."
            ),
            key!(
                verbose,
                Kind::Count(0, 3),
                "More words in the log: 1 for details, 2 for those of libraries, too, 3 for all \
                 there is. PGWEIR_LOG in the environment comes first."
            ),
            key!(
                debug_force_hop,
                Kind::Flag,
                "Take another server at every checkout. Shows in a test what an application leaves \
                 behind on a server; never needed in production."
            ),
        ],
    },
    FIGURES,
];
