package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
)

// A network is where a test runs: the loopback interface, or pipes in memory for a synctest bubble.
type network interface {
	listen() (net.Listener, error)
	dial(ctx context.Context, network, address string) (net.Conn, error)
}

type loopback struct{ net.Dialer }

func (*loopback) listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.DialContext(ctx, network, address)
}

// pipes is a network in memory. Its addresses are names.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
}

type pipeListener struct {
	name    string
	dialed  chan net.Conn
	closing chan struct{}
	once    sync.Once
}

func (p *pipes) listen() (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners == nil {
		p.listeners = map[string]*pipeListener{}
	}
	name := string(rune('a'+len(p.listeners))) + ":80"
	l := &pipeListener{name: name, dialed: make(chan net.Conn), closing: make(chan struct{})}
	p.listeners[name] = l
	return l, nil
}

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[address]
	p.mu.Unlock()
	client, server := net.Pipe()
	select {
	case l.dialed <- server:
		return client, nil
	case <-l.closing:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error    { l.once.Do(func() { close(l.closing) }); return nil }
func (l *pipeListener) Addr() net.Addr  { return l }
func (l *pipeListener) Network() string { return "pipe" }
func (l *pipeListener) String() string  { return l.name }

// A gauge counts the connections of each account at the client: from the request for one until that has failed, or the
// connection is closed. A server that does everything at once would count no more than that.
type gauge struct {
	base http.RoundTripper

	mu   sync.Mutex
	open map[string]map[*gauged]bool // by account
	peak map[string]int
}

func (g *gauge) RoundTrip(r *http.Request) (*http.Response, error) {
	account, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "-")
	c := new(gauged)
	c.over = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open[account], c)
	}
	g.mu.Lock()
	if g.open[account] == nil {
		g.open[account] = map[*gauged]bool{}
	}
	g.open[account][c] = true
	if len(g.open[account]) > g.peak[account] {
		g.peak[account] = max(g.peak[account], g.count(account))
	}
	g.mu.Unlock()

	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { c.conn.Store(&info.Conn) }}
	response, err := g.base.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		c.over()
		return response, err
	}
	c.ReadWriteCloser = response.Body.(io.ReadWriteCloser)
	response.Body = c
	return response, nil
}

// count returns how many connections an account has. mu is held.
func (g *gauge) count(account string) int {
	n := 0
	for c := range g.open[account] {
		if !c.cut() {
			n++
		}
	}
	return n
}

// A gauged is a connection.
type gauged struct {
	io.ReadWriteCloser
	conn atomic.Pointer[net.Conn]
	over func()
}

func (c *gauged) Close() error {
	defer c.over()
	return c.ReadWriteCloser.Close()
}

// cut reports whether the socket is closed. Package wsconn closes that first, and on a slow machine it does not wait
// until Close is called.
func (c *gauged) cut() bool {
	if conn := c.conn.Load(); conn != nil {
		if socket, ok := (*conn).(*net.TCPConn); ok {
			raw, err := socket.SyscallConn()
			return err != nil || raw.Control(func(uintptr) {}) != nil
		}
	}
	return false
}
