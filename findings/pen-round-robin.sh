#!/usr/bin/env bash
# Debian 12: pen 0.34.1-2
#
# Expected: pen is a load balancer with failover: «servers that do not respond are
# blacklisted, i.e. excluded from the server selection algorithm, for the specified number
# of seconds (default 30)». With -r it goes through the servers in turn, without a look at
# where a client was last. One that refuses connections costs nobody anything, as without
# -r.
# It does: with -r there is no failover. The client whose turn falls on the stopped server
# is accepted and then closed, and that server is not blacklisted: of three servers with
# one stopped, every third connection fails, for as long as it is stopped.
#
# Seen on 2026-11-29 (three servers, one of them stopped; 12 connections):
#   without -r:  12 answered, 0 closed
#   with -r:     8 answered, 4 closed
set -euo pipefail
packages=(pen)
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
import socket
import subprocess
import sys
import threading
import time

def serve():
    """A server that sends a line to each connection, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"here\n")
            connection.close()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]

def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def answered(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            return connection.recv(100) == b"here\n"
        except ConnectionResetError:
            return False

servers = [f"127.0.0.1:{port}" for port in (serve(), serve(), free())]

def run(*flags):
    """How many of 12 connections are answered."""
    port = free()
    pen = subprocess.Popen(["/usr/bin/pen", "-f", *flags, f"127.0.0.1:{port}", *servers], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        return sum(answered(port) for _ in range(12))
    finally:
        pen.terminate()
        pen.wait()

sticky, turns = run(), run("-r")
print(f"without -r:  {sticky} answered, {12 - sticky} closed")
print(f"with -r:     {turns} answered, {12 - turns} closed")
if sticky != 12 or turns > 9:
    sys.exit("CHANGED: with -r a stopped server is passed over")
PY
timeout 60 /usr/bin/python3 "$dir/main.py"
