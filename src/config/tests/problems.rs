//! Each kind of problem: its line, its key, what it says; many at once; and never a secret.

use proptest::prelude::*;

use super::super::{Config, reference};
use super::{load, problems, with_database};

/// One problem each: the file, and how the report shows it.
const ONE_PROBLEM: &[(&str, &str)] = &[
    // Unknown keys.
    (
        "[databases.shop]\nhost = \"db\"\n\npol_size = 3\n",
        "4: databases.shop.pol_size: unknown key (did you mean `pool_size`?)",
    ),
    (
        "\n\npool_mod = 1\n[databases.shop]\nhost = \"db\"\n",
        "3: pool_mod: unknown key (did you mean `pool_mode`?)",
    ),
    (
        "DEFAULT-POOL-SIZE = 1\n[databases.shop]\nhost = \"db\"\n",
        "1: DEFAULT-POOL-SIZE: unknown key (did you mean `default_pool_size`?)",
    ),
    ("xyzzy = 1\n[databases.shop]\nhost = \"db\"\n", "1: xyzzy: unknown key"),
    (
        "[databases.shop]\nhost = \"db\"\n[user.app]\n",
        "3: user: unknown key (did you mean `users`?)",
    ),
    (
        "[databases.shop]\nhost = \"db\"\nmax_client_conn = 5\n",
        "3: databases.shop.max_client_conn: unknown key (a general key: it must stand above the \
             first [table])",
    ),
    (
        "syslog = 1\n[databases.shop]\nhost = \"db\"\n",
        "1: syslog: unknown key (a key of PgBouncer; not supported: the log goes to standard error, \
             and to logfile)",
    ),
    (
        "auth_ldap_options = \"x\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_ldap_options: unknown key (a key of PgBouncer; not supported: there is no \
             LDAP)",
    ),
    (
        "auth_type = \"pam\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_type: \"pam\" is left out on purpose (use \"scram-sha-256\", or \"hba\" with `cert` \
             or `peer`)",
    ),
    (
        "auth_type = \"hba\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_type: \"hba\" has no rules: nobody could log in (add [[hba]] tables, or \
             auth_hba_file)",
    ),
    (
        "auth_type = \"hba\"\n[databases.shop]\nhost = \"db\"\n[[hba]]\ntype = \"local\"\n\
         method = \"scram\"\n",
        "4: hba: `scram` is no method",
    ),
    ("[databases.shop]\nhost = \"db\"\n[[hba]]\nmethod = \"md5\"\n", "3: hba.type: missing"),
    (
        "auth_dbname = \"pgbouncer\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_dbname: cannot use the reserved \"pgbouncer\" database as an auth_dbname",
    ),
    (
        "auth_user = \"a\"\nauth_dbname = \"x\"\n[databases.shop]\nhost = \"db\"\n",
        "2: auth_dbname: there is no [databases.x]",
    ),
    (
        "[databases.shop]\nhost = \"db\"\n[pgbouncer]\nlisten_port = 1\n",
        "3: pgbouncer: unknown key (its keys stand at the top of the file, without a table)",
    ),
    (
        "[databases.shop]\nhost = \"db\"\n[users.\"we ird\"]\npasword = \"x\"\n",
        "4: users.\"we ird\".pasword: unknown key (did you mean `password`?)",
    ),
    // Wrong types and bad values.
    (
        "listen_port = \"6432\"\n[databases.shop]\nhost = \"db\"\n",
        "1: listen_port: must be a whole number, 0 to 65535, not this text",
    ),
    (
        "tcp_keepalive = \"yes\"\n[databases.shop]\nhost = \"db\"\n",
        "1: tcp_keepalive: must be true or false, not this text",
    ),
    (
        "[databases.shop]\nhost = 5\n",
        "2: databases.shop.host: must be a text in quotes, not this number",
    ),
    (
        "pool_mode = \"transactions\"\n[databases.shop]\nhost = \"db\"\n",
        "1: pool_mode: must be \"session\", \"transaction\" or \"statement\", not \
             \"transactions\" (did you mean \"transaction\"?)",
    ),
    (
        "auth_type = \"scram\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_type: must be \"scram-sha-256\", \"md5\", \"plain\", \"trust\", \"any\", \"cert\" \
             or \"hba\", not \"scram\" (did you mean \"scram-sha-256\"?)",
    ),
    (
        "admin_users = [1]\n[databases.shop]\nhost = \"db\"\n",
        "1: admin_users: must be a list of texts, as in [\"one\", \"two\"], not this list",
    ),
    (
        "http_listen = \"9127\"\n[databases.shop]\nhost = \"db\"\n",
        "1: http_listen: must be host:port (as in \"127.0.0.1:9127\")",
    ),
    (
        "listen_addr = \"a b\"\n[databases.shop]\nhost = \"db\"\n",
        "1: listen_addr: a host has no spaces in it",
    ),
    (
        "listen_addr = \"\"\n[databases.shop]\nhost = \"db\"\n",
        "1: listen_addr: there is nothing to listen on (set listen_addr, or unix_socket_dir)",
    ),
    (
        "unix_socket_dir = \"tmp\"\n[databases.shop]\nhost = \"db\"\n",
        "1: unix_socket_dir: must be a whole path, from / (or @name, for the abstract namespace)",
    ),
    (
        "unix_socket_mode = 770\n[databases.shop]\nhost = \"db\"\n",
        "1: unix_socket_mode: must be octal digits in quotes, as in \"0770\", not this number",
    ),
    (
        "[databases.shop]\nhost = \"postgres://db\"\n",
        "2: databases.shop.host: must be a host, not a URL (a URL goes into `url`)",
    ),
    (
        "[databases.shop]\nhost = \"db\"\nreplicas = [\"r1:5432\", \"r2:99999\"]\n",
        "3: databases.shop.replicas: the port must be a number from 1 to 65535",
    ),
    (
        "[databases.shop]\nhost = \"db\"\nconnect_query = \"SELECT '\\u0000'\"\n",
        "3: databases.shop.connect_query: can't contain a zero byte",
    ),
    (
        "[databases]\nshop = \"postgres://u:s3cret@db\"\n[databases.other]\nhost = \"db\"\n",
        "2: databases.shop: must be a table (as in [databases.shop], its keys below)",
    ),
    (
        "users = 5\n[databases.shop]\nhost = \"db\"\n",
        "1: users: must be a table of tables (as in [users.NAME])",
    ),
    // Missing keys and cross-references.
    (
        "listen_port = 1\n\n[databases.shop]\nport = 5432\n",
        "3: databases.shop.host: missing (add host = \"…\" or url = \"postgres://…\")",
    ),
    (
        "default_pool_size = 5\nmin_pool_size = 6\n[databases.shop]\nhost = \"db\"\n",
        "2: min_pool_size: 6 is above default_pool_size, 5 (lower it, or raise \
             default_pool_size)",
    ),
    (
        "min_pool_size = 21\n[databases.shop]\nhost = \"db\"\n",
        "1: min_pool_size: 21 is above default_pool_size, 20 (lower it, or raise \
             default_pool_size)",
    ),
    (
        "[databases.shop]\nhost = \"db\"\nmin_pool_size = 6\npool_size = 5\n",
        "3: databases.shop.min_pool_size: 6 is above pool_size, 5 (lower it, or raise \
             pool_size)",
    ),
    (
        "\n[databases.pgbouncer]\nhost = \"db\"\n",
        "2: databases.pgbouncer: the console has this name (give the database another name, \
             and its own in dbname)",
    ),
    (
        "[databases.pgweir]\nhost = \"db\"\n",
        "1: databases.pgweir: the console has this name (give the database another name, and \
             its own in dbname)",
    ),
    (
        "auth_user = \"a\"\n[databases.\"*\"]\nhost = \"db\"\n",
        "2: databases.\"*\".auth_dbname: missing: secrets can't be looked up in any database that \
             somebody names (name the database in which auth_query runs)",
    ),
    (
        "\nauth_file = \"/nonexistent/userlist.txt\"\n[databases.shop]\nhost = \"db\"\n",
        "2: auth_file: /nonexistent/userlist.txt can't be read: No such file or directory (os \
             error 2)",
    ),
    (
        "auth_type = \"any\"\n[databases.shop]\nhost = \"db\"\n",
        "2: databases.shop.user: missing: with auth_type = \"any\" nobody has a secret for the \
             server (add the user (and password) to log in to the server with)",
    ),
    (
        "listen_port = 9127\n[databases.shop]\nhost = \"db\"\n",
        "1: http_listen: listen_port has this port (choose another port)",
    ),
    // URLs.
    (
        "[databases.shop]\nurl = \"postgres://db/x\"\nport = 1\n",
        "3: databases.shop.port: url says it too (remove it, or take it out of the url)",
    ),
    (
        "[databases.shop]\npassword = \"a\"\nurl = \"postgres://u:b@db/x\"\n",
        "2: databases.shop.password: url says it too (remove it, or take it out of the url)",
    ),
    (
        "[databases.shop]\nurl = \"http://u:b@db/x\"\n",
        "2: databases.shop.url: a server's URL starts with postgres:// or postgresql://",
    ),
    (
        "[databases.shop]\nurl = \"postgres://db/x?sslmode=require\"\nserver_tls_sslmode = \"allow\"\n",
        "3: databases.shop.server_tls_sslmode: url says it too (remove it, or take it out of the url)",
    ),
    // TLS.
    (
        "client_tls_sslmode = \"require\"\nclient_tls_key_file = \"k\"\n[databases.shop]\nhost = \"db\"\n",
        "1: client_tls_sslmode: needs client_tls_cert_file and client_tls_key_file",
    ),
    (
        "client_tls_sslmode = \"verify-ca\"\nclient_tls_key_file = \"k\"\nclient_tls_cert_file = \"c\"\n\
         [databases.shop]\nhost = \"db\"\n",
        "1: client_tls_sslmode: needs client_tls_ca_file to verify by",
    ),
    (
        "auth_type = \"cert\"\n[databases.shop]\nhost = \"db\"\n",
        "1: auth_type: \"cert\" needs client_tls_sslmode and client_tls_ca_file",
    ),
    (
        "server_tls_negotiation = \"direct\"\n[databases.shop]\nhost = \"db\"\n",
        "1: server_tls_negotiation: \"direct\" needs server_tls_sslmode \"require\" or more: it has no \
             way back",
    ),
    (
        "[databases.shop]\nurl = \"postgres://db/x?sslcert=c\"\n",
        "2: databases.shop.server_tls_cert_file: needs server_tls_key_file",
    ),
    (
        "[databases.shop]\nhost = \"db\"\nserver_tls_key_file = \"k\"\n",
        "3: databases.shop.server_tls_key_file: needs server_tls_cert_file",
    ),
    (
        "client_tls_protocols = \"tlsv1.1, tlsv1.2\"\n[databases.shop]\nhost = \"db\"\n",
        "1: client_tls_protocols: TLS below 1.2 is not spoken (\"secure\" is TLS 1.2 and 1.3)",
    ),
    (
        "server_tls13_ciphers = \"TLS_AES_128_CCM_SHA256\"\n[databases.shop]\nhost = \"db\"\n",
        "1: server_tls13_ciphers: TLS_AES_128_CCM_SHA256 is no cipher suite of TLSv1.3 that there is: \
             TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        "client_tls_ciphers = \"HIGH:!aNULL\"\n[databases.shop]\nhost = \"db\"\n",
        "1: client_tls_ciphers: HIGH is no cipher suite of TLSv1.2 that there is: \
             ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-ECDSA-AES128-GCM-SHA256, \
             ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-AES256-GCM-SHA384, \
             ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-CHACHA20-POLY1305",
    ),
    (
        "[databases.shop]\nurl = \"postgres://db/x?connect_timeout=3\"\n",
        "2: databases.shop.url: a database can't have its own connect_timeout \
             (server_connect_timeout, at the top of the file, is for all)",
    ),
];

