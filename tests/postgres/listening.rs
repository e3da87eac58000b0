//! Where clients come in: addresses of both families, unix sockets, sockets of a service manager.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use pgweir::demo::cluster::{Ended, run};

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, cluster, eventually, psql, psql_rows,
};

fn configuration(cluster: &Cluster, listening: &str) -> String {
    let port = cluster.primary().port();
    format!(
        "http_listen = \"\"\nadmin_users = \"{APP_USER}\"\n{listening}\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
    )
}

/// How psql reaches a port at this host or in this directory.
fn url(host: &str, port: u16, database: &str) -> String {
    format!("postgres:///{database}?host={host}&port={port}&user={APP_USER}&password={PASSWORD}")
}

/// Runs a `pgweir` that is not meant to come up.
fn refused(toml: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pooler.toml");
    std::fs::write(&file, toml).unwrap();
    let ended =
        run(Command::new(env!("CARGO_BIN_EXE_pgweir")).arg("run").arg(file), "", LIMIT).unwrap();
    assert!(!ended.status.success(), "{}", ended.stdout);
    ended
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn every_address_and_the_unix_sockets_lead_to_the_same_pooler() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let abstract_name = format!("@pgweir-test-{}", std::process::id());
    let addresses = if has_ipv6() { "\"127.0.0.1\", \"::1\"" } else { "\"127.0.0.1\"" };
    for (unix, mode) in [(directory, "0700"), (&abstract_name, "0777")] {
        let pooler = Pooler::start(&configuration(
            &cluster,
            &format!(
                "listen_addr = [{addresses}]\nlisten_port = 0\nunix_socket_dir = \"{unix}\"\n\
                 unix_socket_mode = \"{mode}\""
            ),
        ));
        let mut hosts = vec!["127.0.0.1", unix];
        hosts.extend(has_ipv6().then_some("::1"));
        for host in hosts {
            let at = url(host, pooler.port(), APP_DATABASE);
            assert_eq!(psql_rows(&at, "SELECT current_user"), APP_USER, "{host}");
        }
        if unix == directory {
            let socket = folder.path().join(format!(".s.PGSQL.{}", pooler.port()));
            let found = std::fs::metadata(&socket).unwrap().permissions().mode();
            assert_eq!(found & 0o777, 0o700);
            assert!(pooler.stop().success());
            assert!(!socket.exists(), "the socket's file goes with its process");
        }
    }
}

#[test]
fn star_means_every_address_of_this_machine() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "listen_addr = \"*\"\nlisten_port = 0"));
    for host in ["127.0.0.1", "127.0.0.2", "::1"] {
        if host != "::1" || has_ipv6() {
            let at = url(host, pooler.port(), APP_DATABASE);
            assert_eq!(psql_rows(&at, "SELECT 1"), "1", "{host}");
        }
    }
}

