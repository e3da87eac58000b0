"""SQLAlchemy over the dialect named on the command line, with its connection pool."""

import datetime
import decimal
import sys

import sqlalchemy as sa
from checks import CLIENTS, DISTINCT, ROUNDS, SCHEMA, URL, check, equal, in_threads, main, raises
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

ADDRESS = sa.make_url(URL).set(drivername=f"postgresql+{sys.argv[1]}")
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)


class Base(orm.DeclarativeBase):
    metadata = sa.MetaData(schema=SCHEMA)


class Author(Base):
    __tablename__ = "authors"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    born: orm.Mapped[datetime.datetime | None] = orm.mapped_column(sa.DateTime(timezone=True))
    worth: orm.Mapped[decimal.Decimal | None] = orm.mapped_column(sa.Numeric(30, 9))
    face: orm.Mapped[bytes | None]
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(pg.ARRAY(sa.Text))
    facts: orm.Mapped[dict | None] = orm.mapped_column(pg.JSONB)
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author")


class Book(Base):
    __tablename__ = "books"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(Author.id))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


engine = sa.create_engine(ADDRESS, pool_size=CLIENTS, pool_pre_ping=True)


def author(name, **columns):
    return Author(name=name, **columns)


@check
def tables_are_created_and_inspected():
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    seen = sa.inspect(engine)
    equal(sorted(seen.get_table_names(schema=SCHEMA)), ["authors", "books"])
    equal(seen.get_foreign_keys("books", schema=SCHEMA)[0]["referred_table"], "authors")


@check
def every_column_comes_back():
    columns = {
        "born": NOON,
        "worth": decimal.Decimal("12345678901234567890.123456789"),
        "face": bytes(range(256)),
        "tags": ["a", 'b"c', "d,e"],
        "facts": {"a": [1, "x", None]},
    }
    for n in range(8):
        with orm.Session(engine) as session:
            session.add(author(f"full {n}", **columns))
            session.add(author(f"empty {n}"))
            session.commit()
            full = session.scalars(sa.select(Author).where(Author.name == f"full {n}")).one()
            equal({key: getattr(full, key) for key in columns}, columns)
            empty = session.scalars(sa.select(Author).where(Author.name == f"empty {n}")).one()
            equal({getattr(empty, key) for key in columns}, {None})


@check
def clients_see_their_own_rows():
    def client(number):
        for n in range(ROUNDS):
            name = f"client {number} {n}"
            with orm.Session(engine) as session, session.begin():
                session.add(author(name, books=[Book(title=f"{name} {i}") for i in range(3)]))
            with orm.Session(engine) as session:
                query = sa.select(Author).options(orm.selectinload(Author.books))
                row = session.scalars(query.where(Author.name == name)).one()
                equal(sorted(b.title for b in row.books), [f"{name} {i}" for i in range(3)])
                tag, got = session.execute(
                    sa.text("SELECT CAST(:tag AS text), CAST(:n AS int)"), {"tag": name, "n": n}
                ).one()
                equal((tag, got), (name, n))
            if n % 5 == 0:
                with engine.connect() as conn:
                    raises("22012", conn.execute, sa.text("SELECT 1 / CAST(:n AS int)"), {"n": 0})
                    raises("25P02", conn.execute, sa.text("SELECT 1"))

    in_threads(client)


@check
def many_distinct_statements():
    def client(number):
        for n in range(DISTINCT):
            with engine.connect() as conn:
                query = sa.text(f"SELECT CAST(:tag AS text), {n}")
                equal(conn.execute(query, {"tag": f"c{number}"}).one(), (f"c{number}", n))

    in_threads(client, 3)


@check
def transactions_and_savepoints():
    for n in range(8):
        with orm.Session(engine) as session:
            session.add(author(f"kept {n}"))
            session.flush()
            try:
                with session.begin_nested():
                    session.add(author(f"kept {n}"))
            except sa.exc.IntegrityError as error:
                equal(getattr(error.orig, "sqlstate", None) or error.orig.pgcode, "23505")
            with session.begin_nested() as savepoint:
                session.add(author(f"dropped {n}"))
                savepoint.rollback()
            session.commit()
            session.add(author(f"dropped {n}"))
            session.flush()
            session.rollback()
    with engine.connect() as conn:
        count = sa.select(sa.func.count()).select_from(Author)
        equal(conn.scalar(count.where(Author.name.like("kept %"))), 8)
        equal(conn.scalar(count.where(Author.name.like("dropped %"))), 0)


