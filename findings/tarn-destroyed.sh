#!/usr/bin/env bash
# npm: tarn 3.1.2 (the pool of knex)
#
# Expected: acquire() on a pool whose destroy() has resolved is rejected at once, with an
# error that says that the pool is destroyed.
# It does: it waits for acquireTimeoutMillis, 30 s by default, and is then rejected with
# «operation timed out for an unknown reason». During a shutdown each late request stays
# for half a minute, and the log blames the server.
#
# Seen on 2026-11-28:
#   acquireTimeoutMillis 1500: rejected after 1.5 s: operation timed out for an unknown reason; created 1
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts tarn@3.1.2
cat >main.js <<'EOF'
const { Pool } = require('tarn')

async function main() {
  let created = 0
  const pool = new Pool({ create: async () => ({ number: ++created }), destroy: () => {}, min: 0, max: 1, acquireTimeoutMillis: 1500 })
  pool.release(await pool.acquire().promise)
  await pool.destroy()
  const start = process.hrtime.bigint()
  const what = await pool.acquire().promise.then(() => 'served', err => 'rejected: ' + err.message)
  const seconds = Number(process.hrtime.bigint() - start) / 1e9
  console.log(`acquireTimeoutMillis 1500: ${what.replace('rejected', `rejected after ${seconds.toFixed(1)} s`)}; created ${created}`)
  if (seconds < 1.4 || !what.endsWith('unknown reason')) {
    console.log('CHANGED: a destroyed pool says so')
    process.exit(1)
  }
}
main()
EOF
timeout 60 node main.js
