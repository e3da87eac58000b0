//! The console's commands, as `docs/console.md` has them.

use super::commands::{Answer, COMMANDS, Command};

/// `docs/console.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# The console\n\n\
         The databases `pgweir` and `pgbouncer` are the console. Users in `admin_users` and \
         `stats_users` open it with their usual password:\n\n    \
         psql -h 127.0.0.1 -p 6432 -U admin pgweir\n\n\
         By the unix socket, who runs as the same user of the system as pgweir opens it as user \
         `pgbouncer` or `pgweir`, with all rights and without a password, as in PgBouncer.\n\n\
         It works when max_client_conn is reached, too. Columns are PgBouncer's, in its order.\n\n\
         | Command | Users | Answer |\n|---|---|---|\n",
    );
    for command in COMMANDS {
        let Command { help, role, answer, .. } = command;
        let (usage, users) = (command.usage(), role.key());
        out.push_str(&format!("| `{usage}` | {users} | {help}"));
        if let Answer::Table(columns, _)
        | Answer::Later(columns, _)
        | Answer::About(columns, ..)
        | Answer::Explain(columns) = answer
        {
            let columns: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            out.push_str(&format!(" Columns: {}.", columns.join(", ")));
        }
        out.push_str(" |\n");
    }
    out.push_str(
        "\nAdmins may do all that `stats_users` may. `SELECT x` means `SHOW x`. Simple and extended \
         protocol, in text and binary; up to 16 statements in one text, and comments.\n\n\
         What drivers send besides is understood: `BEGIN`, `COMMIT`, `ROLLBACK` and savepoints \
         (nothing is undone), `SET` of what is no key, `RESET`, `DISCARD ALL`, `DEALLOCATE`, `SHOW \
         TRANSACTION ISOLATION LEVEL`. Queries of `pg_catalog` and `information_schema`, as psql's to \
         complete a word, have no rows. Functions are unknown.\n\n\
         # HTTP\n\n\
         `http_listen` serves `/` (a page for people: who waits and because of whom, pools, hosts with their \
         lag, pins, alerts; it reads itself again and shows no statements), `/metrics` ([Prometheus](metrics.md)), `/livez` (the process runs) and `/readyz` \
         (503, and why, once it is stopping, after DRAIN, \
         and while every database that there is has had no primary, or nobody at its hosts, for failover_timeout).\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `UPDATE_REFERENCE` set, writes the file instead.
    #[test]
    fn documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/console.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == markdown(), "behind src/admin/commands.rs: UPDATE_REFERENCE=1 cargo test");
    }
}
