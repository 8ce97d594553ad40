package wsconn_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

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

// A heartbeat that is a message, here that of engine.io, is answered while a connection is
// idle, and in an exchange.
func ExampleOptions_onUnsolicited() {
	answered := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.Write(r.Context(), websocket.MessageText, []byte("2"))
		_, message, _ := conn.Read(r.Context())
		answered <- string(message)
	}))
	defer server.Close()

	factory, err := wsconn.NewFactory(server.URL, &wsconn.Options{
		OnUnsolicited: func(_ *wsconn.Conn, message wsconn.Message) (*wsconn.Message, error) {
			if string(message.Data) == "2" { // a ping
				return &wsconn.Message{Data: []byte("3")}, nil
			}
			return nil, nil // an event that nobody needs
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
	if err := p.Warm(context.Background(), 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-answered)
	// Output: 3
}

// A reply of several messages: the lease keeps the connection until the last one.
func ExampleConn_Begin() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		_, request, _ := conn.Read(r.Context())
		for _, word := range append(strings.Fields(string(request)), "done") {
			conn.Write(r.Context(), websocket.MessageText, []byte(word))
		}
		conn.Read(r.Context())
	}))
	defer server.Close()
	factory, err := wsconn.NewFactory(server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	p, err := pool.New(factory, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	err = p.Do(context.Background(), func(ctx context.Context, conn *wsconn.Conn) error {
		conn.Begin() // from here on the server owes a reply
		if err := conn.Write(ctx, websocket.MessageText, []byte("once upon a time")); err != nil {
			return err
		}
		for {
			_, message, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			if string(message) == "done" {
				conn.End() // the whole reply has been read
				return nil
			}
			fmt.Println(string(message))
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// once
	// upon
	// a
	// time
}
