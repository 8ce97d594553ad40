#!/usr/bin/env bash
# npm: ws 8.23.0 (server); clients: github.com/coder/websocket v1.8.15, github.com/gorilla/websocket v1.5.3
#
# Expected: a server that cannot accept the compression that a client offers declines it
# and goes on without (RFC 7692, section 5: it just does not list the extension in its
# response). So setting clientMaxWindowBits, to save memory, costs some clients
# compression.
# It does: it refuses the whole handshake with 400. With clientMaxWindowBits set, a
# client that offers permessage-deflate but cannot have its window set (both Go clients
# cannot) does not connect at all. Those that offer no compression do.
#
# Seen on 2026-11-28 (server: perMessageDeflate: { clientMaxWindowBits: 10 }):
#   coder, no compression:    101
#   coder, compression:       400
#   gorilla, no compression:  101
#   gorilla, compression:     400
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/coder/websocket@v1.8.15 github.com/gorilla/websocket@v1.5.3 2>log || { cat log >&2; exit 1; }
cat >server.js <<'EOF'
const { WebSocketServer } = require('ws')
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: { clientMaxWindowBits: 10 } })
server.on('listening', () => console.log('ws://127.0.0.1:' + server.address().port))
process.stdin.resume().on('end', () => process.exit()) // ends with its client
EOF
cat >main.go <<'EOF'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

func main() {
	server := exec.Command("node", "server.js")
	server.Stderr = os.Stderr
	in, _ := server.StdinPipe()
	out, _ := server.StdoutPipe()
	if err := server.Start(); err != nil {
		panic(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		panic(err)
	}
	url := strings.TrimSpace(line)
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()

	changed := false
	report := func(name string, response *http.Response, err error, want int) {
		if response == nil {
			panic(err)
		}
		fmt.Printf("%-25s %d\n", name, response.StatusCode)
		changed = changed || response.StatusCode != want
	}
	_, response, err := coder.Dial(ctx, url, nil)
	report("coder, no compression:", response, err, 101)
	_, response, err = coder.Dial(ctx, url, &coder.DialOptions{CompressionMode: coder.CompressionNoContextTakeover})
	report("coder, compression:", response, err, 400)
	_, response, err = (&gorilla.Dialer{}).DialContext(ctx, url, nil)
	report("gorilla, no compression:", response, err, 101)
	_, response, err = (&gorilla.Dialer{EnableCompression: true}).DialContext(ctx, url, nil)
	report("gorilla, compression:", response, err, 400)
	in.Close()
	server.Wait()
	if changed {
		fmt.Println("CHANGED: an offer that cannot be accepted is declined, or otherwise")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
