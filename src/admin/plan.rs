//! What a text of the console asks for, as far as that can be told without looking at anything.

use super::Role;
use super::act::Act;
use super::commands::{Answer, COMMANDS, Column, Command};
use super::order::Order;
use crate::config::{Config, General, about_key, read_duration};
use crate::sql::{self, Words};
use crate::wire::reply::{ColumnType, Report, Severity};

/// What drivers look at when they connect: it is told at login, and answered when asked.
pub(super) static SETTINGS: &[(&str, [Column; 1], &str)] = &[
    ("client_encoding", [("client_encoding", ColumnType::Text)], "UTF8"),
    ("DateStyle", [("DateStyle", ColumnType::Text)], "ISO, MDY"),
    ("TimeZone", [("TimeZone", ColumnType::Text)], "Etc/UTC"),
    ("integer_datetimes", [("integer_datetimes", ColumnType::Text)], "on"),
    ("standard_conforming_strings", [("standard_conforming_strings", ColumnType::Text)], "on"),
];

/// What drivers ask for later.
static ASKED_FOR: &[(&str, [Column; 1], &str)] =
    &[("transaction_isolation", [("transaction_isolation", ColumnType::Text)], "read committed")];

/// One statement, understood.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// A command of ours that shows something.
    Run(&'static Command),
    /// One that does something.
    Act(Order),
    /// One that shows something about this.
    About(&'static Command, String),
    /// Where this text would run in this database.
    Explain(&'static [Column], String, Vec<u8>),
    /// The value of a setting.
    Setting(&'static [Column; 1], &'static str),
    /// Nothing, under this tag.
    Nothing(&'static str),
    /// The same of a SET, of which there is this to say.
    Noted(String),
    /// A transaction begins or ends, in name, under this tag.
    Transaction(Stage, &'static str),
    /// The client's prepared statement of this name is forgotten, or all are.
    Forget(Option<Vec<u8>>, &'static str),
    /// No rows: what psql asks the catalogues for, as to complete a word.
    NoRows,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Begins,
    Ends,
}

/// Of a result that nobody reads, for it has no rows.
static UNREAD: &[Column] = &[("?column?", ColumnType::Text)];

impl Plan {
    /// The columns of the result, if it has rows.
    pub(super) fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Run(Command {
                answer: Answer::Table(columns, _) | Answer::Later(columns, _),
                ..
            })
            | Self::About(Command { answer: Answer::About(columns, ..), .. }, _)
            | Self::Explain(columns, ..) => Some(columns),
            Self::Setting(columns, _) => Some(*columns),
            Self::NoRows => Some(UNREAD),
            Self::Run(_)
            | Self::About(..)
            | Self::Act(_)
            | Self::Nothing(_)
            | Self::Noted(_)
            | Self::Transaction(..)
            | Self::Forget(..) => None,
        }
    }

    /// What follows the rows.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Nothing(tag) | Self::Transaction(_, tag) | Self::Forget(_, tag) => tag,
            Self::Noted(_) => "SET",
            Self::Act(order) => order.name(),
            Self::Explain(..) => "EXPLAIN",
            Self::Run(_) | Self::About(..) | Self::Setting(..) => "SHOW",
            Self::NoRows => "SELECT 0",
        }
    }
}

/// Whether these two words say that something comes from where Postgres describes what it has.
fn is_of_a_catalogue(words: &[String]) -> bool {
    let [from, table] = words else { return false };
    let is_catalogue = table.starts_with("PG_") || table == "INFORMATION_SCHEMA";
    matches!(from.as_str(), "FROM" | "JOIN") && is_catalogue
}

/// What a client does to its own session, as to give it back to its driver's pool: there is nothing
/// in it but prepared statements.
fn of_the_session(command: &sql::Command<'_>) -> Plan {
    let tag = command.tag();
    match command {
        sql::Command::Deallocate(name) => Plan::Forget(Some(name.to_vec()), tag),
        sql::Command::DeallocateAll | sql::Command::DiscardAll => Plan::Forget(None, tag),
        sql::Command::UnlockAll => Plan::NoRows,
        _ => Plan::Nothing(tag),
    }
}

/// Statements that one text may have: their answers are held together.
const STATEMENTS_MAX: usize = 16;

/// The plans of a text, one for each statement.
pub(super) fn plans(text: &[u8], role: Role) -> Result<Vec<Plan>, Report> {
    if let Some((database, explained)) = sql::after(text, &["explain", "route"]) {
        return explain(database, explained, role).map(|plan| vec![plan]);
    }
    let statements = sql::statements(text).ok_or_else(|| unknown(text))?;
    if statements.len() > STATEMENTS_MAX {
        let text = format!("the console takes up to {STATEMENTS_MAX} statements at once");
        return Err(error("54000", text));
    }
    statements.iter().map(|words| plan(words, role).ok_or_else(|| unknown(text))?).collect()
}

/// All that follows is explained, whatever it is.
fn explain(database: String, text: &[u8], role: Role) -> Result<Plan, Report> {
    let explains = |command: &Command| match command.answer {
        Answer::Explain(columns) => Some((command.name, command.role, columns)),
        _ => None,
    };
    let (name, wanted, columns) =
        COMMANDS.iter().find_map(explains).ok_or_else(|| unknown(text))?;
    allowed(Plan::Explain(columns, database, text.to_vec()), name, wanted, role)
}

/// Words that a statement may begin with. Who explains one of those without naming a database means no
/// database that is called so.
const BEGINNINGS: &[&str] = &[
    "alter", "analyze", "begin", "call", "copy", "create", "delete", "do", "drop", "execute",
    "explain", "insert", "lock", "merge", "refresh", "select", "set", "show", "start", "table",
    "truncate", "update", "vacuum", "values", "with",
];

/// Why what is explained behind this word can't be: it is the beginning of the statement.
pub(super) fn without_database(config: &Config, word: &str) -> Option<Report> {
    let is_beginning = BEGINNINGS.iter().any(|beginning| word.eq_ignore_ascii_case(beginning));
    (is_beginning && !config.databases.contains_key(word)).then(|| Report {
        hint: Some("EXPLAIN ROUTE database statement".to_owned()),
        ..error("08P01", "a database is required")
    })
}

/// `None`: not a command.
fn plan(statement: &Words, role: Role) -> Option<Result<Plan, Report>> {
    let mut words: Vec<_> = statement.words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let asks_a_catalogue = words.windows(2).any(is_of_a_catalogue);
    let goes_back = words.iter().any(|word| word == "TO");
    let first = words.first_mut()?;
    match first.as_str() {
        "SELECT" | "WITH" if asks_a_catalogue => return Some(Ok(Plan::NoRows)),
        "SET" => return Some(set(&statement.text, role)),
        "SILENCE" => return Some(silence(&statement.text, role)),
        "BEGIN" | "START" => return Some(Ok(Plan::Transaction(Stage::Begins, "BEGIN"))),
        "COMMIT" | "END" => return Some(Ok(Plan::Transaction(Stage::Ends, "COMMIT"))),
        "ROLLBACK" if goes_back => return Some(Ok(Plan::Nothing("ROLLBACK"))),
        "ROLLBACK" | "ABORT" => return Some(Ok(Plan::Transaction(Stage::Ends, "ROLLBACK"))),
        "SAVEPOINT" => return Some(Ok(Plan::Nothing("SAVEPOINT"))),
        "RELEASE" => return Some(Ok(Plan::Nothing("RELEASE"))),
        _ => {}
    }
    // RESET ALL is what drivers do with every connection that they are given back.
    if let ("RESET", [_, key]) = (first.as_str(), statement.words.as_slice())
        && General::has(&key.to_ascii_lowercase())
    {
        return Some(reset(&key.to_ascii_lowercase(), role));
    }
    if let Some(command) = sql::command(statement.text.as_bytes()) {
        return Some(Ok(of_the_session(&command)));
    }
    if first == "SELECT" {
        "SHOW".clone_into(first);
    }
    if let Some(plan) = of_a_host(first, &statement.text, role) {
        return Some(plan);
    }
    if let Some(plan) = about(&statement.text, role) {
        return Some(plan);
    }
    if statement.more {
        return None;
    }
    if words == ["SHOW", "TRANSACTION", "ISOLATION", "LEVEL"] {
        words = ["SHOW", "TRANSACTION_ISOLATION"].map(str::to_owned).into();
    }
    if let [show, name] = words.as_slice()
        && show == "SHOW"
        && let Some((_, columns, value)) = SETTINGS
            .iter()
            .chain(ASKED_FOR)
            .find(|(setting, ..)| setting.eq_ignore_ascii_case(name))
    {
        return Some(Ok(Plan::Setting(columns, value)));
    }
    let (command, database) = command(&words, statement)?;
    let plan = match &command.answer {
        Answer::Table(..) | Answer::Later(..) | Answer::Notice(_) => Plan::Run(command),
        Answer::Act(act) => Plan::Act(act.order(database)?),
        // Without what it is about.
        Answer::Explain(_) | Answer::About(..) => return None,
    };
    Some(allowed(plan, command.name, command.role, role))
}

fn allowed(plan: Plan, name: &str, wanted: Role, role: Role) -> Result<Plan, Report> {
    if role < wanted {
        return Err(error("42501", format!("{name} is for {}", wanted.key())));
    }
    Ok(plan)
}

/// `SET key = value` or `SET key TO value`. What is no key of ours is a driver's, and does nothing: where it
/// was hardly meant to, the operator is told.
fn set(text: &str, role: Role) -> Result<Plan, Report> {
    let rest = text.get("SET".len()..).unwrap_or_default().trim_start();
    let scope = rest.split_once(char::is_whitespace);
    let session = scope.filter(|(scope, _)| scope.eq_ignore_ascii_case("session"));
    let rest = session.map_or(rest, |(_, rest)| rest.trim_start());
    let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
    let (key, rest) = rest.split_at(end);
    let key = key.to_ascii_lowercase();
    if !General::has(&key) {
        return Ok(about_key(&key).map_or(Plan::Nothing("SET"), Plan::Noted));
    }
    let rest = rest.trim_start();
    let to = rest.split_at_checked(3).filter(|(to, _)| to.trim_end().eq_ignore_ascii_case("to"));
    let value = rest.strip_prefix('=').or(to.map(|(_, value)| value)).map(str::trim);
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| unknown(text.as_bytes()))?;
    if to.is_some() && value.eq_ignore_ascii_case("default") {
        return reset(&key, role);
    }
    let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    let value = quoted.map_or_else(|| value.to_owned(), |value| value.replace("''", "'"));
    allowed(Plan::Act(Order::Set((key, value))), "SET", Role::Admin, role)
}

