"""Says whether libpq has TLS here, whether the server has it there, and how old the server is."""

import sys

import psycopg

QUERY = """
    SELECT (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
           current_setting('server_version_num')::int / 10000
"""

assert psycopg.pq.version() >= 170000, f"libpq {psycopg.pq.version()} has no direct TLS"
with psycopg.connect(sys.argv[1], connect_timeout=20) as connection:
    ssl, version = connection.execute(QUERY).fetchone()
    print(connection.pgconn.ssl_in_use, "t" if ssl else "f", version)
