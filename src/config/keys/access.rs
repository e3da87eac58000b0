//! The top-level keys of who may log in, and how often.

use super::{Group, HOUR, key, off, time};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// PgBouncer's default. A password that has expired is none.
pub(in crate::config) const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE \
                          rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin";

pub(super) const RATES: Group = Group {
    title: "Limits on rates",
    keys: &[
        key!(
            login_rate_per_address,
            Kind::Rate,
            "Attempts to log in per IP address (IPv6: per /64), good or bad. As many at once, \
             and spread over the time from then on, as in \"100/15min\"."
        ),
        key!(
            login_rate_per_user,
            Kind::Rate,
            "Logins per user. Only those count that have proven who they are: nobody can use \
             up another's."
        ),
        key!(
            query_rate_per_user,
            Kind::Rate,
            "Requests per user that ask the pool for a server: transactions, or queries \
             outside of one. Those beyond it get an error that says when to try again."
        ),
        key!(query_rate_per_database, Kind::Rate, "The same per database."),
        key!(
            query_rate_per_application_name,
            Kind::Rate,
            "The same per application_name, as given at the login."
        ),
    ],
};

pub(super) const LOGIN: Group = Group {
    title: "Who may log in",
    keys: &[
        key!(
            auth_type,
            Kind::Auth,
            "How clients prove who they are. \"md5\" uses SCRAM for users whose secret is a \
             SCRAM verifier. \"plain\" sends passwords in clear. \"trust\" asks for no \
             password, but the user must be known. \"any\" takes every user; each database \
             then needs a `user`. \"cert\" asks for a certificate whose common name is the \
             user's. \"hba\" goes by the first rule that fits (auth_hba_file, [[hba]]). LDAP and PAM are left out on purpose."
        ),
        key!(
            auth_file,
            Kind::Path,
            "PgBouncer's list of users: a line is \"name\" \"secret\", the secret plain, md5… \
             or SCRAM-SHA-256$…. Its users are added to those under [users]. A relative path \
             starts in the current directory."
        ),
        key!(
            password_file,
            Kind::Path,
            "Passwords for logging in to servers, of databases that have none in their table: a line \
             is \"database\" \"password\", as in auth_file."
        ),
        key!(
            auth_hba_file,
            Kind::Path,
            "Rules for auth_type = \"hba\", in the format of pg_hba.conf. The rules may stand \
             here instead, as [[hba]] tables. docs/security.md says what of the format is \
             supported."
        ),
        key!(
            auth_ident_file,
            Kind::Path,
            "Maps for `map=` in rules with `cert` and `peer`, in the format of pg_ident.conf: \
             a line is MAP SYSTEM-USER USER."
        ),
        key!(
            auth_user,
            Kind::Text,
            "The user who looks up secrets of users that are not listed, by auth_query. The \
             own secret is taken from [users] or auth_file. Empty = there are no others than \
             those listed."
        ),
        key!(
            auth_query,
            Kind::Name,
            "The look-up: $1 is the user; the first column gives the user again, the second \
             the secret. It runs on a connection of its own, with an empty search_path and \
             nothing that a client has set. The default gives no secret once it has expired \
             (VALID UNTIL)."
        ),
        key!(
            auth_dbname,
            Kind::Text,
            "The database (of this file) in which auth_query runs. Empty = the one that the \
             client asks for."
        ),
        key!(auth_query_timeout, time(1, HOUR), "Longest look-up."),
        key!(
            auth_query_connections,
            Kind::Count(1, 100),
            "Connections for look-ups at once, per database in which they run."
        ),
        key!(
            auth_cache_time,
            off(HOUR),
            "How long the answer to a look-up is used for others who ask for the same user. \
             A wrong password has it looked up again: at once for passwords in clear and md5, at \
             the next login for SCRAM. 0 = only for those who wait for \
             the answer already."
        ),
        key!(
            auth_cache_size,
            Kind::Count(1, 1_000_000),
            "Answers that are kept, per database in which look-ups run."
        ),
        key!(
            admin_users,
            Kind::Names,
            "Users who may run every command of the console (databases `pgweir` and \
             `pgbouncer`)."
        ),
        key!(stats_users, Kind::Names, "Users who may run SHOW in the console."),
    ],
};
