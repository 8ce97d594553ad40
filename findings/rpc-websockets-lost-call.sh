#!/usr/bin/env bash
# npm: rpc-websockets 10.0.1
#
# Expected: a call() whose connection is lost is rejected: its answer can never come, as
# answers go to the connection that asked.
# It does: it stays pending, for ever by default (the timeout of call() is an argument of its
# own, and none is the default). With reconnect, which is on by default, the client
# is connected again soon after, later calls succeed, and nothing shows that the earlier
# ones are lost.
#
# Seen on 2026-11-28:
#   a call before the connection was lost, 3 s after the new one: still pending
#   a call after: resolved
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts rpc-websockets@10.0.1
cat >main.js <<'EOF'
const { Client, Server } = require('rpc-websockets')

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function main() {
  const server = new Server({ port: 0, host: '127.0.0.1' })
  await new Promise(resolve => server.on('listening', resolve))
  let asked
  const arrived = new Promise(resolve => { asked = resolve })
  server.register('wait', () => { asked(); return new Promise(() => {}) })
  server.register('answer', () => 42)
  const client = new Client('ws://127.0.0.1:' + server.wss.address().port, { reconnect_interval: 100 })
  await new Promise(resolve => client.once('open', resolve))
  let before = 'still pending'
  client.call('wait').then(() => { before = 'resolved' }, () => { before = 'rejected' })
  await arrived
  const again = new Promise(resolve => client.once('open', resolve))
  for (const c of server.wss.clients) c.terminate()
  await again
  const after = await client.call('answer').then(() => 'resolved', () => 'rejected')
  await sleep(3000)
  console.log('a call before the connection was lost, 3 s after the new one:', before)
  console.log('a call after:', after)
  const changed = before !== 'still pending' || after !== 'resolved'
  if (changed) console.log('CHANGED: a lost call is told')
  process.exit(changed ? 1 : 0)
}
main()
EOF
timeout 60 node main.js
