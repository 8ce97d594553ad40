#!/usr/bin/env bash
# Go 1.26.8, net/http
#
# Expected: a request is cancelled while its connection is dialed. The ctx that
# DialContext got ends with it, the dial is given up, and nothing stays open.
# It does: the ctx of the dial does not end. The dial goes on in the background, the
# connection is kept for a request that may come, and with http.DefaultTransport it
# stays open for 90 s. A client that gives up a slow dial and tries again, or a pool of
# WebSockets that dials through a Transport, has one more connection at the server for
# each time, on which nothing is ever sent. Where the server's connections are counted
# or paid for, call CloseIdleConnections.
#
# Seen on 2026-11-29 (cancelled in DialContext):
#   the request: Get "http://127.0.0.1:36325": context canceled
#   the ctx of its dial: <nil>
#   the server's connection, 3 s later: 0 bytes, read tcp 127.0.0.1:36325->127.0.0.1:56384: i/o timeout
#   after CloseIdleConnections: EOF
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod GOTOOLCHAIN=go1.26.8
go mod init finding 2>/dev/null
go version
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	dialed := make(chan error, 1)
	goOn := make(chan struct{})
	client := http.Client{Transport: &http.Transport{DialContext: func(dial context.Context, network, address string) (net.Conn, error) {
		cancel()
		<-goOn
		dialed <- dial.Err()
		return new(net.Dialer).DialContext(dial, network, address)
	}}}
	request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+listener.Addr().String(), nil)
	_, err = client.Do(request)
	fmt.Println("the request:", err)
	close(goOn)
	fmt.Println("the ctx of its dial:", <-dialed)
	var c net.Conn
	select {
	case c = <-accepted:
	case <-time.After(3 * time.Second):
		fmt.Println("CHANGED: nothing is dialed")
		os.Exit(1)
	}
	c.SetReadDeadline(time.Now().Add(3 * time.Second))
	n, err := c.Read(make([]byte, 1))
	fmt.Printf("the server's connection, 3 s later: %d bytes, %v\n", n, err)
	timeout, ok := err.(net.Error)
	if n > 0 || !ok || !timeout.Timeout() {
		fmt.Println("CHANGED: it is closed, or used")
		os.Exit(1)
	}
	client.CloseIdleConnections()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Read(make([]byte, 1))
	fmt.Println("after CloseIdleConnections:", err)
}
EOF
go build -o finding .
timeout 60 ./finding
