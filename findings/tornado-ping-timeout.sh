#!/usr/bin/env bash
# Debian 12: python3-tornado 6.2.0-3+deb12u4 (server); client: python3-websockets 10.4-1
#
# Expected: with websocket_ping_interval=2 and websocket_ping_timeout=1 a ping is sent
# every 2 s, and a connection whose pong does not come within 1 s is closed.
# It does: at the first tick it compares the timeout with the time since the connection
# was opened. Every connection is closed after one interval, before a ping has been sent,
# with a close frame without a code, which clients take for a normal end. The default,
# three intervals but at least 30 s, hides it: so a broken client is noticed late, and who
# makes that quicker cuts all of them.
#
# Seen on 2026-11-29 (a client that answers each ping at once and sends a message each 0.3 s):
#   interval 2 s, timeout 1 s:  closed after 2.0 s, code 1005, pings received 0
#   interval 1 s, timeout 2 s:  open after 6 s, pings received 5
# (the last figure varies)
set -euo pipefail
packages=(python3-tornado python3-websockets)
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
import time
import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket
import websockets
import websockets.client

class Handler(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        pass

class Client(websockets.client.WebSocketClientProtocol):
    answered = 0

    async def pong(self, data=b""):
        self.answered += 1
        await super().pong(data)

async def last(interval, timeout):
    """Seconds until the connection is closed, or None if it is open after 6 s; and the client."""
    app = tornado.web.Application([("/", Handler)], websocket_ping_interval=interval, websocket_ping_timeout=timeout)
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(app)
    server.add_sockets(sockets)
    url = f"ws://127.0.0.1:{sockets[0].getsockname()[1]}/"
    client = await websockets.connect(url, ping_interval=None, create_protocol=Client)
    start = time.monotonic()
    while client.open and time.monotonic() - start < 6:
        try:
            await client.send("here")
        except websockets.ConnectionClosed:
            pass
        await asyncio.wait({asyncio.ensure_future(client.wait_closed())}, timeout=0.3)
    seconds = None if client.open else time.monotonic() - start
    await client.close()
    server.stop()
    return seconds, client

def show(interval, timeout, seconds, client):
    what = f"closed after {seconds:.1f} s, code {client.close_code}" if seconds else "open after 6 s"
    print(f"interval {interval} s, timeout {timeout} s:  {what}, pings received {client.answered}")

async def main():
    short, client = await last(2, 1)
    show(2, 1, short, client)
    longer, other = await last(1, 2)
    show(1, 2, longer, other)
    if not short or client.answered != 0 or longer:
        sys.exit("CHANGED: a timeout below the interval does not close a healthy connection")

asyncio.run(main())
EOF
timeout 60 /usr/bin/python3 "$dir/main.py"