@check
def autocommit():
    auto = engine.execution_options(isolation_level="AUTOCOMMIT")
    for n in range(10):
        with auto.connect() as conn:
            equal(conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)
            raises("22012", conn.execute, sa.text("SELECT 1 / 0"))
            equal(conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)


@check
def session_state_outlives_transactions():
    """Settings and a temporary table; two connections at once, as each keeps a server."""

    def client(number):
        with engine.connect() as conn:
            conn.execute(sa.text(f"SET work_mem = '{2000 + number}kB'"))
            conn.execute(sa.text("CREATE TEMPORARY TABLE mine (n int)"))
            conn.commit()
            for n in range(20):
                conn.execute(sa.text("INSERT INTO mine VALUES (:n)"), {"n": n})
                conn.commit()
                conn.execute(sa.text("SET work_mem = '99kB'"))
                conn.rollback()
                equal(conn.scalar(sa.text("SHOW work_mem")), f"{2000 + number}kB")
                equal(conn.scalar(sa.text("SELECT count(*) FROM mine")), n + 1)
                conn.commit()
            conn.execute(sa.text("DROP TABLE mine"))
            conn.execute(sa.text("RESET work_mem"))
            conn.commit()

    in_threads(client, 2)


@check
def connections_are_reset_on_return():
    """The pool's own reset replaced by DISCARD ALL."""
    # psycopg 3 does not notice that DISCARD ALL takes its statements away, with or without a pooler.
    unprepared = {"prepare_threshold": None} if sys.argv[1] == "psycopg" else {}
    own = sa.create_engine(
        ADDRESS,
        pool_size=2,
        max_overflow=0,
        pool_reset_on_return=None,
        connect_args=unprepared,
    )

    @sa.event.listens_for(own, "reset")
    def returned(conn, _, state):
        if not state.terminate_only:
            conn.rollback()
            auto, conn.autocommit = conn.autocommit, True
            with conn.cursor() as cursor:
                cursor.execute("DISCARD ALL")
            conn.autocommit = auto

    def client(_):
        for n in range(20):
            with own.connect() as conn:
                equal(conn.scalar(sa.text("SELECT to_regclass('mine') IS NULL")), True)
                equal(conn.scalar(sa.text("SHOW work_mem")) != "1234kB", True)
                equal(conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)
                conn.execute(sa.text("SET work_mem = '1234kB'"))
                conn.execute(sa.text("CREATE TEMPORARY TABLE mine AS SELECT 1"))
                conn.commit()

    in_threads(client, 4)
    own.dispose()


@check
def batches():
    rows = [{"name": f"batch {n}", "tags": [str(n)]} for n in range(3000)]
    with orm.Session(engine) as session:
        ids = session.scalars(sa.insert(Author).returning(Author.id), rows).all()
        equal(len(set(ids)), 3000)
        session.commit()
        query = sa.update(Author).where(Author.id == sa.bindparam("key"))
        session.connection().execute(
            query.values(worth=sa.bindparam("n")), [{"key": key, "n": 1} for key in ids[:200]]
        )
        session.commit()
        total = sa.select(sa.func.sum(Author.worth)).where(Author.name.like("batch %"))
        equal(session.scalar(total), 200)


@check
def server_side_cursor():
    with engine.connect() as conn:
        query = sa.text("SELECT g FROM generate_series(1, CAST(:n AS int)) g")
        options = conn.execution_options(yield_per=100)
        equal(sum(options.scalars(query, {"n": 5000})), 12502500)


@check
def large_values_and_results():
    blob = bytes(range(256)) * 4096
    with engine.connect() as conn:
        equal(bytes(conn.scalar(sa.select(sa.literal(blob, sa.LargeBinary)))), blob)
        rows = conn.execute(sa.text("SELECT g, 'row ' || g FROM generate_series(1, 100000) g"))
        equal(rows.all()[-1], (100_000, "row 100000"))


@check
def closed_in_transaction():
    for n in range(20):
        conn = engine.connect()
        conn.execute(sa.insert(Author), {"name": f"closed {n}"})
        conn.invalidate() if n % 2 else conn.close()
    with engine.connect() as conn:
        query = sa.select(sa.func.count()).where(Author.name.like("closed %"))
        equal(conn.scalar(query), 0)


@check
def reconnect():
    one_off = sa.create_engine(ADDRESS, poolclass=sa.NullPool)
    for n in range(100):
        with one_off.connect() as conn:
            equal(conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)


if __name__ == "__main__":
    main()
