//! Views of the bodies that we read: borrowed, bounds-checked, verbatim.
//!
//! A view never copies and never assumes UTF-8: statement text is in the client's encoding.

/// Reads a body from its start; every step is `None` past the end.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first byte of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The bytes up to the next NUL, which is consumed with them.
    pub fn cstr(&mut self) -> Option<&'a [u8]> {
        // Most are empty, or short.
        let end = match self.rest {
            [0, ..] => 0,
            [_, 0, ..] => 1,
            rest => memchr::memchr(0, rest)?,
        };
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// A big-endian 16-bit word.
    pub fn short(&mut self) -> Option<u16> {
        let (short, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*short))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A big-endian 32-bit word.
    pub fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*word))
    }

    /// The next value of a row.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let len = self.word().filter(|len| *len != u32::MAX)?;
        self.bytes(len as usize)
    }

    /// What has not been read yet.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Appends what a client goes by of a RowDescription: names and types of columns. Where they come
/// from, and how they are told, is left out. `None` if it is none.
pub fn columns(body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut fields = Fields::new(body);
    let count = fields.short()?;
    out.extend_from_slice(&count.to_be_bytes());
    for _ in 0..count {
        out.extend_from_slice(fields.cstr()?);
        out.push(0);
        fields.bytes(6)?; // table and column
        out.extend_from_slice(fields.bytes(10)?); // type, its length, its modifier
        fields.short()?; // format
    }
    Some(())
}

/// The body of a Parse message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed statement.
    pub name: &'a [u8],
    /// The statement's text.
    pub text: &'a [u8],
    /// Text, its NUL and the parameter types: all that identifies a statement, and all of the
    /// body that follows the name.
    pub identity: &'a [u8],
}

impl<'a> Parse<'a> {
    /// `None` when the body is not a well-formed Parse.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let name = fields.cstr()?;
        let identity = fields.rest();
        let text = fields.cstr()?;
        let (count, types) = fields.rest().split_first_chunk::<2>()?;
        if types.len() != usize::from(u16::from_be_bytes(*count)) * 4 {
            return None;
        }
        Some(Self { name, text, identity })
    }
}

/// The start of a Bind message's body: the two names. What follows is never looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed portal.
    pub portal: &'a [u8],
    /// The statement's name; empty for the unnamed statement.
    pub statement: &'a [u8],
    /// Bytes of both names with their NULs.
    pub names_len: usize,
}

impl<'a> Bind<'a> {
    /// `None` when `start` does not hold two NUL-terminated names.
    pub fn read(start: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(start);
        let portal = fields.cstr()?;
        let statement = fields.cstr()?;
        Some(Self { portal, statement, names_len: portal.len() + statement.len() + 2 })
    }
}

/// Whether the Execute with this body is of the unnamed portal, and to its end.
pub fn executes_all(body: &[u8]) -> bool {
    body == [0; 5]
}

/// What a Describe or Close message speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement of this name.
    Statement(&'a [u8]),
    /// A portal of this name.
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// `None` when the body is neither.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let kind = fields.byte()?;
        let name = fields.cstr()?;
        match (kind, fields.rest()) {
            (b'S', []) => Some(Self::Statement(name)),
            (b'P', []) => Some(Self::Portal(name)),
            _ => None,
        }
    }
}

/// The text of a Query message: its body without the closing NUL.
pub fn query_text(body: &[u8]) -> Option<&[u8]> {
    match body.split_last() {
        Some((0, text)) if memchr::memchr(0, text).is_none() => Some(text),
        _ => None,
    }
}

/// The name and value of a ParameterStatus.
pub fn parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Fields::new(body);
    let name = fields.cstr()?;
    let value = fields.cstr()?;
    fields.rest().is_empty().then_some((name, value))
}

/// The process id and secret of a BackendKeyData; the secret has 4 to 256 bytes.
pub fn backend_key(body: &[u8]) -> Option<(u32, &[u8])> {
    let mut fields = Fields::new(body);
    let pid = fields.word()?;
    let secret = fields.rest();
    (4..=256).contains(&secret.len()).then_some((pid, secret))
}

/// The process id, channel and payload of a NotificationResponse.
pub fn notification(body: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let mut fields = Fields::new(body);
    let pid = fields.word()?;
    let (channel, payload) = (fields.cstr()?, fields.cstr()?);
    fields.rest().is_empty().then_some((pid, channel, payload))
}

/// The value of one field of an ErrorResponse or NoticeResponse, of which `start` may be just
/// the beginning: `C` is the SQLSTATE, `S` the severity, `M` the message.
pub fn error_field(start: &[u8], field: u8) -> Option<&[u8]> {
    let mut fields = Fields::new(start);
    loop {
        match fields.byte()? {
            0 => return None,
            code => {
                let value = fields.cstr()?;
                if code == field {
                    return Some(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_gives_name_text_and_identity() {
        let body = b"s1\0select $1\0\0\x01\0\0\0\x17";
        let view = Parse::read(body).unwrap();
        assert_eq!((view.name, view.text), (&b"s1"[..], &b"select $1"[..]));
        assert_eq!(view.identity, &body[3..]);
        for cut in 0..body.len() {
            assert_eq!(Parse::read(&body[..cut]), None, "cut at {cut}");
        }
        let mut longer = body.to_vec();
        longer.push(0);
        assert_eq!(Parse::read(&longer), None);
    }

    #[test]
    fn bind_reads_names_only() {
        let view = Bind::read(b"p\0s1\0\0\0\0\0\0\0").unwrap();
        assert_eq!((view.portal, view.statement, view.names_len), (&b"p"[..], &b"s1"[..], 5));
        assert_eq!(Bind::read(b"p\0s1"), None);
    }

    #[test]
    fn target_is_statement_or_portal_and_nothing_after() {
        assert_eq!(Target::read(b"Sx\0"), Some(Target::Statement(b"x")));
        assert_eq!(Target::read(b"P\0"), Some(Target::Portal(b"")));
        for bad in [&b""[..], b"S", b"Sx", b"Xx\0", b"Sx\0y"] {
            assert_eq!(Target::read(bad), None);
        }
    }

    #[test]
    fn query_text_ends_at_its_only_nul() {
        assert_eq!(query_text(b"select 1\0"), Some(&b"select 1"[..]));
        for bad in [&b""[..], b"select 1", b"select\0 1\0"] {
            assert_eq!(query_text(bad), None);
        }
    }

    #[test]
    fn error_fields_are_found_in_a_cut_body() {
        let body = b"SERROR\0VERROR\0C42P01\0Mno such table\0\0";
        assert_eq!(error_field(body, b'C'), Some(&b"42P01"[..]));
        assert_eq!(error_field(&body[..25], b'C'), Some(&b"42P01"[..]));
        assert_eq!(error_field(&body[..25], b'M'), None);
        assert_eq!(error_field(body, b'D'), None);
        assert_eq!(error_field(b"", b'C'), None);
    }

    #[test]
    fn notification_is_a_number_and_two_texts() {
        let body = b"\0\0\0\x07jobs\x00one\0";
        assert_eq!(notification(body), Some((7, &b"jobs"[..], &b"one"[..])));
        for cut in 0..body.len() {
            assert_eq!(notification(&body[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn backend_key_is_bounded() {
        assert_eq!(backend_key(&[0, 0, 0, 7, 1, 2, 3, 4]), Some((7, &[1, 2, 3, 4][..])));
        assert_eq!(backend_key(&[0, 0, 0, 7, 1, 2, 3]), None);
        assert_eq!(backend_key(&[0; 4 + 257]), None);
    }
}
