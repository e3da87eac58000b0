"""A small shop in SQLAlchemy, over the dialect named on the command line, on two shards."""

import sys
from decimal import Decimal

import sqlalchemy as sa
from checks import URL, check, equal, in_threads, main, raises, state_of
from shards import COUNTRIES, LINES, ORDERS, USERS, country, eventually, price, server
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

ADDRESS = sa.make_url(URL).set(drivername=f"postgresql+{sys.argv[1]}")
# Sessions of one user's work begin a transaction, as ever; what is asked of all is asked without.
engine = sa.create_engine(ADDRESS, pool_size=8)
without_transactions = engine.execution_options(isolation_level="AUTOCOMMIT")
REFUSED = "0A000"
GONE = "08006"


class Base(orm.DeclarativeBase):
    pass


class Country(Base):
    __tablename__ = "countries"
    code: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]


class User(Base):
    __tablename__ = "users"
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: orm.Mapped[str]
    country_code: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey(Country.code))
    country: orm.Mapped[Country] = orm.relationship()
    orders: orm.Mapped[list["Order"]] = orm.relationship(
        back_populates="user", cascade="all, delete-orphan", order_by="Order.id"
    )


class Order(Base):
    __tablename__ = "orders"
    user_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(User.id), primary_key=True)
    id: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, primary_key=True, server_default=sa.text("nextval('order_ids')")
    )
    status: orm.Mapped[str] = orm.mapped_column(server_default="open")
    user: orm.Mapped[User] = orm.relationship(back_populates="orders")
    items: orm.Mapped[list["Item"]] = orm.relationship(
        back_populates="order", cascade="all, delete-orphan", order_by="Item.line"
    )


class Item(Base):
    __tablename__ = "items"
    user_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    order_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    line: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    title: orm.Mapped[str]
    price: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(12, 2))
    order: orm.Mapped[Order] = orm.relationship(back_populates="items")
    __table_args__ = (sa.ForeignKeyConstraint([user_id, order_id], [Order.user_id, Order.id]),)


def over_all():
    return orm.Session(without_transactions)


def rows(query):
    with over_all() as session:
        return session.execute(query).all()


def users_of(shard):
    return [id for (id,) in rows(sa.text(f"/* pgweir: shard={shard} */ SELECT id FROM users"))]


def get(user):
    with orm.Session(engine) as session:
        return session.get(User, user)


@check
def users_are_stored_with_their_orders():
    def client(number):
        for id in USERS[number::4]:
            with orm.Session(engine) as session, session.begin():
                session.execute(sa.delete(User).where(User.id == id))
                user = User(id=id, name=f"user {id}", country_code=country(id))
                items = [
                    [Item(line=n, title=f"thing {n}", price=price(id, n)) for n in range(LINES)]
                    for _ in range(ORDERS)
                ]
                user.orders = [Order(items=of_order) for of_order in items]
                session.add(user)
                session.flush()
                equal(len({order.id for order in user.orders}), ORDERS)
                equal({order.status for order in user.orders}, {"open"})

    in_threads(client, 4)
    a, b = users_of("a"), users_of("b")
    equal(sorted(a + b), [*USERS])
    equal(bool(a and b), True)


@check
def one_user_is_loaded_in_every_way():
    ways = {
        orm.joinedload: orm.joinedload(User.orders).joinedload(Order.items),
        orm.selectinload: orm.selectinload(User.orders).selectinload(Order.items),
        orm.subqueryload: orm.subqueryload(User.orders).subqueryload(Order.items),
        orm.lazyload: orm.lazyload("*"),
    }
    for id in USERS:
        for load, option in ways.items():
            with orm.Session(engine) as session:
                query = sa.select(User).where(User.id == id).options(option, load(User.country))
                user = session.scalars(query).unique().one()
                equal((user.name, user.country.code), (f"user {id}", country(id)))
                equal([len(order.items) for order in user.orders], [LINES] * ORDERS)
                equal(user.orders[0].items[1].price, price(id, 1).quantize(Decimal("0.01")))


@check
def one_user_is_changed():
    def client(number):
        for id in USERS[number::4]:
            with orm.Session(engine) as session, session.begin():
                user = session.get(User, id, with_for_update=True)
                user.name = "changed"
                user.orders[0].status = "paid"
                user.orders[0].items[0].title = "changed"
                with session.begin_nested():
                    session.add(Order(user_id=id))
                nested = session.begin_nested()
                session.add(Order(user_id=id))
                session.flush()
                nested.rollback()
            with orm.Session(engine) as session, session.begin():
                user = session.get(User, id)
                equal([order.status for order in user.orders], ["paid", "open", "open"])
                equal((user.name, user.orders[0].items[0].title), ("changed", "changed"))
                session.delete(user.orders[2])
                upsert = pg.insert(User).values(id=id, name=f"user {id}", country_code="de")
                named = {"name": upsert.excluded.name}
                session.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=named))
            user = get(id)
            equal((user.name, user.country_code), (f"user {id}", country(id)))

    in_threads(client, 4)


@check
def many_rows_of_one_user():
    for id in USERS[:8]:
        with orm.Session(engine) as session, session.begin():
            more = [{"user_id": id} for _ in range(5)]
            orders = session.scalars(sa.insert(Order).returning(Order.id), more).all()
            equal(len(set(orders)), 5)
            items = [
                {"user_id": id, "order_id": orders[0], "line": n, "title": "many", "price": n}
                for n in range(5)
            ]
            session.execute(sa.insert(Item), items)
            session.execute(sa.update(Item), [{**item, "title": "more"} for item in items])
            of_user = sa.select(sa.func.count()).where(Item.user_id == id, Item.title == "more")
            equal(session.scalar(of_user), 5)
            session.execute(sa.delete(Order).where(Order.user_id == id, Order.id.in_(orders)))
            equal(session.scalar(of_user), 0)


