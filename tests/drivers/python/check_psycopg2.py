"""psycopg2: simple protocol, implicit BEGIN, named cursors."""

import datetime
import decimal
import io

import psycopg2
import psycopg2.extras
from checks import (
    CLIENTS,
    DISTINCT,
    ROUNDS,
    SCHEMA,
    URL,
    cancel_when_asleep,
    check,
    equal,
    in_threads,
    main,
    raises,
)

TABLE = f"{SCHEMA}.rows"
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)
VALUES = {
    "int4": 42,
    "int8": 2**40,
    "text": "naïve ☃ 'quoted' \\",
    "numeric": decimal.Decimal("12345678901234567890.123456789"),
    "timestamptz": NOON,
    "int4[]": [1, None, 3],
    "text[]": ["a", 'b"c', "d,e"],
    "bool": True,
    "float8": 0.1,
}


def connect(autocommit=False, **options):
    conn = psycopg2.connect(URL, connect_timeout=10, **options)
    conn.autocommit = autocommit
    return conn


def execute(conn, query, *params):
    cur = conn.cursor()
    cur.execute(query, params or None)
    return cur


def value(conn, query, *params):
    return execute(conn, query, *params).fetchone()[0]


@check
def tables():
    with connect() as conn:
        execute(conn, f"CREATE TABLE {TABLE} (tag text, n int, note text)")


@check
def parameters():
    conn = connect(autocommit=True)
    for _ in range(8):
        for kind, want in VALUES.items():
            row = execute(conn, f"SELECT %s::{kind}, %s::{kind}", want, None).fetchone()
            equal(row, (want, None))
        blob = bytes(range(256))
        equal(bytes(value(conn, "SELECT %s::bytea", psycopg2.Binary(blob))), blob)
        document = {"a": [1, "x", None]}
        equal(value(conn, "SELECT %s::jsonb", psycopg2.extras.Json(document)), document)


