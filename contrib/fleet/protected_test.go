//go:build linux

package fleet

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// A protected server is what a budget is for: it counts who has how many connections to it.
type protected struct {
	addr string

	mu    sync.Mutex // guards what follows
	more  *sync.Cond
	conns map[net.Conn]string // who has it
	most  int                 // that there were at once
	total int                 // that there ever were
}

func newProtected(t *testing.T) *protected {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &protected{addr: l.Addr().String(), conns: map[net.Conn]string{}}
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
		p.fence("")
		wg.Wait()
	})
	return p
}

// serve counts a connection from its greeting, which is answered when it is counted, until it ends.
func (p *protected) serve(c net.Conn) {
	in := bufio.NewReader(c)
	who, err := in.ReadString('\n')
	if err == nil {
		p.mu.Lock()
		p.conns[c] = who[:len(who)-1]
		p.most = max(p.most, len(p.conns))
		p.total++
		p.more.Broadcast()
		p.mu.Unlock()
		_, _ = fmt.Fprintln(c, "welcome")
		for err == nil {
			var line string
			if line, err = in.ReadString('\n'); line == "bye\n" {
				break
			}
		}
	}
	p.mu.Lock()
	delete(p.conns, c)
	p.more.Broadcast()
	p.mu.Unlock()
	c.Close() // what says bye waits for this
}

// fence ends the connections of one process; of all, if id is empty.
func (p *protected) fence(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, who := range p.conns {
		if id == "" || who == id {
			c.Close()
		}
	}
}

// of returns how many connections somebody has.
func (p *protected) of(who string) (n int) {
	for _, w := range p.conns {
		if w == who {
			n++
		}
	}
	return n
}

// until waits until there are as many connections as f wants. f is called under the mutex.
func (p *protected) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patienceOfTests, func() {
		p.mu.Lock()
		late = true
		p.more.Broadcast()
		p.mu.Unlock()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !f() {
		if late {
			who := map[string]int{}
			for w := range maps.Values(p.conns) {
				who[w]++
			}
			t.Fatalf("%s: it does not come to that; there are %d connections, of %d: %v", what, len(p.conns), p.total, who)
		}
		p.more.Wait()
	}
}

// atMost checks that there were never more connections than that.
func (p *protected) atMost(t *testing.T, n int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > n {
		t.Errorf("there were %d connections at once, want at most %d", p.most, n)
	}
}

// patienceOfTests is how long a test waits for what must come. None waits for it that passes.
const patienceOfTests = 60 * time.Second

// A link is a connection to the protected server.
type link struct {
	net.Conn
	in *bufio.Reader
}

// dial connects to the protected server in the name of a budget.
func dial(addr string, b *Budget) func(context.Context) (*link, error) {
	return func(ctx context.Context) (*link, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		l := &link{c, bufio.NewReader(c)}
		if _, err = fmt.Fprintln(c, b.ID()); err == nil {
			_, err = l.in.ReadString('\n')
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		return l, nil
	}
}

// hangUp closes a connection. It returns when the server does not count it any more.
func hangUp(l *link, _ error) error {
	_ = l.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintln(l, "bye")
	_, _ = l.in.ReadString('\n')
	return l.Close()
}

func newPool(t testing.TB, addr string, b *Budget, c pool.Config) *pool.Pool[*link] {
	t.Helper()
	c.Budget = b
	p, err := pool.New(pool.Factory[*link]{Open: dial(addr, b), Close: hangUp}, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
