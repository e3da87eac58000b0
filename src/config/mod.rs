//! Configuration: files, URLs and user lists become one validated, immutable [`Config`].
//!
//! The only place that knows TOML. A `Config` that exists is valid: nobody checks it again. All
//! problems of all files are found in one go and reported together as [`Problems`]. The keys are
//! data (`keys.rs`): the reader, the reference documentation and the check of `pooler.toml` are made
//! from that list. Reads the files that it is told to read and nothing else; knows no other module.

mod alerts;
mod auto;
pub mod check;
mod choice;
mod database;
mod direct;
mod environment;
mod field;
pub mod file;
pub mod hba;
mod host_port;
pub mod ini;
mod keys;
mod model;
mod nearest;
pub mod origin;
mod pools;
mod problem;
mod rate;
mod read;
pub mod reference;
mod routing;
mod secret;
mod setting;
mod shards;
mod stranger;
mod tls;
mod units;
pub mod url;
mod user;
pub mod userlist;
mod value;

#[cfg(test)]
mod tests;

pub use alerts::{Alerts, Webhook};
pub use choice::{
    AuthType, LoadBalance, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread,
    TransactionRouting,
};
pub use database::Database;
pub use environment::Environment;
pub use host_port::HostPort;
pub use keys::{Applies, Setting};
pub use model::{Config, General};
pub use problem::{Problem, Problems};
pub use rate::Rate;
pub use routing::Share;
pub use secret::Secret;
pub use shards::{ShardGroup, ShardRange, Shards};
pub use stranger::about_key;
pub use tls::{SslMode, SslNegotiation, TLS_SUITES, TlsSuite, TlsVersion, TlsVersions};
pub use units::{ByteSize, FileMode, read_duration, show_duration};
pub use url::ServerUrl;
pub use user::User;
