package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// errDialLimit is returned for a dial beyond the limit of its network.
var errDialLimit = errors.New("limit of dials reached")

// A network dials the connections of one phase, counts them, and can cut them.
type network struct {
	addresses []string // of the embedded server, to be dialed in turn; empty: dial what is asked for
	limit     int64    // number of dials; 0: no limit
	spent     chan struct{}

	dialer      net.Dialer
	dials, peak atomic.Int64
	limitOnce   sync.Once
	handshakes  recorder // how long dials took, the handshake of WebSocket included
	turn        atomic.Uint32

	mu   sync.Mutex
	open map[*countedConn]struct{}
	cut  bool // no connection may be opened any more
}

func newNetwork(addresses []string, limit int64) *network {
	return &network{
		addresses: addresses,
		limit:     limit,
		spent:     make(chan struct{}),
		dialer:    net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}, // as http.DefaultTransport
		open:      make(map[*countedConn]struct{}),
	}
}

// dialOptions returns the options for a dial through n: the same for both
// phases, without compression.
func (n *network) dialOptions(o options) *websocket.DialOptions {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = n.dial
	return &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		HTTPHeader:      o.header,
		Host:            o.host,
		CompressionMode: websocket.CompressionDisabled,
	}
}

// dial opens a TCP connection.
func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dials := n.dials.Add(1)
	if n.limit > 0 && dials > n.limit {
		n.dials.Add(-1)
		n.limitOnce.Do(func() { close(n.spent) })
		return nil, errDialLimit
	}
	if len(n.addresses) > 0 {
		address = n.addresses[dials%int64(len(n.addresses))]
	}
	conn, err := n.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &countedConn{n: n}
	if tcp, ok := conn.(*net.TCPConn); ok {
		c.TCPConn = tcp
	} else {
		conn.Close()
		return nil, errors.New("not a TCP connection")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		conn.Close()
		return nil, net.ErrClosed
	}
	n.open[c] = struct{}{}
	n.peak.Store(max(n.peak.Load(), int64(len(n.open))))
	return c, nil
}

// handshake counts a dial that took d until its connection could be used.
func (n *network) handshake(d time.Duration) { n.handshakes.record(int(n.turn.Add(1)%1024), d) }

// forget makes n count anew. What is open stays so.
func (n *network) forget() (dials int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peak.Store(int64(len(n.open)))
	n.handshakes.reset()
	return n.dials.Load()
}

// limitReached reports whether a dial was refused.
func (n *network) limitReached() bool {
	select {
	case <-n.spent:
		return true
	default:
		return false
	}
}

// opened returns the number of connections that are open now.
func (n *network) opened() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open)
}

// close cuts all connections, and lets none be opened any more.
func (n *network) close() {
	n.mu.Lock()
	n.cut = true
	var open []*countedConn
	for c := range n.open {
		open = append(open, c)
	}
	n.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// A countedConn is a connection of a network. It is a *net.TCPConn in all else,
// so that who needs the file descriptor finds it.
type countedConn struct {
	*net.TCPConn
	n *network
}

func (c *countedConn) Close() error {
	c.n.mu.Lock()
	delete(c.n.open, c)
	c.n.mu.Unlock()
	return c.TCPConn.Close()
}
