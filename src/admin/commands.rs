//! Every command of the console, as data.

use std::pin::Pin;
use std::sync::Arc;

use super::act::Act;
use super::order::{Haste, Order};
use super::registry::Registry;
use super::{
    Role, absent, alerts, capacity, catalogs, errors, hosts, inside, routes, shards, sockets,
    stats, tables, waiting,
};
use crate::wire::reply::{ColumnType, Value};

/// A column: its name and type.
pub type Column = (&'static str, ColumnType);
/// The values of one line.
pub type Row = Vec<Value>;

/// Lines that are being gathered.
pub type Rows = Pin<Box<dyn Future<Output = Vec<Row>> + Send>>;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its words, in upper case.
    pub name: &'static str,
    /// What it shows or does, in one sentence.
    pub help: &'static str,
    /// Who may run it.
    pub role: Role,
    /// What it answers.
    pub answer: Answer,
}

/// What a command answers.
#[derive(Debug)]
pub enum Answer {
    /// A table. PgBouncer's columns come first and in its order, for some read by position.
    Table(&'static [Column], fn(&dyn Registry) -> Vec<Row>),
    /// A table that takes its time.
    Later(&'static [Column], fn(Arc<dyn Registry>) -> Rows),
    /// A NOTICE and no rows.
    Notice(fn() -> String),
    /// A table about what follows, which is called this.
    About(&'static [Column], &'static str, fn(&dyn Registry, &str) -> Vec<Row>),
    /// A table about a text, which follows with the name of its database.
    Explain(&'static [Column]),
    /// Something is done.
    Act(Act),
}

impl Command {
    /// Its words, and what may follow them.
    pub(super) fn usage(&self) -> String {
        match &self.answer {
            Answer::Act(act) => format!("{}{}", self.name, act.argument()),
            Answer::About(_, what, _) => format!("{} {what}", self.name),
            Answer::Explain(_) => format!("{} database statement", self.name),
            Answer::Table(..) | Answer::Later(..) | Answer::Notice(_) => self.name.to_owned(),
        }
    }
}

static EXPLANATION: &[Column] = &[("item", ColumnType::Text), ("value", ColumnType::Text)];

/// All of them, in the order in which they are shown.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "SHOW HELP",
        help: "The commands of the console.",
        role: Role::Stats,
        answer: Answer::Notice(help),
    },
    Command {
        name: "SHOW VERSION",
        help: "The version of PgBouncer whose console this is like, and of pgweir.",
        role: Role::Stats,
        answer: Answer::Table(tables::VERSION, tables::version),
    },
    Command {
        name: "SHOW STATE",
        help: "Whether the pooler is active, paused or suspended.",
        role: Role::Stats,
        answer: Answer::Table(tables::STATE, tables::state),
    },
    Command {
        name: "SHOW POOLS",
        help: "Clients and servers of each database and user, and how long clients wait. Cancels are \
               those of clients: on their way (cl_active_cancel_req, each on a connection of its own, \
               sv_active_cancel) or not sent yet; sv_being_canceled are servers that nobody gets \
               before one has landed, sv_used those that have idled for server_check_delay. The last \
               line is the console's own.",
        role: Role::Stats,
        answer: Answer::Table(tables::POOLS, tables::pools),
    },
    Command {
        name: "SHOW CLIENTS",
        help: "Clients that are logged in, consoles apart, since when each waits for a server, and \
               the server that it has (link, its ptr). close_needed: it goes after its transaction.",
        role: Role::Stats,
        answer: Answer::Table(sockets::CONNECTIONS, sockets::clients),
    },
    Command {
        name: "SHOW SERVERS",
        help: "Every connection to a server, the client that has it (link, its ptr), and when it \
               was last sent a request. close_needed: it was replaced, and goes when it is free.",
        role: Role::Stats,
        answer: Answer::Table(sockets::CONNECTIONS, sockets::servers),
    },
    Command {
        name: "SHOW SOCKETS",
        help: "Clients and servers together. There are no buffers to tell of: the last columns are 0.",
        role: Role::Stats,
        answer: Answer::Table(sockets::SOCKETS, sockets::sockets),
    },
    Command {
        name: "SHOW ACTIVE_SOCKETS",
        help: "The same without servers that are free.",
        role: Role::Stats,
        answer: Answer::Table(sockets::SOCKETS, sockets::active_sockets),
    },
    Command {
        name: "SHOW WAITING",
        help: "Clients that wait for a server, and since when; the pool that they wait at, be it of a \
               replica or of a shard, what there would have to be more of (waits_for: pool_size, the \
               key of a limit over several pools, max_connections of the server, paused, ...), who has \
               had a server of that for longest, in whichever pool, what that does, and the form of its \
               last statement.",
        role: Role::Stats,
        answer: Answer::Table(waiting::WAITING, waiting::waiting),
    },
    Command {
        name: "SHOW HOLDERS",
        help: "Clients that have a server, for how long, since when they have asked it nothing, why \
               they keep it between transactions if they do, how many wait for such a one or for the place that \
               it takes, what the server does for them, and the form of their last statement.",
        role: Role::Stats,
        answer: Answer::Table(waiting::HOLDERS, waiting::holders),
    },
    Command {
        name: "SHOW PINS",
        help: "Clients that keep their server between transactions, why, and for how many seconds.",
        role: Role::Stats,
        answer: Answer::Table(tables::PINS, tables::pins),
    },
    Command {
        name: "SHOW LISTENERS",
        help: "Connections that listen for clients in transaction mode: whether they hear, and \
               for how many seconds, the process, channels, clients, and bytes that wait for them.",
        role: Role::Stats,
        answer: Answer::Table(tables::LISTENERS, tables::listeners),
    },
    Command {
        name: "SHOW DATABASES",
        help: "The databases as configured, their connections, and at last the console's own.",
        role: Role::Stats,
        answer: Answer::Table(tables::DATABASES, tables::databases_and_console),
    },
    Command {
        name: "SHOW REPLICAS",
        help: "The hosts of databases that have several: what each is, whether it is there and for \
               how many seconds, and how far it is. Lag is NULL where it is not known.",
        role: Role::Stats,
        answer: Answer::Table(hosts::REPLICAS, hosts::replicas),
    },
    Command {
        name: "SHOW SHARDS",
        help: "The shards of databases that are spread over several: the name of each in the other \
               tables, its hosts, and its part of the keys of each group (docs/sharding.md).",
        role: Role::Stats,
        answer: Answer::Table(shards::SHARDS, shards::shards),
    },
    Command {
        name: "SHOW SHARD FOR",
        help: "Where the rows of a key are ('42', in quotes or not), in every group of tables of every \
               database that is spread: its bucket, if it goes by one, and its shard, or why there is \
               none.",
        role: Role::Stats,
        answer: Answer::About(shards::OF_KEY, "key", shards::of_key),
    },
    Command {
        name: "SHOW CAPACITY",
        help: "Of each host: what the pools may open there at most (NULL where nothing bounds them), \
               what it takes, who has how much of that, and what to do about it. The hosts are asked \
               for it (docs/operating.md).",
        role: Role::Stats,
        answer: Answer::Later(capacity::CAPACITY, capacity::capacity),
    },
    Command {
        name: "SHOW CATALOGS",
        help: "What is known of the functions and tables of databases with several hosts: whether it \
               is, as of when and from which host, and how often it was loaded, found to be as \
               before, or could not be looked at.",
        role: Role::Stats,
        answer: Answer::Table(catalogs::CATALOGS, catalogs::catalogs),
    },
    Command {
        name: "SHOW ALERTS",
        help: "Alerts that are raised, may be raised soon (pending), or were in the last hour \
               (resolved), and conditions that are silenced (docs/alerts.md).",
        role: Role::Stats,
        answer: Answer::Table(alerts::ALERTS, alerts::alerts),
    },
    Command {
        name: "SHOW FACTS",
        help: "What is kept of texts that were taken apart: how many, their bytes, how often one was \
               among them or not, and how many were forgotten.",
        role: Role::Stats,
        answer: Answer::Table(catalogs::FACTS, catalogs::facts),
    },
    Command {
        name: "SHOW STATS",
        help: "What has passed through each database since the start, and on average in the last \
               minute that is over. Times are microseconds.",
        role: Role::Stats,
        answer: Answer::Table(stats::STATS, stats::stats),
    },
    Command {
        name: "SHOW STATS_TOTALS",
        help: "What has passed through each database since the start.",
        role: Role::Stats,
        answer: Answer::Table(stats::STATS_TOTALS, stats::totals),
    },
    Command {
        name: "SHOW STATS_AVERAGES",
        help: "What has passed through each database on average in the last minute that is over: \
               times per transaction, query or server given, all else per second.",
        role: Role::Stats,
        answer: Answer::Table(stats::STATS_AVERAGES, stats::averages),
    },
    Command {
        name: "SHOW TOTALS",
        help: "The same of all databases together.",
        role: Role::Stats,
        answer: Answer::Table(stats::TOTALS, stats::all_together),
    },
    Command {
        name: "SHOW ERRORS",
        help: "Errors that clients were told of, by SQLSTATE and side: of the client, the server or \
               the pooler. The text is an example, or for servers the place in their source, as \
               their messages may have values in them.",
        role: Role::Stats,
        answer: Answer::Table(errors::ERRORS, errors::errors),
    },
    Command {
        name: "SHOW EVENTS",
        help: "What has happened lately (max_events), the newest first: starts, reloads, orders, \
               hosts that come and go, changes of the primary, clients that could not keep their \
               servers, alerts raised and resolved. What is the same again within a minute is one line.",
        role: Role::Stats,
        answer: Answer::Table(inside::EVENTS, inside::events),
    },
    Command {
        name: "SHOW QUERIES",
        help: "What requests cost (query_stats_size), by the form of the text that they begin with: \
               how many there were and failed, the bounds below which half, 95 % and 99 % of them \
               took (NULL is above a minute), how long servers were at work for them, how long they \
               waited for one, and how many ran on the primary and on replicas (target: which, or \
               both). The dearest first. Times are microseconds (docs/operating.md).",
        role: Role::Stats,
        answer: Answer::Table(inside::QUERIES, inside::queries),
    },
    Command {
        name: "SHOW PREPARED",
        help: "Statements that are prepared: the start of each, how many names of clients stand for \
               it, how many servers have it, how often it was bound.",
        role: Role::Stats,
        answer: Answer::Table(inside::PREPARED, inside::prepared),
    },
    Command {
        name: "SHOW USERS",
        help: "Users with their limits and connections: all that are listed, and others that are here.",
        role: Role::Stats,
        answer: Answer::Table(tables::USERS, tables::users),
    },
    Command {
        name: "SHOW LISTS",
        help: "How many there are of everything.",
        role: Role::Stats,
        answer: Answer::Table(tables::LISTS, tables::lists),
    },
    Command {
        name: "SHOW CONFIG",
        help: "Every key with its value and default.",
        role: Role::Stats,
        answer: Answer::Table(tables::CONFIG, tables::config),
    },
    Command {
        name: "SHOW FDS",
        help: "Nothing: nobody takes sockets over.",
        role: Role::Admin,
        answer: Answer::Table(absent::FDS, absent::none),
    },
    Command {
        name: "SHOW MEM",
        help: "Nothing: there are no caches of objects.",
        role: Role::Stats,
        answer: Answer::Table(absent::MEM, absent::none),
    },
    Command {
        name: "SHOW DNS_HOSTS",
        help: "Nothing: names are looked up by the system.",
        role: Role::Stats,
        answer: Answer::Table(absent::DNS_HOSTS, absent::none),
    },
    Command {
        name: "SHOW DNS_ZONES",
        help: "Nothing: names are looked up by the system.",
        role: Role::Stats,
        answer: Answer::Table(absent::DNS_ZONES, absent::none),
    },
    Command {
        name: "SHOW PEERS",
        help: "Nothing: one process serves all cores.",
        role: Role::Stats,
        answer: Answer::Table(absent::PEERS, absent::none),
    },
    Command {
        name: "SHOW PEER_POOLS",
        help: "Nothing: one process serves all cores.",
        role: Role::Stats,
        answer: Answer::Table(absent::PEER_POOLS, absent::none),
    },
    Command {
        name: "SHOW ROUTES",
        help: "Where requests ran in databases with replicas, why, and how many (docs/routing.md).",
        role: Role::Stats,
        answer: Answer::Table(routes::ROUTES, routes::routes),
    },
    Command {
        name: "EXPLAIN ROUTE",
        help: "Where a statement, or several, would run, on which shard, on the primary or on a \
               replica, and why (docs/routing.md, docs/sharding.md). It is not run.",
        role: Role::Admin,
        answer: Answer::Explain(EXPLANATION),
    },
    Command {
        name: "RELOAD",
        help: "Reads the configuration again and goes by it, or says why not and changes nothing. \
               A NOTICE names each key that needs a restart.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Reload)),
    },
    Command {
        name: "PAUSE",
        help: "Lends no server any more: requests wait. Comes back when all servers have been \
               closed, each at the end of its transaction.",
        role: Role::Admin,
        answer: Answer::Act(Act::Any(Order::Pause)),
    },
    Command {
        name: "SUSPEND",
        help: "As PAUSE of all databases: nothing is under way then at any server.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Suspend)),
    },
    Command {
        name: "RESUME",
        help: "Ends PAUSE, SUSPEND and KILL.",
        role: Role::Admin,
        answer: Answer::Act(Act::Any(Order::Resume)),
    },
    Command {
        name: "RECONNECT",
        help: "Closes the servers that there are, each when it is free, and opens others as they \
               are wanted.",
        role: Role::Admin,
        answer: Answer::Act(Act::Any(Order::Reconnect)),
    },
    Command {
        name: "WAIT_CLOSE",
        help: "Comes back when all servers have been closed that RECONNECT or RELOAD has replaced.",
        role: Role::Admin,
        answer: Answer::Act(Act::Any(Order::WaitClose)),
    },
    Command {
        name: "KILL",
        help: "Closes all clients and servers at once; requests of new ones wait for RESUME.",
        role: Role::Admin,
        answer: Answer::Act(Act::Any(Order::Kill)),
    },
    Command {
        name: "KILL_CLIENT",
        help: "Closes one client at once, by its id in SHOW CLIENTS.",
        role: Role::Admin,
        answer: Answer::Act(Act::One("id", Order::KillClient)),
    },
    Command {
        name: "BAN",
        help: "Has nothing more be read from a replica at this host, at any port or this one, for an \
               hour.",
        role: Role::Admin,
        answer: Answer::Act(Act::Host(Order::Ban)),
    },
    Command {
        name: "UNBAN",
        help: "Ends BAN.",
        role: Role::Admin,
        answer: Answer::Act(Act::Host(Order::Unban)),
    },
    Command {
        name: "SET",
        help: "Gives a key of SHOW CONFIG another value, before files and variables and until the \
               restart. The rest is read again, as by RELOAD; if anything is wrong, nothing \
               changes. Values are as in the file that runs: with a `pgbouncer.ini`, PgBouncer's (a \
               NOTICE says where that is not what it was). Keys of PgBouncer that pgweir does not have, and \
               names that look like a key, change nothing and get a NOTICE; all other names are taken for \
               settings of a driver, and do nothing. RESET key, or SET key TO DEFAULT, gives it back the \
               value that it has without SET; RESET ALL, which drivers use, does nothing.",
        role: Role::Admin,
        answer: Answer::Act(Act::Set),
    },
    Command {
        name: "SILENCE",
        help: "Has nobody but the log told of an alert, whatever it is about: for a time (SILENCE \
               replica_lag '2 h'; a plain number is seconds), or until UNSILENCE or the restart. What \
               is raised then is told when the silence ends; what was told as raised is told as \
               resolved.",
        role: Role::Admin,
        answer: Answer::Act(Act::Silence),
    },
    Command {
        name: "UNSILENCE",
        help: "Ends SILENCE.",
        role: Role::Admin,
        answer: Answer::Act(Act::One("alert", Order::Unsilence)),
    },
    Command {
        name: "DISABLE",
        help: "Lets no new client into a database.",
        role: Role::Admin,
        answer: Answer::Act(Act::One("database", Order::Disable)),
    },
    Command {
        name: "ENABLE",
        help: "Ends DISABLE.",
        role: Role::Admin,
        answer: Answer::Act(Act::One("database", Order::Enable)),
    },
    Command {
        name: "DRAIN",
        help: "Has /readyz say 503, so that load balancers look elsewhere. Whoever is here or comes is \
               served as before; SHUTDOWN WAIT_FOR_CLIENTS does the rest.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Drain)),
    },
    Command {
        name: "UNDRAIN",
        help: "Ends DRAIN.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Undrain)),
    },
    Command {
        name: "SHUTDOWN",
        help: "Ends the process at once.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Shutdown(Haste::AtOnce))),
    },
    Command {
        name: "SHUTDOWN WAIT_FOR_SERVERS",
        help: "Lets nobody in any more, pauses, and ends the process when no server is in use, or \
               after drain_timeout. As SIGINT.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Shutdown(Haste::WaitForServers))),
    },
    Command {
        name: "SHUTDOWN WAIT_FOR_CLIENTS",
        help: "Lets nobody in any more after drain_delay, closes each client at the end of its \
               transaction, and ends the process when all have gone, or after drain_timeout. As \
               SIGTERM. While it lasts, only SHUTDOWN is taken: it ends the process at once.",
        role: Role::Admin,
        answer: Answer::Act(Act::Whole(|| Order::Shutdown(Haste::WaitForClients))),
    },
];

fn help() -> String {
    let mut help = "Console usage".to_owned();
    for command in COMMANDS {
        help.push_str("\n\t");
        help.push_str(&command.usage());
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of PgBouncer 1.25, by its console; of FDS, those without secrets.
    const PGBOUNCER: &[(&str, &str)] = &[
        (
            "DATABASES",
            "name host port database force_user pool_size min_pool_size reserve_pool_size \
             server_lifetime pool_mode load_balance_hosts max_connections current_connections \
             max_client_connections current_client_connections paused disabled",
        ),
        (
            "POOLS",
            "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req \
             sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login \
             maxwait maxwait_us pool_mode load_balance_hosts",
        ),
        (
            "CLIENTS",
            "type user database replication state addr port local_addr local_port \
             connect_time request_time wait wait_us close_needed ptr link remote_pid tls \
             application_name prepared_statements id",
        ),
        (
            "SERVERS",
            "type user database replication state addr port local_addr local_port \
             connect_time request_time wait wait_us close_needed ptr link remote_pid tls \
             application_name prepared_statements id",
        ),
        (
            "SOCKETS",
            "type user database replication state addr port local_addr local_port \
             connect_time request_time wait wait_us close_needed ptr link remote_pid tls \
             application_name prepared_statements id recv_pos pkt_pos pkt_remain send_pos \
             send_remain pkt_avail send_avail",
        ),
        (
            "ACTIVE_SOCKETS",
            "type user database replication state addr port local_addr local_port \
             connect_time request_time wait wait_us close_needed ptr link remote_pid tls \
             application_name prepared_statements id recv_pos pkt_pos pkt_remain send_pos \
             send_remain pkt_avail send_avail",
        ),
        (
            "STATS",
            "database total_server_assignment_count total_xact_count total_query_count \
             total_received total_sent total_xact_time total_query_time total_wait_time \
             total_client_parse_count total_server_parse_count total_bind_count \
             total_client_login_count avg_server_assignment_count avg_xact_count \
             avg_query_count avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time \
             avg_client_parse_count avg_server_parse_count avg_bind_count \
             avg_client_login_count",
        ),
        (
            "STATS_TOTALS",
            "database server_assignment_count xact_count query_count bytes_received \
             bytes_sent xact_time query_time wait_time client_parse_count server_parse_count \
             bind_count client_login_count",
        ),
        (
            "STATS_AVERAGES",
            "database server_assignment_count xact_count query_count bytes_received \
             bytes_sent xact_time query_time wait_time avg_client_parse_count \
             avg_server_parse_count avg_bind_count avg_client_login_count",
        ),
        ("TOTALS", "name value"),
        ("LISTS", "list items"),
        (
            "USERS",
            "name pool_size reserve_pool_size pool_mode max_user_connections \
             current_connections max_user_client_connections current_client_connections",
        ),
        ("CONFIG", "key value default changeable"),
        ("PEERS", "peer_id host port pool_size"),
        (
            "PEER_POOLS",
            "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
        ),
        (
            "FDS",
            "fd task user database addr port cancel link client_encoding std_strings \
             datestyle timezone",
        ),
        ("MEM", "name size used free memtotal"),
        ("DNS_HOSTS", "hostname ttl addrs"),
        ("DNS_ZONES", "zonename serial count"),
        ("VERSION", "version"),
        ("STATE", "key value"),
    ];

    #[test]
    fn tables_begin_with_the_columns_of_pgbouncer() {
        for (name, wanted) in PGBOUNCER {
            let name = format!("SHOW {name}");
            let command = COMMANDS.iter().find(|command| command.name == name).expect(&name);
            let Answer::Table(columns, _) = command.answer else { panic!("{name}: no table") };
            let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            let wanted: Vec<_> = wanted.split(' ').collect();
            assert_eq!(names.get(..wanted.len()), Some(wanted.as_slice()), "{name}");
        }
    }
}
