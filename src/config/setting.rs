//! One setting: what kind of value a key takes, and how a TOML value becomes it.
//!
//! Pure. What is wrong with a value is said in a sentence without the value where it may be secret.

mod describe;

use std::time::Duration;

use toml::de::DeValue;

use self::describe::{AUTHS, MODES, one_of};
use super::choice::{
    AuthType, LoadBalance, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread,
    TransactionRouting,
};
use super::host_port::HostPort;
use super::nearest::nearest;
use super::rate::Rate;
use super::secret::Secret;
use super::tls::{SslMode, SslNegotiation, TlsVersion, TlsVersions, read_suites};
use super::units::{ByteSize, FileMode, TimeUnit, parse_duration, parse_size, show_duration};
use super::url::{ServerUrl, parse_port, split_port};
use super::value::Value;

/// One key that a table of the file may have; `T` is what the table is read into.
pub(crate) struct Key<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Stores a value of `kind` in its field.
    pub(crate) set: fn(&mut T, Value),
    /// The field's value.
    pub(crate) get: fn(&T) -> Value,
    /// What it is, in full sentences.
    pub(crate) doc: &'static str,
    /// What holds where the key is missing; empty for the general keys, whose defaults are values.
    pub(crate) otherwise: &'static str,
    /// A value for the reference file; empty for the general keys, which show their default.
    pub(crate) example: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// true or false, 1 or 0.
    Flag,
    /// A whole number between bounds.
    Count(u64, u64),
    /// A whole number up to a bound; 0 = none, which means what the words say.
    Limit(&'static str, u64),
    /// A duration between bounds.
    Time(TimeUnit, Duration, Duration),
    /// A duration up to a bound; 0 = none, which means what the words say.
    TimeLimit(TimeUnit, &'static str, Duration),
    /// A number of bytes between bounds.
    Size(u64, u64),
    /// So many times in a time; empty = no limit.
    Rate,
    /// A text.
    Text,
    /// A text that can't be empty.
    Name,
    /// A list of addresses to listen on.
    ListenAddrs,
    /// `host:port` to listen on; empty = off.
    ListenPort,
    /// A file's path; empty = none.
    Path,
    /// The directory of a unix socket to listen on; empty = none.
    SocketDir,
    /// A file's permissions.
    FileMode,
    /// A list of names.
    Names,
    /// A pool mode.
    Mode,
    /// What becomes of a client that would keep its server.
    Pin,
    /// How servers are spread over hosts.
    Balance,
    /// Which reads go to replicas.
    Reads,
    /// Where transactions begin that don't say what they do.
    Transactions,
    /// Whose writes a read has to see.
    OwnWrites,
    /// How reads are spread over replicas.
    Spread,
    /// What a line of the log looks like.
    LogFormat,
    /// An authentication method.
    Auth,
    /// What TLS is to be like.
    SslMode,
    /// How TLS starts.
    SslNegotiation,
    /// Versions of TLS.
    TlsVersions,
    /// Cipher suites of a version of TLS.
    TlsSuites(TlsVersion),
    /// A secret.
    Secret,
    /// A server's host name, address or socket directory; several with commas between them.
    Host,
    /// A list of `host:port`.
    Hosts,
    /// A server's URL.
    Url,
}

/// What is wrong with a value, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Kind {
    /// Reads a TOML value.
    pub(crate) fn read(self, value: &DeValue<'_>) -> Result<Value, Wrong> {
        match self {
            Self::Flag => read_flag(value).ok_or_else(|| self.expected(value)),
            Self::Count(..) | Self::Limit(..) => self.read_number(value),
            Self::Time(unit, ..) | Self::TimeLimit(unit, ..) => self.read_time(unit, value),
            Self::Size(min, max) => self.read_size(min, max, value),
            Self::Names => read_names(value).ok_or_else(|| self.expected(value)),
            Self::ListenAddrs => self.read_listen_addrs(value),
            Self::FileMode => read_file_mode(value).ok_or_else(|| self.expected(value)),
            Self::Hosts => self.read_hosts(value),
            Self::TlsSuites(version) => self.read_suites(version, value),
            Self::Text
            | Self::Name
            | Self::Rate
            | Self::ListenPort
            | Self::Path
            | Self::SocketDir
            | Self::Mode
            | Self::Pin
            | Self::Balance
            | Self::Reads
            | Self::Transactions
            | Self::OwnWrites
            | Self::Spread
            | Self::LogFormat
            | Self::Auth
            | Self::SslMode
            | Self::SslNegotiation
            | Self::TlsVersions
            | Self::Secret
            | Self::Host
            | Self::Url => match value {
                DeValue::String(text) if text.contains('\0') => {
                    Err(Wrong::new("can't contain a zero byte"))
                }
                DeValue::String(text) => self.read_text(text),
                _ => Err(self.expected(value)),
            },
        }
    }

    fn read_number(self, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let DeValue::Integer(number) = value else {
            return Err(self.expected(value));
        };
        let number = i128::from_str_radix(number.as_str(), number.radix());
        let number = number.or(Err(self.expected(value)))?;
        let (min, max) = match self {
            Self::Limit(_, max) => (0, max),
            Self::Count(min, max) => (min, max),
            _ => return Err(self.expected(value)),
        };
        let fits = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
        let out_of_bounds = || Wrong::new(format!("must be from {min} to {max}, not {number}"));
        let number = fits.ok_or_else(out_of_bounds)?;
        Ok(match self {
            Self::Limit(..) => Value::Limit((number > 0).then_some(number)),
            _ => Value::Count(number),
        })
    }

    fn read_time(self, unit: TimeUnit, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let time = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(|number| parse_duration(&number.to_string(), unit)),
            DeValue::Float(number) => {
                number.as_str().parse().ok().and_then(|number| unit.duration(number))
            }
            DeValue::String(text) => parse_duration(text, unit),
            _ => None,
        };
        let time = time.ok_or_else(|| self.expected(value))?;
        let (min, max) = match self {
            Self::Time(_, min, max) => (min, max),
            Self::TimeLimit(_, _, max) => (Duration::ZERO, max),
            _ => return Err(self.expected(value)),
        };
        if time < min || time > max {
            let (min, max, time) = (show_duration(min), show_duration(max), show_duration(time));
            return Err(Wrong::new(format!("must be from {min} to {max}, not {time}")));
        }
        Ok(match self {
            Self::TimeLimit(..) => Value::TimeLimit(unit, (!time.is_zero()).then_some(time)),
            _ => Value::Time(unit, time),
        })
    }

    fn read_size(self, min: u64, max: u64, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let size = match value {
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok().map(ByteSize::from_bytes)
            }
            DeValue::String(text) => parse_size(text),
            _ => None,
        };
        let size = size.ok_or_else(|| self.expected(value))?;
        if !(min..=max).contains(&size.bytes()) {
            let (min, max) = (ByteSize::from_bytes(min), ByteSize::from_bytes(max));
            return Err(Wrong::new(format!("must be from {min} to {max}, not {size}")));
        }
        Ok(Value::Size(size))
    }

    fn read_text(self, text: &str) -> Result<Value, Wrong> {
        let plain = || Ok(Value::Text(text.to_owned()));
        match self {
            Self::Name if text.is_empty() => Err(Wrong::new("can't be empty")),
            Self::Secret => Ok(Value::Secret(Secret::new(text))),
            Self::Rate if text.is_empty() => Ok(Value::Unset),
            Self::Rate => Rate::parse(text).map(Value::Rate).ok_or_else(|| {
                Wrong::new("must be a count in a time").hint("as in \"100/15min\", \"20/s\"")
            }),
            Self::Mode => word(text, &MODES, PoolMode::name).map(Value::Mode),
            Self::Balance => word(text, &LoadBalance::ALL, LoadBalance::name).map(Value::Balance),
            Self::Transactions => word(text, &TransactionRouting::ALL, TransactionRouting::name)
                .map(Value::Transactions),
            Self::Reads => word(text, &ReadRouting::ALL, ReadRouting::name).map(Value::Reads),
            Self::OwnWrites => word(text, &OwnWrites::ALL, OwnWrites::name).map(Value::OwnWrites),
            Self::Spread => word(text, &Spread::ALL, Spread::name).map(Value::Spread),
            Self::LogFormat => word(text, &LogFormat::ALL, LogFormat::name).map(Value::LogFormat),
            Self::Pin => word(text, &PinPolicy::ALL, PinPolicy::name).map(Value::Pin),
            Self::Auth if matches!(text, "ldap" | "pam") => {
                let hint = "use \"scram-sha-256\", or \"hba\" with `cert` or `peer`";
                Err(Wrong::new(format!("\"{text}\" is left out on purpose")).hint(hint))
            }
            Self::Auth => word(text, &AUTHS, AuthType::name).map(Value::Auth),
            Self::SslMode => word(text, &SslMode::ALL, SslMode::name).map(Value::SslMode),
            Self::SslNegotiation => {
                word(text, &SslNegotiation::ALL, SslNegotiation::name).map(Value::SslNegotiation)
            }
            Self::TlsVersions => read_versions(text).map(Value::TlsVersions),
            Self::Url => match ServerUrl::parse(text) {
                Ok(url) if url.connect_timeout.is_some() => {
                    let hint = "server_connect_timeout, at the top of the file, is for all";
                    Err(Wrong::new("a database can't have its own connect_timeout").hint(hint))
                }
                Ok(url) => Ok(Value::Url(Box::new(url))),
                Err(error) => Err(Wrong::new(error.to_string())),
            },
            Self::Host => {
                let hosts: Vec<&str> = text.split(',').map(str::trim).collect();
                hosts.iter().try_for_each(|host| check_host(host))?;
                Ok(Value::Text(hosts.join(",")))
            }
            Self::SocketDir if text.is_empty() || text.starts_with(['/', '@']) => plain(),
            Self::SocketDir => Err(Wrong::new("must be a whole path, from /")
                .hint("or @name, for the abstract namespace")),
            Self::ListenPort if !text.is_empty() => {
                let (host, port) = split_port(text).map_err(|e| Wrong::new(e.to_string()))?;
                check_host(host)?;
                // Port 0, any free port, is for tests.
                let good = port.is_some_and(|port| port == "0" || parse_port(port).is_some());
                if !good {
                    return Err(Wrong::new("must be host:port").hint("as in \"127.0.0.1:9127\""));
                }
                // As in `listen_addr`.
                Ok(Value::Text(match text.strip_prefix('*') {
                    Some(port) => format!("0.0.0.0{port}"),
                    None => text.to_owned(),
                }))
            }
            _ => plain(),
        }
    }

    fn read_listen_addrs(self, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let Some(Value::Names(names)) = read_names(value) else {
            return Err(self.expected(value));
        };
        names.iter().try_for_each(|name| check_host(name))?;
        Ok(Value::Names(names))
    }

    /// PgBouncer has OpenSSL's lists, with colons; what OpenSSL makes of `!` and `+` is not ours.
    fn read_suites(self, version: TlsVersion, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let Some(Value::Names(names)) = read_names(value) else {
            return Err(self.expected(value));
        };
        let names: Vec<&str> =
            names.iter().flat_map(|name| name.split(':')).filter(|name| !name.is_empty()).collect();
        read_suites(version, &names).map(Value::Names).map_err(Wrong::new)
    }

    fn read_hosts(self, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let Some(Value::Names(names)) = read_names(value) else {
            return Err(self.expected(value));
        };
        names.iter().map(|name| read_host_port(name)).collect::<Result<_, _>>().map(Value::Hosts)
    }
}

