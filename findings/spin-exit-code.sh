#!/usr/bin/env bash
# Debian 12: spin 6.5.2+dfsg-1
#
# Expected: a verifier that finds a violated assertion, or that could not search to the
# end, says so with its exit code, as compilers and test runners do.
# It does: spin -search exits with 0 for a proof, for a violation and for a search that
# was cut off at the depth limit (10,000 steps by default). The last even prints
# «errors: 0», beside a line that speaks of an error. So set -e is no guard, nor is grep
# for «errors: 0»: a script has to look for both. (pan -b makes the limit an error, in
# the text.)
#
# Seen on 2026-11-28:
#   assertion holds:        errors: 0, exit code 0
#   assertion violated:     errors: 1, exit code 0
#   depth limit before it:  errors: 0, exit code 0, error: max search depth too small
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
model() { # LIMIT
	cat >model.pml <<EOF
byte n
active proctype P() {
	do
	:: n < 200 -> n++
	:: else -> break
	od
	assert(n < $1)
}
EOF
}
search() { # LIMIT OPTION…
	local code=0
	model "$1"
	timeout 60 spin -search "${@:2}" model.pml >out 2>err || code=$?
	echo "$(grep -o 'errors: [0-9]*' out), exit code $code$(grep -h '^error: max search depth' out err | head -1 | sed 's/^/, /')"
}
holds=$(search 201)
violated=$(search 200)
cut=$(search 200 -m100)
echo "assertion holds:        $holds"
echo "assertion violated:     $violated"
echo "depth limit before it:  $cut"
if [ "$holds" != "errors: 0, exit code 0" ] || [ "$violated" != "errors: 1, exit code 0" ] ||
	[ "$cut" != "errors: 0, exit code 0, error: max search depth too small" ]; then
	echo "CHANGED: the exit code or the count tells more"
	exit 1
fi
