#!/usr/bin/env bash
# npm: postgres 3.4.9 (Postgres.js)
#
# Expected: a pool of two connections, one with a long query, one with a short query. A
# third query waits, and runs on the connection that is free first.
# It does: a query that comes when all connections are busy is sent at once on one of
# them, in turn, to be answered after what that one is doing. So half of those that come
# wait for the long query, whatever becomes free meanwhile: the other connection is idle
# for seconds beside a query that waits. max_pipeline: 0, which the README does not name,
# makes it wait for the first that is free; 1 lets one queue up behind each.
#
# Seen on 2026-11-29 (max: 2; C and D come 50 ms after A and B):
#   A, a query of 3 s:        answered after 3.0 s
#   B, a query of 0.3 s:      answered after 0.3 s
#   C, a query of 0 s:        answered after 3.0 s
#   D, a query of 0 s:        answered after 0.3 s
#   C, max_pipeline: 0:       answered after 0.3 s
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
npm install --silent --no-audit --no-fund --ignore-scripts postgres@3.4.9
cat >main.js <<'JS'
const net = require('net')
const postgres = require('postgres')

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

function message(kind, body = Buffer.alloc(0)) {
  const head = Buffer.alloc(5)
  head.write(kind)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const ready = message('Z', Buffer.from('I'))
const welcome = Buffer.concat([
  message('R', Buffer.alloc(4)), message('S', Buffer.from('server_version\0' + '15.0\0')), message('K', Buffer.alloc(8)), ready
])
const answer = Buffer.concat([message('C', Buffer.from('SELECT 1\0')), ready])

// A database: a query takes the seconds that it says, and queries of a connection follow each other.
const server = net.createServer(socket => {
  let started = false
  let input = Buffer.alloc(0)
  let turn = Promise.resolve()
  socket.on('error', () => {})
  socket.on('data', data => {
    input = Buffer.concat([input, data])
    for (;;) {
      const head = started ? 1 : 0
      if (input.length < head + 4) return
      const end = head + input.readInt32BE(head)
      if (input.length < end) return
      const kind = started ? String.fromCharCode(input[0]) : ''
      const seconds = parseFloat(input.subarray(5, end))
      input = input.subarray(end)
      if (kind === '') socket.write(welcome)
      else if (kind === 'Q') turn = turn.then(() => later(seconds * 1000)).then(() => socket.write(answer))
      else socket.end()
      started = true
    }
  })
})

async function run(options) {
  const sql = postgres({ host: '127.0.0.1', port: server.address().port, user: 'user', database: 'db', max: 2, fetch_types: false, ...options })
  await Promise.all([sql.unsafe('0.1'), sql.unsafe('0.1')]) // both are open
  const took = {}
  const start = performance.now()
  const query = async (name, seconds) => {
    await sql.unsafe(String(seconds))
    took[name] = (performance.now() - start) / 1000
  }
  const first = [query('A', 3), query('B', 0.3)]
  await later(50)
  await Promise.all([...first, query('C', 0), query('D', 0)])
  await sql.end()
  return took
}

server.listen(0, '127.0.0.1', async () => {
  const took = await run({})
  const show = (what, seconds) => console.log(what.padEnd(25), `answered after ${seconds.toFixed(1)} s`)
  show('A, a query of 3 s:', took.A)
  show('B, a query of 0.3 s:', took.B)
  show('C, a query of 0 s:', took.C)
  show('D, a query of 0 s:', took.D)
  const single = await run({ max_pipeline: 0 })
  show('C, max_pipeline: 0:', single.C)
  if (took.B > 2 || took.C < 2.5 || took.D > 2) {
    console.log('CHANGED: a query goes to the connection that is free first')
    process.exit(1)
  }
  process.exit(0)
})
JS
timeout 60 node main.js
