//! The annotated reference file and the page of documentation, made from the lists of keys.
//!
//! `pooler.toml` and `docs/config.md` are these texts; a test compares them.

use super::alerts::Alerts;
use super::keys::{ALERTS, DATABASE, GENERAL, HBA, USER};
use super::model::General;
use super::setting::Key;
use super::shards::{GROUP, GROUP_TABLES, SCHEMAS};

/// `pooler.toml`: every key with what it is, what it takes and its default. It loads as it is.
#[must_use]
pub fn toml() -> String {
    let mut text = String::from(TOML_HEAD);
    let general = General::default();
    for group in GENERAL {
        text.push_str(&format!("\n\n{}\n", rule(group.title)));
        for key in group.keys {
            let default = (key.get)(&general).toml();
            text.push('\n');
            push_comment(&mut text, key.doc);
            push_comment(
                &mut text,
                &format!("{}; default {default}; {}", key.kind.describe(), key.applies().name()),
            );
            let mark = if SET.contains(&key.name) { "" } else { "#" };
            text.push_str(&format!("{mark}{} = {default}\n", key.name));
        }
    }
    text.push_str(&format!("\n\n{}\n\n{ALERTS_HEAD}\n", rule("Alerts")));
    let alerts = Alerts::default();
    for key in ALERTS {
        let default = (key.get)(&alerts).toml();
        text.push('\n');
        push_comment(&mut text, key.doc);
        push_comment(&mut text, &format!("{}; default {default}; reload", key.kind.describe()));
        text.push_str(&format!("#{} = {default}\n", key.name));
    }
    text.push_str(&format!("\n\n{}\n\n{DATABASES_HEAD}\n", rule("Databases")));
    push_table(&mut text, DATABASE, ("host", "\"127.0.0.1\""));
    text.push_str(&format!("\n\n{}\n\n{USERS_HEAD}\n", rule("Users")));
    push_table(&mut text, USER, ("password", "\"change me\""));
    text.push_str(&format!("\n\n{}\n\n{HBA_HEAD}\n", rule("Rules for auth_type = \"hba\"")));
    push_table(&mut text, HBA, ("", ""));
    text
}

/// `docs/config.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(MARKDOWN_HEAD);
    let general = General::default();
    for group in GENERAL {
        text.push_str(&format!("\n## {}\n\n{TABLE_HEAD}", group.title));
        for key in group.keys {
            push_row(&mut text, key, &format!("`{}`", (key.get)(&general).toml()));
        }
    }
    text.push_str(&format!("\n## `[alerts]`\n\n{MARKDOWN_ALERTS}\n{TABLE_HEAD}"));
    let alerts = Alerts::default();
    for key in ALERTS {
        push_row(&mut text, key, &format!("`{}`", (key.get)(&alerts).toml()));
    }
    text.push_str(&format!("\n## `[databases.NAME]`\n\n{MARKDOWN_DATABASES}\n{TABLE_HEAD}"));
    for key in DATABASE {
        push_row(&mut text, key, key.otherwise);
    }
    text.push_str(&format!(
        "\n## `[databases.NAME.groups.GROUP]`\n\n{MARKDOWN_GROUPS}\n{TABLE_HEAD}"
    ));
    for key in GROUP {
        push_row(&mut text, key, key.otherwise);
    }
    for (name, default, takes, doc) in GROUP_TABLES {
        text.push_str(&format!("| `{name}` | {default} | {takes} | {doc} |\n"));
    }
    text.push_str(&format!("\n## `[databases.NAME.schemas]`\n\n{MARKDOWN_SCHEMAS}\n{TABLE_HEAD}"));
    for key in SCHEMAS {
        push_row(&mut text, key, key.otherwise);
    }
    for (name, default, takes, doc) in GROUP_TABLES.into_iter().skip(1) {
        text.push_str(&format!("| `{name}` | {default} | {takes} | {doc} |\n"));
    }
    text.push_str(&format!("\n## `[users.NAME]`\n\n{MARKDOWN_USERS}\n{TABLE_HEAD}"));
    for key in USER {
        push_row(&mut text, key, key.otherwise);
    }
    text.push_str(&format!("\n## `[[hba]]`\n\n{MARKDOWN_HBA}\n{TABLE_HEAD}"));
    for key in HBA {
        push_row(&mut text, key, key.otherwise);
    }
    text.push_str(MARKDOWN_TAIL);
    text
}

