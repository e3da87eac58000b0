#!/usr/bin/env bash
# psql: simple protocol with many statements, \copy, \gset, ON_ERROR_ROLLBACK, Ctrl-C.
set -uo pipefail

url=$DATABASE_URL
schema=$DRIVER_SCHEMA
table=$schema.rows
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PGCONNECT_TIMEOUT=10
run=0 failed=0

quiet() { psql -XqAt -v ON_ERROR_STOP=1 "$@" "$url"; }

# Runs the function $1 and compares what it prints with $2.
check() {
  local got
  run=$((run + 1))
  echo "run  $1"
  got=$("$1" 2>&1)
  if [[ $got == "$2" ]]; then
    echo "ok   $1"
  else
    failed=$((failed + 1))
    printf 'want:\n%s\ngot:\n%s\n' "$2" "$got" | head -c 3000
    echo "FAIL $1: other output than expected"
  fi
}

tables() { quiet -c "CREATE TABLE $table (tag text, n int, note text)"; }

values() {
  quiet <<'SQL'
SELECT 42, 'naïve ☃ ''q''', NULL::text, '\x00ff'::bytea, 12345678901234567890.123456789;
SELECT timestamptz '2024-02-29 12:00:00.5+00' AT TIME ZONE 'UTC', ARRAY[1, NULL, 3], '{"a": [1, "x"]}'::jsonb;
SQL
}

client() {
  local number=$1 n
  for ((n = 0; n < 60; n++)); do
    echo "SELECT 'c$number' AS tag, $n AS n \\gset"
    echo "INSERT INTO $table VALUES (:'tag', :n);"
    echo "BEGIN; INSERT INTO $table VALUES ('c$number', -1); SAVEPOINT a; ROLLBACK TO a; ROLLBACK;"
    echo "BEGIN; SELECT 1 / 0 AS never; ROLLBACK;"
    echo "SELECT count(*) = $n + 1 AND min(n) = 0 FROM $table WHERE tag = :'tag';"
  done | psql -XqAt "$url" >"$work/out.$number" 2>"$work/err.$number"
}

clients_see_their_own_rows() {
  local number
  for number in {0..7}; do client "$number" & done
  wait
  for number in {0..7}; do
    echo "$(grep -c '^t$' "$work/out.$number") $(grep -vc '^t$' "$work/out.$number")" \
      "$(grep -c 'ERROR:  division by zero' "$work/err.$number")"
  done | sort | uniq -c | xargs
}

several_statements_at_once() {
  quiet -c "SELECT 1; SELECT 'b'; BEGIN; SELECT 3; COMMIT"
  quiet -c "INSERT INTO $table VALUES ('multi', 1); SELECT 1 / 0"
  quiet -c "SELECT count(*) FROM $table WHERE tag = 'multi'"
}

errors_leave_the_session_usable() {
  psql -XqAt -v VERBOSITY=sqlstate "$url" <<SQL
SELEC 1;
SELECT * FROM $schema.absent;
EXECUTE no_such_name;
DEALLOCATE no_such_name;
\\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO $table VALUES ('rollback', 1);
SELECT 1 / 0;
INSERT INTO $table VALUES ('rollback', 2);
COMMIT;
SELECT sum(n) FROM $table WHERE tag = 'rollback';
SQL
}

gdesc_and_gexec() {
  quiet <<SQL
SELECT 1 AS a, 'x'::text AS b \\gdesc
SELECT 'SELECT ' || g FROM generate_series(1, 3) g \\gexec
SQL
}

cursor() {
  quiet -v FETCH_COUNT=100 -c "SELECT g FROM generate_series(1, 5000) g" | sha256sum
  quiet -v FETCH_COUNT=100 <<<"SELECT g FROM generate_series(1, 5000) g;" | sha256sum
}

copy() {
  seq 1 20000 | sed 's/.*/copy\t&\t\\N/' >"$work/in"
  quiet -c "\\copy $table FROM '$work/in'"
  quiet -c "COPY (SELECT * FROM $table WHERE tag = 'copy' ORDER BY n) TO STDOUT" >"$work/text"
  cmp "$work/in" "$work/text"
  quiet -c "\\copy (SELECT * FROM $table WHERE tag = 'copy' ORDER BY n) TO '$work/binary' BINARY"
  quiet -c "DELETE FROM $table WHERE tag = 'copy'" -c "\\copy $table FROM '$work/binary' BINARY"
  quiet -c "SELECT count(*), sum(n) FROM $table WHERE tag = 'copy'"
  quiet -c "COPY $table FROM STDIN" <<<$'x\tnot a number' 2>&1 | grep -c 'invalid input syntax'
  printf '%s\n' "COPY $table FROM STDIN;" $'inline\t5\t\\N' '\.' "SELECT n FROM $table WHERE tag = 'inline';" | quiet
}

