#!/usr/bin/env bash
# npm: pg-pool 3.14.0
#
# Expected: after end() nobody waits any more. A connect() that is queued is rejected,
# at once or when the last client has come back, as a connect() made after end() is.
# It does: it is forgotten. end() resolves when the last client is back, the pool has no
# client and will have none, waitingCount stays 1, and the promise of connect() is never
# settled (connectionTimeoutMillis is 0 by default). A shutdown that awaits its requests
# does not come to an end.
#
# Seen on 2026-11-28:
#   connect() made after end(): rejected: Cannot use a pool after calling end on the pool
#   end(): resolved
#   connect() queued before end(), 3 s later: still pending; waitingCount 1, totalCount 0
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts pg-pool@3.14.0
cat >main.js <<'EOF'
const { EventEmitter } = require('events')
const Pool = require('pg-pool')

// A client without a server: pg-pool takes any class with pg's interface.
class Client extends EventEmitter {
  _queryable = true
  connect(done) { setImmediate(done) }
  end(done) { setImmediate(() => done && done()) }
  ref() {}
  unref() {}
}
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function main() {
  const pool = new Pool({ max: 1, Client })
  const held = await pool.connect()
  let queued = 'still pending'
  pool.connect().then(() => { queued = 'served' }, err => { queued = 'rejected: ' + err.message })
  let ended = 'still pending'
  pool.end().then(() => { ended = 'resolved' })
  const late = await pool.connect().then(() => 'served', err => 'rejected: ' + err.message)
  console.log('connect() made after end():', late)
  held.release()
  await sleep(3000)
  console.log('end():', ended)
  console.log(`connect() queued before end(), 3 s later: ${queued}; waitingCount ${pool.waitingCount}, totalCount ${pool.totalCount}`)
  if (queued !== 'still pending' || ended !== 'resolved' || !late.startsWith('rejected')) {
    console.log('CHANGED: a queued connect() is told of the end')
    process.exit(1)
  }
}
main()
EOF
timeout 60 node main.js
