package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// A Request asks the API for a response to Input, and to what came before if Previous is the
// last response on the same connection.
type Request struct {
	Type     string   `json:"type"` // response.create
	Previous string   `json:"previous_response_id,omitempty"`
	Input    []string `json:"input"`
}

// An Event is a part of a response: it is created, deltas follow, and then it is completed. An
// error takes the place of a response.
type Event struct {
	Type       string `json:"type"` // response.created, response.delta, response.completed, error
	ID         string `json:"response_id,omitempty"`
	Connection int    `json:"connection,omitempty"`           // of response.created
	Previous   string `json:"previous_response_id,omitempty"` // of response.created
	Delta      string `json:"delta,omitempty"`
	Code       string `json:"code,omitempty"` // of an error
}

// An API is an inference API over WebSocket with the habits of the real ones. It is what the
// gateway is tested against, and no part of what to copy.
//
//   - It streams events. Its model is simple: it says how many items of input it knows, and
//     repeats the last ones.
//   - It keeps the last response of each connection, and only there.
//   - It cuts each connection after Lifetime, without a close frame, whatever is under way. The
//     header Connection-Expires of the handshake's response says when.
//   - It counts the connections of each account, and refuses those over the limit with 429.
//   - It knows an account by its key, which it looks at in the handshake alone.
type API struct {
	Lifetime time.Duration        // of a connection
	Think    func() time.Duration // what the model takes for an event
	Grace    time.Duration        // for a connection that is ending when its limit is reached

	mu       sync.Mutex
	accounts map[string]*apiAccount
	down     bool
	conns    map[int]*apiConn // those that are open
	last     int              // the last number of a connection, or a response
	cuts     []string         // the last items of the requests whose response Lifetime has cut
	errors   int              // error events
	opened   map[int]string   // the key of each connection that there was
}

// An apiAccount is what the API has of an account.
type apiAccount struct {
	limit   int
	keys    map[string]bool
	open    int           // connections
	ended   chan struct{} // closed, and made anew, when one has ended
	peak    int           // of open
	refused int           // connections that were over the limit
}

// An apiConn is one connection. What has no comment belongs to mu of the API.
type apiConn struct {
	number  int
	ws      *websocket.Conn
	expires time.Time // constant
	asked   string    // the last item of the request that is under way; or nothing
}

// Allow makes keys the only ones of an account, which may have limit connections.
func (a *API) Allow(account string, limit int, keys ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.accounts == nil {
		a.accounts, a.conns, a.opened = map[string]*apiAccount{}, map[int]*apiConn{}, map[int]string{}
	}
	if a.accounts[account] == nil {
		a.accounts[account] = &apiAccount{ended: make(chan struct{})}
	}
	a.accounts[account].limit, a.accounts[account].keys = limit, map[string]bool{}
	for _, key := range keys {
		a.accounts[account].keys[key] = true
	}
}

// Stop is the first half of a restart: it cuts all connections, and accepts no other until Start.
func (a *API) Stop() {
	a.mu.Lock()
	a.down = true
	conns := slices.Collect(maps.Values(a.conns))
	a.mu.Unlock()
	var cut sync.WaitGroup
	for _, c := range conns {
		cut.Go(func() { c.ws.CloseNow() })
	}
	cut.Wait()
}

// Start ends Stop.
func (a *API) Start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = false
}

// ServeHTTP is one connection.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	account, status := a.admit(r.Context(), key)
	if status != 0 {
		w.Header().Set("Retry-After", "1")
		http.Error(w, http.StatusText(status), status)
		return
	}
	defer a.leave(account)
	expires := time.Now().Add(a.Lifetime)
	w.Header().Set("Connection-Expires", expires.Format(time.RFC3339Nano))
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	a.mu.Lock()
	a.last++
	c := &apiConn{number: a.last, ws: ws, expires: expires}
	a.conns[c.number], a.opened[c.number] = c, key
	down := a.down
	a.mu.Unlock()
	if down {
		return
	}
	defer time.AfterFunc(time.Until(expires), func() { a.end(c) }).Stop()
	a.serve(c)
	a.mu.Lock()
	delete(a.conns, c.number)
	a.mu.Unlock()
}

