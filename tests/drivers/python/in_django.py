"""What checks through Django share."""

import django.db
from checks import CLIENTS, in_threads, raises
from django.db import connections


def in_connections(fn, count=CLIENTS):
    """Runs fn(number) in as many threads, each of which has connections of its own."""

    def client(number):
        try:
            fn(number)
        finally:
            connections.close_all()

    in_threads(client, count)


def fails(sqlstate, fn, *args):
    """Django's errors have the driver's as their cause."""

    def unwrapped():
        try:
            fn(*args)
        except django.db.Error as error:
            raise error.__cause__ from error

    raises(sqlstate, unwrapped)
