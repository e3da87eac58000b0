//! Who is let in, against real servers: secrets that are looked up, rules, and what is passed
//! through.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use pgweir::auth::{Iterations, Verifier};
use tempfile::NamedTempFile;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer, SUPERUSER, cluster,
    eventually, psql, psql_rows, psql_with,
};

static SHARED: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::builder().hba(&["host all hashed 127.0.0.1/32 md5"]).start().unwrap();
    let roles = "CREATE ROLE reader LOGIN PASSWORD 'r3ader';\n\
                 CREATE ROLE expired LOGIN PASSWORD 'r3ader' VALID UNTIL '2001-01-01';\n\
                 CREATE ROLE lasting LOGIN PASSWORD 'r3ader' VALID UNTIL 'infinity';\n\
                 CREATE ROLE group_only NOLOGIN PASSWORD 'r3ader';\n\
                 CREATE ROLE blank LOGIN;\n\
                 SET password_encryption = 'md5';\n\
                 CREATE ROLE hashed LOGIN PASSWORD 'r3ader';\n";
    cluster.primary().sql(APP_DATABASE, roles).unwrap();
    cluster
});

fn shared() -> &'static PostgresServer {
    SHARED.primary()
}

/// A file with the database of the server; `general` are keys above its tables, `more` below.
fn file(server: &PostgresServer, general: &str, more: &str) -> String {
    let port = server.port();
    format!(
        "listen_port = 0\n{general}\n[databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\n\
         port = {port}\n[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n{more}"
    )
}

const LOOKED_UP: &str = "auth_user = \"postgres\"";

/// What `select current_user` gives through the pooler, or the first line of the error.
fn login(pooler: &Pooler, user: &str, password: &str, database: &str) -> String {
    let ended = psql(&pooler.url(user, password, database), "select current_user");
    match ended.status.success() {
        true => ended.stdout.trim().to_owned(),
        false => ended.stderr.lines().next().unwrap_or_default().to_owned(),
    }
}

#[track_caller]
fn check_refused(said: &str, user: &str) {
    let expected = format!("FATAL:  password authentication failed for user \"{user}\"");
    assert!(said.ends_with(&expected), "{said}");
}