impl Kind {
    /// The unit of a plain number, where the kind is a duration.
    pub(crate) fn unit(self) -> TimeUnit {
        match self {
            Self::Time(unit, ..) | Self::TimeLimit(unit, ..) => unit,
            _ => TimeUnit::Seconds,
        }
    }
}

/// Reads `host`, `host:port`, `[v6]:port` or a socket directory.
fn read_host_port(text: &str) -> Result<HostPort, Wrong> {
    let bad_port = || Wrong::new("the port must be a number from 1 to 65535");
    let (host, port) = split_port(text).map_err(|error| Wrong::new(error.to_string()))?;
    check_host(host)?;
    let port = port.map_or(Some(5432), parse_port).ok_or_else(bad_port)?;
    Ok(HostPort { host: host.to_owned(), port })
}

fn check_host(host: &str) -> Result<(), Wrong> {
    if host.is_empty() {
        return Err(Wrong::new("the host can't be empty"));
    }
    if host.contains(',') {
        return Err(Wrong::new("must be one address, not a list"));
    }
    if host.contains("://") {
        return Err(Wrong::new("must be a host, not a URL").hint("a URL goes into `url`"));
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Wrong::new("a host has no spaces in it"));
    }
    Ok(())
}

/// One of PgBouncer's words, or a list of versions. Those below the floor are refused.
fn read_versions(text: &str) -> Result<TlsVersions, Wrong> {
    let listed: Vec<&str> = text.split([',', ':']).map(str::trim).collect();
    match listed.as_slice() {
        ["tlsv1.2", "tlsv1.3"] | ["tlsv1.3", "tlsv1.2"] => return Ok(TlsVersions::Secure),
        names => {
            let old = ["all", "legacy", "tlsv1.0", "tlsv1.1"];
            if names.iter().any(|name| old.contains(name)) {
                let wrong = Wrong::new("TLS below 1.2 is not spoken");
                return Err(wrong.hint("\"secure\" is TLS 1.2 and 1.3"));
            }
        }
    }
    word(text, &TlsVersions::ALL, TlsVersions::name)
}

