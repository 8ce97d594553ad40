#!/usr/bin/env bash
# Debian 12: lighttpd 1.4.69-1 as a WebSocket proxy (mod_proxy, upgrade); client and
# server: python3-websockets 10.4-1
#
# Expected: an idle limit of a proxy looks at the connection: traffic in either
# direction keeps it open, as in nginx, haproxy, apache, varnish and squid.
# It does: each direction has a limit of its own. A feed that the server pushes, several
# messages a second, is cut after server.max-read-idle (60 s by default) without a byte
# from the client; one in which only the client talks after server.max-write-idle (360
# s). Pings help because their pongs go the other way.
#
# Seen on 2026-11-28 (both limits 3 s, a message each 0.3 s):
#   only the server talks:  cut after 4 s
#   only the client talks:  cut after 4 s
#   both talk:              open after 12 s
# (the seconds vary by one)
set -euo pipefail
packages=(lighttpd python3-websockets)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
pids=()
trap '[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
chmod 755 "$dir"
port() { /usr/bin/python3 -c "import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])"; }
backend=$(port) proxy=$(port)
cat >"$dir/lighttpd.conf" <<EOF
server.modules = ("mod_proxy")
server.document-root = "$dir"
server.bind = "127.0.0.1"
server.port = $proxy
server.errorlog = "$dir/error.log"
server.max-read-idle = 3
server.max-write-idle = 3
proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => $backend )) )
proxy.header = ( "upgrade" => "enable" )
EOF
/usr/sbin/lighttpd -D -f "$dir/lighttpd.conf" 2>/dev/null &
pids+=($!)
cat >"$dir/main.py" <<'EOF'
import asyncio
import sys
import time
import websockets

backend, proxy = int(sys.argv[1]), int(sys.argv[2])

async def talk(ws):
    try:
        while True:
            await ws.send("here")
            await asyncio.sleep(0.3)
    except websockets.ConnectionClosed:
        pass

async def listen(ws):
    try:
        async for _ in ws:
            pass
    except websockets.ConnectionClosed:
        pass

async def connect():
    for _ in range(100):
        try:
            return await websockets.connect(f"ws://127.0.0.1:{proxy}/", ping_interval=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the proxy does not listen")

async def last(server, client, limit):
    async def handler(ws):
        await asyncio.gather(*[f(ws) for f in ([talk, listen] if server else [listen])])

    async with websockets.serve(handler, "127.0.0.1", backend, ping_interval=None):
        ws = await connect()
        start = time.monotonic()
        tasks = [asyncio.create_task(f(ws)) for f in ([talk, listen] if client else [listen])]
        try:
            await asyncio.wait_for(ws.wait_closed(), limit)
            seconds = time.monotonic() - start
        except asyncio.TimeoutError:
            seconds = None
        await ws.close()
        await asyncio.gather(*tasks)
        return seconds, f"cut after {seconds:.0f} s" if seconds else f"open after {limit} s"

async def main():
    a, said = await last(True, False, 12)
    print("only the server talks: ", said)
    b, said = await last(False, True, 12)
    print("only the client talks: ", said)
    c, said = await last(True, True, 12)
    print("both talk:             ", said)
    if not a or not b or c:
        sys.exit("CHANGED: one direction is enough")

asyncio.run(main())
EOF
timeout 90 /usr/bin/python3 "$dir/main.py" "$backend" "$proxy"
