//! sqlx: named, cached statements, a pool, and a strict order of replies.

use anyhow::{Result, bail, ensure};
use futures_util::TryStreamExt;
use pgweir_drivers::{CLIENTS, Checks, DISTINCT, ROUNDS, at_once, equal, schema, url};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolCopyExt, PgPoolOptions},
    types::Json,
};
use tokio::task::LocalSet;

/// The text of a statement with the schema's name in the place of `@`.
fn sql(text: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(text.replace('@', &schema()))
}

async fn connect() -> Result<PgConnection> {
    Ok(PgConnection::connect(&url()).await?)
}

fn raised<T>(sqlstate: &str, result: Result<T, sqlx::Error>) -> Result<()> {
    match result {
        Ok(_) => bail!("no error, want SQLSTATE {sqlstate}"),
        Err(sqlx::Error::Database(error)) => equal(error.code().as_deref(), Some(sqlstate)),
        Err(error) => Err(error.into()),
    }
}

async fn int(conn: &mut PgConnection, n: i32) -> Result<()> {
    equal(sqlx::query_scalar::<_, i32>("SELECT $1::int").bind(n).fetch_one(conn).await?, n)
}

async fn count(conn: &mut PgConnection, tag: &str) -> Result<i64> {
    let query = sql("SELECT count(*) FROM @.rows WHERE tag = $1");
    Ok(sqlx::query_scalar(query).bind(tag).fetch_one(conn).await?)
}

async fn divide_by_zero(conn: &mut PgConnection) -> Result<()> {
    raised("22012", sqlx::query("SELECT 1 / $1::int").bind(0).execute(conn).await)
}

async fn tables() -> Result<()> {
    let mut conn = connect().await?;
    conn.execute(sql("CREATE TABLE @.rows (tag text, n int, note text)")).await?;
    conn.execute(sql("CREATE TYPE @.mood AS ENUM ('sad', 'glad')")).await?;
    Ok(())
}

async fn parameters() -> Result<()> {
    let mut conn = connect().await?;
    let blob: Vec<u8> = (0..=255).collect();
    let json = serde_json::json!({"a": [1, "x", null]});
    let list = vec![Some(1), None, Some(3)];
    let number = "12345678901234567890.123456789";
    let query = "SELECT $1::int, $2::text, $3::text, $4::bytea, $5::text::numeric::text, $6::int[], \
        $7::jsonb, $8::timestamptz::text";
    for n in 0..8 {
        let row = sqlx::query(query)
            .bind(n)
            .bind("naïve ☃ 'q'")
            .bind(None::<String>)
            .bind(&blob)
            .bind(number)
            .bind(&list)
            .bind(Json(&json))
            .bind(None::<String>)
            .fetch_one(&mut conn)
            .await?;
        equal(row.try_get::<i32, _>(0)?, n)?;
        equal(row.try_get::<&str, _>(1)?, "naïve ☃ 'q'")?;
        equal(row.try_get::<Option<&str>, _>(2)?, None)?;
        equal(row.try_get::<&[u8], _>(3)?, &blob)?;
        equal(row.try_get::<&str, _>(4)?, number)?;
        equal(&row.try_get::<Vec<Option<i32>>, _>(5)?, &list)?;
        equal(&row.try_get::<Json<serde_json::Value>, _>(6)?.0, &json)?;
    }
    Ok(())
}

#[derive(sqlx::Type, Clone, Copy, Debug, PartialEq)]
#[sqlx(type_name = "mood", rename_all = "lowercase")]
enum Mood {
    Sad,
    Glad,
}

/// The driver asks for the type's id before it uses it.
async fn types_are_looked_up(_: i32) -> Result<()> {
    let options: PgConnectOptions = url().parse()?;
    let mut conn =
        PgConnection::connect_with(&options.options([("search_path", schema())])).await?;
    for mood in [Mood::Sad, Mood::Glad, Mood::Sad] {
        let got: Mood = sqlx::query_scalar("SELECT $1").bind(mood).fetch_one(&mut conn).await?;
        equal(got, mood)?;
    }
    Ok(())
}

async fn clients_see_their_own_rows(number: i32) -> Result<()> {
    let (mut conn, tag) = (connect().await?, format!("c{number}"));
    for n in 0..ROUNDS {
        let query = sqlx::query_as::<_, (String, i32)>("SELECT $1::text, $2::int");
        equal(query.bind(&tag).bind(n).fetch_one(&mut conn).await?, (tag.clone(), n))?;
        let query = sqlx::query_scalar::<_, String>(sql(&format!("SELECT $1::text || '{n}'")));
        equal(query.bind(&tag).fetch_one(&mut conn).await?, format!("{tag}{n}"))?;
        let mut transaction = conn.begin().await?;
        let insert = sqlx::query(sql("INSERT INTO @.rows VALUES ($1, $2)"));
        insert.bind(&tag).bind(n).execute(&mut *transaction).await?;
        equal(count(&mut transaction, &tag).await?, i64::from(n) + 1)?;
        transaction.commit().await?;
        if n % 5 == 0 {
            divide_by_zero(&mut conn).await?;
        }
    }
    Ok(())
}

