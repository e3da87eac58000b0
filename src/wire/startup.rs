//! The untagged packets that open a connection: startup, cancel, SSL and GSS requests.
//!
//! All of it comes from somebody who is not authenticated: lengths are bounded before anything
//! is reserved, and anything odd is an error.

use std::ops::RangeInclusive;

use thiserror::Error;

use super::view::Fields;

/// Lengths that a first packet may declare, its length word included, as in Postgres
/// (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_LEN: RangeInclusive<usize> = 8..=10_000;

/// The newest minor version of protocol 3 that we speak.
pub const NEWEST_MINOR: u16 = 2;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The first packet of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// "Do you speak TLS?" Answered by one byte; another packet follows.
    Ssl,
    /// "Do you speak GSSAPI encryption?" Answered by one byte; another packet follows.
    Gss,
    /// Somebody wants the request of the holder of this key to stop.
    Cancel(CancelRequest),
    /// Somebody wants a session.
    Startup(Startup),
}

/// A cancel key as a client presents it.
#[derive(Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// The process id of the key.
    pub pid: u32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Vec<u8>,
}

/// The name and value of a setting, in the bytes of whoever sent them.
pub type Setting = (Vec<u8>, Vec<u8>);

/// What a client asks for when it connects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// Minor version of protocol 3 that the client asked for.
    pub minor: u16,
    /// Name-value pairs in the order sent, without the `_pq_.` ones.
    pub parameters: Vec<Setting>,
    /// Names of protocol options (`_pq_.`), none of which we know.
    pub protocol_options: Vec<Vec<u8>>,
}

impl Startup {
    /// The last value given for `name`.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| value.as_slice())
    }
}

/// Why a first packet was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// The length word is outside [`PACKET_LEN`].
    #[error("invalid length of startup packet")]
    Length,
    /// Not protocol 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version {
        /// Major version asked for.
        major: u16,
        /// Minor version asked for.
        minor: u16,
    },
    /// The list of parameters does not end where it should.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A cancel key of an impossible length.
    #[error("invalid length of cancel request packet")]
    CancelKey,
}

/// The length of the packet that starts with this word, the word itself included.
///
/// # Errors
/// When it is outside [`PACKET_LEN`].
pub fn packet_len(word: [u8; 4]) -> Result<usize, StartupError> {
    let len = u32::from_be_bytes(word) as usize;
    if PACKET_LEN.contains(&len) { Ok(len) } else { Err(StartupError::Length) }
}

/// Reads a packet without its length word.
///
/// # Errors
/// As [`StartupError`] says.
pub fn read(packet: &[u8]) -> Result<Packet, StartupError> {
    let mut fields = Fields::new(packet);
    let code = fields.word().ok_or(StartupError::Length)?;
    match code {
        SSL | GSS if !fields.rest().is_empty() => Err(StartupError::Length),
        SSL => Ok(Packet::Ssl),
        GSS => Ok(Packet::Gss),
        CANCEL => {
            let pid = fields.word().ok_or(StartupError::CancelKey)?;
            let secret = fields.rest();
            if !(4..=256).contains(&secret.len()) {
                return Err(StartupError::CancelKey);
            }
            Ok(Packet::Cancel(CancelRequest { pid, secret: secret.to_vec() }))
        }
        version => read_startup(version, fields).map(Packet::Startup),
    }
}

fn read_startup(version: u32, mut fields: Fields<'_>) -> Result<Startup, StartupError> {
    let [a, b, c, d] = version.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != 3 {
        return Err(StartupError::Version { major, minor });
    }
    let mut startup = Startup { minor, ..Startup::default() };
    loop {
        let name = fields.cstr().ok_or(StartupError::Layout)?;
        if name.is_empty() {
            break;
        }
        let value = fields.cstr().ok_or(StartupError::Layout)?;
        if name.starts_with(b"_pq_.") {
            startup.protocol_options.push(name.to_vec());
        } else {
            startup.parameters.push((name.to_vec(), value.to_vec()));
        }
    }
    if fields.rest().is_empty() { Ok(startup) } else { Err(StartupError::Layout) }
}

/// Why `options` was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("only '-c config=val' and '--config=val' are allowed")]
pub struct OptionsError;

