//! The few bytes of the Postgres protocol that the null server and the load generator need.
//!
//! Builders append whole messages to a buffer; [`Scan`] walks over a stream of messages without
//! keeping it. Both are the bench's own so that pgweir's framing is not measured with itself.

/// Appends one message with its type byte and length.
pub(crate) fn message(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let len = 4 + body.iter().map(|part| part.len()).sum::<usize>();
    out.push(kind);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Appends a StartupMessage of protocol 3.0.
pub(crate) fn startup(out: &mut Vec<u8>, params: &[(&str, &str)]) {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in params {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    out.extend_from_slice(&u32::try_from(4 + body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&body);
}

/// Appends a simple Query.
pub(crate) fn query(out: &mut Vec<u8>, text: &str) {
    message(out, b'Q', &[text.as_bytes(), b"\0"]);
}

/// Appends a Parse without parameter types.
pub(crate) fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    message(out, b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0", &[0, 0]]);
}

/// Appends a Bind of the unnamed portal with one text parameter and text results.
pub(crate) fn bind(out: &mut Vec<u8>, statement: &str, parameter: &str) {
    let len = u32::try_from(parameter.len()).unwrap_or(u32::MAX).to_be_bytes();
    let name = statement.as_bytes();
    let value = parameter.as_bytes();
    message(out, b'B', &[b"\0", name, b"\0", &[0, 0], &[0, 1], &len, value, &[0, 0]]);
}

/// Appends a Describe of the unnamed portal.
pub(crate) fn describe_portal(out: &mut Vec<u8>) {
    message(out, b'D', &[b"P\0"]);
}

/// Appends an Execute of the unnamed portal without a row limit.
pub(crate) fn execute(out: &mut Vec<u8>) {
    message(out, b'E', &[b"\0", &[0, 0, 0, 0]]);
}

/// Appends a Sync.
pub(crate) fn sync(out: &mut Vec<u8>) {
    message(out, b'S', &[]);
}

/// Appends a Terminate.
pub(crate) fn terminate(out: &mut Vec<u8>) {
    message(out, b'X', &[]);
}

/// The length field of a message header, not counting itself; short ones count as empty.
pub(crate) fn body_len(length: [u8; 4]) -> usize {
    usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4)
}

/// A walk over a stream of messages that arrives in arbitrary pieces.
///
/// Bodies are passed over, except for an ErrorResponse, which is kept for the report.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    head: [u8; 5],
    have: usize,
    left: usize,
    error: Vec<u8>,
}

impl Scan {
    /// Walks over `bytes` and calls `ended` with the type of each message that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u8)) {
        loop {
            if self.have < self.head.len() {
                let Some((first, rest)) = bytes.split_first() else { return };
                if let Some(slot) = self.head.get_mut(self.have) {
                    *slot = *first;
                }
                self.have += 1;
                bytes = rest;
                if self.have < self.head.len() {
                    continue;
                }
                let [_, length @ ..] = self.head;
                self.left = body_len(length);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            let [kind, ..] = self.head;
            if kind == b'E' {
                self.error.extend_from_slice(body);
            }
            self.left -= body.len();
            bytes = rest;
            if self.left > 0 {
                return;
            }
            self.have = 0;
            ended(kind);
        }
    }

    /// The human-readable message of the last error seen.
    pub(crate) fn error(&self) -> String {
        error_text(&self.error)
    }
}

/// SQLSTATE and message of an ErrorResponse's body.
pub(crate) fn error_text(body: &[u8]) -> String {
    let field = |code: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))
            .and_then(|field| field.get(1..))
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}
