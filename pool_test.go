package pool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestMain(m *testing.M) { leftover.Main(m) }

func TestGetLendsAnIdleConnectionBeforeItOpensOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 100})
		first := testkit.Borrow(t, p)
		testkit.GiveBack(t, p, first)
		for range 50 {
			l := testkit.Borrow(t, p)
			if got := l.Value().Number; got != 1 {
				t.Fatalf("Get lent connection %d, want the idle one", got)
			}
			testkit.GiveBack(t, p, l)
		}
		synctest.Wait()
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
	})
}

func TestGetOpensUpToMaxConnectionsAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
		seen := map[*testkit.Wire]bool{}
		for _, l := range leases {
			seen[l.Value()] = true
		}
		if len(seen) != 3 {
			t.Errorf("three leases are of %d connections", len(seen))
		}
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "with all connections leased")
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
		testkit.GiveBack(t, p, leases[1])
		if got := r.Served(t, "after a Put"); got.Value() != leases[1].Value() {
			t.Errorf("the waiter got connection %d, want the one that was returned", got.Value().Number)
		}
	})
}

func TestMaxConnectionsIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 5
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(1+attempt%7) * time.Millisecond)
			if attempt%5 == 0 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: most})
		var wg sync.WaitGroup
		for g := range 40 {
			wg.Go(func() {
				for i := range 30 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%9)*time.Millisecond)
					l, err := p.Get(ctx)
					cancel()
					if err != nil {
						continue
					}
					time.Sleep(time.Duration(g%3) * time.Millisecond)
					switch (g + i) % 10 {
					case 0:
						_ = p.Discard(l, testkit.ErrCause)
					case 1:
						if w, err := p.Detach(l); err == nil {
							_ = x.HangUp(w, nil)
						}
					default:
						_ = p.Put(l)
					}
				}
			})
		}
		wg.Wait()
		testkit.Sleep(time.Second) // for what is still being opened
		// Close begins when its slot is free already. But it begins before time goes
		// on, and to open another takes time.
		if got := x.OpenAtMost(); got > most {
			t.Errorf("%d connections were open at once, want at most %d", got, most)
		}
		if got := p.Stats(); got.ActiveConnections+got.IdleConnections > most || got.ActiveConnections != 0 || got.WaitingRequests != 0 {
			t.Errorf("at the end %+v", got)
		}
		p.Close()
		x.AllClosedOnce(t)
	})
}

func TestTryGetLendsWhatIsIdleAndNeverOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		if l, ok := p.TryGet(); ok || l != (pool.Lease[*testkit.Wire]{}) {
			t.Error("TryGet of an empty pool lent something")
		}
		l := testkit.Borrow(t, p)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet lent a connection that is leased")
		}
		testkit.GiveBack(t, p, l)
		again, ok := p.TryGet()
		if !ok || again.Value() != l.Value() {
			t.Error("TryGet did not lend the idle connection")
		}
		testkit.GiveBack(t, p, again)
		synctest.Wait()
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times, want once, for the Get", got)
		}
	})
}

// sqlx#453, HikariCP#1909: newcomers overtake between release and wake-up.
func TestTryGetTakesNothingWhileAnybodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p) // its connection is being opened
		testkit.GiveBack(t, p, l)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet overtook a waiter")
		}
		l = r.Served(t, "after the Put")
		release()
		synctest.Wait() // the second connection is idle
		r = testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, r.Served(t, "with one idle"))
		testkit.GiveBack(t, p, l)
	})
}

func TestALeaseTellsOfItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Second); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		began := time.Now()
		first := testkit.Borrow(t, p)
		opened := began.Add(time.Second)
		if first.Value() != x.Opened()[0] || first.Reused() || !first.Opened().Equal(opened) {
			t.Errorf("first lease: connection %d, reused %v, opened %v", first.Value().Number, first.Reused(), first.Opened())
		}
		testkit.Sleep(time.Second)
		testkit.GiveBack(t, p, first)
		second := testkit.Borrow(t, p)
		if !second.Reused() || !second.Opened().Equal(opened) {
			t.Errorf("second lease: reused %v, opened %v, want true, %v", second.Reused(), second.Opened(), opened)
		}
		r := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, second)
		handed := r.Served(t, "after a Put")
		if !handed.Reused() {
			t.Error("a lease that was handed over is not reused")
		}
		// A lease that has ended still says what it said.
		if first.Reused() || second.Value() != handed.Value() {
			t.Error("leases changed when they ended")
		}
		// The next connection in the same slot is a new one.
		_ = p.Discard(handed, nil)
		fresh := testkit.Borrow(t, p)
		if fresh.Reused() || fresh.Value().Number != 2 || !fresh.Opened().After(opened) {
			t.Errorf("after Discard: connection %d, reused %v", fresh.Value().Number, fresh.Reused())
		}
		testkit.GiveBack(t, p, fresh)
	})
}

