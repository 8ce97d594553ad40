#!/usr/bin/env bash
# github.com/gomodule/redigo v1.9.3
#
# Expected: PoolStats.WaitCount, «the total number of connections waited for», and
# WaitDuration grow with each Get that had to wait, as DBStats does. The ones that
# waited in vain are the ones that one has the figure for.
# It does: a wait counts only if it ended with a connection. A pool in which every
# caller waits and then gives up shows WaitCount 0 and WaitDuration 0: it looks idle
# while it is exhausted. (The comment says «not guaranteed to be 100% accurate».)
#
# Seen on 2026-11-28:
#   20 waits of 50 ms that timed out:  WaitCount 0, WaitDuration 0s
#   then one that was served:          WaitCount 1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/gomodule/redigo@v1.9.3 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

func main() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	p := &redis.Pool{MaxActive: 1, MaxIdle: 1, Wait: true, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", server.Addr().String())
	}}
	held := p.Get()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if _, err := p.GetContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
				panic(fmt.Sprint("a wait ended with: ", err))
			}
		})
	}
	wg.Wait()
	inVain := p.Stats()
	fmt.Printf("20 waits of 50 ms that timed out:  WaitCount %d, WaitDuration %v\n", inVain.WaitCount, inVain.WaitDuration)
	time.AfterFunc(2*time.Second, func() { held.Close() })
	served, err := p.GetContext(context.Background())
	if err != nil {
		panic(err)
	}
	served.Close()
	fmt.Printf("then one that was served:          WaitCount %d\n", p.Stats().WaitCount)
	if inVain.WaitCount != 0 || inVain.WaitDuration != 0 || p.Stats().WaitCount != 1 {
		fmt.Println("CHANGED: waits that timed out are counted")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
