//! tokio-postgres: named statements for everything, pipelined when futures are polled together.

use std::{pin::pin, rc::Rc, time::SystemTime};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future};
use pgweir_drivers::{CLIENTS, Checks, DISTINCT, ROUNDS, at_once, equal, schema, url};
use tokio::{sync::mpsc, task::LocalSet};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, Row, SimpleQueryMessage,
    binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream},
    types::{Json, ToSql, Type},
};

async fn connect() -> Result<Client> {
    connect_with(&url().parse()?).await
}

async fn connect_with(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::task::spawn_local(connection);
    Ok(client)
}

fn raised<T>(sqlstate: &str, result: Result<T, Error>) -> Result<()> {
    match result {
        Ok(_) => bail!("no error, want SQLSTATE {sqlstate}"),
        Err(error) => match error.code() {
            Some(code) => equal(code.code(), sqlstate),
            None => Err(error.into()),
        },
    }
}

fn row<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    Ok(row.try_get(column)?)
}

async fn int(client: &Client, n: i32) -> Result<()> {
    equal(row::<i32>(&client.query_one("SELECT $1::int", &[&n]).await?, 0)?, n)
}

async fn count(client: &Client, tag: &str) -> Result<i64> {
    let query = format!("SELECT count(*) FROM {}.rows WHERE tag = $1", schema());
    row(&client.query_one(&query, &[&tag]).await?, 0)
}

async fn tables() -> Result<()> {
    let schema = schema();
    let client = connect().await?;
    client
        .batch_execute(&format!("CREATE TABLE {schema}.rows (tag text, n int, note text)"))
        .await?;
    client.batch_execute(&format!("CREATE TYPE {schema}.mood AS ENUM ('sad', 'glad')")).await?;
    let pair = format!("CREATE TYPE {schema}.pair AS (n int, mood {schema}.mood)");
    Ok(client.batch_execute(&pair).await?)
}

async fn parameters() -> Result<()> {
    let client = connect().await?;
    let blob: Vec<u8> = (0..=255).collect();
    let (text, list, noon) = ("naïve ☃ 'q'", vec![Some(1), None, Some(3)], SystemTime::UNIX_EPOCH);
    let json = serde_json::json!({"a": [1, "x", null]});
    let number = "12345678901234567890.123456789";
    let query = "SELECT $1::int, $2::text, $3::text, $4::bytea, $5::text::numeric::text, \
        $6::timestamptz, $7::int[], $8::jsonb";
    for n in 0..8 {
        let params: [&(dyn ToSql + Sync); 8] =
            [&n, &text, &None::<String>, &blob, &number, &noon, &list, &Json(&json)];
        let got = client.query_one(query, &params).await?;
        equal(row::<i32>(&got, 0)?, n)?;
        equal(row::<&str>(&got, 1)?, text)?;
        equal(row::<Option<&str>>(&got, 2)?, None)?;
        equal(&row::<Vec<u8>>(&got, 3)?, &blob)?;
        equal(row::<&str>(&got, 4)?, number)?;
        equal(row::<SystemTime>(&got, 5)?, noon)?;
        equal(&row::<Vec<Option<i32>>>(&got, 6)?, &list)?;
        equal(&row::<Json<serde_json::Value>>(&got, 7)?.0, &json)?;
    }
    let typed = client.query_typed("SELECT $1 || 'x'", &[(&"a", Type::TEXT)]).await?;
    equal(row::<&str>(typed.first().ok_or(anyhow!("no row"))?, 0)?, "ax")
}

/// Types that the driver doesn't know are looked up by cached statements of its own.
async fn types_are_looked_up(_: i32) -> Result<()> {
    let client = connect().await?;
    let statement = client.prepare(&format!("SELECT (7, 'glad')::{}.pair", schema())).await?;
    let columns = statement.columns();
    equal(columns.first().map(|column| column.type_().name()), Some("pair"))?;
    equal(client.query(&statement, &[]).await?.len(), 1)
}

