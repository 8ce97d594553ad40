package interop

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
)

// gorillaEcho echoes, and pings between.
func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	upgrader := gorilla.Upgrader{EnableCompression: true, WriteBufferSize: 1000} // fragments
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteControl(gorilla.PingMessage, []byte("p"), time.Now().Add(patience)); err != nil {
			return
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func gobwasEcho(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		message, op, err := wsutil.ReadClientData(conn)
		if err != nil {
			return
		}
		ws.WriteFrame(conn, ws.NewPingFrame([]byte("p")))
		if err := wsutil.WriteServerMessage(conn, op, message); err != nil {
			return
		}
	}
}

// TestEchoOfEverySizeStaysOnOneConnection: none of these leaves it dirty.
func TestEchoOfEverySizeStaysOnOneConnection(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, 999, 1000, 1001, 1022, 1023, 1024, 1025, 1026, 4090, 4095, 4096, 4097, 65535, 65536, 300_000}
	direct := func(url string) (string, wsconn.Options) { return url, wsconn.Options{} }
	servers := map[string]func(t *testing.T) (string, wsconn.Options){
		"gorilla": func(t *testing.T) (string, wsconn.Options) { return direct(serve(t, gorillaEcho)) },
		"gobwas":  func(t *testing.T) (string, wsconn.Options) { return direct(serve(t, gobwasEcho)) },
		"npm ws":  func(t *testing.T) (string, wsconn.Options) { return direct(node(t, time.Hour).url) },
		"python": func(t *testing.T) (string, wsconn.Options) {
			return direct(python(t, 100*time.Millisecond, patience).url)
		},
		"nginx": func(t *testing.T) (string, wsconn.Options) {
			return "ws://nginx", *throughSocket(nginx(t, serve(t, gorillaEcho), patience), wsconn.Options{})
		},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			url, opts := server(t)
			opts.ReadLimit, opts.OneReplyPerRequest = -1, true
			for _, compression := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
				dial := websocket.DialOptions{}
				if opts.DialOptions != nil {
					dial = *opts.DialOptions
				}
				dial.CompressionMode = compression
				opts.DialOptions = &dial
				causes := make(chan error, 100)
				opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
				p := newPool(t, url, &opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
				for round := range 3 {
					for _, size := range sizes {
						want := strings.Repeat("0123456789", size/10+1)[:size]
						if got, _ := ask(t, p, want); got != want {
							t.Fatalf("round %d, size %d, compression %v: %d bytes came back, or others", round, size, compression, len(got))
						}
					}
				}
				// A ping that comes behind a reply is no dirt.
				for opened := p.Stats().Opened; opened > 1; opened-- {
					t.Errorf("compression %v: a connection was closed: %v", compression, <-causes)
				}
			}
		})
	}
}
