//! The messages that we say to clients ourselves. Text that is ours goes through pgwire's
//! messages; bytes that are a server's (parameter values) are written as they came.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::startup::NegotiateProtocolVersion;

/// AuthenticationOk.
pub const AUTHENTICATION_OK: [u8; 9] = *b"R\0\0\0\x08\0\0\0\0";
/// ParseComplete.
pub const PARSE_COMPLETE: [u8; 5] = *b"1\0\0\0\x04";
/// BindComplete.
pub const BIND_COMPLETE: [u8; 5] = *b"2\0\0\0\x04";
/// NoData.
pub const NO_DATA: [u8; 5] = *b"n\0\0\0\x04";
/// ParameterDescription of a statement without parameters.
pub const NO_PARAMETERS: [u8; 7] = *b"t\0\0\0\x06\0\0";
/// EmptyQueryResponse.
pub const EMPTY_QUERY: [u8; 5] = *b"I\0\0\0\x04";
/// CloseComplete.
pub const CLOSE_COMPLETE: [u8; 5] = *b"3\0\0\0\x04";

/// ReadyForQuery with this transaction status: `I`, `T` or `E`.
pub fn ready(status: u8) -> [u8; 6] {
    [b'Z', 0, 0, 0, 5, status]
}

/// How bad it is; decides what a driver does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The request failed; the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing failed.
    Notice,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error or notice of ours, in the shape of Postgres's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: Cow<'static, str>,
    /// What happened.
    pub message: String,
    /// More of what happened, if there is more.
    pub detail: Option<String>,
    /// What to do about it, if there is something.
    pub hint: Option<String>,
    /// The routine of Postgres's that says it, where drivers go by that.
    pub routine: Option<&'static str>,
}

impl Report {
    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let word = self.severity.word();
        let mut fields = vec![
            (b'S', word.to_owned()),
            (b'V', word.to_owned()),
            (b'C', self.sqlstate.clone().into_owned()),
            (b'M', without_nul(&self.message)),
        ];
        fields.extend(self.detail.as_deref().map(|text| (b'D', without_nul(text))));
        fields.extend(self.hint.as_deref().map(|text| (b'H', without_nul(text))));
        fields.extend(self.routine.map(|name| (b'R', name.to_owned())));
        match self.severity {
            Severity::Notice => write(out, &NoticeResponse::new(fields)),
            Severity::Error | Severity::Fatal => write(out, &ErrorResponse::new(fields)),
        }
    }
}

/// NegotiateProtocolVersion: we speak up to `minor`, and none of these options.
pub fn negotiate(out: &mut Vec<u8>, minor: u16, options: &[Vec<u8>]) {
    let options = options.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    // The full version number, as Postgres writes it (protocol-message-formats).
    let version = (3 << 16) | i32::from(minor);
    write(out, &NegotiateProtocolVersion::new(version, options));
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    raw(out, b'S', &[name, b"\0", value, b"\0"]);
}

/// BackendKeyData: what the client presents to cancel a request of this session.
pub fn backend_key(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    raw(out, b'K', &[&pid.to_be_bytes(), secret]);
}

/// NotificationResponse: this process has said `payload` on a channel.
pub fn notification(out: &mut Vec<u8>, pid: u32, channel: &[u8], payload: &[u8]) {
    raw(out, b'A', &[&pid.to_be_bytes(), channel, b"\0", payload, b"\0"]);
}

/// CommandComplete with this tag.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    raw(out, b'C', &[tag.as_bytes(), b"\0"]);
}

/// What a value is, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// text.
    Text,
    /// int4.
    Integer,
    /// int8.
    Long,
    /// numeric.
    Numeric,
}

impl ColumnType {
    /// Its number in pg_type, and its bytes there (-1 when they vary).
    fn oid_and_len(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Integer => (23, 4),
            Self::Long => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As people read them.
    #[default]
    Text,
    /// As the type's binary form.
    Binary,
}

/// One value of a row that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// An int4.
    Integer(i32),
    /// A whole numeric.
    Numeric(u64),
}

/// RowDescription: a result of ours has these columns, the n-th in the n-th format.
pub fn row_description<'a>(
    out: &mut Vec<u8>,
    columns: impl IntoIterator<Item = (&'a str, ColumnType)>,
    format: impl Fn(usize) -> Format,
) {
    let fields = columns.into_iter().enumerate().map(|(index, (name, column))| {
        let (oid, len) = column.oid_and_len();
        FieldDescription::new(name.to_owned(), 0, 0, oid, len, -1, format(index) as i16)
    });
    write(out, &RowDescription::new(fields.collect()));
}

