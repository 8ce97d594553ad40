#!/usr/bin/env bash
# github.com/silenceper/pool v1.0.0
#
# Expected: Release closes what is idle, and what is lent is closed when it is put back: Put
# of a pool that has been released calls the Close function of the configuration.
# It does: it returns nil, and the connection stays open, for good. Release forgets the Close
# function before the last connections are back, and without it Put and Close do nothing.
# So a service that releases its pool while requests run leaks a connection for each of
# them, and closing it is the caller's own business, which no error tells.
#
# Seen on 2026-11-29 (one connection idle, one lent, then Release):
#   closed by Release: 1 of 2
#   Put of the one that was lent: <nil>, closed: 1 of 2
#   Close of it: <nil>, closed: 1 of 2
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/silenceper/pool@v1.0.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"

	"github.com/silenceper/pool"
)

func main() {
	closed := 0
	p, err := pool.NewChannelPool(&pool.Config{
		InitialCap: 2, MaxCap: 2, MaxIdle: 2,
		Factory: func() (any, error) { return new(int), nil },
		Close:   func(any) error { closed++; return nil },
	})
	if err != nil {
		panic(err)
	}
	lent, err := p.Get()
	if err != nil {
		panic(err)
	}
	p.Release()
	fmt.Printf("closed by Release: %d of 2\n", closed)
	put := p.Put(lent)
	fmt.Printf("Put of the one that was lent: %v, closed: %d of 2\n", put, closed)
	end := p.Close(lent)
	fmt.Printf("Close of it: %v, closed: %d of 2\n", end, closed)
	if closed != 1 || put != nil || end != nil {
		fmt.Println("CHANGED: what is put back after Release is closed, or refused")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
