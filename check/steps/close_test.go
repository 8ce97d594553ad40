//go:build step

package steps

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// beginClose lets Close, or Shutdown, run as far as it gets.
func beginClose(p *pool.Pool[*testkit.Wire], shutdown bool) (done chan error) {
	done = make(chan error, 1)
	go func() {
		if shutdown {
			done <- p.Shutdown(bg)
		} else {
			done <- p.Close()
		}
	}()
	synctest.Wait()
	return done
}

// closed checks that Close or Shutdown has returned, and that everything was closed
// once.
func closed(t *testing.T, p *pool.Pool[*testkit.Wire], x *testkit.Exchange, done chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it returned %v", err)
		}
	default:
		t.Error("it has not returned")
		return
	}
	testkit.AtRest(t, p, 0)
	x.AllClosedOnce(t)
	if got := testkit.Inside(p).Unclosed.Load(); got != 0 {
		t.Errorf("%d connections are not closed", got)
	}
}

// either runs a test with Close and with Shutdown.
func either(t *testing.T, play func(t *testing.T, s *stage.Stage, shutdown bool)) {
	for name, shutdown := range map[string]bool{"Close": false, "Shutdown": true} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) { play(t, s, shutdown) })
		})
	}
}

// Seeded fault 8: the drain is over before the waiter is linked.
func TestWaiterWhoWasNotYetLinkedSeesThatThePoolIsClosed(t *testing.T) {
	either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
		x := new(testkit.Exchange)
		p, l := lent(t, x, 1)
		getter, r := getTo(s, "wait: registered", bg, p)
		done := beginClose(p, shutdown)
		getter.GoOn()
		r.Failed(t, "after it was linked", pool.ErrClosed)
		testkit.GiveBack(t, p, l[0])
		closed(t, p, x, done)
	})
}

// vitess#20122: hand-offs go on during the drain, or a slot is published after it.
func TestSlotPublishedWhileThePoolIsClosedIsClosed(t *testing.T) {
	for _, place := range []string{"put: gate read", "settle: gate read", "settle: nobody waits", "settle: published"} {
		either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
			x := new(testkit.Exchange)
			p, l := lent(t, x, 1)
			var putter, getter *stage.Actor
			var r *testkit.Request[*testkit.Wire]
			if place != "put: gate read" { // the slow path, because somebody counts as waiting
				getter, r = getTo(s, "wait: registered", bg, p)
			}
			putter = putTo(s, place, p, l[0])
			done := beginClose(p, shutdown)
			putter.End()
			if r != nil {
				getter.GoOn()
				r.Failed(t, "when it goes on", pool.ErrClosed)
			}
			closed(t, p, x, done)
		})
	}
}

func TestSlotTakenWhileThePoolIsClosed(t *testing.T) {
	for _, place := range []string{"get: gate read", "wait: looks again"} {
		either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
			x := new(testkit.Exchange)
			p, l := lent(t, x, 1)
			getter, r := getTo(s, "wait: registered", bg, p)
			if place == "get: gate read" {
				getter.GoOn()
				testkit.GiveBack(t, p, l[0])
				testkit.GiveBack(t, p, r.Served(t, "beside an idle slot"))
				getter, r = getTo(s, place, bg, p)
			} else {
				testkit.GiveBack(t, p, l[0])
				getter.To(place)
			}
			done := beginClose(p, shutdown)
			getter.GoOn()
			r.Failed(t, "when it goes on", pool.ErrClosed)
			closed(t, p, x, done)
		})
	}
}

// The flag is set when the limit is set, and not before. But a caller that comes in
// between must be told that the pool is closed.
func TestWaiterWhoComesBetweenTheLimitAndTheFlag(t *testing.T) {
	either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
		x := new(testkit.Exchange)
		p, l := lent(t, x, 2)
		if err := p.Discard(l[1], nil); err != nil { // there is capacity
			t.Fatal(err)
		}
		limit := s.StopNext("shut: limit set")
		done := beginClose(p, shutdown)
		limit.Arrived(t)
		r := testkit.Ask(bg, p)
		testkit.GiveBack(t, p, l[0])
		got := r.Served(t, "before the flag")
		r = testkit.Ask(bg, p)
		r.Pending(t, "before the flag")
		limit.GoOn()
		r.Failed(t, "after the flag", pool.ErrClosed)
		if err := p.Put(got); err != nil {
			t.Errorf("Put: %v", err)
		}
		closed(t, p, x, done)
		if x.Tried() != 2 {
			t.Errorf("Open was called %d times, want 2: not after the limit was set", x.Tried())
		}
	})
}

// vitess#20157, puddle 2.2.3: an open that ends after Close.
func TestOpenAgainstClose(t *testing.T) {
	for place, opens := range map[string]int{
		"ensureOpen: census read": 0,
		"ensureOpen: admitted":    1,
		"opened: established":     1,
		"settle: gate read":       1,
		"settle: somebody waits":  1,
		"grant: decided":          1,
		"grant: ctx looked at":    1,
	} {
		either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
			x := new(testkit.Exchange)
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
			opening := s.StopNext(place)
			r := testkit.Ask(bg, p)
			opening.Arrived(t)
			done := beginClose(p, shutdown)
			opening.GoOn()
			if !r.Returned() {
				t.Fatalf("%q: Get waits", place)
			}
			if r.Err == nil { // it was served just before; with Shutdown it may go on
				if !shutdown {
					t.Errorf("%q: Get returned a lease after Close", place)
				}
				testkit.GiveBack(t, p, r.Lease)
			} else if !errors.Is(r.Err, pool.ErrClosed) {
				t.Errorf("%q: Get returned %v, want ErrClosed", place, r.Err)
			}
			closed(t, p, x, done)
			if len(x.Opened()) != opens {
				t.Errorf("%q: %d connections were opened, want %d", place, len(x.Opened()), opens)
			}
		})
	}
}

