//! Rules of who is let in how, in the format that `pg_hba.conf` and PgBouncer's `auth_hba_file`
//! share, and the maps of `pg_ident.conf`.
//!
//! Text becomes rules; nobody is let in here. A line that can't be carried out as it is meant is a
//! problem and never skipped: the next rule might let in whom it would have refused. What only a
//! server knows (membership in roles) or what needs a look-up of names is such a line.
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

mod words;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

pub use self::words::ReadFile;
pub(super) use self::words::Word;
use self::words::{fields, logical_lines, with_files};
use super::problem::{Problem, Problems};

/// One rule: whom it is for, and how they prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbaRule {
    /// Where it stands, for logs: `hba.conf:12`.
    pub origin: String,
    /// The kind of connection.
    pub kind: HbaKind,
    /// Databases, as clients call them.
    pub databases: Vec<HbaDatabase>,
    /// Users, as clients call themselves.
    pub users: Vec<HbaUser>,
    /// Where the client comes from; of no meaning to [`HbaKind::Local`].
    pub address: HbaAddress,
    /// What is asked of the client.
    pub method: HbaMethod,
    /// The map between names of the system or certificate and users; `None`: they are the same.
    pub map: Option<String>,
}

/// The kind of connection that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HbaKind {
    /// A unix socket.
    Local,
    /// TCP, in clear or by TLS.
    Host,
    /// TCP, by TLS.
    HostSsl,
    /// TCP, in clear.
    HostNoSsl,
}

/// A database that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HbaDatabase {
    /// Each, but not physical replication.
    All,
    /// The one of the user's name.
    SameUser,
    /// Physical replication, which has no database.
    Replication,
    /// The one of this name.
    Named(String),
}

/// A user that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HbaUser {
    /// Each.
    All,
    /// The one of this name.
    Named(String),
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HbaAddress {
    /// Anywhere.
    All,
    /// One of this machine's own addresses.
    SameHost,
    /// A network that this machine has an address in.
    SameNet,
    /// This network: addresses that are equal where the mask has ones.
    Net(IpAddr, IpAddr),
}

/// What a rule asks of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HbaMethod {
    /// Go away.
    Reject,
    /// Nothing, but the user must be known.
    Trust,
    /// The password, in clear.
    Plain,
    /// md5, or SCRAM for a user whose secret is a SCRAM verifier.
    Md5,
    /// SCRAM-SHA-256.
    Scram,
    /// A certificate with the user's name, or one that the map allows.
    Cert,
    /// The unix socket's other end runs as the user, or as one that the map allows.
    Peer,
}

impl HbaMethod {
    /// The word in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Trust => "trust",
            Self::Plain => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
            Self::Cert => "cert",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for HbaMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of `auth_ident_file`: in this map, who has that name outside may be that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentLine {
    /// The map's name.
    pub map: String,
    /// The name of the operating system's user, or in the certificate.
    pub outside: String,
    /// The user.
    pub user: HbaUser,
}

/// What a rule is made of, wherever it was written.
pub(super) struct Parts {
    pub(super) kind: String,
    pub(super) databases: Vec<Word>,
    pub(super) users: Vec<Word>,
    /// Nothing for `local`; an address, or an address and a mask.
    pub(super) address: Option<(Word, Option<Word>)>,
    pub(super) method: String,
    /// `name=value`.
    pub(super) options: Vec<String>,
}

/// Reads rules; `name` stands for the file in problems, and is where `@name` starts from.
///
/// # Errors
/// Every line that can't be carried out.
pub fn parse(name: &str, text: &str, read: ReadFile<'_>) -> Result<Vec<HbaRule>, Problems> {
    each_line(name, text, read, RULE_HINT, |origin, fields| {
        let rule = parts(fields)?.into_rule(origin)?;
        Ok(rule)
    })
}

/// Reads the lines of maps; `name` and `@name` as in [`parse`].
///
/// # Errors
/// Every line that can't be carried out.
pub fn parse_ident(name: &str, text: &str, read: ReadFile<'_>) -> Result<Vec<IdentLine>, Problems> {
    each_line(name, text, read, IDENT_HINT, |_, fields| {
        let [map, outside, user] = fields.as_slice() else {
            return Err(format!("has {} words instead of 3", fields.len()));
        };
        let outside = single(outside)?;
        refuse_pattern(&outside)?;
        Ok(IdentLine {
            map: single(map)?.text,
            outside: outside.text,
            user: one_user(single(user)?)?,
        })
    })
}

const RULE_HINT: &str =
    "a rule is: local|host|hostssl|hostnossl DATABASE USER [ADDRESS] METHOD [map=NAME]";
const IDENT_HINT: &str = "a line is: MAP SYSTEM-USER USER";

fn each_line<T>(
    name: &str,
    text: &str,
    read: ReadFile<'_>,
    hint: &str,
    line: impl Fn(String, Vec<Vec<Word>>) -> Result<T, String>,
) -> Result<Vec<T>, Problems> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    for (number, logical) in logical_lines(text) {
        let fields = match fields(&logical) {
            Ok(fields) if fields.is_empty() => continue,
            Ok(fields) => {
                fields.into_iter().map(|field| with_files(field, folder, read, 0)).collect()
            }
            Err(what) => Err(what),
        };
        match fields.and_then(|fields| line(format!("{name}:{number}"), fields)) {
            Ok(value) if found.len() < LINES_MAX => found.push(value),
            Ok(_) => {}
            Err(what) => problems.push(Problem {
                file: name.to_owned(),
                line: Some(number),
                key: String::new(),
                what,
                hint: Some(hint.to_owned()),
            }),
        }
    }
    if found.len() >= LINES_MAX {
        let what = format!("has more than {LINES_MAX} lines");
        problems.push(Problem {
            file: name.to_owned(),
            line: None,
            key: String::new(),
            what,
            hint: None,
        });
    }
    Problems::none_or(problems, found)
}

