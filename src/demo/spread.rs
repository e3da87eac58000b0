//! The demonstration's second database: it is spread over two servers by the ids of users. What is
//! on them, how the pooler is told of them, and the lines that show it.

use super::CREATE_CHECK_USER;
use super::cluster::{APP_DATABASE, APP_USER, Cluster, ClusterError, PASSWORD, PostgresServer};
use super::script::{Expect, Line};

/// The database, as clients of the pooler know it; on its shards it is [`APP_DATABASE`].
pub(super) const DATABASE: &str = "mall";

/// The two servers. Each is a cluster of its own, as shards are.
#[derive(Debug)]
pub(super) struct Shards {
    clusters: [(&'static str, Cluster); 2],
}

impl Shards {
    /// # Errors
    /// As for any cluster.
    pub(super) fn start() -> Result<Self, ClusterError> {
        let start = |name, identity| {
            let cluster = Cluster::builder().identity(identity).start()?;
            cluster.primary().sql(APP_DATABASE, &format!("{CREATE_CHECK_USER}\n{TABLES}"))?;
            Ok((name, cluster))
        };
        Ok(Self { clusters: [start("a", 1)?, start("b", 2)?] })
    }

    /// The servers with the names of their shards.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&'static str, &PostgresServer)> {
        self.clusters.iter().map(|(name, cluster)| (*name, cluster.primary()))
    }

    /// Their part of the configuration.
    pub(super) fn config(&self) -> String {
        let mut text = format!(
            "\n[databases.{DATABASE}]\n\
             default_shard = \"a\"\n\
             reference_tables = [\"countries\"]\n\
             \n\
             [databases.{DATABASE}.groups.users]\n\
             key_type = \"bigint\"\n\
             function = \"postgres\"\n\
             tables = {{ users = \"id\", orders = \"user_id\" }}\n"
        );
        for (name, server) in self.servers() {
            let port = server.port();
            let shard = format!(
                "\n[databases.{DATABASE}.shards.{name}]\n\
                 host = \"127.0.0.1\"\nport = {port}\ndbname = \"{APP_DATABASE}\"\n"
            );
            text.push_str(&shard);
        }
        text
    }

    /// What the lines need to know of them: names and values of variables.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let of = |(name, server): (&str, &PostgresServer)| {
            let name = name.to_uppercase();
            let data = server.data_dir().display().to_string();
            [
                (format!("SHARD_{name}"), server.url(APP_USER, PASSWORD, APP_DATABASE)),
                (format!("SHARD_{name}_DATA"), data),
            ]
        };
        self.servers().flat_map(of).collect()
    }
}

const TABLES: &str = "\
SET ROLE app;
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, country text NOT NULL);
CREATE TABLE orders (user_id bigint NOT NULL, amount integer NOT NULL);
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France');";

/// The lines, in the order in which they make sense. The last one stops a server.
pub(super) const LINES: &[Line] = &[
    Line {
        title: "A database over two servers, a and b: eight users and their orders, written through pgweir",
        command: r#"for id in $(seq 9 16); do psql "$MALL" -Atqc "insert into users (id, name, country) values ($id, 'user $id', case $id % 3 when 0 then 'fr' else 'de' end)" -c "insert into orders (user_id, amount) values ($id, $id * 10)"; done; psql "$MALL" -Atc "select count(*) from orders""#,
        expect: Expect::Exactly("8"),
    },
    Line {
        title: "... are where the hash of their key says: the users of a and those of b, asked directly",
        command: r#"for url in "$SHARD_A" "$SHARD_B"; do psql "$url" -Atc "select string_agg(id::text, ' ' order by id) from users"; done"#,
        expect: Expect::Exactly("12 13 14 16\n9 10 11 15"),
    },
    Line {
        title: "Where is user 15?",
        command: r#"psql "$CONSOLE" -A -P footer=off -c "show shard for '15'" | cut -d "|" -f 1-3,5"#,
        expect: Expect::Exactly("database|group|key_type|shard\nmall|users|bigint|b"),
    },
    Line {
        title: "The shards",
        command: r#"psql "$CONSOLE" -A -P footer=off -c "show shards" | cut -d "|" -f 1-5,7"#,
        expect: Expect::Like(
            "database|shard|pools|hosts|default|keys\nmall|a|mall|127.0.0.1:...|yes|users: 1 of 2 buckets\nmall|b|mall/b|127.0.0.1:...|no|users: 1 of 2 buckets",
        ),
    },
    Line {
        title: "Which shard is this for, and why?",
        command: r#"psql "$CONSOLE" -Atc "explain route mall select amount from users join orders on user_id = id where id = 15" | grep shard"#,
        expect: Expect::Exactly("shard|b\nshard because|of the key of users"),
    },
    Line {
        title: "... and this?",
        command: r#"psql "$CONSOLE" -Atc "explain route mall select name from users order by id" | grep shard"#,
        expect: Expect::Exactly("shard|a, b\nshard because|users has rows on all of them"),
    },
    Line {
        title: "Rows of both in one order: the four largest orders, with names from the table that both have",
        command: r#"psql "$MALL" -Atc "select u.name, c.name, amount from users u join orders o on o.user_id = u.id join countries c on c.code = u.country order by amount desc limit 4""#,
        expect: Expect::Exactly(
            "user 16|Germany|160\nuser 15|France|150\nuser 14|Germany|140\nuser 13|Germany|130",
        ),
    },
    Line {
        title: "Groups over both",
        command: r#"psql "$MALL" -Atc "select country, count(*), sum(amount), avg(amount) from users join orders on user_id = id group by country order by country""#,
        expect: Expect::Exactly("de|5|640|128.0000000000000000\nfr|3|360|120.0000000000000000"),
    },
    Line {
        title: "A transaction on one user's shard",
        command: r#"psql "$MALL" -Atqc begin -c "update users set name = 'Ada' where id = 15" -c "insert into orders (user_id, amount) values (15, 1)" -c "select name, sum(amount) from users join orders on user_id = id where id = 15 group by name" -c commit"#,
        expect: Expect::Exactly("Ada|151"),
    },
    Line {
        title: "One over two shards is refused, and nothing of it is done",
        command: r#"psql "$MALL" -Atqc begin -c "update users set name = 'Bob' where id = 12" -c "update users set name = 'Bob' where id = 15" -c commit -c "select count(*) from users where name = 'Bob'" 2>&1 | grep -v HINT"#,
        expect: Expect::Exactly(
            "ERROR:  can't be run on shards: its transaction is on shard a, and it is for shard b\n0",
        ),
    },
    Line {
        title: "So is what can't be put together exactly of what each shard says",
        command: r#"psql "$MALL" -Atc "select name, rank() over (order by id) from users" 2>&1"#,
        expect: Expect::Like(
            "ERROR:  can't be run on shards: table users: a window function over several shards\nHINT:  ...",
        ),
    },
    Line {
        title: "A shard named by hand answers alone",
        command: r#"psql "$MALL" -Atc "/* pgweir: shard=b */ select name from users order by id""#,
        expect: Expect::Exactly("user 9\nuser 10\nuser 11\nAda"),
    },
    Line {
        title: "Shard b stops: its users can't be had, those of a can",
        command: r#"$PG_CTL -s -D "$SHARD_B_DATA" -m fast stop; for id in 12 15; do psql "$MALL" -Atc "select name from users where id = $id" 2>&1; done"#,
        expect: Expect::Like("user 12\nERROR:  ..."),
    },
];
