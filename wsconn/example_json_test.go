package wsconn_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket/wsjson"
)

// An example of the README: functions that take a *websocket.Conn get conn.Conn.
func Example_json() {
	server := httptest.NewServer(http.HandlerFunc(echo))
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

	var reply struct{ Name string }
	if err := ask(context.Background(), p, map[string]string{"Name": "pool"}, &reply); err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Name)
	// Output: pool
}

func ask(ctx context.Context, p *pool.Pool[*wsconn.Conn], request, reply any) error {
	return p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
		conn.Begin() // from here on the server owes a reply
		if err := wsjson.Write(ctx, conn.Conn, request); err != nil {
			return err
		}
		if err := wsjson.Read(ctx, conn.Conn, reply); err != nil {
			return err
		}
		conn.End() // the whole reply has been read
		return nil
	})
}
