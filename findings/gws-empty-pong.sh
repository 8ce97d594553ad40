#!/usr/bin/env bash
# github.com/lxzan/gws v1.8.9; client: github.com/coder/websocket v1.8.15
#
# Expected: a server with gws' BuiltinEventHandler answers a ping with a pong that
# carries the ping's payload (RFC 6455, section 5.5.3: it must be identical), so a
# client's Ping succeeds.
# It does: the pong is empty. A client that only wants bytes is content. coder's Ping,
# which looks for the payload that it sent, waits until its ctx ends: a heartbeat made
# of it drops healthy connections, and only those to such servers.
#
# Seen on 2026-11-28:
#   gorilla: ping "heartbeat", pong ""
#   coder:   Ping: failed to ping: failed to wait for pong: context deadline exceeded
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/lxzan/gws@v1.8.9 github.com/coder/websocket@v1.8.15 github.com/gorilla/websocket@v1.5.3 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"
)

func main() {
	upgrader := gws.NewUpgrader(&gws.BuiltinEventHandler{}, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			c.ReadLoop()
		}
	}))
	url := "ws" + strings.TrimPrefix(server.URL, "http")

	g, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		panic(err)
	}
	pong := make(chan string, 1)
	g.SetPongHandler(func(payload string) error { pong <- payload; return nil })
	if err := g.WriteControl(websocket.PingMessage, []byte("heartbeat"), time.Now().Add(10*time.Second)); err != nil {
		panic(err)
	}
	go g.ReadMessage()
	var payload string
	select {
	case payload = <-pong:
	case <-time.After(30 * time.Second):
		panic("no pong at all")
	}
	fmt.Printf("gorilla: ping \"heartbeat\", pong %q\n", payload)

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	c, _, err := coder.Dial(context.Background(), url, nil)
	if err != nil {
		panic(err)
	}
	c.CloseRead(context.Background())
	err = c.Ping(ctx)
	fmt.Println("coder:   Ping:", err)
	if payload != "" || !errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("CHANGED: the pong carries the ping's payload")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
