#!/usr/bin/env bash
# Debian 12: python3-websockets 10.4-1
#
# Expected: the library answers pings and takes pongs in the background, so an
# application that is slow to call recv() exerts back-pressure on the sender and no
# more. Its own keepalive tells only whether the peer is there.
# It does: with max_queue messages (32 by default) unread it stops reading, and does not
# see the pong that stands behind them. After ping_timeout (20 s by default) the client
# closes a healthy connection itself, with 1011 «keepalive ping timeout». Under load it
# is the busiest consumers that are cut, and the code says that the server failed.
#
# Seen on 2026-11-28 (ping_interval and ping_timeout 1 s, nothing read for 5 s):
#   5 messages unread:   open
#   100 messages unread: closed; the server was told 1011 keepalive ping timeout
set -euo pipefail
packages=(python3-websockets)
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
import asyncio
import sys
import websockets

async def main():
    told = asyncio.Queue()

    async def handler(ws):
        for i in range(int(ws.path[1:])):
            await ws.send(str(i))
        await ws.wait_closed()
        await told.put((ws.close_code, ws.close_reason))

    async with websockets.serve(handler, "127.0.0.1", 0, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        result = {}
        for n in (5, 100):
            ws = await websockets.connect(f"ws://127.0.0.1:{port}/{n}", ping_interval=1, ping_timeout=1)
            await asyncio.sleep(5)
            result[n] = ws.open
            await ws.close()
            code, reason = await told.get()
            print(f"{n} messages unread:", "open" if result[n] else f"closed; the server was told {code} {reason}")
    if not result[5] or result[100] or code != 1011:
        sys.exit("CHANGED: a slow reader keeps its connection")

asyncio.run(main())
EOF
timeout 60 /usr/bin/python3 "$dir/main.py"
