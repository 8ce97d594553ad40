package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// TestDialsOfEverySizeStayOnOneConnection: whatever has passed, the next Dial gets it.
func TestDialsOfEverySizeStayOnOneConnection(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, 999, 1000, 1001, 1022, 1025, 4090, 4095, 4096, 4097, 65535, 65536, 300_000}
	for name, server := range map[string]func(t *testing.T) string{
		"gorilla": func(t *testing.T) string { return serve(t, gorillaEcho) },
		"gobwas":  func(t *testing.T) string { return serve(t, gobwasEcho) },
		"npm ws":  func(t *testing.T) string { return node(t, time.Hour).url },
		"python":  func(t *testing.T) string { return python(t, time.Hour, patience).url },
	} {
		t.Run(name, func(t *testing.T) {
			url := server(t)
			for _, compression := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionNoContextTakeover} {
				causes := make(chan error, 1000)
				d := wsconn.Dialer{
					Options: &wsconn.Options{
						ReadLimit:          -1,
						OneReplyPerRequest: true,
						OnClose:            func(_ *wsconn.Conn, cause error) { causes <- cause },
					},
					Config: pool.Config{CheckInterval: -1, MaxIdleTime: -1}, // a Dial beside a check opens another
				}
				defer d.Close()
				for range 3 {
					for _, size := range sizes {
						conn, _, err := d.Dial(soon(t), url, &websocket.DialOptions{CompressionMode: compression})
						if err != nil {
							t.Fatal(err)
						}
						want := strings.Repeat("0123456789", size/10+1)[:size]
						for range 2 {
							if err := conn.Write(soon(t), websocket.MessageText, []byte(want)); err != nil {
								t.Fatal(err)
							}
							if _, got, err := conn.Read(soon(t)); err != nil || string(got) != want {
								t.Fatalf("size %d, compression %v: %d bytes came back, or others, %v", size, compression, len(got), err)
							}
						}
						if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
							t.Fatal(err)
						}
					}
				}
				for opened := d.Stats().Opened; opened > 1; opened-- {
					t.Errorf("compression %v: a connection was closed: %v", compression, <-causes)
				}
			}
		})
	}
}
