package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// An owned connection knows its key and who has it.
type owned struct {
	key    string
	holder atomic.Int64
	closed atomic.Int32
}

// Many callers on a few keys whose pools come and go: each connection has one holder, and is of
// the key that was asked for; what is opened is closed once; and no Get fails for a pool that was
// removed under it.
func TestPoolsThatComeAndGoUnderTheirCallers(t *testing.T) {
	for _, config := range []pool.GroupConfig{{IdleTime: 10 * time.Millisecond}, {MaxPools: 3, IdleTime: 20 * time.Millisecond}} {
		t.Run(fmt.Sprintf("MaxPools=%d", config.MaxPools), func(t *testing.T) { storm(t, config) })
	}
}

func storm(t *testing.T, config pool.GroupConfig) {
	var (
		mu     sync.Mutex // guards opened
		opened []*owned
		gets   atomic.Uint64
	)
	g, err := pool.NewGroup(func(key string) (pool.Factory[*owned], pool.Config, error) {
		return pool.Factory[*owned]{
			Open: func(context.Context) (*owned, error) {
				c := &owned{key: key}
				mu.Lock()
				opened = append(opened, c)
				mu.Unlock()
				return c, nil
			},
			Close: func(c *owned, _ error) error { c.closed.Add(1); return nil },
		}, pool.Config{MaxConnections: 2, MaxIdleTime: 20 * time.Millisecond, MaxWaitTime: time.Minute}, nil
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	const callers, turns = 8, 1000
	var all sync.WaitGroup
	for id := int64(1); id <= callers; id++ {
		all.Go(func() {
			random := rand.New(rand.NewPCG(rand.Uint64(), 0))
			var before pool.Stats
			for range turns {
				key := fmt.Sprint(random.IntN(5))
				switch random.IntN(40) {
				case 0:
					g.Remove(key)
				case 1:
					g.Reset()
				case 2:
					s := g.Stats()
					if s.Gets < before.Gets || s.Opened < before.Opened || s.WaitTime.Count < before.WaitTime.Count {
						t.Errorf("a counter has fallen: %d leases, %d before", s.Gets, before.Gets)
					}
					before = s
				case 3:
					for range g.All() {
					}
				}
				l, err := g.Get(context.Background(), key)
				if err != nil {
					if config.MaxPools == 0 || !errors.Is(err, pool.ErrRejected) {
						t.Errorf("Get(%s) returned %v", key, err)
					}
					continue
				}
				gets.Add(1)
				c := l.Value()
				if c.key != key || c.closed.Load() != 0 {
					t.Errorf("Get(%s) returned a connection of %s, closed %d times", key, c.key, c.closed.Load())
				}
				if !c.holder.CompareAndSwap(0, id) {
					t.Errorf("the connection has a holder")
				}
				c.holder.Store(0)
				if random.IntN(10) == 0 {
					err = g.Discard(l, nil)
				} else {
					err = g.Put(l)
				}
				if err != nil {
					t.Errorf("the lease could not be ended: %v", err)
				}
			}
		})
	}
	all.Wait()
	if err := g.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
	for _, c := range opened {
		if n := c.closed.Load(); n != 1 {
			t.Fatalf("a connection was closed %d times, want once", n)
		}
	}
	s := g.Stats()
	if s.Opened != uint64(len(opened)) {
		t.Errorf("Stats count %d connections, want %d", s.Opened, len(opened))
	}
	// A connection that its pool holds for a moment may be counted as leased, and a pool that is gone
	// then keeps that: see Stats.Gets.
	if got, n := s.Gets, gets.Load(); got < n || got > n+n/100 {
		t.Errorf("Stats count %d leases, want %d, or few more", got, n)
	}
	t.Logf("%d leases, %d connections", s.Gets, s.Opened)
}
