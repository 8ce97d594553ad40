#!/usr/bin/env bash
# Debian 12: spin 6.5.2+dfsg-1
#
# Expected: what Spin's simulator calls an error is one for its verifier, which looks at
# every run, too.
# It does: a byte that is counted past 255 is «Error: value (256->0 (8)) truncated in
# assignment» in a simulation. The verifier wraps it silently and reports errors: 0, so
# that a ticket or position that wraps in the model, and only there, is taken as proven.
# A model needs an assertion for each counter of its own.
#
# Seen on 2026-11-28:
#   simulation:   spin: model.pml:4, Error: value (256->0 (8)) truncated in assignment
#   verification: errors: 0, the word «truncated» 0 times
set -euo pipefail
packages=(spin gcc libc6-dev)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >model.pml <<'EOF'
byte tickets = 255
active proctype P() {
	atomic {
		tickets++
		assert(tickets == 0)
	}
}
EOF
simulation=$(timeout 60 spin model.pml 2>&1 || true)
verification=$(timeout 60 spin -search model.pml 2>&1)
echo "simulation:   $(grep -m1 truncated <<<"$simulation" || echo "no word of it")"
echo "verification: $(grep -o 'errors: [0-9]*' <<<"$verification"), the word «truncated» $(grep -c truncated <<<"$verification" || true) times"
if ! grep -q 'Error: .*truncated' <<<"$simulation" || ! grep -q 'errors: 0' <<<"$verification" || grep -q truncated <<<"$verification"; then
	echo "CHANGED: simulator and verifier agree"
	exit 1
fi
