//go:build go1.27

package wsconn_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// A program that uses a pool can be tested without a network, and without waiting: the
// server of Go 1.27's httptest.NewTestServer is in memory, and in a synctest bubble a
// minute takes no time.
func TestExampleOfABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := httptest.NewTestServer(t, http.HandlerFunc(echo))
		factory, err := wsconn.NewFactory("ws://example.com", &wsconn.Options{
			DialOptions: &websocket.DialOptions{HTTPClient: server.Client()},
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := pool.New(factory, pool.Config{MaxIdleTime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()

		for range 2 {
			err := p.Do(t.Context(), func(ctx context.Context, conn *wsconn.Conn) error {
				_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
				if string(reply) != "hello" {
					t.Errorf("reply %q", reply)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the pool pings and is answered meanwhile
			synctest.Wait()         // and at this very moment: a Get would open another beside that
		}
		if got := p.Stats().Opened; got != 1 {
			t.Errorf("%d connections were opened, want 1", got)
		}
	})
}
