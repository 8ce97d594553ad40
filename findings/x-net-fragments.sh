#!/usr/bin/env bash
# golang.org/x/net/websocket (golang.org/x/net v0.62.0); server: github.com/coder/websocket v1.8.15
#
# Expected: Message.Receive returns a message. One that its sender wrote in two frames,
# as any sender may (RFC 6455, section 5.4) and as streaming ones do, arrives as one.
# It does: each frame comes as a message of its own, with a nil error, and so does the
# empty frame that ends the sequence. A JSON document comes in pieces, and what counts
# replies counts too many.
#
# Seen on 2026-11-28 (sent: 12000 bytes in parts, then "next"):
#   received 6000 bytes, error <nil>
#   received 6000 bytes, error <nil>
#   received 0 bytes, error <nil>
#   received 4 bytes, error <nil>
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get golang.org/x/net/websocket@v0.62.0 github.com/coder/websocket@v1.8.15 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	xnet "golang.org/x/net/websocket"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		message, err := c.Writer(r.Context(), websocket.MessageText)
		if err != nil {
			return
		}
		message.Write(bytes.Repeat([]byte("a"), 6000))
		message.Write(bytes.Repeat([]byte("b"), 6000))
		message.Close()
		c.Write(context.Background(), websocket.MessageText, []byte("next"))
		c.Read(r.Context())
	}))
	defer server.Close()
	c, err := xnet.Dial("ws"+strings.TrimPrefix(server.URL, "http"), "", server.URL)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	var lengths []int
	for len(lengths) < 2 || lengths[len(lengths)-1] != len("next") {
		var message string
		if err := xnet.Message.Receive(c, &message); err != nil {
			panic(err)
		}
		fmt.Printf("received %d bytes, error <nil>\n", len(message))
		lengths = append(lengths, len(message))
	}
	if !slices.Equal(lengths, []int{6000, 6000, 0, 4}) {
		fmt.Println("CHANGED: frames are put together, or counted otherwise")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
