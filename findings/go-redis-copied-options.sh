#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0
#
# Expected: a client made from a copy of another one's Options() behaves as that one.
# It does: what is switched off is on again in the copy. NewClient writes its defaults into
# the Options, and turns -1, «disables retries», into 0, for which the next NewClient puts
# the default: three retries. A command that must not be repeated is.
#
# Seen on 2026-11-29 (MaxRetries -1, a server that hangs up when it is asked):
#   commands that the server gets for one call: of the first client 1, of the copy 4
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/redis/go-redis/v9@v9.23.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOG'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

var commands atomic.Int32

// serve hangs up at each INCR.
func serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	for in.Scan() {
		switch strings.ToLower(in.Text()) {
		case "hello":
			fmt.Fprint(c, "-ERR unknown command\r\n")
		case "incr":
			commands.Add(1)
			return
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
	calls := func(o *redis.Options) (int32, *redis.Client) {
		before := commands.Load()
		c := redis.NewClient(o)
		if err := c.Incr(context.Background(), "counter").Err(); err == nil {
			panic("the server has answered")
		}
		return commands.Load() - before, c
	}
	first, c := calls(&redis.Options{Addr: server.Addr().String(), DisableIdentity: true, MaxRetries: -1})
	o := *c.Options()
	second, _ := calls(&o)
	fmt.Printf("commands that the server gets for one call: of the first client %d, of the copy %d\n", first, second)
	if first != 1 || second != 4 {
		fmt.Println("CHANGED: a copy of Options keeps what is switched off")
		os.Exit(1)
	}
}
EOG
go build -o finding .
timeout 60 ./finding
