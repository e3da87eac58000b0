//! PgBouncer's ini, run and converted: what a team has that swaps the binary.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, Ended, LIMIT, PASSWORD, Pooler, cluster, eventually, psql,
    psql_rows,
};
use crate::wire::Client;

/// Runs `pgweir` with these arguments to its end.
fn pgweir(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.args(arguments);
    pgweir::demo::cluster::run(&mut command, "", LIMIT).unwrap()
}

/// Files that an ini names, in a folder of their own.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn shown(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Sixty keys and more, three databases, `*`, users, peers, rules and maps.
fn whole(cluster: &Cluster, folder: &Path) -> String {
    let (port, path) = (cluster.primary().port(), folder.display());
    format!(
        "\
;; who is pooled
[databases]
{APP_DATABASE} = host=127.0.0.1 port={port} pool_size=4 min_pool_size=1 reserve_pool=2
forced = host=127.0.0.1 port={port} dbname={APP_DATABASE} user={APP_USER} password='{PASSWORD}' \
    connect_query='SELECT ''hello'''
session = host=127.0.0.1 port={port} dbname={APP_DATABASE} pool_mode=session \
    max_db_connections=3 application_name=of_the_ini timezone='Europe/Berlin'
* = host=127.0.0.1 port={port}

[users]
{APP_USER} = max_user_connections=9 query_wait_timeout=60

[peers]
2 = host={path}/other

[pgbouncer]
logfile = {path}/pgbouncer.log
pidfile = {path}/pgbouncer.pid
listen_addr = 127.0.0.1
listen_port = 0
unix_socket_dir = {path}
unix_socket_mode = 0700
auth_type = hba
auth_hba_file = {path}/hba.conf
auth_ident_file = {path}/ident.conf
auth_file = {path}/userlist.txt
admin_users = boss, {APP_USER}
stats_users = stats
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 25
min_pool_size = 0
reserve_pool_size = 5
reserve_pool_timeout = 3.5
max_db_connections = 50
max_db_client_connections = 900
max_user_connections = 40
max_user_client_connections = 800
server_round_robin = 1
track_extra_parameters = IntervalStyle, search_path
ignore_startup_parameters = extra_float_digits
max_prepared_statements = 100
peer_id = 1
application_name_add_host = 0
stats_period = 60
query_wait_notify = 5
server_reset_query = DISCARD ALL
server_reset_query_always = 0
server_check_delay = 30
server_check_query = select 1
server_fast_close = 0
server_lifetime = 3600
server_idle_timeout = 600
server_connect_timeout = 15
server_login_retry = 15
client_login_timeout = 60
client_idle_timeout = 0
autodb_idle_timeout = 3600
dns_max_ttl = 15
dns_nxdomain_ttl = 15
query_timeout = 0
query_wait_timeout = 120
cancel_wait_timeout = 10
idle_transaction_timeout = 0
transaction_timeout = 0
suspend_timeout = 10
client_tls_sslmode = disable
server_tls_sslmode = prefer
server_tls_protocols = secure
server_tls_ciphers = default
pkt_buf = 4096
max_packet_size = 2147483647
listen_backlog = 128
sbuf_loopcnt = 5
so_reuseport = 0
tcp_defer_accept = 1
tcp_keepalive = 1
tcp_keepcnt = 3
tcp_keepidle = 60
tcp_keepintvl = 10
tcp_user_timeout = 30000
log_connections = 1
log_disconnections = 1
log_pooler_errors = 1
log_stats = 0
verbose = 0
%include {path}/more.ini
"
    )
}

fn files() -> tempfile::TempDir {
    let users = format!("\"{APP_USER}\" \"{PASSWORD}\"\n\"boss\" \"b0ss\" \"\"\n; nobody\n");
    folder(&[
        ("userlist.txt", &users),
        ("hba.conf", "local all all peer map=os\nhost all all 127.0.0.1/32 scram-sha-256\n"),
        ("ident.conf", "os root boss\n"),
        ("more.ini", "syslog = 0\nscram_iterations = 4096\n"),
    ])
}

