package testkit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// A Backend is a server that may be down, and notes when it is asked for a connection.
type Backend struct {
	Exchange
	Down  atomic.Bool
	Takes time.Duration // what its answer takes, a refusal too

	noted sync.Mutex // guards what follows
	asked []time.Time
	under int // attempts under way
	most  int // at the same time, since the last call of since
}

func NewBackend(takes time.Duration) *Backend {
	b := &Backend{Takes: takes}
	b.Open = func(context.Context, int) error {
		b.noted.Lock()
		b.asked = append(b.asked, time.Now())
		b.under++
		b.most = max(b.most, b.under)
		b.noted.Unlock()
		time.Sleep(b.Takes)
		b.noted.Lock()
		b.under--
		b.noted.Unlock()
		if b.Down.Load() {
			return ErrDial
		}
		return nil
	}
	return b
}

// Since returns when it was asked, and how many were at the same time, since the last
// call.
func (b *Backend) Since() (asked []time.Time, most int) {
	b.noted.Lock()
	defer b.noted.Unlock()
	asked, most = b.asked, b.most
	b.asked, b.most = nil, b.under
	return asked, most
}

// Failing returns a pool whose server is down, which it knows by now.
func Failing(t *testing.T, b *Backend, c pool.Config) *pool.Pool[*Wire] {
	t.Helper()
	b.Down.Store(true)
	p := Start(t, b.Factory(), c)
	for range words.KeepsFailing {
		if _, err := p.Get(t.Context()); !errors.Is(err, ErrDial) {
			t.Fatalf("Get returned %v, want %v", err, ErrDial)
		}
		synctest.Wait() // the attempt has left, and begins none for the next one
	}
	b.Since()
	return p
}

// EndWithIdle puts the leases back and checks that the pool is at rest, with n idle.
func EndWithIdle(t *testing.T, p *pool.Pool[*Wire], n int, leases ...pool.Lease[*Wire]) {
	t.Helper()
	for _, l := range leases {
		GiveBack(t, p, l)
	}
	synctest.Wait()
	AtRest(t, p, 0)
	if got := p.Stats().IdleConnections; got != n {
		t.Errorf("%d connections are idle at the end, want %d", got, n)
	}
}