/// Writes one table's keys as comments, but for the one that is set.
fn push_table<T>(text: &mut String, keys: &[Key<T>], set: (&str, &str)) {
    for key in keys {
        text.push('\n');
        push_comment(text, key.doc);
        let otherwise = format!("{}; without it: {}; reload", key.kind.describe(), key.otherwise);
        push_comment(text, &otherwise);
        match set {
            (name, value) if name == key.name => text.push_str(&format!("{name} = {value}\n")),
            _ => text.push_str(&format!("#{} = {}\n", key.name, key.example)),
        }
    }
}

fn push_row<T>(text: &mut String, key: &Key<T>, default: &str) {
    let (name, takes) = (key.name, key.kind.describe());
    let doc = key.doc.replace('|', "\\|");
    text.push_str(&format!("| `{name}` | {default} | {takes} | {doc} |\n"));
}

/// Writes `words` as comment lines that are no wider than the page.
fn push_comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// A heading as wide as the page.
fn rule(title: &str) -> String {
    let head = format!("# ---- {title} ");
    format!("{head:-<WIDTH$}")
}

const WIDTH: usize = 90;

/// Keys that stand uncommented in the reference file: those most people look for first.
const SET: [&str; 6] = [
    "listen_addr",
    "listen_port",
    "pool_mode",
    "max_client_conn",
    "default_pool_size",
    "auth_type",
];

const TOML_HEAD: &str = "\
# pgweir's configuration: every key, what it takes, its default, and when a change applies
# (reload = by RELOAD or SIGHUP, without an interruption; restart = at the next start). A key
# that is commented out has its default.
#
# Durations  a plain number is seconds, fractions allowed; or \"200ms\", \"5s\", \"2 min\", \"1h\", \"1d\"
# Sizes      a plain number is bytes; or \"256 KiB\", \"1MB\" (as in Postgres, kB and MB are powers of 1024)
# Lists      [\"one\", \"two\"], or \"one, two\"
# Switches   true and false, or 1 and 0
#
# General keys stand above the first [table]. Keys that PgBouncer has mean what they mean there.
# `pgweir check pooler.toml` says everything that is wrong with a file at once.
";

const ALERTS_HEAD: &str = "\
# When something is worth an alert, and who is told (docs/alerts.md). Without this table alerts
# show in the log, in SHOW ALERTS and in /metrics.
[alerts]";

const DATABASES_HEAD: &str = "\
# One table per database; its name is what clients ask for. `pgbouncer` and `pgweir` are the
# console. A name with other characters than letters, digits, - and _ is quoted:
# [databases.\"my shop\"]. [databases.\"*\"] stands for every name that is not listed.
[databases.postgres]";

const USERS_HEAD: &str = "\
# One table per user who may log in. The secret may stand in auth_file instead.
[users.postgres]";

const HBA_HEAD: &str = "\
# One table per rule; the first that fits counts, and whom none fits is refused. The rules may
# stand in auth_hba_file instead, in the format of pg_hba.conf.
#[[hba]]";

const MARKDOWN_HEAD: &str = "\
# Configuration

`pgweir run pooler.toml` reads one TOML file; `pgweir check pooler.toml` reads it and reports
everything that is wrong with it at once: file, line, key, what is wrong and what to do. Unknown
keys are errors. [`pooler.toml`](../pooler.toml) has every key beside its default. PgBouncer's ini works
in its place ([migrating.md](migrating.md)).

- General keys stand above the first `[table]`. Keys that PgBouncer has keep its names and meanings.
- **Durations**: a plain number is seconds, fractions allowed (`tcp_user_timeout`: milliseconds); or
  `\"200ms\"`, `\"5s\"`, `\"2 min\"`, `\"1h\"`, `\"1d\"`.
