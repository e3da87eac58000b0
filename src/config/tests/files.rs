//! User lists, the files that a configuration names, and what `check` says.

use std::path::Path;

use super::super::{Config, check, userlist};
use super::load;

fn users(text: &str) -> Vec<(String, String)> {
    let users = userlist::parse("userlist.txt", text).unwrap_or_else(|p| panic!("{p}"));
    users.into_iter().map(|(name, secret)| (name, secret.expose().to_owned())).collect()
}

#[test]
fn user_list_is_read_as_pgbouncer_reads_it() {
    let text = "\u{feff}\"plain\" \"pw\"\n\
                ; comment\n\
                # comment\n\
                \n\
                \t \"md5er\"\t\"md52edd3e2a4e4b2b2b0e2c2d2f2a2b2c2d\"  trailing \"words\"\r\n\
                \"scram\"\"med\" \"SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5\"\r\n\
                \"empty\" \"\"\n\
                \"a\"\"b\"\"\" \"\"\"quoted\"\"\"\n\
                \"spaced name\"\"\"\"\" \"p w;#\"\n\
                \"close\"\t \"x\"y\n\
                \"plain\" \"again\"";
    let wanted = [
        ("plain", "pw"),
        ("md5er", "md52edd3e2a4e4b2b2b0e2c2d2f2a2b2c2d"),
        ("scram\"med", "SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5"),
        ("empty", ""),
        ("a\"b\"", "\"quoted\""),
        ("spaced name\"\"", "p w;#"),
        ("close", "x"),
        ("plain", "again"),
    ];
    let wanted = wanted.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
    assert_eq!(users(text), wanted);
    assert_eq!(users(""), []);
}

#[test]
fn broken_lines_of_a_user_list_are_all_reported_and_not_shown() {
    let text =
        "app s3cret\n\"good\" \"x\"\n\"app\" s3cret\n\"app\n\"app\" \"s3cret\n\"\" \"s3cret\"\n";
    let report = userlist::parse("userlist.txt", text).unwrap_err();
    let lines: Vec<_> = report.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 3, 4, 5, 6]);
    assert!(!report.to_string().contains("s3cret"));
    assert!(report.to_string().starts_with("userlist.txt:1: the user's name must stand in double"));
}

/// A folder with a `pooler.toml` and a `users.txt`.
fn folder(general: &str, tables: &str, list: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    std::fs::write(&path, list).unwrap();
    let text =
        format!("auth_file = {path:?}\n{general}\n[databases.shop]\nhost = \"db\"\n{tables}");
    std::fs::write(folder.path().join("pooler.toml"), text).unwrap();
    folder
}

fn load_from(folder: &Path) -> Result<Config, String> {
    Config::from_toml_file(folder.join("pooler.toml"))
        .map_err(|problems| problems.to_string().replace(&format!("{}/", folder.display()), ""))
}

#[test]
fn users_of_auth_file_join_those_of_the_file() {
    let tables = "[users.app]\npool_size = 3\n[users.own]\npassword = \"mine\"\n";
    let list = "\"app\" \"old\"\n\"app\" \"pw\"\n\"other\" \"md5x\"\n";
    let folder = folder("query_timeout = 9", tables, list);
    let config = load_from(folder.path()).unwrap();
    let names: Vec<_> = config.users.keys().map(String::as_str).collect();
    assert_eq!(names, ["app", "other", "own"]);
    let app = &config.users["app"];
    assert_eq!((app.password.as_ref().unwrap().expose(), app.pool_size), ("pw", Some(3)));
    assert_eq!(config.users["other"].query_timeout, config.general.query_timeout);
}

#[test]
fn problems_of_both_files_come_in_one_report() {
    let tables = "[users.app]\npassword = \"a\"\n";
    let both = folder("verbose = 9", tables, "broken\n");
    let wanted = "pooler.toml:2: verbose: must be from 0 to 3, not 9\n\
                  users.txt:1: the user's name must stand in double quotes (a line is: \"name\" \
                  \"secret\")";
    assert_eq!(load_from(both.path()).unwrap_err(), wanted);

    let twice = folder("", tables, "\"app\" \"b\"\n\"app\" \"c\"\n");
    let wanted = "pooler.toml:6: users.app.password: users.txt has a secret for this user too \
                  (remove one of them)";
    assert_eq!(load_from(twice.path()).unwrap_err(), wanted);
}

