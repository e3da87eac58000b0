//! A schema for each tenant: what names one, or looks names up in one, runs where it is.

use tokio_postgres::{Client, NoTls};

use super::sessions::{assert_refused, simple};
use crate::support::{
    APP_USER, Cluster, LIMIT, PASSWORD, Pooler, check, cluster, eventually, psql, psql_rows,
};
use crate::wire;

/// A database over two others of one server: `a` has tenant_1, `b` has tenant_2 and tenant_3. What stands where it
/// is not looked for says "wrong".
struct Tenants {
    cluster: Cluster,
    pooler: Pooler,
    toml: String,
}

const HERE: &str = "CREATE SCHEMA tenant_1; CREATE TABLE tenant_1.orders AS SELECT 1 AS id, 't1' AS note; \
     CREATE SCHEMA tenant_2; CREATE TABLE tenant_2.orders AS SELECT 1 AS id, 'wrong' AS note; \
     CREATE TABLE notes AS SELECT 'one' AS note; CREATE TABLE plans AS SELECT 1 AS id, 'free' AS name; \
     CREATE TABLE users (id bigint); \
     CREATE FUNCTION tenant_2.tag(delete boolean) RETURNS text LANGUAGE sql AS $$SELECT 'wrong'$$";

/// On both.
const USES: &str = "CREATE FUNCTION use_tenant(text) RETURNS text LANGUAGE sql \
     AS 'SELECT set_config(''search_path'', $1 || '', public'', false)'";
const THERE: &str = "CREATE SCHEMA tenant_2; CREATE TABLE tenant_2.orders AS SELECT 1 AS id, 't2' AS note; \
     CREATE SCHEMA tenant_3; CREATE TABLE tenant_3.orders AS SELECT 1 AS id, 't3' AS note; \
     CREATE TABLE notes AS SELECT 'wrong' AS note; CREATE TABLE plans AS SELECT 1 AS id, 'free' AS name; \
     CREATE TABLE users (id bigint); \
     CREATE FUNCTION tenant_2.tag(delete boolean) RETURNS text LANGUAGE sql AS $$SELECT 't2'$$";

fn tenants() -> Tenants {
    let cluster = cluster();
    let primary = cluster.primary();
    for (name, sql) in [("shop_a", HERE), ("shop_b", THERE)] {
        let owned = format!("CREATE DATABASE {name} OWNER {APP_USER}");
        primary.sql("postgres", &owned).unwrap();
        primary.sql(name, &format!("SET ROLE {APP_USER}; {sql}; {USES}")).unwrap();
    }
    let port = primary.port();
    let mut toml = format!(
        "listen_port = 0\nadmin_users = \"boss\"\ncheck_user = \"{APP_USER}\"\ncatalog_interval = 0.1\n\
         [databases.shop]\ndefault_shard = \"a\"\nreference_tables = [\"plans\"]\n\
         [databases.shop.groups.users]\nkey_type = \"bigint\"\nfunction = \"modulo\"\n\
         tables = {{ \"public.users\" = \"id\" }}\n\
         [databases.shop.schemas]\nfunction = \"list\"\nprefix = \"tenant_\"\n\
         values = {{ tenant_1 = \"a\", tenant_2 = \"b\", tenant_3 = \"b\" }}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n[users.boss]\npassword = \"{PASSWORD}\"\n"
    );
    for name in ["a", "b"] {
        toml += &format!(
            "[databases.shop.shards.{name}]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"shop_{name}\"\n"
        );
    }
    let pooler = Pooler::start(&toml);
    let tenants = Tenants { cluster, pooler, toml };
    eventually("its tables are known", LIMIT, || {
        psql(&tenants.url(), "SELECT note FROM notes").stdout == "one\n"
    });
    tenants
}

impl Tenants {
    fn url(&self) -> String {
        self.pooler.url(APP_USER, PASSWORD, "shop")
    }