@check
def a_shard_named_at_the_start_needs_no_more_keys():
    for id in USERS[:8]:
        with orm.Session(engine) as session, session.begin():
            session.execute(sa.text(f"SET LOCAL pgweir.shard_key = '{id}'"))
            equal(session.get(Country, "de").name, "Germany")
            order = session.scalars(sa.select(Order).order_by(Order.id).limit(1)).one()
            renamed = sa.update(Item).where(Item.order_id == order.id).values(title="renamed")
            equal(session.execute(renamed).rowcount, LINES)


@check
def pages_over_all_are_those_of_one_database():
    for start in range(0, len(USERS), 7):
        page = sa.select(User).order_by(User.id).limit(7).offset(start)
        for options in ([], [orm.joinedload(User.country), orm.selectinload(User.orders)]):
            with over_all() as session:
                users = session.scalars(page.options(*options)).all()
                equal([user.id for user in users], [*USERS][start : start + 7])
                equal({user.id: user.country.code for user in users}, {
                    user.id: country(user.id) for user in users
                })
                equal({len(user.orders) for user in users}, {ORDERS})
    latest = sa.select(Order.user_id).order_by(Order.user_id.desc(), Order.id).limit(3)
    equal([id for (id,) in rows(latest)], [40, 40, 39])


@check
def sums_over_all_are_those_of_one_database():
    total = sa.func.sum(Item.price)
    by_country = (
        sa.select(Country.name, sa.func.count(), total, sa.func.max(User.id))
        .select_from(User)
        .join(User.country)
        .join(Order, Order.user_id == User.id)
        .join(Order.items)
        .group_by(Country.name)
        .order_by(Country.name)
    )
    want = []
    for code, name in [("fr", "France"), ("de", "Germany"), ("jp", "Japan")]:
        users = [id for id in USERS if country(id) == code]
        prices = [price(id, n) for id in users for n in range(LINES) for _ in range(ORDERS)]
        cents = sum(value.quantize(Decimal("0.01")) for value in prices)
        want.append((name, len(prices), cents, max(users)))
    equal([tuple(row) for row in rows(by_country)], want)
    equal(rows(sa.select(sa.func.count()).select_from(User)), [(len(USERS),)])
    codes = sa.select(User.country_code).distinct().order_by(User.country_code)
    equal([code for (code,) in rows(codes)], COUNTRIES)
    paid = sa.select(User.id).where(User.orders.any(Order.status == "paid"))
    equal([id for (id,) in rows(paid.order_by(User.id))], [*USERS])
    some = sa.select(User.id).where(User.id.in_([3, 9, 12, 39])).order_by(User.id.desc())
    equal([id for (id,) in rows(some)], [39, 12, 9, 3])


@check
def what_is_refused_is_refused_by_name_and_nothing_of_it_is_done():
    (a, *_), (b, *_) = users_of("a"), users_of("b")
    renamed = sa.update(User).values(name="nobody")
    with orm.Session(engine) as session:
        session.execute(renamed.where(User.id == a))
        raises(REFUSED, session.execute, renamed.where(User.id == b))
        raises("25P02", session.execute, sa.select(User).where(User.id == a))
        session.rollback()
        session.get(User, a)
        raises(REFUSED, session.execute, sa.select(sa.func.count()).select_from(User))
    ranks = sa.select(User.id, sa.func.rank().over(order_by=User.name))
    names = sa.select(sa.func.count(User.name.distinct()))
    limited = sa.select(User).options(orm.joinedload(User.orders)).limit(3)
    changed = sa.update(User).where(User.id == a).values(id=b)
    for query in (ranks, names, limited, changed):
        with over_all() as session:
            raises(REFUSED, session.execute, query)
            equal(session.get(User, a).name, f"user {a}")
    equal(rows(sa.select(User.id).where(User.name == "nobody")), [])


@check
def a_shard_that_is_down_fails_its_own_keys():
    (a, *_), (b, *_) = users_of("a"), users_of("b")
    count = sa.select(sa.func.count()).select_from(User)
    on_a, on_b = orm.Session(engine), orm.Session(engine)
    on_a.get(User, a).name = "during"
    on_b.get(User, b).name = "never"
    on_a.flush()
    on_b.flush()
    server("stop b")

    # libpq 17 loses the error of a connection that ends with it, with Postgres itself as well.
    def ends(fn, *args):
        try:
            fn(*args)
        except sa.exc.OperationalError as error:
            equal(error.connection_invalidated, True)
            if sys.argv[1] != "psycopg2":
                equal(state_of(error) in ("57P01", GONE), True)
        else:
            raise AssertionError("no error")

    ends(on_b.execute, sa.select(User).where(User.id == b))
    on_b.close()
    on_a.execute(sa.select(User).where(User.id == a))
    on_a.commit()
    on_a.close()

    def client(number):
        for _ in range(20):
            equal(get(a).name, "during")
            if number == 0:
                # The transaction that was to be there fails, and its connection is as good as before.
                with orm.Session(engine) as session:
                    raises(GONE, session.get, User, b)
                    raises("25P02", session.execute, sa.text("SELECT 1"))
                    session.rollback()
                    equal(session.get(User, a).name, "during")
                with over_all() as session:
                    raises(GONE, session.get, User, b)
                    raises(GONE, session.execute, count)
                    equal(session.get(User, a).name, "during")

    in_threads(client, 4)
    server("start b")
    eventually("b is back", lambda: equal(get(b).name, f"user {b}"))
    in_threads(lambda _: equal(rows(count), [(len(USERS),)]), 4)


if __name__ == "__main__":
    main()
