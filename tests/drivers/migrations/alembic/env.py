"""Alembic takes no lock of its own; projects take one here, around all migrations."""

import os

import sqlalchemy as sa
from alembic import context

LOCK = 20_240_229
address = sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
engine = sa.create_engine(address, poolclass=sa.NullPool)

with engine.connect() as conn:
    conn.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    conn.commit()
    try:
        context.configure(connection=conn, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        conn.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        conn.commit()
