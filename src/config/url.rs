//! `postgres://user:password@host:port/database?parameter=value`, read as libpq reads it.
//!
//! Anything may be percent-encoded. No error quotes a part that could be, or could have been meant
//! to be, a password: a forgotten `%2F` moves pieces of it anywhere in the URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::host_port::HostPort;
use super::nearest::nearest;
use super::secret::Secret;
use super::tls::{SslMode, SslNegotiation};

/// Where a server is and how to log in to it. Debug and Display hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Host name, IP address (no brackets) or the directory of a unix socket.
    pub host: String,
    /// Port, 5432 unless given.
    pub port: u16,
    /// All hosts with their ports, where there are several; `host` and `port` are the first then.
    pub hosts: Vec<HostPort>,
    /// User, if given. [`ServerUrl::login_user`] has the default in.
    pub user: Option<String>,
    /// Password, if given.
    pub password: Option<Secret>,
    /// Database, if given. [`ServerUrl::database`] has the default in.
    pub dbname: Option<String>,
    /// The name that clients ask for, where it is another than [`ServerUrl::database`].
    pub alias: Option<String>,
    /// What was asked for as to TLS, if anything.
    pub sslmode: Option<SslMode>,
    /// How TLS is to start, if said.
    pub sslnegotiation: Option<SslNegotiation>,
    /// File with the authorities whose certificates are trusted.
    pub sslrootcert: Option<PathBuf>,
    /// File with our certificate.
    pub sslcert: Option<PathBuf>,
    /// File with its key.
    pub sslkey: Option<PathBuf>,
    /// The name under which to appear on the server, if given.
    pub application_name: Option<String>,
    /// Time for connecting; `None` when not given, or 0.
    pub connect_timeout: Option<Duration>,
}

/// Why a text is not a server's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not one of ours.
    #[error("a server's URL starts with postgres:// or postgresql://")]
    Scheme,
    /// `%` without two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits (a `%` itself is written %25)")]
    PercentEncoding,
    /// Percent-encoded bytes that are no text.
    #[error("percent-encoded bytes are not UTF-8, or contain a zero byte")]
    NotText,
    /// A `@` in the path or the query.
    #[error(
        "there is a `@` after the host's end: in user and password write / as %2F, ? as %3F, \
         @ as %40; elsewhere write @ as %40"
    )]
    StrayAt,
    /// As many ports as hosts, or one for all.
    #[error("there are {hosts} hosts and {ports} ports")]
    Ports {
        /// So many hosts.
        hosts: usize,
        /// So many ports.
        ports: usize,
    },
    /// `[` without `]`, or something between `]` and `:`.
    #[error("an IPv6 address stands in brackets: [::1]:5432")]
    Brackets,
    /// Not a host.
    #[error("a host has no spaces in it")]
    Host,
    /// Not a port.
    #[error(
        "the port must be a number from 1 to 65535 (in a password, : / ? @ are percent-encoded)"
    )]
    Port,
    /// An unknown query parameter.
    #[error("unknown parameter `{name}`{}", did_you_mean(*.nearest))]
    UnknownParameter {
        /// The parameter.
        name: String,
        /// The valid one that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// A query parameter without `=`.
    #[error("a parameter needs a value: ?name=value&name=value")]
    NoValue,
    /// A bad value of a query parameter.
    #[error("bad value of `{name}`: {what}")]
    BadValue {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        what: &'static str,
    },
}

