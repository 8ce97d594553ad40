#!/usr/bin/env bash
# npm: mysql2 3.24.6
#
# Expected: with connectionLimit: 4 and idleTimeout: 500 (60000 by default) a connection
# that is idle for longer is closed. maxIdle, the number of idle connections to keep, says
# how many stay.
# It does: by default, where maxIdle is the same as connectionLimit, idleTimeout has no
# effect, whatever it says: what a burst has opened stays open until the server closes it.
# With maxIdle below the limit it closes every idle connection, those within maxIdle too:
# nothing is kept, and the next request has to connect. No value keeps 2 of 4.
#
# Seen on 2026-11-29 (4 opened at once and given back, idleTimeout 500):
#   maxIdle as by default:  open after 4 s: 4
#   maxIdle 4:              open after 4 s: 4
#   maxIdle 3:              open after 4 s: 0
#   maxIdle 2:              open after 4 s: 0
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
npm install --silent --no-audit --no-fund --ignore-scripts mysql2@3.24.6
cat >main.js <<'JS'
const mysql = require('mysql2')

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

let open = 0
let connections = 0
const server = mysql.createServer()
server.on('connection', connection => {
  open++
  connection.stream.on('close', () => open--)
  connection.on('error', () => {})
  connection.on('quit', () => connection.stream.end())
  const capabilityFlags = 0xffffff ^ 2048 // no TLS
  connection.serverHandshake({
    protocolVersion: 10, serverVersion: '8.0.0', connectionId: ++connections, statusFlags: 2, characterSet: 8, capabilityFlags,
    authCallback: (_, done) => {
      done(null)
      connection.sequenceId = 0
    }
  })
})

// after returns how many are open 4 s after a burst of four.
async function after(options) {
  const pool = mysql.createPool({
    host: '127.0.0.1', port: server._server.address().port, user: 'user', connectionLimit: 4, idleTimeout: 500, ...options
  })
  const take = () => new Promise((resolve, reject) => pool.getConnection((err, connection) => (err ? reject(err) : resolve(connection))))
  const taken = await Promise.all([take(), take(), take(), take()])
  if (open !== 4) throw new Error(`${open} open, not 4`)
  for (const connection of taken) connection.release()
  await later(4000)
  const kept = open
  await new Promise(resolve => pool.end(resolve))
  while (open > 0) await later(10)
  return kept
}

server.listen(0, '127.0.0.1', async () => {
  const seen = []
  for (const maxIdle of [undefined, 4, 3, 2]) {
    seen.push(await after(maxIdle === undefined ? {} : { maxIdle }))
    const name = maxIdle === undefined ? 'maxIdle as by default:' : `maxIdle ${maxIdle}:`
    console.log(name.padEnd(23), 'open after 4 s:', seen[seen.length - 1])
  }
  if (seen.join() !== '4,4,0,0') {
    console.log('CHANGED: idleTimeout and maxIdle do something else')
    process.exit(1)
  }
  process.exit(0)
})
JS
timeout 60 node main.js
