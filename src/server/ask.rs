//! Questions of our own, asked on connections of their own: rows of text, few and small.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::connect::{ConnectError, LoggedIn, Target, connect};
use crate::net::tls::{Cipher, Validity};
use crate::wire::frame::{self, FrameError};
use crate::wire::request;
use crate::wire::view::{self, Fields};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was lost.
    #[error("connection to server lost: {0}")]
    Io(#[from] io::Error),
    /// What came is not the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("server did not answer in time")]
    TimedOut,
}

/// What a server answered, and how it could be asked.
#[derive(Debug)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<Row>,
    /// How the server let us in.
    pub method: &'static str,
    /// What the connection was encrypted with.
    pub cipher: Option<Cipher>,
}

/// A row: values as text, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// The longest message of an answer.
const MESSAGE_MAX: u32 = 1024 * 1024;
/// The most rows of an answer.
const ROWS_MAX: usize = 1000;

/// A connection that questions are asked on, one after the other.
#[derive(Debug)]
pub struct Asker {
    login: LoggedIn,
    held: Vec<u8>,
}

impl Asker {
    /// Connects; `settings` go into the startup packet.
    ///
    /// # Errors
    /// As [`ConnectError`] says, after at most the connect timeout.
    pub async fn connect(
        target: &Target,
        settings: &[(&[u8], &[u8])],
    ) -> Result<Self, ConnectError> {
        Ok(Self { login: connect(target, settings).await?, held: Vec::new() })
    }

    /// How the server let us in.
    pub fn method(&self) -> &'static str {
        self.login.method
    }

    /// What the connection is encrypted with.
    pub fn cipher(&self) -> Option<Cipher> {
        self.login.socket.cipher()
    }

    /// How long the certificate that the server has shown is good for.
    pub fn server_validity(&self) -> Option<Validity> {
        self.login.socket.peer_validity()
    }

    /// Waits until something comes that was not asked for, the end of the connection above all.
    /// What it was, the next question shows.
    ///
    /// # Cancel safety
    /// Safe: what has come is kept for the next question.
    pub async fn disturbed(&mut self) {
        let mut chunk = [0; 1024];
        if let Ok(count) = self.login.socket.read(&mut chunk).await {
            self.held.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    /// Asks one statement with parameters as text, and gives the rows.
    ///
    /// # Errors
    /// As [`AskError`] says; the connection is of no use any more then.
    ///
    /// # Cancel safety
    /// Not cancel safe: the answer would be taken for the next one's.
    pub async fn ask(&mut self, sql: &str, parameters: &[&str]) -> Result<Vec<Row>, AskError> {
        self.ask_for(sql, parameters, ROWS_MAX).await
    }

    /// The same without parameters, for an answer of up to so many rows.
    ///
    /// # Errors
    /// As [`Self::ask`].
    ///
    /// # Cancel safety
    /// As [`Self::ask`].
    pub async fn ask_many(&mut self, sql: &str, rows_max: usize) -> Result<Vec<Row>, AskError> {
        self.ask_for(sql, &[], rows_max).await
    }

    /// The same with parameters, for an answer of up to so many rows.
    ///
    /// # Errors
    /// As [`Self::ask`].
    ///
    /// # Cancel safety
    /// As [`Self::ask`].
    pub async fn ask_for(
        &mut self,
        sql: &str,
        parameters: &[&str],
        rows_max: usize,
    ) -> Result<Vec<Row>, AskError> {
        let mut out = Vec::new();
        request::statement(&mut out, sql, parameters);
        self.login.socket.write_all(&out).await?;
        let (mut rows, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            while let Some((header, body)) = frame::message(&self.held, MESSAGE_MAX)? {
                let (tag, len) = (header.tag, header.message_len());
                match tag {
                    b'D' if rows.len() < rows_max => rows.push(row(body)),
                    b'D' => return Err(AskError::Refused("the answer is too long".into())),
                    b'E' => {
                        let text = view::error_field(body, b'M').unwrap_or_default();
                        return Err(AskError::Refused(String::from_utf8_lossy(text).into_owned()));
                    }
                    _ => {}
                }
                self.held.drain(..len);
                if tag == b'Z' {
                    return Ok(rows);
                }
            }
            let count = self.login.socket.read(&mut chunk).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.held.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }
}

/// Connects, asks, and closes.
///
/// # Errors
/// As [`AskError`] says, after at most the connect timeout and `limit`.
pub async fn ask(target: &Target, sql: &str, limit: Duration) -> Result<Answer, AskError> {
    let mut asker = Asker::connect(target, &[]).await?;
    let (method, cipher) = (asker.method(), asker.cipher());
    match timeout(limit, asker.ask(sql, &[])).await {
        Ok(rows) => Ok(Answer { rows: rows?, method, cipher }),
        Err(_elapsed) => Err(AskError::TimedOut),
    }
}

/// Texts as Postgres reads an array of them.
pub fn array<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let quoted =
        texts.map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// The values of a DataRow; one that is cut short has fewer.
fn row(body: &[u8]) -> Row {
    let mut fields = Fields::new(body.get(2..).unwrap_or_default());
    let mut row = Row::new();
    while let Some(len) = fields.word() {
        if len == u32::MAX {
            row.push(None);
            continue;
        }
        let Some(value) = fields.bytes(len as usize) else {
            break;
        };
        row.push(Some(String::from_utf8_lossy(value).into_owned()));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_an_array_are_quoted() {
        let texts = ["a", "b\"c\\d,", ""].map(str::to_owned);
        assert_eq!(array(texts.iter()), r#"{"a","b\"c\\d,",""}"#);
    }

    #[test]
    fn values_and_nulls_are_read_and_a_cut_row_has_fewer() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(row(body), [Some("ab".into()), None, Some(String::new())]);
        assert_eq!(row(&body[..7]), Row::new());
        assert_eq!(row(b""), Row::new());
    }
}
