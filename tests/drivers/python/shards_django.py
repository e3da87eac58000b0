"""A small shop in Django on two shards. Orders have their user in their key; without cursors on the
server, which are on one shard."""

from decimal import Decimal
from urllib.parse import urlsplit

import django
from checks import URL, check, equal, main
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Sum
from in_django import fails, in_connections
from shards import COUNTRIES, LINES, ORDERS, USERS, country, eventually, price, server

address = urlsplit(URL)
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": address.hostname,
            "PORT": address.port,
            "USER": address.username,
            "PASSWORD": address.password,
            "NAME": address.path[1:],
            "CONN_MAX_AGE": None,
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }
    },
    # This file is the application that its models belong to.
    INSTALLED_APPS=[__name__],
    USE_TZ=True,
)
django.setup()
REFUSED = "0A000"
GONE = "08006"


class Country(models.Model):
    code = models.TextField(primary_key=True)
    name = models.TextField()

    class Meta:
        db_table = "countries"


class User(models.Model):
    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    country = models.ForeignKey(Country, models.DO_NOTHING, db_column="country_code")

    class Meta:
        db_table = "users"


class NextOrder(models.Func):
    template = "nextval('order_ids')"
    output_field = models.BigIntegerField()


class Order(models.Model):
    pk = models.CompositePrimaryKey("user_id", "id")
    id = models.BigIntegerField(db_default=NextOrder())
    user = models.ForeignKey(User, models.CASCADE, related_name="orders")
    status = models.TextField(default="open")

    class Meta:
        db_table = "orders"


class Item(models.Model):
    pk = models.CompositePrimaryKey("user_id", "order_id", "line")
    user_id = models.BigIntegerField()
    order_id = models.BigIntegerField()
    line = models.IntegerField()
    title = models.TextField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    order = models.ForeignObject(
        Order,
        models.CASCADE,
        from_fields=["user_id", "order_id"],
        to_fields=["user_id", "id"],
        related_name="items",
    )

    class Meta:
        db_table = "items"


def users_of(shard):
    found = User.objects.raw(f"/* pgweir: shard={shard} */ SELECT * FROM users ORDER BY id")
    return [user.id for user in found]