    async fn client(&self, more: &str) -> Client {
        let url = self.url() + more;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn on(&self, database: &str, sql: &str) -> String {
        self.cluster.primary().sql(database, sql).unwrap()
    }

    fn console(&self, command: &str) -> String {
        psql_rows(&self.pooler.url("boss", PASSWORD, "pgweir"), command)
    }
}

const NOTE: &str = "SELECT note FROM orders";

#[tokio::test]
async fn schema_that_is_named_says_the_shard() {
    let tenants = tenants();
    let client = tenants.client("").await;
    for (schema, note) in [("tenant_1", "t1"), ("tenant_2", "t2"), ("\"tenant_3\"", "t3")] {
        let text = format!("SELECT note FROM {schema}.orders WHERE id = ");
        assert_eq!(simple(&client, &format!("{text}1")).await, [note]);
        let prepared = client.prepare(&format!("{text}$1")).await.unwrap();
        assert_eq!(client.query_one(&prepared, &[&1]).await.unwrap().get::<_, &str>(0), note);
    }
    for sql in [
        "INSERT INTO tenant_2.orders VALUES (2, 'more')",
        "UPDATE tenant_2.orders SET note = 'less' WHERE id = 2",
        "WITH old AS (DELETE FROM Tenant_2.orders WHERE id = 1 RETURNING note) \
         INSERT INTO tenant_2.orders SELECT 3, note FROM old",
        "CREATE TABLE tenant_2.made (n int)",
        "CREATE SCHEMA tenant_2b",
    ] {
        let result = client.batch_execute(sql).await;
        match sql.ends_with("2b") {
            true => assert_refused(result, "it is on no list"),
            false => result.unwrap(),
        }
    }
    let notes = "SELECT string_agg(note, ' ' ORDER BY id) FROM tenant_2.orders";
    assert_eq!(tenants.on("shop_b", notes), "less t2");
    assert_eq!(tenants.on("shop_a", notes), "wrong");
    assert_eq!(tenants.on("shop_b", "SELECT count(*) FROM tenant_2.made"), "0");

    // With others of its shard, and with what every shard has.
    for (sql, wanted) in [
        (
            "SELECT o.note FROM tenant_3.orders o JOIN tenant_2.made ON true RIGHT JOIN plans ON true",
            "",
        ),
        ("SELECT p.name FROM tenant_3.orders o JOIN plans p USING (id)", "free"),
        ("SELECT n.note FROM tenant_1.orders, notes n", "one"),
        ("SELECT 'tenant_2.orders' FROM notes", "tenant_2.orders"),
    ] {
        let found = simple(&client, sql).await;
        assert_eq!(found.join(" ").replace("NULL", ""), wanted, "{sql}");
    }
    for sql in [
        "SELECT 1 FROM tenant_1.orders, tenant_2.orders",
        "SELECT 1 FROM tenant_2.orders, notes",
        "SELECT 1 FROM tenant_2.orders, public.notes",
        "INSERT INTO notes SELECT note FROM tenant_2.orders",
        "INSERT INTO plans SELECT id, note FROM tenant_2.orders",
        "SELECT 1 FROM tenant_2.orders o JOIN public.users u ON u.id = o.id WHERE u.id = 1",
        "SELECT 1 FROM tenant_9.orders",
        "DROP SCHEMA tenant_1, tenant_2",
        "/* pgweir: shard=a */ SELECT note FROM tenant_2.orders",
        "SELECT 1 FROM tenant_1.orders; SELECT 1 FROM tenant_2.orders",
    ] {
        assert_refused(client.simple_query(sql).await, sql);
    }
    // What goes by the schema that a table is in, whatever it is called.
    let made = "CREATE TABLE tenant_3.users (id bigint)";
    assert_refused(client.batch_execute(made).await, "a name of a group");
    client.batch_execute(&format!("/* pgweir: shard=b */ {made}")).await.unwrap();
    client.batch_execute("INSERT INTO tenant_3.users VALUES (7)").await.unwrap();
    assert_eq!(tenants.on("shop_b", "SELECT id FROM tenant_3.users"), "7");
    client.batch_execute("INSERT INTO public.users (id) VALUES (2)").await.unwrap();
    assert_eq!(tenants.on("shop_a", "SELECT id FROM users"), "2");

    // Rows from the client, and to it.
    let file = tenants.pooler.folder().join("rows");
    std::fs::write(&file, "41\n42\n").unwrap();
    let copied = psql(&tenants.url(), &format!("\\copy tenant_2.made FROM '{}'", file.display()));
    assert_eq!(copied.stderr, "");
    assert_eq!(psql(&tenants.url(), "COPY tenant_2.made TO STDOUT").stdout, "41\n42\n");
    assert_eq!(tenants.on("shop_b", "SELECT sum(n) FROM tenant_2.made"), "83");
}

#[tokio::test]
async fn search_path_says_the_shard_of_names_without_a_schema() {
    let tenants = tenants();
    let client = tenants.client("").await;
    for (path, note) in [
        ("SET search_path = tenant_2", "t2"),
        ("SET search_path TO 'tenant_1', public", "t1"),
        ("SET SESSION search_path TO \"$user\", Tenant_3", "t3"),
        ("SELECT set_config('search_path', 'tenant_2, public', false)", "t2"),
    ] {
        client.batch_execute(path).await.unwrap();
        assert_eq!(simple(&client, NOTE).await, [note], "{path}");
        // The same text, prepared under each path anew.
        let row = client.query_one("SELECT note FROM orders WHERE id = $1", &[&1]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), note, "{path}");
        // Other schemas are where they were.
        assert_eq!(simple(&client, "SELECT note FROM public.notes").await, ["one"]);
        assert_eq!(simple(&client, "SELECT note FROM tenant_1.orders").await, ["t1"]);
        client.batch_execute("UPDATE public.notes SET note = 'one'").await.unwrap();
        client.batch_execute("INSERT INTO public.users (id) VALUES (3)").await.unwrap();
    }
    assert_eq!(tenants.on("shop_b", "SELECT note FROM notes"), "wrong");
    assert_refused(client.simple_query("SELECT 1 FROM orders, public.notes").await, "two shards");
    assert_refused(
        client.simple_query("SELECT 1 FROM orders, tenant_1.orders").await,
        "two shards",
    );
    assert_refused(client.simple_query("SET search_path = tenant_1, tenant_2").await, "two shards");
    assert_refused(client.simple_query("TRUNCATE public.notes, orders").await, "two shards");
    assert_eq!(simple(&client, NOTE).await, ["t2"]);
    client.batch_execute("CREATE TABLE own (n int); INSERT INTO own VALUES (5)").await.unwrap();
    assert_eq!(tenants.on("shop_b", "SELECT n FROM tenant_2.own"), "5");
    client.batch_execute("CREATE VIEW seen AS SELECT o.n FROM own o").await.unwrap();
    assert_eq!(simple(&client, "SELECT n FROM seen").await, ["5"]);
    let moved = "ALTER TABLE public.notes SET SCHEMA tenant_2";
    assert_refused(client.simple_query(moved).await, moved);
    // Who names the shard knows better than the path.
    let by_hand = "/* pgweir: shard=a */ SELECT note FROM notes";
    assert_eq!(simple(&client, by_hand).await, ["one"]);
    client.batch_execute("RESET search_path").await.unwrap();
    assert_eq!(simple(&client, "SELECT note FROM notes").await, ["one"]);

