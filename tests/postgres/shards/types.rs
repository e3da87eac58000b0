//! Types of keys that the configuration leaves to the catalog of the default shard.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::sessions::{assert_refused, simple, told};
use crate::support::{
    APP_USER, Cluster, LIMIT, PASSWORD, Pooler, check, cluster, eventually, psql, psql_rows,
};

/// Two databases of one server as shards, each with these tables.
fn shards(tables: &str) -> Cluster {
    let cluster = cluster();
    for name in ["shop_a", "shop_b"] {
        let sql = format!("CREATE DATABASE {name} OWNER {APP_USER}");
        cluster.primary().sql("postgres", &sql).unwrap();
        let sql = format!("SET ROLE {APP_USER}; {tables}");
        cluster.primary().sql(name, &sql).unwrap();
    }
    cluster
}

/// A pooler's file with `key` in its group.
fn file(cluster: &Cluster, general: &str, key: &str) -> String {
    let port = cluster.primary().port();
    let mut toml = format!(
        "listen_port = 0\nadmin_users = \"boss\"\ncatalog_interval = 0.1\n{general}\n\
         [databases.shop]\ndefault_shard = \"a\"\n\
         [databases.shop.groups.users]\n{key}\nfunction = \"postgres\"\nbuckets = 64\n\
         tables = {{ users = \"id\", orders = \"user_id\" }}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n[users.boss]\npassword = \"{PASSWORD}\"\n"
    );
    for name in ["a", "b"] {
        toml += &format!(
            "[databases.shop.shards.{name}]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"shop_{name}\"\n"
        );
    }
    toml
}

fn read_by(user: &str) -> String {
    format!("check_user = \"{user}\"")
}

fn url(pooler: &Pooler) -> String {
    pooler.url(APP_USER, PASSWORD, "shop")
}

fn console(pooler: &Pooler, command: &str) -> String {
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), command)
}

