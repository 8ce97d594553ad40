package main

import (
	"context"
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
	// close closes what is open.
	close()
}

// held is the connection of one request, with its lease if it is a pool's.
type held struct {
	*websocket.Conn
	lease pool.Lease[*wsconn.Conn]
}

// readLimit is the longest reply that is accepted for messages of size bytes: a
// little longer than right, to report a wrong one as such.
func readLimit(size int) int64 { return int64(size) + 1024 }

// A dialing source dials a connection for each request.
type dialing struct {
	url   string
	dial  *websocket.DialOptions
	limit int64
}

func newDialing(o options, n *network) *dialing {
	return &dialing{o.url, n.dialOptions(o), readLimit(o.size)}
}

func (d *dialing) get(ctx context.Context) (held, error) {
	conn, _, err := websocket.Dial(ctx, d.url, d.dial)
	if err != nil {
		return held{}, err
	}
	conn.SetReadLimit(d.limit)
	return held{Conn: conn}, nil
}

// put closes the connection as a well-behaved client does, with the closing
// handshake of WebSocket. What comes of it does not concern the request, which
// has its reply.
func (d *dialing) put(h held, err error) {
	if err != nil {
		h.CloseNow()
		return
	}
	h.Close(websocket.StatusNormalClosure, "")
}

func (d *dialing) stats() *pool.Stats { return nil }
func (d *dialing) close()             {}

// A pooled source takes the connections from a pool.
type pooled struct {
	pool *pool.Pool[*wsconn.Conn]
}

// shutdownTimeout is how long the connections of a pool may take to close.
const shutdownTimeout = time.Second

func newPooled(o options, n *network, longest time.Duration) (*pooled, error) {
	factory, err := wsconn.NewFactory(o.url, &wsconn.Options{DialOptions: n.dialOptions(o), ReadLimit: readLimit(o.size)})
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
	return &pooled{p}, nil
}

func (p *pooled) get(ctx context.Context) (held, error) {
	lease, err := p.pool.Get(ctx)
	if err != nil {
		return held{}, err
	}
	return held{lease.Value().Conn, lease}, nil
}

func (p *pooled) put(h held, err error) {
	if err != nil {
		p.pool.Discard(h.lease, err)
		return
	}
	p.pool.Put(h.lease)
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