    let of_startup = tenants.client("?options=-csearch_path%3Dtenant_3,public").await;
    assert_eq!(simple(&of_startup, NOTE).await, ["t3"]);
    of_startup.batch_execute("SET search_path = tenant_1").await.unwrap();
    assert_eq!(simple(&of_startup, NOTE).await, ["t1"]);
    for reset in ["RESET search_path", "RESET ALL", "DISCARD ALL"] {
        of_startup.batch_execute("SET search_path = tenant_1").await.unwrap();
        of_startup.batch_execute(reset).await.unwrap();
        assert_eq!(simple(&of_startup, NOTE).await, ["t3"], "{reset}");
    }
}

#[tokio::test]
async fn search_path_of_a_transaction_ends_with_it() {
    let tenants = tenants();
    let client = tenants.client("").await;
    client.batch_execute("SET search_path = tenant_1").await.unwrap();
    for end in ["COMMIT", "ROLLBACK"] {
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute("SET LOCAL search_path = tenant_2, public").await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t2"]);
        client.batch_execute("SET LOCAL search_path = tenant_3").await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t3"]);
        assert_eq!(simple(&client, "SELECT note FROM tenant_2.orders").await, ["t2"]);
        client.batch_execute(end).await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t1"], "{end}");
    }
    // Of the session, and rolled back.
    for (end, after) in [("ROLLBACK", "t1"), ("COMMIT", "t2")] {
        client.batch_execute("BEGIN; SET search_path = tenant_2").await.unwrap();
        assert_refused(client.simple_query(NOTE).await, "it was said among others");
        client.batch_execute("ROLLBACK").await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute("SET search_path = tenant_2").await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t2"]);
        client.batch_execute(end).await.unwrap();
        assert_eq!(simple(&client, NOTE).await, [after], "{end}");
    }
    // A transaction is on one shard.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(simple(&client, NOTE).await, ["t2"]);
    assert_refused(client.simple_query("SET LOCAL search_path = tenant_1").await, "another shard");
    client.batch_execute("ROLLBACK").await.unwrap();
    // What may have changed it is not guessed.
    for change in ["RESET search_path", "SELECT set_config('search_path', 'tenant_3', true)"] {
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t2"]);
        client.batch_execute(change).await.unwrap();
        assert_eq!(simple(&client, "SELECT note FROM tenant_3.orders").await, ["t3"]);
        assert_refused(client.simple_query(NOTE).await, change);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(simple(&client, NOTE).await, ["t2"], "{change}");
    }
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("SAVEPOINT one").await.unwrap();
    client.batch_execute("SET LOCAL search_path = tenant_3").await.unwrap();
    client.batch_execute("ROLLBACK TO one").await.unwrap();
    assert_refused(client.simple_query(NOTE).await, "it may be gone");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(simple(&client, NOTE).await, ["t2"]);
}

