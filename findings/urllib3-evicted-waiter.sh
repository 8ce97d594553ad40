#!/usr/bin/env bash
# Debian 12: python3-urllib3 1.26.12-1
#
# Expected: a PoolManager with num_pools=1 and block=True. Host A's pool has to make room
# for host B's while A's only connection is in use and a caller waits for it. When the
# response is finished, the caller that waits gets the connection, or it is told at once
# that the pool is closed (ClosedPoolError).
# It does: neither. The connection that comes back to the evicted pool is closed, its
# place is given to nobody, and the caller waits on in a pool that no longer has anything
# to come. It ends when pool_timeout does, with «Pool reached maximum size and no more
# connections are allowed» beside no connection at all. Without a pool_timeout, which is
# the default, it hangs for ever.
#
# Seen on 2026-11-29 (num_pools 1, maxsize 1, pool_timeout 5 s):
#   response of A finished, its connection closed: in time
#   the caller that waited for A: EmptyPoolError after 5.0 s
#   a new caller of A meanwhile: 200
# (the last digit varies)
set -euo pipefail
packages=(python3-urllib3)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.py" <<'PY'
import http.server
import sys
import threading
import time
import urllib3

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.open += 1

    def finish(self):
        super().finish()
        self.server.open -= 1

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments):
        pass

def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.open = 0
    server.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

def until(condition, seconds=10):
    start = time.monotonic()
    while not condition() and time.monotonic() - start < seconds:
        time.sleep(0.01)
    return time.monotonic() - start

a, b = serve(), serve()
manager = urllib3.PoolManager(num_pools=1, maxsize=1, block=True)
stream = manager.request("GET", a.url, preload_content=False)
outcome = []

def wait():
    start = time.monotonic()
    try:
        what = manager.request("GET", a.url, pool_timeout=5).status
    except urllib3.exceptions.HTTPError as error:
        what = type(error).__name__
    outcome.append((what, time.monotonic() - start))

waiter = threading.Thread(target=wait, daemon=True)
waiter.start()
time.sleep(1)
start = time.monotonic()
manager.request("GET", b.url)
stream.read()
stream.release_conn()
until(lambda: a.open == 0)
closed = time.monotonic() - start
print(f"response of A finished, its connection closed: {'in time' if closed < 3 else 'late'}")
again = manager.request("GET", a.url).status
early = not outcome
waiter.join(20)
what, seconds = outcome[0]
print(f"the caller that waited for A: {what} after {seconds:.1f} s")
print(f"a new caller of A{' meanwhile' if early else ''}: {again}")
if closed > 3 or what != "EmptyPoolError" or seconds < 4.9 or again != 200 or not early:
    sys.exit("CHANGED: who waits in an evicted pool is served or told")
PY
timeout 60 /usr/bin/python3 "$dir/main.py"