#[test]
fn users_of_the_server_log_in_with_their_secrets_there() {
    let pooler = Pooler::start(&file(shared(), LOOKED_UP, ""));
    for user in ["reader", "lasting", APP_USER] {
        let password = if user == APP_USER { PASSWORD } else { "r3ader" };
        assert_eq!(login(&pooler, user, password, APP_DATABASE), user);
        check_refused(&login(&pooler, user, "wrong", APP_DATABASE), user);
    }
    // Listed: its secret is the one of the file.
    assert_eq!(login(&pooler, SUPERUSER, PASSWORD, APP_DATABASE), SUPERUSER);
    for user in ["expired", "group_only", "blank", "nobody", "hashed"] {
        check_refused(&login(&pooler, user, "r3ader", APP_DATABASE), user);
    }
    check_refused(&login(&pooler, "reader", "wrong", "nowhere"), "reader");
    let log = pooler.log();
    let expected = "login failed: client to pgweir: password authentication failed: no such user \
                    (user \"nobody\", database \"shop\", method scram-sha-256, from 127.0.0.1)";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn unknown_user_is_never_the_one_who_looks_secrets_up() {
    let port = shared().port();
    let more = format!(
        "[databases.forced]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{APP_DATABASE}\"\n\
         user = \"{SUPERUSER}\"\npassword = \"{PASSWORD}\"\n"
    );
    for method in ["scram-sha-256", "md5", "plain"] {
        let general = format!("auth_type = \"{method}\"\n{LOOKED_UP}");
        let pooler = Pooler::start(&file(shared(), &general, &more));
        for user in ["nobody", "pgweir", "blank"] {
            for password in [PASSWORD, "r3ader", "wrong", ""] {
                // Even where the server would let us in, whoever the client is.
                for database in [APP_DATABASE, "forced"] {
                    let url = pooler.url(user, "x", database);
                    let sql = "select current_user";
                    let ended =
                        psql_with(&url.replace(":x@", "@"), sql, &[("PGPASSWORD", password)]);
                    assert!(!ended.status.success(), "{method} {user} {password:?}: {ended:?}");
                }
            }
        }
        let told = pooler.log();
        assert!(!told.contains("pgweir to server"), "nothing of it reached the server: {told}");
        assert_eq!(login(&pooler, "reader", "r3ader", "forced"), SUPERUSER);
    }
}

#[test]
fn databases_are_named_to_nobody_who_has_not_logged_in() {
    for method in ["scram-sha-256", "md5", "plain"] {
        let general = format!("auth_type = \"{method}\"\n{LOOKED_UP}\nauth_dbname = \"shop\"");
        let pooler = Pooler::start(&file(shared(), &general, ""));
        for database in [APP_DATABASE, "nowhere"] {
            for (user, password) in
                [("reader", "wrong"), ("nobody", "r3ader"), (SUPERUSER, "wrong")]
            {
                check_refused(&login(&pooler, user, password, database), user);
                assert_eq!(asked(&pooler, user, database).0, asked(&pooler, user, "shop").0);
            }
        }
        let said = login(&pooler, "reader", "r3ader", "nowhere");
        assert!(said.ends_with("FATAL:  no such database: nowhere"), "{said}");
    }
}

#[test]
fn name_that_no_role_can_have_is_not_looked_up() {
    let cluster = cluster();
    let server = cluster.primary();
    let (longest, longer) = ("n".repeat(63), "n".repeat(64));
    let sql = format!("CREATE ROLE {longest} LOGIN PASSWORD 'r3ader'; CREATE SEQUENCE look_ups");
    server.sql(APP_DATABASE, &sql).unwrap();
    // It finds whoever begins with the name, and counts.
    let query = "SELECT $1::text, rolpassword FROM pg_authid, \
                 (SELECT nextval('public.look_ups')) counted WHERE rolname = $1::name";
    let general = format!("{LOOKED_UP}\nauth_query = \"{query}\"\nauth_cache_time = 0");
    let pooler = Pooler::start(&file(server, &general, ""));
    check_refused(&login(&pooler, &longer, "r3ader", APP_DATABASE), &longer);
    let count = "SELECT is_called FROM look_ups";
    assert_eq!(server.sql(APP_DATABASE, count).unwrap().trim(), "f");
    assert_eq!(login(&pooler, &longest, "r3ader", APP_DATABASE), longest);
    assert_eq!(server.sql(APP_DATABASE, count).unwrap().trim(), "t");
}

#[test]
fn md5_secrets_of_the_server_serve_both_sides() {
    let general = format!("auth_type = \"md5\"\n{LOOKED_UP}");
    let pooler = Pooler::start(&file(shared(), &general, ""));
    assert_eq!(login(&pooler, "hashed", "r3ader", APP_DATABASE), "hashed");
    check_refused(&login(&pooler, "hashed", "wrong", APP_DATABASE), "hashed");
    // A verifier is asked for by SCRAM.
    assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
}

#[test]
fn look_ups_see_nothing_of_what_clients_have_sent() {
    let query = "SELECT rolname, CASE WHEN current_setting('search_path') = '' AND \
                 current_user = 'postgres' AND session_user = 'postgres' AND \
                 current_setting('application_name') = 'pgweir auth_query' AND \
                 current_setting('statement_timeout') = '0' AND \
                 current_setting('work_mem') = '4MB' THEN rolpassword END \
                 FROM pg_catalog.pg_authid WHERE rolname = $1";
    // A function that would be called instead of the system's, were it found first.
    shared()
        .sql(
            APP_DATABASE,
            "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; \
             CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql AS 'select null::timestamptz'",
        )
        .unwrap();
    for (name, value) in [
        ("search_path", "trap,public"),
        ("role", "app"),
        ("session_authorization", "app"),
        ("statement_timeout", "1"),
        ("application_name", "x'); drop table x; --"),
        ("options", "-c search_path=trap -c work_mem=64kB -c role=app"),
    ] {
        let general = format!("{LOOKED_UP}\nauth_query = \"{query}\"\nauth_cache_time = 0");
        let pooler = Pooler::start(&file(shared(), &general, ""));
        let url = pooler.url("reader", "r3ader", APP_DATABASE);
        let options = match name {
            "options" => value.to_owned(),
            _ => format!("-c {name}={}", value.replace(' ', "\\ ")),
        };
        let ended = psql_with(&url, "select 1", &[("PGOPTIONS", &options)]);
        assert!(!ended.stderr.contains("password authentication failed"), "{}", ended.stderr);
        assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    }
}

#[test]
fn changed_password_works_without_a_restart() {
    let cluster = cluster();
    let server = cluster.primary();
    server.sql(APP_DATABASE, "CREATE ROLE changing LOGIN PASSWORD 'one'").unwrap();
    // Long: nothing of this may depend on the cache running out.
    let general = format!("{LOOKED_UP}\nauth_cache_time = 600");
    let pooler = Pooler::start(&file(server, &general, ""));
    assert_eq!(login(&pooler, "changing", "one", APP_DATABASE), "changing");
    let change = "ALTER ROLE changing PASSWORD 'two'; SELECT pg_terminate_backend(pid) FROM \
                  pg_stat_activity WHERE usename = 'changing'";
    server.sql(APP_DATABASE, change).unwrap();
    // The first attempt shows that the answer is old.
    check_refused(&login(&pooler, "changing", "two", APP_DATABASE), "changing");
    assert_eq!(login(&pooler, "changing", "two", APP_DATABASE), "changing");
    check_refused(&login(&pooler, "changing", "one", APP_DATABASE), "changing");
}

#[test]
fn changed_password_works_at_once_where_the_exchange_allows_it() {
    let rules = ["host all changing 127.0.0.1/32 md5"];
    let cluster = Cluster::builder().hba(&rules).start().unwrap();
    let server = cluster.primary();
    let change = |password: &str| {
        let sql = format!(
            "SET password_encryption = md5; ALTER ROLE changing PASSWORD '{password}'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'"
        );
        server.sql(APP_DATABASE, &sql).unwrap();
    };
    server.sql(APP_DATABASE, "CREATE ROLE changing LOGIN").unwrap();
    for method in ["md5", "plain"] {
        change("one");
        let general = format!("{LOOKED_UP}\nauth_type = \"{method}\"\nauth_cache_time = 600");
        let pooler = Pooler::start(&file(server, &general, ""));
        assert_eq!(login(&pooler, "changing", "one", APP_DATABASE), "changing");
        change("two");
        assert_eq!(login(&pooler, "changing", "two", APP_DATABASE), "changing");
        check_refused(&login(&pooler, "changing", "one", APP_DATABASE), "changing");
        assert_eq!(login(&pooler, "changing", "two", APP_DATABASE), "changing");
    }
}

#[test]
fn look_ups_of_one_user_at_once_are_one() {
    let cluster = cluster();
    let server = cluster.primary();
    let sql = "CREATE ROLE many LOGIN PASSWORD 'many'; CREATE SEQUENCE look_ups";
    server.sql(APP_DATABASE, sql).unwrap();
    let query = "SELECT rolname, rolpassword FROM pg_authid, \
                 (SELECT nextval('public.look_ups'), pg_sleep(0.3)) counted WHERE rolname = $1";
    let general = format!("{LOOKED_UP}\nauth_query = \"{query}\"\nauth_cache_time = \"10min\"");
    let pooler = Pooler::start(&file(server, &general, ""));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(login(&pooler, "many", "many", APP_DATABASE), "many"));
        }
    });
    assert_eq!(server.sql(APP_DATABASE, "SELECT last_value FROM look_ups").unwrap().trim(), "1");
    let own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir auth_query'";
    assert_eq!(server.sql(APP_DATABASE, own).unwrap().trim(), "1");
}