#[test]
fn schemas_are_shown_with_their_shards() {
    let tenants = tenants();
    assert_eq!(
        tenants.console("SHOW SHARD FOR 'tenant_2'"),
        "shop|users|bigint|||the shard key is no bigint\nshop|schemas|text||b|"
    );
    let missing = tenants.console("SHOW SHARD FOR 'tenant_7'");
    assert!(missing.contains("shop|schemas|text|||the shard key is not on the list"), "{missing}");
    assert!(!tenants.console("SHOW SHARD FOR '7'").contains("schemas"));
    let shards = tenants.console("SHOW SHARDS");
    assert!(shards.contains("users: 1 of 2 buckets; schemas: 2 of 3 values"), "{shards}");
    let route = tenants.console("EXPLAIN ROUTE shop SELECT note FROM tenant_2.orders");
    assert!(route.contains("shard|b\nshard because|of the schema that it names"), "{route}");
}

#[test]
fn schemas_that_are_elsewhere_are_told_by_check() {
    let tenants = tenants();
    let told = || {
        let boss = format!("[users.boss]\npassword = \"{PASSWORD}\"\n");
        let ended = check(&tenants.toml.replace(&boss, ""), &["--connect"]);
        let of_shards = |line: &&str| line.contains(": shard ") && !line.starts_with("ok");
        let lines: Vec<_> = ended.stdout.lines().filter(of_shards).map(str::to_owned).collect();
        (lines, ended.status.code())
    };
    let (lines, code) = told();
    assert_eq!((lines.len(), code), (2, Some(0)), "{lines:#?}");
    let copy = "warning: shard schemas databases.shop: shard a has schemas of other shards as well: tenant_2";
    assert!(lines[0].starts_with(copy), "{lines:#?}");
    assert!(
        lines[1]
            .contains("shard b has tables of no group, of which those on a count: public.notes")
    );
    tenants.on("shop_b", "DROP SCHEMA tenant_2 CASCADE");
    tenants.on("shop_b", "CREATE SCHEMA tenant_7");
    let (lines, code) = told();
    assert_eq!(code, Some(1));
    let wanted = [
        "error: shard schemas databases.shop: schema tenant_2 is on shard a, and looked for on b",
        "error: shard schemas databases.shop: schema tenant_7 is on shard b, and on none by the configuration",
        "warning: shard tables",
    ];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{lines:#?}");
    }
    tenants.on("shop_a", "DROP SCHEMA tenant_2 CASCADE");
    let (lines, _) = told();
    let missing = "warning: shard schemas databases.shop: schema tenant_2 is on no shard, and looked for on b";
    assert!(lines.iter().any(|line| line.starts_with(missing)), "{lines:#?}");
}