/// `RESET key`, `SET key TO DEFAULT`.
fn reset(key: &str, role: Role) -> Result<Plan, Report> {
    allowed(Plan::Act(Order::Reset(key.to_owned())), "RESET", Role::Admin, role)
}

/// `SILENCE alert` or `SILENCE alert time`, in quotes or not.
fn silence(text: &str, role: Role) -> Result<Plan, Report> {
    let unquoted = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    let rest = text.get("SILENCE".len()..).unwrap_or_default().trim_start();
    let (alert, time) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let time = match time.trim() {
        "" => None,
        time => Some(read_duration(&unquoted(time)).ok_or_else(|| unknown(text.as_bytes()))?),
    };
    let alert = unquoted(alert).to_ascii_lowercase();
    if alert.is_empty() {
        return Err(unknown(text.as_bytes()));
    }
    allowed(Plan::Act(Order::Silence(alert, time)), "SILENCE", Role::Admin, role)
}

/// A command about a value, in quotes or as one word.
fn about(text: &str, role: Role) -> Option<Result<Plan, Report>> {
    let (command, rest) = COMMANDS.iter().find_map(|command| {
        let Answer::About(..) = command.answer else { return None };
        let words: Vec<_> = command.name.split(' ').collect();
        Some((command, sql::behind(text.as_bytes(), &words)?))
    })?;
    let rest = std::str::from_utf8(rest).ok()?.trim();
    let quoted = rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let value = match quoted {
        // Quotes inside are doubled.
        Some(inside) if !inside.replace("''", "").contains('\'') => inside.replace("''", "'"),
        None if !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c == '\'') => {
            rest.to_owned()
        }
        Some(_) | None => return None,
    };
    Some(allowed(Plan::About(command, value), command.name, command.role, role))
}

