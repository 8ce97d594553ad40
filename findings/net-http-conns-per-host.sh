#!/usr/bin/env bash
# net/http of Go 1.26.8
#
# Expected: MaxConnsPerHost «limits the total number of connections per host, including
# connections in the dialing, active, and idle states». With 1, and a server that allows
# one stream per connection (MaxConcurrentStreams), a second HTTP/2 request waits for the
# first, as it does with HTTP/1.1.
# It does: the limit ends at the first HTTP/2 connection. A request that finds all of its
# streams in use opens another connection: 8 requests open 8, as if no limit were set. So
# the limit holds or does not, depending on what the server speaks.
#
# Seen on 2026-11-29 (MaxConnsPerHost 1, one warm connection, then 8 requests of 0.5 s at once):
#   HTTP/1.1:                connections 1, all answered after 4.0 s
#   HTTP/2, 1 stream each:   connections 8, all answered after 0.5 s
#   HTTP/2, 3 streams each:  connections 3, all answered after 0.5 s
# (the last digit varies)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod GOTOOLCHAIN=go1.26.8
go version
go mod init finding 2>/dev/null
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// run makes one request and then eight at once, and returns how many connections the server has seen.
func run(name string, streams int) int {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(500 * time.Millisecond)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.EnableHTTP2 = streams > 0
	server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	server.StartTLS()
	defer server.Close()
	transport := server.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	transport.MaxConnsPerHost = 1
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	get := func(path string) {
		response, err := client.Get(server.URL + path)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
	}

	get("/")
	start := time.Now()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { get("/slow") })
	}
	all.Wait()
	fmt.Printf("%-24s connections %d, all answered after %.1f s\n", name, connections.Load(), time.Since(start).Seconds())
	return int(connections.Load())
}

func main() {
	one := run("HTTP/1.1:", 0)
	single := run("HTTP/2, 1 stream each:", 1)
	three := run("HTTP/2, 3 streams each:", 3)
	if one != 1 || single < 4 || three < 2 {
		fmt.Println("CHANGED: the limit holds for HTTP/2")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
