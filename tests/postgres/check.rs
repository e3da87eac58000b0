//! `pgweir check --connect` against servers that are as they should be, and against those that
//! are not.

use std::net::TcpListener;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, PASSWORD, PostgresServer, SUPERUSER, check, cluster,
    cluster_with_replicas, psql_rows,
};

/// A database on this server, with these keys beside its address.
fn database(name: &str, port: u16, more: &str) -> String {
    format!("[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n{more}\n")
}

fn user(name: &str, password: &str) -> String {
    format!("[users.{name}]\npassword = \"{password}\"\n")
}

/// A file with the application's database and user.
fn file(server: &PostgresServer, general: &str) -> String {
    let (shop, app) = (database(APP_DATABASE, server.port(), ""), user(APP_USER, PASSWORD));
    format!("{general}\n{shop}{app}")
}

/// The lines that `check --connect` prints of this level and subject, and its exit code.
fn connect(toml: &str, start: &str) -> (Vec<String>, Option<i32>) {
    let ended = check(toml, &["--connect"]);
    assert!(!ended.stdout.contains(PASSWORD) && !ended.stderr.contains(PASSWORD));
    let lines = ended.stdout.lines().filter(|line| line.starts_with(start));
    (lines.map(str::to_owned).collect(), ended.status.code())
}

#[test]
fn servers_that_are_as_they_should_be_pass() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary().port(), cluster.replicas()[0].port());
    let replicas = format!("replicas = [\"127.0.0.1:{replica}\"]\ncheck_user = \"{APP_USER}\"");
    let shop = database(APP_DATABASE, primary, &replicas);
    let toml = format!("{shop}{}{}", user(APP_USER, PASSWORD), user(SUPERUSER, PASSWORD));
    let ended = check(&toml, &["--connect"]);
    let said = &ended.stdout;
    assert_eq!(ended.status.code(), Some(0), "{said}{}", ended.stderr);
    for (port, role) in [(primary, "primary"), (replica, "replica")] {
        let at = format!("databases.shop at 127.0.0.1:{port}");
        for user in [APP_USER, SUPERUSER] {
            let line = format!("ok: login {at}: as {user} by scram-sha-256, in clear\n");
            assert!(said.contains(&line), "{line}{said}");
        }
        assert!(said.contains(&format!("ok: role {at}: {role}, Postgres ")), "{said}");
        assert!(said.contains(&format!("ok: clock 127.0.0.1:{port}: 0.")), "{said}");
    }
    let lag = format!("ok: lag 127.0.0.1:{replica}: 0 bytes received and not replayed, 0 seconds");
    assert!(said.contains(&lag), "{said}");
    let sum = "pools may open 40 (sum 40: shop 40) of the ";
    let connections = format!("ok: connections 127.0.0.1:{primary}: {sum}");
    assert!(said.contains(&connections), "{said}");
    let found = format!("ok: primary databases.shop: 127.0.0.1:{primary}\n");
    assert!(said.contains(&found), "{said}");
    assert!(!said.contains("warning:") && !said.contains("error:"), "{said}");
}

#[test]
fn every_login_that_fails_is_told_with_its_reason() {
    let cluster = cluster();
    let port = cluster.primary().port();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let down = nobody.local_addr().unwrap().port();
    drop(nobody);
    let toml = [
        database(APP_DATABASE, port, ""),
        database("gone", port, &format!("user = \"{APP_USER}\"")),
        database("down", down, ""),
        database("down2", down, ""),
        user(APP_USER, PASSWORD),
        user(SUPERUSER, "wrong"),
    ];
    let (errors, code) = connect(&toml.concat(), "error: login");
    assert_eq!(code, Some(1));
    let [down1, down2, gone, wrong] = errors.as_slice() else { panic!("{errors:#?}") };
    let unreachable = format!("databases.down at 127.0.0.1:{down}: cannot connect to server at");
    assert!(down1.contains(&unreachable) && down1.contains("does the server run"), "{down1}");
    assert!(down2.contains("databases.down2 at") && down2.contains("nobody answers"), "{down2}");
    assert!(gone.contains("database \"gone\" does not exist (3D000)"), "{gone}");
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    assert!(wrong.contains("\"postgres\" (28P01)") && wrong.contains("[users]"), "{wrong}");
}