#[test]
fn each_problem_names_line_key_and_remedy() {
    for (text, wanted) in ONE_PROBLEM {
        assert_eq!(problems(text).to_string(), format!("pooler.toml:{wanted}"), "\n{text}");
    }
}

#[test]
fn empty_file_has_no_database() {
    let wanted = "pooler.toml: databases: there is no database (add a table: [databases.NAME] with \
                  host = \"…\" or url = \"postgres://…\")";
    assert_eq!(problems("").to_string(), wanted);
    assert_eq!(problems("listen_port = 1\n").to_string(), wanted);
    let empty_table = problems("\n[databases]\n");
    assert_eq!(empty_table.iter().next().unwrap().line, Some(2));
}

#[test]
fn all_problems_come_in_one_report_in_the_order_of_the_file() {
    let text = "\
listen_port = 70000
pool_mode = \"txn\"
min_pool_size = 99

[databases.pgweir]
hots = \"db\"

[databases.shop]
host = \"db\"
port = \"x\"

[users.app]
password = 5
query_timeout = \"soon\"
";
    let report = problems(text);
    let found: Vec<_> = report.iter().map(|p| (p.line.unwrap(), p.key.as_str())).collect();
    let wanted = [
        (1, "listen_port"),
        (2, "pool_mode"),
        (3, "min_pool_size"),
        (5, "databases.pgweir"),
        (5, "databases.pgweir.host"),
        (6, "databases.pgweir.hots"),
        (10, "databases.shop.port"),
        (13, "users.app.password"),
        (14, "users.app.query_timeout"),
    ];
    assert_eq!(found, wanted, "{report}");
    assert_eq!(report.count(), wanted.len());
    assert_eq!(report.to_string().lines().count(), wanted.len());
}

