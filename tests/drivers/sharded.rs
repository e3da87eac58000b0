//! Applications on two shards, whose servers stop and start when the applications say so.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::check_with;
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, StopMode, eventually, psql,
};

const SHARDS: [&str; 2] = ["a", "b"];

#[test]
fn applications_run_on_shards() {
    let shards: [Cluster; 2] = [1, 2].map(|identity| {
        let cluster = Cluster::builder().identity(identity).start().unwrap();
        let tables = include_str!("shards.sql").replace("FIRST_ID", &identity.to_string());
        let tables = format!("SET ROLE {APP_USER};\n{tables}");
        cluster.primary().sql(APP_DATABASE, &tables).unwrap();
        cluster
    });
    let pooler = Pooler::start(&configuration(&shards));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    eventually("its tables are known", LIMIT, || {
        psql(&url, "SELECT count(*) FROM users").stdout == "0\n"
    });
    let control = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = control.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in control.incoming() {
                if !obey(&shards, stream.unwrap()) {
                    break;
                }
            }
        });
        // Also when the applications have failed.
        let _end = End(&address);
        check_with("run", &["--shards", "--url", &url], &[("SHARDS_CONTROL", &address)]);
    });
}

/// Ends the thread that stops and starts servers.
struct End<'a>(&'a str);

impl Drop for End<'_> {
    fn drop(&mut self) {
        TcpStream::connect(self.0).unwrap().write_all(b"end\n").unwrap();
    }
}

/// Does what a line says, and answers; whether there may be more.
fn obey(shards: &[Cluster; 2], mut stream: TcpStream) -> bool {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    let Some((order, name)) = line.trim().split_once(' ') else { return line.trim() != "end" };
    let of_name = SHARDS.iter().zip(shards).find(|(shard, _)| **shard == name);
    let done = match (order, of_name) {
        ("stop", Some((_, shard))) => shard.primary().stop(StopMode::Fast),
        ("start", Some((_, shard))) => shard.primary().start(),
        _ => panic!("unknown order {line:?}"),
    };
    let answer = done.map_or_else(|error| error.to_string(), |()| "done".to_owned());
    writeln!(stream, "{answer}").unwrap();
    true
}

fn configuration(shards: &[Cluster; 2]) -> String {
    let mut toml = format!(
        "listen_port = 0\nhttp_listen = \"\"\ncheck_user = \"{APP_USER}\"\n\
         default_pool_size = 4\ndebug_force_hop = true\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [databases.{APP_DATABASE}]\ndefault_shard = \"a\"\nreference_tables = [\"countries\"]\n\
         [databases.{APP_DATABASE}.groups.users]\nkey_type = \"bigint\"\nfunction = \"postgres\"\n\
         tables = {{ users = \"id\", orders = \"user_id\", items = \"user_id\" }}\n"
    );
    for (name, shard) in SHARDS.iter().zip(shards) {
        let port = shard.primary().port();
        toml += &format!(
            "[databases.{APP_DATABASE}.shards.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n"
        );
    }
    toml
}