/// What a pooler goes by, as its console has it.
fn settings(pooler: &Pooler) -> Vec<String> {
    let rows = psql_rows(&pooler.url("boss", "b0ss", "pgbouncer"), "SHOW CONFIG");
    let apart = ["password_file|", "listen_port|"];
    let rows = rows.lines().filter(|row| !apart.iter().any(|key| row.starts_with(key)));
    rows.map(str::to_owned).collect()
}

fn databases(pooler: &Pooler) -> String {
    let rows = psql_rows(&pooler.url("boss", "b0ss", "pgbouncer"), "SHOW DATABASES");
    // How many connections there are depends on the moment.
    let same = |row: &str| {
        let kept = row.split('|').enumerate().filter(|(index, _)| ![12, 14].contains(index));
        kept.map(|(_, value)| value.to_owned()).collect::<Vec<_>>().join("|")
    };
    rows.lines().map(same).collect::<Vec<_>>().join("\n")
}

/// What clients see of it.
fn use_it(pooler: &Pooler) {
    let ask = |database: &str, sql: &str| psql_rows(&pooler.url(APP_USER, PASSWORD, database), sql);
    for database in [APP_DATABASE, "forced", "session"] {
        assert_eq!(ask(database, "SELECT current_database()"), APP_DATABASE);
    }
    assert_eq!(ask("postgres", "SELECT current_database()"), "postgres", "by *");
    assert_eq!(ask("session", "SHOW timezone"), "Europe/Berlin");
    let wrong = psql(&pooler.url(APP_USER, "wrong", APP_DATABASE), "SELECT 1");
    assert!(wrong.stderr.contains("password authentication failed"), "{}", wrong.stderr);
}

