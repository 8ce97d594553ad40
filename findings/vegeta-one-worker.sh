#!/usr/bin/env bash
# github.com/tsenart/vegeta/v12/lib v12.13.0
#
# Expected: vegeta attacks at a constant rate and counts latency so as to avoid
# coordinated omission (its README names it). MaxWorkers bounds what is under way at
# once, for example the size of a connection pool under test. Where the server is slower
# than the rate, requests queue, and their latency grows by what they waited.
# It does: with MaxWorkers reached, the pacer waits too, and a request's clock starts
# when a worker is free. 50 requests a second of 100 ms each, on one worker, for 4 s:
# p99 is 0.1 s, while the request that was due after 2 s, the 100th, was never sent. The
# only hint is the rate that was achieved.
#
# Seen on 2026-11-28 (wanted: 200 requests in 4s, served in 20s with one worker):
#   sent 40 of 200 requests, rate 10.0 of 50, p50 100ms, p99 102ms, success 100%
# (the figures vary with the machine)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/tsenart/vegeta/v12/lib@v12.13.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Millisecond) }))
	attacker := vegeta.NewAttacker(vegeta.Workers(1), vegeta.MaxWorkers(1))
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: "GET", URL: server.URL})
	var m vegeta.Metrics
	for result := range attacker.Attack(target, vegeta.Rate{Freq: 50, Per: time.Second}, 4*time.Second, "one worker") {
		m.Add(result)
	}
	m.Close()
	fmt.Printf("sent %d of 200 requests, rate %.1f of 50, p50 %v, p99 %v, success %.0f%%\n", m.Requests, m.Rate,
		m.Latencies.P50.Round(time.Millisecond), m.Latencies.P99.Round(time.Millisecond), 100*m.Success)
	// With the clock started at the intended time, the median of what was sent would
	// have waited for about 1.6 s.
	if m.Requests >= 100 || m.Latencies.P50 > time.Second {
		fmt.Println("CHANGED: latency counts the wait for a worker")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
