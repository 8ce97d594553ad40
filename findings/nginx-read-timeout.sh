#!/usr/bin/env bash
# Debian 12: nginx 1.22.1 as a WebSocket proxy; client and server: python3-websockets 10.4-1
#
# Expected, from nginx' docs: proxy_read_timeout is «set only between two successive
# read operations», from the proxied server; on WebSocket proxying: the connection is
# closed «if the proxied server does not transmit any data within 60 seconds». So a
# client that sends all the time, to a server that says nothing, is cut after that time.
# It does: what the client sends restarts the timer too. A server that has hung up
# silently, or that hangs, stays connected for as long as its client goes on sending: a
# proxy_read_timeout of 10 s is no way to notice it. Where it is idle both ways, it is
# cut.
#
# Seen on 2026-11-28 (proxy_read_timeout 3s, the server sends nothing):
#   client silent:                cut after 3 s
#   client sends each 0.3 s:      open after 9 s
set -euo pipefail
packages=(nginx-light python3-websockets)
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
cat >"$dir/nginx.conf" <<EOF
pid $dir/nginx.pid;
error_log $dir/error.log;
daemon off;
worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3; uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
	server {
		listen 127.0.0.1:$proxy;
		location / {
			proxy_pass http://127.0.0.1:$backend;
			proxy_http_version 1.1;
			proxy_set_header Upgrade \$http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_read_timeout 3s;
		}
	}
}
EOF
/usr/sbin/nginx -c "$dir/nginx.conf" 2>/dev/null &
pids+=($!)
cat >"$dir/main.py" <<'EOF'
import asyncio
import sys
import time
import websockets

backend, proxy = int(sys.argv[1]), int(sys.argv[2])

async def connect():
    for _ in range(100):
        try:
            return await websockets.connect(f"ws://127.0.0.1:{proxy}/", ping_interval=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the proxy does not listen")

async def last(sends, limit):
    """Seconds until the connection is cut, or None if it is open after limit."""
    async with websockets.serve(lambda ws: ws.wait_closed(), "127.0.0.1", backend, ping_interval=None):
        ws = await connect()
        start = time.monotonic()
        while ws.open and time.monotonic() - start < limit:
            if sends:
                await ws.send("here")
            await asyncio.sleep(0.3)
        seconds = None if ws.open else time.monotonic() - start
        await ws.close()
        return seconds

async def main():
    silent = await last(False, 20)
    sending = await last(True, 9)
    print("client silent:               ", f"cut after {silent:.0f} s" if silent else "open after 20 s")
    print("client sends each 0.3 s:     ", f"cut after {sending:.0f} s" if sending else "open after 9 s")
    if not silent or sending:
        sys.exit("CHANGED: what the client sends does not count")

asyncio.run(main())
EOF
timeout 90 /usr/bin/python3 "$dir/main.py" "$backend" "$proxy"