async fn clients_see_their_own_rows(number: i32) -> Result<()> {
    let mut client = connect().await?;
    let own = client.prepare("SELECT $1::text, $2::int").await?;
    let insert = client.prepare(&format!("INSERT INTO {}.rows VALUES ($1, $2)", schema())).await?;
    let tag = format!("c{number}");
    for n in 0..ROUNDS {
        let got = client.query_one(&own, &[&tag, &n]).await?;
        equal((row::<&str>(&got, 0)?, row::<i32>(&got, 1)?), (tag.as_str(), n))?;
        let got = client.query_one(&format!("SELECT $1::text || '{n}'"), &[&tag]).await?;
        equal(row::<&str>(&got, 0)?, format!("{tag}{n}"))?;
        let transaction = client.transaction().await?;
        transaction.execute(&insert, &[&tag, &n]).await?;
        transaction.commit().await?;
        equal(count(&client, &tag).await?, i64::from(n) + 1)?;
        if n % 5 == 0 {
            raised("22012", client.query("SELECT 1 / $1::int", &[&0]).await)?;
        }
    }
    Ok(())
}

async fn many_distinct_statements(number: i32) -> Result<()> {
    let client = connect().await?;
    let mut kept = Vec::new();
    for n in 0..DISTINCT {
        kept.push(client.prepare(&format!("SELECT $1::int, {n}, {number}")).await?);
    }
    for _ in 0..2 {
        for (n, statement) in (0..).zip(&kept) {
            let got = client.query_one(statement, &[&5]).await?;
            let got = (row::<i32>(&got, 0)?, row::<i32>(&got, 1)?, row::<i32>(&got, 2)?);
            equal(got, (5, n, number))?;
        }
    }
    drop(kept);
    int(&client, number).await
}

async fn transactions_and_savepoints() -> Result<()> {
    let mut client = connect().await?;
    let insert =
        client.prepare(&format!("INSERT INTO {}.rows VALUES ('tx', $1)", schema())).await?;
    for _ in 0..8 {
        let transaction = client.transaction().await?;
        transaction.execute(&insert, &[&1]).await?;
        transaction.rollback().await?;
        let builder = client.build_transaction().isolation_level(IsolationLevel::Serializable);
        let mut transaction = builder.start().await?;
        transaction.execute(&insert, &[&2]).await?;
        let savepoint = transaction.savepoint("a").await?;
        savepoint.execute(&insert, &[&3]).await?;
        raised("22012", savepoint.query("SELECT 1 / $1::int", &[&0]).await)?;
        raised("25P02", savepoint.query("SELECT $1::int", &[&0]).await)?;
        savepoint.rollback().await?;
        transaction.commit().await?;
        // Dropped: the driver sends ROLLBACK by itself.
        client.transaction().await?.execute(&insert, &[&4]).await?;
    }
    equal(count(&client, "tx").await?, 8)
}

async fn errors_leave_the_connection_usable() -> Result<()> {
    let client = connect().await?;
    for n in 0..10 {
        raised("42601", client.query("SELEC $1", &[&n]).await)?;
        raised("42P01", client.prepare(&format!("SELECT * FROM {}.absent", schema())).await)?;
        raised("22P02", client.query("SELECT $1::text::int", &[&"x"]).await)?;
        raised("26000", client.batch_execute("EXECUTE no_such_name").await)?;
        int(&client, n).await?;
    }
    let later = format!("SELECT n FROM {}.later", schema());
    raised("42P01", client.query(&later, &[]).await)?;
    client.batch_execute(&format!("CREATE TABLE {}.later AS SELECT 5 AS n", schema())).await?;
    equal(row::<i32>(&client.query_one(&later, &[]).await?, 0)?, 5)
}

