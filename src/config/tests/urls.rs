//! Servers' URLs as libpq reads them, and never a password in sight.

use std::time::Duration;

use proptest::prelude::*;

use super::super::tls::{SslMode, SslNegotiation};
use super::super::url::{ServerUrl, UrlError};
use super::super::{Config, HostPort};
use super::load;

fn parse(text: &str) -> ServerUrl {
    ServerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Host, port, user, password, database.
fn parts(url: &ServerUrl) -> (&str, u16, Option<&str>, Option<&str>, Option<&str>) {
    let password = url.password.as_ref().map(|secret| secret.expose());
    (&url.host, url.port, url.user.as_deref(), password, url.dbname.as_deref())
}

#[test]
fn parts_are_found_and_missing_ones_are_missing() {
    let (u, p, d) = (Some("u"), Some("p"), Some("d"));
    let cases = [
        ("postgres://u:p@h:1/d", ("h", 1, u, p, d)),
        ("postgresql://u:p@h:1/d", ("h", 1, u, p, d)),
        ("postgres://", ("localhost", 5432, None, None, None)),
        ("postgres://h", ("h", 5432, None, None, None)),
        ("postgres://h/", ("h", 5432, None, None, None)),
        ("postgres://h:/d", ("h", 5432, None, None, d)),
        ("postgres:///d", ("localhost", 5432, None, None, d)),
        ("postgres://u@/d", ("localhost", 5432, u, None, d)),
        ("postgres://u:@h", ("h", 5432, u, None, None)),
        ("postgres://:p@h", ("h", 5432, None, p, None)),
        ("postgres://u:a:b@h", ("h", 5432, u, Some("a:b"), None)),
        ("postgres://u:a@b@h", ("h", 5432, u, Some("a@b"), None)),
        ("postgres://u:a#b@h/d", ("h", 5432, u, Some("a#b"), d)),
        ("postgres://u:%20%2f%3F%40%25@h", ("h", 5432, u, Some(" /?@%"), None)),
        ("postgres://%C3%A9@h/%E2%82%AC", ("h", 5432, Some("é"), None, Some("€"))),
        ("postgres://[::1]/d", ("::1", 5432, None, None, d)),
        ("postgres://u:p@[fe80::1%25eth0]:99/d", ("fe80::1%eth0", 99, u, p, d)),
        ("postgres://%2Frun%2Fpg:6000/d", ("/run/pg", 6000, None, None, d)),
        ("postgres:///d?host=/run/pg&port=6000", ("/run/pg", 6000, None, None, d)),
        ("postgres://h?user=u&password=p&dbname=d", ("h", 5432, u, p, d)),
        ("postgres://h?password=a%26b%3Dc", ("h", 5432, None, Some("a&b=c"), None)),
        ("postgres://u:p@h/d?user=&password=&dbname=", ("h", 5432, None, None, None)),
        ("  postgres://h/d\n", ("h", 5432, None, None, d)),
    ];
    for (text, wanted) in cases {
        assert_eq!(parts(&parse(text)), wanted, "{text}");
    }
}

#[test]
fn parameters_are_read() {
    let url = parse("postgres://h/d?sslmode=verify-full&application_name=a%20b&connect_timeout=7&");
    assert_eq!(url.sslmode, Some(SslMode::VerifyFull));
    let tls = parse("postgres://h?sslnegotiation=direct&sslrootcert=/a%20b&sslcert=c&sslkey=");
    assert_eq!(tls.sslnegotiation, Some(SslNegotiation::Direct));
    assert_eq!(tls.sslrootcert, Some("/a b".into()));
    assert_eq!((tls.sslcert, tls.sslkey), (Some("c".into()), None));
    assert_eq!(url.application_name.as_deref(), Some("a b"));
    assert_eq!(url.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(parse("postgres://h?connect_timeout=0").connect_timeout, None);
}

#[test]
fn user_and_database_default_as_in_libpq() {
    let url = parse("postgres://u@h");
    assert_eq!((url.login_user(), url.database()), ("u".to_owned(), "u".to_owned()));
    // Whatever USER is here, an absent database is named like the user.
    let url = parse("postgres://h");
    assert_eq!(url.database(), url.login_user());
    assert!(!url.login_user().is_empty());
}

#[test]
fn broken_urls_are_refused_with_the_cause() {
    let cases = [
        ("", UrlError::Scheme),
        ("h:5432/d", UrlError::Scheme),
        ("mysql://h", UrlError::Scheme),
        ("postgres:/h", UrlError::Scheme),
        ("postgres://u:%@h", UrlError::PercentEncoding),
        ("postgres://u:%4@h", UrlError::PercentEncoding),
        ("postgres://u:%4g@h", UrlError::PercentEncoding),
        ("postgres://u:%+1@h", UrlError::PercentEncoding),
        ("postgres://h/100%", UrlError::PercentEncoding),
        ("postgres://u:%00@h", UrlError::NotText),
        ("postgres://u:%FF@h", UrlError::NotText),
        ("postgres://u:a/b@h/d", UrlError::StrayAt),
        ("postgres://u:a?b@h/d", UrlError::StrayAt),
        ("postgres://a:1,b:2,c/d?port=3,4", UrlError::Ports { hosts: 3, ports: 2 }),
        ("postgres://a,b:x/d", UrlError::Port),
        ("postgres://a,b c/d", UrlError::Host),
        ("postgres://[::1/d", UrlError::Brackets),
        ("postgres://[::1]x/d", UrlError::Brackets),
        ("postgres://::1/d", UrlError::Brackets),
        ("postgres://a%20b/d", UrlError::Host),
        ("postgres:///d?host=a%0Ab", UrlError::Host),
        ("postgres://h:0/d", UrlError::Port),
        ("postgres://h:65536/d", UrlError::Port),
        ("postgres://h:+1/d", UrlError::Port),
        ("postgres://u:pw", UrlError::Port),
        ("postgres://h?port=x", UrlError::Port),
        ("postgres://h?sslmode", UrlError::NoValue),
    ];
    for (text, wanted) in cases {
        assert_eq!(ServerUrl::parse(text), Err(wanted), "{text}");
    }
    let message = |text: &str| ServerUrl::parse(text).unwrap_err().to_string();
    assert_eq!(
        message("postgres://h?ssl_mode=x"),
        "unknown parameter `ssl_mode`; did you mean `sslmode`?"
    );
    assert_eq!(message("postgres://h?pgbouncer=true"), "unknown parameter `pgbouncer`");
    assert_eq!(
        message("postgres://h?sslmode=on"),
        "bad value of `sslmode`: must be disable, allow, prefer, require, verify-ca or verify-full"
    );
    assert_eq!(
        message("postgres://h?connect_timeout=-1"),
        "bad value of `connect_timeout`: must be a whole number of seconds, at most 3600"
    );
}

#[test]
fn several_hosts_are_read_as_libpq_reads_them() {
    for (text, wanted) in [
        ("postgres://a,b/d", "a:5432,b:5432"),
        ("postgres://u:p@a:1,b:2/d", "a:1,b:2"),
        ("postgres://a:1,b/d", "a:1,b:5432"),
        ("postgres://[::1]:1,,/d", "[::1]:1,localhost:5432,localhost:5432"),
        ("postgres:///d?host=a,b&port=7", "a:7,b:7"),
        ("postgres:///d?host=a,/run/pg&port=7,8", "a:7,/run/pg:8"),
    ] {
        let url = parse(text);
        let hosts: Vec<String> = url.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts.join(","), wanted, "{text}");
        assert_eq!(url.host_port(), url.hosts[0]);
    }
    assert_eq!(parse("postgres://a:1/d").hosts, []);
    assert_eq!(parse("postgres://u:p@a:1,b/d").to_string(), "postgres://u:***@a:1,b:5432/d");
}

#[test]
fn url_prints_without_its_password() {
    let url = parse("postgres://u:s3cret@[::1]:1/d?application_name=x");
    assert_eq!(url.to_string(), "postgres://u:***@[::1]:1/d");
    assert_eq!(format!("{url:?}"), "ServerUrl(postgres://u:***@[::1]:1/d)");
}

fn encoded(text: &str, keep_plain: impl Fn(u8) -> bool) -> String {
    let encode = |byte: u8| match keep_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[test]
fn each_printable_character_survives_in_user_password_and_database() {
    let all: String = (b' '..=b'~').map(char::from).collect();
    for plain in [|_| false, |byte: u8| byte.is_ascii_alphanumeric()] {
        let part = encoded(&all, plain);
        let url = parse(&format!("postgres://{part}:{part}@h/{part}?application_name={part}"));
        let wanted = Some(all.as_str());
        assert_eq!(parts(&url), ("h", 5432, wanted, wanted, wanted));
        assert_eq!(url.application_name.as_deref(), wanted);
    }
}

proptest! {
    #[test]
    fn encoded_password_round_trips(password in "[ -~]{1,40}", mask: u64) {
        // Which unreserved characters are encoded too differs from case to case.
        let keep = |byte: u8| byte.is_ascii_alphanumeric() && mask >> (byte % 64) & 1 == 1;
        let text = format!("postgres://app:{}@db:5433/shop", encoded(&password, keep));
        let url = ServerUrl::parse(&text).unwrap();
        prop_assert_eq!(parts(&url), ("db", 5433, Some("app"), Some(password.as_str()), Some("shop")));
    }

    #[test]
    fn any_text_is_a_url_or_an_error_that_quotes_no_part_of_a_login(secret in "[a-z0-9/?@:%#&,=\\[\\]]{0,12}") {
        let text = format!("postgres://u:QQ{secret}QQ@db/shop");
        if let Err(error) = ServerUrl::parse(&text) {
            prop_assert!(!error.to_string().contains("QQ"), "{} shows {}", error, text);
        }
    }

    #[test]
    fn password_in_the_file_is_taken_as_it_is(password in "[ -~]{1,40}") {
        let quoted = super::super::setting::quote(&password);
        let config = load(&format!(
            "[databases.shop]\nurl = \"postgres://app@db\"\npassword = {quoted}\n"
        ));
        let found = config.databases["shop"].password.as_ref().unwrap();
        prop_assert_eq!(found.expose(), password.as_str());
    }
}

#[test]
fn url_in_a_table_sets_the_server() {
    let config = load(
        "[databases.shop]\nurl = \"postgres://u:p@h:1/d\"\n[databases.own]\nurl = \"postgres://h\"\n",
    );
    let shop = &config.databases["shop"];
    assert_eq!(shop.host_port().to_string(), "h:1");
    assert_eq!((shop.dbname.as_str(), shop.user.as_deref()), ("d", Some("u")));
    assert_eq!(shop.password.as_ref().unwrap().expose(), "p");
    let own = &config.databases["own"];
    assert_eq!((own.dbname.as_str(), own.user.as_deref()), ("own", None));
    assert_eq!(own.password, None);
}

#[test]
fn urls_alone_make_a_configuration() {
    let replicas = vec![parse("postgres://r1"), parse("postgres://app:pw@r2:7/shop")];
    let primary = parse("postgres://app:pw@db/shop?connect_timeout=3");
    let config = Config::from_urls(primary, replicas).unwrap();
    let database = &config.databases["shop"];
    assert_eq!(database.host_port(), HostPort { host: "db".to_owned(), port: 5432 });
    assert_eq!((database.user.as_deref(), database.dbname.as_str()), (None, "shop"));
    assert_eq!(database.password, None);
    assert_eq!(config.general.auth_user.as_deref(), Some("app"));
    assert_eq!(config.users["app"].password.as_ref().unwrap().expose(), "pw");
    let replicas: Vec<String> = database.replicas.iter().map(ToString::to_string).collect();
    assert_eq!(replicas, ["r1:5432", "r2:7"]);
    assert_eq!(config.general.admin_users, ["app"]);
    assert_eq!(config.general.server_connect_timeout, Duration::from_secs(3));
}

#[test]
fn urls_that_cannot_be_served_are_refused_together() {
    let primary = parse("postgres://app@db/pgbouncer?sslkey=k");
    let replicas = vec![parse("postgres://other:s3cret@r1")];
    let report = Config::from_urls(primary, replicas).unwrap_err();
    let found: Vec<_> = report.iter().map(|p| (p.file.as_str(), p.key.as_str())).collect();
    let wanted = [
        ("--replica", ""),
        ("--url", "password"),
        ("--url", "dbname"),
        ("--url", "server_tls_key_file"),
    ];
    assert_eq!(found, wanted, "{report}");
    assert!(!report.to_string().contains("s3cret"));
}

#[test]
fn unix_socket_path_is_built_from_directory_and_port() {
    let url = parse("postgres://%2Frun%2Fpg:6000/d");
    let socket = url.host_port().unix_socket().unwrap();
    assert_eq!(socket.to_str(), Some("/run/pg/.s.PGSQL.6000"));
    assert_eq!(parse("postgres://h").host_port().unix_socket(), None);
}
