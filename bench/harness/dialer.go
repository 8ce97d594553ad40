package harness

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/S4AK4N/pool/netconn"
	"go.uber.org/atomic"
)

// A Conn is what every pool holds: a number in memory, or a TCP connection to a [Server].
type Conn struct {
	net.Conn       // nil in memory
	ID       int64 // counted from 1 by its Dialer

	dialer  *Dialer
	holders atomic.Int32
	closed  atomic.Bool
}

// Close closes c. Only the first call counts.
func (c *Conn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	c.dialer.open.Dec()
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

// Closed reports whether c has been closed on our side.
func (c *Conn) Closed() bool { return c.closed.Load() }

// SyscallConn makes the socket visible to those who look whether it is alive.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.New("bench: there is no socket")
}

// Check looks whether the peer has closed c. It is what every pool gets that has a place for
// such a function.
func (c *Conn) Check() error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if c.Conn == nil {
		return nil
	}
	return netconn.Check(c.Conn)
}

// RoundTrip sends a byte and waits for it to come back, until ctx ends or for a second.
func (c *Conn) RoundTrip(ctx context.Context) error {
	if c.Conn == nil {
		return c.Check()
	}
	deadline := time.Now().Add(time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	b := []byte{1}
	err := c.Conn.SetDeadline(deadline)
	if err == nil {
		_, err = c.Conn.Write(b)
	}
	if err == nil {
		_, err = c.Conn.Read(b)
	}
	if err == nil {
		err = c.Conn.SetDeadline(time.Time{})
	}
	return err
}

// A Dialer opens connections and counts them.
type Dialer struct {
	Address string // of a Server on the loopback interface; if empty, connections are in memory
	Most    int64  // attempts, after which Open does not connect any more; if zero, a million

	takes    atomic.Duration
	attempts atomic.Int64
	opened   atomic.Int64
	open     atomic.Int64
	mostOpen atomic.Int64

	mu  sync.Mutex
	all map[int64]*Conn
}

// errMost bounds what a pool that tries without a pause does to the machine.
var errMost = errors.New("bench: more attempts than a run may have")

// Takes sets how long Open takes.
func (d *Dialer) Takes(t time.Duration) { d.takes.Store(t) }

// Attempts returns how often Open was called.
func (d *Dialer) Attempts() int64 { return d.attempts.Load() }

// Opened returns how many connections were opened.
func (d *Dialer) Opened() int64 { return d.opened.Load() }

// NowOpen returns how many connections are open.
func (d *Dialer) NowOpen() int64 { return d.open.Load() }

// MostOpen returns how many connections were open at once.
func (d *Dialer) MostOpen() int64 { return d.mostOpen.Load() }

// Open opens a connection.
func (d *Dialer) Open(ctx context.Context) (*Conn, error) {
	most := d.Most
	if most == 0 {
		most = 1e6
	}
	if d.attempts.Inc() > most {
		return nil, errMost
	}
	if t := d.takes.Load(); t > 0 {
		timer := time.NewTimer(t)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c := &Conn{dialer: d}
	if d.Address != "" {
		nc, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", d.Address)
		if err != nil {
			return nil, err
		}
		c.Conn = nc
	}
	c.ID = d.opened.Inc()
	raise(&d.mostOpen, d.open.Inc())
	if d.Address != "" { // in memory nobody asks, and the list would count as the pool's memory
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.all == nil {
			d.all = map[int64]*Conn{}
		}
		d.all[c.ID] = c
	}
	return c, nil
}

// Find returns the connection with the given number, of those over TCP.
func (d *Dialer) Find(id int64) *Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[id]
}

// alive returns how many connections that are not closed on our side have a peer.
func (d *Dialer) alive() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.all {
		if c.Check() == nil {
			n++
		}
	}
	return n
}

// raise makes most at least n.
func raise(most *atomic.Int64, n int64) {
	for {
		old := most.Load()
		if n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}
