//! A client of Postgres that keeps what it hears as bytes.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A session.
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// What was answered to a statement.
#[derive(Debug, Default)]
pub struct Answer {
    /// The body of the RowDescription.
    pub description: Vec<u8>,
    /// The bodies of DataRows.
    pub rows: Vec<Vec<u8>>,
    pub tag: String,
    pub error: Option<String>,
}

/// A statement that is bound.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    /// The types that are declared; 0 is none.
    pub types: Vec<u32>,
    /// Values, each in text or binary; without one, it is NULL.
    pub values: Vec<(Option<Vec<u8>>, i16)>,
    /// The format of all columns.
    pub result: i16,
}

impl Client {
    /// Logs in where no secret is asked for.
    pub fn login(port: u16, settings: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut packet = 196_608_u32.to_be_bytes().to_vec();
        for text in settings.iter().flat_map(|(name, value)| [name, value]) {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        packet.push(0);
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut client = Self { stream, reader };
        client.stream.write_all(&with_len(&packet)).unwrap();
        let answer = client.answer();
        assert_eq!(answer.error, None);
        client
    }

    /// Sends a Query.
    pub fn query(&mut self, text: &str) -> Answer {
        let mut out = Vec::new();
        message(&mut out, b'Q', &[text.as_bytes(), b"\0"]);
        self.stream.write_all(&out).unwrap();
        self.answer()
    }

    /// Sends Parse, Bind, Describe, Execute and Sync.
    pub fn bound(&mut self, text: &str, binding: &Binding) -> Answer {
        let mut out = Vec::new();
        let count = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        let types: Vec<u8> = binding.types.iter().flat_map(|known| known.to_be_bytes()).collect();
        let parts: [&[u8]; 5] =
            [b"\0", text.as_bytes(), b"\0", &count(binding.types.len()), &types];
        message(&mut out, b'P', &parts);
        let mut body = b"\0\0".to_vec();
        body.extend(bind(binding));
        body.extend(count(1));
        body.extend(binding.result.to_be_bytes());
        message(&mut out, b'B', &[&body]);
        message(&mut out, b'D', &[b"P\0"]);
        message(&mut out, b'E', &[b"\0", &[0; 4]]);
        message(&mut out, b'S', &[]);
        self.stream.write_all(&out).unwrap();
        self.answer()
    }

    /// Sends statements, each as a Query of its own, and behind the one at this place the data of a COPY
    /// and its end; the answer of each.
    pub fn copy_in(&mut self, texts: &[&str], at: usize, data: &[&[u8]]) -> Vec<Answer> {
        let mut out = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            message(&mut out, b'Q', &[text.as_bytes(), b"\0"]);
            if place == at {
                data.iter().for_each(|piece| message(&mut out, b'd', &[piece]));
                message(&mut out, b'c', &[]);
            }
        }
        self.stream.write_all(&out).unwrap();
        texts.iter().map(|_| self.answer()).collect()
    }

    /// Reads to the ReadyForQuery.
    fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let mut head = [0; 5];
            self.reader.read_exact(&mut head).unwrap();
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; len - 4];
            self.reader.read_exact(&mut body).unwrap();
            match head[0] {
                b'T' => answer.description = body,
                b'D' => answer.rows.push(body),
                b'C' => answer.tag = String::from_utf8(body).unwrap(),
                b'E' => {
                    let fields: Vec<String> = body
                        .split(|byte| *byte == 0)
                        .filter(|field| matches!(field.first(), Some(b'C' | b'M')))
                        .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
                        .collect();
                    answer.error = Some(fields.join(" "));
                }
                b'Z' => return answer,
                _ => {}
            }
        }
    }
}

/// The part of a Bind message that has parameters.
pub fn bind(binding: &Binding) -> Vec<u8> {
    let count = u16::try_from(binding.values.len()).unwrap().to_be_bytes();
    let mut body = count.to_vec();
    body.extend(binding.values.iter().flat_map(|(_, format)| format.to_be_bytes()));
    body.extend(count);
    for (value, _) in &binding.values {
        let len = value.as_ref().map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap());
        body.extend(len.to_be_bytes());
        body.extend(value.as_deref().unwrap_or_default());
    }
    body
}

fn with_len(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&len.to_be_bytes(), body].concat()
}

fn message(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    out.push(tag);
    out.extend(with_len(&parts.concat()));
}

/// The values of a row.
pub fn values(row: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = u16::from_be_bytes([row[0], row[1]]);
    let mut rest = &row[2..];
    let mut values = Vec::new();
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<4>().unwrap();
        let len = i32::from_be_bytes(*len);
        let (value, after) = after.split_at(usize::try_from(len).unwrap_or(0));
        values.push((len >= 0).then(|| value.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    values
}
