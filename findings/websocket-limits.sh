#!/usr/bin/env bash
# npm: undici 7.30.2, ws 8.23.0, and node's http.Agent
#
# Expected: a WebSocket is a connection, so a dispatcher with connections: 1 and an http.Agent with
# maxSockets: 1 («maximum number of sockets to allow per host») hold back a second one
# until the first is closed.
# It does: a connection leaves the count at the moment of its upgrade. Any number is open
# at once; what the limit bounds is handshakes under way. A limit that protects a
# server from too many requests does not protect it from WebSockets. (Debian 12's aiohttp
# counts them: with a TCPConnector of limit=1 the second ws_connect waits.)
#
# Seen on 2026-11-28:
#   undici WebSocket, Agent connections 1:  5 of 5 open at once
#   ws, http.Agent maxSockets 1:            5 of 5 open at once
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts undici@7.30.2 ws@8.23.0
cat >main.js <<'EOF'
const http = require('http')
const undici = require('undici')
const ws = require('ws')

const within = (promise, ms) => Promise.race([promise, new Promise(resolve => setTimeout(resolve, ms, false))])

async function main() {
  const server = new ws.WebSocketServer({ port: 0, host: '127.0.0.1' })
  await new Promise(resolve => server.on('listening', resolve))
  const url = 'ws://127.0.0.1:' + server.address().port
  const dispatcher = new undici.Agent({ connections: 1 })
  const agent = new http.Agent({ maxSockets: 1, keepAlive: true })
  let changed = false
  for (const [name, open] of [
    ['undici WebSocket, Agent connections 1: ', () => new undici.WebSocket(url, { dispatcher })],
    ['ws, http.Agent maxSockets 1:           ', () => new ws(url, { agent })],
  ]) {
    const sockets = Array.from({ length: 5 }, open)
    await within(Promise.all(sockets.map(s => new Promise(resolve => { s.onopen = resolve }))), 20000)
    const together = server.clients.size
    console.log(`${name} ${together} of 5 open at once`)
    changed = changed || together !== 5
    await Promise.all([...server.clients].map(c => new Promise(resolve => { c.on('close', resolve); c.terminate() })))
  }
  if (changed) console.log('CHANGED: the limit bounds WebSockets')
  process.exit(changed ? 1 : 0)
}
main()
EOF
timeout 90 node main.js