/// Each login looks at them in turn.
const LINES_MAX: usize = 10_000;
/// Sorts the fields of a line by what they mean.
fn parts(fields: Vec<Vec<Word>>) -> Result<Parts, String> {
    let mut fields = fields.into_iter().peekable();
    let mut next = |what: &str| fields.next().ok_or(format!("ends before its {what}"));
    let kind = single(&next("kind")?)?.text;
    if kind.starts_with("include") {
        return Err(format!("`{kind}` is not supported: put the rules here"));
    }
    kind_of(&kind)?;
    let (databases, users) = (next("database")?, next("user")?);
    let address = if kind == "local" { None } else { Some(single(&next("address")?)?) };
    let mut method = single(&next("method")?)?;
    // An address with a mask in a field of its own.
    let mut mask = None;
    if address.as_ref().is_some_and(|address| address.text.parse::<IpAddr>().is_ok()) {
        mask = Some(method);
        method = single(&next("method")?)?;
    }
    let options =
        fields.map(|field| single(&field).map(|word| word.text)).collect::<Result<_, _>>()?;
    let address = address.map(|address| (address, mask));
    Ok(Parts { kind, databases, users, address, method: method.text, options })
}

fn single(field: &[Word]) -> Result<Word, String> {
    match field {
        [word] => Ok(word.clone()),
        _ => Err("has a list where one word is due".to_owned()),
    }
}

impl Parts {
    /// The rule that it is.
    pub(super) fn into_rule(self, origin: String) -> Result<HbaRule, String> {
        let kind = kind_of(&self.kind)?;
        let address = match self.address {
            Some((address, mask)) => address_of(&address, mask.as_ref())?,
            None => HbaAddress::All,
        };
        let method = method_of(&self.method, kind)?;
        let rule = HbaRule {
            origin,
            kind,
            databases: self.databases.into_iter().map(one_database).collect::<Result<_, _>>()?,
            users: self.users.into_iter().map(one_user).collect::<Result<_, _>>()?,
            address,
            method,
            map: map_of(&self.options, method)?,
        };
        if rule.databases.is_empty() || rule.users.is_empty() {
            return Err("names no database or no user".to_owned());
        }
        Ok(rule)
    }
}

fn kind_of(word: &str) -> Result<HbaKind, String> {
    Ok(match word {
        "local" => HbaKind::Local,
        "host" => HbaKind::Host,
        "hostssl" => HbaKind::HostSsl,
        "hostnossl" => HbaKind::HostNoSsl,
        "hostgssenc" | "hostnogssenc" => {
            return Err(format!("`{word}`: encryption by GSSAPI is not supported"));
        }
        other => return Err(format!("`{other}` is no kind of connection")),
    })
}

fn one_database(word: Word) -> Result<HbaDatabase, String> {
    Ok(match word.keyword() {
        Some("all") => HbaDatabase::All,
        Some("sameuser") => HbaDatabase::SameUser,
        Some("replication") => HbaDatabase::Replication,
        Some(keyword @ ("samerole" | "samegroup")) => return Err(roles(keyword)),
        _ => {
            refuse_pattern(&word)?;
            HbaDatabase::Named(word.text)
        }
    })
}

fn one_user(word: Word) -> Result<HbaUser, String> {
    Ok(match word.keyword() {
        Some("all") => HbaUser::All,
        Some(role) if role.starts_with('+') => return Err(roles(role)),
        _ => {
            refuse_pattern(&word)?;
            HbaUser::Named(word.text)
        }
    })
}

