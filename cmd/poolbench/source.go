package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// A source provides each request with a connection.
type source interface {
	get(ctx context.Context) (held, error)
	// put ends what get began. err is the error of the request, or nil.
	put(h held, err error)
	// stats returns the figures of the pool, or nil if there is none.
	stats() *pool.Stats
	// spread returns how the requests were spread over the servers, or nil if there is
	// one.
	spread() []serverCount
	// close closes what is open.
	close()
}

// held is the connection of one request, with its lease if it is a pool's.
type held struct {
	*websocket.Conn
	lease  pool.Lease[*wsconn.Conn]
	server *tally // nil if there is one server
}

// readLimit is the longest reply that is accepted for messages of size bytes: a
// little longer than right, to report a wrong one as such.
func readLimit(size int) int64 { return int64(size) + 1024 }

// A dialing source dials a connection for each request.
type dialing struct {
	url     string
	urls    []string // more than one, in turn
	turn    atomic.Uint64
	servers tallies
	dial    *websocket.DialOptions
	limit   int64
}

func newDialing(o options, n *network) *dialing {
	return &dialing{url: o.url, urls: o.urls, servers: newTallies(o.urls), dial: n.dialOptions(o), limit: readLimit(o.size)}
}

func (d *dialing) get(ctx context.Context) (held, error) {
	url := d.url
	if len(d.urls) > 1 {
		url = d.urls[d.turn.Add(1)%uint64(len(d.urls))]
	}
	conn, _, err := websocket.Dial(ctx, url, d.dial)
	if err != nil {
		return held{}, err
	}
	conn.SetReadLimit(d.limit)
	server := d.servers.of(serverOf(url))
	server.opens()
	return held{Conn: conn, server: server}, nil
}

// put closes the connection as a well-behaved client does, with the closing
// handshake of WebSocket. What comes of it does not concern the request, which
// has its reply.
func (d *dialing) put(h held, err error) {
	if err != nil {
		h.CloseNow()
		return
	}
	h.server.replies()
	h.Close(websocket.StatusNormalClosure, "")
}

func (d *dialing) stats() *pool.Stats    { return nil }
func (d *dialing) spread() []serverCount { return d.servers.counts() }
func (d *dialing) close()                {}

// A pooled source takes the connections from a pool.
type pooled struct {
	pool         *pool.Pool[*wsconn.Conn]
	servers      tallies
	distribution *wsconn.Distribution // of several servers
}

// shutdownTimeout is how long the connections of a pool may take to close.
const shutdownTimeout = time.Second

func newPooled(o options, n *network, longest time.Duration) (*pooled, error) {
	options := &wsconn.Options{DialOptions: n.dialOptions(o), ReadLimit: readLimit(o.size)}
	if len(o.urls) > 1 {
		options.Endpoints, options.Distribution = o.urls, new(wsconn.Distribution)
	}
	factory, err := wsconn.NewFactory(o.url, options)
	if err != nil {
		return nil, err
	}
	p, err := pool.New(factory, pool.Config{
		MaxConnections: o.max,
		// Nobody waits longer than the phase lasts.
		MaxWaitTime: longest,
	})
	if err != nil {
		return nil, err
	}
	return &pooled{p, newTallies(o.urls), options.Distribution}, nil
}

func (p *pooled) get(ctx context.Context) (held, error) {
	lease, err := p.pool.Get(ctx)
	if err != nil {
		return held{}, err
	}
	conn := lease.Value()
	h := held{Conn: conn.Conn, lease: lease}
	if p.servers != nil {
		h.server = p.servers.of(conn.Endpoint())
	}
	return h, nil
}

func (p *pooled) put(h held, err error) {
	if err != nil {
		p.pool.Discard(h.lease, err)
		return
	}
	h.server.replies()
	p.pool.Put(h.lease)
}

// spread adds what only the factory knows: which connections were opened, and are open.
func (p *pooled) spread() []serverCount {
	counts := p.servers.counts()
	if p.distribution == nil {
		return counts
	}
	for _, e := range p.distribution.Endpoints() {
		for i := range counts {
			if counts[i].server == e.URL {
				counts[i].opened += e.Opened
				counts[i].open += e.Open
			}
		}
	}
	return counts
}

func (p *pooled) stats() *pool.Stats {
	s := p.pool.Stats()
	return &s
}

func (p *pooled) close() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	p.pool.Shutdown(ctx)
	p.pool.Close()
}
