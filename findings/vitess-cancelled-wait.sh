#!/usr/bin/env bash
# vitess.io/vitess/go/pools/smartconnpool v0.24.4
#
# Expected: a Get that waits and whose ctx is cancelled returns an error for which
# errors.Is(err, context.Canceled) holds, and one whose deadline passes
# context.DeadlineExceeded.
# It does: both return ErrTimeout, «connection pool timed out», which wraps neither. A
# caller that has hung up is reported as an exhausted pool: a log or an alert that
# counts RESOURCE_EXHAUSTED counts users who closed their browser tab.
#
# Seen on 2026-11-28:
#   cancelled:  "connection pool timed out", code RESOURCE_EXHAUSTED, is context.Canceled: false
#   deadline:   "connection pool timed out", code RESOURCE_EXHAUSTED, is context.DeadlineExceeded: false
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
	"errors"
	"fmt"
	"os"
	"time"

	"vitess.io/vitess/go/pools/smartconnpool"
	"vitess.io/vitess/go/vt/vterrors"
)

type conn struct{ closed bool }

func (c *conn) ApplySetting(context.Context, *smartconnpool.Setting) error { return nil }
func (c *conn) ResetSetting(context.Context) error                         { return nil }
func (c *conn) Setting() *smartconnpool.Setting                            { return nil }
func (c *conn) IsClosed() bool                                             { return c.closed }
func (c *conn) Close()                                                     { c.closed = true }

func main() {
	p := smartconnpool.NewPool(&smartconnpool.Config[*conn]{Capacity: 1})
	p.Open(func(context.Context) (*conn, error) { return &conn{}, nil }, nil)
	held, err := p.Get(context.Background(), nil)
	if err != nil {
		panic(err)
	}
	defer held.Recycle()

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, cancelled := p.Get(ctx, nil)
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, late := p.Get(ctx, nil)
	fmt.Printf("cancelled:  %q, code %v, is context.Canceled: %v\n", text(cancelled), vterrors.Code(cancelled), errors.Is(cancelled, context.Canceled))
	fmt.Printf("deadline:   %q, code %v, is context.DeadlineExceeded: %v\n", text(late), vterrors.Code(late), errors.Is(late, context.DeadlineExceeded))
	if !errors.Is(cancelled, smartconnpool.ErrTimeout) || errors.Is(cancelled, context.Canceled) || errors.Is(late, context.DeadlineExceeded) {
		fmt.Println("CHANGED: a cancelled wait is no longer a timeout of the pool")
		os.Exit(1)
	}
}

func text(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}
EOF
go build -o finding .
timeout 60 ./finding
