package wsconn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// The second example of the README: a server that greets, and notifies between request and
// reply.
func Example_json() {
	server := httptest.NewServer(http.HandlerFunc(rpc))
	defer server.Close()
	factory, err := newRPCFactory(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	p, err := pool.New(factory, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	request := map[string]any{"id": 1, "method": "add", "params": []int{1, 2}}
	var reply struct{ Result int }
	err = p.Do(context.Background(), func(ctx context.Context, conn *wsconn.Conn) error {
		return wsconn.ExchangeJSON(ctx, conn, request, &reply)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Result)
	// Output: 3
}

func newRPCFactory(url string) (pool.Factory[*wsconn.Conn], error) {
	factory, err := wsconn.NewFactory(url, &wsconn.Options{
		IsReply: func(request, message wsconn.Message) bool { // of JSON-RPC: it has the same id
			var call, answer struct{ ID, Method json.RawMessage }
			return json.Unmarshal(request.Data, &call) == nil && json.Unmarshal(message.Data, &answer) == nil &&
				answer.Method == nil && string(answer.ID) == string(call.ID)
		},
	})
	return factory, err
}

// rpc is a server that adds.
func rpc(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	send := func(message string) { conn.Write(r.Context(), websocket.MessageText, []byte(message)) }
	send(`{"method": "welcome"}`)
	for {
		_, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		var call struct {
			ID     int
			Params [2]int
		}
		json.Unmarshal(message, &call)
		send(`{"method": "progress", "params": 50}`)
		send(fmt.Sprintf(`{"id": %d, "result": %d}`, call.ID, call.Params[0]+call.Params[1]))
	}
}
