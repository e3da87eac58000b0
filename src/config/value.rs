//! A setting's value, and how it is written.

use std::time::Duration;

use super::choice::{
    AuthType, LoadBalance, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread,
    TransactionRouting,
};
use super::host_port::HostPort;
use super::rate::Rate;
use super::secret::Secret;
use super::setting::quote;
use super::tls::{SslMode, SslNegotiation, TlsVersions};
use super::units::{ByteSize, FileMode, TimeUnit};
use super::url::ServerUrl;

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Flag(bool),
    Count(u64),
    Limit(Option<u64>),
    Time(TimeUnit, Duration),
    TimeLimit(TimeUnit, Option<Duration>),
    Size(ByteSize),
    Rate(Rate),
    Text(String),
    Names(Vec<String>),
    FileMode(FileMode),
    Mode(PoolMode),
    Pin(PinPolicy),
    Balance(LoadBalance),
    Reads(ReadRouting),
    Transactions(TransactionRouting),
    OwnWrites(OwnWrites),
    LogFormat(LogFormat),
    Spread(Spread),
    Auth(AuthType),
    SslMode(SslMode),
    SslNegotiation(SslNegotiation),
    TlsVersions(TlsVersions),
    Secret(Secret),
    Hosts(Vec<HostPort>),
    Url(Box<ServerUrl>),
    /// Nothing is set.
    Unset,
}

impl Value {
    /// The value as it is written in the file.
    pub(crate) fn toml(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
                format!("[{}]", names.join(", "))
            }
            Self::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(|h| quote(&h.to_string())).collect();
                format!("[{}]", hosts.join(", "))
            }
            Self::Size(size) => match size.to_string().strip_suffix(" bytes") {
                Some(bytes) => bytes.to_owned(),
                None => quote(&size.to_string()),
            },
            Self::Text(_)
            | Self::Rate(_)
            | Self::FileMode(_)
            | Self::Mode(_)
            | Self::Pin(_)
            | Self::Balance(_)
            | Self::Reads(_)
            | Self::Transactions(_)
            | Self::OwnWrites(_)
            | Self::LogFormat(_)
            | Self::Spread(_)
            | Self::Auth(_)
            | Self::SslMode(_)
            | Self::SslNegotiation(_)
            | Self::TlsVersions(_)
            | Self::Unset => quote(&self.plain()),
            Self::Secret(_) | Self::Url(_) => quote("***"),
            Self::Count(_) | Self::Limit(_) | Self::Time(..) | Self::TimeLimit(..) => self.plain(),
        }
    }

    /// The value as the console shows it: PgBouncer's 0 and 1, plain numbers, lists with commas.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Flag(flag) => u8::from(*flag).to_string(),
            Self::Count(number) => number.to_string(),
            Self::Limit(limit) => limit.unwrap_or(0).to_string(),
            Self::Time(unit, time) => unit.number(*time),
            Self::TimeLimit(unit, time) => unit.number(time.unwrap_or_default()),
            Self::Size(size) => size.bytes().to_string(),
            Self::Text(text) => text.clone(),
            Self::Rate(rate) => rate.to_string(),
            Self::Names(names) => names.join(","),
            Self::FileMode(mode) => mode.to_string(),
            Self::Mode(mode) => mode.to_string(),
            Self::Pin(policy) => policy.name().to_owned(),
            Self::Balance(balance) => balance.name().to_owned(),
            Self::Reads(reads) => reads.name().to_owned(),
            Self::Transactions(transactions) => transactions.name().to_owned(),
            Self::OwnWrites(own) => own.name().to_owned(),
            Self::LogFormat(format) => format.name().to_owned(),
            Self::Spread(spread) => spread.name().to_owned(),
            Self::Auth(auth) => auth.to_string(),
            Self::SslMode(mode) => mode.name().to_owned(),
            Self::SslNegotiation(start) => start.name().to_owned(),
            Self::TlsVersions(versions) => versions.name().to_owned(),
            Self::Secret(secret) => secret.to_string(),
            Self::Hosts(hosts) => {
                hosts.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
            }
            Self::Url(url) => url.to_string(),
            Self::Unset => String::new(),
        }
    }
}
