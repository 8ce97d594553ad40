//go:build step

package pool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// dialing returns an exchange whose Open waits until it is told its result, attempt by
// attempt.
func dialing(t *testing.T) (x *exchange, result func(attempt int, err error)) {
	results := make([]chan error, 10)
	for i := range results {
		results[i] = make(chan error, 1)
	}
	t.Cleanup(func() {
		for _, c := range results {
			close(c)
		}
	})
	x = &exchange{open: func(_ context.Context, attempt int) error { return <-results[attempt] }}
	return x, func(attempt int, err error) {
		results[attempt] <- err
		synctest.Wait()
	}
}

func empty(t *testing.T, x *exchange, n int) *Pool[*wire] {
	t.Helper()
	return start(t, x.factory(), Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
}

// Seeded fault 11. go#10886, commons-pool POOL-303: a dial fails and the freed capacity
// is offered to nobody.
func TestCapacityOfAnOpenThatFailedIsOffered(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 1)
		a, b := ask(bg, p), ask(bg, p)
		result(1, errDial)
		a.failed(t, "after its open failed", errDial)
		b.pending(t, "while another open is under way")
		result(2, nil)
		endWith(t, p, 1, b.served(t, "after the second open"))
	})
}

// The same for one who comes to wait while the count is being lowered, on either side.
func TestCapacityThatComesFreeWhileSomebodyComesToWait(t *testing.T) {
	for _, place := range []string{"vacate: census lowered", "openFailed: census lowered"} {
		t.Run("leaver last", func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				lowered := s.stopNext(place)
				first := ask(bg, p)
				if place == "vacate: census lowered" {
					result(1, nil)
					go p.Discard(first.served(t, "at first"), nil)
				} else {
					result(1, errDial)
					first.failed(t, "at first", errDial)
				}
				lowered.arrived(t)
				second := ask(bg, p)
				lowered.goOn()
				if x.tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.tried())
				}
				result(2, nil)
				endWith(t, p, 1, second.served(t, "after its open"))
			})
		})
		t.Run("waiter last", func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				first := ask(bg, p)
				getter, second := s.get("wait: parked", bg, p) // has not asked for an open
				if place == "vacate: census lowered" {
					result(1, nil)
					if err := p.Discard(first.served(t, "at first"), nil); err != nil {
						t.Fatal(err)
					}
				} else {
					result(1, errDial)
					first.failed(t, "at first", errDial)
				}
				synctest.Wait()
				if x.tried() != 2 {
					t.Errorf("Open was called %d times while one waits, want 2", x.tried())
				}
				getter.goOn()
				result(2, nil)
				endWith(t, p, 1, second.served(t, "after its open"))
				if x.tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.tried())
				}
			})
		})
		t.Run("waiter has read the census", func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				x, result := dialing(t)
				p := empty(t, x, 2)
				first := ask(bg, p)
				getter, second := s.get("ensureOpen: census read", bg, p)
				if place == "vacate: census lowered" {
					result(1, nil)
					if err := p.Discard(first.served(t, "at first"), nil); err != nil {
						t.Fatal(err)
					}
				} else {
					result(1, errDial)
					first.failed(t, "at first", errDial)
				}
				synctest.Wait()
				getter.goOn() // the census may be as it was before: one open too many
				result(2, nil)
				result(3, nil)
				got := second.served(t, "after its open")
				endWith(t, p, p.Stats().IdleConnections+1, got)
				if x.tried() > 3 {
					t.Errorf("Open was called %d times, want 3 at most", x.tried())
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
			staged(t, func(t *testing.T, s *stage) {
				x, result := dialing(t)
				p := empty(t, x, 1)
				ctx, cancel := context.WithCancel(bg)
				a, b := ask(ctx, p), ask(bg, p)
				if first == "open" {
					refused := s.stopNext("refuse: decided")
					result(1, errDial)
					refused.arrived(t)
					cancel()
					a.pending(t, "while it is owed a token")
					refused.goOn()
				} else {
					leaving := s.stopNext("leave: ctx ended")
					cancel()
					leaving.arrived(t)
					result(1, errDial)
					leaving.goOn()
				}
				a.failed(t, "after its cancel", context.Canceled)
				b.pending(t, "after an open that was not for it failed")
				result(2, nil)
				endWith(t, p, 1, b.served(t, "after its own open"))
				if x.tried() != 2 {
					t.Errorf("Open was called %d times, want 2", x.tried())
				}
			})
		})
	}
}

// Two connections are opened for one waiter, because it was between two places when
// both were asked for: the second becomes idle.
func TestOfTwoConnectionsForOneWaiterOneBecomesIdle(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		ctx, cancel := context.WithCancel(bg)
		first, second := ask(ctx, p), ask(bg, p)
		cancel()
		first.failed(t, "after its cancel", context.Canceled)
		result(2, nil)
		got := second.served(t, "by its own")
		result(1, nil)
		if n := p.Stats().IdleConnections; n != 1 {
			t.Errorf("%d connections are idle, want that of the caller who gave up", n)
		}
		endWith(t, p, 2, got)
	})
}