// Close revokes a slot that is on its way from one owner to the next.
func TestCloseRevokesWhatIsOnItsWay(t *testing.T) {
	for _, place := range []string{"settle: somebody waits", "grant: decided", "grant: ctx looked at"} {
		for _, leaves := range []bool{false, true} {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x := new(testkit.Exchange)
				p, l := lent(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				r := testkit.Ask(ctx, p)
				putter := putTo(s, place, p, l[0])
				done := beginClose(p, false)
				if leaves {
					cancel()
					synctest.Wait()
				}
				putter.End()
				if leaves && place != "settle: somebody waits" {
					r.Failed(t, "after its cancel", context.Canceled)
				} else {
					r.Failed(t, "after Close", pool.ErrClosed)
				}
				closed(t, p, x, done)
				if err := p.Put(l[0]); err != pool.ErrNotLeased {
					t.Errorf("the second Put returned %v, want ErrNotLeased", err)
				}
			})
		}
	}
}

// The same, and Close has revoked the lease but not yet emptied the slot.
func TestWaiterIsNotGivenALeaseThatHasBeenRevoked(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		p, l := lent(t, x, 1)
		r := testkit.Ask(bg, p)
		putter := putTo(s, "grant: ctx looked at", p, l[0])
		revoked := s.StopNext("revoke: renewed")
		done := beginClose(p, false)
		revoked.Arrived(t)
		putter.End()
		r.Failed(t, "while Close is under way", pool.ErrClosed)
		revoked.GoOn()
		closed(t, p, x, done)
	})
}

// A connection that has been returned, and is neither idle nor handed on yet, does not
// escape Close.
func TestCloseRevokesWhatHasBeenReturned(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		f := x.Factory()
		f.Clean = func(*testkit.Wire) error { return nil } // for the slow path
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		putter := putTo(s, "settle: nobody waits", p, l)
		done := beginClose(p, false)
		putter.End()
		closed(t, p, x, done)
	})
}

// Two goroutines close the pool at the same time, and one has revoked a lease but not yet
// closed its connection. The holder of that lease learns of it as if only one had closed
// the pool.
func TestLeaseRevokedByOneOfTwoWhoCloseThePool(t *testing.T) {
	for name, end := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) (err, want error){
		"Put": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) (err, want error) { return p.Put(l), nil },
		"Discard": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) (err, want error) {
			return p.Discard(l, nil), nil
		},
		"Detach": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) (err, want error) {
			_, err = p.Detach(l)
			return err, pool.ErrClosed
		},
	} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x := new(testkit.Exchange)
				p, l := lent(t, x, 1)
				renewed := s.StopNext("revoke: renewed")
				one := beginClose(p, false)
				renewed.Arrived(t)
				two := beginClose(p, false)
				renewed.GoOn()
				if err, want := end(p, l[0]); err != want {
					t.Errorf("it returned %v, want %v", err, want)
				}
				if err, _ := end(p, l[0]); err != pool.ErrNotLeased {
					t.Errorf("the second time it returned %v, want ErrNotLeased", err)
				}
				closed(t, p, x, one)
				closed(t, p, x, two)
			})
		})
	}
}

// redigo: Close and everything else at once. Each place where somebody may stand when
// Close comes, and stay there until it is over.
func TestCloseWhileSomebodyStandsAnywhere(t *testing.T) {
	for _, place := range []string{
		"get: gate read", "wait: registered", "enqueue: cell taken", "enqueue: written down", "wait: looks again",
		"front: head read", "wait: parked", "ensureOpen: census read", "ensureOpen: admitted",
		"opened: established", "settle: gate read", "settle: somebody waits", "pass: head moved",
		"grant: decided", "grant: ctx looked at", "put: gate read", "put: published", "settle: nobody waits",
		"settle: published", "leave: ctx ended", "vacate: census lowered", "openFailed: census lowered",
		"refuse: decided", "sweep: awake", "disarm: disarmed", "sweep: nothing due",
	} {
		either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
			x := new(testkit.Exchange)
			x.Open = func(_ context.Context, attempt int) error {
				if attempt%3 == 0 {
					return testkit.ErrDial
				}
				return nil
			}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1})
			stood := s.StopNext(place)
			for i := range 6 {
				ctx, cancel := context.WithCancel(bg)
				t.Cleanup(cancel)
				go func() {
					for range 3 {
						l, err := p.Get(ctx)
						if errors.Is(err, pool.ErrClosed) || errors.Is(err, context.Canceled) {
							return
						}
						if err != nil {
							continue
						}
						if i == 1 {
							p.Discard(l, nil)
							continue
						}
						p.Put(l)
					}
				}()
				if i == 4 {
					cancel()
				}
			}
			synctest.Wait()
			done := beginClose(p, shutdown)
			stood.GoOn()
			closed(t, p, x, done)
		})
	}
}

// MaxWaiters is counted from the limit, which Close lowers before it sets the flag. A
// caller that comes between the two is told that the pool is closed, not that too many
// wait.
func TestWhoComesBetweenTheLimitAndTheFlagIsToldThatThePoolIsClosed(t *testing.T) {
	either(t, func(t *testing.T, s *stage.Stage, shutdown bool) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaiters: -1})
		limit := s.StopNext("shut: limit set")
		done := beginClose(p, shutdown)
		limit.Arrived(t)
		testkit.Ask(bg, p).Failed(t, "between limit and flag", pool.ErrClosed)
		limit.GoOn()
		closed(t, p, &x, done)
	})
}
