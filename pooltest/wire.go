package pooltest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Wire passes on connections to a server, byte for byte. [TestFactory] silences the server with it,
// ends connections as a server would, and sees which of them the Factory has not closed. One Wire is for one call of
// TestFactory at a time.
type Wire struct {
	listener net.Listener
	network  string
	address  string
	running  sync.WaitGroup

	mu       sync.Mutex // what follows
	calm     *sync.Cond // silent has changed
	silent   bool
	pairs    map[*pair]bool
	accepted int
	down     bool // the server has gone: connections that come end at once
	crashed  bool // and as those of one that has crashed
	closed   bool
}

// A pair is a connection of the Factory and the one to the server that belongs to it.
type pair struct {
	client, server net.Conn // server is nil until it is dialed
	gone           bool     // the client has ended its side
	cut            bool     // the wire has ended the server's side
	crashed        bool     // in a way that does not show whether the client has ended its own
}

// NewWire returns a Wire to the server at address, which must be reachable as [net.Dial] does it. The
// Factory connects to [Wire.Addr] instead: of a TLS server the name that its certificate has must be set, as the
// address no longer tells it. The Wire listens on the loopback interface until the test has ended.
func NewWire(t testing.TB, network, address string) *Wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("pooltest: %v", err)
	}
	w := &Wire{listener: listener, network: network, address: address, pairs: map[*pair]bool{}}
	w.calm = sync.NewCond(&w.mu)
	w.running.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

// Addr returns the TCP address that the Factory connects to, such as 127.0.0.1:41234.
func (w *Wire) Addr() string { return w.listener.Addr().String() }

func (w *Wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		p := &pair{client: client}
		w.mu.Lock()
		if w.closed {
			client.Close()
		} else {
			w.pairs[p] = true
			w.accepted++
			if w.down {
				w.cut(p)
			}
			w.running.Go(func() { w.pass(p) })
		}
		w.mu.Unlock()
	}
}

// pass passes on what both sides say, until both have ended.
func (w *Wire) pass(p *pair) {
	server, err := net.Dial(w.network, w.address)
	w.mu.Lock()
	if err == nil {
		p.server = server
		if p.cut {
			server.Close()
		}
	} else {
		endWrite(p.client) // as if the server had gone
		p.cut = true
	}
	w.mu.Unlock()
	var down sync.WaitGroup
	if err == nil {
		down.Go(func() { w.answer(p.client, server) })
		ask(server, p.client)
	} else {
		io.Copy(io.Discard, p.client)
	}
	w.mu.Lock()
	p.gone = true
	w.mu.Unlock()
	down.Wait()
	w.mu.Lock()
	delete(w.pairs, p)
	w.mu.Unlock()
	p.client.Close()
	if err == nil {
		server.Close()
	}
}

// ask passes on what the client says, and then that it has ended. It goes on until then, whatever has become of the
// server.
func ask(server, client net.Conn) {
	if _, err := io.Copy(server, onlyRead{client}); err == nil {
		endWrite(server)
		return
	}
	server.Close()
	io.Copy(io.Discard, client)
}

// onlyRead hides that a connection can be spliced, for which package net would keep a pipe open.
type onlyRead struct{ io.Reader }

// answer passes on what the server says, but not while it is to be silent, and then that it has ended.
func (w *Wire) answer(client, server net.Conn) {
	defer endWrite(client)
	for buf := make([]byte, 32<<10); ; {
		n, err := server.Read(buf)
		w.mu.Lock()
		for w.silent && !w.closed {
			w.calm.Wait()
		}
		w.mu.Unlock()
		if n > 0 {
			if _, failed := client.Write(buf[:n]); failed != nil {
				server.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// endWrite tells the other side that nothing more comes, and goes on reading from it.
func endWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		c.Close()
	}
}

// silence makes the server silent, or lets it speak again. What it has said meanwhile comes then.
func (w *Wire) silence(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
	w.calm.Broadcast()
}

// fell ends all connections, and those that come, as a server does that ends, or as one that has crashed, until
// raise. A connection that the Factory has may not have come yet.
func (w *Wire) fell(crash bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.crashed = true, crash
	for p := range w.pairs {
		w.cut(p)
	}
}

// raise ends what fell has begun: the server is there again.
func (w *Wire) raise() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// cut ends the server's side of p. w.mu is held.
func (w *Wire) cut(p *pair) {
	p.cut = true
	if w.crashed {
		p.crashed = true
		w.end(p, true)
		return
	}
	endWrite(p.client)
	if p.server != nil {
		p.server.Close()
	}
}

// count returns how many connections there have been.
func (w *Wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accepted
}

// drop ends what the Factory has closed, so that the server's side of it ends as well.
func (w *Wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pairs {
		if p.gone {
			w.end(p, false)
		}
	}
}

// end ends both sides of p. w.mu is held.
func (w *Wire) end(p *pair, crash bool) {
	if c, ok := p.client.(*net.TCPConn); ok && crash {
		c.SetLinger(0)
	}
	p.client.Close()
	if p.server != nil {
		p.server.Close()
	}
}

// open returns how many connections the Factory has not closed, of those that have not crashed.
func (w *Wire) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pairs {
		if !p.gone && !p.crashed {
			n++
		}
	}
	return n
}

func (w *Wire) close() {
	w.mu.Lock()
	w.closed = true
	for p := range w.pairs {
		w.end(p, true)
	}
	w.calm.Broadcast()
	w.mu.Unlock()
	w.listener.Close()
	w.running.Wait()
}
