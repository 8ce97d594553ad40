package wsconn_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

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
