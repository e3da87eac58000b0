//! TLS as it is configured: modes, versions and cipher suites, by libpq's and PgBouncer's names,
//! and what does not fit together.

use super::choice::AuthType;
use super::database::Database;
use super::model::General;

/// libpq's `sslmode`, which PgBouncer has for both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the other side insists on it.
    Allow,
    /// TLS if the other side has it.
    Prefer,
    /// TLS, with whatever certificate.
    Require,
    /// TLS, with a certificate from a known authority.
    VerifyCa,
    /// TLS, with a certificate from a known authority for this host.
    VerifyFull,
}

impl SslMode {
    /// All of them, by rising demands.
    pub(crate) const ALL: [Self; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// libpq's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// True where a connection in clear would break what was asked for.
    #[must_use]
    pub const fn demands_tls(self) -> bool {
        matches!(self, Self::Require | Self::VerifyCa | Self::VerifyFull)
    }

    /// True where a certificate has to come from a known authority.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// libpq's `sslnegotiation`: how TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// By asking first, in clear.
    Postgres,
    /// At once, which Postgres understands from version 17 on.
    Direct,
}

impl SslNegotiation {
    pub(crate) const ALL: [Self; 2] = [Self::Postgres, Self::Direct];

    /// libpq's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Direct => "direct",
        }
    }
}

/// Which versions of TLS are spoken. There are none below 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Secure,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

impl TlsVersions {
    pub(crate) const ALL: [Self; 3] = [Self::Secure, Self::Only12, Self::Only13];

    /// PgBouncer's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Only12 => "tlsv1.2",
            Self::Only13 => "tlsv1.3",
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

impl TlsVersion {
    /// As OpenSSL calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V12 => "TLSv1.2",
            Self::V13 => "TLSv1.3",
        }
    }
}

/// A cipher suite.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsSuite {
    /// The version that it belongs to.
    pub version: TlsVersion,
    /// OpenSSL's name.
    pub name: &'static str,
    /// The name in the standard.
    pub standard: &'static str,
}

macro_rules! suites {
    ($($version:ident $name:literal $standard:literal;)*) => {
        /// All that there are. All of them are safe, and have forward secrecy.
        pub static TLS_SUITES: &[TlsSuite] = &[
            $(TlsSuite { version: TlsVersion::$version, name: $name, standard: $standard }),*
        ];
    };
}

suites! {
    V13 "TLS_AES_256_GCM_SHA384" "TLS_AES_256_GCM_SHA384";
    V13 "TLS_AES_128_GCM_SHA256" "TLS_AES_128_GCM_SHA256";
    V13 "TLS_CHACHA20_POLY1305_SHA256" "TLS_CHACHA20_POLY1305_SHA256";
    V12 "ECDHE-ECDSA-AES256-GCM-SHA384" "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    V12 "ECDHE-ECDSA-AES128-GCM-SHA256" "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    V12 "ECDHE-ECDSA-CHACHA20-POLY1305" "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    V12 "ECDHE-RSA-AES256-GCM-SHA384" "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
    V12 "ECDHE-RSA-AES128-GCM-SHA256" "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    V12 "ECDHE-RSA-CHACHA20-POLY1305" "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
}

/// Reads a list of suites of one version, by either name, into OpenSSL's names. An empty list, and
/// PgBouncer's `default` and `secure`, mean all that there are.
pub(crate) fn read_suites(version: TlsVersion, names: &[&str]) -> Result<Vec<String>, String> {
    if let [] | ["default" | "secure"] = names {
        return Ok(Vec::new());
    }
    let of_version = || TLS_SUITES.iter().filter(|suite| suite.version == version);
    let known = names.iter().map(|name| {
        let same = |suite: &&TlsSuite| {
            suite.name.eq_ignore_ascii_case(name) || suite.standard.eq_ignore_ascii_case(name)
        };
        of_version().find(same).map(|suite| suite.name.to_owned()).ok_or_else(|| {
            let all: Vec<_> = of_version().map(|suite| suite.name).collect();
            let version = version.name();
            let name: String = name.chars().take(64).collect();
            format!("{name} is no cipher suite of {version} that there is: {}", all.join(", "))
        })
    });
    known.collect()
}

/// A key, and what is wrong with what it asks for.
pub(crate) type Misfit = (&'static str, &'static str);

/// What is wrong with TLS with clients.
pub(crate) fn client_misfits(general: &General) -> Vec<Misfit> {
    let mode = general.client_tls_sslmode;
    let mut misfits = Vec::new();
    let verified = mode != SslMode::Disable && general.client_tls_ca_file.is_some();
    if general.auth_type == AuthType::Cert && !verified {
        let what = "\"cert\" needs client_tls_sslmode and client_tls_ca_file";
        misfits.push(("auth_type", what));
    }
    if mode != SslMode::Disable {
        if general.client_tls_cert_file.is_none() || general.client_tls_key_file.is_none() {
            let what = "needs client_tls_cert_file and client_tls_key_file";
            misfits.push(("client_tls_sslmode", what));
        }
        if mode.verifies() && general.client_tls_ca_file.is_none() {
            misfits.push(("client_tls_sslmode", "needs client_tls_ca_file to verify by"));
        }
    }
    misfits
}

/// What is wrong with TLS with the servers of a database.
pub(crate) fn server_misfits(database: &Database) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    match (&database.server_tls_cert_file, &database.server_tls_key_file) {
        (Some(_), None) => misfits.push(("server_tls_cert_file", "needs server_tls_key_file")),
        (None, Some(_)) => misfits.push(("server_tls_key_file", "needs server_tls_cert_file")),
        (None, None) | (Some(_), Some(_)) => {}
    }
    let direct = database.server_tls_negotiation == SslNegotiation::Direct;
    if direct && !database.server_tls_sslmode.demands_tls() {
        let what = "\"direct\" needs server_tls_sslmode \"require\" or more: it has no way back";
        misfits.push(("server_tls_negotiation", what));
    }
    misfits
}
