#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0 (server: Debian 12's redis-server 7.0.15)
#
# Expected, from the comment at Options.PoolSize: it is a base number; where it does not
# suffice, connections are opened in excess of it, and MaxActiveConns is what limits
# them. So 20 blocking calls at once with PoolSize 5 and MaxActiveConns 0 («no limit»)
# have 20 connections.
# It does: 5. PoolSize is the limit for commands, whatever MaxActiveConns says; the
# other 15 callers wait, and fail after PoolTimeout. Whoever left PoolSize small and
# raised MaxActiveConns has a pool that never grows.
#
# Seen on 2026-11-28:
#   PoolSize 5, MaxActiveConns  0, 20 callers: 5 connections, 15 callers: redis: connection pool timeout
#   PoolSize 5, MaxActiveConns 40, 20 callers: 5 connections, 15 callers: redis: connection pool timeout
set -euo pipefail
if ! command -v redis-server >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
redis-server --port 0 --unixsocket "$dir/redis.sock" --save "" >/dev/null &
server=$!
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/redis/go-redis/v9@v9.23.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	changed := false
	for _, limit := range []int{0, 40} {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1], PoolSize: 5,
			MaxActiveConns: limit, PoolTimeout: 500 * time.Millisecond, MaxRetries: -1})
		var timeouts atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				err := client.BLPop(context.Background(), 4*time.Second, "no such list").Err()
				if errors.Is(err, redis.ErrPoolTimeout) {
					timeouts.Add(1)
				} else if !errors.Is(err, redis.Nil) {
					panic(err)
				}
			})
		}
		wg.Wait()
		opened := client.PoolStats().Misses
		fmt.Printf("PoolSize 5, MaxActiveConns %2d, 20 callers: %d connections, %d callers: %v\n", limit, opened, timeouts.Load(), redis.ErrPoolTimeout)
		changed = changed || opened != 5 || timeouts.Load() != 15
		client.Close()
	}
	if changed {
		fmt.Println("CHANGED: PoolSize is no longer the limit")
		os.Exit(1)
	}
}
EOF
for _ in $(seq 100); do [ -S redis.sock ] && break; sleep 0.1; done
go build -o finding .
timeout 60 ./finding "$dir/redis.sock"
