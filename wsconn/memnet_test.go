package wsconn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// A memNet is a network in memory, for synctest bubbles: in one, a minute takes no time, and
// what is measured is what the code has waited for.
type memNet struct {
	t      *testing.T
	mu     sync.Mutex
	hosts  map[string]*memHost // by address
	client *http.Client
	done   chan struct{} // closed when the hosts end
	live   atomic.Int32  // connections that clients have open
}

// A memConn is a client's end of a connection.
type memConn struct {
	net.Conn
	net  *memNet
	once sync.Once
}

func (c *memConn) Close() error {
	c.once.Do(func() { c.net.live.Add(-1) })
	return c.Conn.Close()
}

// A memHost is a server of a memNet.
type memHost struct {
	net   *memNet
	name  string
	conns chan net.Conn

	mu     sync.Mutex
	how    behavior
	dials  int
	open   map[*websocket.Conn]bool
	last   websocket.StatusCode // that a client has closed with
	server *http.Server
}

// A behavior is how a host treats dials.
type behavior struct {
	refuses  bool   // the connection
	swallows bool   // what is sent to open one
	status   int    // of the response, in place of the handshake
	after    string // Retry-After
	closes   websocket.StatusCode
	deaf     bool // after the handshake: it reads nothing
}

var errRefused = errors.New("connection refused")

// newMemNet makes hosts by the names given, whose URLs are "ws://NAME".
func newMemNet(t *testing.T, names ...string) *memNet {
	n := &memNet{t: t, hosts: map[string]*memHost{}, done: make(chan struct{})}
	transport := &http.Transport{DialContext: n.dial, DisableKeepAlives: true}
	n.client = &http.Client{Transport: transport}
	t.Cleanup(func() { // it goes on with dials whose request was canceled
		synctest.Wait()
		transport.CloseIdleConnections()
	})
	for _, name := range names {
		n.add(name)
	}
	t.Cleanup(func() { close(n.done) })
	return n
}

func (n *memNet) add(name string) *memHost {
	h := &memHost{net: n, name: name, conns: make(chan net.Conn), open: map[*websocket.Conn]bool{}}
	h.server = &http.Server{Handler: http.HandlerFunc(h.serve)}
	n.mu.Lock()
	n.hosts[name+":80"] = h
	n.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.server.Serve(&memListener{h, make(chan struct{}), sync.Once{}})
	}()
	n.t.Cleanup(func() {
		h.server.Close()
		h.end(websocket.StatusNormalClosure)
		<-done
	})
	return h
}

func (n *memNet) host(name string) *memHost {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[name+":80"]
}

func (n *memNet) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[address]
	n.mu.Unlock()
	if h == nil {
		return nil, errRefused
	}
	h.mu.Lock()
	h.dials++
	how := h.how
	h.mu.Unlock()
	switch {
	case how.refuses:
		return nil, errRefused
	case how.swallows:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	select {
	case h.conns <- theirs:
		n.live.Add(1)
		return &memConn{Conn: ours, net: n}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// be changes how the host treats dials. cut closes its connections without a close frame.
func (h *memHost) be(how behavior, cut bool) {
	h.mu.Lock()
	h.how = how
	h.mu.Unlock()
	if cut {
		synctest.Wait() // it may not know yet of a connection that the client has
		h.end(0)
	}
}

// end ends the connections: with a close frame, unless code is 0.
func (h *memHost) end(code websocket.StatusCode) {
	h.mu.Lock()
	open := h.open
	h.open = map[*websocket.Conn]bool{}
	h.mu.Unlock()
	var ending sync.WaitGroup
	for c := range open {
		ending.Go(func() {
			if code != 0 {
				c.Close(code, "")
			} else {
				c.CloseNow()
			}
		})
	}
	ending.Wait()
}

// count returns how often the host was dialed, and how many connections it has.
func (h *memHost) count() (dials, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials, len(h.open)
}

func (h *memHost) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	how := h.how
	h.mu.Unlock()
	if how.status != 0 {
		if how.after != "" {
			w.Header().Set("Retry-After", how.after)
		}
		w.WriteHeader(how.status)
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	if how.closes != 0 {
		c.Close(how.closes, "")
		return
	}
	if how.deaf {
		<-h.net.done
		return
	}
	h.mu.Lock()
	h.open[c] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.open, c)
		h.mu.Unlock()
	}()
	for {
		kind, message, err := c.Read(context.Background())
		if err != nil {
			h.mu.Lock()
			h.last = websocket.CloseStatus(err)
			h.mu.Unlock()
			return
		}
		if c.Write(context.Background(), kind, message) != nil {
			return
		}
	}
}

// ended returns the code by which the last connection was closed.
func (h *memHost) ended() websocket.StatusCode {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

type memListener struct {
	host *memHost
	done chan struct{}
	once sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.host.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}
func (l *memListener) Addr() net.Addr { return &net.TCPAddr{} }

// options returns options for the hosts of the given names, with a Distribution.
func (n *memNet) options(names ...string) *Options {
	o := &Options{DialOptions: &websocket.DialOptions{HTTPClient: n.client}, Distribution: new(Distribution)}
	for _, name := range names {
		o.Endpoints = append(o.Endpoints, "ws://"+name)
	}
	return o
}

// request borrows a connection for so long, and makes a request with it. It returns which
// server it was.
func request(ctx context.Context, p *pool.Pool[*Conn], work time.Duration) (endpoint string, err error) {
	err = p.Do(ctx, func(ctx context.Context, conn *Conn) error {
		endpoint = conn.Endpoint()
		time.Sleep(work)
		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
		if err == nil && string(reply) != "hello" {
			err = errors.New("another reply: " + string(reply))
		}
		return err
	})
	return endpoint, err
}

// spread returns how many connections each endpoint has, by the name of its host.
func spread(o *Options) map[string]int {
	counts := map[string]int{}
	for _, e := range o.Distribution.Endpoints() {
		counts[e.URL[len("ws://"):]] = e.Open
	}
	return counts
}

// fixedEndpoint returns an Options.Endpoint that returns url.
func fixedEndpoint(url string) func(context.Context) (string, *websocket.DialOptions, error) {
	return func(context.Context) (string, *websocket.DialOptions, error) { return url, nil, nil }
}