#[test]
fn failing_look_ups_end_in_time_and_say_nothing_of_users() {
    for (query, logged) in [
        ("SELECT $1, pg_sleep(60)", "server did not answer in time"),
        ("SELECT no_such_column, $1::text", "auth_query: pgweir to server: column"),
    ] {
        let general = format!("{LOOKED_UP}\nauth_query = \"{query}\"\nauth_query_timeout = 0.5");
        let pooler = Pooler::start(&file(shared(), &general, ""));
        let said = login(&pooler, "reader", "r3ader", APP_DATABASE);
        assert!(
            said.ends_with("FATAL:  secrets of users can't be looked up at the moment"),
            "{said}"
        );
        assert_eq!(login(&pooler, SUPERUSER, PASSWORD, APP_DATABASE), SUPERUSER);
        assert!(pooler.log().contains(logged), "{}", pooler.log());
    }
}

/// The code of the first AuthenticationXxx that a client of this name gets, and of a SCRAM
/// challenge how often it wants the password to be hashed.
fn asked(pooler: &Pooler, user: &str, database: &str) -> (u32, String) {
    let mut tcp = TcpStream::connect(("127.0.0.1", pooler.port())).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    let mut message = |tag: &[u8], body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        tcp.write_all(&[tag, &length, body].concat()).unwrap();
        let mut header = [0; 9];
        tcp.read_exact(&mut header).unwrap();
        assert_eq!(header[0], b'R');
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut rest = vec![0; word(1) as usize - 8];
        tcp.read_exact(&mut rest).unwrap();
        (word(5), String::from_utf8_lossy(&rest).into_owned())
    };
    let startup = format!("\0\u{3}\0\0user\0{user}\0database\0{database}\0\0");
    let (code, _) = message(b"", startup.as_bytes());
    if code != 10 {
        return (code, String::new());
    }
    let (_, challenge) = message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc");
    (code, challenge.rsplit_once(",i=").unwrap().1.to_owned())
}

