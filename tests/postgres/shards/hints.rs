//! Hints and settings that name a shard: what they reach, and that none is followed that is in doubt.

use tokio_postgres::error::SqlState;

use super::changes::reload;
use super::sessions::{add_users, assert_refused, simple, told};
use super::through::{configuration, one_each, spread};
use crate::support::{APP_USER, psql};

const COUNT: &str = "SELECT count(*) FROM users";

#[tokio::test]
async fn transactions_end_and_sessions_are_mended_whatever_the_hints_say() {
    let spread = spread();
    let client = spread.client().await;
    add_users(&client, &one_each()).await;
    client.batch_execute("SET pgweir.shard = 'a'").await.unwrap();
    client.batch_execute("/* pgweir: shard=b */ BEGIN").await.unwrap();
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("/* pgweir: shard=b */ BEGIN").await.unwrap();
    client.batch_execute("/* pgweir: shard=c */ COMMIT").await.unwrap();
    assert_eq!(simple(&client, COUNT).await, ["1"]);
    for mend in ["RESET pgweir.shard", "SET pgweir.shard = ''", "SET pgweir.shard TO DEFAULT"] {
        simple(&client, "/* pgweir: shard=a */ SELECT set_config('pgweir.shard', 'zz', false)")
            .await;
        assert_refused(client.simple_query("SELECT 1").await, "no such shard");
        client.execute(mend, &[]).await.unwrap();
        assert_eq!(simple(&client, "SELECT n FROM notes").await, ["1"]);
    }
}

#[tokio::test]
async fn settings_are_not_believed_when_they_may_have_been_changed() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    client.batch_execute("SET pgweir.shard = 'a'").await.unwrap();
    for reset in [
        "RESET pgweir.shard",
        "RESET ALL",
        "SET LOCAL pgweir.shard TO DEFAULT",
        "SELECT set_config('pgweir.shard', 'b', true)",
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(simple(&client, COUNT).await, ["1"], "{reset}");
        client.batch_execute(reset).await.unwrap();
        assert_refused(client.simple_query(COUNT).await, reset);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(simple(&client, COUNT).await, ["1"], "{reset}");
        let both = format!("{reset}; {COUNT}");
        assert_refused(client.simple_query(&both).await, &both);
    }
    // Others say nothing of it.
    client.batch_execute("BEGIN").await.unwrap();
    simple(&client, "SELECT set_config('app.user', '42', true)").await;
    assert_eq!(simple(&client, COUNT).await, ["1"]);
    client.batch_execute("COMMIT; RESET pgweir.shard").await.unwrap();
    assert_eq!(simple(&client, COUNT).await, ["4"]);
    // What a transaction says itself.
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(&format!("SET LOCAL pgweir.shard_key = {}", ids[2])).await.unwrap();
    let name = format!("u{}", ids[2]);
    assert_eq!(simple(&client, "SELECT name FROM users").await, [name]);
    client.batch_execute("SAVEPOINT one").await.unwrap();
    client.batch_execute("ROLLBACK TO one").await.unwrap();
    assert_refused(client.simple_query(COUNT).await, "it may be gone");
    client.batch_execute("ROLLBACK").await.unwrap();
    // It is gone, and with it that of which shard.
    assert_eq!(simple(&client, COUNT).await, ["4"]);
}

