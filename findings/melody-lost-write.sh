#!/usr/bin/env bash
# github.com/olahol/melody v1.1.4; client: github.com/coder/websocket v1.8.15
#
# Expected: Session.Write returns an error if the message is not going to be sent, for
# example ErrMessageBufferFull when the session's queue (256 messages by default) is
# full.
# It does: it drops the message and returns nil. Only a handler set with HandleError
# hears of it, without the message. A sender that checks every error loses messages in
# the middle of a stream, and the session stays open.
#
# Seen on 2026-11-28 (how many are lost depends on the machine):
#   client does not read; 200 writes of 1 MiB: 0 errors
#   client reads: received 9 of 200, the session is open
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/olahol/melody@v1.1.4 github.com/coder/websocket@v1.8.15 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/olahol/melody"
)

func main() {
	m := melody.New()
	m.Config.MessageBufferSize = 4
	sessions := make(chan *melody.Session, 1)
	m.HandleConnect(func(s *melody.Session) { sessions <- s })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) }))
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		panic(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	s := <-sessions

	const writes = 200
	errs := 0
	message := make([]byte, 1<<20)
	for range writes {
		if s.WriteBinary(message) != nil {
			errs++
		}
	}
	fmt.Printf("client does not read; %d writes of 1 MiB: %d errors\n", writes, errs)

	// The queue empties while the client reads; then "last" gets through.
	received, done := 0, make(chan bool)
	go func() {
		defer close(done)
		for {
			kind, _, err := c.Read(ctx)
			if err != nil {
				panic(err)
			}
			if kind == websocket.MessageText {
				return
			}
			received++
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	for open := true; open; {
		select {
		case <-done:
			open = false
		case <-tick.C:
			s.Write([]byte("last"))
		}
	}
	fmt.Printf("client reads: received %d of %d, the session is open\n", received, writes)
	if errs != 0 || received == writes {
		fmt.Println("CHANGED: a dropped message is an error, or none is dropped")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
