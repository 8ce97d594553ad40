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

// The first example of the README and of the package documentation.
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

	// conn is an idle connection, a new one, or the next one that is returned.
	return p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
		// For a server that sends nothing but replies. Others need Options.IsReply.
		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
		if err != nil {
			return err // the pool closes conn: the reply may still arrive
		}
		fmt.Printf("%s\n", reply)
		return nil
	})
}
