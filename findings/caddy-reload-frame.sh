#!/usr/bin/env bash
# Debian 12: caddy 2.6.2-5 (reverse_proxy); client: python3-websockets 10.4-1
#
# Expected: a reload closes proxied WebSockets with a close frame, 1001, between two frames
# or, in the middle of one, by ending the connection: nobody gets a message that was not
# sent.
# It does: it writes the close frame into both streams wherever they are. In the middle of
# a data frame its four bytes are payload. If no more than four are missing (the network
# cuts a frame anywhere), a whole message arrives with a wrong end, and no error for it, at
# the client and at the server. If more are missing, the code 1001 is lost. (The frame to
# the server is not masked, as one from a client must be.)
#
# Seen on 2026-11-28 (a binary message of 20 bytes "a", of which the last are delayed):
#   to the client, 4 bytes missing:   b'aaaaaaaaaaaaaaaa\x88\x02\x03\xe9', then 1006
#   to the client, 5 bytes missing:   no message, then 1006
#   to the client, between messages:  no message, then 1001
#   to the server, 4 bytes missing:   b'aaaaaaaaaaaaaaaa\x88\x02\x03\xe9'
set -euo pipefail
packages=(caddy python3-websockets)
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
export HOME=$dir XDG_CONFIG_HOME=$dir XDG_DATA_HOME=$dir
port() { /usr/bin/python3 -c "import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])"; }
backend=$(port)
for n in 0 1 2 3 4; do
	cat >"$dir/$n" <<EOF
{
	admin unix/$dir/admin
	auto_https off
}
http:// {
	bind unix/$dir/proxy
	header Number $n
	reverse_proxy 127.0.0.1:$backend
}
EOF
done
caddy run --config "$dir/0" --adapter caddyfile 2>"$dir/log" &
pids+=($!)
cat >"$dir/main.py" <<'EOF'
import asyncio
import base64
import hashlib
import os
import sys
import websockets

directory, backend = sys.argv[1], int(sys.argv[2])
SIZE = 20

async def reload(n):
    process = await asyncio.create_subprocess_exec(
        "caddy", "reload", "--config", f"{directory}/{n}", "--adapter", "caddyfile", "--address", f"unix/{directory}/admin",
        stderr=asyncio.subprocess.DEVNULL)
    if await process.wait() != 0:
        sys.exit("caddy does not reload")

async def serve(missing):
    "Serves one WebSocket: a message, of which the last bytes are missing."
    sent = asyncio.Event()

    async def handler(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line.split(b":")[1].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        if missing is not None:
            writer.write(bytes([0x82, SIZE]) + b"a" * (SIZE - missing))
        await writer.drain()
        sent.set()
        await reader.read()
        writer.close()

    return await asyncio.start_server(handler, "127.0.0.1", backend), sent

async def received(n, missing):
    server, sent = await serve(missing)
    async with server:
        ws = await websockets.unix_connect(f"{directory}/proxy", "ws://caddy/", ping_interval=None, compression=None)
        await sent.wait()
        await asyncio.sleep(1)  # until the client has it
        await reload(n)
        message = "no message"
        try:
            message = await asyncio.wait_for(ws.recv(), 10)
            await asyncio.wait_for(ws.recv(), 10)
        except websockets.ConnectionClosed:
            pass
        return message, ws.close_code, f"{message}, then {ws.close_code}"

async def delivered(n):
    "Sends a message, of which the last 4 bytes are missing, and returns what the server gets."
    got = asyncio.get_running_loop().create_future()

    async def handler(ws):
        try:
            got.set_result(await ws.recv())
        except websockets.ConnectionClosed:
            got.set_result(b"")

    async with websockets.serve(handler, "127.0.0.1", backend, ping_interval=None, compression=None):
        reader, writer = await asyncio.open_unix_connection(f"{directory}/proxy")
        writer.write(b"GET / HTTP/1.1\r\nHost: caddy\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes([0x82, 0x80 | SIZE, 0, 0, 0, 0]) + b"a" * (SIZE - 4))  # the mask is zero
        await writer.drain()
        await asyncio.sleep(1)  # until the server has it
        await reload(n)
        message = await asyncio.wait_for(got, 10)
        writer.close()
        return message

async def main():
    for _ in range(200):
        if os.path.exists(f"{directory}/proxy") and os.path.exists(f"{directory}/admin"):
            break
        await asyncio.sleep(0.1)
    four = await received(1, 4)
    print("to the client, 4 bytes missing:  ", four[2])
    five = await received(2, 5)
    print("to the client, 5 bytes missing:  ", five[2])
    none = await received(3, None)
    print("to the client, between messages: ", none[2])
    request = await delivered(4)
    print("to the server, 4 bytes missing:  ", request)
    wrong = b"a" * (SIZE - 4) + b"\x88\x02\x03\xe9"
    if four[0] != wrong or request != wrong or five[1] != 1006 or none[1] != 1001:
        sys.exit("CHANGED: a close frame does not get into a message")

asyncio.run(main())
EOF
timeout 90 /usr/bin/python3 "$dir/main.py" "$dir" "$backend"
