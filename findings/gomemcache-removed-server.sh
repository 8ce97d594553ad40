#!/usr/bin/env bash
# github.com/bradfitz/gomemcache v0.0.0-20260422231931-4d751bb6e37c
#
# Expected: SetServers «changes a ServerList's set of servers at runtime». The idle
# connections to a server that has left the set are closed, soon if not at once.
# It does: they stay open until the process ends or the whole Client is closed. There is
# no idle time limit, and Close also drops the connections to the servers that remain.
# Where addresses come and go, as with pods, each address that ever was keeps
# MaxIdleConns connections, and a server that drains never gets empty.
#
# Seen on 2026-11-29 (two servers, then one; a connection to each is idle):
#   before:                      first server 1, second server 1 open
#   SetServers(first), 20 Gets:  first server 1, second server 1 open
#   Client.Close:                first server 0, second server 0 open
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/bradfitz/gomemcache@v0.0.0-20260422231931-4d751bb6e37c 2>log || { cat log >&2; exit 1; }
cat >main.go <<'GO'
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// server is a memcached that has nothing.
type server struct {
	address string
	open    atomic.Int64
	gone    chan struct{}
}

func listen() *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &server{address: l.Addr().String(), gone: make(chan struct{}, 100)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			go func() {
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					conn.Write([]byte("END\r\n"))
				}
				conn.Close()
				s.open.Add(-1)
				s.gone <- struct{}{}
			}()
		}
	}()
	return s
}

// gets reads 20 keys, which fall on all servers.
func gets(c *memcache.Client) {
	for i := range 20 {
		if _, err := c.Get(fmt.Sprint("key", i)); !errors.Is(err, memcache.ErrCacheMiss) {
			panic(err)
		}
	}
}

func main() {
	first, second := listen(), listen()
	var servers memcache.ServerList
	if err := servers.SetServers(first.address, second.address); err != nil {
		panic(err)
	}
	client := memcache.NewFromSelector(&servers)
	client.Timeout = 5 * time.Second
	gets(client)
	before := [2]int64{first.open.Load(), second.open.Load()}
	fmt.Printf("before:                      first server %d, second server %d open\n", before[0], before[1])
	if err := servers.SetServers(first.address); err != nil {
		panic(err)
	}
	gets(client)
	select {
	case <-second.gone:
	case <-time.After(3 * time.Second):
	}
	after := [2]int64{first.open.Load(), second.open.Load()}
	fmt.Printf("SetServers(first), 20 Gets:  first server %d, second server %d open\n", after[0], after[1])
	client.Close()
	for range first.open.Load() + second.open.Load() {
		select {
		case <-first.gone:
		case <-second.gone:
		case <-time.After(5 * time.Second):
		}
	}
	fmt.Printf("Client.Close:                first server %d, second server %d open\n", first.open.Load(), second.open.Load())
	if before != after || before[1] == 0 {
		fmt.Println("CHANGED: idle connections to a removed server do not stay")
		os.Exit(1)
	}
}
GO
go build -o finding .
timeout 60 ./finding
