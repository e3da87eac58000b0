//! Variables of the environment.

use proptest::prelude::*;

use crate::config::origin::{Shown, show, show_config};
use crate::config::{Config, Environment, PoolMode, Secret, ServerUrl};

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

fn password(environment: &Environment) -> String {
    environment.servers().unwrap().remove(0).password.unwrap().expose().to_owned()
}

#[test]
fn general_keys_are_set_by_ours_first_then_by_those_of_images() {
    let url = || ServerUrl::parse("postgres://app:x@db/shop").unwrap();
    let general = Config::from_urls_in(
        url(),
        vec![],
        &environment(&[
            ("PGWEIR_POOL_MODE", "session"),
            ("POOL_MODE", "statement"),
            ("PGBOUNCER_MAX_CLIENT_CONN", "77"),
            ("POOL_SIZE", "9"),
            ("PGBOUNCER_PORT", "7000"),
            ("QUERY_WAIT_TIMEOUT", "2 min"),
            ("ADMIN_USERS", "root, boss"),
            ("LOG_CONNECTIONS", "1"),
            ("RESERVE_POOL_SIZE", ""),
        ]),
    );
    let general = general.unwrap().general;
    assert_eq!(general.pool_mode, PoolMode::Session);
    assert_eq!((general.max_client_conn, general.default_pool_size), (77, 9));
    assert_eq!(general.listen_port, 7000);
    assert_eq!(general.query_wait_timeout.unwrap().as_secs(), 120);
    assert_eq!(general.admin_users, ["root", "boss"]);
    assert!(general.log_connections);
    let wrong = environment(&[("MAX_CLIENT_CONN", "many")]);
    let problems = Config::from_urls_in(url(), vec![], &wrong).unwrap_err().to_string();
    assert!(problems.starts_with("environment: MAX_CLIENT_CONN: must be"), "{problems}");
}

#[test]
fn environment_comes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pooler.toml");
    std::fs::write(&file, "max_client_conn = 5\n[databases.shop]\nhost = \"db\"\n").unwrap();
    let variables = environment(&[("PGWEIR_MAX_CLIENT_CONN", "6")]);
    assert_eq!(variables.used(), ["PGWEIR_MAX_CLIENT_CONN"]);
    let config = Config::from_toml_file_in(&file, &variables).unwrap();
    assert_eq!(config.general.max_client_conn, 6);
}

#[test]
fn servers_are_named_by_url_or_in_parts() {
    let both = [("DATABASE_URL", "postgres://a@one/x"), ("PGWEIR_URL", "postgres://b@two/y")];
    assert_eq!(environment(&both).servers().unwrap()[0].host, "two");
    let parts = [
        ("POSTGRESQL_HOST", "db"),
        ("POSTGRESQL_PORT", "5433"),
        ("POSTGRESQL_USERNAME", "app"),
        ("POSTGRESQL_DATABASE", "shop"),
    ];
    let server = environment(&parts).servers().unwrap().remove(0);
    assert_eq!((server.host.as_str(), server.port), ("db", 5433));
    assert_eq!((server.user.as_deref(), server.dbname.as_deref()), (Some("app"), Some("shop")));
    assert_eq!(environment(&[("PGUSER", "app")]).servers().unwrap(), []);
    let replicas = environment(&[("PGWEIR_REPLICA_URLS", "postgres://r1, postgres://r2:1")]);
    assert_eq!(replicas.replicas().unwrap().len(), 2);
    let wrong = environment(&[("PGHOST", "db"), ("PGPORT", "x")]);
    let problems = wrong.servers().unwrap_err().to_string();
    assert_eq!(problems, "environment: PGPORT: must be a number from 1 to 65535");
}

#[test]
fn unknown_variables_of_ours_are_named_with_the_nearest() {
    let variables = environment(&[("PGWEIR_POOL_MOD", "x"), ("PGWEIR_URL", "y"), ("OTHER", "z")]);
    let wanted = "PGWEIR_POOL_MOD means nothing here; did you mean PGWEIR_POOL_MODE?";
    assert_eq!(variables.unknown(), [wanted]);
}