#[tokio::test]
async fn name_of_a_setting_may_be_one_word_in_quotes() {
    let spread = spread();
    let client = spread.client().await;
    let insert = "INSERT INTO notes VALUES (2)";
    for set in ["SET LOCAL \"pgweir.shard\" = 'b'", "SET \"PgWeir.Shard\" TO 'b'"] {
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(set).await.unwrap();
        assert_refused(client.batch_execute(insert).await, set);
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    let set = "SET \"pgweir.shard\" = 'b'";
    let (set, inserted) = tokio::join!(client.batch_execute(set), client.batch_execute(insert));
    set.unwrap();
    // There it is, and that shard has no such table.
    assert_eq!(told(&inserted.unwrap_err()).0, SqlState::UNDEFINED_TABLE);
    client.batch_execute("RESET \"pgweir.shard\"").await.unwrap();
    assert_eq!(simple(&client, "SELECT count(*) FROM notes").await, ["1"]);
}

#[tokio::test]
async fn session_that_keeps_its_server_is_asked_what_its_transaction_left() {
    let spread = spread();
    let user = format!("[users.{APP_USER}]\n");
    for (mode, first) in [
        ("", "/* pgweir: shard=b */ SELECT pg_advisory_lock(7)"),
        ("pool_mode = \"session\"\n", "SELECT 1"),
    ] {
        let toml = configuration(&spread.shards, "");
        reload(&spread, &toml.replacen(&user, &format!("{user}{mode}"), 1));
        let client = spread.client().await;
        let insert =
            format!("INSERT INTO users (id) VALUES ({}) ON CONFLICT DO NOTHING", one_each()[1]);
        client.batch_execute("SET pgweir.shard = 'b'").await.unwrap();
        client.batch_execute(first).await.unwrap();
        client.batch_execute("SET pgweir.shard = 'b'").await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(&insert).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        assert_eq!(simple(&client, COUNT).await, ["1"], "{mode}");
        client.batch_execute("BEGIN; RESET pgweir.shard").await.unwrap();
        assert_refused(client.simple_query(COUNT).await, mode);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(simple(&client, COUNT).await, ["1"], "{mode}");
        client.batch_execute("RESET pgweir.shard").await.unwrap();
        assert_refused(client.simple_query(COUNT).await, mode);
        client.execute("SET pgweir.shard = 'b'", &[]).await.unwrap();
        assert_eq!(simple(&client, COUNT).await, ["1"], "{mode}");
        let found = client.query_one(COUNT, &[]).await.unwrap();
        assert_eq!(found.get::<_, i64>(0), 1, "{mode}");
    }
}

#[tokio::test]
async fn keys_by_hand_say_nothing_of_tables_without_keys() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    client.batch_execute(&format!("SET pgweir.shard_key = {}", ids[1])).await.unwrap();
    assert_eq!(simple(&client, COUNT).await, ["0"]);
    assert_refused(client.simple_query("INSERT INTO notes VALUES (2)").await, "notes");
    assert_refused(client.simple_query("UPDATE countries SET name = ''").await, "countries");
    client.batch_execute(&format!("SET pgweir.shard_key = {}", ids[0])).await.unwrap();
    assert_eq!(simple(&client, "SELECT n FROM notes").await, ["1"]);
    client.batch_execute("/* pgweir: shard=b */ UPDATE countries SET name = 'x'").await.unwrap();
    let changed = spread.on_each("SELECT count(*) FROM countries WHERE name = 'x'");
    assert_eq!(changed, ["0", "2", "0", "0"]);
}

#[tokio::test]
async fn hints_that_disagree_or_are_misspelled_are_refused() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    for text in [
        "/* pgweir: shard=a */ SELECT 1; /* pgweir: shard=b */ SELECT 2",
        "/* pgweir: primary shard=a */ SELECT n FROM notes",
        "/* pgweir: sharrd=a */ SELECT n FROM notes",
        "SELECT n FROM notes -- pgweir: shard=b",
        "/* pgweir: shard=b */ SET pgweir.shard = 'a'",
    ] {
        assert_refused(client.simple_query(text).await, text);
    }
    // Nor is one taken from another text that differs in a comment alone.
    assert_eq!(simple(&client, "SELECT n FROM notes -- so").await, ["1"]);
    client.batch_execute("SET pgweir.shard = 'a'").await.unwrap();
    client.batch_execute(&format!("SET pgweir.shard_key = {}", ids[1])).await.unwrap();
    assert_refused(client.simple_query(COUNT).await, "two settings");
    client.batch_execute(&format!("SET pgweir.shard_key = {}", ids[0])).await.unwrap();
    assert_eq!(simple(&client, COUNT).await, ["0"]);
    // So it is in a transaction.
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("SET LOCAL pgweir.shard = 'b'").await.unwrap();
    assert_refused(client.simple_query(COUNT).await, "its setting and the session's");
    client.batch_execute("ROLLBACK; RESET pgweir.shard; RESET pgweir.shard_key").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    let set = format!("/* pgweir: shard=b */ SET LOCAL pgweir.shard_key = {}", ids[1]);
    client.batch_execute(&set).await.unwrap();
    assert_refused(client.simple_query("SELECT n FROM notes").await, "by a key");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn values_of_one_client_are_not_taken_for_words_of_all() {
    let spread = spread();
    let client = spread.client().await;
    let [a, b, ..] = one_each();
    for (id, name) in [(a, "I listen to music"), (b, "LISTEN x; SET pgweir.shard = 1; names")] {
        let text = format!("INSERT INTO users (id, name) VALUES ({id}, '{name}')");
        client.batch_execute(&text).await.unwrap();
    }
    assert_eq!(spread.on_each(COUNT), ["1", "1", "0", "0"]);
    assert_refused(client.simple_query("LISTEN x").await, "LISTEN");
}

