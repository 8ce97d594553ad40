#!/usr/bin/env bash
# Go 1.26.8 on Linux, package net
#
# Expected: io.Copy between two TCP connections leaves nothing behind once both, and the
# listener, are closed. A test that compares /proc/self/fd before and after passes.
# It does: the copy is a splice through a pipe, and the pipe is kept for the next one in a
# sync.Pool. Both of its ends stay open until the collector has run twice, which in a
# process at rest is minutes later. A check for leaked descriptors blames whoever called
# io.Copy, such as an echo server in a test.
#
# Seen on 2026-11-29 (when the ends go varies a little):
#   bytes copied: 6
#   ends of pipes open when all is closed: 2
#   after a collection: 2
#   after a collection: 0
#   after a collection: 0
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
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
)

// open returns the pipes that the process has open.
func open() (pipes []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "pipe:") {
			pipes = append(pipes, to)
		}
	}
	return pipes
}

func main() {
	before := len(open())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan int64)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		n, _ := io.Copy(c, c)
		c.Close()
		served <- n
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(c, "hello")
	io.ReadFull(c, make([]byte, 6))
	c.Close()
	fmt.Println("bytes copied:", <-served)
	listener.Close()
	left := len(open()) - before
	fmt.Println("ends of pipes open when all is closed:", left)
	if left == 0 {
		fmt.Println("CHANGED: nothing is open")
		os.Exit(1)
	}
	for range 3 {
		runtime.GC()
		fmt.Println("after a collection:", len(open())-before)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