#[test]
fn unknown_user_is_asked_for_what_known_ones_are() {
    let listed = |users: &[(&str, &str)]| {
        let secret =
            |(name, secret): &(&str, &str)| format!("[users.{name}]\npassword = \"{secret}\"\n");
        users.iter().map(secret).collect::<String>()
    };
    let rare = Verifier::of_password("r3ader", Iterations::new(5000).unwrap()).to_secret_text();
    let scram = |rounds: &str| (10, rounds.to_owned());
    let md5 = (5, String::new());
    for (general, more, known, expected) in [
        ("", listed(&[("reader", "r3ader")]), "reader", &md5),
        ("", listed(&[("reader", &rare), ("other", &rare)]), "reader", &scram("5000")),
        (LOOKED_UP, String::new(), "reader", &scram("4096")),
        (LOOKED_UP, String::new(), "hashed", &md5),
        (LOOKED_UP, String::new(), "lasting", &scram("4096")),
    ] {
        let pooler =
            Pooler::start(&file(shared(), &format!("auth_type = \"md5\"\n{general}"), &more));
        assert_eq!(asked(&pooler, known, APP_DATABASE), *expected, "{known}");
        assert_eq!(asked(&pooler, "nobody", APP_DATABASE), *expected, "nobody beside {known}");
    }
    // Before anybody was looked up it is what Postgres makes of passwords by itself.
    let pooler = Pooler::start(&file(shared(), &format!("auth_type = \"md5\"\n{LOOKED_UP}"), ""));
    assert_eq!(asked(&pooler, "nobody", APP_DATABASE), scram("4096"));
}

#[test]
fn answer_about_somebody_else_lets_nobody_in() {
    let query = "SELECT 'reader'::text, rolpassword FROM pg_authid WHERE rolname = 'reader' AND \
                 $1::text IS NOT NULL";
    let general = format!("{LOOKED_UP}\nauth_query = \"{query}\"");
    let pooler = Pooler::start(&file(shared(), &general, ""));
    assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    check_refused(&login(&pooler, "nobody", "r3ader", APP_DATABASE), "nobody");
    check_refused(&login(&pooler, "", "r3ader", APP_DATABASE), "root");
}

#[test]
fn secrets_are_looked_up_where_the_database_says() {
    let server = shared();
    server.sql(APP_DATABASE, "CREATE DATABASE secrets").unwrap();
    let sql = "CREATE SCHEMA auth; CREATE TABLE auth.users (name text, secret text); \
               INSERT INTO auth.users VALUES ('reader', 'table')";
    server.sql("secrets", sql).unwrap();
    let more = format!(
        "[databases.secrets]\nhost = \"127.0.0.1\"\nport = {}\n\
         [databases.other]\nhost = \"127.0.0.1\"\nport = {}\ndbname = \"{APP_DATABASE}\"\n\
         user = \"{APP_USER}\"\npassword = \"{PASSWORD}\"\nauth_user = \"postgres\"\n\
         auth_dbname = \"secrets\"\nauth_query = \"SELECT name, secret FROM auth.users WHERE name = $1\"\n",
        server.port(),
        server.port()
    );
    let pooler = Pooler::start(&file(server, "", &more));
    // Its user on the server is another one, and what it has shown is not tried there.
    assert_eq!(login(&pooler, "reader", "table", "other"), APP_USER);
    check_refused(&login(&pooler, "reader", "table", APP_DATABASE), "reader");
}

