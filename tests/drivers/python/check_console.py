"""The console by psycopg2 or psycopg 3: implicit BEGIN, prepared statements, several statements."""

import sys

from checks import URL, check, equal, in_threads, main, raises

if sys.argv[1] == "psycopg2":
    import psycopg2 as driver
else:
    import psycopg as driver

UNKNOWN_COMMAND = "08P01"


def connect(autocommit=False, **options):
    conn = driver.connect(URL, connect_timeout=10, **options)
    conn.autocommit = autocommit
    return conn


def table(conn, query):
    """Column names, and rows by them."""
    cur = conn.cursor()
    cur.execute(query)
    columns = [column[0] for column in cur.description]
    return columns, [dict(zip(columns, row)) for row in cur.fetchall()]


def value(conn, key):
    return next(row["value"] for row in table(conn, "SHOW CONFIG")[1] if row["key"] == key)


@check
def tables_have_their_types():
    for autocommit in (True, False):
        conn = connect(autocommit)
        columns, rows = table(conn, "SHOW VERSION;")
        equal((columns, len(rows)), (["version"], 1))
        for row in table(conn, "SHOW POOLS")[1]:
            equal([type(row[name]) for name in ("database", "cl_active", "maxwait")], [str, int, int])
        for row in table(conn, "SHOW STATS_TOTALS")[1]:
            equal(int(row["query_count"]), row["query_count"])
        lists = {row["list"]: row["items"] for row in table(conn, "SHOW LISTS")[1]}
        assert lists["users"] >= 1, lists
        conn.close()


@check
def transactions():
    with connect() as conn:
        for end in (conn.commit, conn.rollback):
            table(conn, "SHOW POOLS")
            cur = conn.cursor()
            cur.execute("SAVEPOINT a")
            raises(UNKNOWN_COMMAND, cur.execute, "SHOW NOTHING")
            cur.execute("ROLLBACK TO a")
            table(conn, "SHOW STATE")
            end()


@check
def errors_leave_the_connection_usable():
    conn = connect(autocommit=True)
    for text in ("SHOW NOTHING", "DROP TABLE t", "SELECT 1"):
        raises(UNKNOWN_COMMAND, conn.cursor().execute, text)
        equal(len(table(conn, "SHOW VERSION")[1]), 1)


@check
def several_statements_at_once():
    conn = connect(autocommit=True)
    cur = conn.cursor()
    cur.execute("/* ; */ SET extra_float_digits = 3; SHOW VERSION; -- the last\n SHOW STATE;")
    # psycopg 3 has all results, psycopg2 the last one.
    while driver.__name__ == "psycopg" and cur.nextset():
        pass
    equal(len(cur.fetchall()), 3)


@check
def orders():
    conn = connect(autocommit=True)
    cur = conn.cursor()
    for order in ("SET query_wait_timeout = 78", "RELOAD", "PAUSE", "RESUME", "RECONNECT", "WAIT_CLOSE"):
        cur.execute(order)
    equal(value(conn, "query_wait_timeout"), "78")
    cur.execute("SET query_wait_timeout = 120")


@check
def startup_parameters():
    options = dict(application_name="watcher", options="-c extra_float_digits=2 -c statement_timeout=5000")
    conn = connect(autocommit=True, client_encoding="UTF8", **options)
    equal(len(table(conn, "SHOW VERSION")[1]), 1)


@check
def sessions_are_given_back():
    conn = connect()
    for _ in range(3):
        table(conn, "SHOW POOLS")
        if driver.__name__ == "psycopg2":
            conn.reset()
            conn.set_session(readonly=True, autocommit=True)
            conn.set_session(readonly=False, autocommit=False)
        else:
            conn.rollback()
            conn.read_only = True
            table(conn, "SHOW POOLS")
            conn.rollback()
            conn.read_only = False


@check
def many_at_once():
    def watch(_):
        with connect(autocommit=True) as conn:
            for _ in range(20):
                assert table(conn, "SHOW POOLS")[1]

    in_threads(watch)


if driver.__name__ == "psycopg":

    @check
    def prepared_and_binary():
        conn = connect(autocommit=True)
        for binary in (False, True):
            # From the sixth time on it is prepared by name.
            for _ in range(8):
                rows = conn.execute("SHOW LISTS", binary=binary).fetchall()
                equal(rows[0][0], "databases")
                conn.execute("SHOW STATS", prepare=True, binary=binary).fetchall()
        with conn.pipeline():
            answers = [conn.execute("SHOW VERSION") for _ in range(5)]
        equal([len(answer.fetchall()) for answer in answers], [1] * 5)
        raises(UNKNOWN_COMMAND, conn.execute, "SHOW NOTHING", ())
        raises("08P01", conn.execute, "SHOW POOLS -- %s", ("x",))


main()
