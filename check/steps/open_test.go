//go:build step

package steps

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// dialing returns an exchange whose Open waits until it is told its result, attempt by
// attempt.
func dialing(t *testing.T) (x *testkit.Exchange, result func(attempt int, err error)) {
	results := make([]chan error, 10)
	for i := range results {
		results[i] = make(chan error, 1)
	}
	t.Cleanup(func() {
		for _, c := range results {
			close(c)
		}
	})
	x = &testkit.Exchange{Open: func(_ context.Context, attempt int) error { return <-results[attempt] }}
	return x, func(attempt int, err error) {
		results[attempt] <- err
		synctest.Wait()
	}
}

func empty(t *testing.T, x *testkit.Exchange, n int) *pool.Pool[*testkit.Wire] {
	t.Helper()
	return testkit.Start(t, x.Factory(), pool.Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
}

// Seeded fault 11. go#10886, commons-pool POOL-303: a dial fails and the freed capacity
// is offered to nobody.
func TestCapacityOfAnOpenThatFailedIsOffered(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 1)
		a, b := testkit.Ask(bg, p), testkit.Ask(bg, p)
		result(1, testkit.ErrDial)
		a.Failed(t, "after its open failed", testkit.ErrDial)
		b.Pending(t, "while another open is under way")
		result(2, nil)
		endWith(t, p, 1, b.Served(t, "after the second open"))
	})
}

// The same for a caller that comes to wait while the count is being lowered, just before
// or just after.
func TestCapacityThatComesFreeWhileSomebodyComesToWait(t *testing.T) {
	for _, place := range []string{"vacate: census lowered", "openFailed: census lowered"} {
		t.Run("leaver last", func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				lowered := s.StopNext(place)
				first := testkit.Ask(bg, p)
				if place == "vacate: census lowered" {
					result(1, nil)
					go p.Discard(first.Served(t, "at first"), nil)
				} else {
					result(1, testkit.ErrDial)
					first.Failed(t, "at first", testkit.ErrDial)
				}
				lowered.Arrived(t)
				second := testkit.Ask(bg, p)
				lowered.GoOn()
				if x.Tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.Tried())
				}
				result(2, nil)
				endWith(t, p, 1, second.Served(t, "after its open"))
			})
		})
		t.Run("waiter last", func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				first := testkit.Ask(bg, p)
				getter, second := getTo(s, "wait: parked", bg, p) // has not asked for an open
				if place == "vacate: census lowered" {
					result(1, nil)
					if err := p.Discard(first.Served(t, "at first"), nil); err != nil {
						t.Fatal(err)
					}
				} else {
					result(1, testkit.ErrDial)
					first.Failed(t, "at first", testkit.ErrDial)
				}
				synctest.Wait()
				if x.Tried() != 2 {
					t.Errorf("Open was called %d times while one waits, want 2", x.Tried())
				}
				getter.GoOn()
				result(2, nil)
				endWith(t, p, 1, second.Served(t, "after its open"))
				if x.Tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.Tried())
				}
			})
		})
		t.Run("waiter has read the census", func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, result := dialing(t)
				p := empty(t, x, 2)
				first := testkit.Ask(bg, p)
				getter, second := getTo(s, "ensureOpen: census read", bg, p)
				if place == "vacate: census lowered" {
					result(1, nil)
					if err := p.Discard(first.Served(t, "at first"), nil); err != nil {
						t.Fatal(err)
					}
				} else {
					result(1, testkit.ErrDial)
					first.Failed(t, "at first", testkit.ErrDial)
				}
				synctest.Wait()
				getter.GoOn() // the census may be as it was before: one open too many
				result(2, nil)
				result(3, nil)
				got := second.Served(t, "after its open")
				endWith(t, p, p.Stats().IdleConnections+1, got)
				if x.Tried() > 3 {
					t.Errorf("Open was called %d times, want 3 at most", x.Tried())
				}
			})
		})
	}
}

// redis#3619, #3623, #3625: a slot is freed twice when an open fails and its caller
// gives up at the same time.
func TestAnOpenFailsWhileItsCallerLeaves(t *testing.T) {
	for _, first := range []string{"open", "caller"} {
		t.Run(first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				a, b := testkit.Ask(ctx, p), testkit.Ask(bg, p)
				if first == "open" {
					refused := s.StopNext("refuse: decided")
					result(1, testkit.ErrDial)
					refused.Arrived(t)
					cancel()
					a.Pending(t, "while it is owed a token")
					refused.GoOn()
				} else {
					leaving := s.StopNext("leave: ctx ended")
					cancel()
					leaving.Arrived(t)
					result(1, testkit.ErrDial)
					leaving.GoOn()
				}
				a.Failed(t, "after its cancel", context.Canceled)
				b.Pending(t, "after an open that was not for it failed")
				result(2, nil)
				endWith(t, p, 1, b.Served(t, "after its own open"))
				if x.Tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.Tried())
				}
			})
		})
	}
}