/// A command for a host, which is no word where it has dots, a port or brackets.
fn of_a_host(word: &str, text: &str, role: Role) -> Option<Result<Plan, Report>> {
    let command = COMMANDS.iter().find(|command| command.name == word)?;
    let Answer::Act(act @ Act::Host(_)) = &command.answer else { return None };
    let host = text.get(word.len()..)?.trim().trim_matches(['\'', '"']);
    let is_one =
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "'\"".contains(c));
    let order = act.order(is_one.then_some(host))?;
    Some(allowed(Plan::Act(order), command.name, command.role, role))
}

/// The command of these words in upper case, and the database that is named behind it.
fn command<'s>(
    words: &[String],
    statement: &'s Words,
) -> Option<(&'static Command, Option<&'s str>)> {
    let find = |words: &[String]| {
        let name = words.join(" ");
        COMMANDS.iter().find(|command| command.name == name)
    };
    if let Some(command) = find(words) {
        return Some((command, None));
    }
    let (_, words) = words.split_last()?;
    let command = find(words).filter(|command| matches!(command.answer, Answer::Act(_)))?;
    Some((command, Some(statement.words.last()?)))
}

/// How much of a text is repeated in an error.
const QUOTED_MAX: usize = 200;

fn unknown(text: &[u8]) -> Report {
    let text: String = String::from_utf8_lossy(text).chars().take(QUOTED_MAX).collect();
    error("08P01", format!("invalid command '{}', use SHOW HELP;", text.trim()))
}

