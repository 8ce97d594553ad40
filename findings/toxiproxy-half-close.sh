#!/usr/bin/env bash
# github.com/Shopify/toxiproxy/v2 v2.5.0
#
# Expected: a TCP proxy without any toxic is transparent. A client that ends its request
# by closing its writing side (as HTTP/1.0, finger, redis-cli --pipe or a backup stream
# may) still gets the reply.
# It does: the end of one direction closes both. The server has read the whole request
# and sends its reply without an error; the client reads a clean end of stream, and no
# reply. It looks like the server's fault, in the test that was to find such faults.
#
# Seen on 2026-11-28:
#   direct:            client reads "reply", error <nil>
#   through toxiproxy: client reads "", error <nil>
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/Shopify/toxiproxy/v2@v2.5.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

func main() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.ReadAll(c)
				time.Sleep(500 * time.Millisecond)
				io.WriteString(c, "reply")
			}()
		}
	}()
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "p", "127.0.0.1:0", server.Addr().String())
	if err := proxy.Start(); err != nil {
		panic(err)
	}
	defer proxy.Stop()
	ask := func(address string) string {
		c, err := net.Dial("tcp", address)
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "request")
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		reply, err := io.ReadAll(c)
		return fmt.Sprintf("client reads %q, error %v", reply, err)
	}
	direct, proxied := ask(server.Addr().String()), ask(proxy.Listen)
	fmt.Println("direct:           ", direct)
	fmt.Println("through toxiproxy:", proxied)
	if direct != `client reads "reply", error <nil>` || proxied != `client reads "", error <nil>` {
		fmt.Println("CHANGED: half of a connection can be closed, or its end shows otherwise")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