large_values_and_results() {
  quiet -c "SELECT repeat('abcdefgh', 131072)" | wc -c
  quiet -c "SELECT g, 'row ' || g FROM generate_series(1, 100000) g" | tail -n 1
}

large_object() {
  head -c 300000 /dev/urandom >"$work/object"
  quiet -c "\\lo_import '$work/object'" -c '\echo :LASTOID' >"$work/oid"
  oid=$(tail -n 1 "$work/oid")
  quiet -c "\\lo_export $oid '$work/exported'" -c "\\lo_unlink $oid" >/dev/null
  cmp "$work/object" "$work/exported"
}

notices() {
  for n in 1 2 3; do echo "DO \$\$ BEGIN RAISE NOTICE 'note $n'; END \$\$;"; done | quiet
}

cancel() {
  local tag="${schema}_sleep" deadline=$((SECONDS + 20))
  # Job control gives psql its own SIGINT back, which bash takes from background jobs.
  set -m
  psql -XqAt -v VERBOSITY=sqlstate "$url" -c "SELECT pg_sleep(30) /* $tag */" >"$work/cancel" 2>&1 &
  local pid=$!
  set +m
  until [[ $(quiet -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
      AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%$tag%'") == 1 ]]; do
    ((SECONDS < deadline)) || break
  done
  kill -INT "$pid"
  wait "$pid"
  cat "$work/cancel"
}

startup_parameters() {
  PGAPPNAME="app of psql" PGTZ=Asia/Tokyo PGDATESTYLE="SQL, DMY" PGCLIENTENCODING=LATIN1 \
    PGOPTIONS="-c search_path=$schema -c statement_timeout=77s -c work_mem=2001kB" quiet <<SQL
BEGIN;
SHOW application_name;
SHOW TimeZone;
SHOW DateStyle;
SHOW client_encoding;
SHOW statement_timeout;
SHOW work_mem;
SELECT count(*) >= 0 FROM rows;
COMMIT;
SHOW work_mem;
SHOW work_mem;
SQL
  PGOPTIONS="-c statement_timeout=soon" quiet -c "SELECT 1" 2>&1 |
    grep -c 'invalid value for parameter "statement_timeout": "soon"'
}

closed_in_transaction() {
  for n in {1..20}; do quiet <<<"BEGIN; INSERT INTO $table VALUES ('closed', $n);"; done
  quiet -c "SELECT count(*) FROM $table WHERE tag = 'closed'"
}

reconnect() {
  for n in {1..50}; do quiet -c "SELECT $n"; done | xargs
  for n in {1..50}; do echo '\c'; echo "SELECT $n;"; done | quiet | grep -v '^You are' | xargs
}

describe_commands() {
  quiet <<SQL | sha256sum >/dev/null && echo described
\\d $table
\\dn
\\l
\\df pg_catalog.lower
\\dt $schema.*
SQL
}

check tables ''
check values $'42|naïve ☃ \'q\'||\\x00ff|12345678901234567890.123456789
2024-02-29 12:00:00.5|{1,NULL,3}|{"a": [1, "x"]}'
check clients_see_their_own_rows '8 60 0 60'
check several_statements_at_once $'1\nb\n3\nERROR:  division by zero\n0'
check errors_leave_the_session_usable $'ERROR:  42601\nERROR:  42P01\nERROR:  26000\nERROR:  26000\nERROR:  22012\n3'
check gdesc_and_gexec $'a|integer\nb|text\n1\n2\n3'
numbers=$(seq 1 5000 | sha256sum)
check cursor "$numbers"$'\n'"$numbers"
check copy $'20000|200010000\n1\n5'
check large_values_and_results $'1048577\n100000|row 100000'
check large_object ''
check notices $'NOTICE:  note 1\nNOTICE:  note 2\nNOTICE:  note 3'
check cancel $'Cancel request sent\nERROR:  57014'
check startup_parameters $'app of psql\nAsia/Tokyo\nSQL, DMY\nLATIN1\n77s\n2001kB\nt\n2001kB\n2001kB\n1'
check closed_in_transaction 0
check reconnect "$(seq 1 50 | xargs)"$'\n'"$(seq 1 50 | xargs)"
check describe_commands described

echo "$((run - failed)) of $run checks"
((failed == 0))
