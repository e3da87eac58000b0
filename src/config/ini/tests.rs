//! What becomes of an ini, from outside.

mod generated;

use std::io;
use std::path::Path;

use super::super::{AuthType, Environment, PoolMode};
use super::{Converted, Files, Loaded, Weight, convert, load};
use crate::config::{Config, LoadBalance, Problems};

const FILES: Files<'_> = Files { password_file: "passwords", auth_file: None };

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn read(text: &str) -> Result<Loaded, Problems> {
    load("pgbouncer.ini", text, &no_file, &Environment::default())
}

#[track_caller]
fn config(text: &str) -> Config {
    match read(text) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// The problems of an ini, one per line.
#[track_caller]
fn problems(text: &str) -> String {
    read(text).expect_err("must not load").to_string()
}

fn remarks(text: &str) -> Vec<(Weight, String)> {
    let remarks = read(text).unwrap_or_else(|problems| panic!("{problems}")).remarks;
    remarks.into_iter().map(|remark| (remark.weight, remark.text)).collect()
}

#[track_caller]
fn converted(text: &str) -> Converted {
    convert("pgbouncer.ini", text, &no_file, FILES).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn defaults_are_those_of_pgbouncer() {
    let config = config("[databases]\nshop = host=db\n");
    let general = &config.general;
    assert_eq!(general.listen_addr, Vec::<String>::new());
    assert_eq!(general.listen_port, 6432);
    assert_eq!(general.unix_socket_dir.as_deref(), Some("/tmp"));
    assert_eq!(general.pool_mode, PoolMode::Session);
    assert_eq!((general.max_client_conn, general.default_pool_size), (100, 20));
    assert_eq!(general.auth_type, AuthType::Md5);
    assert!(general.log_connections && general.log_disconnections);
    assert_eq!(general.http_listen, None);
    assert_eq!(general.server_reset_query, "DISCARD ALL");
    let shop = &config.databases["shop"];
    assert_eq!((&*shop.host, shop.port, &*shop.dbname), ("db", 5432, "shop"));
}

/// PgBouncer 1.25's own list, by its console; of each default only those that its documentation
/// and ours give in the same form.
#[test]
fn defaults_that_are_not_set_are_ours_already() {
    use super::super::keys::GENERAL;
    use super::super::model::General;
    let ours = General::default();
    for key in super::theirs::GENERAL.iter() {
        let known = GENERAL.iter().flat_map(|group| group.keys).find(|ours| ours.name == key.name);
        assert_eq!(known.is_some(), key.absence().is_none(), "{}", key.name);
        if let Some(known) = known
            && matches!(key.way, super::theirs::Way::OursByDefault)
        {
            let differs = ["listen_backlog", "pool_idle_timeout"].contains(&known.name);
            assert!((known.get)(&ours).plain() == key.default || differs, "{}", key.name);
        }
    }
}

#[test]
fn connection_strings_become_databases() {
    let config = config(
        "[pgbouncer]\nunix_socket_dir = /run/pg\n[databases]\n\
         plain =\n\
         ; a comment\n\
         # another\n\
         all = host=10.0.0.1 port=5433 dbname='my db' user=app password='it''s' pool_size=7 \
               min_pool_size=2 reserve_pool=3 pool_mode=Statement connect_query='select ''x y''' \
               query_wait_timeout=1.5 max_db_connections=9 max_db_client_connections=90 \
               server_lifetime=60 client_encoding=UTF8 datestyle=ISO timezone=UTC \
               application_name=x\n\
         \"two words\" = host=a,b\n\
         first = host=a,b load_balance_hosts=disable\n\
         * = host=any\n",
    );
    let plain = &config.databases["plain"];
    assert_eq!((&*plain.host, &*plain.dbname), ("/run/pg", "plain"));
    let all = &config.databases["all"];
    assert_eq!((&*all.host, all.port, &*all.dbname), ("10.0.0.1", 5433, "my db"));
    assert_eq!(all.user.as_deref(), Some("app"));
    assert_eq!(all.password.as_ref().map(|secret| secret.expose()), Some("it's"));
    assert_eq!(
        (all.pool_size, all.min_pool_size, all.reserve_pool_size),
        (Some(7), Some(2), Some(3))
    );
    assert_eq!(all.pool_mode, Some(PoolMode::Statement));
    assert_eq!(all.connect_query.as_deref(), Some("select 'x y'"));
    assert_eq!(all.query_wait_timeout.map(|time| time.as_millis()), Some(1500));
    assert_eq!((all.max_db_connections, all.max_db_client_connections), (Some(9), Some(90)));
    assert_eq!(all.server_lifetime.map(|time| time.as_secs()), Some(60));
    assert_eq!(all.client_encoding.as_deref(), Some("UTF8"));
    assert_eq!((all.datestyle.as_deref(), all.timezone.as_deref()), (Some("ISO"), Some("UTC")));
    assert_eq!(all.application_name.as_deref(), Some("x"));
    let balance = |name: &str| config.databases[name].load_balance_hosts;
    assert_eq!(balance("two words"), Some(LoadBalance::RoundRobin));
    assert_eq!(balance("first"), Some(LoadBalance::Disable));
    assert_eq!(config.database("whatever").map(|any| any.host.clone()), Some("any".to_owned()));
}

#[test]
fn users_have_their_settings() {
    let config = config(
        "[databases]\na = host=x\n[users]\napp = pool_size=3 pool_mode=transaction \
         max_user_connections=5 max_user_client_connections=6 query_timeout=7 \
         query_wait_timeout=0 idle_transaction_timeout=8 transaction_timeout=9 \
         client_idle_timeout=10 reserve_pool_size=1\n",
    );
    let app = &config.users["app"];
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs());
    assert_eq!((app.pool_size, app.reserve_pool_size), (Some(3), Some(1)));
    assert_eq!(app.pool_mode, Some(PoolMode::Transaction));
    assert_eq!((app.max_user_connections, app.max_user_client_connections), (Some(5), Some(6)));
    assert_eq!(seconds(app.query_timeout), Some(7));
    assert_eq!(app.query_wait_timeout, Some(None));
    assert_eq!(seconds(app.idle_transaction_timeout), Some(8));
    assert_eq!(seconds(app.transaction_timeout), Some(9));
    assert_eq!(seconds(app.client_idle_timeout), Some(10));
}

#[test]
fn the_last_line_counts_and_all_sections_do() {
    let text = "[pgbouncer]\nmax_client_conn = 5\npool_mode = transaction\n\
                [databases]\nshop = host=a pool_size=3\nshop = host=b\n\
                [pgbouncer]\nmax_client_conn = 7\n";
    let config = config(text);
    assert_eq!(config.general.max_client_conn, 7);
    assert_eq!(config.general.pool_mode, PoolMode::Transaction);
    assert_eq!(config.databases["shop"].host, "b");
    assert_eq!(config.databases["shop"].pool_size, None);
    let toml = converted(text).toml;
    let line =
        "# pgbouncer.ini:2: max_client_conn = 5: not needed: pgbouncer.ini:8 says it again\n";
    assert!(toml.contains(line), "{toml}");
}

#[test]
fn included_files_are_read_in_their_place() {
    let files = |path: &Path| match path.to_str() {
        Some("db.ini") => Ok("[databases]\nshop = host=db\n%include deep.ini".to_owned()),
        Some("deep.ini") => Ok("blog = host=db pool_size=x\n".to_owned()),
        Some("loop.ini") => Ok("%include loop.ini".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let text = "[pgbouncer]\n  %include\tdb.ini  \r\nlast = host=db\n";
    let error = load("a.ini", text, &files, &Environment::default()).unwrap_err().to_string();
    let line = "deep.ini:1: databases.blog.pool_size: must be a whole number, 0 to 1000000, not \
                this text";
    assert_eq!(error, line, "and `last` is a database");
    let text = "%include loop.ini";
    let error = load("a.ini", text, &files, &Environment::default()).unwrap_err().to_string();
    let line = "loop.ini:1: %include: more than 10 files deep (does a file include itself?)";
    assert_eq!(error, line);
    let line = "pgbouncer.ini:1: %include: none.ini can't be read: entity not found (a relative path \
                starts in the current directory)";
    assert_eq!(problems("%include none.ini"), line);
}

#[test]
fn all_problems_are_told_with_their_lines() {
    let text = "\
max_client_conn = 1
[pgbouncer]
listen_port = 99999
pool_mode = transacton
max_clinet_conn = 5
no equals sign
pool_size = 5
replicas = x
workers = 2
auth_type = pam
[nonsense]
x = y
[databases]
a = host=x prot=5
b = host=x check_user=y
c = host
d = host=x port=0
e = host=x reserve_pool=-1
pgbouncer = host=x
f = host=@abstract
[users]
u = pool_mood=session
[peers]
1 = hots=x
";
    let expected = "\
pgbouncer.ini:1: stands in no section (put [pgbouncer] above it, or [databases])
pgbouncer.ini:6: must be key = value
pgbouncer.ini:11: unknown section (there are [pgbouncer], [databases], [users], [peers])
pgbouncer.ini:5: max_clinet_conn: unknown key (did you mean `max_client_conn`?)
pgbouncer.ini:7: pool_size: unknown key (a key of a database: it stands on the database's line)
pgbouncer.ini:8: replicas: unknown key (a key of a database: it stands on the database's line)
pgbouncer.ini:9: workers: unknown key (a key of pgweir's own: set PGWEIR_WORKERS in the environment, or let `pgweir convert` make a file that can have it)
pgbouncer.ini:14: databases.a.prot: unknown key (did you mean `port`?)
pgbouncer.ini:15: databases.b.check_user: unknown key (a key of pgweir's own: `pgweir convert` makes a file that can have it)
pgbouncer.ini:16: databases.c: pair 1 must be key=value (values with spaces stand in single quotes, ' inside as '')
pgbouncer.ini:20: databases.f.host: servers on abstract unix sockets can't be reached
pgbouncer.ini:22: users.u.pool_mood: unknown key (did you mean `pool_mode`?)
pgbouncer.ini:24: peers.1.hots: unknown key (did you mean `host`?)
pgbouncer.ini:3: listen_port: must be from 0 to 65535, not 99999
pgbouncer.ini:4: pool_mode: must be \"session\", \"transaction\" or \"statement\", not \"transacton\" (did you mean \"transaction\"?)
pgbouncer.ini:10: auth_type: \"pam\" is left out on purpose (use \"scram-sha-256\", or \"hba\" with `cert` or `peer`)
pgbouncer.ini:17: databases.d.port: must be from 1 to 65535, not 0
pgbouncer.ini:18: databases.e.reserve_pool: must be from 0 to 1000000, not -1
pgbouncer.ini:19: databases.pgbouncer: the console has this name (give the database another name, and its own in dbname)";
    assert_eq!(problems(text), expected);
}

#[test]
fn what_differs_is_remarked_once_with_its_effect() {
    let text = "[pgbouncer]\npkt_buf = 8192\nscram_iterations = 9000\nstats_period = 60\n\
                peer_id = 0\nserver_lifetime = 0\nmin_pool_size = 30\n\
                client_tls_protocols = tlsv1.1,tlsv1.2\nserver_tls_ciphers = HIGH:!aNULL\n\
                log_stats = 0\nlog_connections = 1\n[databases]\na = host=x\n[peers]\n1 = host=y\n";
    let (config, remarks) = (config(text), remarks(text));
    let expected = [
        (Weight::Note, "2: pkt_buf: not needed: buffers are borrowed while bytes flow"),
        (
            Weight::Warning,
            "3: scram_iterations: not supported: plain passwords are proven with 4096 iterations",
        ),
        (
            Weight::Warning,
            "6: server_lifetime: 1 ms, which is over after one use, as 0 means in PgBouncer (0 is \
             no limit here)",
        ),
        (
            Weight::Warning,
            "7: min_pool_size: lowered to the pool's size, 20, which PgBouncer does not exceed \
             either",
        ),
        (Weight::Warning, "8: client_tls_protocols: versions of TLS below 1.2 are not spoken"),
        (
            Weight::Warning,
            "9: server_tls_ciphers: not supported: all suites of pgweir are offered, which are \
             those with AES-GCM or ChaCha20 and forward secrecy",
        ),
        (Weight::Note, "10: log_stats: not needed: figures are never in the log"),
        (
            Weight::Warning,
            "15: peers.1: not supported: a cancel request is not passed on to other processes; \
             one process uses all cores",
        ),
    ];
    let expected: Vec<_> = expected
        .map(|(weight, text)| (weight, format!("pgbouncer.ini:{text}")))
        .into_iter()
        .collect();
    assert_eq!(remarks, expected);
    assert_eq!(config.general.min_pool_size, 20);
    assert_eq!(config.general.client_tls_protocols.name(), "tlsv1.2");
    assert_eq!(config.general.server_lifetime.map(|time| time.as_millis()), Some(1));
}

#[test]
fn default_of_pgbouncer_that_means_something_else_is_remarked() {
    let text = "[pgbouncer]\nlog_stats = 1\nstats_period = 60\n[databases]\na = host=x\n";
    let told = "pgbouncer.ini:2: log_stats: not supported: figures are in SHOW STATS and /metrics, and no \
                lines with them are in the log";
    assert_eq!(remarks(text), [(Weight::Warning, told.to_owned())]);
}

#[test]
fn zero_means_what_it_means_in_pgbouncer() {
    let config = config(
        "[pgbouncer]\nclient_login_timeout = 0\nserver_connect_timeout = 0\n\
         cancel_wait_timeout = 0\nserver_login_retry = 0\nquery_wait_timeout = 0\n\
         server_idle_timeout = 0\nreserve_pool_timeout = 0\nserver_check_query =\n\
         autodb_idle_timeout = 0\ndefault_pool_size = 0\nmax_client_conn = 70\n\
         [databases]\na = host=x server_lifetime=0\n",
    );
    let general = &config.general;
    let times =
        [general.client_login_timeout, general.server_connect_timeout, general.cancel_wait_timeout];
    assert!(times.iter().all(|time| time.as_secs() == 3600));
    assert_eq!(general.server_login_retry.as_millis(), 1);
    assert_eq!((general.query_wait_timeout, general.server_idle_timeout), (None, None));
    assert!(general.reserve_pool_timeout.is_zero());
    assert_eq!(general.autodb_idle_timeout, None);
    assert!(general.server_check_delay.as_secs() > 300_000_000);
    assert_eq!(general.default_pool_size, 70);
    assert_eq!(config.databases["a"].server_lifetime.map(|time| time.as_millis()), Some(1));
}

#[test]
fn values_that_are_set_meanwhile_are_read_as_those_of_the_file() {
    let text = "[pgbouncer]\ndefault_pool_size = 5\n[databases]\na = host=x\n";
    let environment = [("PGWEIR_SERVER_LIFETIME".to_owned(), "9".to_owned())];
    let load = |set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment = Environment::new(environment.clone()).with(set);
        load("pgbouncer.ini", text, &no_file, &environment)
    };
    let Loaded { config, notes, remarks } = load(&[
        ("cancel_wait_timeout", "0"),
        ("min_pool_size", "6"),
        ("pool_mode", "Statement"),
        ("query_wait_timeout", "200ms"),
        ("server_check_query", ""),
        ("server_lifetime", "0"),
        ("workers", "2"),
    ])
    .unwrap();
    let general = &config.general;
    assert_eq!(general.cancel_wait_timeout.as_secs(), 3600);
    assert_eq!((general.min_pool_size, general.pool_mode), (5, PoolMode::Statement));
    assert_eq!(general.query_wait_timeout.map(|time| time.as_millis()), Some(200));
    assert!(general.server_check_delay.as_secs() > 300_000_000);
    assert_eq!(general.server_lifetime.map(|time| time.as_millis()), Some(1));
    assert_eq!(general.workers, Some(2));
    let noted: Vec<&str> = notes.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(noted, ["cancel_wait_timeout", "min_pool_size", "server_lifetime"]);
    assert_eq!(remarks, []);
    let wrong = load(&[("pool_mode", "sessoin"), ("max_client_conn", "many")]).unwrap_err();
    let told = "SET: pool_mode: must be \"session\", \"transaction\" or \"statement\", not \"sessoin\"\n\
                SET: max_client_conn: must be a whole number, 1 to 1000000, not this text";
    assert_eq!(wrong.to_string(), told);
}

#[test]
fn look_ups_go_to_a_database_that_the_star_stands_for() {
    let config = config(
        "[pgbouncer]\nauth_user = asks\nauth_dbname = postgres\n[databases]\n* = host=x port=5433\n",
    );
    let made = &config.databases["postgres"];
    assert_eq!((&*made.host, made.port, &*made.dbname), ("x", 5433, "postgres"));
    let alone = problems("[pgbouncer]\nauth_dbname = postgres\n[databases]\na = host=x\n");
    assert!(alone.contains("there is no [databases.postgres]"), "{alone}");
}

#[test]
fn secrets_of_an_ini_are_neither_shown_nor_lost() {
    let text = "[databases]\na = host=x password='s3cret ''1''' user=u\n\
                b = host=y password=s3cret2 password=s3cret3\na2 = host=x\n\
                b = host=y password=s3cret4\n";
    let Converted { toml, passwords, remarks, .. } = converted(text);
    assert!(!toml.contains("s3cret") && toml.contains("password_file = \"passwords\"\n"), "{toml}");
    assert!(!format!("{remarks:?}").contains("s3cret"));
    let passwords = passwords.map(|secret| secret.expose().to_owned());
    let expected = "\"a\" \"s3cret '1'\"\n\"b\" \"s3cret4\"\n";
    assert_eq!(passwords.as_deref(), Some(expected));
    for broken in
        ["a = host=x password='s3cret", "a = host=x password=s3cret s3cret", "s3cret s3cret"]
    {
        let told = problems(&format!("[databases]\n{broken}"));
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn suites_of_tls_are_kept_as_far_as_there_are_any() {
    let cases = [
        ("default", vec![], None),
        ("fast", vec![], Some(Weight::Note)),
        ("HIGH:MEDIUM:+3DES:!aNULL", vec![], Some(Weight::Warning)),
        ("AES256-SHA", vec![], Some(Weight::Warning)),
        (
            "ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA",
            vec!["ECDHE-RSA-AES256-GCM-SHA384"],
            Some(Weight::Warning),
        ),
        ("ECDHE-RSA-AES256-GCM-SHA384", vec!["ECDHE-RSA-AES256-GCM-SHA384"], None),
    ];
    for (value, suites, weight) in cases {
        let text = format!("[pgbouncer]\nserver_tls_ciphers = {value}\n[databases]\na = host=x\n");
        assert_eq!(config(&text).general.server_tls_ciphers, suites, "{value}");
        assert_eq!(remarks(&text).first().map(|(weight, _)| *weight), weight, "{value}");
    }
}

#[test]
fn list_of_users_beside_the_ini_takes_the_place_of_its_own() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "\"app\" \"s3cret\"\n").unwrap();
    let path = list.path().display().to_string();
    let files = Files { auth_file: Some(&path), ..FILES };
    let text = "[pgbouncer]\nauth_file = /nowhere\n[databases]\na = host=x\n";
    let toml = convert("pgbouncer.ini", text, &no_file, files).unwrap().toml;
    assert!(toml.contains(&format!("# command line: auth_file = {path}: converted\n")), "{toml}");
    let before = "pgbouncer.ini:2: auth_file = /nowhere: not needed: command line says it again";
    assert!(toml.contains(before), "{toml}");
    let config = Config::from_toml_str("pooler.toml", &toml).unwrap();
    assert!(config.users.contains_key("app") && !toml.contains("s3cret"));
    let files = Files { auth_file: Some("/nowhere/at/all"), ..FILES };
    let told = convert("pgbouncer.ini", text, &no_file, files).unwrap_err().to_string();
    assert!(told.starts_with("command line: auth_file: /nowhere/at/all can't be read"), "{told}");
}

#[test]
fn no_database_is_no_problem_but_remarked() {
    let told = remarks("[pgbouncer]\nlisten_addr = 127.0.0.1\n");
    let text = "pgbouncer.ini: there is no database: clients can reach the console alone (a \
                pooler.toml must have one)";
    assert_eq!(told, [(Weight::Warning, text.to_owned())]);
}
