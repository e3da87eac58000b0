//! Databases that nobody has listed: `[databases."*"]`.

use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, SUPERUSER, cluster, eventually, psql,
    psql_rows,
};

fn file(port: u16, general: &str) -> String {
    format!(
        "listen_port = 0\n{general}\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [databases.listed]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{APP_DATABASE}\"\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
    )
}

const NOW: &str = "select current_database()";

#[test]
fn any_name_is_pooled_on_demand_and_forgotten_when_idle() {
    let cluster = cluster();
    let server = cluster.primary();
    server.sql(APP_DATABASE, "CREATE DATABASE one").unwrap();
    server.sql(APP_DATABASE, "CREATE DATABASE two").unwrap();
    let general = "autodb_idle_timeout = 0.4\nadmin_users = [\"app\"]\nserver_idle_timeout = 0";
    let mut pooler = Pooler::start(&file(server.port(), general));
    let url = |database: &str| pooler.url(APP_USER, PASSWORD, database);
    for database in ["one", "two", "one"] {
        assert_eq!(psql_rows(&url(database), NOW), database);
    }
    assert_eq!(psql_rows(&url("listed"), NOW), APP_DATABASE);
    // As in PgBouncer, what they are made of is none of them.
    let shown = || {
        let table = psql_rows(&url("pgweir"), "SHOW DATABASES");
        let names = table.lines().filter_map(|line| line.split('|').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!shown().contains(&"*".to_owned()) && shown().contains(&"listed".to_owned()));
    let servers = || {
        let sql = "SELECT string_agg(DISTINCT datname, ',' ORDER BY datname) FROM pg_stat_activity \
                   WHERE usename = 'app' AND datname IN ('one', 'two', 'shop')";
        server.sql(APP_DATABASE, sql).unwrap().trim().to_owned()
    };
    eventually("idle databases are forgotten, with their servers", LIMIT, || servers() == "shop");
    let pools = psql_rows(&url("pgweir"), "SHOW POOLS");
    assert!(pools.contains("listed|app|") && !pools.contains("one|app|"), "{pools}");
    assert_eq!(psql_rows(&url("one"), NOW), "one");
    // The server's own word for one that is not there.
    let ended = psql(&url("nowhere"), NOW);
    assert!(ended.stderr.contains("FATAL:  database \"nowhere\" does not exist"), "{ended:?}");
    // Names of any length: as long as they can be a database's, they go to the server.
    for (length, expected) in [(63, "does not exist"), (64, "no such database"), (65, "no such")] {
        let ended = psql(&url(&"n".repeat(length)), NOW);
        assert!(ended.stderr.contains(expected), "{length}: {ended:?}");
    }
    for length in [9_900, 60_000] {
        let ended = psql(&url(&"n".repeat(length)), NOW);
        assert!(ended.stderr.contains("FATAL: "), "{length}: {ended:?}");
    }
    let ended = psql(&url("*"), NOW);
    assert!(ended.stderr.contains("no such database"), "{ended:?}");
    // Who has not proven who it is learns nothing of any of them.
    for database in ["one", "nowhere", "listed"] {
        let ended = psql(&pooler.url(APP_USER, "wrong", database), NOW);
        let told = "password authentication failed for user \"app\"";
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    assert!(pooler.is_running());
}

/// Users come and go: what is kept of each goes with its last server.
#[test]
fn pools_of_those_who_have_gone_are_forgotten_and_shown_until_then() {
    let cluster = cluster();
    let server = cluster.primary();
    let general = |idle: &str| {
        format!(
            "admin_users = \"{SUPERUSER}\"\nhttp_listen = \"127.0.0.1:0\"\nmax_metrics_users = 0\n\
             pool_idle_timeout = {idle}\nserver_idle_timeout = 0.2"
        )
    };
    let file = |idle: &str| {
        format!(
            "{}[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n[databases.kept]\nhost = \"127.0.0.1\"\n\
             port = {}\ndbname = \"{APP_DATABASE}\"\nmin_pool_size = 1\n",
            file(server.port(), &general(idle)),
            server.port()
        )
    };
    let pooler = Pooler::start(&file("0"));
    let url = |database: &str| pooler.url(APP_USER, PASSWORD, database);
    let console = pooler.url(SUPERUSER, PASSWORD, "pgweir");
    let line = |database: &str| {
        let pools = psql_rows(&console, "SHOW POOLS");
        let start = format!("{database}|{APP_USER}|");
        pools.lines().find(|line| line.starts_with(&start)).map(str::to_owned)
    };
    for database in ["listed", "kept"] {
        assert_eq!(psql_rows(&url(database), NOW), APP_DATABASE);
    }
    eventually("its servers are closed", LIMIT, || {
        line("listed").is_some_and(|line| line.contains("|0|0|0|0|0|0|0|0|0|0|0|"))
    });
    // It is shown all the same, and nobody scrapes it.
    let page = crate::console::fetch(&pooler, "/metrics");
    let idle = format!("pgweir_pool_size{{database=\"listed\",user=\"{APP_USER}\"}}");
    assert!(!page.contains(&idle), "{page}");
    assert!(page.contains(&idle.replace("listed", "kept")), "{page}");
    pooler.rewrite(&file("0.4"));
    psql_rows(&console, "RELOAD");
    eventually("it is forgotten", LIMIT, || line("listed").is_none());
    assert!(line("kept").is_some(), "it has a server");
    let said = "listed/app: cleaning up idle pool";
    eventually(said, LIMIT, || pooler.log().contains(said));
    assert_eq!(psql_rows(&url("listed"), NOW), APP_DATABASE);
}

#[test]
fn marks_of_operators_outlive_a_reload_for_as_long_as_the_name_is_served() {
    let cluster = cluster();
    let server = cluster.primary();
    server.sql(APP_DATABASE, "CREATE DATABASE one; CREATE DATABASE two").unwrap();
    let toml = |general: &str| file(server.port(), &format!("admin_users = \"app\"\n{general}"));
    // Who is held is told soon; a new server has its time.
    let soon = "query_wait_timeout = 0.2";
    let pooler = Pooler::start(&toml(""));
    let url = |database: &str| pooler.url(APP_USER, PASSWORD, database);
    let order = |sql: &str| {
        let ended = psql(&url("pgweir"), sql);
        assert!(ended.status.success(), "{sql}: {}", ended.stderr);
    };
    assert_eq!(psql_rows(&url("one"), NOW), "one");
    pooler.rewrite(&toml(soon));
    order("RELOAD");
    order("PAUSE one");
    order("DISABLE two");
    let check_held = || {
        let ended = psql(&url("one"), NOW);
        assert!(ended.stderr.contains("query_wait_timeout"), "{}", ended.stderr);
        let ended = psql(&url("two"), NOW);
        assert!(ended.stderr.contains("database \"two\" is disabled"), "{}", ended.stderr);
    };
    check_held();
    pooler.rewrite(&toml(&format!("{soon}\ndefault_pool_size = 7")));
    order("RELOAD");
    check_held();
    let shown = psql_rows(&url("pgweir"), "SHOW DATABASES");
    let one = shown.lines().find(|line| line.starts_with("one|")).unwrap_or_default();
    assert!(one.ends_with("|1|0|0") && one.contains("|one||7|"), "{shown}");

    // Without the table nobody serves them; when it comes back, they are as new.
    let star = toml("");
    let (start, rest) = star.split_once("[databases.\"*\"]").unwrap();
    pooler.rewrite(&format!("{start}{}", rest.split_at(rest.find('[').unwrap()).1));
    order("RELOAD");
    let ended = psql(&url("one"), NOW);
    assert!(ended.stderr.contains("no such database"), "{}", ended.stderr);
    pooler.rewrite(&star);
    order("RELOAD");
    for database in ["one", "two"] {
        assert_eq!(psql_rows(&url(database), NOW), database);
    }
}

#[test]
fn auto_databases_are_bounded_and_unused_ones_give_way() {
    let cluster = cluster();
    let server = cluster.primary();
    for name in ["one", "two", "three"] {
        server.sql(APP_DATABASE, &format!("CREATE DATABASE {name}")).unwrap();
    }
    let pooler = Pooler::start(&file(server.port(), "max_auto_databases = 2"));
    let url = |database: &str| pooler.url(APP_USER, PASSWORD, database);
    for database in ["one", "two", "three", "one"] {
        assert_eq!(psql_rows(&url(database), NOW), database);
    }
    // Those in use do not give way.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut inside = Vec::new();
        for database in ["two", "three"] {
            let (client, connection) =
                tokio_postgres::connect(&url(database), tokio_postgres::NoTls).await.unwrap();
            inside.push((client, tokio::spawn(connection)));
        }
        let error =
            tokio_postgres::connect(&url("one"), tokio_postgres::NoTls).await.err().unwrap();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "53300");
        assert!(error.message().contains("(max_auto_databases)"), "{error:?}");
        for (client, _) in &inside {
            client.simple_query("select 1").await.unwrap();
        }
    });
}

/// Whatever its name is for clients, it is one database: secrets are looked up there.
#[test]
fn secrets_are_looked_up_where_all_names_lead_to() {
    let cluster = cluster();
    let port = cluster.primary().port();
    let file = |dbname: &str| {
        format!(
            "listen_port = 0\nauth_user = \"{SUPERUSER}\"\n[databases.\"*\"]\n\
             host = \"127.0.0.1\"\nport = {port}\n{dbname}\n\
             [users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n"
        )
    };
    let pooler = Pooler::start(&file(&format!("dbname = \"{APP_DATABASE}\"")));
    for name in ["one", "two"] {
        assert_eq!(psql_rows(&pooler.url(APP_USER, PASSWORD, name), NOW), APP_DATABASE);
        let wrong = psql(&pooler.url(APP_USER, "wrong", name), NOW);
        assert!(wrong.stderr.contains("password authentication failed"), "{wrong:?}");
    }
    let refused = crate::support::check(&file(""), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let missing = "databases.\"*\".auth_dbname: missing: secrets can't be looked up";
    assert!(refused.stderr.contains(missing), "{refused:?}");
}
