#!/usr/bin/env bash
# Runs one migration tool twice at once on an empty schema; `run` starts it with the tool's name.
#
# The first migration of each tool reads the table "gate". It is locked until one process waits
# for it, holding the tool's own lock, and the other one waits for that.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tool=$1
python=$DRIVERS_CACHE/venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PGCONNECT_TIMEOUT=10 PGOPTIONS="-c search_path=$DRIVER_SCHEMA"
run=0 failed=0

quiet() { psql -XqAt -v ON_ERROR_STOP=1 "$@" "$DATABASE_URL"; }

check() {
  run=$((run + 1))
  echo "run  $1"
  if "$1"; then
    echo "ok   $1"
  else
    failed=$((failed + 1))
    tail -n 20 "$work"/*.log
    echo "FAIL $1"
  fi
}

# postgres://user:password@host:port/database, as pgjdbc has it.
jdbc() {
  [[ $DATABASE_URL =~ ^[a-z]+://([^:]+):([^@]+)@(.+)$ ]] &&
    echo "jdbc:postgresql://${BASH_REMATCH[3]}?user=${BASH_REMATCH[1]}&password=${BASH_REMATCH[2]}&currentSchema=$DRIVER_SCHEMA"
}

# Takes the place of the shell, so that the process can be killed.
migrate() {
  case $tool in
    alembic) cd "$here/alembic" && exec "$python" -m alembic upgrade head ;;
    django-migrate) exec "$python" "$here/django/migrate.py" ;;
    node-pg-migrate)
      exec node "$DRIVERS_CACHE/node/node_modules/node-pg-migrate/bin/node-pg-migrate.js" up \
        -m "$here/node" -s "$DRIVER_SCHEMA" --advisory-lock-mode wait --no-single-transaction
      ;;
    active-record) exec ruby "$here/ruby/migrate.rb" ;;
    liquibase)
      cd "$here/liquibase" && exec "$DRIVERS_CACHE/liquibase/package/dist/liquibase/liquibase" \
        --changelog-file=changelog.sql --url="$(jdbc)" --headless=true --log-level=info \
        --changelog-lock-poll-rate=1 update
      ;;
    psql-lock) exec psql -XqAt -v ON_ERROR_STOP=1 -f "$here/lock.sql" "$DATABASE_URL" ;;
  esac
}

empty_schema() {
  quiet -c "SET client_min_messages = warning" -c "DROP SCHEMA IF EXISTS $DRIVER_SCHEMA CASCADE" \
    -c "CREATE SCHEMA $DRIVER_SCHEMA" -c "CREATE TABLE gate ()" -c "CREATE TABLE applied (name text)"
}

close_gate() {
  local answer=
  coproc gate { quiet; }
  echo "BEGIN; LOCK TABLE gate; SELECT 'closed';" >&"${gate[1]}"
  read -r answer <&"${gate[0]}"
  [[ $answer == closed ]]
}

# Without input psql ends, and with it the transaction.
open_gate() {
  local input=${gate[1]} pid=$gate_PID
  exec {input}>&-
  wait "$pid"
}

until_true() {
  local deadline=$((SECONDS + 60))
  until "$@"; do
    ((SECONDS < deadline)) || { echo "not so after a minute: $*"; return 1; }
  done
}
locks() {
  quiet -c "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE datname = current_database() AND $1"
}
at_the_gate() { [[ $(locks "relation = 'gate'::regclass AND NOT granted") == 1 ]]; }
# What does not wait in the server says that it was locked out.
locked_out() {
  grep -qE 'locked out|Waiting for changelog lock' "$work/second.log" || [[ $(locks "locktype = 'advisory' AND NOT granted") == 1 ]]
}
no_lock() { [[ $(locks "locktype = 'advisory'") == 0 ]]; }

start_both() {
  empty_schema && close_gate || return
  (migrate) >"$work/first.log" 2>&1 &
  first=$!
  until_true at_the_gate || return
  (migrate) >"$work/second.log" 2>&1 &
  second=$!
  until_true locked_out
}

# Each migration is there once, and nothing of the tool's is left on a server.
migrated() {
  local want='first,second|id,name,price|1|10'
  [[ $(quiet -c "SELECT string_agg(name, ',' ORDER BY name),
      (SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns
        WHERE table_schema = '$DRIVER_SCHEMA' AND table_name = 'items'),
      (SELECT count(*) FROM items), (SELECT sum(price) FROM items) FROM applied") == "$want" ]] &&
    until_true no_lock
}

one_waits_and_both_end() {
  local status=0
  start_both || status=1
  open_gate
  wait "$first" || status=1
  wait "$second" || status=1
  ((status == 0)) && migrated
}

later_there_is_nothing_to_do() { (migrate) >"$work/third.log" 2>&1 && migrated; }

the_other_goes_on_when_the_first_is_killed() {
  local status=0
  start_both || status=1
  kill -KILL "$first"
  open_gate
  wait "$first" 2>/dev/null
  wait "$second" || status=1
  ((status == 0)) && migrated
}

check one_waits_and_both_end
check later_there_is_nothing_to_do
# The lock of Liquibase is a row, and stays where it is killed.
[[ $tool == liquibase ]] || check the_other_goes_on_when_the_first_is_killed

echo "$((run - failed)) of $run checks"
((failed == 0))