async fn pipelined_queries(number: i32) -> Result<()> {
    let client = connect().await?;
    let own = client.prepare("SELECT $1::int, $2::int").await?;
    let queries = (0..300).map(|n| {
        let (client, own) = (&client, &own);
        async move {
            if n % 10 == 7 {
                return raised("22012", client.query("SELECT 1 / $1::int", &[&0]).await);
            }
            let got = client.query_one(own, &[&number, &n]).await?;
            equal((row::<i32>(&got, 0)?, row::<i32>(&got, 1)?), (number, n))
        }
    });
    future::try_join_all(queries).await?;
    Ok(())
}

async fn pipelined_prepares(number: i32) -> Result<()> {
    let client = connect().await?;
    let queries = (0..40).map(|n| {
        let client = &client;
        async move {
            let got = client.query_one(&format!("SELECT $1::int, {n}"), &[&number]).await?;
            equal((row::<i32>(&got, 0)?, row::<i32>(&got, 1)?), (number, n))
        }
    });
    future::try_join_all(queries).await?;
    Ok(())
}

async fn portals(number: i32) -> Result<()> {
    let mut client = connect().await?;
    for _ in 0..3 {
        let transaction = client.transaction().await?;
        let query = "SELECT $1::int + g FROM generate_series(1, 1000) g";
        let portal = transaction.bind(query, &[&number]).await?;
        let other = transaction.bind(query, &[&5000]).await?;
        let mut sum = 0;
        loop {
            let part = transaction.query_portal(&portal, 90).await?;
            if part.is_empty() {
                break;
            }
            equal(transaction.query_portal(&other, 7).await?.len(), 7)?;
            for got in part {
                sum += row::<i32>(&got, 0)?;
            }
        }
        equal(sum, 500_500 + number * 1000)?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn copy_text_and_binary(number: i32) -> Result<()> {
    let (client, table, tag) =
        (connect().await?, format!("{}.rows", schema()), format!("copy{number}"));
    let lines: Vec<_> = (0..5000).map(|n| format!("{tag}\t{n}\t\\N\n")).collect();
    let into = format!("COPY {table} FROM STDIN");
    let mut sink = pin!(client.copy_in(&into).await?);
    for line in &lines {
        sink.feed(Bytes::from(line.clone())).await?;
    }
    equal(sink.finish().await?, 5000)?;
    let from = format!("COPY (SELECT * FROM {table} WHERE tag = '{tag}' ORDER BY n) TO STDOUT");
    let out: Vec<Bytes> = client.copy_out(&from).await?.try_collect().await?;
    equal(out.concat(), lines.concat().into_bytes())?;

    let types = [Type::TEXT, Type::INT4, Type::TEXT];
    let sink = client.copy_in(&format!("{into} BINARY")).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for n in 0..1000 {
        writer.as_mut().write(&[&format!("bin{number}"), &n, &None::<&str>]).await?;
    }
    equal(writer.finish().await?, 1000)?;
    let from = format!("COPY (SELECT * FROM {table} WHERE tag = 'bin{number}') TO STDOUT BINARY");
    let got = BinaryCopyOutStream::new(client.copy_out(&from).await?, &types);
    let got: Vec<_> = got.try_collect().await?;
    equal(got.iter().filter(|row| row.get::<&str>(0) == format!("bin{number}")).count(), 1000)?;

    let mut sink = pin!(client.copy_in(&into).await?);
    sink.send(Bytes::from_static(b"x\tnot a number\t\\N\n")).await?;
    raised("22P02", sink.finish().await)?;
    let mut dropped = Box::pin(client.copy_in::<_, Bytes>(&into).await?);
    dropped.send(Bytes::from_static(b"dropped\t1\t\\N\n")).await?;
    drop(dropped);
    equal(count(&client, "dropped").await?, 0)
}

async fn large_values_and_results() -> Result<()> {
    let client = connect().await?;
    let blob = vec![7_u8; 1 << 20];
    let got = client.query_one("SELECT $1::bytea", &[&blob]).await?;
    ensure!(row::<&[u8]>(&got, 0)? == blob, "the large value changed");
    let query = "SELECT g, 'row ' || g FROM generate_series(1, $1::int) g";
    let mut rows = pin!(client.query_raw(query, &[&100_000]).await?);
    let mut n = 0;
    while let Some(got) = rows.next().await {
        n += 1;
        equal(row::<&str>(&got?, 1)?, format!("row {n}"))?;
    }
    equal(n, 100_000)
}

async fn results_dropped_unread() -> Result<()> {
    let client = connect().await?;
    for n in 0..20 {
        let query = "SELECT g FROM generate_series(1, $1::int) g";
        let mut rows = Box::pin(client.query_raw(query, &[&5000]).await?);
        ensure!(rows.next().await.is_some(), "no row");
        drop(rows);
        int(&client, n).await?;
    }
    Ok(())
}

async fn several_statements_at_once() -> Result<()> {
    let client = connect().await?;
    let insert = format!("INSERT INTO {}.rows VALUES ('multi', 1)", schema());
    for n in 0..10 {
        let got =
            client.simple_query(&format!("SELECT {n}; SELECT 'b'; SELECT 1 WHERE false")).await?;
        let values = got.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        equal(values.collect::<Vec<_>>(), vec![n.to_string(), "b".to_owned()])?;
        raised("22012", client.batch_execute(&format!("{insert}; SELECT 1 / 0; SELECT 3")).await)?;
        client.batch_execute(&format!("BEGIN; {insert}; ROLLBACK")).await?;
    }
    equal(count(&client, "multi").await?, 0)
}

async fn notices() -> Result<()> {
    let (client, mut connection) = url().parse::<Config>()?.connect(NoTls).await?;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        while let Some(Ok(message)) = future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                sender.send(notice.message().to_owned()).ok();
            }
        }
    });
    for n in 0..10 {
        client.batch_execute(&format!("DO $$ BEGIN RAISE NOTICE 'note {n}'; END $$")).await?;
        equal(receiver.recv().await, Some(format!("note {n}")))?;
    }
    Ok(())
}

