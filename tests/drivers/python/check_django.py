"""Django at its default settings: server-side cursors, autocommit, connections kept per thread."""

import datetime
import decimal
from urllib.parse import urlsplit

import django
from checks import CLIENTS, ROUNDS, SCHEMA, URL, check, equal, main
from django.conf import settings
from django.db import connection, connections, models, transaction
from django.db.models import Count, F, Q, Sum
from in_django import fails, in_connections

NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)
address = urlsplit(URL)
database = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": address.hostname,
    "PORT": address.port,
    "USER": address.username,
    "PASSWORD": address.password,
    "NAME": address.path[1:],
    "CONN_MAX_AGE": None,
    "OPTIONS": {"options": f"-c search_path={SCHEMA}"},
}
settings.configure(
    DATABASES={
        "default": database,
        # Sends SET by itself: the connection's zone and the role.
        "tokyo": {
            **database,
            "TIME_ZONE": "Asia/Tokyo",
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {**database["OPTIONS"], "assume_role": address.username},
        },
        "serializable": {
            **database,
            "OPTIONS": {**database["OPTIONS"], "isolation_level": 4, "server_side_binding": True},
        },
    },
    # This file is the application that its models belong to.
    INSTALLED_APPS=[__name__],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    TIME_ZONE="Europe/Berlin",
    USE_TZ=True,
)
django.setup()


class Author(models.Model):
    name = models.TextField(unique=True)
    born = models.DateTimeField(null=True)
    worth = models.DecimalField(null=True, max_digits=30, decimal_places=9)
    face = models.BinaryField(null=True)
    facts = models.JSONField(null=True)
    visits = models.IntegerField(default=0)

    class Meta:
        db_table = "authors"


class Book(models.Model):
    title = models.TextField()
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")

    class Meta:
        db_table = "books"


