#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0
#
# Expected: PubSub.Channel, which «will ping Redis Server if it does not receive any
# messages within the interval» of its health check, notices within a few intervals that
# the server answers no more (a cut cable, a stopped process, a firewall that forgot the
# connection), and connects anew.
# It does: it writes the pings and never misses their answers. Only a write that fails
# counts. The subscription stays on the dead connection and the channel stays silent,
# until the kernel gives that up. If the server is merely stopped, it never does.
#
# Seen on 2026-11-28:
#   health check every 200ms, for 8s: pings received 39, pings answered 0, connections 1
# (the number of pings varies)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/redis/go-redis/v9@v9.23.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var connections, pings atomic.Int32

// serve confirms a subscription and answers nothing from then on.
func serve(c net.Conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		switch strings.ToLower(in.Text()) {
		case "hello":
			fmt.Fprint(c, "-ERR unknown command\r\n")
		case "subscribe":
			fmt.Fprint(c, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
		case "ping":
			pings.Add(1)
		}
	}
}

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
			connections.Add(1)
			go serve(c)
		}
	}()
	client := redis.NewClient(&redis.Options{Addr: server.Addr().String(), DisableIdentity: true, ReadTimeout: time.Second})
	sub := client.Subscribe(context.Background(), "news")
	if _, err := sub.Receive(context.Background()); err != nil {
		panic(err)
	}
	before := connections.Load()
	sub.Channel(redis.WithChannelHealthCheckInterval(200 * time.Millisecond))
	time.Sleep(8 * time.Second)
	fmt.Printf("health check every 200ms, for 8s: pings received %d, pings answered 0, connections %d\n", pings.Load(), connections.Load())
	if pings.Load() < 3 || connections.Load() != before {
		fmt.Println("CHANGED: a subscription connects anew when its pings go unanswered")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
