//go:build step

package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// pgx#2562: a connection that is always busy outlives its lifetime. The sweeper marks it
// while it comes back.
func TestTheLifetimeOfAConnectionEndsWhileItComesBack(t *testing.T) {
	for _, place := range []string{"put: gate read", "put: published", "settle: gate read", "settle: nobody waits", "settle: published"} {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, half=%v", place, half), func(t *testing.T) {
				staged(t, func(t *testing.T, s *stage) {
					x := new(exchange)
					p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, MaxLifetime: time.Hour})
					l := borrow(t, p)
					var getter *actor
					var r *request[*wire]
					if place != "put: gate read" && place != "put: published" {
						getter, r = s.get("wait: registered", bg, p)
					}
					putter := s.put(place, p, l)
					marked := s.stopNext("spoil: marked")
					if !half {
						marked.let.Do(func() { close(marked.resume) })
					}
					time.Sleep(67 * time.Minute)
					synctest.Wait()
					published := place == "put: published" || place == "settle: published"
					if !marked.reached && !published {
						t.Error("the connection was not marked")
					}
					putter.end()
					marked.goOn()
					if getter != nil {
						getter.goOn()
					} else {
						r = ask(bg, p)
					}
					got := r.served(t, "in the end")
					if got.Value().number != 2 {
						t.Errorf("connection %d was lent, want the second", got.Value().number)
					}
					closedFor(t, "at the end", x.opened()[0], nil)
					if n := p.Stats().ClosedLifetime; n != 1 {
						t.Errorf("%d were closed for their lifetime, want 1", n)
					}
					endWith(t, p, 1, got)
				})
			})
		}
	}
}

// Two end a call of Clean: it returns, or it is abandoned. Whoever is first has the slot.
func TestACallReturnsWhileItIsAbandoned(t *testing.T) {
	cleaning := func(t *testing.T, s *stage) (x *exchange, p *Pool[*wire], l Lease[*wire], end func(err error)) {
		x = new(exchange)
		results := make(chan error)
		f := x.factory()
		f.Clean = func(w *wire) error {
			if w.number > 1 {
				return nil
			}
			return <-results
		}
		p = start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		t.Cleanup(func() { close(results) })
		return x, p, borrow(t, p), func(err error) { results <- err; synctest.Wait() }
	}
	put := func(t *testing.T, p *Pool[*wire], l Lease[*wire]) {
		go func() {
			if err := p.Put(l); err != nil {
				t.Errorf("Put: %v", err)
			}
		}()
		synctest.Wait()
	}
	for _, result := range []error{nil, errUnfit} {
		t.Run(fmt.Sprintf("the call is first, %v", result), func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, p, l, end := cleaning(t, s)
				late := s.stopNext("limitCall: too long")
				put(t, p, l)
				time.Sleep(callLimit + slack)
				late.arrived(t)
				end(result)
				late.goOn()
				if got := p.Stats(); got.Abandoned != 0 || got.ClosedAbandoned != 0 {
					t.Errorf("%d were abandoned, want none", got.Abandoned)
				}
				if result == nil {
					if got := p.Stats().IdleConnections; got != 1 || len(x.opened()[0].closedWith()) != 0 {
						t.Errorf("%d are idle, want 1", got)
					}
				} else {
					closedFor(t, "after Clean", x.opened()[0], errUnfit)
					giveBack(t, p, borrow(t, p))
				}
				endWith(t, p, 1)
			})
		})
		t.Run(fmt.Sprintf("the sweeper is first, %v", result), func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, p, l, end := cleaning(t, s)
				returned := s.stopNext("ask: returned")
				put(t, p, l)
				time.Sleep(callLimit - time.Second)
				end(result)
				returned.arrived(t)
				time.Sleep(time.Second + slack)
				if got := p.Stats(); got.Abandoned != 1 || got.ClosedAbandoned != 1 {
					t.Errorf("%d were abandoned, want 1", got.Abandoned)
				}
				got := borrow(t, p) // in the same slot
				returned.goOn()
				closedFor(t, "in the end", x.opened()[0], errAbandoned)
				if n := len(got.Value().closedWith()); n != 0 {
					t.Error("whoever returned late closed the connection of another")
				}
				endWith(t, p, 1, got)
			})
		})
	}
	// The next call for the same connection is not the one that took too long.
	t.Run("the next call", func(t *testing.T) {
		staged(t, func(t *testing.T, s *stage) {
			_, p, l, end := cleaning(t, s)
			late := s.stopNext("limitCall: too long")
			put(t, p, l)
			time.Sleep(callLimit + slack)
			late.arrived(t)
			end(nil)
			put(t, p, borrow(t, p))
			late.goOn()
			if got := p.Stats().Abandoned; got != 0 {
				t.Errorf("%d were abandoned, want none: this one has just begun", got)
			}
			time.Sleep(callLimit / 2)
			if got := p.Stats().Abandoned; got != 0 {
				t.Errorf("%d were abandoned, want none: this one has not taken too long", got)
			}
			end(nil)
			endWith(t, p, 1)
		})
	})
}