#[test]
fn stored_verifier_alone_logs_in_on_both_sides() {
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'reader'";
    let verifier = shared().sql(APP_DATABASE, verifier).unwrap();
    let list = NamedTempFile::new().unwrap();
    fs::write(list.path(), format!("\"reader\" \"{}\"\n", verifier.trim())).unwrap();
    let general = format!("auth_file = \"{}\"", list.path().display());
    let pooler = Pooler::start(&file(shared(), &general, ""));
    assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    check_refused(&login(&pooler, "reader", "wrong", APP_DATABASE), "reader");
    assert!(!pooler.log().contains("SCRAM-SHA-256$"));
}

#[test]
fn url_alone_lets_other_users_in_where_it_may_look_up_their_secrets() {
    let url = shared().url(SUPERUSER, PASSWORD, APP_DATABASE);
    let pooler = Pooler::start_with(&["--url", &url, "--port", "0", "--http", ""]);
    assert_eq!(login(&pooler, SUPERUSER, PASSWORD, APP_DATABASE), SUPERUSER);
    assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    check_refused(&login(&pooler, "nobody", "r3ader", APP_DATABASE), "nobody");
    assert!(pooler.log().contains("every user of the server can log in"), "{}", pooler.log());
    let url = shared().url(APP_USER, PASSWORD, APP_DATABASE);
    let pooler = Pooler::start_with(&["--url", &url, "--port", "0", "--http", ""]);
    assert_eq!(login(&pooler, APP_USER, PASSWORD, APP_DATABASE), APP_USER);
    check_refused(&login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    assert!(pooler.log().contains("app may not read pg_authid"), "{}", pooler.log());
}

#[test]
fn each_url_of_a_list_is_a_database() {
    let roles = "CREATE ROLE second LOGIN PASSWORD 's3cond'; CREATE DATABASE second OWNER second";
    let (one, other) = (shared(), cluster());
    other.primary().sql("postgres", &roles.replace("; ", ";\n")).unwrap();
    let urls = format!(
        "{},{}",
        one.url(APP_USER, PASSWORD, APP_DATABASE),
        other.primary().url("second", "s3cond", "second")
    );
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.args(["--port", "0", "--http", ""]).env("DATABASE_URLS", urls);
    let pooler = Pooler::spawn(&mut command);
    assert_eq!(login(&pooler, APP_USER, PASSWORD, APP_DATABASE), APP_USER);
    assert_eq!(login(&pooler, "second", "s3cond", "second"), "second");
    check_refused(&login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    let log = pooler.log();
    assert!(log.contains("servers from the environment: DATABASE_URLS"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("s3cond"), "{log}");
}

#[test]
fn rules_decide_who_is_asked_for_what() {
    let rules = NamedTempFile::new().unwrap();
    let text = "host all blank samehost trust\n\
                host all lasting all reject\n\
                hostssl all reader all trust\n\
                host shop reader 127.0.0.0 255.0.0.0 scram-sha-256\n\
                host sameuser,pgweir postgres all password\n";
    fs::write(rules.path(), text).unwrap();
    let general = format!(
        "auth_type = \"hba\"\nauth_hba_file = \"{}\"\n{LOOKED_UP}\nadmin_users = [\"postgres\"]",
        rules.path().display()
    );
    let pooler = Pooler::start(&file(shared(), &general, ""));
    // Trusted by us; the server asks for a password that nobody has given.
    let said = login(&pooler, "blank", "", APP_DATABASE);
    assert!(said.contains("no password is known for user \"blank\""), "{said}");
    assert_eq!(login(&pooler, "reader", "r3ader", APP_DATABASE), "reader");
    check_refused(&login(&pooler, "reader", "wrong", APP_DATABASE), "reader");
    for (user, database) in
        [("lasting", APP_DATABASE), ("reader", "other"), (SUPERUSER, APP_DATABASE)]
    {
        let said = login(&pooler, user, PASSWORD, database);
        assert!(said.ends_with("FATAL:  login rejected"), "{user}: {said}");
    }
    let version = psql_rows(&pooler.url(SUPERUSER, PASSWORD, "pgweir"), "SHOW VERSION");
    assert!(version.contains("pgweir"), "{version}");
    eventually("the log names the rule", LIMIT, || {
        let rule = format!("rule {}:2 (user \"lasting\"", rules.path().display());
        let none = "no rule lets it in (user \"reader\", database \"other\", method reject";
        pooler.log().contains(&rule) && pooler.log().contains(none)
    });
}

#[test]
fn rules_stand_in_the_file_itself_too() {
    let more = "[[hba]]\ntype = \"host\"\nuser = [\"reader\"]\naddress = \"127.0.0.1/32\"\n\
                method = \"reject\"\n[[hba]]\ntype = \"host\"\nmethod = \"scram-sha-256\"\n";
    let general = format!("auth_type = \"hba\"\n{LOOKED_UP}");
    let pooler = Pooler::start(&file(shared(), &general, more));
    assert_eq!(login(&pooler, "lasting", "r3ader", APP_DATABASE), "lasting");
    assert!(login(&pooler, "reader", "r3ader", APP_DATABASE).ends_with("login rejected"));
}

#[test]
fn user_of_the_system_is_who_its_socket_says() {
    let us = std::process::Command::new("id").arg("-un").output().unwrap();
    let us = String::from_utf8(us.stdout).unwrap().trim().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let map = NamedTempFile::new().unwrap();
    fs::write(map.path(), format!("os {us} {APP_USER}\nos {us} nobody\nos other postgres\n"))
        .unwrap();
    let general = format!(
        "auth_type = \"hba\"\nauth_ident_file = \"{}\"\nunix_socket_dir = \"{directory}\"\n{LOOKED_UP}",
        map.path().display()
    );
    let more = format!(
        "[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n[[hba]]\ntype = \"local\"\n\
         method = \"peer\"\nmap = \"os\"\n[[hba]]\ntype = \"host\"\nmethod = \"reject\"\n"
    );
    let pooler = Pooler::start(&file(shared(), &general, &more));
    let url = |user: &str| {
        let port = pooler.port();
        format!("host={directory} port={port} user={user} dbname={APP_DATABASE}")
    };
    assert_eq!(psql_rows(&url(APP_USER), "select current_user"), APP_USER);
    // Not mapped, mapped for somebody else, and mapped but unknown.
    for user in ["reader", SUPERUSER, "nobody"] {
        let ended = psql(&url(user), "select 1");
        let expected = format!("FATAL:  Peer authentication failed for user \"{user}\"");
        assert!(ended.stderr.trim_end().ends_with(&expected), "{}", ended.stderr);
    }
    assert!(login(&pooler, APP_USER, PASSWORD, APP_DATABASE).ends_with("login rejected"));
    let reason = format!("the other end of the socket is {us:?}, who may not be this user");
    assert!(pooler.log().contains(&reason), "{}", pooler.log());
}

/// Texts of printable ASCII: all of it once, and some by lot, the same at each run.
fn passwords() -> Vec<String> {
    let printable: Vec<char> = (' '..='~').collect();
    let mut passwords = vec![printable.iter().collect::<String>()];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 1_000_003).unwrap() % below
    };
    for _ in 0..8 {
        let length = 1 + random(40);
        passwords.push((0..length).map(|_| printable[random(printable.len())]).collect());
    }
    passwords
}

#[test]
fn any_printable_password_goes_through_url_and_file() {
    let cluster = cluster();
    let server = cluster.primary();
    let list = NamedTempFile::new().unwrap();
    let mut listed = String::new();
    for (number, password) in passwords().iter().enumerate() {
        let quoted = password.replace('\'', "''");
        let sql = format!("CREATE ROLE any{number} LOGIN PASSWORD '{quoted}'");
        server.sql(APP_DATABASE, &sql).unwrap();
        listed += &format!("\"any{number}\" \"{}\"\n", password.replace('"', "\"\""));
    }
    fs::write(list.path(), listed).unwrap();
    let general = format!("auth_file = \"{}\"", list.path().display());
    let pooler = Pooler::start(&file(server, &general, ""));
    for (number, password) in passwords().iter().enumerate() {
        let user = format!("any{number}");
        let ask = |pooler: &Pooler| {
            let port = pooler.port();
            let url = format!("host=127.0.0.1 port={port} user={user} dbname={APP_DATABASE}");
            let ended = psql_with(&url, "select current_user", &[("PGPASSWORD", password)]);
            assert_eq!(ended.stdout.trim(), user, "{password:?}: {}", ended.stderr);
            assert!(!pooler.log().contains(password.as_str()) || password.len() < 4);
        };
        ask(&pooler);
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("postgres://{user}:{encoded}@127.0.0.1:{}/{APP_DATABASE}", server.port());
        ask(&Pooler::start_with(&["--url", &url, "--port", "0", "--http", ""]));
    }
}
