#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0
#
# Expected: with ContextTimeoutEnabled, which «controls whether the client respects
# context timeouts and deadlines», a command returns when its ctx ends, be it by a
# deadline or by cancel().
# It does: only the deadline is respected: it becomes the socket's. A cancel() during a
# command is not seen. A request whose client has hung up keeps its connection, its
# goroutine and its place in the pool until the server answers, and then returns a nil
# error.
#
# Seen on 2026-11-28 (a server that answers after 2s):
#   deadline after 200ms:  returned after 0.2s with an error: true
#   cancel() after 200ms:  returned after 2.0s with "value", error <nil>
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
	"time"

	"github.com/redis/go-redis/v9"
)

// serve speaks as much of Redis' protocol as a GET needs, whose answer takes 2s.
func serve(c net.Conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		if strings.EqualFold(in.Text(), "get") {
			time.Sleep(2 * time.Second)
			fmt.Fprint(c, "$5\r\nvalue\r\n")
		} else if strings.EqualFold(in.Text(), "hello") {
			fmt.Fprint(c, "-ERR unknown command\r\n")
		} else if strings.EqualFold(in.Text(), "ping") {
			fmt.Fprint(c, "+PONG\r\n")
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
			go serve(c)
		}
	}()
	client := redis.NewClient(&redis.Options{Addr: server.Addr().String(), ContextTimeoutEnabled: true, MaxRetries: -1,
		ReadTimeout: 10 * time.Second, DisableIdentity: true})

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	start := time.Now()
	_, late := client.Get(ctx, "key").Result()
	byDeadline := time.Since(start)
	cancel()
	fmt.Printf("deadline after 200ms:  returned after %.1fs with an error: %v\n", byDeadline.Seconds(), late != nil)

	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	start = time.Now()
	value, cancelled := client.Get(ctx, "key").Result()
	byCancel := time.Since(start)
	fmt.Printf("cancel() after 200ms:  returned after %.1fs with %q, error %v\n", byCancel.Seconds(), value, cancelled)
	if late == nil || cancelled != nil || value != "value" {
		fmt.Println("CHANGED: a cancel is seen")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
