package wsconn_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

func ExampleDialer() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()

	dialer := wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}} // one for the whole program
	defer dialer.Close()

	for _, text := range []string{"hello", "hello again"} {
		if err := tell(context.Background(), &dialer, server.URL, text); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// hello
	// hello again
}

func tell(ctx context.Context, dialer *wsconn.Dialer, url, text string) error {
	conn, _, err := dialer.Dial(ctx, url, nil) // in place of websocket.Dial
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	if err := wsjson.Write(ctx, conn, text); err != nil {
		return err
	}
	var reply string
	if err := wsjson.Read(ctx, conn, &reply); err != nil {
		return err
	}
	fmt.Println(reply)
	return conn.Close(websocket.StatusNormalClosure, "") // the next Dial gets the connection
}

// A server that streams events has finished when it has said so for each request.
func ExampleOptions_finished() {
	done := func(m wsconn.Message) bool { return string(m.Data) == `{"type":"response.completed"}` }
	options := wsconn.Options{
		Finished: func(sent, received []wsconn.Message) bool {
			open := len(sent)
			for _, m := range received {
				if done(m) {
					open--
				}
			}
			return open == 0 && (len(received) == 0 || done(received[len(received)-1]))
		},
	}
	request := wsconn.Message{Type: websocket.MessageText, Data: []byte(`{"type":"response.create"}`)}
	delta := wsconn.Message{Type: websocket.MessageText, Data: []byte(`{"type":"response.delta"}`)}
	completed := wsconn.Message{Type: websocket.MessageText, Data: []byte(`{"type":"response.completed"}`)}
	fmt.Println(options.Finished([]wsconn.Message{request}, []wsconn.Message{delta}))
	fmt.Println(options.Finished([]wsconn.Message{request}, slices.Repeat([]wsconn.Message{delta}, 2)))
	fmt.Println(options.Finished([]wsconn.Message{request}, []wsconn.Message{delta, completed}))
	// Output:
	// false
	// false
	// true
}
