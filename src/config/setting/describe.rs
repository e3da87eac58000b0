//! What a key takes, in words.

use toml::de::DeValue;

use super::super::choice::{
    AuthType, LoadBalance, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread,
    TransactionRouting,
};
use super::super::tls::{SslMode, SslNegotiation, TlsVersions};
use super::super::units::{ByteSize, TimeUnit, show_duration};
use super::{Kind, Wrong, quote};

pub(super) const MODES: [PoolMode; 3] =
    [PoolMode::Session, PoolMode::Transaction, PoolMode::Statement];

pub(super) const AUTHS: [AuthType; 7] = [
    AuthType::Scram,
    AuthType::Md5,
    AuthType::Plain,
    AuthType::Trust,
    AuthType::Any,
    AuthType::Cert,
    AuthType::Hba,
];

impl Kind {
    /// What the key takes, for people: `seconds, 0 (off) to 3650 d`.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Count(min, max) => format!("number, {min} to {max}"),
            Self::Limit(zero, max) => format!("number, 0 ({zero}) to {max}"),
            Self::Time(unit, min, max) => {
                format!("{}, {} to {}", unit.name(), show_duration(min), show_duration(max))
            }
            Self::TimeLimit(unit, zero, max) => {
                format!("{}, 0 ({zero}) to {}", unit.name(), show_duration(max))
            }
            Self::Size(min, max) => {
                let (min, max) = (ByteSize::from_bytes(min), ByteSize::from_bytes(max));
                format!("bytes, {min} to {max}")
            }
            Self::Text | Self::Name => "text".to_owned(),
            Self::Rate => "count/time, empty = no limit".to_owned(),
            Self::ListenAddrs => {
                "list of IP addresses or host names, `*` = all, empty = none".to_owned()
            }
            Self::ListenPort => "host:port, empty = off".to_owned(),
            Self::Path => "path, empty = none".to_owned(),
            Self::SocketDir => "directory, `@name` = abstract, empty = none".to_owned(),
            Self::FileMode => "octal digits in quotes".to_owned(),
            Self::Names => "list of names".to_owned(),
            Self::Mode => one_of(&MODES.map(PoolMode::name)),
            Self::Balance => one_of(&LoadBalance::ALL.map(LoadBalance::name)),
            Self::Transactions => one_of(&TransactionRouting::ALL.map(TransactionRouting::name)),
            Self::Reads => one_of(&ReadRouting::ALL.map(ReadRouting::name)),
            Self::LogFormat => one_of(&LogFormat::ALL.map(LogFormat::name)),
            Self::OwnWrites => one_of(&OwnWrites::ALL.map(OwnWrites::name)),
            Self::Spread => one_of(&Spread::ALL.map(Spread::name)),
            Self::Pin => one_of(&PinPolicy::ALL.map(PinPolicy::name)),
            Self::Auth => one_of(&AUTHS.map(AuthType::name)),
            Self::SslMode => one_of(&SslMode::ALL.map(SslMode::name)),
            Self::SslNegotiation => one_of(&SslNegotiation::ALL.map(SslNegotiation::name)),
            Self::TlsVersions => one_of(&TlsVersions::ALL.map(TlsVersions::name)),
            Self::TlsSuites(version) => {
                format!("list of cipher suites of {}, empty = all", version.name())
            }
            Self::Secret => "text".to_owned(),
            Self::Host => {
                "host name, IP address or socket directory; several with commas".to_owned()
            }
            Self::Hosts => "list of host:port".to_owned(),
            Self::Url => "postgres://user:password@host:port/database".to_owned(),
        }
    }

    pub(super) fn expected(self, value: &DeValue<'_>) -> Wrong {
        let bounds;
        let wanted = match self {
            Self::Flag => "true or false",
            Self::Count(..) | Self::Limit(..) => {
                bounds = format!("a whole {}", self.describe());
                bounds.as_str()
            }
            Self::Time(TimeUnit::Seconds, ..) | Self::TimeLimit(TimeUnit::Seconds, ..) => {
                "a number of seconds or a text such as \"200ms\", \"5s\", \"2 min\", \"1h\""
            }
            Self::Time(..) | Self::TimeLimit(..) => {
                "a number of milliseconds or a text such as \"200ms\", \"5s\", \"2 min\", \"1h\""
            }
            Self::Size(..) => "a number of bytes or a text such as \"256 KiB\", \"1MB\"",
            Self::Names | Self::ListenAddrs => "a list of texts, as in [\"one\", \"two\"]",
            Self::FileMode => "octal digits in quotes, as in \"0770\"",
            Self::Hosts => "a list of \"host:port\"",
            Self::TlsSuites(_) => "a list of cipher suites, as in [\"one\", \"two\"]",
            Self::Mode
            | Self::Pin
            | Self::Balance
            | Self::Reads
            | Self::OwnWrites
            | Self::Spread
            | Self::Auth
            | Self::SslMode
            | Self::SslNegotiation
            | Self::TlsVersions => {
                return Wrong::new(format!("must be {}", self.describe()));
            }
            _ => "a text in quotes",
        };
        Wrong::new(format!("must be {wanted}, not {}", type_name(value)))
    }
}

pub(super) fn one_of(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let joint = match index {
            0 => "",
            _ if index + 1 == names.len() => " or ",
            _ => ", ",
        };
        text.push_str(joint);
        text.push_str(&quote(name));
    }
    text
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this text",
        DeValue::Integer(_) => "this number",
        DeValue::Float(_) => "this fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "this list",
        DeValue::Table(_) => "a table",
    }
}
