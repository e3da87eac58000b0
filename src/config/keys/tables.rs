//! The keys of `[databases.NAME]`, `[users.NAME]` and `[[hba]]`.

use super::{CONNECTIONS, YEAR, key, limit, limit_of, off};
use crate::config::database::Database;
use crate::config::field::Field;
use crate::config::read::HbaEntry;
use crate::config::setting::{Key, Kind};
use crate::config::user::User;
use crate::config::value::Value;

/// The keys of `[databases.NAME]`.
pub(crate) static DATABASE: &[Key<Database>] = &[
    Key {
        name: "url",
        kind: Kind::Url,
        set: |database, value| {
            if let Value::Url(url) = value {
                database.take_url(*url);
            }
        },
        get: |_| Value::Unset,
        doc: "The server as a URL, instead of host, port, dbname and user. What is special in user \
              or password is percent-encoded; the password may stand in `password` instead, as it \
              is.",
        otherwise: "host is needed",
        example: "\"postgres://app:s3cret@db.example/shop\"",
    },
    key!(
        host,
        Kind::Host,
        "The server's host name, IP address, or the directory of its unix socket (starts with /). \
         Several with commas between them are a primary and its replicas, in any order \
         (docs/routing.md).",
        "url or hosts is needed",
        "\"db.example\""
    ),
    key!(port, Kind::Count(1, 65_535), "The server's port, at each host.", "5432", "5432"),
    key!(
        hosts,
        Kind::Hosts,
        "Hosts with a port of their own, instead of host and port.",
        "host",
        "[\"db1.example:5432\", \"db2.example:5433\"]"
    ),
    key!(
        dbname,
        Kind::Name,
        "The database's name on the server.",
        "the name of the table",
        "\"shop\""
    ),
    key!(
        user,
        Kind::Name,
        "The user that all clients become on the server; there is a pool for each of theirs all the same.",
        "each client's own",
        "\"app\""
    ),
    key!(
        password,
        Kind::Secret,
        "Password for logging in to the server.",
        "the client's secret from the user list",
        "\"s3cret\""
    ),
    key!(
        replicas,
        Kind::Hosts,
        "Further hosts, as host:port, which are thought to be replicas. What they are is found out \
         all the same: one that is promoted is the primary.",
        "none",
        "[\"replica1.example:5432\", \"replica2.example:5432\"]"
    ),
    key!(
        load_balance_hosts,
        Kind::Balance,
        "With this the hosts are as good as one another, and nobody asks for their roles: each new \
         server is opened on the next host (round-robin), or on the first that is there (disable).",
        "the primary is found, and used",
        "\"round-robin\""
    ),
    key!(
        read_routing,
        Kind::Reads,
        "Which reads of this database go to replicas.",
        "read_routing",
        "\"auto\""
    ),
    key!(
        transaction_routing,
        Kind::Transactions,
        "Where transactions on this database begin that don't say whether they write.",
        "transaction_routing",
        "\"optimistic\""
    ),
    key!(
        max_lag,
        limit_of("no bound", YEAR),
        "A replica of this database that lacks more than the last of this time is not read from.",
        "max_lag",
        "5"
    ),
    key!(
        read_your_writes,
        Kind::OwnWrites,
        "Whose writes a read of this database sees.",
        "read_your_writes",
        "\"session\""
    ),
    key!(
        replica_balance,
        Kind::Spread,
        "Which of its replicas is read from.",
        "replica_balance",
        "\"least_conn\""
    ),
    key!(
        weights,
        Kind::Names,
        "How much hosts get of what goes to replicas, as host:port=weight, 1 to 1000.",
        "1 each",
        "[\"db2.example:5433=3\"]"
    ),
    key!(
        backup,
        Kind::Hosts,
        "Hosts, as host:port, that are read from only when there is no other replica that will do.",
        "none",
        "[\"replica2.example:5432\"]"
    ),
    key!(
        check_user,
        Kind::Text,
        "The user who asks the hosts for their roles, where there are several. Its password is the \
         one under [users] or in auth_file.",
        "check_user; else user, else auth_user",
        "\"pgweir_check\""
    ),
    key!(
        default_shard,
        Kind::Name,
        "The shard of all tables that no group has, where the database has shards (docs/sharding.md).",
        "needed with shards",
        "\"a\""
    ),
    key!(
        reference_tables,
        Kind::Names,
        "Tables that every shard has a copy of, where the database has shards.",
        "none",
        "[\"countries\"]"
    ),
    key!(
        allow_fan_out_writes,
        Kind::Flag,
        "UPDATE, DELETE, MERGE and INSERT … SELECT without a key run on all shards, where the \
         database has shards. Else a comment in the statement has to say so: \
         /* pgweir: all_shards */.",
        "false",
        "true"
    ),
    key!(
        allow_fan_out_in_transactions,
        Kind::Flag,
        "Reads over several shards run in a transaction that has run nothing else yet, where the \
         database has shards: each shard reads in a transaction of its own (docs/sharding.md).",
        "false",
        "true"
    ),
    key!(
        read_only_functions,
        Kind::Names,
        "Functions of this database that only read, whatever they are declared to be.",
        "read_only_functions",
        "[\"app.price\"]"
    ),
    key!(
        primary_functions,
        Kind::Names,
        "Functions of this database that are for the primary.",
        "primary_functions",
        "[\"app.next_number\"]"
    ),
    key!(
        primary_tables,
        Kind::Names,
        "Tables and views of this database that are read on the primary alone.",
        "primary_tables",
        "[\"app.balances\"]"
    ),
    key!(
        pool_size,
        Kind::Count(0, CONNECTIONS),
        "Servers per pool of this database. 0 = as many as there may be clients.",
        "default_pool_size",
        "20"
    ),
    key!(
        min_pool_size,
        Kind::Count(0, CONNECTIONS),
        "Servers that a pool of this database keeps open.",
        "min_pool_size",
        "5"
    ),
    key!(
        reserve_pool_size,
        Kind::Count(0, CONNECTIONS),
        "Extra servers per pool of this database.",
        "reserve_pool_size",
        "5"
    ),
    key!(pool_mode, Kind::Mode, "When a server goes back to the pool.", "pool_mode", "\"session\""),
    key!(
        max_db_connections,
        limit(),
        "Servers of this database over all users.",
        "max_db_connections",
        "50"
    ),
    key!(
        max_db_client_connections,
        limit(),
        "Clients of this database.",
        "max_db_client_connections",
        "500"
    ),
    key!(
        query_wait_timeout,
        off(10 * YEAR),
        "Longest wait for a server.",
        "query_wait_timeout",
        "30"
    ),
    key!(
        server_lifetime,
        off(10 * YEAR),
        "Age at which a server is closed once it is free.",
        "server_lifetime",
        "3600"
    ),
    key!(
        connect_query,
        Kind::Text,
        "Run on every new server before its first client.",
        "nothing",
        "\"SET jit = off\""
    ),
    key!(
        client_encoding,
        Kind::Text,
        "client_encoding of clients that bring none.",
        "the server's",
        "\"UTF8\""
    ),
    key!(
        datestyle,
        Kind::Text,
        "DateStyle of clients that bring none.",
        "the server's",
        "\"ISO, DMY\""
    ),
    key!(
        timezone,
        Kind::Text,
        "TimeZone of clients that bring none.",
        "the server's",
        "\"Europe/Berlin\""
    ),
    key!(
        application_name,
        Kind::Text,
        "application_name of clients that bring none; as in the url.",
        "the server's",
        "\"shop\""
    ),
    key!(
        server_tls_sslmode,
        Kind::SslMode,
        "TLS with the server; as sslmode in the url.",
        "server_tls_sslmode",
        "\"verify-full\""
    ),
    key!(
        server_tls_negotiation,
        Kind::SslNegotiation,
        "How TLS starts; as sslnegotiation in the url.",
        "server_tls_negotiation",
        "\"direct\""
    ),
    key!(
        server_tls_ca_file,
        Kind::Path,
        "The authorities of the server's certificate; as sslrootcert in the url.",
        "server_tls_ca_file",
        "\"/etc/pgweir/server-ca.pem\""
    ),
    key!(
        server_tls_key_file,
        Kind::Path,
        "The key of our certificate for the server; as sslkey in the url.",
        "server_tls_key_file",
        "\"/etc/pgweir/client.key\""
    ),
    key!(
        server_tls_cert_file,
        Kind::Path,
        "Our certificate for the server; as sslcert in the url.",
        "server_tls_cert_file",
        "\"/etc/pgweir/client.crt\""
    ),
    key!(
        auth_user,
        Kind::Text,
        "The user who looks up secrets for this database.",
        "auth_user",
        "\"pgweir_auth\""
    ),
    key!(
        auth_query,
        Kind::Text,
        "How secrets are looked up for this database.",
        "auth_query",
        "\"SELECT uname, phash FROM auth.user_lookup($1)\""
    ),
    key!(
        auth_dbname,
        Kind::Text,
        "The database in which auth_query runs.",
        "auth_dbname",
        "\"postgres\""
    ),
];