#[test]
fn report_sums_up_the_pools() {
    let config = load(
        "default_pool_size = 25\nreserve_pool_size = 5\nmax_server_connections = 80\n\
         admin_users = \"root\"\ncheck_user = \"app\"\n\
         [databases.shop]\nhost = \"db\"\nreplicas = [\"r1\"]\n\
         [databases.stats]\nhost = \"db\"\nuser = \"app\"\npool_size = 4\n\
         [databases.far]\nhost = \"::1\"\nport = 99\nmax_db_connections = 10\n\
         [users.app]\npassword = \"x\"\n\
         [users.web]\npassword = \"md5x\"\n\
         [users.idle]\nmax_user_connections = 7\n",
    );
    let wanted = [
        "clients: 127.0.0.1:6432, up to 1000 clients; auth_type scram-sha-256, 3 users listed",
        "database far: [::1]:99/far, 3 pools of 25 in transaction mode, up to 10 servers",
        "database shop: db:5432/shop, 3 pools of 25 in transaction mode, up to 67 servers, 2 hosts",
        "database stats: db:5432/stats, 3 pools of 4 in transaction mode, up to 25 servers",
        "server [::1]:99: up to 10 (its max_connections must be above that)",
        "server db:5432: up to 80 (max_server_connections; pools ask for 92)",
        "server r1:5432: up to 67 (its max_connections must be above that)",
        "ok: 3 databases, 9 pools, sum of pool sizes 102",
        "warning: user idle has no password and can't log in",
        "warning: user web has an md5 secret, which SCRAM can't check",
        "warning: admin_users: user root is not listed and can't log in",
    ];
    assert_eq!(check::report(&config), wanted);
}

#[test]
fn report_says_when_the_cap_per_server_is_below_the_pools() {
    let config = load(
        "max_server_connections = 15\nauth_type = \"trust\"\ndebug_force_hop = true\n\
         [databases.shop]\nhost = \"db\"\n[users.app]\n",
    );
    let lines = check::report(&config);
    assert_eq!(lines[2], "server db:5432: up to 15 (max_server_connections; pools ask for 20)");
    assert_eq!(lines[4], "warning: auth_type trust: no password is asked for");
    assert_eq!(lines[5], "warning: debug_force_hop is on: it costs time, and is for tests");
}

#[test]
fn report_warns_of_a_user_who_asks_hosts_and_can_not_log_in_there() {
    let warned = |database: &str| {
        let text =
            format!("[databases.shop]\nhost = \"a,b\"\n{database}[users.app]\npassword = \"x\"\n");
        check::report(&load(&text)).iter().any(|line| line.contains("warning: check_user"))
    };
    for (database, wanted) in [
        ("check_user = \"eve\"\n", true),
        ("check_user = \"app\"\n", false),
        ("user = \"eve\"\n", true),
        ("user = \"eve\"\npassword = \"y\"\n", false),
        ("user = \"web\"\npassword = \"y\"\ncheck_user = \"eve\"\n", true),
        ("check_user = \"eve\"\npassword = \"y\"\n", false),
        ("load_balance_hosts = \"disable\"\n", false),
    ] {
        assert_eq!(warned(database), wanted, "{database}");
    }
}

#[test]
fn report_warns_when_nobody_can_log_in() {
    let config = load("[databases.shop]\nhost = \"db\"\n");
    let lines = check::report(&config);
    assert_eq!(lines.last().unwrap(), "warning: no user is listed: nobody can log in");
}

#[test]
fn report_counts_users_of_auth_file() {
    let good = folder("", "", "\"app\" \"x\"\n");
    let lines = check::report(&load_from(good.path()).unwrap());
    assert_eq!(lines.last().unwrap(), "ok: 1 database, 1 pool, sum of pool sizes 20");
    assert_eq!(Config::from_toml_file(good.path().join("none.toml")).unwrap_err().count(), 1);
}

/// The configuration files in a document: blocks of TOML, and what its shell lines write.
fn examples(document: &str) -> Vec<String> {
    let between = |start: &str, end: &str| {
        let parts = document.split(start).skip(1).map(|part| part.split(end).next().unwrap());
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    [between("```toml\n", "```"), between(".toml <<'END'\n", "\nEND\n")].concat()
}

#[test]
fn every_example_in_the_documents_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let list = tempfile::NamedTempFile::new().unwrap();
    let mut count = 0;
    for page in pages.chain([root.join("README.md")]) {
        for example in examples(&std::fs::read_to_string(&page).unwrap()) {
            let list = list.path().display().to_string();
            let mut text = example.replace("/etc/pgbouncer/userlist.txt", &list);
            if !text.contains("[databases.") {
                text.push_str("[databases.shop]\nhost = \"db\"\n");
            }
            let loaded = Config::from_toml_str("example", &text);
            assert!(loaded.is_ok(), "{}: {}\n{example}", page.display(), loaded.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}
