package wsconn_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// A Read that is cancelled closes the connection under it. Put back without a
// word, it must not be lent again.
func TestConnectionThatFailedInALeaseIsNotLentAgain(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	factory, err := wsconn.NewFactory(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pool.New(factory, pool.Config{MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	lease, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := lease.Value()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := first.Read(ctx); err == nil {
		t.Fatal("Read of what nobody sent succeeded")
	}
	if err := p.Put(lease); err != nil {
		t.Fatal(err)
	}

	lease, err = p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(lease)
	if lease.Value() == first {
		t.Fatal("the connection that failed was lent again")
	}
	if err := lease.Value().Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats().ClosedClean; got != 1 {
		t.Errorf("ClosedClean = %d, want 1", got)
	}
}