#[test]
fn clients_of_the_unix_socket_show_as_their_process() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let pooler = Pooler::start(&configuration(
        &cluster,
        &format!("listen_addr = \"\"\nlisten_port = 1\nunix_socket_dir = \"{directory}\""),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let own = runtime.block_on(async {
        let (_client, connection) =
            tokio_postgres::connect(&url(directory, 1, APP_DATABASE), tokio_postgres::NoTls)
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let at = url(directory, 1, "pgweir");
        let rows = tokio::task::spawn_blocking(move || psql_rows(&at, "SHOW CLIENTS"));
        let rows = rows.await.unwrap();
        connection.abort();
        rows
    });
    let own: Vec<_> = own.split('|').collect();
    assert_eq!(own[5], format!("unix({})", std::process::id()));
    drop(pooler);
}

#[test]
fn what_is_taken_already_is_told_with_its_owner() {
    let us = format!("process {} (", std::process::id());
    let database = "[databases.shop]\nhost = \"127.0.0.1\"\n";
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = refused(&format!("http_listen = \"\"\nlisten_port = {port}\n{database}")).stderr;
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    assert!(said.contains(&us), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".s.PGSQL.1");
    let _taken = UnixListener::bind(&path).unwrap();
    let directory = folder.path().display();
    let said = refused(&format!(
        "http_listen = \"\"\nlisten_addr = \"\"\nlisten_port = 1\n\
         unix_socket_dir = \"{directory}\"\n{database}"
    ));
    let said = said.stderr;
    assert!(said.contains(&format!("cannot listen on {}", path.display())), "{said}");
    assert!(said.contains("unix_socket_dir") && said.contains(&us), "{said}");
}

/// Runs `pgweir` as a service manager does that has opened this socket for it.
fn activated(socket: OwnedFd, file: &Path) -> Pooler {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_pgweir")]).arg(file);
    Pooler::spawn(command.stdin(Stdio::from(socket)))
}

#[test]
fn sockets_of_the_service_manager_replace_those_configured() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pooler.toml");
    // The port is taken: it would not come up by itself.
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let toml = configuration(&cluster, &format!("listen_port = {port}"));
    std::fs::write(&file, toml).unwrap();
    let pooler = activated(tcp.into(), &file);
    assert_eq!(pooler.port(), port);
    assert_eq!(psql_rows(&url("127.0.0.1", port, APP_DATABASE), "SELECT 1"), "1");
    drop(pooler);

    let path = folder.path().join(".s.PGSQL.7");
    let unix = UnixListener::bind(&path).unwrap();
    let _pooler = activated(unix.into(), &file);
    let directory = folder.path().to_str().unwrap();
    assert_eq!(psql_rows(&url(directory, 7, APP_DATABASE), "SELECT 1"), "1");
    let tcp = psql(&url("127.0.0.1", port, APP_DATABASE), "SELECT 1");
    assert!(!tcp.status.success(), "nothing else is listened on");
    assert!(path.exists());
}

#[test]
fn variables_alone_are_enough_and_flags_come_before_them() {
    let cluster = cluster();
    let port = cluster.primary().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.args(["--http", "", "--port", "0"]).stdin(Stdio::null());
    command.envs([("DB_HOST", "127.0.0.1"), ("DB_PORT", &port), ("DB_USER", APP_USER)]);
    command.envs([("DB_PASSWORD", PASSWORD), ("DB_NAME", APP_DATABASE)]);
    command.envs([("ADMIN_USERS", "boss"), ("ADMIN_PASSWORD", PASSWORD)]);
    command.envs([("LISTEN_PORT", "1"), ("MAX_CLIENT_CONN", "55"), ("PGWEIR_POOL_MOD", "x")]);
    let pooler = Pooler::spawn(&mut command);
    let at = url("127.0.0.1", pooler.port(), APP_DATABASE);
    assert_eq!(psql_rows(&at, "SELECT current_user"), APP_USER);
    let config = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW CONFIG");
    assert!(config.contains("max_client_conn|55|1000|yes"), "{config}");
    let log = pooler.log();
    assert!(log.contains("PGWEIR_POOL_MOD means nothing here; did you mean PGWEIR_POOL_MODE?"));
    for name in ["LISTEN_PORT", "MAX_CLIENT_CONN", "ADMIN_USERS"] {
        assert!(log.contains(name), "{name}: {log}");
    }
    assert!(log.contains(", ADMIN_PASSWORD\n"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn verbose_has_more_words_logged() {
    let cluster = cluster();
    let detail = "new connection to server";
    for (verbose, wanted) in [(0, false), (1, true)] {
        let pooler = Pooler::start(&format!(
            "listen_port = 0\nverbose = {verbose}\n[databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\n\
             port = {}\n[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n",
            cluster.primary().port()
        ));
        let at = url("127.0.0.1", pooler.port(), APP_DATABASE);
        assert_eq!(psql_rows(&at, "SELECT current_user"), APP_USER);
        pooler.signal("HUP");
        let reloaded = || pooler.log().contains("configuration reloaded");
        eventually("what comes later is logged", LIMIT, reloaded);
        assert_eq!(pooler.log().contains(detail), wanted, "{}", pooler.log());
        assert!(!pooler.log().contains('\u{1b}'), "colours, and no terminal: {}", pooler.log());
    }
}
