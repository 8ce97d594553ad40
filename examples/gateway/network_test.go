package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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
// connection is closed. A server that does everything at once counts no more than that.
type gauge struct {
	base http.RoundTripper

	mu         sync.Mutex
	open, peak map[string]int
}

func (g *gauge) RoundTrip(r *http.Request) (*http.Response, error) {
	account, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "-")
	g.add(account, 1)
	response, err := g.base.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		g.add(account, -1)
		return response, err
	}
	response.Body = &gauged{ReadWriteCloser: response.Body.(io.ReadWriteCloser), closed: func() { g.add(account, -1) }}
	return response, nil
}

func (g *gauge) add(account string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open, g.peak = map[string]int{}, map[string]int{}
	}
	g.open[account] += n
	g.peak[account] = max(g.peak[account], g.open[account])
}

// A gauged is a connection.
type gauged struct {
	io.ReadWriteCloser
	once   sync.Once
	closed func()
}

func (c *gauged) Close() error {
	err := c.ReadWriteCloser.Close()
	c.once.Do(c.closed)
	return err
}
