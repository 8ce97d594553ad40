#!/usr/bin/env bash
# vitess.io/vitess/go/pools/smartconnpool v0.24.4
#
# Expected: MaxLifetime is an upper bound on the age of what is lent. A connection that
# has been idle until it is five times as old is replaced in the background, or at the
# next Get at the latest.
# It does: Get lends it. Age is looked at only when a connection comes back, and Recycle
# replaces it then. The first caller after a quiet night gets the connection that the
# server's own limit has closed, and each connection of the pool does it once.
#
# Seen on 2026-11-28:
#   MaxLifetime 200ms, idle for 1.2s: Get lent connection 1
#   after its return: Get lent connection 2
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get vitess.io/vitess/go/pools/smartconnpool@v0.24.4 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"vitess.io/vitess/go/pools/smartconnpool"
)

type conn struct {
	number int
	closed bool
}

func (c *conn) ApplySetting(context.Context, *smartconnpool.Setting) error { return nil }
func (c *conn) ResetSetting(context.Context) error                         { return nil }
func (c *conn) Setting() *smartconnpool.Setting                            { return nil }
func (c *conn) IsClosed() bool                                             { return c.closed }
func (c *conn) Close()                                                     { c.closed = true }

func main() {
	opened := 0
	p := smartconnpool.NewPool(&smartconnpool.Config[*conn]{Capacity: 1, MaxLifetime: 200 * time.Millisecond})
	p.Open(func(context.Context) (*conn, error) { opened++; return &conn{number: opened}, nil }, nil)
	get := func() *smartconnpool.Pooled[*conn] {
		c, err := p.Get(context.Background(), nil)
		if err != nil {
			panic(err)
		}
		return c
	}
	get().Recycle()
	time.Sleep(1200 * time.Millisecond)
	c := get()
	old := c.Conn.number
	c.Recycle()
	c = get()
	fresh := c.Conn.number
	c.Recycle()
	fmt.Println("MaxLifetime 200ms, idle for 1.2s: Get lent connection", old)
	fmt.Println("after its return: Get lent connection", fresh)
	if old != 1 || fresh == 1 {
		fmt.Println("CHANGED: a connection beyond its lifetime is no longer lent once more")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