/// An error that the console survives.
pub(super) fn error(sqlstate: &'static str, message: impl Into<String>) -> Report {
    Report {
        severity: Severity::Error,
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: None,
        hint: None,
        routine: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::order::Haste;

    fn tags(text: &str) -> Result<Vec<&'static str>, String> {
        let plans = plans(text.as_bytes(), Role::Stats).map_err(|report| report.message)?;
        Ok(plans
            .iter()
            .map(|plan| if let Plan::Run(run) = plan { run.name } else { plan.tag() })
            .collect())
    }

    #[test]
    fn several_statements_and_no_ops_are_understood() {
        let text = "BEGIN; set extra_float_digits = 3; show Pools /* ; */;\n-- x\nCOMMIT;";
        assert_eq!(tags(text).unwrap(), ["BEGIN", "SET", "SHOW POOLS", "COMMIT"]);
        assert_eq!(tags("select version").unwrap(), ["SHOW VERSION"]);
        assert_eq!(tags("show timezone; SHOW STATE").unwrap(), ["SHOW", "SHOW STATE"]);
        assert_eq!(tags(" ; ").unwrap(), [""; 0]);
        assert_eq!(tags(&"SHOW STATE;".repeat(16)).unwrap().len(), 16);
        assert!(tags(&"SHOW STATE;".repeat(17)).unwrap_err().contains("up to 16"));
    }

    #[test]
    fn what_is_no_command_points_to_the_help() {
        for text in
            ["SHOW", "SHOW POOLS 1", "SHOW POOLS x", "DISABLE", "RELOAD x", "SELECT 1", "SHOW 'x"]
        {
            let message = tags(text).unwrap_err();
            assert_eq!(message, format!("invalid command '{text}', use SHOW HELP;"));
        }
    }

    #[test]
    fn orders_name_their_database_as_it_is_written() {
        let order = |text: &str| match plans(text.as_bytes(), Role::Admin).unwrap().as_slice() {
            [Plan::Act(order)] => order.clone(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(order("reload;"), Order::Reload);
        assert_eq!(order("pause"), Order::Pause(None));
        assert_eq!(order("PAUSE Shop"), Order::Pause(Some("Shop".to_owned())));
        assert_eq!(order("disable \"my shop\""), Order::Disable("my shop".to_owned()));
        assert_eq!(order("shutdown wait_for_servers"), Order::Shutdown(Haste::WaitForServers));
    }

    #[test]
    fn keys_are_set_and_what_drivers_set_does_nothing() {
        let set = |text: &str| match plans(text.as_bytes(), Role::Admin).as_deref() {
            Ok([Plan::Act(Order::Set((key, value)))]) => format!("{key}={value}"),
            Ok([Plan::Act(Order::Reset(key))]) => format!("{key} as before"),
            Ok([Plan::Nothing(_)]) => "-".to_owned(),
            Ok([Plan::Noted(told)]) => told.split("; ").next().unwrap_or_default().to_owned(),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(report) => report.message.clone(),
        };
        for (text, expected) in [
            ("set Pool_Mode = session;", "pool_mode=session"),
            ("SET pool_mode='session'", "pool_mode=session"),
            ("SET pool_mode TO session", "pool_mode=session"),
            ("SET server_check_query = 'select '';'''", "server_check_query=select ';'"),
            ("SET server_check_query = ''", "server_check_query="),
            ("SET extra_float_digits = 3", "-"),
            ("SET TIME ZONE 'UTC'", "-"),
            ("SET SESSION pool_mode = session", "pool_mode=session"),
            ("SET pool_mode TO DEFAULT", "pool_mode as before"),
            ("set pool_mode to 'default'", "pool_mode=default"),
            ("reset Pool_Mode;", "pool_mode as before"),
            ("RESET TimeZone", "-"),
            ("RESET ALL", "-"),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "-"),
            ("SET Stats_Period = 10", "stats_period is a key of PgBouncer"),
            ("SET pool_mod = session", "pool_mod is no key, and nothing has changed"),
            ("SET pool_mode", "invalid command 'SET pool_mode', use SHOW HELP;"),
            ("SET pool_mode =", "invalid command 'SET pool_mode =', use SHOW HELP;"),
        ] {
            assert_eq!(set(text), expected);
        }
        assert_eq!(tags("SET pool_mode = session").unwrap_err(), "SET is for admin_users");
    }

    #[test]
    fn keys_are_quoted_or_one_word() {
        let key = |text: &str| match plans(text.as_bytes(), Role::Stats).as_deref() {
            Ok([Plan::About(command, key)]) => format!("{}: {key}", command.name),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(report) => report.message.clone(),
        };
        for (text, expected) in [
            ("SHOW SHARD FOR '42'", "SHOW SHARD FOR: 42"),
            ("show shard for -42;", "SHOW SHARD FOR: -42"),
            ("SHOW  SHARD /* x */ FOR 'O''Neill; x'", "SHOW SHARD FOR: O'Neill; x"),
            ("SELECT SHARD FOR ''", "invalid command 'SELECT SHARD FOR ''', use SHOW HELP;"),
            ("SHOW SHARD FOR ''", "SHOW SHARD FOR: "),
            ("SHOW SHARD FOR", "invalid command 'SHOW SHARD FOR', use SHOW HELP;"),
            ("SHOW SHARD FOR a b", "invalid command 'SHOW SHARD FOR a b', use SHOW HELP;"),
            ("SHOW SHARD FOR 'a' 'b'", "invalid command 'SHOW SHARD FOR 'a' 'b'', use SHOW HELP;"),
            ("SHOW SHARD", "invalid command 'SHOW SHARD', use SHOW HELP;"),
        ] {
            assert_eq!(key(text), expected);
        }
    }

    #[test]
    fn hosts_need_no_quotes() {
        let host = |text: &str| match plans(text.as_bytes(), Role::Admin).as_deref() {
            Ok([Plan::Act(Order::Ban(host) | Order::Unban(host))]) => host.clone(),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(report) => report.message.clone(),
        };
        for (text, expected) in [
            ("BAN db2", "db2"),
            ("ban db-2.example.org:5432;", "db-2.example.org:5432"),
            ("BAN 10.0.0.7", "10.0.0.7"),
            ("BAN 10.0.0.7:5432", "10.0.0.7:5432"),
            ("UNBAN [::1]:5432", "[::1]:5432"),
            ("UNBAN '10.0.0.7:5432'", "10.0.0.7:5432"),
            ("BAN \"db2:5432\"", "db2:5432"),
            ("BAN /run/postgresql:5432", "/run/postgresql:5432"),
            ("BAN", "invalid command 'BAN', use SHOW HELP;"),
            ("BAN a b", "invalid command 'BAN a b', use SHOW HELP;"),
        ] {
            assert_eq!(host(text), expected);
        }
        assert_eq!(tags("BAN 10.0.0.7:5432").unwrap_err(), "BAN is for admin_users");
    }

    #[test]
    fn alerts_are_silenced_for_a_time_or_without_end() {
        let silence = |text: &str| match plans(text.as_bytes(), Role::Admin).as_deref() {
            Ok([Plan::Act(Order::Silence(alert, time))]) => format!("{alert} {time:?}"),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(report) => report.message.clone(),
        };
        for (text, expected) in [
            ("SILENCE Replica_Lag", "replica_lag None"),
            ("silence replica_lag 90;", "replica_lag Some(90s)"),
            ("SILENCE replica_lag '2 h'", "replica_lag Some(7200s)"),
            ("SILENCE \"replica_lag\" \"30min\"", "replica_lag Some(1800s)"),
            ("SILENCE replica_lag 1.5", "replica_lag Some(1.5s)"),
            ("SILENCE", "invalid command 'SILENCE', use SHOW HELP;"),
            (
                "SILENCE replica_lag soon",
                "invalid command 'SILENCE replica_lag soon', use SHOW HELP;",
            ),
        ] {
            assert_eq!(silence(text), expected);
        }
        assert_eq!(tags("SILENCE replica_lag").unwrap_err(), "SILENCE is for admin_users");
    }

    #[test]
    fn orders_are_for_admins() {
        for command in COMMANDS.iter().filter(|command| command.name != "SET") {
            if let Answer::Act(_) = command.answer {
                for text in [command.name.to_owned(), format!("{} shop", command.name)] {
                    assert!(tags(&text).is_err(), "{text}");
                }
                assert_eq!(command.role, Role::Admin, "{}", command.name);
            }
        }
    }
}