/// Splits the `options` startup parameter into settings: `-c name=value`, `-cname=value` and
/// `--name=value`, separated by white space that a backslash escapes. Dashes in a name given
/// with `--` stand for underscores, as in Postgres.
///
/// # Errors
/// [`OptionsError`] for any other switch.
pub fn read_options(options: &[u8]) -> Result<Vec<Setting>, OptionsError> {
    let mut words = split_words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if word == b"-c" {
            words.next().ok_or(OptionsError)?
        } else if let Some(rest) = word.strip_prefix(b"--").or(word.strip_prefix(b"-c")) {
            rest.to_vec()
        } else {
            return Err(OptionsError);
        };
        let equals = memchr::memchr(b'=', &assignment).ok_or(OptionsError)?;
        let (name, value) = assignment.split_at(equals);
        let name: Vec<u8> = name.iter().map(|&b| if b == b'-' { b'_' } else { b }).collect();
        if name.is_empty() {
            return Err(OptionsError);
        }
        settings.push((name, value.get(1..).unwrap_or_default().to_vec()));
    }
    Ok(settings)
}

fn split_words(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = options.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_whitespace() || byte == 0x0b {
            words.extend(word.take());
            continue;
        }
        let byte = if byte == b'\\' { bytes.next() } else { Some(byte) };
        word.get_or_insert_default().extend(byte);
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, rest: &[u8]) -> Vec<u8> {
        [&version.to_be_bytes(), rest].concat()
    }

    #[test]
    fn startup_parameters_are_kept_in_order() {
        let bytes = packet(196_608, b"user\0app\0_pq_.x\x001\0database\0shop\0\0");
        let Ok(Packet::Startup(startup)) = read(&bytes) else { panic!("no startup") };
        assert_eq!(startup.minor, 0);
        assert_eq!(startup.parameter("user"), Some(&b"app"[..]));
        assert_eq!(startup.parameter("database"), Some(&b"shop"[..]));
        assert_eq!(startup.protocol_options, vec![b"_pq_.x".to_vec()]);
    }

    #[test]
    fn startup_cut_anywhere_is_an_error() {
        let bytes = packet(196_610, b"user\0app\0\0");
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&packet(196_610, b"user\0app\0\0x")).is_err());
    }

    #[test]
    fn other_major_versions_are_refused() {
        for version in [131_072, 262_144, 0, u32::MAX] {
            assert!(matches!(read(&packet(version, b"\0")), Err(StartupError::Version { .. })));
        }
    }

    #[test]
    fn cancel_keys_have_4_to_256_bytes() {
        let key = |len: usize| packet(CANCEL, &[&[0, 0, 0, 9][..], &vec![1; len]].concat());
        for len in [4, 32, 256] {
            assert!(matches!(read(&key(len)), Ok(Packet::Cancel(_))), "{len}");
        }
        for len in [0, 3, 257] {
            assert_eq!(read(&key(len)), Err(StartupError::CancelKey), "{len}");
        }
    }

    #[test]
    fn ssl_and_gss_carry_nothing_else() {
        assert_eq!(read(&packet(SSL, b"")), Ok(Packet::Ssl));
        assert_eq!(read(&packet(GSS, b"")), Ok(Packet::Gss));
        assert_eq!(read(&packet(SSL, b"x")), Err(StartupError::Length));
    }

    #[test]
    fn packet_length_is_bounded() {
        for (len, ok) in [(0, false), (7, false), (8, true), (10_000, true), (10_001, false)] {
            assert_eq!(packet_len(u32::to_be_bytes(len)).is_ok(), ok, "{len}");
        }
        assert!(packet_len([0xff; 4]).is_err());
    }

    #[test]
    fn options_are_split_as_postgres_splits_them() {
        let pairs = |text: &str| {
            read_options(text.as_bytes()).map(|settings| {
                settings
                    .into_iter()
                    .map(|(n, v)| {
                        format!("{}={}", String::from_utf8_lossy(&n), String::from_utf8_lossy(&v))
                    })
                    .collect::<Vec<_>>()
                    .join("|")
            })
        };
        for (text, expected) in [
            ("", ""),
            ("-c search_path=x -c statement_timeout=5s", "search_path=x|statement_timeout=5s"),
            ("-csearch_path=x", "search_path=x"),
            ("--search-path=x", "search_path=x"),
            ("-c search_path=a,\\ b", "search_path=a, b"),
            ("-c app.x=a=b+c\\\\d", "app.x=a=b+c\\d"),
            ("  -c   geqo=off  ", "geqo=off"),
        ] {
            assert_eq!(pairs(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["-c", "-c x", "-e", "x=y", "--x", "-c =1"] {
            assert_eq!(pairs(bad), Err(OptionsError), "{bad}");
        }
    }
}
