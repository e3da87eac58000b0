//! The syntax of PgBouncer's ini: sections, `key = value`, comments and `%include`.
//!
//! Text becomes entries in their order, each with where it stands; what they mean is not known here.
//! A line that can't be read is a problem, and the reading goes on: PgBouncer stops there.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::problem::Problem;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
}

/// A `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: Section,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Pgbouncer,
    Databases,
    Users,
    Peers,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) entries: Vec<Entry>,
    /// Where each `[pgbouncer]` begins.
    pub(super) heads: Vec<Place>,
    pub(super) problems: Vec<Problem>,
}

/// How a file is read that an ini includes.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// As in PgBouncer.
const INCLUDES_MAX: usize = 10;

/// Reads the text of the file `name`, and those that it includes. A relative name of one of these
/// starts in the current directory, as in PgBouncer.
pub(super) fn scan(name: &str, text: &str, read: ReadFile<'_>) -> Scanned {
    let mut scanner = Scanner { found: Scanned::default(), section: None, read };
    scanner.file(&Arc::from(name), text, 0);
    scanner.found
}

struct Scanner<'a> {
    found: Scanned,
    /// It goes on behind an included file with that file's last section, as in PgBouncer.
    section: Option<Head>,
    read: ReadFile<'a>,
}

#[derive(Clone, Copy)]
enum Head {
    Known(Section),
    /// Nothing under it counts; the head has been reported.
    Unknown,
}

impl Scanner<'_> {
    fn file(&mut self, name: &Arc<str>, text: &str, depth: usize) {
        for (index, line) in text.trim_start_matches('\u{feff}').split('\n').enumerate() {
            let place = Place { file: Arc::clone(name), line: index + 1 };
            self.line(&place, line, depth);
        }
    }

    fn line(&mut self, place: &Place, line: &str, depth: usize) {
        let mut rest = line.trim_start_matches(SPACE);
        // What stands behind a head on its line counts.
        while let Some(head) = rest.strip_prefix('[') {
            let Some((name, after)) = head.split_once(']') else {
                return self.report(place, "a section's name ends with ]", None);
            };
            self.head(place, name);
            rest = after.trim_start_matches(SPACE);
        }
        if rest.is_empty() || rest.starts_with(['#', ';']) {
            return;
        }
        if rest.contains('\0') {
            return self.report(place, "a line can't contain a zero byte", None);
        }
        match rest.strip_prefix("%include").filter(|path| path.starts_with([' ', '\t'])) {
            Some(path) => self.include(place, path.trim_matches(SPACE), depth),
            None => self.setting(place, rest),
        }
    }

    fn head(&mut self, place: &Place, name: &str) {
        let known = SECTIONS.iter().find(|(known, _)| *known == name);
        self.section = Some(match known {
            Some((_, section)) => {
                if *section == Section::Pgbouncer {
                    self.found.heads.push(place.clone());
                }
                Head::Known(*section)
            }
            None => {
                let names = SECTIONS.map(|(name, _)| format!("[{name}]"));
                let hint = format!("there are {}", names.join(", "));
                self.report(place, "unknown section", Some(hint));
                Head::Unknown
            }
        });
    }

    fn include(&mut self, place: &Place, path: &str, depth: usize) {
        if depth >= INCLUDES_MAX {
            let what = format!("%include: more than {INCLUDES_MAX} files deep");
            return self.report(place, &what, Some("does a file include itself?".to_owned()));
        }
        match (self.read)(Path::new(path)) {
            Ok(text) => self.file(&Arc::from(path), &text, depth + 1),
            Err(error) => {
                let hint = "a relative path starts in the current directory".to_owned();
                let hint = Path::new(path).is_relative().then_some(hint);
                self.report(place, &format!("%include: {path} can't be read: {error}"), hint);
            }
        }
    }

    fn setting(&mut self, place: &Place, text: &str) {
        let Some((key, after)) = name(text) else {
            let hint = "a name with other characters than letters, digits, _ . - and * stands in \
                        double quotes";
            return self.report(place, "must be key = value", Some(hint.to_owned()));
        };
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            return self.report(place, "must be key = value", None);
        };
        let value = value.trim_start_matches([' ', '\t']).trim_end_matches(SPACE);
        match self.section {
            Some(Head::Known(section)) => self.found.entries.push(Entry {
                section,
                key,
                value: value.to_owned(),
                place: place.clone(),
            }),
            Some(Head::Unknown) => {}
            None => {
                let hint = "put [pgbouncer] above it, or [databases]".to_owned();
                self.report(place, "stands in no section", Some(hint));
            }
        }
    }

    fn report(&mut self, place: &Place, what: &str, hint: Option<String>) {
        self.found.problems.push(place.problem("", what, hint));
    }
}

impl Place {
    /// Where flags and arguments stand: in no line.
    pub(super) fn command_line() -> Self {
        Self { file: Arc::from("command line"), line: 0 }
    }

    /// What an operator says to the console.
    pub(super) fn console() -> Self {
        Self { file: Arc::from("SET"), line: 0 }
    }

    /// A problem of a key at this place.
    pub(super) fn problem(
        &self,
        key: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        let (file, line) = (self.file.to_string(), Some(self.line).filter(|line| *line > 0));
        Problem { file, line, key: key.to_owned(), what: what.into(), hint }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A key or name at the start of a text, and what follows it; `None` when there is none.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let bare = |c: char| c.is_ascii_alphanumeric() || "_.-*".contains(c);
        let end = text.find(|c| !bare(c)).unwrap_or(text.len());
        let (name, after) = text.split_at(end);
        return (!name.is_empty()).then(|| (name.to_owned(), after));
    };
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(doubled) => {
                name.push('"');
                rest = doubled;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

const SECTIONS: [(&str, Section); 4] = [
    ("pgbouncer", Section::Pgbouncer),
    ("databases", Section::Databases),
    ("users", Section::Users),
    ("peers", Section::Peers),
];

/// What C's `isspace` takes for a space, without the newline.
const SPACE: [char; 5] = [' ', '\t', '\r', '\x0b', '\x0c'];