#[test]
fn path_of_a_transaction_is_not_that_of_what_comes_behind_it() {
    let tenants = tenants();
    let parameters = [("user", APP_USER), ("database", "shop")];
    let count = "SELECT count(*) FROM notes";
    for (script, heard) in [
        // All of it comes at once.
        (
            "Q BEGIN / Q SET LOCAL search_path = tenant_2, public / Q SELECT note FROM orders / Q COMMIT / \
             Q SELECT note FROM notes",
            "C[BEGIN] ZT C[SET] ZT T D[t2] C[SELECT 1] ZT C[COMMIT] ZI T D[one] C[SELECT 1] ZI",
        ),
        (
            "Q BEGIN / Q SET LOCAL search_path = tenant_2, public / Q SELECT note FROM orders / \
             Q COMMIT; INSERT INTO notes VALUES ('lost')",
            "C[BEGIN] ZT C[SET] ZT T D[t2] C[SELECT 1] ZT E[0A000] ZE",
        ),
        (
            "Q BEGIN; INSERT INTO tenant_2.orders VALUES (2, 'x'); INSERT INTO notes VALUES ('lost'); COMMIT",
            "E[0A000] ZI",
        ),
        (
            "Q WITH notes AS (SELECT note FROM tenant_2.orders) INSERT INTO notes SELECT note FROM notes",
            "E[0A000] ZI",
        ),
        // What stands in a statement that is prepared by SQL can't be seen.
        (
            "Q PREPARE p AS SELECT note FROM tenant_2.orders / Q PREPARE q AS SELECT 1 / Q EXECUTE q",
            "E[0A000] ZI C[PREPARE] ZI E[0A000] ZI",
        ),
        ("Q TRUNCATE notes, tenant_2.orders", "E[0A000] ZI"),
        (
            "Q SET search_path = tenant_2, public / Q SELECT current_schema() / \
             Q SELECT relname FROM pg_catalog.pg_class WHERE relname = 'orders' AND pg_table_is_visible(oid)",
            "C[SET] ZI T D[tenant_2] C[SELECT 1] ZI T D[orders] C[SELECT 1] ZI",
        ),
    ] {
        let mut client = wire::Client::login_with(tenants.pooler.port(), &parameters, PASSWORD);
        client.talk(script, heard);
    }
    assert_eq!([tenants.on("shop_a", count), tenants.on("shop_b", count)], ["1", "1"]);
}