// Two connections are opened for one waiter, because it was between two places when
// both were asked for: the second becomes idle.
func TestOfTwoConnectionsForOneWaiterOneBecomesIdle(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		ctx, cancel := context.WithCancel(bg)
		first, second := testkit.Ask(ctx, p), testkit.Ask(bg, p)
		cancel()
		first.Failed(t, "after its cancel", context.Canceled)
		result(2, nil)
		got := second.Served(t, "by its own")
		result(1, nil)
		if n := p.Stats().IdleConnections; n != 1 {
			t.Errorf("%d connections are idle, want that of the caller who gave up", n)
		}
		endWith(t, p, 2, got)
	})
}

// A caller that comes to wait relies on an open that is in progress for another caller,
// and that has just been established.
func TestWaiterWhoReliesOnAnOpenThatIsEnding(t *testing.T) {
	for _, place := range []string{"opened: established", "settle: gate read", "settle: somebody waits", "settle: nobody waits"} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			x, result := dialing(t)
			p := empty(t, x, 2)
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			first := testkit.Ask(ctx, p)
			if place == "settle: nobody waits" {
				cancel()
				first.Failed(t, "after its cancel", context.Canceled)
			}
			opening := s.StopNext(place)
			result(1, nil)
			opening.Arrived(t)
			second := testkit.Ask(bg, p)
			opening.GoOn()
			result(2, nil)
			var got []pool.Lease[*testkit.Wire]
			if place != "settle: nobody waits" {
				got = append(got, first.Served(t, "after its open"))
			}
			got = append(got, second.Served(t, "after an open"))
			endWith(t, p, len(x.Opened()), got...)
		})
	}
}

// The two sides of Watch: the mark is set, then the slot is read; the slot is
// published, or taken, then the mark is read.
func TestAConnectionBreaksWhileItChangesHands(t *testing.T) {
	for _, place := range []string{
		"put: gate read", "put: published", // fast
		"get: gate read",
		"settle: gate read", "settle: nobody waits", "settle: published", "settle: somebody waits", // slow
	} {
		for _, marked := range []string{"whole", "half"} {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x := new(testkit.Exchange)
				f, broken := testkit.Watched(x)
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
				l := testkit.Borrow(t, p)
				var other *testkit.Request[*testkit.Wire]
				var stood, getter *stage.Actor
				switch place {
				case "put: gate read", "put: published":
					stood = putTo(s, place, p, l)
				case "get: gate read":
					testkit.GiveBack(t, p, l)
					stood, other = getTo(s, place, bg, p)
				case "settle: somebody waits":
					other = testkit.Ask(bg, p)
					stood = putTo(s, place, p, l)
				default:
					getter, other = getTo(s, "wait: registered", bg, p)
					stood = putTo(s, place, p, l)
				}
				var report *stage.Actor
				if marked == "half" {
					report = s.Act("spoil: marked", func() { broken(1, testkit.ErrCause) })
				} else {
					broken(1, testkit.ErrCause)
				}
				stood.GoOn()
				if getter != nil {
					getter.GoOn()
				}
				if report != nil {
					report.End()
				}
				synctest.Wait()
				if other == nil {
					other = testkit.Ask(bg, p)
				}
				got := other.Served(t, place)
				if place == "settle: somebody waits" { // it was on its way before it broke
					testkit.GiveBack(t, p, got)
					got = testkit.Borrow(t, p)
				}
				if got.Value().Number != 2 {
					t.Errorf("%q, %s: connection %d was lent, want the second", place, marked, got.Value().Number)
				}
				testkit.BrokenOnce(t, place, x.Opened()[0], testkit.ErrCause)
				endWith(t, p, 1, got)
			})
		}
	}
}

// Watch reports a connection that has left its slot, where another is by now.
func TestAReportThatComesTooLateHitsNobodyElse(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		f, broken := testkit.Watched(x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		late := s.Act("spoil: marked", func() { broken(1, testkit.ErrCause) })
		testkit.GiveBack(t, p, l) // closed, because it is marked
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		late.End()
		if got := testkit.Borrow(t, p); got.Value().Number != 2 || !got.Reused() {
			t.Errorf("connection %d was lent, want the second again", got.Value().Number)
		} else {
			endWith(t, p, 1, got)
		}
		testkit.BrokenOnce(t, "at the end", x.Opened()[0], testkit.ErrCause)
	})
}

