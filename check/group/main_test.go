// Package group tests pool.Group: which pool a key has, when it is made, and when it goes.
package group

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestMain(m *testing.M) { leftover.Main(m) }

// Accounts are the servers of the keys of a group. open is called with the key and the number of
// the call for that key, if it is not nil.
type accounts struct {
	open   func(key string, call int) error
	config pool.Config

	mu    sync.Mutex // guards what follows
	calls map[string]int
	made  []*testkit.Exchange // one for each call
}

func (a *accounts) pool(key string) (pool.Factory[*testkit.Wire], pool.Config, error) {
	a.mu.Lock()
	if a.calls == nil {
		a.calls = map[string]int{}
	}
	a.calls[key]++
	call, x := a.calls[key], new(testkit.Exchange)
	a.made = append(a.made, x)
	a.mu.Unlock()
	if a.open != nil {
		if err := a.open(key, call); err != nil {
			return pool.Factory[*testkit.Wire]{}, pool.Config{}, err
		}
	}
	return x.Factory(), a.config, nil
}

// called returns how often open was called for a key.
func (a *accounts) called(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[key]
}

// exchange returns that of the nth call, counted from 0.
func (a *accounts) exchange(n int) *testkit.Exchange {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made[n]
}

type wires = pool.Group[string, *testkit.Wire]

func start(t *testing.T, a *accounts, config pool.GroupConfig) *wires {
	t.Helper()
	g, err := pool.NewGroup(a.pool, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func borrow(t *testing.T, g *wires, key string) pool.Lease[*testkit.Wire] {
	t.Helper()
	l, err := g.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return l
}

func giveBack(t *testing.T, g *wires, l pool.Lease[*testkit.Wire]) {
	t.Helper()
	if err := g.Put(l); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// visit gets a connection and puts it back.
func visit(t *testing.T, g *wires, key string) {
	t.Helper()
	giveBack(t, g, borrow(t, g, key))
}

// has reports whether a key has a pool.
func has(g *wires, key string) bool {
	_, ok := g.Pool(key)
	return ok
}

// A request is a Get in a goroutine of its own.
type request struct {
	done  chan struct{}
	lease pool.Lease[*testkit.Wire]
	err   error
	took  time.Duration
}

// ask begins a Get, and returns when it waits or has returned.
func ask(ctx context.Context, g *wires, key string) *request {
	r := &request{done: make(chan struct{})}
	began := time.Now()
	go func() {
		r.lease, r.err = g.Get(ctx, key)
		r.took = time.Since(began)
		close(r.done)
	}()
	synctest.Wait()
	return r
}

// over reports whether the Get has returned.
func (r *request) over() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