@check
def clients_see_their_own_rows():
    def client(number):
        tag = f"c{number}"
        conn = connect()
        for n in range(ROUNDS):
            equal(execute(conn, "SELECT %s::text, %s::int", tag, n).fetchone(), (tag, n))
            execute(conn, f"INSERT INTO {TABLE} VALUES (%s, %s)", tag, n)
            equal(value(conn, f"SELECT count(*) FROM {TABLE} WHERE tag = %s", tag), n + 1)
            conn.commit()
            if n % 5 == 0:
                raises("22012", value, conn, "SELECT 1 / %s::int", 0)
                conn.rollback()

    in_threads(client)
    with connect() as conn:
        query = f"SELECT tag, count(*), sum(n) FROM {TABLE} WHERE tag ~ '^c[0-9]$' GROUP BY tag"
        want = {(f"c{c}", ROUNDS, ROUNDS * (ROUNDS - 1) // 2) for c in range(CLIENTS)}
        equal(set(execute(conn, query).fetchall()), want)


@check
def many_distinct_statements():
    def client(number):
        conn = connect(autocommit=True)
        for n in range(DISTINCT):
            row = execute(conn, f"SELECT %s::text AS tag, {n} AS n", f"c{number}").fetchone()
            equal(row, (f"c{number}", n))

    in_threads(client, 3)


@check
def transactions_and_savepoints():
    conn = connect()
    insert = f"INSERT INTO {TABLE} VALUES ('tx', %s)"
    for _ in range(8):
        execute(conn, insert, 1)
        conn.rollback()
        execute(conn, insert, 2)
        execute(conn, "SAVEPOINT a")
        execute(conn, insert, 3)
        raises("22012", value, conn, "SELECT 1 / 0")
        raises("25P02", value, conn, "SELECT 1")
        execute(conn, "ROLLBACK TO SAVEPOINT a")
        execute(conn, "RELEASE SAVEPOINT a")
        conn.commit()
    for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"):
        conn.set_session(isolation_level=level)
        equal(value(conn, "SHOW transaction_isolation"), level.lower())
        conn.commit()
    query = f"SELECT n, count(*) FROM {TABLE} WHERE tag = 'tx' GROUP BY n"
    equal(execute(conn, query).fetchall(), [(2, 8)])


@check
def errors_leave_the_connection_usable():
    conn = connect(autocommit=True)
    for n in range(10):
        raises("42601", value, conn, "SELEC 1")
        raises("42P01", value, conn, f"SELECT * FROM {SCHEMA}.absent")
        raises("22P02", value, conn, "SELECT %s::text::int", "x")
        raises("26000", value, conn, "EXECUTE no_such_name")
        equal(value(conn, "SELECT %s::int", n), n)


@check
def server_side_cursor():
    def client(number):
        for n in range(3):
            conn = connect()
            cur = conn.cursor(f"cursor{number}", scrollable=True)
            cur.itersize = 100
            cur.execute("SELECT %s::int + g FROM generate_series(1, 1000) g", (number,))
            equal([row[0] for row in cur], [number + g for g in range(1, 1001)])
            cur.scroll(10, mode="absolute")
            equal(cur.fetchone(), (number + 11,))
            cur.close()
            conn.commit()

    in_threads(client, 4)


@check
def batches():
    conn = connect()
    rows = [(f"many{n % 3}", n) for n in range(1000)]
    cur = conn.cursor()
    psycopg2.extras.execute_values(cur, f"INSERT INTO {TABLE} (tag, n) VALUES %s", rows)
    psycopg2.extras.execute_batch(cur, f"INSERT INTO {TABLE} VALUES (%s, %s)", rows)
    conn.commit()
    equal(value(conn, f"SELECT sum(n) FROM {TABLE} WHERE tag LIKE 'many%'"), 999000)


@check
def copy():
    def client(number):
        text = "".join(f"copy{number}\t{n}\t\\N\n" for n in range(5000))
        conn = connect()
        conn.cursor().copy_expert(f"COPY {TABLE} FROM STDIN", io.StringIO(text))
        conn.commit()
        query = f"SELECT * FROM {TABLE} WHERE tag = 'copy{number}' ORDER BY n"
        out = io.StringIO()
        conn.cursor().copy_expert(f"COPY ({query}) TO STDOUT", out)
        equal(out.getvalue(), text)
        broken = io.StringIO("x\tnot a number\t\\N\n" * 500)
        raises("22P02", conn.cursor().copy_expert, f"COPY {TABLE} FROM STDIN", broken)
        conn.rollback()
        equal(value(conn, "SELECT 1"), 1)

    in_threads(client, 4)


@check
def large_values_and_results():
    blob = bytes(range(256)) * 4096
    conn = connect(autocommit=True)
    equal(bytes(value(conn, "SELECT %s::bytea", psycopg2.Binary(blob))), blob)
    rows = execute(conn, "SELECT g, 'row ' || g FROM generate_series(1, 100000) g").fetchall()
    equal(len(rows), 100_000)
    equal(rows[-1], (100_000, "row 100000"))


@check
def large_object():
    conn = connect()
    large = conn.lobject(0, "wb")
    for _ in range(20):
        large.write(b"0123456789" * 5000)
    equal(large.tell(), 1_000_000)
    large.seek(999_990)
    large.close()
    conn.commit()
    large = conn.lobject(large.oid, "rb")
    equal(large.read(), b"0123456789" * 100_000)
    large.unlink()
    conn.commit()


@check
def several_statements_at_once():
    conn = connect(autocommit=True)
    insert = f"INSERT INTO {TABLE} VALUES ('multi', 1)"
    for n in range(10):
        equal(execute(conn, f"SELECT 'a'; SELECT {n}").fetchall(), [(n,)])
        raises("22012", value, conn, f"{insert}; SELECT 1 / 0; SELECT 3")
        execute(conn, f"BEGIN; {insert}; ROLLBACK")
    equal(value(conn, f"SELECT count(*) FROM {TABLE} WHERE tag = 'multi'"), 0)


@check
def notices():
    conn = connect()
    for n in range(10):
        execute(conn, f"DO $$ BEGIN RAISE NOTICE 'note {n}'; END $$")
        conn.commit()
    equal([line.split()[1:3] for line in conn.notices], [["note", str(n)] for n in range(10)])


@check
def cancel():
    conn, other = connect(), connect(autocommit=True)
    for n in range(3):
        tag = f"{SCHEMA}_{n}"
        thread = cancel_when_asleep(lambda query: value(other, query), tag, conn.cancel)
        raises("57014", value, conn, f"SELECT pg_sleep(30) /* {tag} */")
        thread.join()
        conn.rollback()
        equal(value(conn, "SELECT %s::int", n), n)


@check
def startup_parameters():
    asked = {"statement_timeout": "77s", "extra_float_digits": "2", "TimeZone": "Asia/Tokyo"}

    def client(number):
        settings = dict(asked, search_path=SCHEMA, work_mem=f"{2000 + number}kB")
        options = " ".join(f"-c {k}={v}" for k, v in settings.items())
        conn = connect(options=options, application_name=f"app {number}")
        for _ in range(10):
            for key, want in settings.items():
                equal(value(conn, f"SHOW {key}"), want)
            equal(value(conn, "SHOW application_name"), f"app {number}")
            equal(value(conn, "SELECT count(*) >= 0 FROM rows"), True)
            conn.commit()

    in_threads(client, 4)


@check
def closed_in_transaction():
    for n in range(40):
        conn = connect()
        execute(conn, f"INSERT INTO {TABLE} VALUES ('closed', %s)", n)
        conn.close()
    equal(value(connect(), f"SELECT count(*) FROM {TABLE} WHERE tag = 'closed'"), 0)


@check
def reconnect():
    for n in range(100):
        conn = connect()
        equal(value(conn, "SELECT %s::int", n), n)
        conn.close()


if __name__ == "__main__":
    main()
