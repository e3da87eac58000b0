"""Runs named checks one by one; one that fails does not end the others."""

import asyncio
import os
import sys
import threading
import time
import traceback

URL = os.environ["DATABASE_URL"]
SCHEMA = os.environ["DRIVER_SCHEMA"]
CLIENTS = 8
ROUNDS = 60
DISTINCT = 350  # more statements than a server keeps prepared

_checks = []


def check(fn):
    """Registers a function, plain or async, as a check."""
    _checks.append(fn)
    return fn


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r:.200}, want {want!r:.200}")


def raises(sqlstate, fn, *args):
    """Calls fn, which must fail with this SQLSTATE."""
    try:
        fn(*args)
    except Exception as error:
        equal(state_of(error), sqlstate)
    else:
        raise AssertionError(f"no error, want SQLSTATE {sqlstate}")


async def raises_async(sqlstate, awaitable):
    try:
        await awaitable
    except Exception as error:
        equal(state_of(error), sqlstate)
    else:
        raise AssertionError(f"no error, want SQLSTATE {sqlstate}")


def state_of(error):
    """The SQLSTATE of psycopg, psycopg2 and asyncpg errors, also wrapped by SQLAlchemy."""
    error = getattr(error, "orig", None) or error
    for name in ("sqlstate", "pgcode"):
        if getattr(error, name, None):
            return getattr(error, name)
    raise error


def in_threads(fn, count=CLIENTS):
    """Calls fn(0) to fn(count - 1) at once; raises the first error."""
    errors = []

    def body(number):
        try:
            fn(number)
        except BaseException as error:
            # Lets go of the connection, for whose server other threads may be waiting.
            traceback.clear_frames(error.__traceback__)
            errors.append(error)

    threads = [threading.Thread(target=body, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def cancel_when_asleep(execute, tag, cancel):
    """Starts a thread that calls cancel once the server runs the statement with this tag."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        f" AND query LIKE '%pg_sleep%{tag}%'"
    )
    deadline = time.monotonic() + 20

    def body():
        while execute(query) != 1 and time.monotonic() < deadline:
            pass
        cancel()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def main():
    failed = 0
    for fn in _checks:
        began = time.monotonic()
        print(f"run  {fn.__name__}", flush=True)
        try:
            asyncio.run(fn()) if asyncio.iscoroutinefunction(fn) else fn()
        except Exception as error:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            traceback.clear_frames(error.__traceback__)
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"FAIL {fn.__name__}: {text}")
        else:
            print(f"ok   {fn.__name__} ({time.monotonic() - began:.2f} s)")
    print(f"{len(_checks) - failed} of {len(_checks)} checks")
    sys.stdout.flush()
    os._exit(1 if failed else 0)