/// Nor does it invent problems further on.
#[test]
fn bad_syntax_does_not_hide_other_problems() {
    let cases: &[(&str, &[usize])] = &[
        ("listen_port = \nverbos = 1\n[databases.shop]\nhots = \"db\"\n", &[1, 2, 4]),
        ("verbos = 1\n[databases.shop\nhost = \"db\"\nport = 1\n[users.app]\nx = 1\n", &[1, 2, 6]),
        ("admin_users = [\"a\",\nverbose = 1\n[databases.shop]\nhost = \"db\"\n", &[2]),
        ("listen_addr = \"x\n[databases.shop]\nhost = \"db\"\n", &[1]),
        ("listen_addr = x y\n[databases.shop]\nport = 1\n", &[1]),
        ("[databases..shop]\nhost = \"db\"\nport = 1\n", &[1]),
        ("[databases.\nhost = \"db\"\nport = 1\n[users.app]\nx = 1\n", &[1, 5]),
        ("[databases.shop\nhost = \"db\"\nmax_client_conn = 0\n", &[1]),
        ("[]\nhost = \"db\"\nport = 1\n", &[1]),
    ];
    for (text, wanted) in cases {
        let report = problems(text);
        let lines: Vec<_> = report.iter().filter_map(|problem| problem.line).collect();
        assert_eq!(lines, *wanted, "\n{text}\n{report}");
    }
}

