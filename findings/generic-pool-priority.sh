#!/usr/bin/env bash
# npm: generic-pool 3.9.0
#
# Expected, from the README («no priority specified - will go onto lowest priority
# queue»): with a priorityRange of 3, acquire() without a priority is served after
# acquire(0), acquire(1) and acquire(2).
# It does: it is priority 0, the highest. Whoever marks the urgent callers with 0 and
# leaves the others as they are has marked nothing: they are served in the order in
# which they came.
#
# Seen on 2026-11-28 (asked in the order: none, none, 2, 1, 0):
#   served: none, none, 0, 1, 2
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts generic-pool@3.9.0
cat >main.js <<'EOF'
const { createPool } = require('generic-pool')

async function main() {
  const pool = createPool({ create: async () => ({}), destroy: async () => {} }, { max: 1, priorityRange: 3 })
  const held = await pool.acquire()
  const served = []
  const all = ['none', 'none', 2, 1, 0].map(async priority => {
    const resource = await (priority === 'none' ? pool.acquire() : pool.acquire(priority))
    served.push(priority)
    await pool.release(resource)
  })
  await pool.release(held)
  await Promise.all(all)
  console.log('served:', served.join(', '))
  if (served.join() !== 'none,none,0,1,2') {
    console.log('CHANGED: no priority is another one')
    process.exit(1)
  }
}
main()
EOF
timeout 60 node main.js