/// The keys of `[[hba]]`.
pub(crate) static HBA: &[Key<HbaEntry>] = &[
    Key {
        name: "type",
        kind: Kind::Name,
        set: |entry, value| Field::store(&mut entry.kind, value),
        get: |entry| Field::load(&entry.kind, Kind::Name),
        doc: "The kind of connection: local (unix socket), host (TCP), hostssl, hostnossl.",
        otherwise: "needed",
        example: "\"host\"",
    },
    key!(
        database,
        Kind::Names,
        "Databases; `all`, `sameuser` and `replication` mean what they do in pg_hba.conf.",
        "all",
        "[\"shop\", \"sameuser\"]"
    ),
    key!(user, Kind::Names, "Users.", "all", "[\"app\"]"),
    key!(
        address,
        Kind::Text,
        "A network as address/bits, or `samehost`, `samenet`, `all`. Not for local.",
        "all",
        "\"10.0.0.0/8\""
    ),
    key!(
        method,
        Kind::Name,
        "scram-sha-256, md5, password, cert, peer, trust or reject.",
        "needed",
        "\"scram-sha-256\""
    ),
    key!(
        map,
        Kind::Text,
        "The map of auth_ident_file, for cert and peer.",
        "names must be equal",
        "\"os\""
    ),
];

