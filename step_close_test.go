//go:build step

package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// beginClose lets Close, or Shutdown, run as far as it gets.
func beginClose(p *Pool[*wire], shutdown bool) (done chan error) {
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
func closed(t *testing.T, p *Pool[*wire], x *exchange, done chan error) {
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
	atRest(t, p, 0)
	x.allClosedOnce(t)
	if got := p.unclosed.Load(); got != 0 {
		t.Errorf("%d connections are not closed", got)
	}
}

// either runs a test with Close and with Shutdown.
func either(t *testing.T, play func(t *testing.T, s *stage, shutdown bool)) {
	for name, shutdown := range map[string]bool{"Close": false, "Shutdown": true} {
		t.Run(name, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) { play(t, s, shutdown) })
		})
	}
}

// Seeded fault 8: the drain is over before the waiter is linked.
func TestWaiterWhoWasNotYetLinkedSeesThatThePoolIsClosed(t *testing.T) {
	either(t, func(t *testing.T, s *stage, shutdown bool) {
		x := new(exchange)
		p, l := lent(t, x, 1)
		getter, r := s.get("wait: registered", bg, p)
		done := beginClose(p, shutdown)
		getter.goOn()
		r.failed(t, "after it was linked", ErrClosed)
		giveBack(t, p, l[0])
		closed(t, p, x, done)
	})
}

// vitess#20122: hand-offs go on during the drain, or a slot is published after it.
func TestSlotPublishedWhileThePoolIsClosedIsClosed(t *testing.T) {
	for _, place := range []string{"put: gate read", "settle: gate read", "settle: nobody waits", "settle: published"} {
		either(t, func(t *testing.T, s *stage, shutdown bool) {
			x := new(exchange)
			p, l := lent(t, x, 1)
			var putter, getter *actor
			var r *request[*wire]
			if place != "put: gate read" { // the slow path, because somebody counts as waiting
				getter, r = s.get("wait: registered", bg, p)
			}
			putter = s.put(place, p, l[0])
			done := beginClose(p, shutdown)
			putter.end()
			if r != nil {
				getter.goOn()
				r.failed(t, "when it goes on", ErrClosed)
			}
			closed(t, p, x, done)
		})
	}
}

func TestSlotTakenWhileThePoolIsClosed(t *testing.T) {
	for _, place := range []string{"get: gate read", "wait: looks again"} {
		either(t, func(t *testing.T, s *stage, shutdown bool) {
			x := new(exchange)
			p, l := lent(t, x, 1)
			getter, r := s.get("wait: registered", bg, p)
			if place == "get: gate read" {
				getter.goOn()
				giveBack(t, p, l[0])
				giveBack(t, p, r.served(t, "beside an idle slot"))
				getter, r = s.get(place, bg, p)
			} else {
				giveBack(t, p, l[0])
				getter.to(place)
			}
			done := beginClose(p, shutdown)
			getter.goOn()
			r.failed(t, "when it goes on", ErrClosed)
			closed(t, p, x, done)
		})
	}
}

// The flag is set when the limit is, and not before; but whoever comes in between
// must be told.
func TestWaiterWhoComesBetweenTheLimitAndTheFlag(t *testing.T) {
	either(t, func(t *testing.T, s *stage, shutdown bool) {
		x := new(exchange)
		p, l := lent(t, x, 2)
		if err := p.Discard(l[1], nil); err != nil { // there is capacity
			t.Fatal(err)
		}
		limit := s.stopNext("shut: limit set")
		done := beginClose(p, shutdown)
		limit.arrived(t)
		r := ask(bg, p)
		giveBack(t, p, l[0])
		got := r.served(t, "before the flag")
		r = ask(bg, p)
		r.pending(t, "before the flag")
		limit.goOn()
		r.failed(t, "after the flag", ErrClosed)
		if err := p.Put(got); err != nil {
			t.Errorf("Put: %v", err)
		}
		closed(t, p, x, done)
		if x.tried() != 2 {
			t.Errorf("Open was called %d times, want 2: not after the limit was set", x.tried())
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
		either(t, func(t *testing.T, s *stage, shutdown bool) {
			x := new(exchange)
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
			opening := s.stopNext(place)
			r := ask(bg, p)
			opening.arrived(t)
			done := beginClose(p, shutdown)
			opening.goOn()
			if !r.returned() {
				t.Fatalf("%q: Get waits", place)
			}
			if r.err == nil { // it was served just before; with Shutdown it may go on
				if !shutdown {
					t.Errorf("%q: Get returned a lease after Close", place)
				}
				giveBack(t, p, r.lease)
			} else if !errors.Is(r.err, ErrClosed) {
				t.Errorf("%q: Get returned %v, want ErrClosed", place, r.err)
			}
			closed(t, p, x, done)
			if len(x.opened()) != opens {
				t.Errorf("%q: %d connections were opened, want %d", place, len(x.opened()), opens)
			}
		})
	}
}

// Close revokes a slot that is on its way from one owner to the next.
func TestCloseRevokesWhatIsOnItsWay(t *testing.T) {
	for _, place := range []string{"settle: somebody waits", "grant: decided", "grant: ctx looked at"} {
		for _, leaves := range []bool{false, true} {
			staged(t, func(t *testing.T, s *stage) {
				x := new(exchange)
				p, l := lent(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				r := ask(ctx, p)
				putter := s.put(place, p, l[0])
				done := beginClose(p, false)
				if leaves {
					cancel()
					synctest.Wait()
				}
				putter.end()
				if leaves && place != "settle: somebody waits" {
					r.failed(t, "after its cancel", context.Canceled)
				} else {
					r.failed(t, "after Close", ErrClosed)
				}
				closed(t, p, x, done)
				if err := p.Put(l[0]); err != ErrNotLeased {
					t.Errorf("the second Put returned %v, want ErrNotLeased", err)
				}
			})
		}
	}
}

// The same, and Close has revoked the lease but not yet emptied the slot.
func TestWaiterIsNotGivenALeaseThatHasBeenRevoked(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		p, l := lent(t, x, 1)
		r := ask(bg, p)
		putter := s.put("grant: ctx looked at", p, l[0])
		revoked := s.stopNext("revoke: renewed")
		done := beginClose(p, false)
		revoked.arrived(t)
		putter.end()
		r.failed(t, "while Close is under way", ErrClosed)
		revoked.goOn()
		closed(t, p, x, done)
	})
}

// What is returned to the pool, and is neither idle nor handed on yet, does not
// escape Close.
func TestCloseRevokesWhatHasBeenReturned(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		f := x.factory()
		f.Clean = func(*wire) error { return nil } // for the slow path
		p := start(t, f, Config{MaxConnections: 1})
		l := borrow(t, p)
		putter := s.put("settle: nobody waits", p, l)
		done := beginClose(p, false)
		putter.end()
		closed(t, p, x, done)
	})
}

