#!/usr/bin/env bash
# npm: agentkeepalive 4.6.0, on the http.Agent of Node.js 20
#
# Expected: with maxTotalSockets: 1 an idle connection to one host is closed when another
# host needs the place, as in Go's, Apache's and libcurl's clients. An idle connection is
# no reason to wait.
# It does: the idle connection keeps its place. A request to another host waits until
# that connection ends for a reason of its own (its host closes it, or its
# freeSocketTimeout ends it), or until it has been used once more: it is closed for a
# request that waits already when it comes back. So the less there is to do, the longer
# the wait. http.Agent has no limit for it, and by default no idle limit but the server's.
#
# Seen on 2026-11-29 (Node.js 20.20.2, maxTotalSockets 1, keepAlive, freeSocketTimeout 4 s):
#   agentkeepalive, idle connection to A, request to B:    after 4.0 s
#   agentkeepalive, the same, A is used again after 1 s:   after 1.0 s
#   agentkeepalive, B waits while A is busy for 0.5 s:     after 0.4 s
#   http.Agent, idle connection to A, request to B:        none in 8 s
# (the last digit varies)
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
npm install --silent --no-audit --no-fund --ignore-scripts agentkeepalive@4.6.0
cat >main.js <<'JS'
const http = require('http')
const Agent = require('agentkeepalive')

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

function serve() {
  return new Promise(resolve => {
    const server = http.createServer((request, response) => setTimeout(() => response.end('ok'), request.url === '/busy' ? 500 : 0))
    server.keepAliveTimeout = 60000
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}

// get returns the seconds until the reply, or null if there is none in 8 s.
function get(agent, server, path = '/') {
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => resolve(null), 8000)
    const request = http.get({ host: '127.0.0.1', port: server.address().port, path, agent }, response => {
      response.resume()
      response.on('end', () => {
        clearTimeout(limit)
        resolve((performance.now() - start) / 1000)
      })
    })
    request.on('error', reject)
  })
}

const show = seconds => (seconds === null ? 'none in 8 s' : `after ${seconds.toFixed(1)} s`)

async function main() {
  const a = await serve()
  const b = await serve()
  const options = { keepAlive: true, maxTotalSockets: 1, freeSocketTimeout: 4000 }

  let agent = new Agent(options)
  await get(agent, a)
  await later(100)
  const idle = await get(agent, b)
  console.log('agentkeepalive, idle connection to A, request to B:   ', show(idle))

  agent = new Agent(options)
  await get(agent, a)
  await later(100)
  const waiting = get(agent, b)
  await later(1000)
  await get(agent, a)
  const used = await waiting
  console.log('agentkeepalive, the same, A is used again after 1 s:  ', show(used))

  agent = new Agent(options)
  const busy = get(agent, a, '/busy')
  await later(100)
  const queued = await get(agent, b)
  await busy
  console.log('agentkeepalive, B waits while A is busy for 0.5 s:    ', show(queued))

  agent = new http.Agent({ keepAlive: true, maxTotalSockets: 1 })
  await get(agent, a)
  await later(100)
  const plain = await get(agent, b)
  console.log('http.Agent, idle connection to A, request to B:       ', show(plain))
  if (idle === null || idle < 3 || used === null || used > 3 || queued === null || queued > 3 || plain !== null) {
    console.log('CHANGED: an idle connection to another host does not keep its place')
    process.exit(1)
  }
  process.exit(0)
}
main()
JS
timeout 60 node main.js
