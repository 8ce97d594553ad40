#!/usr/bin/env bash
# Debian 12: python3-pymemcache 3.5.2-1 (HashClient)
#
# Expected: with ignore_exc=False, the default, «True to cause the get calls to treat any
# errors as cache misses» is off. While a server cannot be reached, each get and set of
# one of its keys raises, until its keys have been moved to the others.
# It does: one raises. After it, for retry_timeout, get returns None for that server's
# keys as if they were not there, and set returns False, as memcached's «not stored»,
# without a look at the server. A program that takes None for «not there», and acts on it,
# does so with one error in a thousand to be seen. It is the same again after each retry,
# until retry_attempts have failed.
#
# Seen on 2026-11-29 (two servers, one of them stopped; ten of its keys; retry_timeout 60 s):
#   all servers there:   get 10 values
#   one stopped:         get 1 ConnectionRefusedError, 9 None; set 10 False
set -euo pipefail
packages=(python3-pymemcache)
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
import collections
import socket
import sys
import threading
from pymemcache.client.hash import HashClient

class Server:
    """As much of a memcached as get and set need."""
    def __init__(self):
        self.values = {}
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            stream = connection.makefile("rwb")
            while line := stream.readline():
                command, key = line.split()[:2]
                if command == b"set":
                    self.values[key] = stream.readline().rstrip()
                    stream.write(b"STORED\r\n")
                else:
                    value = self.values.get(key)
                    if value is not None:
                        stream.write(b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value))
                    stream.write(b"END\r\n")
                stream.flush()
        except OSError:
            pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()

def outcome(call):
    try:
        value = call()
    except OSError as error:
        return type(error).__name__
    return "values" if isinstance(value, bytes) else str(value)

def show(counts):
    return ", ".join(f"{count} {what}" for what, count in counts.items())

first, second = Server(), Server()
# A retry_timeout of 60 s so that a slow machine makes no retry of it; the default is 1 s.
client = HashClient([first.address, second.address], ignore_exc=False, default_noreply=False, retry_timeout=60)
for i in range(100):
    client.set(f"key{i}", b"value")
keys = [key.decode() for key in second.values][:10]
there = collections.Counter(outcome(lambda: client.get(key)) for key in keys)
print("all servers there:  ", "get", show(there))
# The client opens its connections anew, as it does after a pause or in a new process.
client.disconnect_all()
second.stop()
gets = [outcome(lambda: client.get(key)) for key in keys]
sets = collections.Counter(outcome(lambda: client.set(key, b"new")) for key in keys)
print("one stopped:        ", "get", show(collections.Counter(gets)) + "; set", show(sets))
if there != {"values": 10} or "None" not in gets or gets[0] == "None" or sets != {"False": 10}:
    sys.exit("CHANGED: errors are not misses")
PY
timeout 60 /usr/bin/python3 "$dir/main.py"