impl ServerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// The first thing that is wrong; never quotes a part that may be a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let rest = SCHEMES.iter().find_map(|scheme| text.trim().strip_prefix(scheme));
        let rest = rest.ok_or(UrlError::Scheme)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(UrlError::StrayAt);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        // The last `@`: a host has none, and a password may have been pasted with one.
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };

        let mut url = Self {
            host: String::new(),
            port: 5432,
            hosts: Vec::new(),
            user: None,
            password: None,
            dbname: None,
            alias: None,
            sslmode: None,
            sslnegotiation: None,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            application_name: None,
            connect_timeout: None,
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            url.user = given(user)?;
            url.password = password.map(given).transpose()?.flatten().map(Secret::new);
        }
        let mut places = Places::read(address)?;
        url.dbname = given(path.strip_prefix('/').unwrap_or(path))?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(UrlError::NoValue)?;
            let value = decode(value)?;
            match &*decode(name)? {
                "host" => places.hosts = value.split(',').map(str::to_owned).collect(),
                "port" => places.ports = read_ports(value.split(','))?,
                name => url.read_parameter(name, value)?,
            }
        }
        url.hosts = places.join()?;
        if let [first, rest @ ..] = &*url.hosts {
            (url.host, url.port) = (first.host.clone(), first.port);
            if rest.is_empty() {
                url.hosts.clear();
            }
        }
        Ok(url)
    }

    /// The user to log in as: the one given, else the operating system's (`USER`), else `postgres`.
    #[must_use]
    pub fn login_user(&self) -> String {
        let system = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        self.user.clone().or_else(system).unwrap_or_else(|| "postgres".to_owned())
    }

    /// The database: the one given, else the user's name.
    #[must_use]
    pub fn database(&self) -> String {
        self.dbname.clone().unwrap_or_else(|| self.login_user())
    }

    /// Where the server listens.
    #[must_use]
    pub fn host_port(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port }
    }

    fn read_parameter(&mut self, name: &str, value: String) -> Result<(), UrlError> {
        match name {
            // An empty value is no value, as in libpq.
            "user" => self.user = some(value),
            "password" => self.password = some(value).map(Secret::new),
            "dbname" => self.dbname = some(value),
            "application_name" => self.application_name = some(value),
            "sslmode" => {
                let what = "must be disable, allow, prefer, require, verify-ca or verify-full";
                let bad = UrlError::BadValue { name: "sslmode", what };
                let mode = SslMode::ALL.into_iter().find(|mode| mode.name() == value);
                self.sslmode = Some(mode.ok_or(bad)?);
            }
            "sslnegotiation" => {
                let what = "must be postgres or direct";
                let bad = UrlError::BadValue { name: "sslnegotiation", what };
                let start = SslNegotiation::ALL.into_iter().find(|start| start.name() == value);
                self.sslnegotiation = Some(start.ok_or(bad)?);
            }
            "sslrootcert" => self.sslrootcert = some(value).map(PathBuf::from),
            "sslcert" => self.sslcert = some(value).map(PathBuf::from),
            "sslkey" => self.sslkey = some(value).map(PathBuf::from),
            "connect_timeout" => {
                let what = "must be a whole number of seconds, at most 3600";
                let bad = UrlError::BadValue { name: "connect_timeout", what };
                let seconds = value.parse().ok().filter(|seconds: &u32| *seconds <= 3600);
                let seconds = seconds.ok_or(bad)?;
                self.connect_timeout =
                    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
            }
            _ => {
                return Err(UrlError::UnknownParameter {
                    name: name.chars().take(64).collect::<String>().escape_debug().to_string(),
                    nearest: nearest(name, PARAMETERS.iter().copied()),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
        }
        if self.password.is_some() {
            f.write_str(":***")?;
        }
        if self.user.is_some() || self.password.is_some() {
            f.write_str("@")?;
        }
        let hosts: Vec<_> = self.hosts.iter().map(HostPort::to_string).collect();
        match hosts.is_empty() {
            true => self.host_port().fmt(f)?,
            false => f.write_str(&hosts.join(","))?,
        }
        match &self.dbname {
            Some(dbname) => write!(f, "/{dbname}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// Hosts and ports as they are given: in the one place or another.
struct Places {
    hosts: Vec<String>,
    ports: Vec<Option<u16>>,
}

impl Places {
    /// `host:port,host:port`, each part of which may be missing.
    fn read(address: &str) -> Result<Self, UrlError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for place in address.split(',') {
            let (host, port) = split_port(place)?;
            hosts.push(decode(host)?);
            ports.extend(read_ports([port.unwrap_or_default()])?);
        }
        Ok(Self { hosts, ports })
    }

    /// Each host with its port.
    fn join(self) -> Result<Vec<HostPort>, UrlError> {
        let Self { hosts, ports } = self;
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(UrlError::Ports { hosts: hosts.len(), ports: ports.len() });
        }
        let joined = hosts.into_iter().zip(ports.into_iter().cycle()).map(|(host, port)| {
            let host = if host.is_empty() { "localhost".to_owned() } else { host };
            if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(UrlError::Host);
            }
            Ok(HostPort { host, port: port.unwrap_or(5432) })
        });
        joined.collect()
    }
}

fn read_ports<'a>(ports: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<u16>>, UrlError> {
    let read = |port: &str| match port {
        "" => Ok(None),
        port => parse_port(port).map(Some).ok_or(UrlError::Port),
    };
    ports.into_iter().map(read).collect()
}

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

const PARAMETERS: [&str; 12] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
];

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`; the host comes without brackets.
pub(crate) fn split_port(address: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(inside) = address.strip_prefix('[') {
        let (host, after) = inside.split_once(']').ok_or(UrlError::Brackets)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(UrlError::Brackets),
        };
    }
    match address.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(UrlError::Brackets),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((address, None)),
    }
}

/// A port as text; 0 is none.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    // `u16` reads "+5432" too.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Decodes a part that counts as missing when it is empty.
fn given(part: &str) -> Result<Option<String>, UrlError> {
    decode(part).map(some)
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn decode(part: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(UrlError::PercentEncoding);
        };
        let byte = u8::try_from(high * 16 + low).or(Err(UrlError::PercentEncoding))?;
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).or(Err(UrlError::NotText))?;
    if text.contains('\0') { Err(UrlError::NotText) } else { Ok(text) }
}
