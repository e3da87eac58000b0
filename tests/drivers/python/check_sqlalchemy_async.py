"""SQLAlchemy's asyncio engine over asyncpg, which prepares every statement."""

import asyncio
import datetime
import decimal

import sqlalchemy as sa
from checks import CLIENTS, DISTINCT, ROUNDS, SCHEMA, URL, check, equal, main, raises_async
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

ADDRESS = sa.make_url(URL).set(drivername="postgresql+asyncpg")
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)
metadata = sa.MetaData(schema=SCHEMA)
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True),
    sa.Column("born", sa.DateTime(timezone=True)),
    sa.Column("worth", sa.Numeric(30, 9)),
    sa.Column("face", sa.LargeBinary),
    sa.Column("tags", pg.ARRAY(sa.Text)),
    sa.Column("facts", pg.JSONB),
)


def engine_of(**options):
    """Each check runs in an event loop of its own, so engines are not shared."""
    return create_async_engine(ADDRESS, **options)


async def count_like(engine, pattern):
    async with engine.connect() as conn:
        return await conn.scalar(sa.select(sa.func.count()).where(items.c.name.like(pattern)))


@check
async def tables_are_created_and_inspected():
    engine = engine_of()
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
        await conn.run_sync(metadata.create_all)
    async with engine.connect() as conn:
        names = await conn.run_sync(lambda c: sa.inspect(c).get_table_names(schema=SCHEMA))
        equal(names, ["items"])
    await engine.dispose()


@check
async def every_column_comes_back():
    engine = engine_of()
    columns = {
        "born": NOON,
        "worth": decimal.Decimal("12345678901234567890.123456789"),
        "face": bytes(range(256)),
        "tags": ["a", 'b"c', "d,e"],
        "facts": {"a": [1, "x", None]},
    }
    for n in range(8):
        async with engine.begin() as conn:
            await conn.execute(sa.insert(items), {"name": f"full {n}", **columns})
            query = sa.select(*(items.c[key] for key in columns))
            row = (await conn.execute(query.where(items.c.name == f"full {n}"))).one()
            equal(row._asdict(), columns)
    await engine.dispose()


@check
async def clients_see_their_own_rows():
    engine = engine_of(pool_size=CLIENTS, pool_pre_ping=True)

    async def client(number):
        for n in range(ROUNDS):
            name = f"client {number} {n}"
            async with AsyncSession(engine) as session:
                await session.execute(sa.insert(items), {"name": name})
                query = sa.select(items.c.name).where(items.c.name == name)
                equal((await session.scalars(query)).all(), [name])
                await session.commit()
                query = sa.text("SELECT CAST(:tag AS text), CAST(:n AS int)")
                equal((await session.execute(query, {"tag": name, "n": n})).one(), (name, n))
            if n % 5 == 0:
                async with engine.connect() as conn:
                    query = sa.text("SELECT 1 / CAST(:n AS int)")
                    await raises_async("22012", conn.execute(query, {"n": 0}))
                    await raises_async("25P02", conn.execute(sa.text("SELECT 1")))

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
    equal(await count_like(engine, "client %"), CLIENTS * ROUNDS)
    await engine.dispose()


@check
async def many_distinct_statements():
    engine = engine_of()

    async def client(number):
        for n in range(DISTINCT):
            async with engine.connect() as conn:
                query = sa.text(f"SELECT CAST(:tag AS text), {n}")
                equal((await conn.execute(query, {"tag": f"c{number}"})).one(), (f"c{number}", n))

    await asyncio.gather(*(client(number) for number in range(3)))
    await engine.dispose()


@check
async def transactions_and_savepoints():
    engine = engine_of()
    for n in range(8):
        async with engine.connect() as conn:
            await conn.execute(sa.insert(items), {"name": f"kept {n}"})
            savepoint = await conn.begin_nested()
            await raises_async("23505", conn.execute(sa.insert(items), {"name": f"kept {n}"}))
            await savepoint.rollback()
            await conn.commit()
            await conn.execute(sa.insert(items), {"name": f"dropped {n}"})
            await conn.rollback()
    equal(await count_like(engine, "kept %"), 8)
    equal(await count_like(engine, "dropped %"), 0)
    await engine.dispose()


@check
async def autocommit():
    engine = engine_of(isolation_level="AUTOCOMMIT")
    async with engine.connect() as conn:
        for n in range(10):
            equal(await conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)
            await raises_async("22012", conn.execute(sa.text("SELECT 1 / 0")))
    await engine.dispose()


@check
async def session_state_outlives_transactions():
    """Settings and a temporary table; two connections at once, as each keeps a server."""
    engine = engine_of(pool_size=2)

    async def client(number):
        async with engine.connect() as conn:
            await conn.execute(sa.text(f"SET work_mem = '{2000 + number}kB'"))
            await conn.execute(sa.text("CREATE TEMPORARY TABLE mine (n int)"))
            await conn.commit()
            for n in range(20):
                await conn.execute(sa.text("INSERT INTO mine VALUES (:n)"), {"n": n})
                await conn.commit()
                await conn.execute(sa.text("SET work_mem = '99kB'"))
                await conn.rollback()
                equal(await conn.scalar(sa.text("SHOW work_mem")), f"{2000 + number}kB")
                equal(await conn.scalar(sa.text("SELECT count(*) FROM mine")), n + 1)
                await conn.commit()

    await asyncio.gather(client(0), client(1))
    await engine.dispose()


@check
async def batches_and_streams():
    engine = engine_of()
    async with engine.begin() as conn:
        rows = [{"name": f"batch {n}", "tags": [str(n)]} for n in range(3000)]
        ids = (await conn.scalars(sa.insert(items).returning(items.c.id), rows)).all()
        equal(len(set(ids)), 3000)
        await conn.execute(sa.insert(items), [{"name": f"many {n}"} for n in range(500)])
        query = sa.text("SELECT g FROM generate_series(1, CAST(:n AS int)) g")
        equal(sum([row[0] async for row in await conn.stream(query, {"n": 5000})]), 12502500)
    equal(await count_like(engine, "batch %"), 3000)
    equal(await count_like(engine, "many %"), 500)
    await engine.dispose()


@check
async def large_values_and_results():
    engine = engine_of()
    blob = bytes(range(256)) * 4096
    async with engine.connect() as conn:
        equal(await conn.scalar(sa.select(sa.literal(blob, sa.LargeBinary))), blob)
        rows = await conn.execute(
            sa.text("SELECT g, 'row ' || g FROM generate_series(1, 100000) g")
        )
        equal(rows.all()[-1], (100_000, "row 100000"))
    await engine.dispose()


@check
async def reconnect_and_close_in_transaction():
    engine = engine_of(poolclass=sa.NullPool)
    for n in range(100):
        async with engine.connect() as conn:
            await conn.execute(sa.insert(items), {"name": f"closed {n}"})
            equal(await conn.scalar(sa.text("SELECT CAST(:n AS int)"), {"n": n}), n)
            if n % 2:
                await conn.invalidate()
    equal(await count_like(engine, "closed %"), 0)
    await engine.dispose()


if __name__ == "__main__":
    main()
