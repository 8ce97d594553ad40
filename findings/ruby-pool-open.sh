#!/usr/bin/env bash
# Debian 12: ruby-connection-pool 2.2.5-1
#
# Expected: opening a connection holds up the caller that needs it, and nobody else.
# Others give back what they have and take what is idle, and timeout: 0.5 bounds each
# wait.
# It does: the block that opens a connection runs inside the pool's mutex. While one
# connection takes long to open, no other can be given back, idle ones cannot be taken,
# and a caller with a timeout of 0.5 s waits for as long as the open takes. One slow
# server stops all threads that share the pool.
#
# Seen on 2026-11-28 (size 2; one is in use, the second takes 3 s to open):
#   given back after its use of 0.3 s: 3.0 s after the open began
#   a third caller, timeout 0.5 s: served after 2.9 s
# (the last digit varies)
set -euo pipefail
packages=(ruby ruby-connection-pool)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.rb" <<'EOF'
require 'connection_pool'

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

opened = 0
opening = Queue.new
pool = ConnectionPool.new(size: 2, timeout: 0.5) do
  opened += 1
  if opened == 2
    opening << now
    sleep 3
  end
  Object.new
end

in_use = Queue.new
returned = nil
first = Thread.new do
  pool.with do
    in_use << true
    opening_began = opening.pop
    sleep 0.3
    opening << opening_began
  end
  returned = now
end
in_use.pop
second = Thread.new { pool.with {} }
sleep 0.1 until opened == 2
third = Thread.new do
  start = now
  begin
    pool.with { ['served', now - start] }
  rescue ConnectionPool::TimeoutError
    ['timed out', now - start]
  end
end
[first, second].each(&:join)
what, waited = third.value
held_up = returned - opening.pop
puts "given back after its use of 0.3 s: #{held_up.round(1)} s after the open began"
puts "a third caller, timeout 0.5 s: #{what} after #{waited.round(1)} s"
if held_up < 2.9 || what != 'served' || waited < 0.6
  puts 'CHANGED: an open no longer holds up the others'
  exit 1
end
EOF
timeout 60 ruby "$dir/main.rb"
