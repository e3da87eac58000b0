//! Values that are one of a few words.

use std::fmt;

/// When a server goes back to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// At the end of each statement; transactions of several statements are refused.
    Statement,
}

impl PoolMode {
    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

impl fmt::Display for PoolMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which of several hosts that are as good as one another a server is opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadBalance {
    /// Each in its turn.
    RoundRobin,
    /// The first that is there.
    Disable,
}

impl LoadBalance {
    pub(crate) const ALL: [Self; 2] = [Self::RoundRobin, Self::Disable];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Disable => "disable",
        }
    }
}

/// Which reads go to replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadRouting {
    /// All that are proven to be reads.
    Auto,
    /// Those of transactions that say that they are read only, and those with a hint.
    Explicit,
    /// None.
    Off,
}

impl ReadRouting {
    pub(crate) const ALL: [Self; 3] = [Self::Auto, Self::Explicit, Self::Off];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Explicit => "explicit",
            Self::Off => "off",
        }
    }
}

/// Where transactions begin that don't say what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionRouting {
    /// On the primary.
    Primary,
    /// On a replica, as long as they do nothing but read.
    Optimistic,
}

impl TransactionRouting {
    pub(crate) const ALL: [Self; 2] = [Self::Primary, Self::Optimistic];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Optimistic => "optimistic",
        }
    }
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object for programs.
    Json,
}

impl LogFormat {
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Whose writes a read has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnWrites {
    /// Those of its session, and of others with the same causal token.
    Session,
    /// Those of all sessions on its database.
    Database,
    /// Nobody's.
    Off,
}

impl OwnWrites {
    pub(crate) const ALL: [Self; 3] = [Self::Session, Self::Database, Self::Off];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Database => "database",
            Self::Off => "off",
        }
    }
}

/// Which of several replicas a session reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// One that few others read from.
    LeastConn,
    /// Each in its turn.
    RoundRobin,
    /// Any.
    Random,
}

impl Spread {
    pub(crate) const ALL: [Self; 3] = [Self::LeastConn, Self::RoundRobin, Self::Random];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastConn => "least_conn",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
        }
    }
}

/// What becomes of a client that leaves something in its session which only one server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinPolicy {
    /// It keeps the server.
    Pin,
    /// It is refused.
    Reject,
    /// It loses what it left with the end of the transaction.
    Allow,
}

impl PinPolicy {
    pub(crate) const ALL: [Self; 3] = [Self::Pin, Self::Reject, Self::Allow];

    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Reject => "reject",
            Self::Allow => "allow",
        }
    }
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// SCRAM-SHA-256.
    Scram,
    /// md5, or SCRAM for a user whose secret is a SCRAM verifier.
    Md5,
    /// The password in clear.
    Plain,
    /// No password; the user must be listed.
    Trust,
    /// No password and no user list; every database needs a `user`.
    Any,
    /// No password: a certificate with the user's name.
    Cert,
    /// As the first rule says that fits.
    Hba,
}

impl AuthType {
    /// The word in the file and in the console.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scram => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Plain => "plain",
            Self::Trust => "trust",
            Self::Any => "any",
            Self::Cert => "cert",
            Self::Hba => "hba",
        }
    }
}

impl fmt::Display for AuthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
