#!/usr/bin/env bash
# github.com/jolestar/go-commons-pool/v2 v2.1.2
#
# Expected: BorrowObject takes a ctx. With a ctx that has ended it returns ctx.Err(), as
# database/sql, puddle and redigo (with Wait) do.
# It does: it lends an object and returns a nil error, whether one is idle or has to be
# made. Only a caller that has to queue looks at the ctx, and what it then returns is no
# context error but the pool's «Timeout waiting for idle object». A handler whose client
# has gone takes connections out of the pool all the same.
#
# Seen on 2026-11-28:
#   an object idle, ctx cancelled:  lent true, error <nil>
#   pool empty, ctx cancelled:      lent true, error <nil>
#   pool exhausted, ctx cancelled:  lent false, error Timeout waiting for idle object
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/jolestar/go-commons-pool/v2@v2.1.2 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	pool "github.com/jolestar/go-commons-pool/v2"
)

func main() {
	live := context.Background()
	ended, cancel := context.WithCancel(live)
	cancel()
	config := pool.NewDefaultPoolConfig()
	config.MaxTotal = 2
	p := pool.NewObjectPool(live, pool.NewPooledObjectFactorySimple(
		func(context.Context) (any, error) { return new(int), nil }), config)

	first, err := p.BorrowObject(live)
	if err != nil {
		panic(err)
	}
	if err := p.ReturnObject(live, first); err != nil {
		panic(err)
	}
	a, errA := p.BorrowObject(ended)
	fmt.Printf("an object idle, ctx cancelled:  lent %v, error %v\n", a != nil, errA)
	b, errB := p.BorrowObject(ended)
	fmt.Printf("pool empty, ctx cancelled:      lent %v, error %v\n", b != nil, errB)
	c, errC := p.BorrowObject(ended)
	fmt.Printf("pool exhausted, ctx cancelled:  lent %v, error %v\n", c != nil, errC)
	if a == nil || b == nil || errA != nil || errB != nil || errC == nil || errors.Is(errC, context.Canceled) {
		fmt.Println("CHANGED: an ended ctx is treated otherwise")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
