//go:build step

package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// pgx#2562: a connection that is always busy outlives its lifetime. The sweeper marks it
// while it comes back.
func TestTheLifetimeOfAConnectionEndsWhileItComesBack(t *testing.T) {
	for _, place := range []string{"put: gate read", "put: published", "settle: gate read", "settle: nobody waits", "settle: published"} {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, half=%v", place, half), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					x := new(testkit.Exchange)
					p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, MaxLifetime: time.Hour})
					l := testkit.Borrow(t, p)
					var getter *stage.Actor
					var r *testkit.Request[*testkit.Wire]
					if place != "put: gate read" && place != "put: published" {
						getter, r = getTo(s, "wait: registered", bg, p)
					}
					putter := putTo(s, place, p, l)
					marked := s.StopNext("spoil: marked")
					if !half {
						marked.Let.Do(func() { close(marked.Resume) })
					}
					testkit.Sleep(67 * time.Minute)
					published := place == "put: published" || place == "settle: published"
					if !marked.Reached && !published {
						t.Error("the connection was not marked")
					}
					putter.End()
					marked.GoOn()
					if getter != nil {
						getter.GoOn()
					} else {
						r = testkit.Ask(bg, p)
					}
					got := r.Served(t, "in the end")
					if got.Value().Number != 2 {
						t.Errorf("connection %d was lent, want the second", got.Value().Number)
					}
					testkit.ClosedFor(t, "at the end", x.Opened()[0], nil)
					if n := p.Stats().ClosedLifetime; n != 1 {
						t.Errorf("%d were closed for their lifetime, want 1", n)
					}
					endWith(t, p, 1, got)
				})
			})
		}
	}
}

// Two may end a call of Clean: it returns, or it is abandoned. The first of them gets the
// slot.
func TestACallReturnsWhileItIsAbandoned(t *testing.T) {
	cleaning := func(t *testing.T, s *stage.Stage) (x *testkit.Exchange, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire], end func(err error)) {
		x = new(testkit.Exchange)
		results := make(chan error)
		f := x.Factory()
		f.Clean = func(w *testkit.Wire) error {
			if w.Number > 1 {
				return nil
			}
			return <-results
		}
		p = testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		t.Cleanup(func() { close(results) })
		return x, p, testkit.Borrow(t, p), func(err error) { results <- err; synctest.Wait() }
	}
	put := func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
		go func() {
			if err := p.Put(l); err != nil {
				t.Errorf("Put: %v", err)
			}
		}()
		synctest.Wait()
	}
	for _, result := range []error{nil, testkit.ErrUnfit} {
		t.Run(fmt.Sprintf("the call is first, %v", result), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, p, l, end := cleaning(t, s)
				late := s.StopNext("limitCall: too long")
				put(t, p, l)
				testkit.Sleep(core.CallLimit + testkit.Slack)
				late.Arrived(t)
				end(result)
				late.GoOn()
				if got := p.Stats(); got.Abandoned != 0 || got.ClosedAbandoned != 0 {
					t.Errorf("%d were abandoned, want none", got.Abandoned)
				}
				if result == nil {
					if got := p.Stats().IdleConnections; got != 1 || len(x.Opened()[0].ClosedWith()) != 0 {
						t.Errorf("%d are idle, want 1", got)
					}
				} else {
					testkit.ClosedFor(t, "after Clean", x.Opened()[0], testkit.ErrUnfit)
					testkit.GiveBack(t, p, testkit.Borrow(t, p))
				}
				endWith(t, p, 1)
			})
		})
		t.Run(fmt.Sprintf("the sweeper is first, %v", result), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, p, l, end := cleaning(t, s)
				returned := s.StopNext("ask: returned")
				put(t, p, l)
				testkit.Sleep(core.CallLimit - time.Second)
				end(result)
				returned.Arrived(t)
				testkit.Sleep(time.Second + testkit.Slack)
				if got := p.Stats(); got.Abandoned != 1 || got.ClosedAbandoned != 1 {
					t.Errorf("%d were abandoned, want 1", got.Abandoned)
				}
				got := testkit.Borrow(t, p) // in the same slot
				returned.GoOn()
				testkit.ClosedFor(t, "in the end", x.Opened()[0], core.ErrAbandoned)
				if n := len(got.Value().ClosedWith()); n != 0 {
					t.Error("whoever returned late closed the connection of another")
				}
				endWith(t, p, 1, got)
			})
		})
	}
	// The next call for the same connection is not the one that took too long.
	t.Run("the next call", func(t *testing.T) {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			_, p, l, end := cleaning(t, s)
			late := s.StopNext("limitCall: too long")
			put(t, p, l)
			testkit.Sleep(core.CallLimit + testkit.Slack)
			late.Arrived(t)
			end(nil)
			put(t, p, testkit.Borrow(t, p))
			late.GoOn()
			if got := p.Stats().Abandoned; got != 0 {
				t.Errorf("%d were abandoned, want none: this one has just begun", got)
			}
			testkit.Sleep(core.CallLimit / 2)
			if got := p.Stats().Abandoned; got != 0 {
				t.Errorf("%d were abandoned, want none: this one has not taken too long", got)
			}
			end(nil)
			endWith(t, p, 1)
		})
	})
}