// A caller who comes to wait relies on an open that is under way for another, which
// has just been established.
func TestWaiterWhoReliesOnAnOpenThatIsEnding(t *testing.T) {
	for _, place := range []string{"opened: established", "settle: gate read", "settle: somebody waits", "settle: nobody waits"} {
		staged(t, func(t *testing.T, s *stage) {
			x, result := dialing(t)
			p := empty(t, x, 2)
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			first := ask(ctx, p)
			if place == "settle: nobody waits" {
				cancel()
				first.failed(t, "after its cancel", context.Canceled)
			}
			opening := s.stopNext(place)
			result(1, nil)
			opening.arrived(t)
			second := ask(bg, p)
			opening.goOn()
			result(2, nil)
			var got []Lease[*wire]
			if place != "settle: nobody waits" {
				got = append(got, first.served(t, "after its open"))
			}
			got = append(got, second.served(t, "after an open"))
			endWith(t, p, len(x.opened()), got...)
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
			staged(t, func(t *testing.T, s *stage) {
				x := new(exchange)
				f, broken := watched(x)
				p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
				l := borrow(t, p)
				var other *request[*wire]
				var stood, getter *actor
				switch place {
				case "put: gate read", "put: published":
					stood = s.put(place, p, l)
				case "get: gate read":
					giveBack(t, p, l)
					stood, other = s.get(place, bg, p)
				case "settle: somebody waits":
					other = ask(bg, p)
					stood = s.put(place, p, l)
				default:
					getter, other = s.get("wait: registered", bg, p)
					stood = s.put(place, p, l)
				}
				var report *actor
				if marked == "half" {
					report = s.act("spoil: marked", func() { broken(1, errCause) })
				} else {
					broken(1, errCause)
				}
				stood.goOn()
				if getter != nil {
					getter.goOn()
				}
				if report != nil {
					report.end()
				}
				synctest.Wait()
				if other == nil {
					other = ask(bg, p)
				}
				got := other.served(t, place)
				if place == "settle: somebody waits" { // it was on its way before it broke
					giveBack(t, p, got)
					got = borrow(t, p)
				}
				if got.Value().number != 2 {
					t.Errorf("%q, %s: connection %d was lent, want the second", place, marked, got.Value().number)
				}
				brokenOnce(t, place, x.opened()[0], errCause)
				endWith(t, p, 1, got)
			})
		}
	}
}

// Watch reports a connection that has left its slot, where another is by now.
func TestAReportThatComesTooLateHitsNobodyElse(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		f, broken := watched(x)
		p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		late := s.act("spoil: marked", func() { broken(1, errCause) })
		giveBack(t, p, l) // closed, because it is marked
		giveBack(t, p, borrow(t, p))
		late.end()
		if got := borrow(t, p); got.Value().number != 2 || !got.Reused() {
			t.Errorf("connection %d was lent, want the second again", got.Value().number)
		} else {
			endWith(t, p, 1, got)
		}
		brokenOnce(t, "at the end", x.opened()[0], errCause)
	})
}

// The same at the last moment: the report has found its connection idle, which is then
// closed for it, and the next one lies in the slot with the same word.
func TestAReportThatTakesBackAnotherConnectionLeavesItIdle(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		f, broken := watched(x)
		p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		giveBack(t, p, borrow(t, p))
		word := p.ring.At(0)
		report := s.act("spoil: slot read", func() { broken(1, errCause) })
		established := s.stopNext("opened: established")
		ctx, cancel := context.WithCancel(bg)
		r := ask(ctx, p) // finds it marked
		established.arrived(t)
		cancel()
		r.failed(t, "after its cancel", context.Canceled)
		established.goOn()
		if got := p.ring.At(0); got != word {
			t.Fatalf("the word is %#x, want %#x as before: the test has lost its point", got, word)
		}
		report.end()
		got := borrow(t, p)
		if got.Value().number != 2 {
			t.Errorf("connection %d was lent, want the second", got.Value().number)
		}
		brokenOnce(t, "at the end", x.opened()[0], errCause)
		endWith(t, p, 1, got)
	})
}

// The pool's clock stands still while nothing is open, and the sweeper may come late
// to set it. A connection that is opened in between is not as old as the time that
// the clock has missed.
func TestAConnectionOpenedBeforeTheClockIsSetIsNotClosedAsIdle(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: time.Minute})
		giveBack(t, p, borrow(t, p))
		time.Sleep(time.Hour) // it is closed, and nothing is open
		synctest.Wait()
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Fatalf("%d connections were closed as idle, want 1", got)
		}
		awake := s.stopNext("sweep: awake")
		giveBack(t, p, borrow(t, p))
		awake.arrived(t)
		awake.goOn()
		time.Sleep(time.Second)
		if got := borrow(t, p); got.Value().number != 2 {
			t.Errorf("connection %d was lent, want the second, which is a second old", got.Value().number)
		} else {
			giveBack(t, p, got)
		}
	})
}

// The sweeper has seen that nothing is open, and is about to sleep for good.
func TestSweeperKnowsOfAConnectionThatWasOpenedBeforeItFellAsleep(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: time.Minute})
		if err := p.Discard(borrow(t, p), nil); err != nil {
			t.Fatal(err)
		}
		asleep := s.stopNext("sweep: nothing due")
		time.Sleep(10 * time.Second)
		asleep.arrived(t)
		giveBack(t, p, borrow(t, p))
		asleep.goOn()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Errorf("%d connections were closed as idle, want 1", got)
		}
	})
}

// The count of open connections is zero for an instant, when the sweeper looks, and
// nobody's time runs out: it must learn of the connection that comes next.
func TestSweeperKnowsOfAConnectionThatWasOpenedWhileItFellAsleep(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: time.Minute, OpenTimeout: -1})
		first, second := ask(bg, p), ask(bg, p)
		lowered := s.stopNext("openFailed: census lowered")
		result(1, errDial)
		lowered.arrived(t)
		first.failed(t, "after its open", errDial)
		time.Sleep(10 * time.Second) // the sweeper sees that nothing is open
		lowered.goOn()
		result(2, nil)
		giveBack(t, p, second.served(t, "after its open"))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 0 || got.ClosedIdle != 1 {
			t.Errorf("%d connections are idle, %d closed as idle, want 0, 1", got.IdleConnections, got.ClosedIdle)
		}
	})
}
