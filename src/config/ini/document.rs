//! An ini as it is written in TOML: every setting of it, with what has become of it.
//!
//! There are two ways to write it down: to be read by the reader of `pooler.toml` at once, and to be
//! read by people, who keep the file. Both set the same keys to the same values.

use std::fmt::Write;

use super::super::problem::Problem;
use super::super::secret::Secret;
use super::super::setting::quote;
use super::scan::Place;
use super::translate::text_of;

/// One setting of the ini, or one default of PgBouncer.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Where it stands; `None` for a default.
    pub(super) place: Option<Place>,
    /// Its key in the ini.
    pub(super) key: String,
    /// `key = value` as it stands there, without secrets.
    pub(super) said: String,
    pub(super) sets: Vec<Set>,
    pub(super) fate: Fate,
}

/// A key of ours and its value.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) key: &'static str,
    pub(super) value: Toml,
}

/// A value as TOML has it.
#[derive(Clone, Debug)]
pub(super) enum Toml {
    Shown(String),
    /// A text that is never shown.
    Secret(Secret),
}

/// A general setting that was taken out.
#[derive(Debug)]
pub(super) struct Taken {
    /// Its key in PgBouncer.
    pub(super) key: String,
    /// Keys of ours, and their values in plain text.
    pub(super) sets: Vec<(String, String)>,
    /// What there is to say of it.
    pub(super) note: Option<String>,
}

/// What has become of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is what it was.
    Converted,
    /// It is what comes nearest, because.
    Adapted(String),
    /// It says what holds without it.
    Default,
    /// PgBouncer's default, where ours is another.
    Theirs(&'static str),
    /// It is left out, because.
    NotNeeded(String),
    /// It is left out, to this effect.
    NotSupported(String),
}

impl Fate {
    /// What whoever runs it should know.
    fn remark(&self) -> Option<(Weight, String)> {
        Some(match self {
            Self::Adapted(why) => (Weight::Warning, why.clone()),
            Self::NotSupported(effect) => (Weight::Warning, format!("not supported: {effect}")),
            Self::NotNeeded(why) => (Weight::Note, format!("not needed: {why}")),
            Self::Converted | Self::Default | Self::Theirs(_) => return None,
        })
    }
}

/// A table, as `[databases.shop]`.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `databases` or `users`.
    pub(super) parent: &'static str,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) items: Vec<Item>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) general: Vec<Item>,
    pub(super) tables: Vec<Table>,
    /// What else is worth a word.
    pub(super) remarks: Vec<Remark>,
}

/// Something that whoever runs an ini should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub weight: Weight,
    /// `file:line: key: what`.
    pub text: String,
}

/// How much a [`Remark`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing changes by it.
    Note,
    /// Something is not as it was.
    Warning,
}

/// A document as TOML, with where each of its lines comes from.
#[derive(Debug, Default)]
pub(in crate::config) struct Lines {
    pub(in crate::config) text: String,
    origins: Vec<Option<Origin>>,
}

#[derive(Debug)]
struct Origin {
    place: Option<Place>,
    /// Our key and the one in the ini, where their names differ.
    renamed: Option<(&'static str, String)>,
}

impl Document {
    /// To be read at once. It has secrets.
    pub(super) fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        let items = |lines: &mut Lines, items: &[Item]| {
            for item in items {
                for Set { key, value } in &item.sets {
                    let renamed = (item.key != *key).then(|| (*key, item.key.clone()));
                    let value = match value {
                        Toml::Shown(value) => value.clone(),
                        Toml::Secret(secret) => quote(secret.expose()),
                    };
                    let origin = Origin { place: item.place.clone(), renamed };
                    lines.push(&format!("{key} = {value}"), Some(origin));
                }
            }
        };
        items(&mut lines, &self.general);
        for table in &self.tables {
            let origin = Origin { place: Some(table.place.clone()), renamed: None };
            lines.push(&table.head(), Some(origin));
            items(&mut lines, &table.items);
        }
        lines
    }

    /// Takes out the general settings that stand at this place.
    pub(super) fn take_from(&mut self, place: &Place) -> Vec<Taken> {
        let there = |item: &mut Item| item.place.as_ref() == Some(place);
        let taken = self.general.extract_if(.., there).map(|item| {
            let note = item.fate.remark().map(|(_, what)| what);
            let sets = item.sets.into_iter().filter_map(|Set { key, value }| match value {
                Toml::Shown(value) => Some((key.to_owned(), text_of(&value).unwrap_or(value))),
                Toml::Secret(_) => None,
            });
            Taken { key: item.key, sets: sets.collect(), note }
        });
        taken.collect()
    }

    /// Everything that is worth a word.
    pub(super) fn all_remarks(&self) -> Vec<Remark> {
        let of_item = |item: &Item| {
            let Item { place, key, said, fate, .. } = item;
            let (weight, what) = fate.remark()?;
            let place = place.as_ref().map_or_else(|| said.clone(), Place::to_string);
            Some(Remark { weight, text: format!("{place}: {key}: {what}") })
        };
        let items = self.general.iter().chain(self.tables.iter().flat_map(|table| &table.items));
        self.remarks.iter().cloned().chain(items.filter_map(of_item)).collect()
    }

