package ending

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/google/go-cmp/cmp"
)

// refusedHere fails the test unless all methods of p say that it is of another bubble, and
// change nothing. The lease is of p, and something waits, or the pool is closed.
func refusedHere(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
	t.Helper()
	before := testkit.Figures(p)
	for name, call := range map[string]func() error{
		"Get":       func() error { _, err := p.Get(t.Context()); return err },
		"Do":        func() error { return p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return nil }) },
		"Put":       func() error { return p.Put(l) },
		"PutUnused": func() error { return p.PutUnused(l) },
		"PutFor":    func() error { return p.PutFor(l, time.Minute) },
		"Discard":   func() error { return p.Discard(l, nil) },
		"Detach":    func() error { _, err := p.Detach(l); return err },
		"Warm":      func() error { return p.Warm(t.Context(), 1) },
		"Resize":    func() error { return p.Resize(7) },
		"Shutdown":  func() error { return p.Shutdown(t.Context()) },
		"Close":     p.Close,
	} {
		if err := call(); err != pool.ErrBubble {
			t.Errorf("%s in another place returned %v, want ErrBubble", name, err)
		}
	}
	p.Reset()
	for _, i := range p.Leases() {
		if p.Revoke(i) {
			t.Error("Revoke in another place has ended a lease")
		}
	}
	if _, ok := p.TryGet(); ok {
		t.Error("TryGet in another place lent a connection")
	}
	if diff := cmp.Diff(before, testkit.Figures(p)); diff != "" {
		t.Errorf("the pool has changed (-before +after):\n%s", diff)
	}
}

// tailscale#20693: a channel that crosses a bubble ends the process.
func TestAPoolThatWasMadeOutsideOfABubbleSaysSoInside(t *testing.T) {
	for _, check := range []bool{false, true} {
		var x testkit.Exchange
		f := x.Factory()
		if check {
			f.Check = func(*testkit.Wire) error { return nil }
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1})
		l := testkit.Borrow(t, p)
		in := testkit.Inside(p)
		in.Gate.Add(uint64(words.GateWaiter)) // somebody waits
		synctest.Test(t, func(t *testing.T) { refusedHere(t, p, l) })
		in.Gate.Sub(uint64(words.GateWaiter))
		testkit.GiveBack(t, p, l) // it was in force all the time
		synctest.Test(t, func(t *testing.T) {
			l, err := p.Get(t.Context()) // what is idle may be lent: no harm is done
			switch {
			case err == nil && !check:
				testkit.GiveBack(t, p, l)
			case err != pool.ErrBubble || !check:
				t.Errorf("Get returned %v with Check: %v", err, check)
			}
			if err := p.Close(); err != pool.ErrBubble {
				t.Errorf("Close returned %v, want ErrBubble", err)
			}
		})
		if got := p.Stats(); got.IdleConnections != 1 || got.Opened != 1 {
			t.Errorf("afterwards %+v, want one idle", got)
		}
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		if err := p.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
		x.AllClosedOnce(t)
	}
}

// The same for a pool whose first use is in a bubble: its goroutine would be started there.
func TestAPoolThatWasMadeOutsideAndIsFirstUsedInABubble(t *testing.T) {
	for _, minIdle := range []int{0, 1} {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MinIdle: minIdle})
		if minIdle > 0 {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
			l := testkit.Borrow(t, p)
			defer p.Put(l)
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for range 3 {
				if _, err := p.Get(ctx); err != nil && err != pool.ErrBubble {
					t.Errorf("Get returned %v, want ErrBubble", err)
				}
			}
			if err := p.Warm(ctx, 2); err != pool.ErrBubble {
				t.Errorf("Warm returned %v, want ErrBubble", err)
			}
			if err := p.Add(ctx); err != pool.ErrBubble {
				t.Errorf("Add returned %v, want ErrBubble", err)
			}
		})
	}
}

func TestAPoolThatWasMadeInABubbleSaysSoOutside(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for _, check := range []bool{false, true} {
			var x testkit.Exchange
			var p *pool.Pool[*testkit.Wire]
			var l pool.Lease[*testkit.Wire]
			synctest.Test(t, func(t *testing.T) {
				f := x.Factory()
				if check {
					f.Check = func(*testkit.Wire) error { return nil }
				}
				var err error
				// Without times it has no goroutine that would have to end with the bubble.
				p, err = pool.New(f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, CheckInterval: -1})
				if err != nil {
					t.Fatal(err)
				}
				l = testkit.Borrow(t, p)
				if closes || check { // with a Check, it has one
					p.Close()
				}
				synctest.Wait()
			})
			if in := testkit.Inside(p); !closes && !check {
				in.Gate.Add(uint64(words.GateWaiter))
				defer in.Gate.Sub(uint64(words.GateWaiter))
			}
			refusedHere(t, p, l)
		}
	}
}

