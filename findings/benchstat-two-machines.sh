#!/usr/bin/env bash
# golang.org/x/perf/cmd/benchstat v0.0.0-20260908200009-22c9c6c9d4da
#
# Expected: benchstat old.txt new.txt compares benchmarks of the same name, whatever
# machine each file is from, with a warning where the machines differ.
# It does: the cpu: line, which go test writes by itself, is part of what has to agree.
# If it differs, each file gets a table of its own, without a column «vs base», and
# nothing says why. A script that looks for a regression in the output finds none, for
# ever. (-ignore cpu puts them together.)
#
# Seen on 2026-11-28 (twice as slow, n=10):
#   same cpu line:       +99.55%
#   different cpu lines: 0 tables with a comparison, 2 without, exit code 0, 0 bytes on stderr
#   with -ignore cpu:    +99.55%
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
version=v0.0.0-20260908200009-22c9c6c9d4da
GOBIN=$dir go install golang.org/x/perf/cmd/benchstat@$version 2>log || { cat log >&2; exit 1; }

# results CPU NS: ten results of one benchmark, as go test prints them
results() {
	printf 'goos: linux\ngoarch: amd64\npkg: example.test/pool\ncpu: %s\n' "$1"
	for i in 0 1 2 3 4 5 6 7 8 9; do echo "BenchmarkGet-2 1000000 $(($2 + i)).0 ns/op"; done
}
results "Model A" 1000 >old.txt
results "Model A" 2000 >same.txt
results "Model B" 2000 >other.txt

same=$(./benchstat old.txt same.txt)
other=$(./benchstat old.txt other.txt 2>stderr.txt)
ignored=$(./benchstat -ignore cpu old.txt other.txt)
delta() { grep -o '[+-][0-9.]*%' <<<"$1" | head -1 || true; }
echo "same cpu line:       $(delta "$same")"
echo "different cpu lines: $(grep -c 'vs base' <<<"$other" || true) tables with a comparison, $(grep -c 'sec/op' <<<"$other") without, exit code 0, $(wc -c <stderr.txt) bytes on stderr"
echo "with -ignore cpu:    $(delta "$ignored")"
if [ -z "$(delta "$same")" ] || grep -q 'vs base' <<<"$other" || [ -s stderr.txt ] || [ -z "$(delta "$ignored")" ]; then
	echo "CHANGED: files of different machines are compared, or there is a warning"
	exit 1
fi
