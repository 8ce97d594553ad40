package lending

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestGetWithACtxThatHasEndedLendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		caused, cancelCause := context.WithCancelCause(t.Context())
		cancelCause(testkit.ErrCause)
		expired, cancel := context.WithDeadlineCause(t.Context(), time.Now(), testkit.ErrCause)
		defer cancel()
		check := func(when string) {
			t.Helper()
			testkit.Ask(canceled, p).Failed(t, when, context.Canceled)
			r := testkit.Ask(caused, p)
			r.Failed(t, when, context.Canceled)
			r.Failed(t, when, testkit.ErrCause)
			r = testkit.Ask(expired, p)
			r.Failed(t, when, context.DeadlineExceeded)
			r.Failed(t, when, testkit.ErrCause)
		}
		check("an empty pool")
		if got := x.Tried(); got != 0 {
			t.Errorf("Open was called %d times", got)
		}
		testkit.Fill(t, p, 1)
		check("with one idle")
		if got := p.Stats(); got.IdleConnections != 1 {
			t.Errorf("%+v, want one idle", got)
		}
		p.Close()
		check("after Close")
	})
}

func TestACancelledWaiterReturnsAtOnceAndTheNextIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		caused, cancelCause := context.WithCancelCause(t.Context())
		expiring, cancel := context.WithTimeoutCause(t.Context(), time.Second, testkit.ErrUnfit)
		defer cancel()
		first, second, third := testkit.Ask(caused, p), testkit.Ask(expiring, p), testkit.Ask(t.Context(), p)

		cancelCause(testkit.ErrCause)
		first.Failed(t, "cancelled", context.Canceled)
		first.Failed(t, "cancelled", testkit.ErrCause)
		second.Pending(t, "when another is cancelled")
		if got := p.Stats().WaitingRequests; got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		testkit.Sleep(time.Second)
		second.Failed(t, "at its deadline", context.DeadlineExceeded)
		second.Failed(t, "at its deadline", testkit.ErrUnfit)
		third.Pending(t, "when the others have gone")
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, third.Served(t, "after the Put"))
		if got := p.Stats(); got.Canceled != 2 || got.WaitingRequests != 0 || got.IdleConnections != 1 {
			t.Errorf("%+v, want two canceled and the connection idle", got)
		}
	})
}

// sqlx#1129: a dead head of the queue blocks the rest.
func TestOneInTheMiddleOrAtTheEndMayLeave(t *testing.T) {
	for leaver := range 3 {
		testkit.Bubble(t, fmt.Sprint("place ", leaver), func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
			l := testkit.Borrow(t, p)
			var asked [3]*testkit.Request[*testkit.Wire]
			var cancels [3]context.CancelFunc
			for i := range asked {
				var ctx context.Context
				ctx, cancels[i] = context.WithCancel(t.Context())
				defer cancels[i]()
				asked[i] = testkit.Ask(ctx, p)
			}
			cancels[leaver]()
			asked[leaver].Failed(t, "cancelled", context.Canceled)
			for i, r := range asked {
				if i == leaver {
					continue
				}
				testkit.GiveBack(t, p, l)
				l = r.Served(t, "in turn")
			}
			testkit.GiveBack(t, p, l)
			testkit.Whole(t, p, 1)
		})
	}
}

// vitess#20310, sqlx#3132, fasthttp#1830: a connection is handed to a waiter that has
// expired, whose goroutine has not run yet. The ctx of the first waiter ends before
// the Put, every time: it gets the error, and the second the connection, every time.
func TestAWaiterWhoseCtxHasEndedIsNeverServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		for range 1000 {
			l := testkit.Borrow(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			first, second := testkit.Ask(ctx, p), testkit.Ask(t.Context(), p)
			cancel()
			testkit.GiveBack(t, p, l)
			first.Failed(t, "cancelled before the Put", context.Canceled)
			testkit.GiveBack(t, p, second.Served(t, "after the Put"))
		}
		if got := p.Stats(); got.Canceled != 1000 || got.Opened != 1 || got.Gets != 2000 {
			t.Errorf("%+v, want 1000 canceled and one connection, lent 2000 times", got)
		}
	})
}

