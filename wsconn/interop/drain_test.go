package interop

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// uvicorn runs uvicorn with one of its two implementations of WebSocket.
func uvicorn(t *testing.T, implementation string) (url string, d *daemon) {
	t.Helper()
	path := program(t, "uvicorn")
	if err := exec.Command("/usr/bin/python3", "-c", "import "+implementation).Run(); err != nil {
		t.Skipf("python3-%s is missing: run ./setup", implementation)
	}
	d = run(t, path, "--app-dir", "testdata", "--port", "0", "--lifespan", "off", "--ws", implementation, "asgi:app")
	const running = "Uvicorn running on http://"
	line, err := d.says(1, running)
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(line, running)
	address, _, _ = strings.Cut(address, " ")
	return "ws://" + address, d
}

// TestUvicornEndsWhatIsUnderWayAtSIGTERM, with a close code or without one, and a pool over two
// servers goes on with the other one.
func TestUvicornEndsWhatIsUnderWayAtSIGTERM(t *testing.T) {
	for implementation, ends := range map[string]func(err error) bool{
		"wsproto":    func(err error) bool { return websocket.CloseStatus(err) == websocket.StatusServiceRestart },
		"websockets": func(err error) bool { return websocket.CloseStatus(err) == -1 && errors.Is(err, io.EOF) },
	} {
		t.Run(implementation, func(t *testing.T) {
			a, first := uvicorn(t, implementation)
			b, second := uvicorn(t, implementation)
			p := newPool(t, a, &wsconn.Options{Endpoints: []string{a, b}, OneReplyPerRequest: true, HandshakeTimeout: patience},
				pool.Config{MaxConnections: 2, OpenTimeout: patience})
			var d *daemon // the one that ends
			other := ""
			err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
				d, other = first, b
				if conn.Endpoint() == b {
					d, other = second, a
				}
				if _, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("work")); err != nil || string(reply) != "begun" {
					t.Fatalf("reply %q, %v", reply, err)
				}
				d.cmd.Process.Signal(syscall.SIGTERM)
				_, _, err := conn.Read(ctx)
				return err
			})
			if !ends(err) {
				t.Errorf("what is under way ends with %v", err)
			}
			select {
			case <-d.ended: // before that, websockets accepts connections, and cuts them
			case <-time.After(patience):
				t.Fatal("it does not end")
			}
			err = p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
				_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
				if conn.Endpoint() != other || string(reply) != "hello" {
					t.Errorf("reply %q of %s", reply, conn.Endpoint())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
