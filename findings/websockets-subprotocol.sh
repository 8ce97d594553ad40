#!/usr/bin/env bash
# Debian 12: python3-websockets 10.4-1
#
# Expected: which subprotocol a server selects depends on the lists of both sides. The
# same server and the same client agree on the same one each time.
# It does: the default selection adds up a name's places in both lists, takes the lowest
# sum, and walks over a set of strings, whose order changes with each start of the
# process. Where sums are equal, as for opposite orders, restarts decide: after a
# deployment, or on the next machine behind the same balancer, the same client talks
# another protocol.
#
# Seen on 2026-11-28 (server: a, b, c; client: c, b, a; PYTHONHASHSEED 1 to 12 in the
# place of the random seed that each process has by default):
#   selected: a c c b c a b a b a a a
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
import websockets

async def main():
    async def handler(ws):
        await ws.wait_closed()
    async with websockets.serve(handler, "127.0.0.1", 0, subprotocols=["a", "b", "c"]) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}", subprotocols=["c", "b", "a"]) as ws:
            print(ws.subprotocol)

asyncio.run(main())
EOF
selected=$(for seed in {1..12}; do PYTHONHASHSEED=$seed timeout 30 /usr/bin/python3 "$dir/main.py"; done)
echo "selected: $(tr '\n' ' ' <<<"$selected")"
if [ "$(sort -u <<<"$selected" | wc -l)" = 1 ]; then
	echo "CHANGED: the same lists give the same subprotocol"
	exit 1
fi
