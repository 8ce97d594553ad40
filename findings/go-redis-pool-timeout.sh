#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0 (server: Debian 12's redis-server 7.0.15)
#
# Expected: PoolTimeout is how long a command waits for a connection before it returns
# ErrPoolTimeout. With 500 ms, a GET beside an exhausted pool fails after 500 ms; with the
# default, ReadTimeout and a second, after 6 s.
# It does: after 2 s, and by default after 24 s. A command that got no connection counts
# as one that can be tried again, and MaxRetries is 3: it joins the queue four times, each
# time at its end. Only MaxRetries: -1 makes PoolTimeout what it says. A service whose
# requests have 20 s thus never sees the error of the pool, but that of its own deadline.
#
# Seen on 2026-11-29 (PoolTimeout 500 ms, the only connection is in a BLPOP):
#   MaxRetries default: redis: connection pool timeout after 2.2 s
#   MaxRetries -1:      redis: connection pool timeout after 0.5 s
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
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx := context.Background()
	wait := func(name string, retries int) time.Duration {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1], PoolSize: 1,
			PoolTimeout: 500 * time.Millisecond, MaxRetries: retries})
		defer client.Close()
		holder := make(chan struct{})
		go func() {
			defer close(holder)
			client.BLPop(ctx, 6*time.Second, "no such list")
		}()
		for client.PoolStats().TotalConns-client.PoolStats().IdleConns < 1 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		err := client.Get(ctx, "key").Err()
		took := time.Since(began)
		if !errors.Is(err, redis.ErrPoolTimeout) {
			panic(err)
		}
		fmt.Printf("%-19s %v after %.1f s\n", name, err, took.Seconds())
		<-holder
		return took
	}
	byDefault := wait("MaxRetries default:", 0)
	never := wait("MaxRetries -1:", -1)
	if byDefault < 3*never {
		fmt.Println("CHANGED: a command that got no connection does not queue again")
		os.Exit(1)
	}
}
EOF
for _ in $(seq 100); do [ -S redis.sock ] && break; sleep 0.1; done
go build -o finding .
timeout 60 ./finding "$dir/redis.sock"
