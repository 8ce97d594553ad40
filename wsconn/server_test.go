package wsconn

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// patience bounds every wait for something that must happen: long enough for a
// busy machine, and passed only by a test that fails.
const patience = 30 * time.Second

// An accepted is one WebSocket at the server's end.
type accepted struct {
	*websocket.Conn
	request *http.Request
}

// serve runs serve for each WebSocket that a server on the loopback accepts,
// and returns the server's URL. The connection is closed when serve returns, and
// all are when the test ends.
func serve(t testing.TB, serve func(ctx context.Context, conn accepted)) string {
	t.Helper()
	server := httptest.NewServer(acceptor(serve))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// serveTLS is serve for wss. It returns a client that trusts the server.
func serveTLS(t testing.TB, serve func(ctx context.Context, conn accepted)) (string, *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(acceptor(serve))
	t.Cleanup(server.Close)
	return "wss" + strings.TrimPrefix(server.URL, "https"), server.Client()
}

func acceptor(serve func(ctx context.Context, conn accepted)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		serve(context.Background(), accepted{conn, r})
	})
}

// echo sends back every message until the connection ends.
func echo(ctx context.Context, conn accepted) {
	conn.SetReadLimit(-1)
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil || conn.Write(ctx, kind, message) != nil {
			return
		}
	}
}

// soon returns a context that ends only when the test has failed.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newFactory(t testing.TB, url string, opts *Options) pool.Factory[*Conn] {
	t.Helper()
	factory, err := NewFactory(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(factory) }) // a Distribution tells of no others
	return factory
}

// open opens a connection that is cut when the test ends.
func open(t testing.TB, factory pool.Factory[*Conn]) *Conn {
	t.Helper()
	conn, err := factory.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { factory.Close(conn, errors.New("test is over")) })
	return conn
}

// ask sends message and returns the reply.
func ask(t testing.TB, conn *Conn, message string) string {
	t.Helper()
	ctx := soon(t)
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	_, reply, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(reply)
}

// receive returns the next value of c.
func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		panic("not reached")
	}
}
