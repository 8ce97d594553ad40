package wsconn_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// The example of the README.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	if err := greet(context.Background(), server.URL); err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

func greet(ctx context.Context, url string) error {
	factory, err := wsconn.NewFactory(url, nil)
	if err != nil {
		return err
	}
	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
	if err != nil {
		return err
	}
	defer p.Close()

	lease, err := p.Get(ctx) // an idle connection, or a new one, or the next that comes free
	if err != nil {
		return err
	}
	defer p.Put(lease)
	conn := lease.Value() // a *websocket.Conn, and a little more
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return err
	}
	_, reply, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", reply)
	return nil
}