#[test]
fn secret_that_proves_nothing_alone_is_no_error() {
    let cluster = cluster();
    let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    let secret = cluster.primary().sql("postgres", sql).unwrap();
    let shop = database(APP_DATABASE, cluster.primary().port(), "");
    let (lines, code) = connect(&(shop + &user(APP_USER, &secret)), "warning: login");
    assert_eq!(code, Some(0));
    assert!(lines[0].ends_with("comes with its client's login)"), "{lines:?}");
}

#[test]
fn pools_that_the_server_cannot_bear_are_an_error() {
    let cluster = Cluster::builder().settings(&[("max_connections", "20")]).start().unwrap();
    let large = file(cluster.primary(), "default_pool_size = 18");
    let (lines, code) = connect(&large, "error: connections");
    assert_eq!(code, Some(1));
    let sum = "pools may open 18 (sum 18: shop 18) of the 17 that the server has (max_connections \
               20, 3 reserved)";
    assert!(lines[0].contains(sum), "{lines:?}");
    assert!(lines[0].contains("max_server_connections = 13"), "{lines:?}");

    let capped = format!("max_server_connections = 13\n{large}");
    let (lines, code) = connect(&capped, "ok: connections");
    assert_eq!(code, Some(0));
    assert!(lines[0].contains("pools may open 13 (sum 18"), "{lines:?}");
}

#[test]
fn hosts_without_one_primary_between_them_are_told() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let of = |first: &PostgresServer, second: &PostgresServer| {
        let more =
            format!("replicas = [\"127.0.0.1:{}\"]\ncheck_user = \"{APP_USER}\"", second.port());
        database(APP_DATABASE, first.port(), &more) + &user(APP_USER, PASSWORD)
    };
    let swapped = of(replica, primary);
    let (lines, code) = connect(&swapped, "ok: primary");
    assert_eq!(code, Some(0));
    assert_eq!(lines, [format!("ok: primary databases.shop: 127.0.0.1:{}", primary.port())]);

    let alone = database(APP_DATABASE, replica.port(), "") + &user(APP_USER, PASSWORD);
    let (lines, code) = connect(&alone, "warning: primary databases.shop: none");
    assert_eq!((lines.len(), code), (1, Some(0)), "{lines:?}");

    replica.promote().unwrap();
    let (lines, code) = connect(&swapped, "error: primary");
    assert_eq!(code, Some(1));
    let ports = format!("127.0.0.1:{}, 127.0.0.1:{}", replica.port(), primary.port());
    assert!(lines[0].contains(&ports), "{lines:?}");
}

#[test]
fn json_is_one_document_that_a_parser_reads() {
    let cluster = cluster();
    let primary = cluster.primary();
    let url = primary.url(APP_USER, PASSWORD, APP_DATABASE);
    let read = |document: &str, condition: &str| {
        let sql = format!(
            "SELECT DISTINCT what, level FROM json_to_recordset(($json${document}$json$::json)->'checks') \
             AS (what text, \"where\" text, level text, text text, hint text) \
             WHERE \"where\" <> '' AND text <> '' AND {condition} ORDER BY 1, 2"
        );
        psql_rows(&url, &sql)
    };
    let ended = check(&file(primary, ""), &["--connect", "--json"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
    let all = "clock|ok\nconnections|ok\nfile|ok\nlogin|ok\nrole|ok";
    assert_eq!(read(&ended.stdout, "hint IS NULL"), all);

    let broken = format!("port = 1\nverbose = 9\n{}", file(primary, ""));
    let ended = check(&broken, &["--json"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    assert_eq!(read(&ended.stdout, "\"where\" = 'pooler.toml:2:verbose'"), "file|error");
    assert_eq!(read(&ended.stdout, "\"where\" = 'pooler.toml:1:port'"), "file|error");

    let ended = check(&broken, &["--connect"]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended.stderr.contains("pooler.toml:2: verbose: must be from 0 to 3"),
        "{}",
        ended.stderr
    );
}
