package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGetWithACtxThatHasEndedLendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 2})
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		caused, cancelCause := context.WithCancelCause(t.Context())
		cancelCause(errCause)
		expired, cancel := context.WithDeadlineCause(t.Context(), time.Now(), errCause)
		defer cancel()
		check := func(when string) {
			t.Helper()
			ask(canceled, p).failed(t, when, context.Canceled)
			r := ask(caused, p)
			r.failed(t, when, context.Canceled)
			r.failed(t, when, errCause)
			r = ask(expired, p)
			r.failed(t, when, context.DeadlineExceeded)
			r.failed(t, when, errCause)
		}
		check("an empty pool")
		if got := x.tried(); got != 0 {
			t.Errorf("Open was called %d times", got)
		}
		fill(t, p, 1)
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
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
		l := borrow(t, p)
		caused, cancelCause := context.WithCancelCause(t.Context())
		expiring, cancel := context.WithTimeoutCause(t.Context(), time.Second, errUnfit)
		defer cancel()
		first, second, third := ask(caused, p), ask(expiring, p), ask(t.Context(), p)

		cancelCause(errCause)
		first.failed(t, "cancelled", context.Canceled)
		first.failed(t, "cancelled", errCause)
		second.pending(t, "when another is cancelled")
		if got := p.Stats().WaitingRequests; got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		time.Sleep(time.Second)
		second.failed(t, "at its deadline", context.DeadlineExceeded)
		second.failed(t, "at its deadline", errUnfit)
		third.pending(t, "when the others have gone")
		giveBack(t, p, l)
		giveBack(t, p, third.served(t, "after the Put"))
		if got := p.Stats(); got.Canceled != 2 || got.WaitingRequests != 0 || got.IdleConnections != 1 {
			t.Errorf("%+v, want two canceled and the connection idle", got)
		}
	})
}

// sqlx#1129: a dead head of the queue blocks the rest.
func TestOneInTheMiddleOrAtTheEndMayLeave(t *testing.T) {
	for leaver := range 3 {
		bubble(t, fmt.Sprint("place ", leaver), func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
			l := borrow(t, p)
			var asked [3]*request[*wire]
			var cancels [3]context.CancelFunc
			for i := range asked {
				var ctx context.Context
				ctx, cancels[i] = context.WithCancel(t.Context())
				defer cancels[i]()
				asked[i] = ask(ctx, p)
			}
			cancels[leaver]()
			asked[leaver].failed(t, "cancelled", context.Canceled)
			for i, r := range asked {
				if i == leaver {
					continue
				}
				giveBack(t, p, l)
				l = r.served(t, "in turn")
			}
			giveBack(t, p, l)
			whole(t, p, 1)
		})
	}
}

