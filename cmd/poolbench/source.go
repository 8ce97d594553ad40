package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// A source provides each request with a connection.
type source interface {
	get(ctx context.Context) (held, error)
	// exchange sends m over what get returned, and reads the reply.
	exchange(ctx context.Context, h held, m *message) error
	// put ends what get began. err is the error of the request, or nil.
	put(h held, err error)
	// ended is called when no more requests are begun.
	ended()
	// usage returns what is in use now.
	usage() occupancy
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
	server *tally        // nil if there is one server
	dialed time.Duration // how long get has dialed; 0 if it did not, or if the pool does that
}

// readLimit is the longest reply that is accepted for messages of size bytes: a
// little longer than right, to report a wrong one as such.
func readLimit(size int) int64 { return int64(size) + 1024 }

// errOver is returned to those who wait for their turn when the load has ended.
var errOver = errors.New("the phase has ended")

// A dialer opens connections to the servers in turn.
type dialer struct {
	network *network
	urls    []string
	turn    atomic.Uint64
	servers tallies
	options *websocket.DialOptions
	limit   int64 // of the bytes in a reply
}

func newDialer(o options, n *network) *dialer {
	urls := o.urls
	if len(urls) == 0 {
		urls = []string{o.url}
	}
	return &dialer{network: n, urls: urls, servers: newTallies(o.urls), options: n.dialOptions(o), limit: readLimit(o.size)}
}

func (d *dialer) dial(ctx context.Context) (held, error) {
	url := d.urls[d.turn.Add(1)%uint64(len(d.urls))]
	start := time.Now()
	conn, _, err := websocket.Dial(ctx, url, d.options)
	if err != nil {
		return held{}, err
	}
	took := time.Since(start)
	d.network.handshake(took)
	conn.SetReadLimit(d.limit)
	server := d.servers.of(serverOf(url))
	server.opens()
	return held{Conn: conn, server: server, dialed: took}, nil
}

// hangUp closes a connection as a well-behaved client does, with the closing handshake of
// WebSocket. What comes of it does not concern the request, which has its reply.
func (h held) hangUp() { h.Close(websocket.StatusNormalClosure, "") }

func (d *dialer) exchange(ctx context.Context, h held, m *message) error {
	return m.exchange(ctx, h.Conn)
}

// A dialing source dials a connection for each request.
type dialing struct {
	*dialer
	inUse atomic.Int64
}

func newDialing(o options, n *network) *dialing { return &dialing{dialer: newDialer(o, n)} }

func (d *dialing) get(ctx context.Context) (held, error) {
	h, err := d.dial(ctx)
	if err == nil {
		d.inUse.Add(1)
	}
	return h, err
}

func (d *dialing) put(h held, err error) {
	d.inUse.Add(-1)
	if err != nil {
		h.CloseNow()
		return
	}
	h.server.replies()
	h.hangUp()
}

func (d *dialing) usage() occupancy {
	return occupancy{inUse: int(d.inUse.Load()), open: d.network.opened(), dials: d.network.dials.Load()}
}

func (d *dialing) ended()                {}
func (d *dialing) stats() *pool.Stats    { return nil }
func (d *dialing) spread() []serverCount { return d.servers.counts() }
func (d *dialing) close()                {}

// A shared source has one connection, which one request at a time has for itself. It is
// what a program without a pool does: a connection beside a mutex. The mutex is a channel,
// so that those who wait for it do not when the load has ended.
type shared struct {
	*dialer
	free    chan *held // holds the connection, or nil if it is to be dialed; empty while in use
	over    chan struct{}
	waiting atomic.Int64
	inUse   atomic.Int64
}

func newShared(o options, n *network) *shared {
	s := &shared{dialer: newDialer(o, n), free: make(chan *held, 1), over: make(chan struct{})}
	s.free <- nil
	return s
}

func (s *shared) get(ctx context.Context) (held, error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	var last *held
	select {
	case <-s.over:
		return held{}, errOver
	case <-ctx.Done():
		return held{}, ctx.Err()
	case last = <-s.free:
	}
	if last == nil {
		h, err := s.dial(ctx)
		if err != nil {
			s.free <- nil
			return held{}, err
		}
		last = &h
	}
	s.inUse.Store(1)
	return *last, nil
}

func (s *shared) put(h held, err error) {
	s.inUse.Store(0)
	if err != nil {
		h.CloseNow()
		s.free <- nil
		return
	}
	h.server.replies()
	h.dialed = 0
	s.free <- &h
}

func (s *shared) ended() { close(s.over) }

func (s *shared) usage() occupancy {
	return occupancy{inUse: int(s.inUse.Load()), waiting: int(s.waiting.Load()), open: s.network.opened(), dials: s.network.dials.Load()}
}

func (s *shared) stats() *pool.Stats    { return nil }
func (s *shared) spread() []serverCount { return s.servers.counts() }

func (s *shared) close() {
	select {
	case last := <-s.free:
		if last != nil {
			last.hangUp()
		}
	default: // a client has been cut
	}
}

// A pooled source takes the connections from a pool.
type pooled struct {
	network      *network
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
	open := factory.Open
	factory.Open = func(ctx context.Context) (*wsconn.Conn, error) {
		start := time.Now()
		conn, err := open(ctx)
		if err == nil {
			n.handshake(time.Since(start))
		}
		return conn, err
	}
	p, err := pool.New(factory, pool.Config{
		MaxConnections: o.max,
		// Nobody waits longer than the phase lasts.
		MaxWaitTime: longest,
		// What the live page shows of leases, and what costs some time.
		TimeUse:   o.http != "",
		LeakAfter: leakAfter(o, longest),
	})
	if err != nil {
		return nil, err
	}
	return &pooled{n, p, newTallies(o.urls), options.Distribution}, nil
}

// leakAfter has the live page show the ages of leases. None is reported: they end sooner.
func leakAfter(o options, longest time.Duration) time.Duration {
	if o.http == "" {
		return 0
	}
	return longest
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

func (p *pooled) exchange(ctx context.Context, h held, m *message) error {
	return m.exchange(ctx, h.Conn)
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

func (p *pooled) usage() occupancy {
	s := p.pool.Stats()
	return occupancy{inUse: s.ActiveConnections, waiting: s.WaitingRequests, open: s.ActiveConnections + s.IdleConnections, dials: p.network.dials.Load()}
}

func (p *pooled) ended() {}

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
