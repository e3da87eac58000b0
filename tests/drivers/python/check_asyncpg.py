"""asyncpg: always prepares, introspects types by itself, resets pooled connections."""

import asyncio
import datetime
import decimal
import io
import json
import os

import asyncpg
from checks import CLIENTS, DISTINCT, ROUNDS, SCHEMA, URL, check, equal, main, raises_async

TABLE = f"{SCHEMA}.rows"
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)
VALUES = {
    "int4": 42,
    "int8": 2**40,
    "text": "naïve ☃ 'quoted'",
    "bytea": bytes(range(256)),
    "numeric": decimal.Decimal("12345678901234567890.123456789"),
    "timestamptz": NOON,
    "int4[]": [1, None, 3],
    "text[]": ["a", 'b"c', "d,e"],
    "bool": True,
    "float8": 0.1,
}


async def connect(**options):
    return await asyncpg.connect(URL, timeout=10, command_timeout=120, **options)


async def in_tasks(fn, count=CLIENTS):
    """Runs fn(connection, number) on as many connections at once."""

    async def client(number):
        conn = await connect()
        try:
            await fn(conn, number)
        finally:
            await conn.close()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(client(number))


@check
async def tables():
    conn = await connect()
    await conn.execute(f"CREATE TABLE {TABLE} (tag text, n int, note text)")
    await conn.execute(f"CREATE TYPE {SCHEMA}.mood AS ENUM ('sad', 'glad')")
    await conn.execute(f"CREATE TYPE {SCHEMA}.pair AS (a int, b {SCHEMA}.mood)")
    await conn.close()


@check
async def parameters():
    conn = await connect()
    for _ in range(8):
        for kind, want in VALUES.items():
            row = await conn.fetchrow(f"SELECT $1::{kind}, $2::{kind}", want, None)
            equal(tuple(row), (want, None))
        document = {"a": [1, "x", None]}
        equal(json.loads(await conn.fetchval("SELECT $1::jsonb", json.dumps(document))), document)
    await conn.close()


@check
async def types_are_introspected():
    async def client(conn, number):
        for n in range(5):
            got = await conn.fetchval(f"SELECT $1::{SCHEMA}.pair", (n, "glad"))
            equal(tuple(got), (n, "glad"))
            got = await conn.fetchval(f"SELECT $1::{SCHEMA}.pair[]", [(n, "sad"), (number, None)])
            equal([tuple(pair) for pair in got], [(n, "sad"), (number, None)])

    await in_tasks(client)


@check
async def clients_see_their_own_rows():
    async def client(conn, number):
        tag = f"c{number}"
        for n in range(ROUNDS):
            equal(tuple(await conn.fetchrow("SELECT $1::text, $2::int", tag, n)), (tag, n))
            row = await conn.fetchrow(f"SELECT $1::text || '{n}', $2::int", tag, n)
            equal(tuple(row), (f"{tag}{n}", n))
            async with conn.transaction():
                await conn.execute(f"INSERT INTO {TABLE} VALUES ($1, $2)", tag, n)
                count = f"SELECT count(*) FROM {TABLE} WHERE tag = $1"
                equal(await conn.fetchval(count, tag), n + 1)
            if n % 5 == 0:
                await raises_async("22012", conn.fetchval("SELECT 1 / $1::int", 0))

    await in_tasks(client)
    conn = await connect()
    query = f"SELECT tag, count(*), sum(n) FROM {TABLE} WHERE tag ~ '^c[0-9]$' GROUP BY tag"
    want = {(f"c{c}", ROUNDS, ROUNDS * (ROUNDS - 1) // 2) for c in range(CLIENTS)}
    equal({tuple(row) for row in await conn.fetch(query)}, want)
    await conn.close()


@check
async def pooled_connections_are_reset():
    async with asyncpg.create_pool(URL, min_size=4, max_size=4) as pool:

        async def client(number):
            for n in range(30):
                async with pool.acquire() as conn:
                    row = await conn.fetchrow("SELECT $1::text, $2::int", f"c{number}", n)
                    equal(tuple(row), (f"c{number}", n))

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))


@check
async def pooled_connections_forget_their_state():
    """The pool ends each use with a string of its own, RESET ALL among it."""

    async def init(conn):
        await conn.execute("SET extra_float_digits = 2")

    async def client(pool, number):
        for n in range(15):
            async with pool.acquire() as conn:
                query = "SELECT current_setting('work_mem'), current_setting('extra_float_digits')"
                fresh = await conn.fetchrow(query)
                equal(fresh["current_setting"] != "1234kB", True)
                await conn.execute("SET work_mem = '1234kB'")
                await conn.execute("SET search_path = pg_catalog")
                equal(await conn.fetchval("SHOW work_mem"), "1234kB")
                if n % 5 == 0:
                    lock = "SELECT pg_try_advisory_lock(hashtext($1))"
                    equal(await conn.fetchval(lock, f"{SCHEMA} {number}"), True)

    async with asyncpg.create_pool(URL, min_size=2, max_size=2, init=init) as pool:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(client(pool, number))
    conn = await connect()
    query = """SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE locktype = 'advisory' AND datname = current_database()"""
    async with asyncio.timeout(20):
        while await conn.fetchval(query):
            pass
    await conn.close()