/// Whatever a text is written like, what it names is looked for where its path has it.
#[tokio::test]
async fn nothing_that_a_text_looks_up_goes_unseen() {
    let tenants = tenants();
    let client = tenants.client("").await;
    client.batch_execute("SET search_path = tenant_2, public").await.unwrap();
    let casts = "'a'::text, ".repeat(210);
    for sql in [
        "SELECT note FROM (SELECT 0 AS id, 'x' AS note UNION ALL TABLE orders) s WHERE id = 1",
        "SELECT note FROM (SELECT 7 AS id, 'x' AS note EXCEPT SELECT 7, 'x' UNION TABLE orders) s",
        "SELECT tag(true)",
        "SELECT tag(delete => true)",
        "SELECT tag(true) FOR UPDATE",
        &format!("SELECT tag((ARRAY[{casts} 'b'])[1] = 'a')"),
        "SELECT * FROM tag(true) AS merge",
    ] {
        assert_eq!(simple(&client, sql).await, ["t2"], "{sql}");
    }
    for sql in [
        "SELECT note FROM public.notes UNION ALL TABLE orders",
        "SELECT note INTO fresh FROM public.notes UNION ALL SELECT 'x'",
        "INSERT INTO public.notes SELECT tag(true)",
        "INSERT INTO public.notes VALUES (tag(true))",
        "UPDATE public.notes SET note = note RETURNING tag(true)",
        "WITH old AS (DELETE FROM public.notes RETURNING note) SELECT tag(true) FROM old",
    ] {
        assert_refused(client.simple_query(sql).await, sql);
    }
    client.batch_execute("SET search_path = tenant_3, public").await.unwrap();
    assert_eq!(simple(&client, "SELECT current_schema").await, ["tenant_3"]);

    client.batch_execute("RESET search_path").await.unwrap();
    for sql in [
        "SELECT note FROM tenant_2.orders UNION ALL TABLE notes",
        "SELECT note INTO fresh FROM tenant_2.orders UNION ALL SELECT 'x'",
        "INSERT INTO tenant_2.orders SELECT 5, note FROM (SELECT 'x' AS note UNION TABLE notes) s",
        "COPY (SELECT note FROM tenant_2.orders UNION ALL (TABLE notes)) TO STDOUT",
        "COPY (SELECT n.note FROM tenant_2.orders, notes n FOR NO KEY UPDATE) TO STDOUT",
        "COPY (INSERT INTO notes OVERRIDING USER VALUE SELECT note FROM tenant_2.orders \
         RETURNING note) TO STDOUT",
        "TRUNCATE tenant_2.orders, public.notes",
    ] {
        assert_refused(client.simple_query(sql).await, sql);
    }
    for database in ["shop_a", "shop_b"] {
        let found =
            tenants.on(database, "SELECT count(*), to_regclass('fresh') IS NULL FROM notes");
        assert_eq!(found, "1|t", "{database}");
    }
}

#[tokio::test]
async fn tables_of_a_schema_are_on_its_shard_however_they_are_named() {
    let tenants = tenants();
    let client = tenants.client("").await;
    for sql in [
        "SELECT note FROM tenant_2.orders FOR NO KEY UPDATE",
        "SELECT note FROM tenant_2.orders o FOR KEY SHARE OF o SKIP LOCKED",
        "SELECT note FROM ONLY tenant_2.orders",
        "SELECT note FROM (TABLE tenant_2.orders) s",
        "SELECT o.note FROM tenant_2.orders o, generate_series(1, 1)",
        "BEGIN; DECLARE c CURSOR FOR SELECT note FROM tenant_2.orders; FETCH c; COMMIT",
        "BEGIN; LOCK TABLE tenant_2.orders IN SHARE MODE; TABLE tenant_2.orders; COMMIT",
    ] {
        let found = simple(&client, sql).await;
        assert_eq!(found.last().map(|row| row.trim_start_matches("1|")), Some("t2"), "{sql}");
    }
    let made = "CREATE TABLE tenant_2.more (n int); CREATE INDEX ON tenant_2.more (n)";
    client.batch_execute(made).await.unwrap();
    // Of an index it is not known what its table is.
    client.batch_execute("CREATE INDEX by_n ON tenant_2.more (n)").await.unwrap();
    for sql in ["REINDEX INDEX tenant_2.by_n", "DROP INDEX tenant_2.by_n"] {
        assert_refused(client.simple_query(sql).await, sql);
        client.batch_execute(&format!("/* pgweir: shard=b */ {sql}")).await.unwrap();
    }
    client.batch_execute("TRUNCATE tenant_2.orders, tenant_2.more RESTART IDENTITY").await.unwrap();
    assert_eq!(tenants.on("shop_b", "SELECT count(*) FROM tenant_2.orders, tenant_2.more"), "0");
    assert_eq!(tenants.on("shop_a", "SELECT count(*) FROM tenant_2.orders"), "1");
}

