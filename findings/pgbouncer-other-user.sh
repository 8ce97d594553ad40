#!/usr/bin/env bash
# Debian 12: pgbouncer 1.18.0-1
#
# Expected: each user has a pool of its own, and max_db_connections bounds them together.
# At this bound who asked first is served first. An idle connection of one user is closed
# for a caller of another, at once, so one that comes back should be as well.
# It does: a connection that comes back goes to its own user's queue as long as anybody is
# in it, also to those who asked much later. Another user's caller gets it when that queue
# is empty. Where it never is, the other user is not served at all, until
# query_wait_timeout (two minutes) disconnects it.
#
# Seen on 2026-11-29 (pool_mode transaction, max_db_connections 1, a query takes 0.3 s):
#   A idle, B asks:                           served after 0.0 s
#   A busy; then ask B, A1, A2, A3, A4:       served A1 A2 A3 A4 B
#   5 clients of A go on; B asks:             not served in 10 s; A meanwhile: 33 queries
# (the last figure varies)
set -euo pipefail
packages=(pgbouncer)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
chmod 755 "$dir"
port() { /usr/bin/python3 -c "import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])"; }
server=$(port) proxy=$(port)
cat >"$dir/users" <<'INI'
"a" ""
"b" ""
INI
cat >"$dir/pgbouncer.ini" <<INI
[databases]
db = host=127.0.0.1 port=$server dbname=db max_db_connections=1
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $proxy
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
INI
as=()
[ "$(id -u)" != 0 ] || as=(-u nobody)
/usr/sbin/pgbouncer -q "${as[@]}" "$dir/pgbouncer.ini" >"$dir/log" 2>&1 &
pid=$!
cat >"$dir/main.py" <<'PY'
import os
import socket
import socketserver
import struct
import sys
import threading
import time

def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body

READY = message(b"Z", b"I")

def receive(stream):
    """Kind and body of the next message."""
    kind = stream.read(1)
    return kind, stream.read(struct.unpack("!I", stream.read(4))[0] - 4)

class Server(socketserver.StreamRequestHandler):
    """A database: a query takes the seconds that it says."""
    def handle(self):
        self.rfile.read(struct.unpack("!I", self.rfile.read(4))[0] - 4)
        version = message(b"S", b"server_version\0" + b"15.0\0")
        self.wfile.write(message(b"R", struct.pack("!I", 0)) + version + message(b"K", struct.pack("!II", 1, 1)) + READY)
        try:
            while (m := receive(self.rfile))[0] == b"Q":
                time.sleep(float(m[1].rstrip(b"\0")))
                self.wfile.write(message(b"C", b"SELECT 1\0") + READY)
        except (struct.error, OSError):
            pass

class Client:
    def __init__(self, user):
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
                break
            except OSError:
                time.sleep(0.1)
        self.stream = self.socket.makefile("rb")
        body = struct.pack("!I", 196608) + f"user\0{user}\0database\0db\0\0".encode()
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.ready()

    def ready(self):
        while (kind := receive(self.stream)[0]) != b"Z":
            if kind == b"E":
                sys.exit("an error of pgbouncer's")

    def query(self, seconds=0.3):
        self.socket.sendall(message(b"Q", f"{seconds}\0".encode()))
        self.ready()

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

a, b = Client("a"), Client("b")
a.query()
start = time.monotonic()
b.query()
idle = time.monotonic() - start - 0.3
print(f"A idle, B asks:                           served after {idle:.1f} s")

order = []
clients = [("A", a), ("B", b)] + [(f"A{i}", Client("a")) for i in range(1, 5)]
threads = []
a.query()
for name, client in clients:
    # The first is busy until all others have asked.
    seconds = 2 if name == "A" else 0.3
    threads.append(threading.Thread(target=lambda n, c, s: (c.query(s), order.append(n)), args=(name, client, seconds)))
    threads[-1].start()
    time.sleep(0.2)
for thread in threads:
    thread.join()
print("A busy; then ask B, A1, A2, A3, A4:       served", *order[1:])

queries = 0
def go_on(client):
    global queries
    while True:
        client.query()
        queries += 1

for name, client in clients:
    if name != "B":
        threading.Thread(target=go_on, args=(client,), daemon=True).start()
while queries < 3:
    time.sleep(0.1)
before = queries
waits = threading.Thread(target=b.query, daemon=True)
waits.start()
waits.join(10)
served = not waits.is_alive()
print(f"5 clients of A go on; B asks:             {'served' if served else 'not served in 10 s'}; A meanwhile: {queries - before} queries")
if idle > 2 or order != ["A", "A1", "A2", "A3", "A4", "B"] or served or queries - before < 5:
    print("CHANGED: another user's caller is served in its turn")
    sys.stdout.flush()
    os._exit(1)
PY
timeout 60 /usr/bin/python3 "$dir/main.py" "$server" "$proxy" || { status=$?; cat "$dir/log" >&2; exit "$status"; }
