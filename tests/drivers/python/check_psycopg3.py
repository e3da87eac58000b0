"""psycopg 3: statements are prepared after five uses, at most 100 per connection."""

import datetime
import decimal
from functools import partial

import psycopg
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
from psycopg.types.json import Jsonb

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


def connect(**options):
    return psycopg.connect(URL, connect_timeout=10, **options)


def value(conn, query, *params, **options):
    return conn.execute(query, params or None, **options).fetchone()[0]


@check
def tables():
    with connect() as conn:
        conn.execute(f"CREATE TABLE {TABLE} (tag text, n int, note text)")


@check
def parameters():
    with connect(autocommit=True) as conn:
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            for _ in range(8):
                for kind, want in VALUES.items():
                    row = cur.execute(f"SELECT %s::{kind}, %s::{kind}", (want, None)).fetchone()
                    equal(row, (want, None))
                document = {"a": [1, "x", None]}
                equal(cur.execute("SELECT %s::jsonb", (Jsonb(document),)).fetchone(), (document,))


@check
def clients_see_their_own_rows():
    def client(number):
        tag = f"c{number}"
        with connect(autocommit=True) as conn:
            for n in range(ROUNDS):
                row = conn.execute("SELECT %s::text, %s::int", (tag, n)).fetchone()
                equal(row, (tag, n))
                text = f"SELECT %s::text || {n}, %s::int"
                equal(conn.execute(text, (tag, n), prepare=True).fetchone(), (f"{tag}{n}", n))
                with conn.transaction():
                    conn.execute(f"INSERT INTO {TABLE} VALUES (%s, %s)", (tag, n))
                    count = f"SELECT count(*) FROM {TABLE} WHERE tag = %s"
                    equal(value(conn, count, tag), n + 1)
                if n % 5 == 0:
                    raises("22012", conn.execute, "SELECT 1 / %s::int", (0,))

    in_threads(client)


@check
def many_distinct_statements():
    def client(number):
        with connect(autocommit=True) as conn:
            for n in list(range(DISTINCT)) + list(range(0, DISTINCT, 7)):
                text = f"SELECT %s::text AS tag, {n}::int AS n"
                row = conn.execute(text, (f"c{number}",), prepare=True).fetchone()
                equal(row, (f"c{number}", n))

    in_threads(client, 3)


@check
def few_statements_kept():
    with connect(autocommit=True) as conn:
        conn.prepared_max = 3
        for n in range(60):
            equal(value(conn, f"SELECT %s::int + {n % 5}", n, prepare=True), n + n % 5)
        conn.prepared_max = 0
        equal(value(conn, "SELECT %s::int", 1), 1)


@check
def transactions_and_savepoints():
    with connect() as conn:
        insert = f"INSERT INTO {TABLE} VALUES ('tx', %s)"
        for _ in range(8):
            conn.execute(insert, (1,))
            conn.rollback()
            conn.execute(insert, (2,))
            with conn.transaction():
                conn.execute(insert, (3,))
            try:
                with conn.transaction():
                    conn.execute(insert, (4,))
                    conn.execute("SELECT 1 / 0")
            except psycopg.errors.DivisionByZero:
                pass
            conn.commit()
        rows = conn.execute(
            f"SELECT n, count(*) FROM {TABLE} WHERE tag = 'tx' GROUP BY n ORDER BY n"
        )
        equal(rows.fetchall(), [(2, 8), (3, 8)])


@check
def errors_leave_the_connection_usable():
    with connect(autocommit=True) as conn:
        for n in range(10):
            raises("42601", conn.execute, "SELEC 1")
            raises("42P01", conn.execute, f"SELECT * FROM {SCHEMA}.absent WHERE n = %s", (n,))
            query = f"SELECT {n} FROM {SCHEMA}.absent"
            raises("42P01", partial(conn.execute, query, prepare=True))
            raises("22P02", conn.execute, "SELECT %s::text::int", ("x",))
            equal(value(conn, "SELECT %s::int", n), n)
    with connect() as conn:
        for n in range(10):
            equal(value(conn, "SELECT %s::int", n), n)
            raises("22012", conn.execute, "SELECT 1 / %s::int", (0,))
            raises("25P02", conn.execute, "SELECT %s::int", (n,))
            conn.rollback()


@check
def unknown_prepared_statement():
    with connect(autocommit=True) as conn:
        for _ in range(3):
            result = conn.pgconn.exec_prepared(b"no_such_name", [])
            equal(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE), b"26000")
            equal(value(conn, "SELECT %s::int", 7), 7)