// bb8#67, puddle#2: cancelled getters swallow wake-ups. hackney#462: every
// interleaving of cancel and success ends with the slot in the pool. Three things
// happen at the same moment: of the hundred waiters half are cancelled, connections
// come back, and some of those that come back are no good.
func TestCancelAtTheMomentOfHandOffLosesNothing(t *testing.T) {
	for round := range 60 {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, MaxWaitTime: -1})
			var held []pool.Lease[*testkit.Wire]
			for range 4 {
				held = append(held, testkit.Borrow(t, p))
			}
			var wg sync.WaitGroup
			go0 := make(chan struct{})
			for i := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				wg.Go(func() {
					defer cancel()
					l, err := p.Get(ctx)
					if i%2 == 1 && err != nil {
						t.Errorf("a patient caller got %v", err)
					}
					if i%2 == 0 && err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("a cancelled caller got %v", err)
					}
					if err == nil {
						testkit.GiveBack(t, p, l)
					}
				})
				if i%2 == 0 {
					wg.Go(func() {
						<-go0
						cancel()
					})
				}
			}
			synctest.Wait()
			for i, l := range held {
				wg.Go(func() {
					<-go0
					if i == round%8 {
						_ = p.Discard(l, testkit.ErrCause)
					} else {
						testkit.GiveBack(t, p, l)
					}
				})
			}
			close(go0)
			wg.Wait()
			testkit.Whole(t, p, 4)
			if got := x.OpenAtMost(); got > 5 {
				t.Errorf("%d connections were open at once", got)
			}
		})
	}
}

// At the same instant ctx ends and MaxWaitTime runs out, and a Put comes, and an
// attempt fails, and the pool is closed: there is one answer, and the connection is
// in the pool or closed.
func TestCancelAtTheSameMomentAsSomethingElse(t *testing.T) {
	others := map[string]struct {
		do   func(*testing.T, *pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire])
		want []error // what the caller may get as well
	}{
		"expiry": {func(*testing.T, *pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire]) {}, nil},
		"hand-off": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l)
		}, nil},
		"Close": {func(_ *testing.T, p *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire]) { p.Close() }, []error{pool.ErrClosed}},
		"failed open": {func(_ *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			_ = p.Discard(l, nil) // then nothing is open, which is how the wait may end
		}, []error{testkit.ErrDial, pool.ErrUnavailable}},
	}
	for name, other := range others {
		testkit.Bubble(t, name, func(t *testing.T) {
			for range 100 {
				x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
					if attempt > 1 && name == "failed open" {
						return testkit.ErrDial
					}
					return nil
				}}
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second, FailFastAfter: testkit.AtOnce})
				l := testkit.Borrow(t, p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				r := testkit.Ask(ctx, p)
				go func() {
					time.Sleep(time.Second)
					other.do(t, p, l)
				}()
				testkit.Sleep(time.Second)
				if !r.Returned() {
					t.Fatal("Get waits beyond its deadline")
				}
				switch {
				case r.Err == nil && name == "hand-off":
					testkit.GiveBack(t, p, r.Lease)
				case errors.Is(r.Err, context.DeadlineExceeded), errors.Is(r.Err, pool.ErrExhausted),
					slices.ContainsFunc(other.want, func(err error) bool { return errors.Is(r.Err, err) }):
				default:
					t.Fatalf("Get returned (%v, %v)", r.Lease.Value(), r.Err)
				}
				got := p.Stats()
				if got.WaitingRequests != 0 || got.Timeouts+got.Canceled+got.Unavailable > 1 {
					t.Fatalf("%+v, want one answer and nobody who waits", got)
				}
				if name == "expiry" {
					testkit.GiveBack(t, p, l)
				}
				if name == "hand-off" || name == "expiry" {
					testkit.Whole(t, p, 1)
				}
				cancel()
				p.Close()
				x.AllClosedOnce(t)
			}
		})
	}
}

func TestACallerWhoLeavesDuringItsOpenLeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Second); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := testkit.Ask(ctx, p), testkit.Ask(t.Context(), p)
		cancel()
		first.Failed(t, "cancelled", context.Canceled)
		testkit.Sleep(time.Second)
		l := second.Served(t, "when it is open")
		if l.Value().Number != 1 {
			t.Errorf("connection %d was lent, want the one that the first had asked for", l.Value().Number)
		}
		testkit.GiveBack(t, p, l)
	})
}
