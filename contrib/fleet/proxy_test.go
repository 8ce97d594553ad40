//go:build linux

package fleet

import (
	"net"
	"sync"
	"testing"
)

// A proxy stands between a process and Redis. It can stop forwarding without closing anything, and
// lead elsewhere.
type proxy struct {
	addr string

	mu     sync.Mutex // guards what follows
	more   *sync.Cond
	target string
	silent bool
	conns  []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), target: target}
	p.more = sync.NewCond(&p.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.leads("")
		p.silence(false)
		wg.Wait()
	})
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	p.open()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	s, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer s.Close()
	p.mu.Lock()
	p.conns = append(p.conns, c, s)
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.forward(s, c) })
	p.forward(c, s)
	wg.Wait()
}

// forward copies what it reads, unless the proxy is silent: then it waits with it.
func (p *proxy) forward(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		p.open()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// open waits until the proxy is not silent.
func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.silent {
		p.more.Wait()
	}
}

func (p *proxy) silence(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = yes
	p.more.Broadcast()
}

// leads has new connections go elsewhere, and ends the old ones.
func (p *proxy) leads(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