// A connection whose caller has left lies idle before its first lease. It may have
// gone bad meanwhile, as any other.
func TestAConnectionThatHasLainIdleBeforeItsFirstLeaseIsReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Second); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Get returned %v, want %v", err, context.DeadlineExceeded)
		}
		testkit.Sleep(time.Second)
		l, ok := p.TryGet()
		if !ok || !l.Reused() {
			t.Errorf("TryGet lent %v, reused %v, want both", ok, l.Reused())
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestTheZeroLeaseIsNone(t *testing.T) {
	var l pool.Lease[*testkit.Wire]
	if l.Value() != nil || l.Reused() || !l.Opened().IsZero() {
		t.Errorf("the zero Lease says %v, %v, %v", l.Value(), l.Reused(), l.Opened())
	}
	if got := (pool.Lease[int]{}).Value(); got != 0 {
		t.Errorf("Value of the zero Lease[int] is %d", got)
	}
}

func TestDiscardClosesTheConnectionWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		for n, cause := range []error{testkit.ErrCause, nil} {
			l := testkit.Borrow(t, p)
			if err := p.Discard(l, cause); err != nil {
				t.Fatalf("Discard: %v", err)
			}
			synctest.Wait()
			got := x.Opened()[n].ClosedWith()
			if len(got) != 1 || got[0] == nil || cause != nil && got[0] != cause {
				t.Errorf("after Discard(%v) the connection was closed with %v", cause, got)
			}
			if s := p.Stats(); s.VacantConnections() != 1 || s.ClosedDiscard != uint64(n+1) {
				t.Errorf("after Discard %+v", s)
			}
		}
	})
}

// go#10886, commons-pool POOL-303: the slot of a discarded or detached connection is
// free at once, even if Close never returns.
func TestDiscardAndDetachServeAWaiterAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, _ := testkit.Obstacle(t)
		x := testkit.Exchange{Closing: func(w *testkit.Wire, _ error) error {
			if w.Number == 1 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		if err := p.Discard(l, testkit.ErrCause); err != nil {
			t.Fatal(err)
		}
		l = r.Served(t, "after Discard")
		if l.Value().Number != 2 || l.Reused() {
			t.Errorf("the waiter got connection %d, want a new one", l.Value().Number)
		}
		r = testkit.Ask(t.Context(), p)
		if w, err := p.Detach(l); err != nil || w != l.Value() {
			t.Fatalf("Detach = %v, %v", w, err)
		}
		l = r.Served(t, "after Detach")
		testkit.GiveBack(t, p, l)
		if got := len(x.Opened()[1].ClosedWith()); got != 0 {
			t.Errorf("a detached connection was closed %d times by the pool", got)
		}
	})
}

func TestDetachTakesTheConnectionOutForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		w, err := p.Detach(testkit.Borrow(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Stats(); got.VacantConnections() != 1 || got.Detached != 1 {
			t.Errorf("after Detach %+v", got)
		}
		l := testkit.Borrow(t, p)
		if l.Value() == w {
			t.Error("a detached connection was lent")
		}
		testkit.GiveBack(t, p, l)
		p.Close()
		if got := len(w.ClosedWith()); got != 0 {
			t.Errorf("the pool closed a detached connection %d times", got)
		}
	})
}

func TestDoLendsTheConnectionForTheCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		ctx := context.WithValue(t.Context(), key{}, "value")
		err := p.Do(ctx, func(got context.Context, w *testkit.Wire) error {
			if got != ctx || w != x.Opened()[0] {
				t.Errorf("Do called its function with (%v, %v)", got, w)
			}
			if s := p.Stats(); s.ActiveConnections != 1 {
				t.Errorf("in Do %+v", s)
			}
			return nil
		})
		if err != nil {
			t.Errorf("Do returned %v", err)
		}
		if s := p.Stats(); s.IdleConnections != 1 {
			t.Errorf("after Do %+v", s)
		}
	})
}

