#!/usr/bin/env bash
# github.com/HdrHistogram/hdrhistogram-go v1.4.0
#
# Expected: New(1000, 10000, 2) tracks values from 1000 to 10000, and RecordValue
# returns «an error if the value is out of range», as its comment says: so for 5, 11000 and 100000.
# It does: nothing is too small, and the highest value is a hint: here the first value
# refused is 13 times as high. 5 is counted in a bucket of 512 values and reported as 0.
# Whoever sets a timeout as the highest value, and counts the errors, misses them.
#
# Seen on 2026-11-28, for New(1000, 10000, 2):
#   record      5: error false
#   record  11000: error false
#   record 100000: error false
#   record 132000: error true
#   Min 0, Max 100351
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/HdrHistogram/hdrhistogram-go@v1.4.0 2>/dev/null
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func main() {
	h := hdrhistogram.New(1000, 10000, 2)
	changed := false
	for _, c := range []struct {
		value  int64
		failed bool
	}{{5, false}, {11000, false}, {100000, false}, {132000, true}} {
		err := h.RecordValue(c.value)
		fmt.Printf("record %6d: error %v\n", c.value, err != nil)
		changed = changed || (err != nil) != c.failed
	}
	fmt.Printf("Min %d, Max %d\n", h.Min(), h.Max())
	if changed {
		fmt.Println("CHANGED: what lies outside the range is treated otherwise")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