async fn cancel() -> Result<()> {
    let (client, other) = (Rc::new(connect().await?), connect().await?);
    for n in 0..3 {
        let tag = format!("{}_{n}", schema());
        let (sleeper, sleep) = (client.clone(), format!("SELECT pg_sleep(30) /* {tag} */"));
        let sleeping = tokio::task::spawn_local(async move { sleeper.batch_execute(&sleep).await });
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
            AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%' || $1 || '%'";
        while row::<i64>(&other.query_one(asleep, &[&tag]).await?, 0)? != 1 {
            ensure!(!sleeping.is_finished(), "the sleeping statement ended");
        }
        client.cancel_token().cancel_query(NoTls).await?;
        raised("57014", sleeping.await?)?;
        int(&client, n).await?;
    }
    Ok(())
}

async fn startup_parameters(number: i32) -> Result<()> {
    let (name, memory) = (format!("app {number}"), format!("{}kB", 2000 + number));
    let path = schema();
    let options = format!("-c search_path={path} -c statement_timeout=77s -c work_mem={memory}");
    let mut config: Config = url().parse()?;
    let mut client = connect_with(config.application_name(&name).options(&options)).await?;
    for _ in 0..10 {
        let transaction = client.transaction().await?;
        for (key, want) in [
            ("application_name", name.as_str()),
            ("search_path", &path),
            ("statement_timeout", "77s"),
            ("work_mem", &memory),
        ] {
            let got = transaction.query_one(&format!("SHOW {key}"), &[]).await?;
            equal(row::<&str>(&got, 0)?, want)?;
        }
        transaction.query_one("SELECT count(*) FROM rows", &[]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// What Npgsql writes ahead of the first command of a connection from its pool: `DISCARD ALL`, or
/// its parts where statements are to stay prepared.
async fn resets_ahead_of_the_first_command(number: i32) -> Result<()> {
    const PARTS: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
        SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP";
    const STATE: &str = "SELECT current_setting('work_mem'), to_regclass('mine') IS NULL, $1, \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";
    let client = connect().await?;
    let fresh = client.query_one("SHOW work_mem", &[]).await?;
    for n in 0..30 {
        let kept = client.prepare("SELECT $1::int").await?;
        let state = "SET work_mem = '1234kB'; CREATE TEMPORARY TABLE mine (n int)";
        client.batch_execute(state).await?;
        client.query_one("SELECT pg_advisory_lock($1, 0)", &[&number]).await?;
        let params = [(&n as &(dyn ToSql + Sync), Type::INT4)];
        let first = client.query_typed(STATE, &params);
        // Both are written at once.
        let (reset, first) = match n % 3 {
            0 => future::join(client.batch_execute(PARTS), first).await,
            1 => future::join(client.batch_execute("DISCARD ALL"), first).await,
            _ => {
                let discard = async { client.query_typed("DISCARD ALL", &[]).await.map(drop) };
                future::join(discard, first).await
            }
        };
        reset?;
        let first = first?;
        let first = first.first().ok_or(anyhow!("no row"))?;
        equal(row::<&str>(first, 0)?, row::<&str>(&fresh, 0)?)?;
        let got = (row::<bool>(first, 1)?, row::<i32>(first, 2)?, row::<i64>(first, 3)?);
        equal(got, (true, n, 0))?;
        match n % 3 {
            0 => equal(client.query(&kept, &[&n]).await?.len(), 1)?,
            _ => raised("26000", client.query(&kept, &[&n]).await)?,
        }
    }
    Ok(())
}

async fn closed_in_transaction() -> Result<()> {
    for n in 0..40 {
        let client = connect().await?;
        let insert = format!("BEGIN; INSERT INTO {}.rows VALUES ('closed', {n})", schema());
        client.batch_execute(&insert).await?;
    }
    equal(count(&connect().await?, "closed").await?, 0)
}

async fn reconnect() -> Result<()> {
    for n in 0..100 {
        int(&connect().await?, n).await?;
    }
    Ok(())
}

async fn run() {
    let mut checks = Checks::default();
    checks.check("tables", tables()).await;
    checks.check("parameters", parameters()).await;
    checks.check("types_are_looked_up", at_once(CLIENTS, types_are_looked_up)).await;
    checks.check("clients_see_their_own_rows", at_once(CLIENTS, clients_see_their_own_rows)).await;
    checks.check("many_distinct_statements", at_once(3, many_distinct_statements)).await;
    checks.check("transactions_and_savepoints", transactions_and_savepoints()).await;
    checks.check("errors_leave_the_connection_usable", errors_leave_the_connection_usable()).await;
    checks.check("pipelined_queries", at_once(CLIENTS, pipelined_queries)).await;
    checks.check("pipelined_prepares", at_once(CLIENTS, pipelined_prepares)).await;
    checks.check("portals", at_once(4, portals)).await;
    checks.check("copy_text_and_binary", at_once(4, copy_text_and_binary)).await;
    checks.check("large_values_and_results", large_values_and_results()).await;
    checks.check("results_dropped_unread", results_dropped_unread()).await;
    checks.check("several_statements_at_once", several_statements_at_once()).await;
    checks.check("notices", notices()).await;
    checks.check("cancel", cancel()).await;
    checks.check("startup_parameters", at_once(4, startup_parameters)).await;
    let resets = at_once(2, resets_ahead_of_the_first_command);
    checks.check("resets_ahead_of_the_first_command", resets).await;
    checks.check("closed_in_transaction", closed_in_transaction()).await;
    checks.check("reconnect", reconnect()).await;
    checks.finish()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    LocalSet::new().run_until(run()).await;
}