fn roles(word: &str) -> String {
    format!(
        "`{word}`: who is in which role only the server knows; list the users, or name a file of them: @file"
    )
}

fn refuse_pattern(word: &Word) -> Result<(), String> {
    match word.keyword() {
        Some(text) if text.starts_with('/') => {
            Err(format!("`{text}`: regular expressions are not supported; list the names"))
        }
        _ => Ok(()),
    }
}

fn method_of(word: &str, kind: HbaKind) -> Result<HbaMethod, String> {
    let method = match word {
        "reject" => HbaMethod::Reject,
        "trust" => HbaMethod::Trust,
        "password" | "plain" => HbaMethod::Plain,
        "md5" => HbaMethod::Md5,
        "scram-sha-256" => HbaMethod::Scram,
        "cert" => HbaMethod::Cert,
        // Postgres reads `ident` as `peer` there.
        "ident" if kind == HbaKind::Local => HbaMethod::Peer,
        "peer" => HbaMethod::Peer,
        "ldap" | "pam" | "radius" | "bsd" | "gss" | "sspi" | "ident" | "oauth" => {
            return Err(format!(
                "method `{word}` is left out on purpose: use scram-sha-256 or cert"
            ));
        }
        other => return Err(format!("`{other}` is no method")),
    };
    match (method, kind) {
        (HbaMethod::Peer, HbaKind::Local) => Ok(method),
        (HbaMethod::Peer, _) => Err("`peer` is for `local` alone".to_owned()),
        (HbaMethod::Cert, HbaKind::HostSsl) => Ok(method),
        (HbaMethod::Cert, _) => Err("`cert` is for `hostssl` alone".to_owned()),
        _ => Ok(method),
    }
}

fn map_of(options: &[String], method: HbaMethod) -> Result<Option<String>, String> {
    let mut map = None;
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let what = match (name, value, method) {
            ("map", "", _) => "has no name",
            ("map", name, HbaMethod::Cert | HbaMethod::Peer) => {
                if map.replace(name.to_owned()).is_none() {
                    continue;
                }
                "is given twice"
            }
            ("map", ..) => "is for `cert` and `peer` alone",
            // What `cert` asks for anyway.
            ("clientcert", "verify-full" | "1", HbaMethod::Cert)
            | ("clientname", "CN", HbaMethod::Cert) => continue,
            ("clientcert", _, HbaMethod::Cert) => {
                "is not supported: with `cert` the name is always verified (verify-full)"
            }
            ("clientcert", ..) => {
                "is not supported beside another method than `cert`: \
                 client_tls_sslmode = \"verify-ca\" demands a certificate of every client"
            }
            ("clientname", ..) => {
                "is not supported: whose a certificate is, is its common name (CN), for which \
                 `map` may have other users"
            }
            _ => "is not supported",
        };
        return Err(format!("option `{option}` {what}"));
    }
    Ok(map)
}

fn address_of(word: &Word, mask: Option<&Word>) -> Result<HbaAddress, String> {
    match word.keyword() {
        Some("all") => return Ok(HbaAddress::All),
        Some("samehost") => return Ok(HbaAddress::SameHost),
        Some("samenet") => return Ok(HbaAddress::SameNet),
        _ => {}
    }
    let text = &word.text;
    let (address, mask) = match (text.split_once('/'), mask) {
        (Some((address, bits)), None) => {
            let address = ip(address)?;
            let mask = bits.parse().ok().and_then(|bits| mask_of(address, bits));
            (address, mask.ok_or(format!("`{text}` has no proper length of its mask"))?)
        }
        (None, Some(mask)) => (ip(text)?, ip(&mask.text)?),
        _ if text.parse::<IpAddr>().is_ok() => {
            return Err(format!("`{text}` has no mask: {text}/32?"));
        }
        _ => {
            return Err(format!(
                "`{text}`: names of hosts are not looked up; give the address as a.b.c.d/bits"
            ));
        }
    };
    if address.is_ipv4() != mask.is_ipv4() {
        return Err(format!("`{text}` and its mask are of two kinds"));
    }
    Ok(HbaAddress::Net(address, mask))
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_unsaid| format!("`{text}` is no address"))
}

/// A mask with so many ones in front.
fn mask_of(address: IpAddr, bits: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) if bits <= 32 => {
            Some(IpAddr::V4(u32::MAX.checked_shl(32 - bits).unwrap_or(0).into()))
        }
        IpAddr::V6(_) if bits <= 128 => {
            Some(IpAddr::V6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
