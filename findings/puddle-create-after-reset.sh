#!/usr/bin/env bash
# github.com/jackc/puddle/v2 v2.2.3
#
# Expected: «Reset destroys all resources», to be called when something «would disrupt all
# resources (such as a network interruption or a server state change)». One that is being
# constructed at that moment is destroyed as soon as it is made. (2.2.3 says so for TryAcquire in its
# list of fixes: «Reset could allow a stale resource to be reused».)
# It does: what CreateResource was constructing goes into the pool all the same, counts as idle, and is
# lent to the next caller, however much later; it is destroyed when that one releases it. pgxpool
# makes its MinConns and MinIdleConns so, and a failover is when they are made. What an
# Acquire was constructing is lent to it as well.
#
# Seen on 2026-11-29:
#   by CreateResource: after the Reset 1 is idle; Acquire gets number 1, then number 2
#   by Acquire:        after the Reset Acquire gets number 1, then number 2
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/jackc/puddle/v2@v2.2.3 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/puddle/v2"
)

// A site makes numbers, the first one only when it may.
func site() (p *puddle.Pool[int], begun, mayEnd chan int) {
	begun, mayEnd = make(chan int), make(chan int)
	n := 0
	p, err := puddle.NewPool(&puddle.Config[int]{MaxSize: 1, Destructor: func(int) {}, Constructor: func(context.Context) (int, error) {
		n++
		if n == 1 {
			begun <- n
			<-mayEnd
		}
		return n, nil
	}})
	if err != nil {
		panic(err)
	}
	return p, begun, mayEnd
}

func acquire(p *puddle.Pool[int]) int {
	res, err := p.Acquire(context.Background())
	if err != nil {
		panic(err)
	}
	defer res.Release()
	return res.Value()
}

func main() {
	p, begun, mayEnd := site()
	created := make(chan error)
	go func() { created <- p.CreateResource(context.Background()) }()
	<-begun
	p.Reset()
	close(mayEnd)
	if err := <-created; err != nil {
		fmt.Println("CreateResource returns", err)
	}
	idle, first := p.Stat().IdleResources(), acquire(p)
	second := acquire(p)
	fmt.Printf("by CreateResource: after the Reset %d is idle; Acquire gets number %d, then number %d\n", idle, first, second)

	p, begun, mayEnd = site()
	acquired := make(chan int)
	go func() { acquired <- acquire(p) }()
	<-begun
	p.Reset()
	close(mayEnd)
	lent := <-acquired
	next := acquire(p)
	fmt.Printf("by Acquire:        after the Reset Acquire gets number %d, then number %d\n", lent, next)
	if idle != 1 || first != 1 || second != 2 || lent != 1 || next != 2 {
		fmt.Println("CHANGED: a Reset ends what was being constructed")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
