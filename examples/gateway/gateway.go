package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// A Gateway serves turns of sessions. A request is {"session": "…", "input": ["…", …]} with the whole conversation so
// far. The response is the API's events, as server-sent events. Who may use a session is for others to check.
type Gateway struct {
	accounts       []Account                      // of the API
	longest, think time.Duration                  // how long a turn may last, and a connection waits for the next one
	pools          *pool.Group[int, *wsconn.Conn] // one for each account
	last           sync.Map                       // by session: its last turn, if that was completed
}

type Account struct {
	Name, URL string
	Limit     int           // connections at a time
	Key       func() string // called for each dial
	Client    *http.Client  // nil for the default
}

// A turn is what the next turn of its session has to know.
type turn struct {
	account  int
	mark     pool.Mark
	response string
	input    []string
}

func NewGateway(accounts []Account, longest, think time.Duration) (g *Gateway, err error) {
	g = &Gateway{accounts: accounts, longest: longest, think: think}
	g.pools, err = pool.NewGroup(g.open, pool.GroupConfig{})
	return g, err
}

func (g *Gateway) open(account int) (pool.Factory[*wsconn.Conn], pool.Config, error) {
	a := g.accounts[account]
	factory, err := wsconn.NewFactory(a.URL, &wsconn.Options{ReadLimit: 1 << 20,
		Endpoint: func(context.Context) (string, *websocket.DialOptions, error) {
			header := http.Header{"Authorization": {"Bearer " + a.Key()}}
			return a.URL, &websocket.DialOptions{HTTPClient: a.Client, HTTPHeader: header}, nil
		}})
	factory.Expires = func(conn *wsconn.Conn) time.Time { // in time for the longest turn, and not all at once
		ends, _ := time.Parse(time.RFC3339Nano, conn.Response().Header.Get("Connection-Expires"))
		return ends.Add(-g.longest - rand.N(g.longest))
	}
	// StrictMax: the API counts a connection until it is closed.
	return factory, pool.Config{Name: a.Name, MaxConnections: a.Limit, StrictMax: true, MaxWaiters: 4 * a.Limit,
		LeakAfter: 2 * g.longest, Logger: slog.Default()}, err
}

// Rotate is called when an account has another key. When it has returned, no turn begins on a connection opened with
// the old one. Turns in progress go on. (Group.Remove would make a second pool: connections on top of theirs.)
func (g *Gateway) Rotate(account int) {
	if p, ok := g.pools.Pool(account); ok {
		p.Reset()
	}
}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Session string
		Input   []string
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)) // all of it, or r.Context does not end with the client
	if err != nil || json.Unmarshal(body, &request) != nil {
		http.Error(w, `want {"session": "…", "input": ["…"]}`, http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.longest)
	defer cancel()
	begun, to := false, http.NewResponseController(w)
	to.SetWriteDeadline(time.Now().Add(g.longest)) // who does not read must not keep a connection for longer
	defer to.SetWriteDeadline(time.Time{})
	send := func(event []byte) error {
		begun = true
		w.Header().Set("Content-Type", "text/event-stream")
		_, err := fmt.Fprintf(w, "data: %s\n\n", event)
		return errors.Join(err, to.Flush())
	}
	if err = g.turn(ctx, request.Session, request.Input, send); err != nil && !begun {
		err = g.turn(ctx, request.Session, request.Input, send) // the API may have closed the connection just then
	}
	to.SetWriteDeadline(time.Now().Add(time.Second))
	if err != nil && begun {
		send([]byte(`{"type":"error","code":"interrupted"}`))
	} else if err != nil {
		http.Error(w, "the API is down or busy", http.StatusServiceUnavailable)
	}
}

// turn goes on with the connection of the session's last turn if nobody has had that since, and otherwise starts over.
func (g *Gateway) turn(ctx context.Context, session string, input []string, send func([]byte) error) (err error) {
	last := &turn{account: rand.N(len(g.accounts))}
	if v, ok := g.last.LoadAndDelete(session); ok { // another turn at the same time starts over
		last = v.(*turn)
	}
	// Not GetSame, which waits for whoever has the connection: then their response is on it, and not this session's.
	lease, ok := g.pools.TryGetSame(last.account, last.mark)
	if !ok {
		if lease, err = g.pools.Get(ctx, last.account); err != nil {
			return err
		}
	}
	defer func() { g.pools.Discard(lease, err) }() // unless it has been put back: more of the response may be on its way
	request := Request{Type: "response.create", Input: input}
	if n := len(last.input); lease.Follows(last.mark) && n <= len(input) && slices.Equal(last.input, input[:n]) {
		request.Previous, request.Input = last.response, input[n:]
	}
	data, _ := json.Marshal(request)
	conn := lease.Value()
	conn.Begin()
	for err = conn.Write(ctx, websocket.MessageText, data); err == nil; err = send(data) {
		var event Event
		if _, data, err = conn.Read(ctx); err == nil {
			err = json.Unmarshal(data, &event)
		}
		switch {
		case err != nil:
			return err
		case event.Type == "error": // about the request: the connection is in order
			conn.End()
			g.pools.Put(lease)
			return send(data)
		case event.Type == "response.completed":
			conn.End()
			g.pools.PutFor(lease, g.think)
			this := &turn{last.account, lease.Mark(), event.ID, input}
			g.last.Store(session, this)
			time.AfterFunc(g.think, func() { g.last.CompareAndDelete(session, this) })
			return send(data)
		}
	}
	return err
}