// The two sides of an outage: the failure is noted, then all who wait are refused; the
// caller is linked, then asks whether there is an outage.
func TestSomebodyComesToWaitWhileTheLastOfTheFailuresIsNoted(t *testing.T) {
	for _, place := range []string{"wait: registered", "wait: parked", "ensureOpen: census read", "afterwards"} {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, half=%v", place, half), func(t *testing.T) {
				staged(t, func(t *testing.T, s *stage) {
					x, result := dialing(t)
					p := empty(t, x, 3)
					for i := range keepsFailing - 1 {
						r := ask(bg, p)
						result(i+1, errDial)
						r.failed(t, "as its attempt", errDial)
					}
					first := ask(bg, p)
					var getter *actor
					var r *request[*wire]
					if place == "ensureOpen: census read" {
						// It is the first who has come to there.
						p.outage.Store(0)
					}
					if place != "afterwards" {
						getter, r = s.get(place, bg, p)
					}
					if place == "ensureOpen: census read" {
						p.outage.Store(uint64(outage(keepsFailing-1) * outageFailure))
					}
					lowered := s.stopNext("openFailed: census lowered")
					if !half {
						lowered.let.Do(func() { close(lowered.resume) })
					}
					result(keepsFailing, errDial)
					if p.outage.Load() == uint64(outage(keepsFailing-1)*outageFailure) {
						t.Fatal("the attempt had begun in another outage: the test has lost its point")
					}
					lowered.arrived(t)
					if getter != nil {
						getter.goOn()
					} else {
						r = ask(bg, p)
					}
					lowered.goOn()
					first.failed(t, "as its attempt", errDial)
					if x.tried() == keepsFailing {
						r.failed(t, "at once", ErrUnavailable)
						if !errors.Is(r.err, errDial) {
							t.Errorf("it got %v, want %v in it", r.err, errDial)
						}
					} else { // it was admitted just before
						r.pending(t, "while its own attempt is under way")
						result(keepsFailing+1, errDial)
						r.failed(t, "when it has failed", errDial)
					}
					synctest.Wait()
					atRest(t, p, 0)
				})
			})
		}
	}
}

// The two sides of what is held back: the sweeper clears its flag, then looks; who holds
// back sets the flag, then kicks the sweeper.
func TestSomethingIsHeldBackWhileTheSweeperLooks(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 5)
		l := ask(bg, p)
		time.Sleep(openTime)
		result(1, nil)
		kept := l.served(t, "cold")
		first := ask(bg, p) // attempt 2
		ctx, cancel := context.WithCancel(bg)
		cleared := s.stopNext("lift: flag cleared")
		second := ask(ctx, p) // held back
		cleared.arrived(t)
		cancel()
		second.failed(t, "after its cancel", context.Canceled)
		looked := s.stopNext("lift: looked")
		cleared.goOn()
		looked.arrived(t)   // it has seen nobody
		third := ask(bg, p) // held back before it goes back to sleep
		looked.goOn()
		if got := x.tried(); got != 2 {
			t.Errorf("Open was called %d times, want twice", got)
		}
		time.Sleep(2 * openTime)
		synctest.Wait()
		if got := x.tried(); got != 3 {
			t.Errorf("Open was called %d times after twice the time, want once more", got)
		}
		result(3, nil)
		result(2, nil)
		endWith(t, p, 3, kept, first.served(t, "in the end"), third.served(t, "in the end"))
	})
}

// The two sides of Warm: the census is changed, then the channel is closed; the channel is
// got, then the census is looked at.
func TestAnAttemptEndsWhileWarmLooks(t *testing.T) {
	warm := func(p *Pool[*wire], n int) chan error {
		done := make(chan error, 1)
		go func() { done <- p.Warm(bg, n) }()
		synctest.Wait()
		return done
	}
	for _, place := range []string{"opened: stored", "opened: established", "settle: published"} {
		t.Run(place, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				r := ask(ctx, p)
				cancel()
				r.failed(t, "after its cancel", context.Canceled)
				ending := s.stopNext(place)
				result(1, nil)
				ending.arrived(t)
				done := warm(p, 1)
				ending.goOn()
				select {
				case err := <-done:
					if err != nil {
						t.Errorf("Warm returned %v", err)
					}
				default:
					t.Error("Warm waits, and one is open")
				}
				endWith(t, p, 1)
			})
		})
	}
	t.Run("it fails", func(t *testing.T) {
		staged(t, func(t *testing.T, s *stage) {
			x, result := dialing(t)
			p := empty(t, x, 1)
			r := ask(bg, p)
			early := warm(p, 1) // relies on it
			lowered := s.stopNext("openFailed: census lowered")
			result(1, errDial)
			lowered.arrived(t)
			r.failed(t, "as its attempt", errDial)
			late := warm(p, 1) // opens another
			if got := x.tried(); got != 2 {
				t.Errorf("Open was called %d times, want twice", got)
			}
			lowered.goOn()
			result(2, nil)
			for _, done := range []chan error{early, late} {
				select {
				case err := <-done:
					if err != nil {
						t.Errorf("Warm returned %v", err)
					}
				default:
					t.Error("Warm waits, and one is open")
				}
			}
			endWith(t, p, 1)
		})
	})
}