#[test]
fn secret_that_stands_twice_or_nowhere_is_a_problem_that_does_not_show_it() {
    let twice = environment(&[
        ("DB_HOST", "db"),
        ("DB_PASSWORD", "s3cret"),
        ("DB_PASSWORD_FILE", "/nowhere"),
    ]);
    let problems = twice.servers().unwrap_err().to_string();
    assert_eq!(problems, "environment: DB_PASSWORD_FILE: DB_PASSWORD is set, too");
    let nowhere = environment(&[("DB_HOST", "db"), ("DB_PASSWORD_FILE", "/nowhere")]);
    let problems = nowhere.servers().unwrap_err().to_string();
    assert!(problems.contains("/nowhere can't be read"), "{problems}");
}

#[test]
fn secrets_of_users_come_from_variables_and_never_from_two_places() {
    let read = |variables: &[(&str, &str)]| {
        let url = ServerUrl::parse("postgres://app:x@db/shop").unwrap();
        Config::from_urls_in(url, vec![], &environment(variables))
            .map(|config| {
                let users = config.users.into_values();
                let secret = |secret: Secret| secret.expose().to_owned();
                let pairs = users.map(|user| (user.name, user.password.map(secret).unwrap()));
                pairs.collect::<Vec<_>>()
            })
            .map_err(|problems| problems.to_string())
    };
    let pairs = |pairs: &[(&str, &str)]| {
        let owned = pairs.iter().map(|(user, secret)| ((*user).to_owned(), (*secret).to_owned()));
        Ok::<Vec<_>, String>(owned.collect())
    };
    let admins = [("ADMIN_USERS", "root, boss"), ("ADMIN_PASSWORDS", "r1,b2")];
    assert_eq!(read(&admins), pairs(&[("app", "x"), ("boss", "b2"), ("root", "r1")]));
    let stats = [("STATS_USERS", "eye"), ("STATS_PASSWORD", "a,b")];
    assert_eq!(read(&stats), pairs(&[("app", "x"), ("eye", "a,b")]));
    let list = [("PGBOUNCER_USERLIST", "\"web\" \"w\"\n\"app\" \"x\"\n")];
    assert_eq!(read(&list), pairs(&[("app", "x"), ("web", "w")]));
    assert_eq!(environment(&list).used(), ["PGBOUNCER_USERLIST"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.txt");
    std::fs::write(&file, "\"web\" \"w\"\n").unwrap();
    let by_file = [("AUTH_FILE", file.to_str().unwrap())];
    assert_eq!(read(&by_file), pairs(&[("app", "x"), ("web", "w")]));
    let by_file = [("PGBOUNCER_USERLIST_FILE", file.to_str().unwrap())];
    assert_eq!(read(&by_file), pairs(&[("app", "x"), ("web", "w")]));

    for (variables, wanted) in [
        (
            &[("ADMIN_PASSWORD", "s3cret"), ("ADMIN_USERS", "a,b")][..],
            "environment: ADMIN_PASSWORD: passwords: 1, names in admin_users: 2; give one for each",
        ),
        (
            &[("ADMIN_PASSWORD", "s3cret"), ("ADMIN_PASSWORDS", "s3cret")],
            "environment: ADMIN_PASSWORDS: ADMIN_PASSWORD is set, too",
        ),
        (
            &[("ADMIN_PASSWORD", "s3cret")],
            "environment: ADMIN_PASSWORD: user app has another secret elsewhere: remove one of them",
        ),
        (
            &[("PGBOUNCER_USERLIST", "app s3cret")],
            "PGBOUNCER_USERLIST:1: the user's name must stand in double quotes (a line is: \"name\" \
             \"secret\")",
        ),
    ] {
        assert_eq!(read(variables), Err(wanted.to_owned()));
    }
}

#[test]
fn list_of_urls_is_a_database_each() {
    let read = |list: &str, replicas| {
        let variables = environment(&[("DATABASE_URLS", list), ("PGWEIR_REPLICA_URLS", replicas)]);
        assert_eq!(variables.naming_servers()[0], "DATABASE_URLS");
        let servers = variables.servers().unwrap();
        Config::from_servers_in(servers, variables.replicas().unwrap(), &variables)
            .map_err(|problems| problems.to_string())
    };
    let one = read("postgres://a:x@one/x,", "").unwrap();
    assert_eq!(one.general.auth_user.as_deref(), Some("a"));
    let two = read("postgres://a:x@one/x, postgres://b:y@two:5433/y", "").unwrap();
    let hosts: Vec<_> = two.databases.values().map(|db| db.host_port().to_string()).collect();
    assert_eq!(hosts, ["one:5432", "two:5433"]);
    assert_eq!(two.users.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((two.general.auth_user, two.general.admin_users), (None, vec!["a".to_owned()]));
    for (list, replicas, wrong) in [
        ("postgres://a:x@one/x,postgres://b:y@two/x", "", "two servers have the database x"),
        ("postgres://a:s3cret@one/x,postgres://a:y@two/y", "", "user a has two passwords"),
        ("postgres://a:s3cret@one/x,postgres://b@two/y", "", "missing: clients log in with it"),
        ("postgres://a:x@one/x,postgres://b:y@two/y", "postgres://r", "there are several servers"),
    ] {
        let problems = read(list, replicas).unwrap_err();
        assert!(problems.contains(wrong) && !problems.contains("s3cret"), "{problems}");
    }
}

#[test]
fn database_of_an_image_has_the_name_that_clients_ask_for() {
    let image = [
        ("POSTGRESQL_HOST", "db"),
        ("POSTGRESQL_USERNAME", "app"),
        ("POSTGRESQL_PASSWORD", "pw"),
        ("POSTGRESQL_DATABASE", "shop"),
    ];
    let read = |name| {
        let variables = environment(&[&image[..], &[("PGBOUNCER_DATABASE", name)]].concat());
        assert!(variables.naming_servers().contains(&"PGBOUNCER_DATABASE"));
        assert_eq!(variables.unknown(), [""; 0]);
        Config::from_servers_in(variables.servers().unwrap(), vec![], &variables)
    };
    let named = read("front").unwrap();
    assert_eq!(named.databases.keys().collect::<Vec<_>>(), ["front"]);
    assert_eq!(named.databases["front"].dbname, "shop");
    let any = read("*").unwrap();
    assert_eq!(any.database("anything").unwrap().dbname, "shop");
    let reserved = read("pgbouncer").unwrap_err().to_string();
    assert!(reserved.contains("the console has this name"), "{reserved}");

    let beside = environment(&[("DB_HOST", "db"), ("PGBOUNCER_DATABASE", "front")]);
    assert_eq!(beside.servers().unwrap()[0].alias, None);
    let wanted = "PGBOUNCER_DATABASE means nothing here: it goes with POSTGRESQL_HOST, which does \
                  not count";
    assert_eq!(beside.unknown(), [wanted]);
}

#[test]
fn start_without_a_file_shows_where_its_settings_come_from() {
    let variables = environment(&[
        ("DATABASE_URLS", "postgres://a:s3cret@one/x,postgres://b:s3cret@two:5433/y"),
        ("POOL_MODE", "session"),
    ]);
    let config = Config::from_servers_in(variables.servers().unwrap(), vec![], &variables).unwrap();
    let servers = variables.naming_servers().join(", ");
    let flags = [("listen_port", "--port".to_owned())];
    let shown = show_config(&config, &variables, &flags, &servers);
    let line = |text: &str, origin: Option<&str>| {
        let wanted = Shown { text: text.to_owned(), origin: origin.map(str::to_owned) };
        assert!(shown.contains(&wanted), "{wanted:?}: {shown:?}");
    };
    line("listen_port = 6432", Some("--port"));
    line("pool_mode = \"session\"", Some("POOL_MODE"));
    line("min_pool_size = 0", Some("default"));
    line("[databases.y]", None);
    line("port = 5433", Some("DATABASE_URLS"));
    line("[users.b]", None);
    line("password = \"***\"", Some("DATABASE_URLS"));
    assert!(!format!("{shown:?}").contains("s3cret"));
}

#[test]
fn variables_of_images_that_are_not_needed_are_told() {
    let wanted = "LOG_STATS means nothing here: figures are at /metrics and in SHOW STATS, not in \
                  the log";
    assert_eq!(environment(&[("LOG_STATS", "1")]).unknown(), [wanted]);
}

#[test]
fn origins_name_the_variable_the_line_or_the_list_and_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("users.txt");
    std::fs::write(&list, "\"web\" \"s3cret\"\n").unwrap();
    let text = format!(
        "pool_mode = \"session\"\nmax_client_conn = 5\nauth_file = {list:?}\n\
         admin_users = \"boss\"\n[databases.\"a b\"]\n\
         url = \"postgres://app:s3cret@db/x\"\n\n[users.app]\npassword = \"s3cret\"\n\
         pool_size = 3\n[[hba]]\nmethod = \"peer\"\ntype = \"local\"\n"
    );
    let file = folder.path().join("pooler.toml");
    std::fs::write(&file, text).unwrap();
    let variables = environment(&[("MAX_CLIENT_CONN", "6"), ("ADMIN_PASSWORD", "s3cret")]);
    let shown = show(&file, &variables).unwrap();
    let lines: Vec<String> = shown
        .into_iter()
        .map(|line| format!("{} # {}", line.text, line.origin.unwrap_or_default()))
        .map(|line| line.replace(&format!("{}/", folder.path().display()), ""))
        .collect();
    assert!(!lines.concat().contains("s3cret"), "{lines:#?}");
    for wanted in [
        "pool_mode = \"session\" # pooler.toml:1",
        "max_client_conn = 6 # MAX_CLIENT_CONN",
        "default_pool_size = 20 # default",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {lines:#?}");
    }
    let tables = lines.iter().position(|line| line == "[databases.\"a b\"] # ").unwrap();
    let wanted = [
        "[databases.\"a b\"] # ",
        "url = \"***\" # pooler.toml:6",
        " # ",
        "[users.app] # ",
        "password = \"***\" # pooler.toml:9",
        "pool_size = 3 # pooler.toml:10",
        " # ",
        "[users.boss] # ",
        "password = \"***\" # ADMIN_PASSWORD",
        " # ",
        "[users.web] # ",
        "password = \"***\" # users.txt",
        " # ",
        "[[hba]] # ",
        "method = \"peer\" # pooler.toml:12",
        "type = \"local\" # pooler.toml:13",
    ];
    assert_eq!(lines[tables..], wanted);
}

proptest! {
    #[test]
    fn passwords_arrive_as_they_are(secret in "[ -~]{1,40}") {
        let parts = environment(&[("DB_HOST", "db"), ("DB_PASSWORD", &secret)]);
        prop_assert_eq!(password(&parts), secret.clone());

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let path = file.to_str().unwrap();
        let by_file = environment(&[("DB_HOST", "db"), ("DB_PASSWORD_FILE", path)]);
        prop_assert_eq!(password(&by_file), secret.clone());

        let encoded: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("postgres://app:{encoded}@db/shop");
        prop_assert_eq!(password(&environment(&[("DATABASE_URL", &url)])), secret.clone());
        std::fs::write(&file, url).unwrap();
        prop_assert_eq!(password(&environment(&[("PGWEIR_URL_FILE", path)])), secret);
    }
}