// admit counts a connection in, or returns a status. At the limit it waits for one that ends: that
// its client has closed it may not have been noticed yet.
func (a *API) admit(ctx context.Context, key string) (*apiAccount, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		panic(http.ErrAbortHandler) // the connection ends, without a response
	}
	grace := time.NewTimer(a.Grace)
	defer grace.Stop()
	for _, account := range a.accounts {
		if !account.keys[key] {
			continue
		}
		for account.open >= account.limit {
			ended := account.ended
			a.mu.Unlock()
			over := false
			select {
			case <-ended:
			case <-ctx.Done(): // its client has given up
				over = true
			case <-grace.C:
				over = true
			}
			a.mu.Lock()
			if over {
				if ctx.Err() == nil {
					account.refused++
				}
				return nil, http.StatusTooManyRequests
			}
		}
		account.open++
		account.peak = max(account.peak, account.open)
		return account, 0
	}
	return nil, http.StatusUnauthorized
}

// leave counts a connection out.
func (a *API) leave(account *apiAccount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account.open--
	close(account.ended)
	account.ended = make(chan struct{})
}

// end cuts a connection because of its age.
func (a *API) end(c *apiConn) {
	a.mu.Lock()
	if c.asked != "" {
		a.cuts = append(a.cuts, c.asked)
	}
	a.mu.Unlock()
	c.ws.CloseNow()
}

// serve answers one request after the other until the connection ends.
func (a *API) serve(c *apiConn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	requests := make(chan Request)
	go func() { // notices also while a response is under way that the client has gone
		defer cancel()
		for {
			_, data, err := c.ws.Read(ctx)
			var r Request
			if err != nil || json.Unmarshal(data, &r) != nil {
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	var last string    // the id of the last response
	var known []string // what its request knew
	for {
		select {
		case r := <-requests:
			if r.Previous == "" {
				known = nil
			}
			code := ""
			switch {
			case r.Previous != "" && r.Previous != last:
				code = "previous_response_not_found"
			case len(r.Input) == 0:
				code = "no_input"
			}
			var err error
			if code != "" {
				a.mu.Lock()
				a.errors++
				a.mu.Unlock()
				if c.send(ctx, Event{Type: "error", Code: code}) != nil {
					return
				}
				continue
			}
			known = append(known, r.Input...)
			if last, err = a.respond(ctx, c, r.Previous, known); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// respond streams one response, and returns its id.
func (a *API) respond(ctx context.Context, c *apiConn, previous string, known []string) (string, error) {
	a.mu.Lock()
	a.last++
	id := fmt.Sprint("resp_", a.last)
	c.asked = known[len(known)-1]
	a.mu.Unlock()
	if err := c.send(ctx, Event{Type: "response.created", ID: id, Connection: c.number, Previous: previous}); err != nil {
		return "", err
	}
	for _, delta := range answer(known) {
		select {
		case <-time.After(a.Think()):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if err := c.send(ctx, Event{Type: "response.delta", ID: id, Delta: delta}); err != nil {
			return "", err
		}
	}
	a.mu.Lock()
	c.asked = ""
	a.mu.Unlock()
	return id, c.send(ctx, Event{Type: "response.completed", ID: id})
}

// answer is the model: what it says to input.
func answer(input []string) []string {
	return append([]string{fmt.Sprint(len(input), " items, the last ones: ")}, input[max(0, len(input)-5):]...)
}

func (c *apiConn) send(ctx context.Context, e Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return c.ws.Write(ctx, websocket.MessageText, data)
}

// startAPI starts the API in this process, and returns two accounts of it, and what gives them other keys.
func startAPI() (accounts []Account, newKeys func()) {
	api := &API{
		Lifetime: time.Hour,
		Think:    func() time.Duration { return rand.N(200 * time.Millisecond) },
		Grace:    time.Second,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(listener, api)
	var version atomic.Int64
	key := func(account string) string { return fmt.Sprint(account, "-", version.Load()) }
	newKeys = func() {
		version.Add(1)
		for _, account := range []string{"first", "second"} {
			api.Allow(account, 20, key(account))
		}
	}
	newKeys()
	for _, account := range []string{"first", "second"} {
		accounts = append(accounts, Account{
			Name: account, URL: "ws://" + listener.Addr().String(), Limit: 20,
			Key: func() string { return key(account) },
		})
	}
	return accounts, newKeys
}