/// The driver keeps 100 statements and closes the oldest ones.
async fn many_distinct_statements(number: i32) -> Result<()> {
    let mut conn = connect().await?;
    for n in (0..DISTINCT).chain(0..DISTINCT) {
        let query = sqlx::query_as::<_, (i32, i32)>(sql(&format!("SELECT $1::int, {n}")));
        equal(query.bind(number).fetch_one(&mut conn).await?, (number, n))?;
    }
    conn.clear_cached_statements().await?;
    int(&mut conn, number).await
}

async fn statements_not_kept(number: i32) -> Result<()> {
    let mut conn = connect().await?;
    for n in 0..100 {
        let query =
            sqlx::query_as::<_, (i32, i32)>("SELECT $1::int, $2::int").persistent(n % 2 == 0);
        equal(query.bind(number).bind(n).fetch_one(&mut conn).await?, (number, n))?;
    }
    Ok(())
}

async fn pool() -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(6).connect(&url()).await?;
    let own: PgPool = pool.clone();
    at_once(30, move |number| {
        let pool = own.clone();
        async move {
            for n in 0..20 {
                let query = sqlx::query_as::<_, (i32, i32)>("SELECT $1::int, $2::int");
                equal(query.bind(number).bind(n).fetch_one(&pool).await?, (number, n))?;
                let mut transaction = pool.begin().await?;
                let insert = sqlx::query(sql("INSERT INTO @.rows VALUES ('dropped', $1)"));
                insert.bind(n).execute(&mut *transaction).await?;
                // Dropped: the pool sends ROLLBACK before it hands the connection on.
            }
            Ok(())
        }
    })
    .await?;
    pool.close().await;
    equal(count(&mut connect().await?, "dropped").await?, 0)
}

async fn transactions_and_savepoints() -> Result<()> {
    let mut conn = connect().await?;
    let insert = || sql("INSERT INTO @.rows VALUES ('tx', 1)");
    for _ in 0..8 {
        let mut transaction = conn.begin().await?;
        sqlx::query(insert()).execute(&mut *transaction).await?;
        transaction.rollback().await?;
        let mut transaction = conn.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
        sqlx::query(insert()).execute(&mut *transaction).await?;
        let mut savepoint = transaction.begin().await?;
        sqlx::query(insert()).execute(&mut *savepoint).await?;
        divide_by_zero(&mut savepoint).await?;
        raised("25P02", sqlx::query("SELECT $1::int").bind(1).execute(&mut *savepoint).await)?;
        savepoint.rollback().await?;
        transaction.commit().await?;
    }
    equal(count(&mut conn, "tx").await?, 8)
}

async fn errors_leave_the_connection_usable() -> Result<()> {
    let mut conn = connect().await?;
    for n in 0..10 {
        raised("42601", sqlx::query("SELEC $1").bind(n).execute(&mut conn).await)?;
        raised("42P01", sqlx::query(sql("SELECT * FROM @.absent")).execute(&mut conn).await)?;
        raised("22P02", sqlx::query("SELECT $1::text::int").bind("x").execute(&mut conn).await)?;
        raised("26000", conn.execute(sqlx::raw_sql("EXECUTE no_such_name")).await)?;
        int(&mut conn, n).await?;
    }
    let later = || sqlx::query_scalar::<_, i32>(sql("SELECT n FROM @.later"));
    raised("42P01", later().fetch_one(&mut conn).await)?;
    conn.execute(sql("CREATE TABLE @.later AS SELECT 5 AS n")).await?;
    equal(later().fetch_one(&mut conn).await?, 5)
}

async fn copy(number: i32) -> Result<()> {
    let (pool, tag) = (PgPool::connect(&url()).await?, format!("copy{number}"));
    let lines: String = (0..5000).map(|n| format!("{tag}\t{n}\t\\N\n")).collect();
    let into = format!("COPY {}.rows FROM STDIN", schema());
    let mut writer = pool.copy_in_raw(&into).await?;
    for part in lines.as_bytes().chunks(10_000) {
        writer.send(part).await?;
    }
    equal(writer.finish().await?, 5000)?;
    let from =
        sql(&format!("COPY (SELECT * FROM @.rows WHERE tag = '{tag}' ORDER BY n) TO STDOUT"));
    let out: Vec<_> = pool.copy_out_raw(&from.0).await?.try_collect().await?;
    equal(out.concat(), lines.into_bytes())?;
    let mut writer = pool.copy_in_raw(&into).await?;
    writer.send(&b"x\tnot a number\t\\N\n"[..]).await?;
    raised("22P02", writer.finish().await)?;
    let mut writer = pool.copy_in_raw(&into).await?;
    writer.send(&b"aborted\t1\t\\N\n"[..]).await?;
    writer.abort("given up").await?;
    equal(count(&mut *pool.acquire().await?, "aborted").await?, 0)
}

