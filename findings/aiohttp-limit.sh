#!/usr/bin/env bash
# Debian 12: python3-aiohttp 3.8.4-1
#
# Expected: with TCPConnector(limit=1) requests wait in one line, and who came first is
# served first, whatever its host. One connection is open.
# It does: for each connection that comes back a host is drawn by lot, and its oldest
# request is served. In a full connector one that has waited longest is overtaken again
# and again by those that came later, and the longest wait grows with luck, not with the
# load. Nor is one connection open: the idle ones do not count, so with limit=1 there is
# one to each host.
#
# Seen on 2026-11-29 (limit=1; 8 hosts, one request each, in the order 1 to 8; 10 rounds):
#   rounds served in the order of arrival: 0 of 10
#   one of them: 7 8 4 1 3 5 6 2
#   open connections after it: 9
# (the second line varies)
set -euo pipefail
packages=(python3-aiohttp)
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
import asyncio
import sys
import aiohttp
from aiohttp import web

async def main():
    opened = set()
    release = asyncio.Event()
    started = asyncio.Event()

    async def handle(request):
        opened.add(request.transport)
        if request.path == "/held":
            started.set()
            await release.wait()
        return web.Response(text="ok")

    ports = []
    runners = []
    for _ in range(9):
        application = web.Application()
        application.router.add_get("/{any:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(site._server.sockets[0].getsockname()[1])
        runners.append(runner)

    in_order, rounds = 0, 10
    for _ in range(rounds):
        opened.clear()
        release.clear()
        started.clear()
        served = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            async def get(number, path):
                async with session.get(f"http://127.0.0.1:{ports[number]}/{path}") as response:
                    await response.read()
                served.append(number)

            tasks = [asyncio.create_task(get(0, "held"))]
            await started.wait()
            for number in range(1, 9):
                tasks.append(asyncio.create_task(get(number, "")))
                # Each stands in line before the next one starts.
                await asyncio.sleep(0.02)
            release.set()
            await asyncio.gather(*tasks)
            count = sum(not transport.is_closing() for transport in opened)
        in_order += served == list(range(9))
    print(f"rounds served in the order of arrival: {in_order} of {rounds}")
    print("one of them:", *served[1:])
    print("open connections after it:", count)
    for runner in runners:
        await runner.cleanup()
    if in_order > 2 or count != 9:
        sys.exit("CHANGED: requests are served in their order, or idle connections count")

asyncio.run(main())
PY
timeout 60 /usr/bin/python3 "$dir/main.py"
