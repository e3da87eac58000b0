//! Rust source as the rules see it: words and symbols with their lines, without comments, and
//! the paths from one module to another that they spell.

use std::path::{Path, PathBuf};

/// A word, symbol or string of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// An identifier, keyword or number.
    Word(String),
    /// The content of a string literal, escapes as written.
    Text(String),
    /// The content of a byte string literal.
    Bytes(String),
    /// One byte that is neither of these nor white space; `::` is one token.
    Symbol(&'static str),
}

/// A file, taken apart.
#[derive(Debug)]
pub struct Source {
    /// Below the package's folder, as in `src/wire/frame.rs`.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    /// Its tokens with their lines, counted from 1.
    pub tokens: Vec<(usize, Token)>,
}

/// A module of the first level that code names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub line: usize,
    /// `None` where the path is not one that can be followed, as a glob over all modules.
    pub module: Option<String>,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned(), tokens: tokens(text) }
    }

    /// Every `.rs` file below `folder`, which is below the package's folder `root`.
    pub fn below(root: &Path, folder: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.push(Self::new(path.strip_prefix(root).unwrap(), &text));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// The names of the modules from the crate's root to this file: none for `src/lib.rs`.
    pub fn modules(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src").unwrap_or(&self.path).with_extension("");
        let mut modules: Vec<_> =
            path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| last == "mod" || last == "lib") {
            modules.pop();
        }
        modules
    }

    /// The module of the first level that this file belongs to.
    pub fn module(&self) -> String {
        self.modules().first().cloned().unwrap_or_else(|| "lib".into())
    }

    /// Whether all of it is compiled for tests alone.
    pub fn is_test(&self) -> bool {
        let modules = self.modules();
        modules.iter().any(|module| module == "tests")
    }

    /// Lines before the tests at the end.
    pub fn lines(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        tests.unwrap_or(lines.len())
    }

    fn word(&self, index: usize) -> Option<&str> {
        match self.tokens.get(index) {
            Some((_, Token::Word(word))) => Some(word),
            _ => None,
        }
    }

    fn is(&self, index: usize, symbol: &str) -> bool {
        matches!(self.tokens.get(index), Some((_, Token::Symbol(found))) if *found == symbol)
    }

    /// Every module of the first level that a path from the root (`crate::`, or the crate's own
    /// name in the binary) or out of the own module (`super::` often enough) leads to.
    pub fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        // The inline modules around the current token, by the depth of braces that they opened.
        let mut inline: Vec<usize> = Vec::new();
        let mut depth = 0_usize;
        let own = self.modules().len();
        for index in 0..self.tokens.len() {
            if self.is(index, "{") {
                depth += 1;
                let is_module = index >= 2 && self.word(index - 2) == Some("mod");
                if is_module {
                    inline.push(depth);
                }
            } else if self.is(index, "}") {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            }
            let starts = index == 0 || !self.is(index - 1, "::");
            match self.word(index) {
                Some("crate" | "pgweir") if starts && self.is(index + 1, "::") => {
                    self.first_names(index + 2, &mut found);
                }
                Some("super") if starts => {
                    let mut at = index;
                    let mut up = 0;
                    while self.word(at) == Some("super") && self.is(at + 1, "::") {
                        (at, up) = (at + 2, up + 1);
                    }
                    if up > 0 && up == own + inline.len() {
                        self.first_names(at, &mut found);
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The first name of a path's rest, or of each path in its braces.
    fn first_names(&self, index: usize, found: &mut Vec<Import>) {
        let line = self.tokens.get(index).map_or(0, |(line, _)| *line);
        if !self.is(index, "{") {
            let module = self.word(index).map(str::to_owned);
            return found.push(Import { line, module });
        }
        let mut depth = 0_usize;
        let mut starts = false;
        for (at, (line, token)) in self.tokens.iter().enumerate().skip(index) {
            match token {
                Token::Symbol("{") => (depth, starts) = (depth + 1, depth == 0),
                Token::Symbol("}") if depth == 1 => return,
                Token::Symbol("}") => depth -= 1,
                Token::Symbol(",") => starts = depth == 1,
                _ if starts => {
                    starts = false;
                    let module = self.word(at).filter(|word| *word != "self").map(str::to_owned);
                    found.push(Import { line: *line, module });
                }
                _ => {}
            }
        }
    }

    /// The lines on which a path starts with the name of this crate.
    pub fn uses_of(&self, name: &str) -> Vec<usize> {
        let names = |index: usize| {
            let starts = index == 0 || !(self.is(index - 1, "::") || self.is(index - 1, "."));
            let used = index > 0 && matches!(self.word(index - 1), Some("use" | "crate"));
            starts && self.word(index) == Some(name) && (self.is(index + 1, "::") || used)
        };
        (0..self.tokens.len()).filter(|&index| names(index)).map(|i| self.tokens[i].0).collect()
    }

    /// The lines of statics that can change: `static mut`, and statics whose type has a name
    /// that can be written through.
    pub fn mutable_statics(&self) -> Vec<usize> {
        const CELLS: [&str; 9] = [
            "Cell",
            "RefCell",
            "UnsafeCell",
            "OnceCell",
            "OnceLock",
            "Mutex",
            "RwLock",
            "LazyCell",
            "Atomic",
        ];
        let mut found = Vec::new();
        for index in 0..self.tokens.len() {
            if self.word(index) != Some("static") {
                continue;
            }
            let declared = (index..self.tokens.len())
                .take_while(|&at| !self.is(at, "=") && !self.is(at, ";"))
                .filter_map(|at| self.word(at));
            let changes =
                |word: &str| word == "mut" || CELLS.contains(&word) || word.starts_with("Atomic");
            if declared.into_iter().any(changes) {
                found.push(self.tokens[index].0);
            }
        }
        found
    }

    /// String literals outside of the tests at the end, with their lines.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.lines();
        self.tokens.iter().filter_map(move |(line, token)| match token {
            Token::Text(text) if *line <= end => Some((*line, text.as_str())),
            _ => None,
        })
    }
}

/// Takes source text apart; comments, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let bytes = text.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let find = |needle: &str, from: usize| {
        text[from..].find(needle).map_or(bytes.len(), |found| from + found)
    };
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let (token, end) = if rest.starts_with("//") {
            (None, find("\n", at))
        } else if rest.starts_with("/*") {
            (None, comment_end(bytes, at))
        } else if let Some((start, end)) = string(rest) {
            let after = rest[end..].bytes().take_while(|&byte| byte == b'#' || byte == b'"');
            let content = rest[start..end].to_owned();
            let is_bytes = rest.starts_with('b');
            let token = if is_bytes { Token::Bytes(content) } else { Token::Text(content) };
            (Some(token), at + end + after.count().max(1))
        } else if bytes[at] == b'\'' {
            (None, at + quote(&rest[1..]))
        } else if is_word(bytes[at]) {
            let len = rest.bytes().take_while(|&byte| is_word(byte)).count();
            (Some(Token::Word(rest[..len].into())), at + len)
        } else if rest.starts_with("::") {
            (Some(Token::Symbol("::")), at + 2)
        } else {
            (symbol(bytes[at]).map(Token::Symbol), at + 1)
        };
        found.extend(token.map(|token| (line, token)));
        line += text[at..end].matches('\n').count();
        at = end;
    }
    found
}