/// The keys of `[users.NAME]`.
pub(crate) static USER: &[Key<User>] = &[
    key!(
        password,
        Kind::Secret,
        "The user's secret: plain, md5… or SCRAM-SHA-256$…. A user of auth_file has it there.",
        "none: the user can't log in by password",
        "\"s3cret\""
    ),
    key!(
        read_only,
        Kind::Flag,
        "The user may only read: every transaction is read-only, and what would change that is \
         refused. docs/security.md says where that ends.",
        "false",
        "true"
    ),
    key!(
        read_routing,
        Kind::Reads,
        "Which reads of this user go to replicas; goes before the database's.",
        "the database's",
        "\"off\""
    ),
    key!(
        transaction_routing,
        Kind::Transactions,
        "Where transactions of this user begin that don't say whether they write; goes before the \
         database's.",
        "the database's",
        "\"optimistic\""
    ),
    key!(
        max_lag,
        limit_of("no bound", YEAR),
        "How much a replica may lack that this user reads from; goes before the database's.",
        "the database's",
        "60"
    ),
    key!(
        pool_size,
        Kind::Count(0, CONNECTIONS),
        "Servers per pool of this user; goes before the database's. 0 = as many as there may be \
         clients.",
        "the database's",
        "10"
    ),
    key!(
        reserve_pool_size,
        Kind::Count(0, CONNECTIONS),
        "Extra servers per pool of this user; goes before the database's.",
        "the database's",
        "2"
    ),
    key!(
        pool_mode,
        Kind::Mode,
        "When a server goes back to the pool; goes before the database's.",
        "the database's",
        "\"session\""
    ),
    key!(
        max_user_connections,
        limit(),
        "Servers of this user over all databases.",
        "max_user_connections",
        "50"
    ),
    key!(
        max_user_client_connections,
        limit(),
        "Clients of this user.",
        "max_user_client_connections",
        "500"
    ),
    key!(query_timeout, off(10 * YEAR), "Longest query.", "query_timeout", "60"),
    key!(
        query_wait_timeout,
        off(10 * YEAR),
        "Longest wait for a server; goes before the database's.",
        "the database's",
        "30"
    ),
    key!(
        idle_transaction_timeout,
        off(10 * YEAR),
        "Longest idle time inside a transaction.",
        "idle_transaction_timeout",
        "60"
    ),
    key!(transaction_timeout, off(10 * YEAR), "Longest transaction.", "transaction_timeout", "300"),
    key!(
        client_idle_timeout,
        off(10 * YEAR),
        "Idle time after which a client is closed.",
        "client_idle_timeout",
        "3600"
    ),
];