- **Sizes**: a plain number is bytes; or `\"256 KiB\"`, `\"1MB\"`. As in Postgres, kB, MB and GB are powers
  of 1024.
- **Lists**: `[\"one\", \"two\"]`, or `\"one, two\"`. **Switches**: `true`, `false`, or `1`, `0`.
- A change takes effect by `RELOAD` in the console or SIGHUP ([operating.md](operating.md)). Some keys need a restart, those
  of sockets and of rates above all: `pooler.toml` and `SHOW CONFIG` say of each.
";

const TABLE_HEAD: &str = "| key | default | takes | meaning |\n|---|---|---|---|\n";

const MARKDOWN_ALERTS: &str = "\
When something is worth an alert, and who is told: [alerts.md](alerts.md) says how these keys go together.
Without the table, alerts show in the log, in `SHOW ALERTS` and in `/metrics`.
";

const MARKDOWN_DATABASES: &str = "\
At least one. The name is what clients ask for; `pgbouncer` and `pgweir` are the console. A table
has `url`, or `host` and what goes with it. What is not set here has the general value.
`[databases.\"*\"]` stands for every name that is not listed: such databases come with their first client and
are forgotten after `autodb_idle_timeout` without one. A name longer than 63 bytes is none.
";

const MARKDOWN_GROUPS: &str = "\
Of a database that is spread over shards ([sharding.md](sharding.md)): tables that go together. Each
`[databases.NAME.shards.SHARD]` has the keys of `[databases.NAME]` that say where it is: `url`, `host`, `port`,
`hosts`, `replicas`, `load_balance_hosts`, `weights`, `backup`; and may have its own `dbname`, `user`,
`password`, `pool_size`, `min_pool_size`, `reserve_pool_size`, `max_db_connections`, `server_tls_sslmode`,
`server_tls_ca_file`, `server_tls_cert_file` and `server_tls_key_file`. Everything else is its database's.
";

const MARKDOWN_SCHEMAS: &str = "\
Of a database that is spread over shards: schemas of which each is on one shard, with all of its tables
([sharding.md](sharding.md#a-schema-for-each-tenant)). Keys are the names of the schemas.
";

const MARKDOWN_USERS: &str = "\
Who may log in. A user may also stand in `auth_file`, with settings here and the secret there.
";

const MARKDOWN_HBA: &str = "\
Rules for `auth_type = \"hba\"`, one table each; the first that fits counts, and whom none fits is
refused. They may stand in `auth_hba_file` instead ([security.md](security.md) has its format). A
name in double quotes inside the quotes (`'\"all\"'`) is never a keyword.
";

const MARKDOWN_TAIL: &str = "
## URLs

`postgres://user:password@host:port/database?parameter=value`, or `postgresql://…`, as libpq reads
it; with `pgweir --url` no file is needed.

- What is special in a URL is percent-encoded: `/` is `%2F`, `?` is `%3F`, `@` is `%40`, `%` is `%25`,
  and in user names `:` is `%3A`. Any character may be encoded.
- What is missing has libpq's default: the operating system's user (`USER`, else `postgres`), the
  database of the user's name, port 5432; the host is `localhost`. In `[databases.NAME]`, a missing
  user means each client's own, and a missing database the table's name.
- An IPv6 address stands in brackets: `[::1]`. A unix socket's directory is percent-encoded
  (`postgres://%2Frun%2Fpostgresql/shop`) or a parameter (`?host=/run/postgresql`).
- Parameters: `host`, `port`, `user`, `password`, `dbname`, `application_name`, `connect_timeout`
  (not in `[databases.NAME]`), and for TLS `sslmode`, `sslnegotiation`, `sslrootcert`, `sslcert` and
  `sslkey`, which are the keys `server_tls_sslmode`, `server_tls_negotiation`, `server_tls_ca_file`,
  `server_tls_cert_file` and `server_tls_key_file` of this database.

## `auth_file`

PgBouncer's list: a line is `\"name\" \"secret\"`. A double quote inside is doubled; what follows the
secret is ignored; empty lines and lines that start with `;` or `#` too. Of two lines for the same
user the later wins. The secret is plain, `md5…` or `SCRAM-SHA-256$…`.
";