fn symbol(byte: u8) -> Option<&'static str> {
    const ALL: &str = "{}()[]<>;:,.=#!&*+-/|?@$^%~";
    let index = ALL.bytes().position(|known| known == byte)?;
    Some(&ALL[index..=index])
}

/// Comments nest.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Where the content of a string literal at the start of `rest` begins and ends.
fn string(rest: &str) -> Option<(usize, usize)> {
    let prefix = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let raw = prefix.strip_prefix('r');
    let hashes = raw.map_or(0, |raw| raw.bytes().take_while(|&byte| byte == b'#').count());
    let opened = raw.unwrap_or(prefix).get(hashes..)?.strip_prefix('"')?;
    let start = rest.len() - opened.len();
    if raw.is_some() {
        let closing = format!("\"{}", "#".repeat(hashes));
        return Some((start, start + opened.find(&closing).unwrap_or(opened.len())));
    }
    let mut escaped = false;
    let end = opened.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    Some((start, start + end.unwrap_or(opened.len())))
}

/// The length of a character literal or a lifetime, whose quote is counted and not in `rest`.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices();
    match chars.next() {
        Some((_, '\\')) => {
            // The escaped character may be the quote itself.
            let from = chars.next().map_or(rest.len(), |(at, escaped)| at + escaped.len_utf8());
            rest[from..].find('\'').map_or(1, |found| 1 + from + found + 1)
        }
        Some((first, _)) => match chars.next() {
            Some((at, '\'')) => 1 + at + 1,
            _ => {
                let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                1 + rest[first..].bytes().take_while(is_word).count()
            }
        },
        None => 1,
    }
}