def for_user(id):
    """Says on whose shard this transaction is."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL pgweir.shard_key = %s", [str(id)])


@check
def users_are_stored_with_their_orders():
    def client(number):
        for id in USERS[number::4]:
            with transaction.atomic():
                User.objects.filter(id=id).delete()
                user = User.objects.create(id=id, name=f"user {id}", country_id=country(id))
                for _ in range(ORDERS):
                    order = Order.objects.create(user=user)
                    for n in range(LINES):
                        Item.objects.create(
                            user_id=id,
                            order_id=order.id,
                            line=n,
                            title=f"thing {n}",
                            price=price(id, n).quantize(Decimal("0.01")),
                        )

    in_connections(client, 4)
    a, b = users_of("a"), users_of("b")
    equal(sorted(a + b), [*USERS])
    equal(bool(a and b), True)


@check
def one_user_is_loaded_and_changed():
    def client(number):
        for id in USERS[number::4]:
            user = User.objects.select_related("country").get(pk=id)
            equal((user.name, user.country.code), (f"user {id}", country(id)))
            user = User.objects.prefetch_related("orders__items").get(pk=id)
            equal([len(order.items.all()) for order in user.orders.all()], [LINES] * ORDERS)
            first = Order.objects.select_related("user__country").filter(user_id=id).order_by("id")
            equal(first[0].user.country.code, country(id))
            with transaction.atomic():
                user = User.objects.select_for_update().get(pk=id)
                user.name = "changed"
                user.save()
                order = user.orders.order_by("id")[0]
                order.status = "paid"
                order.save(update_fields=["status"])
                equal(Item.objects.filter(user_id=id).update(price=F("price") + 1), ORDERS * LINES)
                equal(Item.objects.filter(user_id=id).update(price=F("price") - 1), ORDERS * LINES)
                try:
                    with transaction.atomic():
                        User.objects.create(id=id, name="twice", country_id="de")
                except django.db.IntegrityError as error:
                    equal(error.__cause__.sqlstate, "23505")
                with transaction.atomic():
                    other = Order.objects.create(user=user)
            equal(User.objects.get(pk=id).name, "changed")
            equal(Order.objects.get(pk=(id, order.id)).status, "paid")
            equal(other.delete()[0], 1)
            named = {"name": f"user {id}"}
            equal(User.objects.update_or_create(id=id, defaults=named)[1], False)
            equal(User.objects.get_or_create(id=id, defaults=named)[1], False)

    in_connections(client, 4)


@check
def a_shard_named_at_the_start_needs_no_more_keys():
    for id in USERS[:8]:
        with transaction.atomic():
            for_user(id)
            equal(Country.objects.get(pk="de").name, "Germany")
            order = User.objects.get(pk=id).orders.order_by("id")[0]
            many = [
                Item(user_id=id, order_id=order.id, line=n, title="many", price=1)
                for n in range(10, 20)
            ]
            equal(len(Item.objects.bulk_create(many)), 10)
            equal(Item.objects.filter(title="many").update(title="more"), 10)
            equal(Item.objects.filter(order__id=order.id, title="more").delete()[0], 10)


@check
def pages_over_all_are_those_of_one_database():
    everybody = User.objects.select_related("country").prefetch_related("orders__items")
    for start in range(0, len(USERS), 7):
        users = list(everybody.order_by("id")[start : start + 7])
        equal([user.id for user in users], [*USERS][start : start + 7])
        for user in users:
            equal(user.country.code, country(user.id))
            equal([len(order.items.all()) for order in user.orders.all()], [LINES] * ORDERS)
    equal((User.objects.first().id, User.objects.last().id), (1, 40))
    equal([user.id for user in User.objects.filter(pk__in=[9, 3, 39]).order_by("-id")], [39, 9, 3])
    equal(sorted(User.objects.in_bulk([3, 9, 12])), [3, 9, 12])
    equal(sum(1 for _ in User.objects.order_by("name").iterator(chunk_size=5)), len(USERS))


@check
def sums_over_all_are_those_of_one_database():
    prices = {id: [price(id, n).quantize(Decimal("0.01")) for n in range(LINES)] for id in USERS}
    everything = Item.objects.aggregate(Sum("price"), Max("line"), n=Count("*"))
    total = ORDERS * sum(sum(of_user) for of_user in prices.values())
    want = {"price__sum": total, "line__max": LINES - 1, "n": len(USERS) * ORDERS * LINES}
    equal(everything, want)
    equal(Item.objects.aggregate(Avg("line")), {"line__avg": 1.0})
    by_country = User.objects.values("country_id").annotate(sum=Sum("orders__items__price"))
    equal(
        list(by_country.order_by("country_id")),
        [
            {
                "country_id": code,
                "sum": ORDERS * sum(sum(prices[id]) for id in USERS if country(id) == code),
            }
            for code in COUNTRIES
        ],
    )
    orders = User.objects.annotate(n=Count("orders")).order_by("id").values_list("id", "n")
    equal(list(orders), [(id, ORDERS) for id in USERS])
    equal(User.objects.count(), len(USERS))
    equal(User.objects.filter(name="user 7").exists(), True)
    paid = Order.objects.filter(user_id=OuterRef("pk"), status="paid")
    equal(User.objects.filter(Exists(paid)).count(), len(USERS))
    codes = User.objects.order_by("country_id").values_list("country_id", flat=True)
    equal(list(codes.distinct()), COUNTRIES)


@check
def what_is_refused_is_refused_by_name_and_nothing_of_it_is_done():
    (a, *_), (b, *_) = users_of("a"), users_of("b")

    @transaction.atomic
    def on_two_shards():
        for id in (a, b):
            User.objects.filter(pk=id).update(name="nobody")

    @transaction.atomic
    def all_in_a_transaction():
        User.objects.get(pk=a)
        User.objects.count()

    def two_names():
        User.objects.aggregate(n=Count("name", distinct=True))

    # Django stores many rows by arrays, whose keys may be several.
    def rows_of_arrays():
        order = Order.objects.filter(user_id=a)[0]
        rows = [Item(user_id=a, order_id=order.id, line=n, title="x", price=1) for n in (50, 51)]
        Item.objects.bulk_create(rows)

    for refused in (on_two_shards, all_in_a_transaction, two_names, rows_of_arrays):
        fails(REFUSED, refused)
        equal(User.objects.get(pk=b).name, f"user {b}")
    equal(User.objects.filter(name="nobody").count(), 0)
    equal(Item.objects.filter(title="x").count(), 0)


@check
def a_shard_that_is_down_fails_its_own_keys():
    (a, *_), (b, *_) = users_of("a"), users_of("b")

    def rename(id, name):
        with transaction.atomic():
            User.objects.filter(pk=id).update(name=name)

    server("stop b")

    def client(_):
        for n in range(10):
            rename(a, f"name {n}")
            fails(GONE, lambda: User.objects.get(pk=b))
            fails(GONE, User.objects.count)
            equal(User.objects.get(pk=a).name.startswith("name"), True)
            # The transaction can't be begun where it belongs: it fails, and the connection goes on.
            fails(GONE, rename, b, "never")
            equal(connection.is_usable(), True)
            equal(User.objects.get(pk=a).name.startswith("name"), True)

    in_connections(client, 3)
    rename(a, f"user {a}")
    server("start b")
    eventually("b is back", lambda: equal(User.objects.get(pk=b).name, f"user {b}"))
    rename(b, f"user {b}")
    equal(User.objects.count(), len(USERS))


if __name__ == "__main__":
    main()
