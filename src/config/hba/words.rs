//! Lines of `pg_hba.conf` and `pg_ident.conf` as words.

use std::path::{Path, PathBuf};

/// A word of a line. One in quotes is never a keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Word {
    pub(super) text: String,
    quoted: bool,
}

impl Word {
    /// A word as a list in TOML has it: in double quotes inside it is no keyword.
    pub(in crate::config) fn listed(text: &str) -> Self {
        let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Self { text: inside.unwrap_or(text).to_owned(), quoted: inside.is_some() }
    }

    /// The word, where it may be a keyword.
    pub(super) fn keyword(&self) -> Option<&str> {
        (!self.quoted).then_some(self.text.as_str())
    }
}

/// Reads the file of an `@name`.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Lines with their numbers; one that ends with a backslash goes on in the next.
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (start, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(line) => {
                joined.push_str(line);
                open = Some((start, joined));
            }
            None => {
                joined.push_str(line);
                lines.push((start, joined));
            }
        }
    }
    lines.extend(open);
    lines
}

/// The fields of a line: words apart from each other; words with commas between are one field.
pub(super) fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut rest = line.trim_start();
    let mut goes_on = false;
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, behind) = word(rest)?;
        match fields.last_mut() {
            Some(field) if goes_on => field.push(word),
            _ => fields.push(vec![word]),
        }
        goes_on = behind.starts_with(',');
        rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
    }
    Ok(fields)
}

/// The first word of a text that does not start with space, and what is behind it.
fn word(text: &str) -> Result<(Word, &str), String> {
    let mut word = Word { text: String::new(), quoted: false };
    let mut chars = text.char_indices().peekable();
    let mut inside = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if inside && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                word.text.push('"');
            }
            '"' => {
                inside = !inside;
                word.quoted = word.quoted || at == 0;
            }
            c if !inside && (c.is_whitespace() || c == ',' || c == '#') => {
                return if at == 0 {
                    Err("a comma without a word before it".to_owned())
                } else {
                    Ok((word, text.get(at..).unwrap_or_default()))
                };
            }
            '\0' => return Err("can't contain a zero byte".to_owned()),
            c => word.text.push(c),
        }
    }
    if inside { Err("a double quote is not closed".to_owned()) } else { Ok((word, "")) }
}

/// The words of a field, with those of its `@name`s in their places.
pub(super) fn with_files(
    field: Vec<Word>,
    folder: &Path,
    read: ReadFile<'_>,
    depth: usize,
) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    for word in field {
        let Some(file) = word.keyword().and_then(|text| text.strip_prefix('@')) else {
            words.push(word);
            continue;
        };
        if depth >= DEPTH_MAX {
            return Err(format!("@{file}: files name each other too deeply"));
        }
        let path: PathBuf = folder.join(file);
        let text = read(&path).map_err(|error| format!("@{file} can't be read: {error}"))?;
        let inner = path.parent().unwrap_or(folder);
        for (_, line) in logical_lines(&text) {
            for field in fields(&line)? {
                words.extend(with_files(field, inner, read, depth + 1)?);
                if words.len() > WORDS_MAX {
                    return Err(format!("@{file} holds more than {WORDS_MAX} names"));
                }
            }
        }
    }
    Ok(words)
}

/// `@name` in a file that an `@name` has named, and so on.
const DEPTH_MAX: usize = 10;
/// Names that one list may hold, its files included.
const WORDS_MAX: usize = 100_000;
