package lending

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// stchang/redis#8, redis double_freeturn: a second Put puts two copies of a
// connection in the pool. With Factory.Clean, and with somebody waiting, Put takes
// another way.
func TestALeaseThatIsNotInForceIsRefused(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for name, end := range testkit.Enders {
			testkit.Bubble(t, fmt.Sprintf("%s/clean=%v", name, clean), func(t *testing.T) {
				var x, y testkit.Exchange
				cleaned := 0
				f := x.Factory()
				if clean {
					f.Clean = func(*testkit.Wire) error { cleaned++; return nil }
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 2})
				other := testkit.Start(t, y.Factory(), pool.Config{MaxConnections: 2})

				l := testkit.Borrow(t, p)
				copied := l
				foreign := testkit.Borrow(t, other) // its slot and generation are those of l
				testkit.Refused(t, p, pool.Lease[*testkit.Wire]{}, "the zero lease")
				testkit.Refused(t, p, foreign, "a foreign lease")

				if err := end(p, l); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				testkit.Refused(t, p, l, "a lease that ended in "+name)
				testkit.Refused(t, p, copied, "a copy of a lease that ended in "+name)

				// Lent again, and while somebody waits, and then to that one.
				again, other2 := testkit.Borrow(t, p), testkit.Borrow(t, p)
				testkit.Refused(t, p, l, "a lease whose slot was lent again after "+name)
				r := testkit.Ask(t.Context(), p)
				testkit.Refused(t, p, l, "a lease whose slot is waited for, after "+name)
				testkit.GiveBack(t, p, again)
				handed := r.Served(t, "after Put")
				testkit.Refused(t, p, again, "a lease whose connection was handed over")
				testkit.GiveBack(t, p, handed)
				testkit.GiveBack(t, p, other2)
				testkit.GiveBack(t, other, foreign)
				if n := p.Stats().ActiveConnections; n != 0 {
					t.Errorf("%d connections are leased at the end, want none", n)
				}
				if want := 3; clean && name == "Put" && cleaned != want+1 || clean && name != "Put" && cleaned != want {
					t.Errorf("%s: Clean was called %d times, want once for each Put that was not refused", name, cleaned)
				}
			})
		}
	}
}

func TestAStaleLeaseIsRefusedAfterTheSlotHasAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		var stale []pool.Lease[*testkit.Wire]
		for range 5 {
			l := testkit.Borrow(t, p)
			stale = append(stale, l)
			if err := p.Discard(l, nil); err != nil {
				t.Fatal(err)
			}
			l = testkit.Borrow(t, p)
			stale = append(stale, l)
			testkit.GiveBack(t, p, l)
		}
		l := testkit.Borrow(t, p)
		for _, s := range stale {
			testkit.Refused(t, p, s, "a lease of long ago")
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestOfTwoWhoEndALeaseAtOnceOneSucceeds(t *testing.T) {
	for name, end := range testkit.Enders {
		for other, otherEnd := range testkit.Enders {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
			for range 200 {
				l := testkit.Borrow(t, p)
				var wg sync.WaitGroup
				var ended atomic.Int32
				begin := make(chan struct{})
				for _, end := range []func(*pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire]) error{end, otherEnd} {
					wg.Go(func() {
						<-begin
						switch err := end(p, l); err {
						case nil:
							ended.Add(1)
						case pool.ErrNotLeased:
						default:
							t.Errorf("%v, want nil or ErrNotLeased", err)
						}
					})
				}
				close(begin)
				wg.Wait()
				if got := ended.Load(); got != 1 {
					t.Fatalf("%s and %s at once: %d succeeded, want 1", name, other, got)
				}
			}
			if err := p.Shutdown(t.Context()); err != nil { // it hangs if a lease is in force
				t.Errorf("%s and %s at once: Shutdown returned %v", name, other, err)
			}
			if got := p.Stats(); got.ActiveConnections != 0 || got.Gets != 200 {
				t.Errorf("%s and %s at once: %+v", name, other, got)
			}
		}
	}
}

// A caller who only looks must not keep a connection from expiring.
func TestPutUnusedDoesNotRenewTheIdleTime(t *testing.T) {
	for _, clean := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprintf("Clean: %v", clean), func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			cleaned := 0
			if clean {
				f.Clean = func(*testkit.Wire) error { cleaned++; return nil }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: time.Minute})
			testkit.Fill(t, p, 1)
			for range 20 {
				testkit.Sleep(2900 * time.Millisecond)
				if err := p.PutUnused(testkit.Borrow(t, p)); err != nil {
					t.Errorf("PutUnused: %v", err)
				}
			}
			testkit.IdleIs(t, p, "before MaxIdleTime is over", 1)
			testkit.Sleep(10 * time.Second)
			testkit.IdleIs(t, p, "when it is over, counted from the last Put", 0)
			if got := len(x.Opened()[0].ClosedWith()); got != 1 || p.Stats().ClosedIdle != 1 {
				t.Errorf("the connection was closed %d times, %d of them as idle, want once", got, p.Stats().ClosedIdle)
			}
			if clean && cleaned != 21 {
				t.Errorf("Clean was called %d times, want at each of 21 returns", cleaned)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		if err := p.PutUnused(l); err != nil {
			t.Errorf("PutUnused: %v", err)
		}
		next := r.Served(t, "by a PutUnused")
		if err := p.PutUnused(l); err != pool.ErrNotLeased {
			t.Errorf("a second PutUnused returned %v, want ErrNotLeased", err)
		}
		testkit.GiveBack(t, p, next)
	})
}