// The same at the last moment: the report has found its connection idle, which is then
// closed for it, and the next connection is idle in the slot, without a lease in between.
func TestAReportDoesNotTakeBackAnotherConnection(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		f, broken := testkit.Watched(x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		word := testkit.Inside(p).Ring.At(0)
		report := s.Act("spoil: slot read", func() { broken(1, testkit.ErrCause) })
		established := s.StopNext("opened: established")
		ctx, cancel := context.WithCancel(bg)
		r := testkit.Ask(ctx, p) // finds it marked
		established.Arrived(t)
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		established.GoOn()
		if got := testkit.Inside(p).Ring.At(0); got.Phase() != word.Phase() || got.Stamp() != word.Stamp() || got == word {
			t.Fatalf("the word is %#x, want that of an idle slot with the stamp of %#x, and another", got, word)
		}
		report.End()
		got := testkit.Borrow(t, p)
		if got.Value().Number != 2 {
			t.Errorf("connection %d was lent, want the second", got.Value().Number)
		}
		testkit.BrokenOnce(t, "at the end", x.Opened()[0], testkit.ErrCause)
		endWith(t, p, 1, got)
	})
}

// The pool's clock stands still while nothing is open, and the sweeper may come late
// to set it. A connection that is opened in between is not as old as the time that
// the clock has missed.
func TestAConnectionOpenedBeforeTheClockIsSetIsNotClosedAsIdle(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: time.Minute})
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		testkit.Sleep(time.Hour) // it is closed, and nothing is open
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Fatalf("%d connections were closed as idle, want 1", got)
		}
		awake := s.StopNext("sweep: awake")
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		awake.Arrived(t)
		awake.GoOn()
		testkit.Sleep(time.Second)
		if got := testkit.Borrow(t, p); got.Value().Number != 2 {
			t.Errorf("connection %d was lent, want the second, which is a second old", got.Value().Number)
		} else {
			testkit.GiveBack(t, p, got)
		}
	})
}

// The sweeper has seen that nothing is open, and is about to sleep for good.
func TestSweeperKnowsOfAConnectionThatWasOpenedBeforeItFellAsleep(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: time.Minute})
		l := testkit.Borrow(t, p)
		synctest.Wait() // else the sweeper might not look before it is discarded, nor again
		asleep := s.StopNext("sweep: nothing due")
		if err := p.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(10 * time.Second)
		asleep.Arrived(t)
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		asleep.GoOn()
		testkit.Sleep(3 * time.Minute)
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Errorf("%d connections were closed as idle, want 1", got)
		}
	})
}

// The count of open connections is zero for an instant, when the sweeper looks, and
// nothing else is due: the sweeper must learn of the connection that comes next.
func TestSweeperKnowsOfAConnectionThatWasOpenedWhileItFellAsleep(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: time.Minute, OpenTimeout: -1})
		first, second := testkit.Ask(bg, p), testkit.Ask(bg, p)
		lowered := s.StopNext("openFailed: census lowered")
		result(1, testkit.ErrDial)
		lowered.Arrived(t)
		first.Failed(t, "after its open", testkit.ErrDial)
		testkit.Sleep(10 * time.Second) // the sweeper sees that nothing is open
		lowered.GoOn()
		result(2, nil)
		testkit.GiveBack(t, p, second.Served(t, "after its open"))
		testkit.Sleep(3 * time.Minute)
		if got := p.Stats(); got.IdleConnections != 0 || got.ClosedIdle != 1 {
			t.Errorf("%d connections are idle, %d closed as idle, want 0, 1", got.IdleConnections, got.ClosedIdle)
		}
	})
}

// An attempt of Warm fails before Warm has looked again: it has said so before its slot is free.
func TestWarmBeginsNoOtherAttemptAfterOneThatHasFailed(t *testing.T) {
	for _, place := range []string{"openFailed: census lowered", ""} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1})
			var attempt *stage.Stop
			if place != "" {
				attempt = s.StopNext(place)
			}
			var err error
			warm := s.Act("Warm: begun", func() { err = p.Warm(bg, 1) })
			if attempt != nil {
				attempt.Arrived(t)
			} else {
				synctest.Wait()
			}
			warm.End()
			if !errors.Is(err, testkit.ErrDial) || x.Tried() != 1 {
				t.Errorf("%q: Warm returned %v after %d attempts, want its error after one", place, err, x.Tried())
			}
			if attempt != nil {
				attempt.GoOn()
			}
		})
	}
}

// Two have seen that the same one is missing.
func TestTwoThatWarmOpenWhatIsMissingOnce(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := testkit.Exchange{Open: testkit.Slow(time.Second)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		var warms []*stage.Actor
		var errs [2]error
		for i := range errs {
			warms = append(warms, s.Act("Warm: one missing", func() { errs[i] = p.Warm(bg, 1) }))
		}
		for _, warm := range warms {
			warm.GoOn()
		}
		for i, warm := range warms {
			<-warm.Done
			if errs[i] != nil {
				t.Errorf("Warm returned %v", errs[i])
			}
		}
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
	})
}