async fn large_values_and_results() -> Result<()> {
    let mut conn = connect().await?;
    let blob = vec![7_u8; 1 << 20];
    let query = sqlx::query_scalar::<_, Vec<u8>>("SELECT $1::bytea");
    ensure!(query.bind(&blob).fetch_one(&mut conn).await? == blob, "the large value changed");
    let query = "SELECT 'row ' || g FROM generate_series(1, $1::int) g";
    let mut rows = sqlx::query_scalar::<_, String>(query).bind(100_000).fetch(&mut conn);
    let mut n = 0;
    while let Some(row) = rows.try_next().await? {
        n += 1;
        equal(row, format!("row {n}"))?;
    }
    equal(n, 100_000)
}

async fn results_dropped_unread() -> Result<()> {
    let mut conn = connect().await?;
    for n in 0..20 {
        let query = sqlx::query("SELECT g FROM generate_series(1, $1::int) g").bind(5000);
        ensure!(query.fetch(&mut conn).try_next().await?.is_some(), "no row");
        int(&mut conn, n).await?;
    }
    Ok(())
}

async fn several_statements_at_once() -> Result<()> {
    let mut conn = connect().await?;
    for n in 0..10 {
        let rows =
            conn.fetch_all(sqlx::raw_sql(sql(&format!("SELECT {n}::text; SELECT 'b'")))).await?;
        let got =
            rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
        equal(got, vec![n.to_string(), "b".to_owned()])?;
        let failing = sql("INSERT INTO @.rows VALUES ('multi', 1); SELECT 1 / 0; SELECT 3");
        raised("22012", conn.execute(sqlx::raw_sql(failing)).await)?;
        let notice = sql("DO $$ BEGIN RAISE NOTICE 'note'; END $$");
        conn.execute(sqlx::raw_sql(notice)).await?;
    }
    equal(count(&mut conn, "multi").await?, 0)
}

async fn statement_timeout() -> Result<()> {
    let mut conn = connect().await?;
    for n in 0..3 {
        let mut transaction = conn.begin().await?;
        transaction.execute("SET LOCAL statement_timeout = '50ms'").await?;
        raised(
            "57014",
            sqlx::query("SELECT pg_sleep($1)").bind(30.0).execute(&mut *transaction).await,
        )?;
        transaction.rollback().await?;
        int(&mut conn, n).await?;
    }
    Ok(())
}

async fn startup_parameters(number: i32) -> Result<()> {
    let (name, memory) = (format!("app {number}"), format!("{}kB", 2000 + number));
    let settings =
        [("statement_timeout", "77s"), ("work_mem", &memory), ("search_path", &schema())]
            .map(|(key, want)| (key, want.to_owned()));
    let options: PgConnectOptions = url().parse()?;
    let options = options.application_name(&name).options(settings.clone());
    let mut conn = PgConnection::connect_with(&options).await?;
    for _ in 0..10 {
        let mut transaction = conn.begin().await?;
        for (key, want) in &settings {
            let query = sqlx::query_scalar::<_, String>(sql(&format!("SHOW {key}")));
            equal(&query.fetch_one(&mut *transaction).await?, want)?;
        }
        let query = sqlx::query_scalar::<_, String>("SHOW application_name");
        equal(&query.fetch_one(&mut *transaction).await?, &name)?;
        sqlx::query("SELECT count(*) FROM rows").execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn closed_in_transaction() -> Result<()> {
    for n in 0..40 {
        let mut conn = connect().await?;
        conn.execute("BEGIN").await?;
        let insert = sqlx::query(sql("INSERT INTO @.rows VALUES ('closed', $1)"));
        insert.bind(n).execute(&mut conn).await?;
        if n % 2 == 0 {
            conn.close().await?;
        }
    }
    equal(count(&mut connect().await?, "closed").await?, 0)
}

async fn reconnect() -> Result<()> {
    for n in 0..100 {
        let mut conn = connect().await?;
        int(&mut conn, n).await?;
        conn.close().await?;
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
    checks.check("statements_not_kept", at_once(CLIENTS, statements_not_kept)).await;
    checks.check("pool", pool()).await;
    checks.check("transactions_and_savepoints", transactions_and_savepoints()).await;
    checks.check("errors_leave_the_connection_usable", errors_leave_the_connection_usable()).await;
    checks.check("copy", at_once(4, copy)).await;
    checks.check("large_values_and_results", large_values_and_results()).await;
    checks.check("results_dropped_unread", results_dropped_unread()).await;
    checks.check("several_statements_at_once", several_statements_at_once()).await;
    checks.check("statement_timeout", statement_timeout()).await;
    checks.check("startup_parameters", at_once(4, startup_parameters)).await;
    checks.check("closed_in_transaction", closed_in_transaction()).await;
    checks.check("reconnect", reconnect()).await;
    checks.finish()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    LocalSet::new().run_until(run()).await;
}