def value(query, *params, using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(query, params or None)
        return cursor.fetchone()[0]


@check
def tables():
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    names = connection.introspection.table_names()
    equal(sorted(names), ["authors", "books"])


@check
def every_column_comes_back():
    columns = {
        "born": NOON,
        "worth": decimal.Decimal("12345678901234567890.123456789"),
        "face": bytes(range(256)),
        "facts": {"a": [1, "x", None]},
    }
    for n in range(8):
        for using in ("default", "tokyo", "serializable"):
            objects = Author.objects.using(using)
            objects.create(name=f"{using} {n}", **columns)
            got = objects.get(name=f"{using} {n}")
            got.face = bytes(got.face)
            equal({key: getattr(got, key) for key in columns}, columns)
            equal(objects.filter(facts__a__0=1, born__year=2024, name=got.name).count(), 1)


@check
def clients_see_their_own_rows():
    def client(number):
        for n in range(ROUNDS):
            name = f"client {number} {n}"
            with transaction.atomic():
                author = Author.objects.create(name=name)
                Book.objects.bulk_create(Book(title=f"{name} {i}", author=author) for i in range(3))
            got = Author.objects.prefetch_related("books").get(name=name)
            equal(sorted(book.title for book in got.books.all()), [f"{name} {i}" for i in range(3)])
            equal(value("SELECT %s::text || %s::int", name, n), f"{name}{n}")
            if n % 5 == 0:
                fails("22012", value, "SELECT 1 / %s::int", 0)

    in_connections(client)
    counted = Author.objects.filter(name__startswith="client").annotate(n=Count("books"))
    equal(counted.aggregate(total=Sum("n"))["total"], CLIENTS * ROUNDS * 3)


@check
def iterator_in_autocommit():
    """A cursor WITH HOLD, whose last rows come after other statements; only two at once."""
    Author.objects.bulk_create(Author(name=f"many {n:04}", visits=n) for n in range(1000))
    many = Author.objects.filter(name__startswith="many").order_by("name")

    def client(number):
        for _ in range(3):
            got = []
            for author in many.iterator(chunk_size=100):
                if author.visits % 250 == 0:
                    equal(value("SELECT %s::int", number), number)
                got.append(author.visits)
            equal(got, list(range(1000)))
            # Left alone after a chunk: closed when the generator goes.
            equal(next(many.iterator(chunk_size=10)).visits, 0)
            equal(value("SELECT count(*) FROM pg_cursors"), 0)

    in_connections(client, 2)


@check
def iterator_in_transaction():
    many = Author.objects.filter(name__startswith="many").order_by("name")

    def client(number):
        for _ in range(3):
            with transaction.atomic():
                first, second = many.iterator(chunk_size=100), many.iterator(chunk_size=70)
                for n, (one, two) in enumerate(zip(first, second, strict=True)):
                    equal((one.visits, two.visits), (n, n))
                equal(value("SELECT %s::int", number), number)

    in_connections(client, 4)


@check
def atomic_blocks_and_savepoints():
    for n in range(8):
        with transaction.atomic():
            Author.objects.create(name=f"kept {n}")
            try:
                with transaction.atomic():
                    Author.objects.create(name=f"kept {n}")
            except django.db.IntegrityError as error:
                equal(error.__cause__.sqlstate, "23505")
            point = transaction.savepoint()
            Author.objects.create(name=f"dropped {n}")
            transaction.savepoint_rollback(point)
        try:
            with transaction.atomic(durable=True):
                Author.objects.create(name=f"dropped {n}")
                raise LookupError
        except LookupError:
            pass
    equal(Author.objects.filter(name__startswith="kept").count(), 8)
    equal(Author.objects.filter(name__startswith="dropped").count(), 0)


@check
def select_for_update():
    author = Author.objects.create(name="locked")

    def client(_):
        for _ in range(20):
            with transaction.atomic():
                row = Author.objects.select_for_update().get(pk=author.pk)
                row.visits += 1
                row.save(update_fields=["visits"])

    in_connections(client)
    author.refresh_from_db()
    equal(author.visits, CLIENTS * 20)
    with transaction.atomic():
        locked = Author.objects.select_for_update(of=("self",)).filter(pk=author.pk)
        equal(locked.count(), 1)
        equal(len(locked), 1)

        def other(_):
            with transaction.atomic():
                free = Author.objects.select_for_update(skip_locked=True).filter(pk=author.pk)
                equal(list(free), [])
            with transaction.atomic():
                busy = Author.objects.select_for_update(nowait=True)
                fails("55P03", busy.get, Q(pk=author.pk))
                transaction.set_rollback(True)

        in_connections(other, 1)


@check
def bulk():
    rows = [Author(name=f"bulk {n}", visits=n) for n in range(3000)]
    created = Author.objects.bulk_create(rows, batch_size=500)
    equal(len({author.pk for author in created}), 3000)
    Author.objects.bulk_create(
        [Author(name=f"bulk {n}", visits=-n) for n in range(10)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["visits"],
    )
    bulk = Author.objects.filter(name__startswith="bulk")
    equal(bulk.aggregate(total=Sum("visits"))["total"], 4498500 - 2 * 45)
    for author in created[:200]:
        author.visits = 7
    Author.objects.bulk_update(created[:200], ["visits"])
    equal(bulk.filter(visits=7).update(visits=F("visits") + 1), 200)
    equal(bulk.delete()[0], 3000)


@check
def time_zones_stay_with_their_connection():
    want = {"default": "UTC", "tokyo": "Asia/Tokyo", "serializable": "UTC"}

    def client(_):
        for _ in range(20):
            for using, zone in want.items():
                equal(value("SHOW TimeZone", using=using), zone)
                with transaction.atomic(using=using):
                    equal(value("SHOW TimeZone", using=using), zone)
                equal(value("SELECT CURRENT_USER::text", using=using), address.username)
            for using, level in (("default", "read committed"), ("serializable", "serializable")):
                with transaction.atomic(using=using):
                    equal(value("SHOW transaction_isolation", using=using), level)

    in_connections(client, 4)


@check
def connections_persist_between_requests():
    for using in ("default", "tokyo"):
        before = connections[using].connection
        equal(value("SELECT 1", using=using), 1)
        before = before or connections[using].connection
        for n in range(20):
            django.db.reset_queries()
            connections[using].close_if_unusable_or_obsolete()
            connections[using].health_check_done = False
            if n % 5 == 0:
                fails("22012", lambda: value("SELECT 1 / 0", using=using))
            equal(value("SELECT %s::int", n, using=using), n)
            equal(connections[using].connection is before, True)


@check
def explain_and_raw_sql():
    for n in range(5):
        equal("Scan" in Author.objects.filter(visits__gt=n).explain(analyze=True), True)
        got = Author.objects.raw("SELECT * FROM authors WHERE name = %s", [f"kept {n}"])
        equal([author.name for author in got], [f"kept {n}"])


@check
def closed_in_transaction():
    for n in range(20):
        transaction.set_autocommit(False)
        Author.objects.create(name=f"closed {n}")
        connection.close()
    equal(Author.objects.filter(name__startswith="closed").count(), 0)


@check
def reconnect():
    for n in range(100):
        equal(value("SELECT %s::int", n), n)
        connection.close()


if __name__ == "__main__":
    main()
