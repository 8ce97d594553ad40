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

func ExampleNewFactory() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()

	factory, err := wsconn.NewFactory(server.URL, &wsconn.Options{
		DialOptions: &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer token"}},
		},
		OnConnect: func(ctx context.Context, conn *wsconn.Conn) error {
			return conn.Write(ctx, websocket.MessageText, []byte("hello"))
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	// The pool does what follows: it opens, lends, and closes.
	ctx := context.Background()
	conn, err := factory.Open(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer factory.Close(conn, nil)

	_, reply, err := conn.Read(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply)
	// Output: hello
}

// echo sends back every message that it receives.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// A fresh token for each dial, and another server when one does not answer.
func ExampleOptions_endpoint() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	servers := []string{"ws://127.0.0.1:1", server.URL} // nobody is at the first
	dials := 0

	factory, err := wsconn.NewFactory("", &wsconn.Options{
		Endpoint: func(context.Context) (string, *websocket.DialOptions, error) {
			url := servers[dials%len(servers)]
			dials++
			token := fmt.Sprint("Bearer ", dials)
			return url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {token}}}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	p, err := pool.New(factory, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	ctx := context.Background()
	for range servers {
		err = p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
			_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
			fmt.Printf("%s\n", reply)
			return err
		})
		fmt.Println("failed:", err != nil)
	}
	// Output:
	// failed: true
	// hello
	// failed: false
}
