#!/usr/bin/env bash
# npm: nodemailer 10.6.1, pool: true; server: smtp-server 3.21.6
#
# Expected: rateLimit: 2 with rateDelta: 1000 limits the pool to 2 messages a second, over
# all of its connections.
# It does: the limit counts messages that are sent, when they are sent, and each
# connection looks at it before it takes one. So each of maxConnections sends one in every
# interval, and what is under way is not counted: 5 connections, the default, make it 5 a
# second. The limit holds as long as there are no more connections than messages allowed.
#
# Seen on 2026-11-29 (20 messages at once; 2 a second take 9 s):
#   maxConnections 1:   sent in 9.1 s
#   maxConnections 5:   sent in 3.0 s
#   maxConnections 20:  sent in 0.1 s
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
npm install --silent --no-audit --no-fund --ignore-scripts nodemailer@10.6.1 smtp-server@3.21.6
cat >main.js <<'JS'
const nodemailer = require('nodemailer')
const { SMTPServer } = require('smtp-server')

const server = new SMTPServer({
  authOptional: true, disabledCommands: ['STARTTLS'],
  onData(stream, session, done) {
    stream.resume()
    stream.on('end', done)
  }
})
server.on('error', () => {})

// burst returns the seconds from the first of 20 messages to the last.
async function burst(maxConnections) {
  const pool = nodemailer.createTransport({
    pool: true, host: '127.0.0.1', port: server.server.address().port, ignoreTLS: true, maxConnections, rateLimit: 2, rateDelta: 1000
  })
  const sent = []
  const send = async () => {
    await pool.sendMail({ from: 'from@example.org', to: 'to@example.org', subject: 'subject', text: 'text' })
    sent.push(performance.now())
  }
  await Promise.all(Array.from({ length: 20 }, send))
  pool.close()
  return (sent[19] - sent[0]) / 1000
}

server.listen(0, '127.0.0.1', async () => {
  const seen = []
  for (const connections of [1, 5, 20]) {
    seen.push(await burst(connections))
    console.log(`maxConnections ${connections}:`.padEnd(19), `sent in ${seen[seen.length - 1].toFixed(1)} s`)
  }
  if (seen[0] < 8 || seen[1] > 6 || seen[2] > 3) {
    console.log('CHANGED: the limit is that of the whole pool')
    process.exit(1)
  }
  process.exit(0)
})
JS
timeout 60 node main.js