@check
def failed_prepare_leaves_nothing_behind():
    create = f"CREATE TABLE {SCHEMA}.later AS SELECT 5 AS n"
    with connect(autocommit=True) as conn:
        query = f"SELECT n FROM {SCHEMA}.later"
        raises("42P01", lambda: conn.execute(query, prepare=True))
        conn.execute(create)
        for _ in range(5):
            equal(value(conn, query, prepare=True), 5)


@check
def pipeline():
    def client(number):
        with connect(autocommit=True) as conn:
            for _ in range(10):
                with conn.pipeline() as pipe:
                    cursors = [
                        conn.execute("SELECT %s::text, %s::int", (f"p{number}", n))
                        for n in range(40)
                    ]
                    pipe.sync()
                    more = conn.execute("SELECT %s::int", (number,))
                equal([c.fetchone() for c in cursors], [(f"p{number}", n) for n in range(40)])
                equal(more.fetchone(), (number,))

    in_threads(client)


@check
def pipeline_error_skips_to_the_sync():
    with connect(autocommit=True) as conn:
        for _ in range(8):
            try:
                with conn.pipeline() as pipe:
                    first = conn.execute("SELECT %s::int", (1,))
                    pipe.sync()
                    conn.execute("SELECT 1 / %s::int", (0,))
                    conn.execute("SELECT %s::int", (2,))
                    pipe.sync()
            except psycopg.errors.DivisionByZero:
                pass
            else:
                raise AssertionError("no error out of the pipeline")
            equal(first.fetchone(), (1,))
            equal(value(conn, "SELECT %s::int", 3), 3)


@check
def executemany():
    with connect() as conn:
        rows = [(f"many{n % 3}", n) for n in range(1000)]
        conn.cursor().executemany(f"INSERT INTO {TABLE} VALUES (%s, %s)", rows)
        conn.commit()
        cur = conn.cursor()
        cur.executemany("SELECT %s::text, %s::int", rows[:50], returning=True)
        got = [cur.fetchone()]
        while cur.nextset():
            got.append(cur.fetchone())
        equal(got, rows[:50])
        equal(value(conn, f"SELECT sum(n) FROM {TABLE} WHERE tag LIKE 'many%%'"), 499500)


@check
def server_side_cursor():
    def client(number):
        for _ in range(3):
            with connect() as conn, conn.cursor(f"cursor{number}", scrollable=True) as cur:
                cur.itersize = 100
                cur.execute("SELECT %s::int + g FROM generate_series(1, 1000) g", (number,))
                equal([row[0] for row in cur], [number + g for g in range(1, 1001)])
                cur.scroll(10, mode="absolute")
                equal(cur.fetchone(), (number + 11,))

    in_threads(client, 4)


@check
def stream_row_by_row():
    with connect(autocommit=True) as conn:
        rows = conn.cursor().stream("SELECT g FROM generate_series(1, %s::int) g", (5000,))
        equal(sum(row[0] for row in rows), 12502500)
        equal(value(conn, "SELECT 1"), 1)


@check
def copy_text_and_binary():
    def client(number):
        rows = [(f"copy{number}", n, None if n % 9 else "tab\tnewline\n\\") for n in range(3000)]
        with connect() as conn:
            for form in ("TEXT", "BINARY"):
                conn.execute(f"DELETE FROM {TABLE} WHERE tag = %s", (f"copy{number}",))
                with conn.cursor().copy(f"COPY {TABLE} FROM STDIN (FORMAT {form})") as copy:
                    copy.set_types(["text", "int4", "text"])
                    for row in rows:
                        copy.write_row(row)
                query = f"SELECT * FROM {TABLE} WHERE tag = 'copy{number}' ORDER BY n"
                with conn.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT {form})") as copy:
                    copy.set_types(["text", "int4", "text"])
                    equal(list(copy.rows()), rows)
                conn.commit()

    in_threads(client, 4)


@check
def copy_errors():
    with connect(autocommit=True) as conn:
        for _ in range(4):

            def broken_row():
                with conn.cursor().copy(f"COPY {TABLE} FROM STDIN") as copy:
                    for _ in range(500):
                        copy.write("x\tnot a number\t\\N\n")

            def given_up():
                with conn.cursor().copy(f"COPY {TABLE} FROM STDIN") as copy:
                    copy.write("given up\t1\t\\N\n")
                    raise KeyError

            raises("22P02", broken_row)
            try:
                given_up()
            except KeyError:
                pass
            equal(value(conn, f"SELECT count(*) FROM {TABLE} WHERE tag = %s", "given up"), 0)


@check
def large_values_and_results():
    blob = bytes(range(256)) * 4096
    with connect(autocommit=True) as conn:
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            equal(cur.execute("SELECT %s::bytea, 1", (blob,)).fetchone(), (blob, 1))
            cur.execute("SELECT g, 'row ' || g FROM generate_series(1, %s::int) g", (100_000,))
            rows = cur.fetchall()
            equal(len(rows), 100_000)
            equal(rows[-1], (100_000, "row 100000"))