async fn client(pooler: &Pooler) -> Client {
    let (client, connection) = tokio_postgres::connect(&url(pooler), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn rows_are_where_they_are_with_the_type_in_the_file() {
    for (kind, key) in [
        ("bigint", "n"),
        ("text", "'u' || n"),
        ("uuid", "md5(n::text)::uuid"),
        ("date", "date '2000-01-01' + n"),
    ] {
        let cluster = shards(&format!(
            "CREATE TABLE users (id {kind}, n int); CREATE TABLE orders (user_id {kind}, n int)"
        ));
        let read = read_by(APP_USER);
        let given = Pooler::start(&file(&cluster, &read, &format!("key_type = \"{kind}\"")));
        let open = Pooler::start(&file(&cluster, &read, ""));
        for pooler in [&given, &open] {
            eventually("its tables are known", LIMIT, || {
                psql(&url(pooler), "SELECT count(*) FROM users").stdout == "0\n"
            });
        }
        let keys = format!("SELECT {key} FROM generate_series(1, 30) n");
        let keys = psql_rows(&cluster.primary().url(APP_USER, PASSWORD, "shop_a"), &keys);
        let (given, open) = (client(&given).await, client(&open).await);
        let found = "SELECT n FROM users WHERE id = ";
        for (key, n) in keys.lines().zip(1..) {
            open.batch_execute(&format!("INSERT INTO users (id, n) VALUES ('{key}', {n})"))
                .await
                .unwrap();
            for client in [&given, &open] {
                let text = format!("{found}'{key}'");
                assert_eq!(simple(client, &text).await, [n.to_string()], "{kind} {key}");
            }
        }
        for shard in ["shop_a", "shop_b"] {
            let count = cluster.primary().sql(shard, "SELECT count(*) > 3 FROM users").unwrap();
            assert_eq!(count, "t", "{kind} on {shard}");
        }
    }
}

#[tokio::test]
async fn type_that_is_not_known_yet_is_waited_for() {
    let cluster = shards("CREATE TABLE users (id bigint); CREATE TABLE orders (user_id bigint)");
    let toml = file(&cluster, &read_by("reader"), "") + "[users.reader]\npassword = \"none\"\n";
    let pooler = Pooler::start(&toml);
    let client = client(&pooler).await;
    let by_key = "SELECT id FROM public.users WHERE id = 1";
    let error = client.simple_query(by_key).await.unwrap_err();
    assert_eq!(told(&error).0, SqlState::CANNOT_CONNECT_NOW);
    let error = client.query("SELECT id FROM public.users WHERE id = $1", &[&1_i64]).await;
    assert_eq!(told(&error.unwrap_err()).0, SqlState::CANNOT_CONNECT_NOW);
    let by_hand = "/* pgweir: shard=b */ SELECT count(*) FROM users";
    assert_eq!(simple(&client, by_hand).await, ["0"]);
    let said = "the type of keys of group users is not known yet";
    assert_eq!(console(&pooler, "SHOW SHARD FOR '1'"), format!("shop|users||||{said}"));
    assert!(console(&pooler, "SHOW SHARDS").contains("users: unknown"));

    let reader = "CREATE ROLE reader LOGIN PASSWORD 'none'";
    cluster.primary().sql("postgres", reader).unwrap();
    eventually("the catalog is read", LIMIT, || {
        psql(&url(&pooler), by_key).stdout.is_empty()
            && psql(&url(&pooler), by_key).stderr.is_empty()
    });
    assert!(console(&pooler, "SHOW SHARD FOR '1'").starts_with("shop|users|bigint|"));
}

#[tokio::test]
async fn types_that_do_not_agree_are_told_and_never_guessed() {
    let cluster = shards("CREATE TABLE users (id bigint); CREATE TABLE orders (user_id text)");
    let toml = file(&cluster, &read_by(APP_USER), "");
    let pooler = Pooler::start(&toml);
    let client = client(&pooler).await;
    let by_key = "SELECT id FROM users WHERE id = 1";
    eventually("the catalog is read", LIMIT, || {
        psql(&url(&pooler), by_key).stderr.contains("can't be run on shards")
    });
    let said = "the type of keys of group users is not known: public.orders.user_id is text, and \
                public.users.id is bigint";
    let error = client.simple_query(by_key).await.unwrap_err();
    assert_eq!(told(&error).1, format!("can't be run on shards: {said}"));
    assert_refused(client.simple_query("INSERT INTO users (id) VALUES (1)").await, "a write");
    assert_refused(client.simple_query("SET pgweir.shard_key = 1").await, "a key by hand");
    assert_eq!(console(&pooler, "SHOW SHARD FOR '1'"), format!("shop|users||||{said}"));
    let route = console(&pooler, &format!("EXPLAIN ROUTE shop {by_key}"));
    assert!(route.contains(said), "{route}");
    assert!(pooler.log().contains(said), "{}", pooler.log());
    let ended = check(&toml, &["--connect"]);
    let line = format!("error: shard keys databases.shop: {said} (");
    assert!(ended.stdout.contains(&line) && ended.status.code() == Some(1), "{}", ended.stdout);

    // It agrees, and keys are what they are from then on.
    let change = |kind: &str| {
        for shard in ["shop_a", "shop_b"] {
            for (table, key) in [("orders", "user_id"), ("users", "id")] {
                let sql =
                    format!("ALTER TABLE {table} ALTER {key} TYPE {kind} USING {key}::{kind}");
                cluster.primary().sql(shard, &sql).unwrap();
            }
        }
    };
    let works = || psql(&url(&pooler), by_key).stderr.is_empty();
    change("int");
    eventually("they agree", LIMIT, works);
    client.batch_execute("INSERT INTO users (id) VALUES (1)").await.unwrap();
    change("bigint");
    let large = "SELECT id FROM users WHERE id = 5000000000";
    eventually("they are larger", LIMIT, || psql(&url(&pooler), large).stderr.is_empty());
    assert_eq!(simple(&client, by_key).await, ["1"]);
    change("text");
    eventually("they are others", LIMIT, || {
        psql(&url(&pooler), "SELECT id FROM users WHERE id = '1'")
            .stderr
            .contains("its keys were bigint, and are text now")
    });
    change("bigint");
    eventually("they are what they were", LIMIT, works);
    assert_eq!(simple(&client, by_key).await, ["1"]);
}

#[tokio::test]
async fn what_check_says_of_types_is_what_comes_of_them() {
    for (types, wrong) in [
        ("CREATE DOMAIN name AS text", None),
        ("CREATE DOMAIN name AS varchar(9)", Some("character varying(9), which cuts off blanks")),
        ("CREATE DOMAIN name AS name", Some("name, which is no type of keys")),
    ] {
        let tables = "CREATE TABLE users (id public.name); CREATE TABLE orders (user_id text)";
        let cluster = shards(&format!("{types}; {tables}"));
        let toml = file(&cluster, &read_by(APP_USER), "");
        let ended = check(&toml, &["--connect"]);
        let pooler = Pooler::start(&toml);
        let by_key = "SELECT id FROM public.users WHERE id = '1'";
        let said = "can't be run on shards: the type of keys of group users is not known: \
                    public.users.id is ";
        match wrong {
            None => {
                assert!(!ended.stdout.contains("error: shard"), "{}", ended.stdout);
                eventually("it runs", LIMIT, || psql(&url(&pooler), by_key).stderr.is_empty());
            }
            Some(wrong) => {
                let told = format!("error: shard keys databases.shop: {}{wrong}", &said[24..]);
                assert!(ended.stdout.contains(&told), "{told}\n{}", ended.stdout);
                let refusal = format!("{said}{wrong}");
                eventually("it is refused", LIMIT, || {
                    psql(&url(&pooler), by_key).stderr.contains(&refusal)
                });
            }
        }
    }
}