#[test]
fn whole_ini_runs_unchanged_and_converts_with_a_complete_report() {
    let cluster = cluster();
    let files = files();
    let ini = whole(&cluster, files.path());
    let path = shown(files.path(), "pgbouncer.ini");
    fs::write(&path, &ini).unwrap();

    let pooler = Pooler::start_with(&[&path]);
    use_it(&pooler);
    let (settings_of_ini, databases_of_ini) = (settings(&pooler), databases(&pooler));
    let log = fs::read_to_string(files.path().join("pgbouncer.log")).unwrap();
    let at = 1 + ini.lines().position(|line| line.starts_with("2 = ")).unwrap();
    let line = format!("{path}:{at}: peers.2: not supported: a cancel request is not passed on");
    assert!(log.contains(&line), "{log}");
    assert_eq!(log.matches(" WARN ").count(), 3, "peers, peer_id, and the wrong password: {log}");
    assert!(pooler.stop().success());

    let toml = shown(files.path(), "pooler.toml");
    let converted = pgweir(&["convert", &path, "--output", &toml]);
    assert!(converted.status.success(), "{}", converted.stderr);
    assert!(converted.stdout.is_empty());
    let text = fs::read_to_string(&toml).unwrap();
    for text in [&text, &converted.stderr] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    let ended = ["converted", "pgweir's default", "not needed", "NOT SUPPORTED"];
    // Each with its place, those that stand in one line and those of the file that is included.
    let mut wanted: Vec<(String, String)> = Vec::new();
    let more = fs::read_to_string(files.path().join("more.ini")).unwrap();
    for (file, content) in [("pgbouncer.ini", &ini), ("more.ini", &more)] {
        for (number, line) in content.lines().enumerate() {
            let Some((key, value)) = line.split_once(" = ") else { continue };
            let place = format!("{}:{}: ", shown(files.path(), file), number + 1);
            let words = value.split_whitespace().filter_map(|word| word.split_once('='));
            match words.clone().next() {
                None => wanted.push((place, format!("{key} = "))),
                Some(_) if key == "2" => wanted.push((place, format!("[peers] {key} = "))),
                Some(_) => {
                    wanted.extend(words.map(|(key, _)| (place.clone(), format!("{key} = "))));
                }
            }
        }
    }
    assert!(wanted.len() > 80, "{}", wanted.len());
    for (place, key) in &wanted {
        let said = text.lines().find(|said| said.contains(&format!("{place}{key}")));
        let is_said = said.is_some_and(|said| ended.iter().any(|end| said.contains(end)));
        assert!(is_said, "{place}{key}: {said:?}\n{text}");
    }
    let again = pgweir(&["convert", &path, "--output", &toml]);
    assert!(!again.status.success() && again.stderr.contains("can't be made"), "{}", again.stderr);

    let (of_ini, of_toml) = (pgweir(&["check", &path]), pgweir(&["check", &toml]));
    assert!(of_toml.status.success(), "{}", of_toml.stderr);
    let report = |ended: &Ended| {
        let lines = ended.stdout.lines().filter(|line| !line.contains(".ini:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(report(&of_ini), report(&of_toml));

    let pooler = Pooler::start_with(&["run", &toml]);
    use_it(&pooler);
    assert_eq!(settings(&pooler), settings_of_ini);
    assert_eq!(databases(&pooler), databases_of_ini);
}

#[test]
fn file_of_the_package_runs_with_a_database_in_it() {
    let cluster = cluster();
    let places =
        ["/etc/pgbouncer/pgbouncer.ini", "/usr/share/doc/pgbouncer/examples/pgbouncer.ini"];
    let shipped = places.iter().find_map(|place| fs::read_to_string(place).ok());
    let shipped = shipped.expect("the package pgbouncer is installed");
    // It has no database, and its folders are not ours.
    let database =
        format!("[databases]\n{APP_DATABASE} = host=127.0.0.1 port={}\n", cluster.primary().port());
    let ini = shipped
        .replace("[databases]\n", &database)
        .replace("/var/log/postgresql", "FOLDER")
        .replace("/var/run/postgresql", "FOLDER")
        .replace("= /etc/pgbouncer", "= FOLDER")
        .replace("listen_port = 6432", "listen_port = 0");
    let users = folder(&[("userlist.txt", &format!("\"{APP_USER}\" \"{PASSWORD}\"\n"))]);
    let ini = ini.replace("FOLDER/userlist.txt", &shown(users.path(), "userlist.txt"));

    let pooler = Pooler::start_ini(&ini, &["-q", "-v"]);
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    assert_eq!(psql_rows(&url, "SELECT current_database()"), APP_DATABASE);
    let socket = format!(
        "host={} port={} user={APP_USER} password={PASSWORD} dbname={APP_DATABASE}",
        pooler.folder().display(),
        pooler.port()
    );
    assert_eq!(psql_rows(&socket, "SELECT 1"), "1");
    let kept = |name: &str| fs::read_to_string(pooler.folder().join(name)).unwrap_or_default();
    assert_eq!(kept("pgbouncer.pid"), format!("{}\n", pooler.pid()));
    assert!(kept("pgbouncer.log").contains("login attempt: db="), "{}", kept("pgbouncer.log"));
    assert!(kept("pgbouncer.log").contains(" DEBUG "), "-v");
    let heard = pooler.log();
    assert!(!heard.contains(" INFO ") && heard.contains("pgweir listens on "), "-q: {heard}");

    // Another process with this file does not start.
    let second = pgweir(&[&shown(pooler.folder(), "pgbouncer.ini")]);
    let reason = format!("process {} runs, whose number it has", pooler.pid());
    assert!(!second.status.success() && second.stderr.contains(&reason), "{}", second.stderr);

    let checked = pgweir(&["check", &shown(pooler.folder(), "pgbouncer.ini")]);
    assert!(checked.stdout.contains("in session mode"), "{}", checked.stdout);
    pooler.signal("TERM");
    let pid = pooler.folder().join("pgbouncer.pid");
    eventually("the pid file goes", LIMIT, || !pid.exists());
    assert!(pooler.ended().success());
}

/// As the entry points of two images write it.
#[test]
fn files_of_images_run() {
    let cluster = cluster();
    let port = cluster.primary().port();
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let users = folder(&[("userlist.txt", &format!("\"{APP_USER}\" \"{PASSWORD}\"\n"))]);
    let list = shown(users.path(), "userlist.txt");
    let first = format!(
        "################## Auto generated ##################\n[databases]\n\
         {APP_DATABASE} = host=127.0.0.1 port={port} auth_user={APP_USER}\n\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir = \nuser = {me}\
         auth_file = {list}\nauth_type = scram-sha-256\npool_mode = transaction\n\
         ignore_startup_parameters = extra_float_digits\nadmin_users = {APP_USER}\n\n\
         # Log settings\n\n# Connection sanity checks, timeouts\n\n# TLS settings\n\n\
         ################## end file ##################\n"
    );
    let second = format!(
        "[databases]\n{APP_DATABASE}=host=127.0.0.1 port={port} dbname={APP_DATABASE}\n\n\
         [pgbouncer]\nlisten_port=0\nlisten_addr=127.0.0.1\nunix_socket_dir=FOLDER/\n\
         unix_socket_mode=0777\nauth_file={list}\nauth_type=scram-sha-256\n\
         pidfile=FOLDER/pgbouncer.pid\nlogfile=FOLDER/pgbouncer.log\nadmin_users={APP_USER}\n\
         client_tls_sslmode=disable\nserver_tls_sslmode=disable\nquery_wait_timeout=120\n\
         pool_mode=session\nmax_client_conn=100\nidle_transaction_timeout=0\nstats_period=60\n\
         ignore_startup_parameters=extra_float_digits\n"
    );
    for ini in [first, second] {
        let pooler = Pooler::start_ini(&ini, &["run"]);
        let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
        assert_eq!(psql_rows(&url, "SELECT current_database()"), APP_DATABASE);
        let version = psql_rows(&pooler.url(APP_USER, PASSWORD, "pgbouncer"), "SHOW VERSION");
        assert!(version.starts_with("PgBouncer "), "{version}");
        assert!(!pooler.log().contains(" WARN "), "{}", pooler.log());
    }
}

#[test]
fn who_runs_the_process_opens_the_console_by_the_socket() {
    let ini = "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir = FOLDER\n\
               auth_type = scram-sha-256\n[databases]\nshop = host=127.0.0.1\n";
    let pooler = Pooler::start_ini(ini, &[]);
    let at = |host: &str, user: &str, database: &str| {
        format!("host={host} port={} user={user} password=x dbname={database}", pooler.port())
    };
    let folder = pooler.folder().display().to_string();
    for (user, database) in
        [("pgbouncer", "pgbouncer"), ("pgweir", "pgbouncer"), ("pgbouncer", "pgweir")]
    {
        let own = at(&folder, user, database);
        assert!(psql_rows(&own, "SHOW VERSION").starts_with("PgBouncer "));
        psql_rows(&own, "RELOAD");
    }
    for (host, user, database) in [
        ("127.0.0.1", "pgbouncer", "pgbouncer"),
        (&folder, "somebody", "pgbouncer"),
        (&folder, "pgbouncer", "shop"),
    ] {
        let refused = psql(&at(host, user, database), "SHOW VERSION").stderr;
        assert!(refused.contains("password authentication failed"), "{user} {database}: {refused}");
    }
}

#[test]
fn reload_reads_the_ini_and_its_files_again_and_set_has_its_names() {
    let cluster = cluster();
    let files = files();
    let path = shown(files.path(), "pgbouncer.ini");
    fs::write(&path, whole(&cluster, files.path())).unwrap();
    let pooler = Pooler::start_with(&[&path]);
    let console = pooler.url("boss", "b0ss", "pgbouncer");
    let value = |key: &str| {
        let rows = psql_rows(&console, "SHOW CONFIG");
        let row = rows.lines().find(|row| row.starts_with(&format!("{key}|"))).unwrap().to_owned();
        row.split('|').nth(1).unwrap().to_owned()
    };
    let log = || fs::read_to_string(files.path().join("pgbouncer.log")).unwrap_or_default();
    let more = |text: &str| fs::write(files.path().join("more.ini"), text).unwrap();

    // What rotates the log moves it away first.
    let (now, old) = (files.path().join("pgbouncer.log"), files.path().join("pgbouncer.log.1"));
    fs::rename(&now, &old).unwrap();
    let port = cluster.primary().port();
    more(&format!(
        "query_wait_timeout = 77\nscram_iterations = 9000\n[databases]\n\
         added = host=127.0.0.1 port={port} dbname={APP_DATABASE}\n"
    ));
    pooler.signal("HUP");
    eventually("it is reloaded", LIMIT, || log().contains("configuration reloaded"));
    assert_eq!(value("query_wait_timeout"), "77");
    let told = format!("{}:2: scram_iterations: not supported: ", shown(files.path(), "more.ini"));
    assert!(log().contains(&told) && !log().contains("peers.2"), "what is new: {}", log());
    let added = pooler.url(APP_USER, PASSWORD, "added");
    assert_eq!(psql_rows(&added, "SELECT current_database()"), APP_DATABASE);

    psql_rows(&console, "SET query_wait_timeout = 55");
    assert_eq!(value("query_wait_timeout"), "55");
    psql_rows(&console, "RELOAD");
    assert_eq!(value("query_wait_timeout"), "55", "what is set comes before files");

    // Its values are those of an ini, and what they come to is told.
    let set = |sql: &str| {
        let ended = psql(&console, sql);
        assert!(ended.status.success(), "{sql}: {}", ended.stderr);
        let said = ended.stderr.trim_end();
        said.split_once("NOTICE:  ").map_or(said, |(_, notice)| notice).to_owned()
    };
    let one_use = "server_lifetime: 1 ms, which is over after one use, as 0 means in PgBouncer (0 is no limit here)";
    assert_eq!(set("SET server_lifetime = 0"), one_use);
    let hour = "client_login_timeout: 0 is no limit in PgBouncer; an hour is the most here";
    assert_eq!(set("SET client_login_timeout = 0"), hour);
    assert_eq!(set("SET server_check_query = ''"), "");
    assert_eq!(set("SET log_disconnections = 2"), "", "whatever is not 0 is on");
    let now = ["server_lifetime", "client_login_timeout", "log_disconnections"].map(value);
    assert_eq!(now, ["0.001", "3600", "1"]);
    assert_eq!(value("server_check_delay"), "315360000");
    assert_eq!(set("SET server_check_query = 'select 2'"), "");
    assert_eq!(
        (value("server_check_query"), value("server_lifetime")),
        ("select 2".into(), "0.001".into())
    );
    let refused = psql(&console, "SET server_lifetime = soon");
    assert!(refused.stderr.contains("SET: server_lifetime: "), "{}", refused.stderr);
    assert_eq!(value("server_lifetime"), "0.001");
    let told = "stats_period is a key of PgBouncer; not supported: averages are taken over 60 s";
    assert_eq!(set("SET stats_period = 10"), told);

    more("querry_timeout = 1\n");
    let failed = psql(&console, "RELOAD");
    let line = format!("{}:1: querry_timeout: unknown key", shown(files.path(), "more.ini"));
    assert!(failed.stderr.contains(&line), "{}", failed.stderr);
    assert_eq!(psql_rows(&added, "SELECT 1"), "1", "nothing has changed");
}

/// The lines that other software looks for.
#[test]
fn log_has_the_lines_of_pgbouncer() {
    let cluster = cluster();
    let server = cluster.primary().port();
    let users = format!("\"{APP_USER}\" \"{PASSWORD}\"\n\"boss\" \"b0ss\"\n\"gone\" \"x\"\n");
    let users = folder(&[("userlist.txt", &users)]);
    let ini = format!(
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir =\n\
         auth_file = {}\nauth_type = plain\nadmin_users = boss\npool_mode = transaction\n\
         [databases]\n{APP_DATABASE} = host=127.0.0.1 port={server}\n",
        shown(users.path(), "userlist.txt")
    );
    let pooler = Pooler::start_ini(&ini, &[]);
    // Whoever is there is named first: database, user, address.
    let line = |start: &str, end: &str| {
        let holds = |line: &str| {
            let Some((_, said)) = line.split_once(start) else { return false };
            let port = said.split_once(' ').is_some_and(|(port, _)| port.parse::<u16>().is_ok());
            port && said.contains(end)
        };
        eventually(&format!("a line with {start}… {end}"), LIMIT, || {
            pooler.log().lines().any(holds)
        });
    };
    let client = format!(" {APP_DATABASE}/{APP_USER}@127.0.0.1:");
    assert_eq!(psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1"), "1");
    line(&client, &format!(" login attempt: db={APP_DATABASE} user={APP_USER} tls=no "));
    line(&client, " closing because: client close request (age=0s)");
    let opened = format!("{client}{server} new connection to server (from 127.0.0.1:");
    assert_eq!(pooler.log().matches(&opened).count(), 1, "{}", pooler.log());

    psql(&pooler.url(APP_USER, "wrong", APP_DATABASE), "SELECT 1");
    line(&client, " closing because: password authentication failed: wrong password (age=0s)");
    psql(&pooler.url(APP_USER, PASSWORD, "nowhere"), "SELECT 1");
    line(" nowhere/app@127.0.0.1:", " closing because: no such database: nowhere (age=0s)");
    psql(&pooler.url("stranger", "x", APP_DATABASE), "SELECT 1");
    line(
        "shop/stranger@127.0.0.1:",
        " closing because: password authentication failed: no such user ",
    );
    drop(std::net::TcpStream::connect(("127.0.0.1", pooler.port())).unwrap());
    line(" (nodb)/(nouser)@127.0.0.1:", " closing because: client unexpected eof (age=0s)");
    psql(&pooler.url("gone", "x", APP_DATABASE), "SELECT 1");
    let failed = "server login failed: FATAL password authentication failed for user \"gone\"";
    eventually("the server's refusal", LIMIT, || pooler.log().contains(failed));

    let console = pooler.url("boss", "b0ss", "pgbouncer");
    psql_rows(&console, "SET log_connections = 0; SET log_disconnections = 0");
    line(" pgbouncer/boss@127.0.0.1:", " login attempt: db=pgbouncer user=boss tls=no ");
    let before = pooler.log();
    psql_rows(&console, "RECONNECT");
    assert_eq!(psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1"), "1");
    assert!(pooler.log().starts_with(&before));
    pooler.signal("TERM");
    eventually("it has ended", LIMIT, || pooler.log().contains("stopping: "));
    let after = pooler.log().split_off(before.len());
    let silent = ["closing because", "login attempt", "new connection"];
    assert!(!silent.iter().any(|line| after.contains(line)), "{after}");
}

/// The rest of them: of the reserve, of databases that `*` stands for, and of names of statements.
#[test]
fn log_has_pgbouncers_lines_about_the_reserve_auto_databases_and_names() {
    let cluster = cluster();
    let server = cluster.primary().port();
    let users = format!("\"{APP_USER}\" \"{PASSWORD}\"\n");
    let users = folder(&[("userlist.txt", &users)]);
    let ini = format!(
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir =\n\
         auth_file = {}\nauth_type = scram-sha-256\npool_mode = transaction\n\
         default_pool_size = 2\nreserve_pool_size = 3\nreserve_pool_timeout = 0.2\n\
         [databases]\n* = host=127.0.0.1 port={server}\n",
        shown(users.path(), "userlist.txt")
    );
    let pooler = Pooler::start_ini(&ini, &[]);
    let parameters = [("user", APP_USER), ("database", APP_DATABASE)];
    let login = || Client::login_with(pooler.port(), &parameters, PASSWORD);
    let mut clients: Vec<Client> = (0..5).map(|_| login()).collect();
    let registered = format!("registered new auto-database: db={APP_DATABASE}\n");
    assert_eq!(pooler.log().matches(&registered).count(), 1, "{}", pooler.log());

    // Five hold a server each, three of them one of the reserve.
    clients.iter_mut().for_each(|client| client.talk("Q begin", "C[BEGIN] ZT"));
    let reserve = format!(
        " {APP_DATABASE}/{APP_USER}@127.0.0.1:{server} taking connection from reserve_pool\n"
    );
    assert_eq!(pooler.log().matches(&reserve).count(), 3, "{}", pooler.log());
    clients.iter_mut().for_each(|client| client.talk("Q commit", "C[COMMIT] ZI"));

    let client = &mut clients[0];
    client.talk("P it's select 1 / S", "1 ZI");
    assert!(!pooler.log().contains("already prepared"));
    client.talk("P it's select 2 / S", "E[42P05] ZI");
    let said = format!(
        " {APP_DATABASE}/{APP_USER}@{} prepared statement 'it's' was already prepared\n",
        client.ends().0
    );
    eventually("the log says so", LIMIT, || pooler.log().contains(&said));
    // Once: repeats are summed up.
    client.talk("P it's select 2 / S", "E[42P05] ZI");
    assert_eq!(pooler.log().matches("was already prepared").count(), 1, "{}", pooler.log());
}

#[test]
fn what_keeps_it_from_starting_is_told_with_what_to_do() {
    let files = folder(&[("a.ini", "[pgbouncer]\nlisten_addr = 127.0.0.1\n")]);
    let path = shown(files.path(), "a.ini");
    for (flag, reason) in [("-d", "stays in the foreground"), ("-R", "so_reuseport")] {
        for arguments in [vec![flag, &path], vec!["run", flag, &path]] {
            let ended = pgweir(&arguments);
            assert_eq!(ended.status.code(), Some(1));
            assert!(ended.stderr.contains(reason), "{}", ended.stderr);
        }
    }
    let nobody = pgweir(&["-u", "no_such_user_here", &path]);
    let reason = "user: cannot become no_such_user_here: there is no such user";
    assert!(nobody.status.code() == Some(1) && nobody.stderr.contains(reason), "{}", nobody.stderr);
    let tls = "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir =\n\
               client_tls_sslmode = require\nclient_tls_key_file = /nowhere/key\n\
               client_tls_cert_file = /nowhere/cert\n";
    fs::write(&path, tls).unwrap();
    let no_key = pgweir(&[&path]).stderr;
    assert!(no_key.contains("TLS setup failed: clients: "), "{no_key}");
    assert!(no_key.contains("No such file or directory"), "{no_key}");
    let nothing = pgweir(&["nonsense"]);
    assert!(nothing.stderr.contains("is neither a file nor a command"), "{}", nothing.stderr);
}

#[test]
fn root_becomes_the_user_that_is_named() {
    let id = |arguments: &[&str]| {
        let said = Command::new("id").args(arguments).output().unwrap().stdout;
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    if id(&["-u"]) != "0" {
        println!("who is not root can become nobody");
        return;
    }
    let ini = "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir =\n";
    for (user, flags) in [("user = nobody\n", &[][..]), ("user = root\n", &["-u", "nobody"])] {
        let pooler = Pooler::start_ini(&format!("{ini}{user}"), flags);
        let status = fs::read_to_string(format!("/proc/{}/status", pooler.pid())).unwrap();
        let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        let all: Vec<_> = uid.split_whitespace().skip(1).collect();
        assert_eq!(all, vec![id(&["-u", "nobody"]); 4], "real, effective, saved");
    }
}

#[test]
fn thousands_of_databases_are_read_at_once() {
    let mut ini = String::from("[pgbouncer]\nlisten_addr = 127.0.0.1\n[databases]\n");
    for number in 0..5000 {
        writeln!(ini, "tenant_{number} = host=10.0.0.1 dbname=t{number} pool_size=3").unwrap();
    }
    let files = folder(&[("many.ini", &ini)]);
    let path = shown(files.path(), "many.ini");
    let began = Instant::now();
    let checked = pgweir(&["check", &path]);
    assert!(checked.stdout.contains("ok: 5000 databases"), "{}", checked.stderr);
    println!("5000 databases: {:?}", began.elapsed());
    let shown = pgweir(&["config", "show", "--origins", &path]);
    assert!(shown.stdout.contains(&format!("# {path}:5003")), "{}", shown.stderr);
}
