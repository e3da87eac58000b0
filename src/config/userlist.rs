//! PgBouncer's `auth_file`: one `"name" "secret"` per line.
//!
//! Quotes inside are doubled; what follows the secret on its line is ignored; empty lines and
//! lines that start with `;` or `#` too. Problems name the line and never show what is on it.

use super::problem::{Problem, Problems};
use super::secret::Secret;

/// Reads a list of users; `name` stands for the file in problems. A name may appear twice: the
/// later line is meant to win.
///
/// # Errors
/// Every line that can't be read.
pub fn parse(name: &str, text: &str) -> Result<Vec<(String, Secret)>, Problems> {
    let mut users = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some(user)) => users.push(user),
            Err(what) => problems.push(Problem {
                file: name.to_owned(),
                line: Some(index + 1),
                key: String::new(),
                what: what.to_owned(),
                hint: Some(r#"a line is: "name" "secret""#.to_owned()),
            }),
        }
    }
    Problems::none_or(problems, users)
}

fn parse_line(line: &str) -> Result<Option<(String, Secret)>, &'static str> {
    let line = line.trim_start_matches(['\u{feff}', ' ', '\t', '\r']);
    if line.is_empty() || line.starts_with([';', '#']) {
        return Ok(None);
    }
    let (user, rest) = quoted(line).ok_or("the user's name must stand in double quotes")?;
    let (secret, _) = quoted(rest.trim_start_matches([' ', '\t']))
        .ok_or("the secret must stand in double quotes, on the same line")?;
    if user.is_empty() {
        return Err("the user's name is empty");
    }
    if user.contains('\0') || secret.contains('\0') {
        return Err("a name or secret can't contain a zero byte");
    }
    Ok(Some((user, Secret::new(secret))))
}

/// The text in the double quotes that `text` starts with, and what follows them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut inside = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        inside.push_str(before);
        match after.strip_prefix('"') {
            Some(doubled) => {
                inside.push('"');
                rest = doubled;
            }
            None => return Some((inside, after)),
        }
    }
}
