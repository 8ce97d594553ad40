package lending

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A pool that has not been used yet is asleep (core/wake.go).

func TestAPoolThatIsNotUsedCostsLessThanAKilobyteAndNoGoroutine(t *testing.T) {
	if testkit.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	const n = 2000
	factory := pool.Factory[*testkit.Wire]{
		Open:  func(context.Context) (*testkit.Wire, error) { return new(testkit.Wire), nil },
		Close: func(*testkit.Wire, error) error { return nil },
		Check: func(*testkit.Wire) error { return nil },
	}
	pools := make([]*pool.Pool[*testkit.Wire], n)
	goroutines, heap := runtime.NumGoroutine(), leftover.Heap()
	for i := range pools {
		var err error
		if pools[i], err = pool.New(factory, pool.Config{MaxConnections: 100, Name: "account"}); err != nil {
			t.Fatal(err)
		}
		if s := pools[i].Stats(); s.MaxConnections != 100 || s.VacantConnections() != 100 || pools[i].Name() != "account" || len(pools[i].Leases()) != 0 {
			t.Fatalf("Stats of a new pool are %+v", s)
		}
		if _, ok := pools[i].TryGet(); ok {
			t.Fatal("TryGet of a new pool has lent something")
		}
	}
	each := (leftover.Heap() - heap) / n
	t.Logf("%d bytes each", each)
	if each > 1000 {
		t.Errorf("a pool costs %d bytes, want 1,000 at most", each)
	}
	if got := runtime.NumGoroutine(); got > goroutines+10 {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
	runtime.KeepAlive(pools)
}

// Whichever method is the first one, it does what it says.
func TestAnyMethodMayBeTheFirst(t *testing.T) {
	for name, first := range map[string]func(t *testing.T, p *pool.Pool[*testkit.Wire]){
		"Get": func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.GiveBack(t, p, testkit.Borrow(t, p)) },
		"GetFresh": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			l, err := p.GetFresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			testkit.GiveBack(t, p, l)
		},
		"Warm": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			if err := p.Warm(t.Context(), 2); err != nil {
				t.Errorf("Warm returned %v", err)
			}
			if s := p.Stats(); s.IdleConnections != 2 {
				t.Errorf("%d are idle, want 2", s.IdleConnections)
			}
		},
		"Resize": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			if err := p.Resize(7); err != nil || p.Stats().MaxConnections != 7 {
				t.Errorf("Resize returned %v, and MaxConnections is %d, want 7", err, p.Stats().MaxConnections)
			}
		},
		"Reset": func(t *testing.T, p *pool.Pool[*testkit.Wire]) { p.Reset() },
		"Close": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			p.Close()
			if _, err := p.Get(t.Context()); err != pool.ErrClosed {
				t.Errorf("Get returned %v, want ErrClosed", err)
			}
		},
		"Shutdown": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			if err := p.Shutdown(t.Context()); err != nil || p.Resize(3) != pool.ErrClosed || p.Warm(t.Context(), 1) != pool.ErrClosed {
				t.Errorf("Shutdown returned %v; want nil, and ErrClosed from now on", err)
			}
			if s := p.Stats(); s.MaxConnections != 5 {
				t.Errorf("MaxConnections is %d, want what it was", s.MaxConnections)
			}
		},
		"ends of leases of others": func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			other := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{})
			l := testkit.Borrow(t, other)
			none := pool.Lease[*testkit.Wire]{}
			_, detached := p.Detach(l)
			_, same := p.GetSame(t.Context(), l.Mark())
			for what, err := range map[string]error{
				"Put": p.Put(l), "PutUnused": p.PutUnused(l), "PutFor": p.PutFor(l, time.Hour), "Discard": p.Discard(l, nil), "Detach": detached, "GetSame": same,
				"Put of none": p.Put(none), "PutUnused of none": p.PutUnused(none), "PutFor of none": p.PutFor(none, time.Hour), "Discard of none": p.Discard(none, nil),
			} {
				if err != pool.ErrNotLeased {
					t.Errorf("%s returned %v, want ErrNotLeased", what, err)
				}
			}
			if _, err := p.GetSame(t.Context(), none.Mark()); err != pool.ErrGone {
				t.Errorf("GetSame of no Mark returned %v, want ErrGone", err)
			}
			for _, m := range []pool.Mark{l.Mark(), none.Mark()} {
				if _, ok := p.TryGetSame(m); ok {
					t.Error("TryGetSame lent something")
				}
			}
			if p.Revoke(other.Leases()[0]) || p.Revoke(pool.LeaseInfo{}) {
				t.Error("Revoke has ended a lease of another pool")
			}
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 5})
			testkit.Sleep(1000 * time.Hour) // its clock has begun with New
			first(t, p)
			synctest.Wait()
			p.Close()
			testkit.AtRest(t, p, 0)
		})
	}
}

// Of many that come first, one makes what all of them use.
func TestManyMayBeTheFirst(t *testing.T) {
	for range 200 {
		synctest.Test(t, theFirst)
	}
}

func theFirst(t *testing.T) {
	x := new(testkit.Exchange)
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			switch i {
			case 0:
				p.Stats()
			case 1:
				p.Leases()
			case 2:
				if err := p.Resize(3); err != nil {
					t.Errorf("Resize returned %v", err)
				}
			default:
				l, err := p.Get(t.Context())
				if err != nil {
					t.Errorf("Get returned %v", err)
					return
				}
				if err := p.Put(l); err != nil {
					t.Errorf("Put returned %v", err)
				}
			}
		})
	}
	all.Wait()
	synctest.Wait() // while an attempt claims its slot, a lease may not be counted
	if s := p.Stats(); s.Gets < 3 || s.MaxConnections != 3 {
		t.Errorf("%d leases of at most %d connections, want 3 (or more: see Stats.Gets) and 3", s.Gets, s.MaxConnections)
	}
	p.Close()
	x.AllClosedOnce(t)
}

// What is made at the first use has channels: they must be those of the place of New.
func TestAPoolThatSleepsIsOfTheBubbleOfNew(t *testing.T) {
	var p *pool.Pool[*testkit.Wire]
	synctest.Test(t, func(t *testing.T) {
		var err error
		if p, err = pool.New(new(testkit.Exchange).Factory(), pool.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	_, get := p.Get(t.Context())
	_, fresh := p.GetFresh(t.Context())
	for what, err := range map[string]error{"Get": get, "GetFresh": fresh, "Warm": p.Warm(t.Context(), 1), "Resize": p.Resize(2),
		"Close": p.Close(), "Shutdown": p.Shutdown(t.Context())} {
		if !errors.Is(err, pool.ErrBubble) {
			t.Errorf("%s returned %v, want ErrBubble", what, err)
		}
	}
	p.Reset()
	if s := p.Stats(); s.MaxConnections != 10 {
		t.Errorf("MaxConnections is %d, want 10", s.MaxConnections)
	}
}

func TestMinIdleIsOpenedWithoutAFirstUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MinIdle: 2})
		synctest.Wait()
		if s := p.Stats(); s.IdleConnections != 2 {
			t.Errorf("%d are idle, want 2", s.IdleConnections)
		}
	})
}