@check
def several_statements_at_once():
    with connect(autocommit=True) as conn:
        for n in range(10):
            cur = conn.execute(f"SELECT {n}; SELECT 'b'; SELECT 1 WHERE false")
            equal(cur.fetchall(), [(n,)])
            equal(cur.nextset() and cur.fetchall(), [("b",)])
            equal(cur.nextset() and cur.fetchall(), [])
            insert = f"INSERT INTO {TABLE} VALUES ('multi', 1)"
            raises("22012", conn.execute, f"{insert}; SELECT 1 / 0; SELECT 3")
            conn.execute(f"BEGIN; {insert}; ROLLBACK")
        equal(value(conn, f"SELECT count(*) FROM {TABLE} WHERE tag = 'multi'"), 0)


@check
def notices():
    with connect(autocommit=True) as conn:
        seen = []
        conn.add_notice_handler(lambda diagnostic: seen.append(diagnostic.message_primary))
        for n in range(10):
            conn.execute(f"DO $$ BEGIN RAISE NOTICE 'note {n}'; END $$")
        equal(seen, [f"note {n}" for n in range(10)])


@check
def listen_and_notify():
    channel = f"{SCHEMA}_channel"
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        conn.execute(f"LISTEN {channel}")
        conn.execute("SELECT pg_notify(%s, 'probe')", (channel,))
        for n in range(100):
            other.execute("SELECT pg_notify(%s, %s)", (channel, str(n)))
            equal(value(conn, "SELECT %s::int", n), n)
        heard = [(n.payload, n.pid) for n in conn.notifies(timeout=60, stop_after=101)]
        own, others = conn.info.backend_pid, other.info.backend_pid
        equal(heard, [("probe", own)] + [(str(n), others) for n in range(100)])
        with conn.transaction(force_rollback=True):
            conn.execute(f"UNLISTEN {channel}")
        equal(value(conn, "SELECT pg_listening_channels()"), channel)
        conn.execute(f"UNLISTEN {channel}")
        equal(conn.execute("SELECT pg_listening_channels()").fetchall(), [])


@check
def cancel():
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        for method in (conn.cancel, conn.cancel_safe):
            tag = f"{SCHEMA}_{method.__name__}"
            thread = cancel_when_asleep(lambda query: value(other, query), tag, method)
            raises("57014", conn.execute, f"SELECT pg_sleep(30) /* {tag} */")
            thread.join()
            for n in range(8):
                equal(value(conn, "SELECT %s::int", n), n)


@check
def startup_parameters():
    asked = {
        "application_name": f"app of {SCHEMA}"[:60],
        "statement_timeout": "77s",
        "search_path": f"{SCHEMA}, pg_catalog",
        "extra_float_digits": "2",
        "TimeZone": "Asia/Tokyo",
        "DateStyle": "SQL, DMY",
    }

    def client(number):
        settings = dict(asked, work_mem=f"{2000 + number}kB")
        name = settings.pop("application_name")
        options = " ".join(f"-c {k}={v}".replace(", ", ",\\ ") for k, v in settings.items())
        with connect(options=options, application_name=name) as conn:
            for _ in range(10):
                for key, want in settings.items():
                    equal(value(conn, f"SHOW {key}"), want)
                equal(value(conn, "SHOW application_name"), name)
                equal(value(conn, "SELECT count(*) >= 0 FROM rows"), True)
                conn.commit()

    in_threads(client, 4)
    try:
        value(connect(options="-c statement_timeout=soon"), "SELECT 1")
    except psycopg.Error as error:
        equal('invalid value for parameter "statement_timeout"' in str(error), True)
    else:
        raise AssertionError("a wrong startup parameter gave no error")


@check
def closed_in_transaction():
    def client(number):
        for n in range(20):
            conn = connect()
            conn.execute(f"INSERT INTO {TABLE} VALUES ('closed', %s)", (n,))
            conn.close()

    in_threads(client, 4)
    with connect() as conn:
        equal(value(conn, f"SELECT count(*) FROM {TABLE} WHERE tag = 'closed'"), 0)


@check
def reconnect():
    for n in range(100):
        with connect() as conn:
            equal(value(conn, "SELECT %s::int", n), n)


@check
def no_rows_got_lost():
    with connect() as conn:
        query = f"SELECT tag, count(*), sum(n) FROM {TABLE} WHERE tag ~ '^c[0-9]$' GROUP BY tag"
        want = {(f"c{c}", ROUNDS, ROUNDS * (ROUNDS - 1) // 2) for c in range(CLIENTS)}
        equal(set(conn.execute(query).fetchall()), want)


if __name__ == "__main__":
    main()
