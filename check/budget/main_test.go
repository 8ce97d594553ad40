// Package budget tests pool.Budget: which of several pools may open a connection, and when.
package budget

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestMain(m *testing.M) { leftover.Main(m) }

// A gauge counts what has a right of a budget, as the server sees it: from before Open begins to
// do anything until Close is about to return, or until Open returns an error.
type gauge struct {
	mu        sync.Mutex // guards what follows
	now, most int
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.most = max(g.most, g.now)
}

func (g *gauge) highest() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

// never fails the test if more than n had a right at the same time, or if any has one now.
func (g *gauge) never(t *testing.T, n int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.most > n {
		t.Errorf("%d connections were open at the same time, of %d", g.most, n)
	}
	if g.now != 0 {
		t.Errorf("%d connections are open at the end, want none", g.now)
	}
}

// A server is one of several behind pools with the same budget.
type server struct {
	testkit.Exchange
	open  func(ctx context.Context) error // may be nil
	close func() error                    // may be nil
}

func (s *server) factory(gs ...*gauge) pool.Factory[*testkit.Wire] {
	add := func(n int) {
		for _, g := range gs {
			g.add(n)
		}
	}
	s.Exchange.Open = func(ctx context.Context, _ int) (err error) {
		add(1)
		if s.open != nil {
			if err = s.open(ctx); err != nil {
				add(-1)
			}
		}
		return err
	}
	s.Exchange.Closing = func(*testkit.Wire, error) (err error) {
		defer add(-1)
		if s.close != nil {
			err = s.close()
		}
		return err
	}
	return s.Exchange.Factory()
}

// begin makes a pool with a server of its own.
func begin(t *testing.T, b pool.Budget, c pool.Config) (*pool.Pool[*testkit.Wire], *server) {
	t.Helper()
	s := new(server)
	c.Budget = b
	return testkit.Start(t, s.factory(), c), s
}

// atRest checks that everything is as it should be in pools that have so many leases in all, and that
// max rights are there again once they are closed.
func atRest(t *testing.T, b pool.Budget, max int, pools ...*pool.Pool[*testkit.Wire]) {
	t.Helper()
	synctest.Wait()
	for _, p := range pools {
		testkit.AtRest(t, p, p.Stats().ActiveConnections)
		if s := p.Stats(); s.AwaitingBudget != 0 {
			t.Errorf("a pool in which nobody waits stands in line for %d", s.AwaitingBudget)
		}
		if in := testkit.Inside(p); in.Rights() > 0 && in.Gate.Load() != 0 { // without a right there is nothing to put back
			t.Errorf("nobody waits anywhere, and the gate has %#x: each Put looks whether a right is wanted", in.Gate.Load())
		}
		p.Close()
	}
	synctest.Wait()
	allBack(t, b, max)
}

// allBack checks that max rights are free, and no more.
func allBack(t *testing.T, b pool.Budget, max int) {
	t.Helper()
	p, s := begin(t, b, pool.Config{MaxConnections: max + 1, OpenEagerly: true, MaxWaitTime: time.Second})
	var rs []*testkit.Request[*testkit.Wire]
	for range max + 1 {
		rs = append(rs, testkit.Ask(context.Background(), p))
	}
	served, failed := 0, 0
	testkit.Sleep(2 * time.Second)
	for _, r := range rs {
		if !r.Returned() {
			t.Fatal("a Get waits for longer than it may")
		}
		switch {
		case r.Err == nil:
			served++
		case errors.Is(r.Err, pool.ErrExhausted):
			failed++
		default:
			t.Errorf("Get returned %v", r.Err)
		}
	}
	if served != max || failed != 1 || len(s.Opened()) != max {
		t.Errorf("of %d rights %d are there at the end", max, served)
	}
	for _, r := range rs {
		_ = p.Put(r.Lease)
	}
	p.Close()
	synctest.Wait()
}