#[tokio::test]
async fn rows_of_arrays_that_are_filled_up_with_null_are_where_null_is() {
    let spread = spread();
    let client = spread.client().await;
    let insert =
        "INSERT INTO orders (user_id, total) SELECT * FROM unnest($1::bigint[], $2::int[])";
    let id = (0..4).map(|shard| one_each()[shard]);
    let mut wrong = 0;
    for id in id {
        // NULL's shard is one of them.
        match client.execute(insert, &[&vec![id], &vec![1, 2]]).await {
            Ok(_) => {}
            Err(_) => wrong += 1,
        }
        let text = "INSERT INTO orders (user_id) SELECT x FROM unnest($1::bigint[]) AS u (x)";
        let with_null = client.execute(text, &[&vec![Some(id), None]]).await;
        wrong += usize::from(with_null.is_err());
    }
    assert!(wrong >= 6, "{wrong}");
}

#[tokio::test]
async fn what_is_done_with_a_query_is_refused_in_its_own_words_and_done_on_a_shard_that_is_named() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    for (around, said) in [
        ("EXPLAIN (COSTS off) SELECT name FROM users", "EXPLAIN over several shards"),
        ("DECLARE c CURSOR FOR SELECT name FROM users", "a cursor over several shards"),
        ("COPY (SELECT name FROM users) TO STDOUT", "COPY … TO over several shards"),
    ] {
        let error = client.simple_query(around).await.unwrap_err();
        assert_eq!(told(&error).1, format!("can't be run on shards: {said}"));
        let way_out = error.as_db_error().unwrap().hint().unwrap_or_default().to_owned();
        assert!(way_out.contains("/* pgweir: shard=… */"), "{way_out}");
        let named = format!("/* pgweir: shard=b */ {around}");
        let own = format!("u{}", ids[1]);
        if around.starts_with("COPY") {
            assert_eq!(psql(&spread.url(), &named).stdout, format!("{own}\n"));
            continue;
        }
        client.batch_execute("BEGIN").await.unwrap();
        let found = simple(&client, &named).await;
        match around.starts_with("EXPLAIN") {
            true => assert_eq!(found, ["Seq Scan on users"]),
            false => assert_eq!(simple(&client, "FETCH ALL FROM c").await, [own]),
        }
        client.batch_execute("COMMIT").await.unwrap();
    }
}

#[tokio::test]
async fn shard_that_code_may_have_named_is_not_taken_for_what_it_was() {
    let spread = spread();
    let client = spread.client().await;
    let function = "/* pgweir: all_shards */ CREATE FUNCTION use_shard(text) RETURNS text \
                    LANGUAGE sql AS 'SELECT set_config(''pgweir.shard'', $1, false)'";
    client.batch_execute(function).await.unwrap();
    client.batch_execute("SET pgweir.shard = 'a'").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(simple(&client, "SELECT use_shard('b')").await, ["b"]);
    assert_refused(client.simple_query("SELECT n FROM notes").await, "it may be b");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(simple(&client, "SELECT n FROM notes").await, ["1"]);
    assert_eq!(simple(&client, "SELECT use_shard('b')").await, ["b"]);
    let (code, _) = told(&client.simple_query("SELECT n FROM notes").await.unwrap_err());
    assert_eq!(code, SqlState::UNDEFINED_TABLE);
}