// Two goroutines close the pool at the same time, and one has revoked a lease but not
// yet closed its connection. Whose lease it was learns of it as if there were one.
func TestLeaseRevokedByOneOfTwoWhoCloseThePool(t *testing.T) {
	for name, end := range map[string]func(p *Pool[*wire], l Lease[*wire]) (err, want error){
		"Put":     func(p *Pool[*wire], l Lease[*wire]) (err, want error) { return p.Put(l), nil },
		"Discard": func(p *Pool[*wire], l Lease[*wire]) (err, want error) { return p.Discard(l, nil), nil },
		"Detach": func(p *Pool[*wire], l Lease[*wire]) (err, want error) {
			_, err = p.Detach(l)
			return err, ErrClosed
		},
	} {
		t.Run(name, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x := new(exchange)
				p, l := lent(t, x, 1)
				renewed := s.stopNext("revoke: renewed")
				one := beginClose(p, false)
				renewed.arrived(t)
				two := beginClose(p, false)
				renewed.goOn()
				if err, want := end(p, l[0]); err != want {
					t.Errorf("it returned %v, want %v", err, want)
				}
				if err, _ := end(p, l[0]); err != ErrNotLeased {
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
		"get: gate read", "wait: registered", "enqueue: tail read", "enqueue: linked", "wait: looks again",
		"front: head read", "wait: parked", "ensureOpen: census read", "ensureOpen: admitted",
		"opened: established", "settle: gate read", "settle: somebody waits", "advance: tail passed",
		"grant: decided", "grant: ctx looked at", "put: gate read", "put: published", "settle: nobody waits",
		"settle: published", "leave: ctx ended", "vacate: census lowered", "openFailed: census lowered",
		"refuse: decided", "sweep: awake", "disarm: disarmed", "sweep: nothing due",
	} {
		either(t, func(t *testing.T, s *stage, shutdown bool) {
			x := new(exchange)
			x.open = func(_ context.Context, attempt int) error {
				if attempt%3 == 0 {
					return errDial
				}
				return nil
			}
			p := start(t, x.factory(), Config{MaxConnections: 2, MaxWaitTime: -1})
			stood := s.stopNext(place)
			for i := range 6 {
				ctx, cancel := context.WithCancel(bg)
				t.Cleanup(cancel)
				go func() {
					for range 3 {
						l, err := p.Get(ctx)
						if errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
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
			stood.goOn()
			closed(t, p, x, done)
		})
	}
}

// MaxWaiters is counted from the limit, which Close lowers before it sets the flag.
// Whoever comes between the two comes too late, and not one too many.
func TestWhoComesBetweenTheLimitAndTheFlagIsToldThatThePoolIsClosed(t *testing.T) {
	either(t, func(t *testing.T, s *stage, shutdown bool) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaiters: -1})
		limit := s.stopNext("shut: limit set")
		done := beginClose(p, shutdown)
		limit.arrived(t)
		ask(bg, p).failed(t, "between limit and flag", ErrClosed)
		limit.goOn()
		closed(t, p, &x, done)
	})
}