// The two sides of an outage: the failure is noted, then all waiters are refused; the
// caller is linked, then asks whether there is an outage.
func TestSomebodyComesToWaitWhileTheLastOfTheFailuresIsNoted(t *testing.T) {
	for _, place := range []string{"wait: registered", "wait: parked", "ensureOpen: census read", "ensureOpen: census read, and the same again", "afterwards"} {
		for _, half := range []bool{false, true} {
			place, same := strings.CutSuffix(place, ", and the same again")
			if same && !half {
				continue // it is refused before it goes on
			}
			t.Run(fmt.Sprintf("%s, same=%v, half=%v", place, same, half), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					x, result := dialing(t)
					p := empty(t, x, 3)
					for i := range words.KeepsFailing - 1 {
						r := testkit.Ask(bg, p)
						result(i+1, testkit.ErrDial)
						r.Failed(t, "as its attempt", testkit.ErrDial)
					}
					var getter *stage.Actor
					var r *testkit.Request[*testkit.Wire]
					if place == "ensureOpen: census read" {
						// In an outage nobody gets to this place while an attempt is under way.
						getter, r = getTo(s, place, bg, p)
					}
					first := testkit.Ask(bg, p)
					if place == "ensureOpen: census read" && !same {
						resizing(t, p, 4)()
					} else if place != "ensureOpen: census read" && place != "afterwards" {
						getter, r = getTo(s, place, bg, p)
					}
					lowered := s.StopNext("openFailed: census lowered")
					if !half {
						lowered.Let.Do(func() { close(lowered.Resume) })
					}
					result(words.KeepsFailing, testkit.ErrDial)
					if testkit.Inside(p).Outage().Failures == words.KeepsFailing-1 {
						t.Fatal("the attempt had begun in another outage: the test has lost its point")
					}
					lowered.Arrived(t)
					if getter != nil {
						getter.GoOn()
					} else {
						r = testkit.Ask(bg, p)
					}
					lowered.GoOn()
					first.Failed(t, "as its attempt", testkit.ErrDial)
					if !same {
						if got := x.Tried(); got != words.KeepsFailing {
							t.Errorf("Open was called %d times, want %d", got, words.KeepsFailing)
						}
						r.Failed(t, "at once", pool.ErrUnavailable)
						if !errors.Is(r.Err, testkit.ErrDial) {
							t.Errorf("it got %v, want %v in it", r.Err, testkit.ErrDial)
						}
					} else { // it was admitted just before
						r.Pending(t, "while its own attempt is under way")
						result(words.KeepsFailing+1, testkit.ErrDial)
						r.Failed(t, "when it has failed", testkit.ErrDial)
					}
					synctest.Wait()
					testkit.AtRest(t, p, 0)
				})
			})
		}
	}
}

// The two sides of what is held back: the sweeper clears its flag, then looks; the one
// that holds back sets the flag, then kicks the sweeper.
func TestSomethingIsHeldBackWhileTheSweeperLooks(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 5)
		l := testkit.Ask(bg, p)
		testkit.Sleep(testkit.OpenTime)
		result(1, nil)
		kept := l.Served(t, "cold")
		first := testkit.Ask(bg, p) // attempt 2
		ctx, cancel := context.WithCancel(bg)
		cleared := s.StopNext("lift: flag cleared")
		second := testkit.Ask(ctx, p) // held back
		cleared.Arrived(t)
		cancel()
		second.Failed(t, "after its cancel", context.Canceled)
		looked := s.StopNext("lift: looked")
		cleared.GoOn()
		looked.Arrived(t)           // it has seen nobody
		third := testkit.Ask(bg, p) // held back before it goes back to sleep
		looked.GoOn()
		if got := x.Tried(); got != 2 {
			t.Errorf("Open was called %d times, want twice", got)
		}
		testkit.Sleep(2 * testkit.OpenTime)
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times after twice the time, want once more", got)
		}
		result(3, nil)
		result(2, nil)
		endWith(t, p, 3, kept, first.Served(t, "in the end"), third.Served(t, "in the end"))
	})
}

// The two sides of Warm: the census is changed, then the channel is closed; the channel
// is taken, then the census is read.
func TestAnAttemptEndsWhileWarmLooks(t *testing.T) {
	warm := func(p *pool.Pool[*testkit.Wire], n int) chan error {
		done := make(chan error, 1)
		go func() { done <- p.Warm(bg, n) }()
		synctest.Wait()
		return done
	}
	for _, place := range []string{"opened: stored", "opened: established", "settle: published"} {
		t.Run(place, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				r := testkit.Ask(ctx, p)
				cancel()
				r.Failed(t, "after its cancel", context.Canceled)
				ending := s.StopNext(place)
				result(1, nil)
				ending.Arrived(t)
				done := warm(p, 1)
				ending.GoOn()
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
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			x, result := dialing(t)
			p := empty(t, x, 1)
			r := testkit.Ask(bg, p)
			early := warm(p, 1) // relies on it
			lowered := s.StopNext("openFailed: census lowered")
			result(1, testkit.ErrDial)
			lowered.Arrived(t)
			r.Failed(t, "as its attempt", testkit.ErrDial)
			late := warm(p, 1) // opens another
			if got := x.Tried(); got != 2 {
				t.Errorf("Open was called %d times, want twice", got)
			}
			lowered.GoOn()
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