/// DataRow with these values, the n-th in the n-th format.
pub fn data_row(out: &mut Vec<u8>, row: &[Value], format: impl Fn(usize) -> Format) {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    let mut data = BytesMut::with_capacity(row.iter().map(|value| text(value) + FIELD_LEN).sum());
    for (index, value) in row.iter().enumerate() {
        match (value, format(index)) {
            (Value::Null, _) => data.put_i32(-1),
            (Value::Text(text), _) => field(&mut data, text.as_bytes()),
            (Value::Integer(number), Format::Text) => shown(&mut data, number),
            (Value::Integer(number), Format::Binary) => field(&mut data, &number.to_be_bytes()),
            (Value::Numeric(number), Format::Text) => shown(&mut data, number),
            (Value::Numeric(number), Format::Binary) => field(&mut data, &numeric(*number)),
        }
    }
    let count = i16::try_from(row.len()).unwrap_or(i16::MAX);
    write(out, &DataRow::new(data, count));
}

/// A numeric in binary: how many digits to the base of 10,000, the weight of the first, sign and
/// scale, then the digits (`numeric_send` in src/backend/utils/adt/numeric.c).
fn numeric(number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut rest = number;
    while rest > 0 {
        digits.push(u16::try_from(rest % 10_000).unwrap_or_default());
        rest /= 10_000;
    }
    let weight = u16::try_from(digits.len().saturating_sub(1)).unwrap_or_default();
    // Those at the end that are zero are left out.
    digits.drain(..digits.iter().take_while(|digit| **digit == 0).count());
    let count = u16::try_from(digits.len()).unwrap_or_default();
    let head = [count, weight, 0, 0];
    head.into_iter().chain(digits.into_iter().rev()).flat_map(u16::to_be_bytes).collect()
}

/// What a field takes beside a text: its length, and a number.
const FIELD_LEN: usize = 4 + 20;

/// A field with a number as it is written.
fn shown(data: &mut BytesMut, number: impl Display) {
    let start = data.len();
    data.put_u32(0);
    // What is written here grows as it has to.
    if write!(data, "{number}").is_ok()
        && let Some(length) =
            data.len().checked_sub(start + 4).and_then(|len| u32::try_from(len).ok())
        && let Some(place) = data.get_mut(start..start + 4)
    {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn field(data: &mut BytesMut, bytes: &[u8]) {
    data.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    data.put_slice(bytes);
}

/// Appends a message of this tag with the parts as its body.
pub fn raw(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let len = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.push(tag);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn write(out: &mut Vec<u8>, message: &impl Message) {
    let mut bytes = BytesMut::new();
    // pgwire refuses only what is longer than a peer may send; ours are short texts.
    if message.encode(&mut bytes).is_ok() {
        out.extend_from_slice(&bytes);
    }
}

/// A NUL would end the field early and put what follows where a field's code belongs.
fn without_nul(text: &str) -> String {
    text.replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use super::super::{frame, view};
    use super::*;

    #[test]
    fn report_is_a_message_with_its_fields() {
        let report = Report {
            severity: Severity::Fatal,
            sqlstate: "53300".into(),
            message: "too\0many".into(),
            detail: None,
            hint: Some("wait".into()),
            routine: None,
        };
        let mut out = Vec::new();
        report.write(&mut out);
        let (header, body) = frame::message(&out, 1000).unwrap().unwrap();
        assert_eq!((header.tag, header.message_len()), (b'E', out.len()));
        for (field, value) in [(b'S', "FATAL"), (b'C', "53300"), (b'M', "too many"), (b'H', "wait")]
        {
            assert_eq!(view::error_field(body, field), Some(value.as_bytes()));
        }
    }

    #[test]
    fn parameter_values_are_bytes_not_text() {
        let mut out = Vec::new();
        parameter_status(&mut out, b"application_name", b"caf\xe9");
        let (_, body) = frame::message(&out, 1000).unwrap().unwrap();
        assert_eq!(view::parameter_status(body), Some((&b"application_name"[..], &b"caf\xe9"[..])));
    }

    #[test]
    fn numerics_are_written_as_postgres_writes_them() {
        // By numeric_send of Postgres: SELECT encode(numeric_send(x), 'hex').
        for (number, hex) in [
            (0, "0000000000000000"),
            (7, "00010000000000000007"),
            (12_345_678, "000200010000000004d2162e"),
            (10_000, "00010001000000000001"),
            (u64::MAX, "000500040000000007341a5802e103bb064f"),
        ] {
            let shown: String = numeric(number).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, hex, "{number}");
        }
    }
}