    /// To be kept, without secrets: those of databases are in the file `password_file`, if there
    /// are any.
    pub(super) fn annotated(&self, name: &str, password_file: &str) -> String {
        let mut text = HEAD.replace("{}", &plain(name));
        let (theirs, said): (Vec<_>, Vec<_>) =
            self.general.iter().partition(|item| matches!(item.fate, Fate::Theirs(_)));
        if !theirs.is_empty() {
            text.push_str("\n# ---- PgBouncer's defaults, where pgweir has others\n\n");
            theirs.iter().for_each(|item| push_item(&mut text, item));
        }
        text.push_str("\n# ---- General settings\n\n");
        said.iter().for_each(|item| push_item(&mut text, item));
        let secret = |item: &Item| item.sets.iter().any(|set| matches!(set.value, Toml::Secret(_)));
        let tables = || self.tables.iter();
        if tables().any(|table| table.items.iter().any(secret)) {
            let file = quote(password_file);
            text.push_str(&format!(
                "# The passwords in [databases], which are not shown\npassword_file = {file}\n"
            ));
        }
        for table in tables() {
            let place = table.place.to_string();
            text.push_str(&format!("\n# {}\n{}\n", plain(&place), table.head()));
            table.items.iter().for_each(|item| push_item(&mut text, item));
        }
        for Remark { text: remark, .. } in &self.remarks {
            text.push_str(&format!("\n# {}\n", plain(remark)));
        }
        text
    }

    /// The passwords of databases, in the format of `auth_file`; `None` when there are none.
    pub(super) fn passwords(&self) -> Option<Secret> {
        let mut text = String::new();
        for table in &self.tables {
            let sets = table.items.iter().flat_map(|item| &item.sets);
            for set in sets {
                if let Toml::Secret(secret) = &set.value {
                    let doubled = |text: &str| text.replace('"', "\"\"");
                    let (name, secret) = (doubled(&table.name), doubled(secret.expose()));
                    text.push_str(&format!("\"{name}\" \"{secret}\"\n"));
                }
            }
        }
        (!text.is_empty()).then(|| Secret::new(text))
    }

    /// How many settings have come to what, in words.
    pub(super) fn sum(&self) -> String {
        let items = self.general.iter().chain(self.tables.iter().flat_map(|table| &table.items));
        let (mut converted, mut default, mut not_needed, mut not_supported) = (0, 0, 0, 0);
        for item in items.filter(|item| item.place.is_some()) {
            match item.fate {
                Fate::Converted | Fate::Adapted(_) => converted += 1,
                Fate::Default | Fate::Theirs(_) => default += 1,
                Fate::NotNeeded(_) => not_needed += 1,
                Fate::NotSupported(_) => not_supported += 1,
            }
        }
        format!(
            "{converted} converted, {default} same as the default, {not_needed} not needed, \
             {not_supported} not supported"
        )
    }
}

impl Table {
    fn head(&self) -> String {
        format!("[{}.{}]", self.parent, quote(&self.name))
    }
}

impl Lines {
    fn push(&mut self, line: &str, origin: Option<Origin>) {
        self.text.push_str(line);
        self.text.push('\n');
        self.origins.push(origin);
    }

    fn origin(&self, line: usize) -> Option<&Origin> {
        self.origins.get(line.checked_sub(1)?)?.as_ref()
    }

    /// Where a line of the text comes from: `file:line`.
    pub(in crate::config) fn place(&self, line: usize) -> String {
        let place = self.origin(line).and_then(|origin| origin.place.as_ref());
        place.map_or_else(|| "PgBouncer's default".to_owned(), Place::to_string)
    }

    /// A problem of the text, which stands for the file `name`, at its place in the ini.
    pub(super) fn trace(&self, name: &str, problem: Problem) -> Problem {
        let Some(line) = problem.line.filter(|_| problem.file == name) else {
            return problem;
        };
        let Some(Origin { place, renamed }) = self.origin(line) else {
            return Problem { line: None, ..problem };
        };
        let mut key = problem.key;
        if let Some((ours, theirs)) = renamed
            && let Some(before) = key.strip_suffix(ours)
        {
            key = format!("{before}{theirs}");
        }
        match place {
            Some(place) => {
                Problem { hint: problem.hint, ..place.problem(&key, problem.what, None) }
            }
            None => Problem { line: None, key, ..problem },
        }
    }
}

fn push_item(text: &mut String, item: &Item) {
    let Item { place, said, sets, fate, .. } = item;
    let place = place.as_ref().map(|place| plain(&place.to_string())).unwrap_or_default();
    let said = plain(said);
    let line = |text: &mut String, what: &str| {
        // Writing to a String does not fail.
        writeln!(text, "# {place}: {said}: {}", plain(what)).unwrap_or_default();
    };
    match fate {
        Fate::Converted => line(text, "converted"),
        Fate::Adapted(why) => line(text, &format!("converted, {why}")),
        Fate::Default => return line(text, "same as pgweir's default"),
        Fate::Theirs(why) => writeln!(text, "# {why}").unwrap_or_default(),
        Fate::NotNeeded(why) => line(text, &format!("not needed: {why}")),
        Fate::NotSupported(effect) => line(text, &format!("NOT SUPPORTED: {effect}")),
    }
    for Set { key, value } in sets {
        if let Toml::Shown(value) = value {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
}

/// Without what a comment of TOML can't have.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const HEAD: &str = "\
# pgweir's configuration, made of {} by `pgweir convert`.
#
# Every setting of that file has its line here, with what has become of it: converted, same as
# pgweir's default, not needed, or NOT SUPPORTED and to what effect.
";
