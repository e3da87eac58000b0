"""What applications over shards share: which users live where, and servers that stop and start.

Beside DATABASE_URL, whose database is spread over the shards a and b, there is SHARDS_CONTROL, an
address that takes a line "stop b" or "start b" and answers when that is done. The tables are those
of ../shards.sql; what is in them is whatever the application before has left.
"""

import os
import socket
import time
from decimal import Decimal

USERS = range(1, 41)
COUNTRIES = ["de", "fr", "jp"]
ORDERS = 2  # of each user
LINES = 3  # of each order


def country(user):
    return COUNTRIES[user % 3]


def price(user, line):
    return Decimal(user * 100 + line) / 4


def server(order):
    """Has a server stopped or started."""
    host, port = os.environ["SHARDS_CONTROL"].split(":")
    with socket.create_connection((host, int(port))) as control:
        control.sendall(f"{order}\n".encode())
        answer = control.makefile().readline()
    if answer != "done\n":
        raise AssertionError(f"{order}: {answer}")


def eventually(what, fn):
    """Calls fn until it does not fail."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return fn()
        except Exception as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within 30 s: {what}") from error
            time.sleep(0.05)
