#!/usr/bin/env bash
# npm: @fastify/http-proxy 11.6.3 on fastify 5.12.8; client and server: ws 8.23.0
#
# Expected: a WebSocket proxy passes a close code on as it is. A close frame without a code
# (1005 in the API) stays without one, and a connection that is lost (1006) is lost at the
# other end too, or closed with one of the protocol's codes, such as 1011 or 1001.
# It does: codes that may not be sent are sent with 3000 added, in the range that belongs to
# the application: 4005 and 4006. So a side that counts lost connections by 1006 sees
# none, and one that has a meaning of its own for 4005 or 4006 takes the proxy's for it.
# And a ping is answered twice: by the proxy at once, and by the server.
#
# Seen on 2026-11-29:
#   the client closes with 1011:           the server sees 1011
#   the client closes without a code:      the server sees 4005
#   the client is lost:                    the server sees 4006
#   the server closes with 1011:           the client sees 1011
#   the server closes without a code:      the client sees 4005
#   the server is lost:                    the client sees 4006
#   pongs for one ping of the client:      2
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
node --version
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts fastify@5.12.8 @fastify/http-proxy@11.6.3 ws@8.23.0
cat >main.js <<'JS'
const http = require('http')
const WebSocket = require('ws')

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

async function main() {
  const upstream = http.createServer()
  const server = new WebSocket.WebSocketServer({ server: upstream })
  await new Promise(resolve => upstream.listen(0, '127.0.0.1', resolve))
  const proxy = require('fastify')()
  await proxy.register(require('@fastify/http-proxy'), { upstream: `http://127.0.0.1:${upstream.address().port}`, websocket: true })
  await proxy.listen({ port: 0, host: '127.0.0.1' })

  // connect returns the two ends of a connection through the proxy.
  async function connect() {
    const accepted = new Promise(resolve => server.once('connection', resolve))
    const client = new WebSocket(`ws://127.0.0.1:${proxy.server.address().port}/`)
    await new Promise((resolve, reject) => client.on('open', resolve).on('error', reject))
    const peer = await accepted
    // One message each way, so that the proxy has connected both.
    const echoed = new Promise(resolve => client.once('message', resolve))
    peer.once('message', message => peer.send(message))
    client.send('hello')
    await echoed
    return [client, peer]
  }

  const seen = []
  async function end(what, from, how) {
    const ends = await connect()
    const [one, other] = from === 'client' ? ends : ends.reverse()
    const code = new Promise(resolve => other.on('close', resolve))
    how(one)
    const got = await Promise.race([code, later(5000)])
    seen.push(got)
    console.log(`the ${from} ${what}:`.padEnd(38), `the ${from === 'client' ? 'server' : 'client'} sees`, got)
  }

  for (const from of ['client', 'server']) {
    await end('closes with 1011', from, socket => socket.close(1011))
    await end('closes without a code', from, socket => socket.close())
    await end('is lost', from, socket => socket.terminate())
  }
  const [client] = await connect()
  let pongs = 0
  client.on('pong', () => pongs++)
  client.ping()
  await later(500)
  console.log('pongs for one ping of the client:     ', pongs)
  if (seen.join() !== '1011,4005,4006,1011,4005,4006' || pongs !== 2) {
    console.log('CHANGED: other codes, or another number of pongs')
    process.exit(1)
  }
  process.exit(0)
}
main()
JS
timeout 60 node main.js
