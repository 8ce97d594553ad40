#!/usr/bin/env bash
# github.com/elastic/elastic-transport-go/v8 v8.11.0
#
# Expected: two nodes in turn, of which one answers 503. It gets every second request,
# which is then retried on the other, or it is set aside like a node that refuses
# connections.
# It does: it is not set aside, and it gets every request first. A retry takes its turn in
# the same round robin: request, retry, so that the next request begins at the bad node
# again. As long as it is bad, each request pays for the failed attempt, and the healthy
# node is never tried first. (A node that refuses the connection is tried once, then set
# aside.)
#
# Seen on 2026-11-29 (10 requests, one after the other; all end with 200):
#   503:     good node 10 requests, bad node 9; attempts that began at the good one: 1
#   refused: good node 10 requests, bad node 1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/elastic/elastic-transport-go/v8@v8.11.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'GO'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
)

type counting struct{ tries map[string]int }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.tries[r.URL.Host]++
	return http.DefaultTransport.RoundTrip(r)
}

// run sends 10 requests to two nodes and returns how many attempts each got.
func run(good, bad string) (int, int) {
	g, err := url.Parse(good)
	if err != nil {
		panic(err)
	}
	b, err := url.Parse(bad)
	if err != nil {
		panic(err)
	}
	count := &counting{tries: map[string]int{}}
	transport, err := elastictransport.New(elastictransport.Config{URLs: []*url.URL{g, b}, Transport: count})
	if err != nil {
		panic(err)
	}
	for range 10 {
		request, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			panic(err)
		}
		response, err := transport.Perform(request)
		if err != nil {
			panic(err)
		}
		if response.StatusCode != http.StatusOK {
			panic(response.Status)
		}
		response.Body.Close()
	}
	return count.tries[g.Host], count.tries[b.Host]
}

func main() {
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	var asked atomic.Int64
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	goodTries, badTries := run(good.URL, bad.URL)
	fmt.Printf("503:     good node %d requests, bad node %d; attempts that began at the good one: %d\n", goodTries, badTries, goodTries-badTries)
	if asked.Load() != int64(badTries) {
		panic("the bad node was not asked as often as it was tried")
	}
	bad.Close()
	goodRefused, badRefused := run(good.URL, bad.URL)
	fmt.Printf("refused: good node %d requests, bad node %d\n", goodRefused, badRefused)
	if goodTries != 10 || badTries < 9 || badRefused > 1 {
		fmt.Println("CHANGED: the bad node is not tried first each time")
		os.Exit(1)
	}
}
GO
go build -o finding .
timeout 60 ./finding