// To reserve a connection wakes the sweeper, or starts it, also where nobody waits.
func TestPutForInAnotherBubbleSaysSoAlsoIfNobodyWaits(t *testing.T) {
	alone := pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1} // without a sweeper
	outside := testkit.Start(t, new(testkit.Exchange).Factory(), alone)
	l := testkit.Borrow(t, outside)
	var inside *pool.Pool[*testkit.Wire]
	var m pool.Lease[*testkit.Wire]
	synctest.Test(t, func(t *testing.T) {
		if err := outside.PutFor(l, time.Minute); err != pool.ErrBubble {
			t.Errorf("PutFor in a bubble returned %v, want ErrBubble", err)
		}
		var err error
		if inside, err = pool.New(new(testkit.Exchange).Factory(), alone); err != nil {
			t.Fatal(err)
		}
		m = testkit.Borrow(t, inside)
		synctest.Wait()
	})
	if err := inside.PutFor(m, time.Minute); err != pool.ErrBubble {
		t.Errorf("PutFor outside of the bubble returned %v, want ErrBubble", err)
	}
	for p, l := range map[*pool.Pool[*testkit.Wire]]pool.Lease[*testkit.Wire]{outside: l, inside: m} {
		if s := p.Stats(); s.ActiveConnections != 1 || s.ReservedConnections != 0 {
			t.Errorf("afterwards %d are leased, %d reserved; want 1, 0", s.ActiveConnections, s.ReservedConnections)
		}
		testkit.GiveBack(t, p, l) // it was in force all the time
	}
}

// The clock of a bubble begins anew, so it is behind that of a pool of an earlier one.
func TestAPoolOfAnotherBubbleSaysSo(t *testing.T) {
	var x testkit.Exchange
	var p *pool.Pool[*testkit.Wire]
	var l pool.Lease[*testkit.Wire]
	synctest.Test(t, func(t *testing.T) {
		testkit.Sleep(time.Hour)
		p = testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l = testkit.Borrow(t, p)
		p.Close()
	})
	synctest.Test(t, func(t *testing.T) { refusedHere(t, p, l) })
}

// Nothing is left of the pools of one bubble that those of the next could meet.
func TestPoolsInOneBubbleAfterTheOther(t *testing.T) {
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }}
			f := x.Factory()
			f.Check = func(*testkit.Wire) error { time.Sleep(time.Microsecond); return nil }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MinIdle: 1, MaxIdleTime: time.Second, LeakAfter: time.Second})
			a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
			waits := testkit.Ask(t.Context(), p)
			expires := testkit.Ask(t.Context(), p)
			waits.Pending(t, "while two are leased")
			testkit.GiveBack(t, p, a)
			testkit.Sleep(time.Millisecond)
			testkit.GiveBack(t, p, waits.Served(t, "by the first"))
			testkit.GiveBack(t, p, expires.Served(t, "after it"))
			testkit.Sleep(10 * time.Second)
			testkit.GiveBack(t, p, b)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown returned %v", err)
			}
			x.AllClosedOnce(t)
		})
	}
}

// A pool is at home however long its bubble sleeps.
func TestAPoolIsAtHomeInABubbleThatSleepsForYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		for range 3 {
			l := testkit.Borrow(t, p)
			r := testkit.Ask(t.Context(), p)
			synctest.Wait()
			testkit.GiveBack(t, p, l)
			testkit.GiveBack(t, p, r.Served(t, "by what came back"))
			testkit.Sleep(40 * 365 * testkit.Day)
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
	})
}

// A lease that was taken without notice, and cannot be ended here, is not forgotten silently.
func TestDoInAnotherBubbleSaysThatItsLeaseIsStillInForce(t *testing.T) {
	var x testkit.Exchange
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
	testkit.Fill(t, p, 1)
	synctest.Test(t, func(t *testing.T) {
		err := p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return testkit.ErrCause })
		if !errors.Is(err, pool.ErrBubble) || !errors.Is(err, testkit.ErrCause) {
			t.Errorf("Do returned %v, want both ErrBubble and the error of the function", err)
		}
	})
	if got := p.Stats().ActiveConnections; got != 1 {
		t.Errorf("%d connections are leased, want 1", got)
	}
}

func TestGetSameDoesNotWaitInAnotherBubble(t *testing.T) {
	p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
	before := testkit.Borrow(t, p)
	testkit.GiveBack(t, p, before)
	l := testkit.Borrow(t, p)
	synctest.Test(t, func(t *testing.T) {
		if _, err := p.GetSame(t.Context(), before.Mark()); err != pool.ErrBubble {
			t.Errorf("GetSame returned %v, want ErrBubble", err)
		}
	})
	testkit.GiveBack(t, p, l)
}