func TestDoReturnsTheErrorOfItsFunctionAndClosesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		give := func(err error) func(context.Context, *testkit.Wire) error {
			return func(context.Context, *testkit.Wire) error { return err }
		}
		if got := p.Do(t.Context(), give(pool.Keep(testkit.ErrCause))); got != testkit.ErrCause {
			t.Errorf("Do returned %v, want %v", got, testkit.ErrCause)
		}
		if s := p.Stats(); s.IdleConnections != 1 {
			t.Errorf("after Keep %+v, want the connection back", s)
		}
		if got := p.Do(t.Context(), give(testkit.ErrCause)); got != testkit.ErrCause {
			t.Errorf("Do returned %v, want %v", got, testkit.ErrCause)
		}
		synctest.Wait()
		if got := x.Opened()[0].ClosedWith(); len(got) != 1 || got[0] != testkit.ErrCause {
			t.Errorf("after an error the connection was closed with %v, want that error", got)
		}
		if s := p.Stats(); s.VacantConnections() != 1 || s.ClosedDiscard != 1 {
			t.Errorf("after an error %+v", s)
		}
		// Without a connection the function is not called.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := p.Do(ctx, func(context.Context, *testkit.Wire) error { t.Error("called"); return nil })
		if !errors.Is(got, context.Canceled) {
			t.Errorf("Do returned %v, want %v", got, context.Canceled)
		}
	})
}

// go#13677, commons-pool POOL-336: a panic leaves a slot lost.
func TestDoDiscardsTheConnectionWhenItsFunctionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		func() {
			defer func() {
				if got := recover(); got != testkit.ErrCause {
					t.Errorf("recovered %v, want the panic to go on up", got)
				}
			}()
			_ = p.Do(t.Context(), func(context.Context, *testkit.Wire) error { panic(testkit.ErrCause) })
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.Do(t.Context(), func(context.Context, *testkit.Wire) error { runtime.Goexit(); return nil })
		}()
		<-done
		synctest.Wait()
		x.AllClosedOnce(t)
		if s := p.Stats(); s.VacantConnections() != 1 || s.ClosedDiscard != 2 {
			t.Errorf("after a panic and a Goexit %+v, want both connections discarded", s)
		}
	})
}

func TestMaxWaitersRejectsOneMoreThanMayWait(t *testing.T) {
	tests := []struct{ maxWaiters, wait int }{{2, 2}, {1, 1}, {-1, 0}, {-100, 0}}
	for _, tt := range tests {
		testkit.Bubble(t, fmt.Sprint("MaxWaiters=", tt.maxWaiters), func(t *testing.T) {
			// vitess#3726, fasthttp#718: an unbounded queue turns one sick backend
			// into a full outage.
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Open: func(context.Context, int) error { <-hang; return nil }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaiters: tt.maxWaiters, MaxWaitTime: -1})
			var waiting []*testkit.Request[*testkit.Wire]
			for range 3 + tt.wait { // three for whom a connection is being opened
				r := testkit.Ask(t.Context(), p)
				r.Pending(t, "while opening hangs")
				waiting = append(waiting, r)
			}
			testkit.Ask(t.Context(), p).Failed(t, "one more", pool.ErrRejected)
			release()
			synctest.Wait()
			// All three are leased: nothing can be opened for anybody now.
			testkit.Ask(t.Context(), p).Failed(t, "with all leased", pool.ErrRejected)
			for _, r := range waiting {
				testkit.GiveBack(t, p, r.Served(t, "in turn"))
			}
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
			if got := p.Stats(); got.Rejected != 2 || got.WaitingRequests != 0 {
				t.Errorf("%+v, want 2 rejected", got)
			}
		})
	}
}

func TestWithoutMaxWaitersThousandsMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		var wg sync.WaitGroup
		for range 5000 {
			wg.Go(func() {
				l, err := p.Get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				testkit.GiveBack(t, p, l)
			})
		}
		synctest.Wait()
		if got := p.Stats().WaitingRequests; got != 5000 {
			t.Errorf("%d wait, want 5000", got)
		}
		testkit.GiveBack(t, p, l)
		wg.Wait()
	})
}

// A function can learn whether its connection is reused, and end its lease.
func TestDoLeaseHandsOnTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		for i, end := range []func(pool.Lease[*testkit.Wire]) error{
			func(pool.Lease[*testkit.Wire]) error { return nil },
			func(pool.Lease[*testkit.Wire]) error { return nil },
			func(l pool.Lease[*testkit.Wire]) error { return p.Discard(l, testkit.ErrCause) },
			func(l pool.Lease[*testkit.Wire]) error { _, err := p.Detach(l); return err },
		} {
			err := p.DoLease(t.Context(), func(_ context.Context, l pool.Lease[*testkit.Wire]) error {
				if got, want := l.Reused(), i == 1 || i == 2; got != want {
					t.Errorf("lease %d is reused: %v, want %v", i, got, want)
				}
				return end(l)
			})
			if err != nil {
				t.Errorf("DoLease %d returned %v", i, err)
			}
		}
		synctest.Wait()
		if s := p.Stats(); s.Opened != 2 || s.ClosedDiscard != 1 || s.Detached != 1 || s.VacantConnections() != 1 {
			t.Errorf("in the end %+v", s)
		}
	})
}