@check
async def many_distinct_statements():
    async def client(conn, number):
        for n in list(range(DISTINCT)) + list(range(0, DISTINCT, 7)):
            row = await conn.fetchrow(f"SELECT $1::text AS tag, {n}::int AS n", f"c{number}")
            equal(tuple(row), (f"c{number}", n))

    await in_tasks(client, 3)


@check
async def prepared_statements_stay_usable():
    async def client(conn, number):
        kept = [await conn.prepare(f"SELECT $1::int + {n}, '{number}'") for n in range(20)]
        for _ in range(5):
            for n, statement in enumerate(kept):
                equal(tuple(await statement.fetchrow(n)), (2 * n, str(number)))
                equal([p.name for p in statement.get_parameters()], ["int4"])

    await in_tasks(client)


@check
async def transactions_and_savepoints():
    conn = await connect()
    insert = f"INSERT INTO {TABLE} VALUES ('tx', $1)"
    for level in ("read_committed", "repeatable_read", "serializable") * 3:
        outer = conn.transaction(isolation=level)
        await outer.start()
        await conn.execute(insert, 1)
        await outer.rollback()
        async with conn.transaction():
            await conn.execute(insert, 2)
            try:
                async with conn.transaction():
                    await conn.execute(insert, 3)
                    await conn.execute("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError:
                pass
            await conn.execute(insert, 4)
    query = f"SELECT n, count(*) FROM {TABLE} WHERE tag = 'tx' GROUP BY n ORDER BY n"
    equal([tuple(row) for row in await conn.fetch(query)], [(2, 9), (4, 9)])
    async with conn.transaction(readonly=True):
        await raises_async("25006", conn.execute(insert, 5))
    await conn.close()


@check
async def errors_leave_the_connection_usable():
    conn = await connect()
    for n in range(10):
        await raises_async("42601", conn.fetchval("SELEC $1", n))
        await raises_async("42P01", conn.fetch(f"SELECT * FROM {SCHEMA}.absent WHERE n = $1", n))
        await raises_async("22P02", conn.fetchval("SELECT $1::text::int", "x"))
        await raises_async("26000", conn.execute("EXECUTE no_such_name"))
        equal(await conn.fetchval("SELECT $1::int", n), n)
        transaction = conn.transaction()
        await transaction.start()
        await raises_async("22012", conn.fetchval("SELECT 1 / $1::int", 0))
        await raises_async("25P02", conn.fetchval("SELECT $1::int", n))
        await transaction.rollback()
    query = f"SELECT n FROM {SCHEMA}.later"
    await raises_async("42P01", conn.fetchval(query))
    await conn.execute(f"CREATE TABLE {SCHEMA}.later AS SELECT 5 AS n")
    equal(await conn.fetchval(query), 5)
    await conn.close()


@check
async def executemany():
    async def client(conn, number):
        rows = [(f"many{number}", n) for n in range(1000)]
        await conn.executemany(f"INSERT INTO {TABLE} VALUES ($1, $2)", rows)
        rows[900] = (f"many{number}", 0)
        failing = f"INSERT INTO {TABLE} VALUES ($1, 1 / $2::int)"
        await raises_async("22012", conn.executemany(failing, rows))
        query = f"SELECT sum(n) FROM {TABLE} WHERE tag = $1"
        equal(await conn.fetchval(query, f"many{number}"), 499500)
        got = await conn.fetchmany("SELECT $1::text, $2::int", rows[:50])
        equal([tuple(row) for row in got], rows[:50])

    await in_tasks(client, 4)


@check
async def cursors():
    async def client(conn, number):
        for _ in range(3):
            async with conn.transaction():
                query = "SELECT $1::int + g FROM generate_series(1, 1000) g"
                got = [row[0] async for row in conn.cursor(query, number, prefetch=50)]
                equal(got, [number + g for g in range(1, 1001)])
                cursor = await conn.cursor(query, number)
                await cursor.forward(10)
                equal([row[0] for row in await cursor.fetch(2)], [number + 11, number + 12])

    await in_tasks(client, 4)


@check
async def copy_text_and_binary():
    async def client(conn, number):
        tag = f"copy{number}"
        rows = [(tag, n, None if n % 9 else "tab\tnewline\n\\") for n in range(3000)]
        await conn.copy_records_to_table("rows", schema_name=SCHEMA, records=rows)
        query = f"SELECT * FROM {TABLE} WHERE tag = $1 ORDER BY n"
        equal([tuple(row) for row in await conn.fetch(query, tag)], rows)
        for form in ("text", "csv", "binary"):
            out = io.BytesIO()
            await conn.copy_from_query(query, tag, output=out, format=form)
            await conn.execute(f"DELETE FROM {TABLE} WHERE tag = $1", tag)
            out.seek(0)
            await conn.copy_to_table("rows", schema_name=SCHEMA, source=out, format=form)
            equal([tuple(row) for row in await conn.fetch(query, tag)], rows)
        broken = io.BytesIO(b"x\tnot a number\t\\N\n" * 500)
        coroutine = conn.copy_to_table("rows", schema_name=SCHEMA, source=broken)
        await raises_async("22P02", coroutine)
        equal(await conn.fetchval("SELECT $1::int", number), number)

    await in_tasks(client, 4)


@check
async def large_values_and_results():
    blob = os.urandom(1024) * 1024
    conn = await connect()
    equal(await conn.fetchval("SELECT $1::bytea", blob), blob)
    rows = await conn.fetch("SELECT g, 'row ' || g FROM generate_series(1, $1::int) g", 100_000)
    equal(len(rows), 100_000)
    equal(tuple(rows[-1]), (100_000, "row 100000"))
    await conn.close()


@check
async def several_statements_at_once():
    conn = await connect()
    insert = f"INSERT INTO {TABLE} VALUES ('multi', 1)"
    for _ in range(10):
        equal(await conn.execute("SELECT 1; SELECT 2 WHERE false"), "SELECT 0")
        await raises_async("22012", conn.execute(f"{insert}; SELECT 1 / 0; SELECT 3"))
        await conn.execute(f"BEGIN; {insert}; ROLLBACK")
    equal(await conn.fetchval(f"SELECT count(*) FROM {TABLE} WHERE tag = 'multi'"), 0)
    await conn.close()


@check
async def notices():
    conn = await connect()
    seen = []
    conn.add_log_listener(lambda _, message: seen.append(message.message))
    for n in range(10):
        await conn.execute(f"DO $$ BEGIN RAISE NOTICE 'note {n}'; END $$")
    await asyncio.sleep(0)  # listeners are called from the event loop
    equal(seen, [f"note {n}" for n in range(10)])
    await conn.close()


@check
async def listen_and_notify():
    channel = f"{SCHEMA}_channel"
    conn, other = await connect(), await connect()
    try:
        heard = asyncio.Queue()
        await conn.add_listener(channel, lambda _, pid, __, text: heard.put_nowait((pid, text)))
        await conn.execute(f"NOTIFY {channel}, 'probe'")
        equal(await asyncio.wait_for(heard.get(), 60), (conn.get_server_pid(), "probe"))
        for n in range(100):
            await other.execute("SELECT pg_notify($1, $2)", channel, str(n))
            if n % 3 == 0:
                equal(await conn.fetchval("SELECT $1::int", n), n)
        for n in range(100):
            want = (other.get_server_pid(), str(n))
            equal(await asyncio.wait_for(heard.get(), 60), want)
        await conn.reset()
        equal(await conn.fetch("SELECT pg_listening_channels()"), [])
    finally:
        await conn.close()
        await other.close()


@check
async def cancel():
    conn, other = await connect(), await connect()
    for n in range(3):
        tag = f"{SCHEMA}_{n}"
        sleeping = asyncio.create_task(conn.execute(f"SELECT pg_sleep(30) /* {tag} */"))
        query = f"""SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
            AND query LIKE '%{tag}%' AND pid <> pg_backend_pid()"""
        async with asyncio.timeout(20):
            while await other.fetchval(query) != 1:
                pass
        sleeping.cancel()
        await asyncio.wait([sleeping])
        equal(sleeping.cancelled(), True)
        equal(await conn.fetchval("SELECT $1::int", n), n)
        try:
            await conn.fetchval("SELECT pg_sleep(30)", timeout=0.05)
        except TimeoutError:
            pass
        else:
            raise AssertionError("no timeout")
        equal(await conn.fetchval("SELECT $1::int", n), n)
    await conn.close()
    await other.close()


@check
async def startup_parameters():
    async def client(number):
        settings = {
            "application_name": f"app {number}",
            "statement_timeout": "77s",
            "search_path": SCHEMA,
            "extra_float_digits": "2",
            "TimeZone": "Asia/Tokyo",
            "work_mem": f"{2000 + number}kB",
        }
        conn = await connect(server_settings=settings)
        for _ in range(10):
            async with conn.transaction():
                for key, want in settings.items():
                    equal(await conn.fetchval(f"SHOW {key}"), want)
                equal(await conn.fetchval("SELECT count(*) >= 0 FROM rows"), True)
        await conn.close()

    await asyncio.gather(*(client(number) for number in range(4)))


@check
async def closed_in_transaction():
    for n in range(40):
        conn = await connect()
        await conn.execute("BEGIN")
        await conn.execute(f"INSERT INTO {TABLE} VALUES ('closed', $1)", n)
        if n % 2:
            conn.terminate()
        else:
            await conn.close()
    conn = await connect()
    equal(await conn.fetchval(f"SELECT count(*) FROM {TABLE} WHERE tag = 'closed'"), 0)
    await conn.close()


@check
async def reconnect():
    for n in range(100):
        conn = await connect()
        equal(await conn.fetchval("SELECT $1::int", n), n)
        await conn.close()


if __name__ == "__main__":
    main()
