#!/usr/bin/env bash
# npm: undici 7.30.2 (BalancedPool)
#
# Expected: requests that wait for a connection are sent when an upstream is added, as a
# change of the set of servers is what addUpstream and removeUpstream are for.
# It does: addUpstream sends nothing. Those who wait while the last upstream is removed
# go on waiting beside the new one, which is idle, until some other call sends a request.
# In a program that does one thing at a time no other call comes.
#
# Seen on 2026-11-29 (connections: 1; one request under way, one waits; the upstream is
# replaced; both servers are healthy):
#   the one under way:  200
#   the one that waits: no answer after 3 s, requests at the new upstream: 0
#   another is sent:    200, and the one that waits: 200
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
npm install --silent --no-audit --no-fund --ignore-scripts undici@7.30.2
cat >main.js <<'JS'
const http = require('http')
const { BalancedPool } = require('undici')

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

function serve() {
  return new Promise(resolve => {
    const server = http.createServer((request, response) => {
      server.requests++
      setTimeout(() => response.end('ok'), request.url === '/slow' ? 500 : 0)
    })
    server.requests = 0
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}

const url = server => `http://127.0.0.1:${server.address().port}`

async function main() {
  const former = await serve()
  const latter = await serve()
  const pool = new BalancedPool(url(former), { connections: 1 })
  const get = async path => {
    const response = await pool.request({ path, method: 'GET' })
    await response.body.text()
    return response.statusCode
  }
  const underWay = get('/slow')
  const waits = get('/')
  while (former.requests === 0) await later(10)
  pool.removeUpstream(url(former))
  pool.addUpstream(url(latter))
  console.log('the one under way: ', await underWay)
  const first = await Promise.race([waits, later(3000).then(() => 'no answer after 3 s')])
  const seen = latter.requests
  console.log('the one that waits:', `${first}, requests at the new upstream: ${seen}`)
  const another = await get('/')
  const then = await Promise.race([waits, later(3000).then(() => 'no answer after 3 s')])
  console.log('another is sent:   ', `${another}, and the one that waits: ${then}`)
  if (first !== 'no answer after 3 s' || seen !== 0 || another !== 200 || then !== 200) {
    console.log('CHANGED: a new upstream serves those who wait')
    process.exit(1)
  }
  process.exit(0)
}
main()
JS
timeout 60 node main.js