// vitess#20310, sqlx#3132, fasthttp#1830: a connection is handed to a waiter that has
// expired, whose goroutine has not run yet. The ctx of the first waiter ends before
// the Put, every time: it gets the error, and the second the connection, every time.
func TestAWaiterWhoseCtxHasEndedIsNeverServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
		for range 1000 {
			l := borrow(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			first, second := ask(ctx, p), ask(t.Context(), p)
			cancel()
			giveBack(t, p, l)
			first.failed(t, "cancelled before the Put", context.Canceled)
			giveBack(t, p, second.served(t, "after the Put"))
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
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 4, MaxWaitTime: -1})
			var held []Lease[*wire]
			for range 4 {
				held = append(held, borrow(t, p))
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
						giveBack(t, p, l)
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
						_ = p.Discard(l, errCause)
					} else {
						giveBack(t, p, l)
					}
				})
			}
			close(go0)
			wg.Wait()
			whole(t, p, 4)
			if got := x.openAtMost(); got > 5 {
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
		do   func(*testing.T, *Pool[*wire], Lease[*wire])
		want error // what the caller may get as well
	}{
		"expiry":   {func(*testing.T, *Pool[*wire], Lease[*wire]) {}, ErrExhausted},
		"hand-off": {func(t *testing.T, p *Pool[*wire], l Lease[*wire]) { giveBack(t, p, l) }, nil},
		"Close":    {func(_ *testing.T, p *Pool[*wire], _ Lease[*wire]) { p.Close() }, ErrClosed},
		"failed open": {func(_ *testing.T, p *Pool[*wire], l Lease[*wire]) {
			_ = p.Discard(l, nil)
		}, errDial},
	}
	for name, other := range others {
		bubble(t, name, func(t *testing.T) {
			for range 100 {
				x := exchange{open: func(_ context.Context, attempt int) error {
					if attempt > 1 && name == "failed open" {
						return errDial
					}
					return nil
				}}
				p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: time.Second})
				l := borrow(t, p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				r := ask(ctx, p)
				go func() {
					time.Sleep(time.Second)
					other.do(t, p, l)
				}()
				time.Sleep(time.Second)
				if !r.returned() {
					t.Fatal("Get waits beyond its deadline")
				}
				switch {
				case r.err == nil && name == "hand-off":
					giveBack(t, p, r.lease)
				case errors.Is(r.err, context.DeadlineExceeded), errors.Is(r.err, ErrExhausted),
					other.want != nil && errors.Is(r.err, other.want):
				default:
					t.Fatalf("Get returned (%v, %v)", r.lease.Value(), r.err)
				}
				got := p.Stats()
				if got.WaitingRequests != 0 || got.Timeouts+got.Canceled > 1 {
					t.Fatalf("%+v, want one answer and nobody who waits", got)
				}
				if name == "expiry" {
					giveBack(t, p, l)
				}
				if name == "hand-off" || name == "expiry" {
					whole(t, p, 1)
				}
				cancel()
				p.Close()
				x.allClosedOnce(t)
			}
		})
	}
}

func TestACallerWhoLeavesDuringItsOpenLeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { time.Sleep(time.Second); return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 1})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := ask(ctx, p), ask(t.Context(), p)
		cancel()
		first.failed(t, "cancelled", context.Canceled)
		time.Sleep(time.Second)
		l := second.served(t, "when it is open")
		if l.Value().number != 1 {
			t.Errorf("connection %d was lent, want the one that the first had asked for", l.Value().number)
		}
		giveBack(t, p, l)
	})
}

// The same, with the waiter's goroutine stopped before it could see that its ctx has
// ended: whoever has the connection sees it.
func TestAGranterPassesOverAWaiterWhoseCtxHasEnded(t *testing.T) {
	var x exchange
	p := start(t, x.factory(), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := p.parkers.Get().(*parker)
	w := k.waiter(ctx.Done(), 0)
	p.gate.Add(uint64(gateWaiter))
	if p.grant(w, token{}) {
		t.Error("the waiter was given the connection")
	}
	if got := <-k.ch; got.err != errEnded {
		t.Errorf("the waiter was told %v, want that its ctx has ended", got.err)
	}
	if got := p.gate.Load(); got != 0 || w.live() {
		t.Errorf("the gate is %d, the waiter live %v", got, w.live())
	}
}

// The same, with the granter faster: the waiter leaves, finds that it has a connection
// already, and passes it on.
func TestAWaiterWhoLeavesTooLatePassesOnItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		for _, waiting := range []bool{false, true} {
			h, err := p.reclaim(borrow(t, p))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			k := p.parkers.Get().(*parker)
			w := k.waiter(ctx.Done(), 0)
			p.gate.Add(uint64(gateWaiter))
			if !p.grant(w, token{held: h}) {
				t.Fatal("the waiter was not given the connection")
			}
			cancel()
			var next *request[*wire]
			if waiting {
				next = ask(t.Context(), p)
			}
			p.leave(k, w)
			if waiting {
				giveBack(t, p, next.served(t, "when the first has left"))
			}
			whole(t, p, 1)
		}
		if got := x.tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
	})
}
