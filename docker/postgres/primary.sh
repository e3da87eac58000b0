#!/bin/bash
# The application's user and database, and one for replicas. Run once, when the primary is made.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U postgres <<'SQL'
CREATE ROLE app LOGIN PASSWORD 's3cret';
CREATE DATABASE shop OWNER app;
CREATE ROLE replicator LOGIN REPLICATION PASSWORD 's3cret';
SQL
echo 'host replication replicator all scram-sha-256' >> "$PGDATA/pg_hba.conf"
