#!/bin/bash
# A replica: copied from the primary when there is none yet, and then run.
set -euo pipefail
data=$PGDATA
if [[ ! -s $data/PG_VERSION ]]; then
  pg_basebackup -h primary -U replicator -D "$data" -X stream -R -w
  chmod 0700 "$data"
fi
exec postgres -D "$data"