#[test]
fn repeated_key_is_reported_at_its_second_line() {
    let report = problems(&with_database("verbose = 1\nverbose = 2"));
    let all: Vec<_> = report.iter().map(|problem| problem.line).collect();
    assert_eq!(all, [Some(2)], "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The reference file with all keys uncommented, a piece cut out and another put in.
    #[test]
    fn mangled_file_is_read_or_refused_with_lines_that_exist(
        cut in any::<prop::sample::Index>(),
        length in 0_usize..40,
        insert in "([\\[\\]{}=.,#\"'\\\\\n 0-9a-z]|\"\"\"){0,6}",
    ) {
        let mut text = reference::toml().replace("\n#", "\n").replace("\n ", "\n# ");
        let chars: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let start = cut.index(chars.len());
        let end = chars.get(start + length).copied().unwrap_or(text.len());
        text.replace_range(chars[start]..end, &insert);
        if let Err(report) = Config::from_toml_str("pooler.toml", &text) {
            prop_assert!(report.count() > 0);
            let lines = text.split('\n').count();
            for problem in &report {
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
}

/// Wherever a secret is misplaced, mistyped or broken, no report shows it.
#[test]
fn no_report_shows_a_secret() {
    let files = [
        "[users.app]\npassword = s3cret\n",
        "[users.app]\npassword = \"s3cret\n",
        "[users.app]\npassword = 's3cret\n",
        "[users.app]\npassword = \"s3cret\" s3cret\n",
        "[users.app]\npassword = \"s3cret\\q\"\n",
        "[users.app]\npassword = [\"s3cret\"]\n",
        "[users.app]\npassword = \"s3cret\\u0000\"\n",
        "[users]\napp = \"s3cret\"\n",
        "[databases]\nshop = \"postgres://u:s3cret@db\"\n",
        "[databases.shop]\nurl = \"postgres://u:s3cret/x@db/shop\"\n",
        "[databases.shop]\nurl = \"postgres://u:s3cret?x@db/shop\"\n",
        "[databases.shop]\nurl = \"postgres://u:%zzs3cret@db/shop\"\n",
        "[databases.shop]\nurl = \"postgres://u:s3cret@db:bad/shop\"\n",
        "[databases.shop]\nurl = \"postgres://u:s3cret\"\n",
        "[databases.shop]\nurl = postgres://u:s3cret@db/shop\n",
        "[databases.shop]\nhost = \"postgres://u:s3cret@db\"\n",
        "[databases.shop]\nreplicas = [\"postgres://u:s3cret@db\"]\n",
    ];
    for text in files {
        let report = problems(text);
        assert!(!format!("{report}\n{report:?}").contains("s3cret"), "{text}\n{report}");
    }
}

#[test]
fn config_does_not_show_secrets() {
    let text = "[databases.shop]\nurl = \"postgres://u:s3cret@db/shop\"\n\
                [users.app]\npassword = \"s3cret\"\n";
    let config = load(text);
    assert!(!format!("{config:?}").contains("s3cret"));
    let secret = config.users["app"].password.as_ref().unwrap();
    assert_eq!((secret.expose(), secret.to_string().as_str()), ("s3cret", "***"));
}

#[test]
fn file_that_cannot_be_read_is_a_problem() {
    let report = Config::from_toml_file("/nonexistent/pooler.toml").unwrap_err().to_string();
    assert_eq!(
        report,
        "/nonexistent/pooler.toml: can't be read: No such file or directory (os error 2)"
    );
}
