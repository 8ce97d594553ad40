#!/usr/bin/env bash
# Debian 12: apache2 2.4 as a WebSocket proxy (mod_proxy_http, upgrade=websocket);
# client and server: python3-websockets 10.4-1
#
# Expected: ProxyTimeout, the «network timeout for proxied requests», bounds how long a
# proxied WebSocket may be idle, as its sibling does in every other proxy.
# It does: once the connection is upgraded, the larger of ProxyTimeout and Timeout
# counts. Timeout is the server's, for all of its clients, 300 s in Debian's
# configuration. A ProxyTimeout of 30 s, under the limit of a firewall behind it, cuts
# nothing for five minutes; nor does a short Timeout, as long as ProxyTimeout is long.
#
# Seen on 2026-11-28 (nothing is sent):
#   Timeout 60, ProxyTimeout 2:  open after 9 s
#   Timeout 2, ProxyTimeout 60:  open after 9 s
#   Timeout 2, ProxyTimeout 2:   cut after 2 s
set -euo pipefail
packages=(apache2-bin python3-websockets)
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
backend=$(port) proxy=$(port) client=$(port) both=$(port)
modules=/usr/lib/apache2/modules
cat >"$dir/apache.conf" <<EOF
ServerRoot $dir
DefaultRuntimeDir $dir
PidFile $dir/apache.pid
ErrorLog $dir/error.log
ServerName localhost
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
LoadModule proxy_wstunnel_module $modules/mod_proxy_wstunnel.so
Listen 127.0.0.1:$proxy
Listen 127.0.0.1:$client
Listen 127.0.0.1:$both
<VirtualHost 127.0.0.1:$proxy>
	Timeout 60
	ProxyTimeout 2
	ProxyPass / http://127.0.0.1:$backend/ upgrade=websocket
</VirtualHost>
<VirtualHost 127.0.0.1:$client>
	Timeout 2
	ProxyTimeout 60
	ProxyPass / http://127.0.0.1:$backend/ upgrade=websocket
</VirtualHost>
<VirtualHost 127.0.0.1:$both>
	Timeout 2
	ProxyTimeout 2
	ProxyPass / http://127.0.0.1:$backend/ upgrade=websocket
</VirtualHost>
EOF
/usr/sbin/apache2 -f "$dir/apache.conf" -DFOREGROUND 2>/dev/null &
pids+=($!)
cat >"$dir/main.py" <<'EOF'
import asyncio
import sys
import time
import websockets

backend, proxy, client, both = map(int, sys.argv[1:])

async def connect(port):
    for _ in range(100):
        try:
            return await websockets.connect(f"ws://127.0.0.1:{port}/", ping_interval=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the proxy does not listen")

async def idle(port, limit):
    ws = await connect(port)
    start = time.monotonic()
    try:
        await asyncio.wait_for(ws.wait_closed(), limit)
        seconds = time.monotonic() - start
    except asyncio.TimeoutError:
        seconds = None
    await ws.close()
    return seconds, f"cut after {seconds:.0f} s" if seconds else f"open after {limit} s"

async def main():
    async with websockets.serve(lambda ws: ws.wait_closed(), "127.0.0.1", backend, ping_interval=None):
        a, said = await idle(proxy, 9)
        print("Timeout 60, ProxyTimeout 2: ", said)
        b, said = await idle(client, 9)
        print("Timeout 2, ProxyTimeout 60: ", said)
        c, said = await idle(both, 30)
        print("Timeout 2, ProxyTimeout 2:  ", said)
    if a or b or not c:
        sys.exit("CHANGED: it is not the larger one that counts")

asyncio.run(main())
EOF
timeout 90 /usr/bin/python3 "$dir/main.py" "$backend" "$proxy" "$client" "$both"
