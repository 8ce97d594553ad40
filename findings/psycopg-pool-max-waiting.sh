#!/usr/bin/env bash
# Debian 12: python3-psycopg-pool 3.1.7-4
#
# Expected: max_waiting bounds how many wait at once, and requests_waiting in the stats
# says how many do. A caller whose timeout has passed waits no more.
# It does: it stays in the queue until a connection comes back. With max_waiting=1, one
# caller that gave up after 0.3 s makes the pool refuse everybody with TooManyRequests,
# at once, though nobody waits, and the stats show a waiter for as long. That is when
# the holders are slow: the time for which max_waiting is there.
#
# Seen on 2026-11-28 (max_size=1, max_waiting=1, the connection is in use throughout):
#   1st caller, timeout 0.3 s: PoolTimeout
#   nobody waits; requests_waiting: 1
#   2nd caller, timeout 0.3 s: TooManyRequests
#   3rd caller, timeout 0.3 s: TooManyRequests
set -euo pipefail
packages=(python3-psycopg-pool)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.py" <<'EOF'
import sys
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

class State:
    transaction_status = TransactionStatus.IDLE

class Connection:
    """A connection without a server."""

    def __init__(self):
        self.pgconn, self.closed = State(), False

    @classmethod
    def connect(cls, *args, **kwargs):
        return cls()

    def close(self):
        self.closed = True

pool = ConnectionPool("", min_size=1, max_size=1, max_waiting=1, connection_class=Connection)
pool.wait()
held = pool.getconn()

def ask(nth):
    try:
        pool.getconn(timeout=0.3)
        what = "served"
    except Exception as e:
        what = type(e).__name__
    print(f"{nth} caller, timeout 0.3 s: {what}")
    return what

seen = [ask("1st")]
waiting = pool.get_stats()["requests_waiting"]
print("nobody waits; requests_waiting:", waiting)
seen += [ask("2nd"), ask("3rd")]
pool.putconn(held)
pool.close()
if seen != ["PoolTimeout", "TooManyRequests", "TooManyRequests"] or waiting != 1:
    sys.exit("CHANGED: a caller that has given up does not count")
EOF
timeout 60 /usr/bin/python3 "$dir/main.py"
