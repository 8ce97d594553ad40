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

// One pool over several servers, of which one is down.
func ExampleOptions_endpoints() {
	a, b := httptest.NewServer(http.HandlerFunc(echo)), httptest.NewServer(http.HandlerFunc(echo))
	defer a.Close()
	defer b.Close()
	urls := []string{a.URL, "ws://127.0.0.1:1", b.URL} // nobody is at the second
	ctx := context.Background()

	var servers wsconn.Distribution // where the connections are
	factory, err := wsconn.NewFactory("", &wsconn.Options{Endpoints: urls, Distribution: &servers})
	if err != nil {
		log.Fatal(err)
	}
	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	// A request that may be sent twice goes to another server if its own has gone.
	err = p.Retry(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
		fmt.Printf("%s\n", reply)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	open := 0
	for _, e := range servers.Endpoints() {
		open += e.Open // e.URL, e.AsideUntil and e.LastError tell more
	}
	fmt.Println("connections:", open > 0)
	// Output:
	// hello
	// connections: true
}