fn read_flag(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
        DeValue::Integer(number) if number.as_str() == "1" => Some(Value::Flag(true)),
        DeValue::Integer(number) if number.as_str() == "0" => Some(Value::Flag(false)),
        _ => None,
    }
}

/// A list of texts, or PgBouncer's one text with commas.
fn read_names(value: &DeValue<'_>) -> Option<Value> {
    let names: Vec<String> = match value {
        DeValue::String(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        DeValue::Array(items) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(|name| name.trim().to_owned()))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    (!names.iter().any(|name| name.contains('\0'))).then_some(Value::Names(names))
}

/// Octal digits: a plain number, read as a decimal one, would be another mode.
fn read_file_mode(value: &DeValue<'_>) -> Option<Value> {
    let digits = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(number) if number.radix() == 8 => number.as_str(),
        _ => return None,
    };
    FileMode::parse(digits).map(Value::FileMode)
}

fn word<T: Copy, const N: usize>(
    text: &str,
    all: &[T; N],
    name: fn(T) -> &'static str,
) -> Result<T, Wrong> {
    if let Some(found) = all.iter().find(|item| name(**item) == text) {
        return Ok(*found);
    }
    let names = all.map(name);
    let wrong = Wrong::new(format!("must be {}, not {}", one_of(&names), quote(text)));
    Err(match nearest(text, names) {
        Some(name) => wrong.hint(format!("did you mean \"{name}\"?")),
        None => wrong,
    })
}

/// A text in TOML's double quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