#[test]
fn names_of_schemas_are_read_in_the_encoding_of_the_client() {
    let tenants = tenants();
    let (before, listed) = ("tenant_3 = \"b\"", "tenant_3 = \"b\", \"tenant_é\" = \"b\"");
    let pooler = Pooler::start(&tenants.toml.replace(before, listed));
    let url = pooler.url(APP_USER, PASSWORD, "shop");
    eventually("its tables are known", LIMIT, || {
        psql(&url, "SELECT note FROM notes").stdout == "one\n"
    });
    let parameters = [("user", APP_USER), ("database", "shop")];
    let mut client = wire::Client::login_with(pooler.port(), &parameters, PASSWORD);
    client.talk(
        "P - SET client_encoding = 'LATIN1' / B - / E / P - SET search_path = tenant_é / B - / E / \
         P - SELECT note FROM orders / B - / E / S",
        "E[0A000] ZI",
    );
}

#[test]
fn path_that_code_may_have_set_is_not_taken_for_what_it_was() {
    let tenants = tenants();
    let parameters = [("user", APP_USER), ("database", "shop")];
    let login = || wire::Client::login_with(tenants.pooler.port(), &parameters, PASSWORD);
    for (script, heard) in [
        // What comes at once waits until it is known, outside of a transaction.
        (
            "Q SELECT use_tenant('tenant_2') / Q SELECT note FROM orders",
            "T D[tenant_2, public] C[SELECT 1] ZI T D[t2] C[SELECT 1] ZI",
        ),
        (
            "Q BEGIN / Q SELECT use_tenant('tenant_2') / Q INSERT INTO notes VALUES ('lost') / Q ROLLBACK",
            "C[BEGIN] ZT T D[tenant_2, public] C[SELECT 1] ZT E[0A000] ZE C[ROLLBACK] ZI",
        ),
        (
            "P - SELECT use_tenant('tenant_2') / B - / E / P - INSERT INTO notes VALUES ('lost') / B - / E / S",
            "E[0A000] ZI",
        ),
        ("Q SELECT use_tenant('tenant_2'); INSERT INTO notes VALUES ('lost')", "E[0A000] ZI"),
        // A SET that fails has set nothing.
        (
            "Q SET search_path = tenant_2, user / Q SELECT note FROM notes",
            "E[42601] ZI T D[one] C[SELECT 1] ZI",
        ),
        (
            "Q SET search_path = tenant_2 / Q SELECT note FROM orders",
            "C[SET] ZI T D[t2] C[SELECT 1] ZI",
        ),
    ] {
        login().talk(script, heard);
    }
    // What is named needs no path, and one that is said makes it clear.
    let mut client = login();
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    client.talk("Q SELECT use_tenant('tenant_1')", "T D[tenant_1, public] C[SELECT 1] ZT");
    client.talk("Q SELECT note FROM tenant_1.orders", "T D[t1] C[SELECT 1] ZT");
    client.talk("Q SET LOCAL search_path = tenant_1", "C[SET] ZT");
    client.talk("Q SELECT note FROM orders / Q COMMIT", "T D[t1] C[SELECT 1] ZT C[COMMIT] ZI");
    let count = "SELECT count(*) FROM notes";
    assert_eq!([tenants.on("shop_a", count), tenants.on("shop_b", count)], ["1", "1"]);
}
