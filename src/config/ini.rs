//! PgBouncer's configuration, `pgbouncer.ini`: it is written as a `pooler.toml` would be, in memory
//! or into a file, and read by that reader.
//!
//! So there is one reader, an ini can say nothing that a `pooler.toml` could not, and what is
//! converted is what ran before. What PgBouncer does and we don't is a [`Remark`]; what can't be
//! carried out is a problem at its place in the ini.

mod document;
mod pairs;
mod scan;
mod special;
pub(super) mod theirs;
mod translate;
mod written;

#[cfg(test)]
mod tests;

pub(super) use self::document::Lines;
use self::document::{Document, Taken};
pub use self::document::{Remark, Weight};
pub use self::scan::ReadFile;
use self::scan::{Entry, Place, Section, scan};
use self::translate::translate;
use super::environment::Environment;
use super::model::{Config, General};
use super::problem::{Problem, Problems};
use super::secret::Secret;

/// A configuration and what whoever runs it should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As it counts.
    pub config: Config,
    /// Of an ini.
    pub remarks: Vec<Remark>,
    /// Keys of an ini that an operator has set, each with what is to be said of its value.
    pub notes: Vec<(String, String)>,
}

impl From<Config> for Loaded {
    fn from(config: Config) -> Self {
        Self { config, remarks: Vec::new(), notes: Vec::new() }
    }
}

/// An ini as files of ours.
#[derive(Clone, Debug)]
pub struct Converted {
    /// `pooler.toml`. It has no secrets of `[databases]`.
    pub toml: String,
    /// What `password_file` has to have in it; `None` when there is no password in the ini.
    pub passwords: Option<Secret>,
    /// What is not as it was, and what is not needed.
    pub remarks: Vec<Remark>,
    /// How many settings have come to what.
    pub sum: String,
}

/// An ini that is being read.
struct Ini {
    document: Document,
    problems: Vec<Problem>,
}

impl Ini {
    fn new(name: &str, text: &str, read: ReadFile<'_>) -> Self {
        Self::with(name, text, read, [])
    }

    /// The same with lines at its end that come from elsewhere.
    fn with(
        name: &str,
        text: &str,
        read: ReadFile<'_>,
        lines: impl IntoIterator<Item = (Place, String, String)>,
    ) -> Self {
        let mut scanned = scan(name, text, read);
        let section = Section::Pgbouncer;
        scanned.entries.extend(lines.into_iter().map(|(place, key, value)| Entry {
            section,
            key,
            value,
            place,
        }));
        let (document, problems) = translate(name, &scanned);
        scanned.problems.extend(problems);
        Self { document, problems: scanned.problems }
    }

    fn config(&self, name: &str, environment: &Environment) -> Result<Config, Problems> {
        let lines = self.document.lines();
        let (config, found) = match Config::from_translated(name, &lines.text, environment) {
            Ok(config) => (Some(config), Vec::new()),
            Err(problems) => (None, problems.into_iter().collect()),
        };
        let found = found.into_iter().map(|problem| lines.trace(name, problem));
        let problems = self.problems.iter().cloned().chain(found).collect();
        let config = Problems::none_or(problems, config)?;
        // Where it is none there is a problem.
        Ok(config.unwrap_or_else(|| Config::empty(General::default())))
    }
}

/// Reads the text of an ini and the files that it names; `name` stands for it in problems, `read`
/// reads what it includes.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn load(
    name: &str,
    text: &str,
    read: ReadFile<'_>,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let mut environment = environment.clone();
    // Values that an operator sets are PgBouncer's, as those of the file.
    let set = environment.taken().into_iter();
    let (theirs, ours): (Vec<_>, Vec<_>) = set.partition(|(key, _)| theirs::find(key).is_some());
    let lines = theirs.into_iter().map(|(key, value)| (Place::console(), key, value));
    let mut ini = Ini::with(name, text, read, lines);
    let (mut sets, mut notes) = (ours, Vec::new());
    for Taken { key, sets: set, note } in ini.document.take_from(&Place::console()) {
        sets.extend(set);
        notes.extend(note.map(|note| (key, note)));
    }
    let config = ini.config(name, &environment.with(sets))?;
    Ok(Loaded { config, remarks: ini.document.all_remarks(), notes })
}

/// Files that a converted ini names.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Where the passwords of databases will be.
    pub password_file: &'a str,
    /// The list of users, if it is another than the ini's.
    pub auth_file: Option<&'a str>,
}

/// Makes a `pooler.toml` of an ini.
///
/// # Errors
/// Everything that is wrong with it; it would not run either.
pub fn convert(
    name: &str,
    text: &str,
    read: ReadFile<'_>,
    files: Files<'_>,
) -> Result<Converted, Problems> {
    let Files { password_file, auth_file } = files;
    let list =
        auth_file.map(|path| (Place::command_line(), "auth_file".to_owned(), path.to_owned()));
    let ini = Ini::with(name, text, read, list);
    ini.config(name, &Environment::default())?;
    Ok(Converted {
        toml: ini.document.annotated(name, password_file),
        passwords: ini.document.passwords(),
        remarks: ini.document.all_remarks(),
        sum: ini.document.sum(),
    })
}

/// An ini as TOML, with where each line comes from.
pub(super) fn lines(name: &str, text: &str, read: ReadFile<'_>) -> Lines {
    Ini::new(name, text, read).document.lines()
}
