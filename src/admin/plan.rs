//! What a text of the console asks for, as far as that can be told without looking at anything.

use super::Role;
use super::commands::{Answer, COMMANDS, Column, Command};
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

/// One statement, understood.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// A command of ours.
    Run(&'static Command),
    /// The value of a setting.
    Setting(&'static [Column; 1], &'static str),
    /// Nothing, under this tag.
    Nothing(&'static str),
}

impl Plan {
    /// The columns of the result, if it has rows.
    pub(super) fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Run(Command { answer: Answer::Table(columns, _), .. }) => Some(columns),
            Self::Setting(columns, _) => Some(*columns),
            Self::Run(_) | Self::Nothing(_) => None,
        }
    }

    /// What follows the rows.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Nothing(tag) => tag,
            Self::Run(_) | Self::Setting(..) => "SHOW",
        }
    }
}

/// The plans of a text, one for each statement.
pub(super) fn plans(text: &[u8], role: Role) -> Result<Vec<Plan>, Report> {
    let statements = sql::statements(text).ok_or_else(|| unknown(text))?;
    statements.iter().map(|words| plan(words, role).ok_or_else(|| unknown(text))?).collect()
}

/// `None`: not a command.
fn plan(statement: &Words, role: Role) -> Option<Result<Plan, Report>> {
    let mut words: Vec<_> = statement.words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let first = words.first_mut()?;
    match first.as_str() {
        "SET" => return Some(Ok(Plan::Nothing("SET"))),
        "BEGIN" | "START" => return Some(Ok(Plan::Nothing("BEGIN"))),
        "COMMIT" | "END" => return Some(Ok(Plan::Nothing("COMMIT"))),
        "ROLLBACK" | "ABORT" => return Some(Ok(Plan::Nothing("ROLLBACK"))),
        "SELECT" => "SHOW".clone_into(first),
        _ => {}
    }
    if statement.more {
        return None;
    }
    if let [show, name] = words.as_slice()
        && show == "SHOW"
        && let Some((_, columns, value)) =
            SETTINGS.iter().find(|(setting, ..)| setting.eq_ignore_ascii_case(name))
    {
        return Some(Ok(Plan::Setting(columns, value)));
    }
    let name = words.join(" ");
    let command = COMMANDS.iter().find(|command| command.name == name)?;
    if role < command.role {
        return Some(Err(error("42501", format!("{name} is for {}", command.role.key()))));
    }
    Some(Ok(Plan::Run(command)))
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn what_is_no_command_points_to_the_help() {
        for text in ["SHOW", "SHOW POOLS 1", "DROP TABLE t", "SELECT 1", "SHOW 'x", "1"] {
            let message = tags(text).unwrap_err();
            assert_eq!(message, format!("invalid command '{text}', use SHOW HELP;"));
        }
    }
}
