//go:build step

package steps

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// get lets a new goroutine run a Get as far as the place.
func getTo(s *stage.Stage, place string, ctx context.Context, p *pool.Pool[*testkit.Wire]) (*stage.Actor, *testkit.Request[*testkit.Wire]) {
	s.T.Helper()
	r := new(testkit.Request[*testkit.Wire])
	a := s.Act(place, func() { r.Lease, r.Err = p.Get(ctx) })
	r.Done = a.Done
	return a, r
}

// put lets a new goroutine run a Put as far as the place.
func putTo(s *stage.Stage, place string, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) *stage.Actor {
	s.T.Helper()
	return s.Act(place, func() {
		if err := p.Put(l); err != nil {
			s.T.Errorf("Put: %v", err)
		}
	})
}

// lent returns a pool of n connections, all of them leased. No time does anything to
// it.
func lent(t *testing.T, x *testkit.Exchange, n int) (*pool.Pool[*testkit.Wire], []pool.Lease[*testkit.Wire]) {
	t.Helper()
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
	leases := make([]pool.Lease[*testkit.Wire], n)
	for i := range leases {
		leases[i] = testkit.Borrow(t, p)
	}
	synctest.Wait()
	return p, leases
}

// endWith puts the leases back and checks that the pool is at rest, with its n
// connections idle.
func endWith(t *testing.T, p *pool.Pool[*testkit.Wire], n int, leases ...pool.Lease[*testkit.Wire]) {
	t.Helper()
	for _, l := range leases {
		testkit.GiveBack(t, p, l)
	}
	synctest.Wait()
	testkit.AtRest(t, p, 0)
	if got := p.Stats().IdleConnections; got != n {
		t.Errorf("%d connections are idle at the end, want %d", got, n)
	}
}

var bg = context.Background()

// Seeded fault 1 of the model. vitess#17662, fasthttp#2391, bb8#122: a Put lands
// between a getter's "nothing idle" and its enqueueing.
func TestWaiterFindsWhatWasPublishedBeforeItWasLinked(t *testing.T) {
	for _, place := range []string{"put: gate read", "settle: gate read"} {
		t.Run(strings.Replace(place, ": ", " ", 1), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 1)
				fast := place == "put: gate read"
				var putter, getter *stage.Actor
				var r *testkit.Request[*testkit.Wire]
				if fast {
					putter = putTo(s, place, p, l[0])
				}
				getter, r = getTo(s, "wait: registered", bg, p)
				if !fast {
					putter = putTo(s, place, p, l[0])
				}
				if fast {
					putter.To("put: published")
				} else {
					putter.To("settle: nobody waits")
				}
				putter.End()
				getter.GoOn()
				endWith(t, p, 1, r.Served(t, "after it was linked"))
			})
		})
	}
}

// Seeded fault 2: the other side of the same race. The waiter has looked, and the
// publisher has not published yet.
func TestPublisherFindsWhoWasLinkedBeforeItPublished(t *testing.T) {
	t.Run("Put fast", func(t *testing.T) {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			p, l := lent(t, new(testkit.Exchange), 1)
			putter := putTo(s, "put: gate read", p, l[0])
			r := testkit.Ask(bg, p)
			r.Pending(t, "before the Put")
			putter.End()
			endWith(t, p, 1, r.Served(t, "after the Put"))
		})
	})
	t.Run("settle", func(t *testing.T) {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			p, l := lent(t, new(testkit.Exchange), 1)
			getter, r := getTo(s, "wait: registered", bg, p)
			putter := putTo(s, "settle: nobody waits", p, l[0])
			getter.GoOn()
			r.Pending(t, "before the Put")
			putter.End()
			endWith(t, p, 1, r.Served(t, "after the Put"))
		})
	})
}

// Seeded fault 3. sqlx#3132, fasthttp#1830: a grant that cannot be used is dropped.
func TestGranterThatLosesAWaiterServesTheNext(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		first, second := testkit.Ask(ctx, p), testkit.Ask(bg, p)
		putter := putTo(s, "settle: somebody waits", p, l[0])
		cancel()
		first.Failed(t, "after its cancel", context.Canceled)
		putter.End()
		endWith(t, p, 1, second.Served(t, "after the Put"))
	})
}

func TestGranterThatLosesTheOnlyWaiterLeavesTheSlotIdle(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		r := testkit.Ask(ctx, p)
		putter := putTo(s, "settle: somebody waits", p, l[0])
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		putter.End()
		endWith(t, p, 1)
	})
}

func TestOfTwoGrantersOneServesAndTheOtherGoesOn(t *testing.T) {
	for _, waiters := range []int{1, 2} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			p, l := lent(t, new(testkit.Exchange), 2)
			r := []*testkit.Request[*testkit.Wire]{testkit.Ask(bg, p)}
			if waiters == 2 {
				r = append(r, testkit.Ask(bg, p))
			}
			a := putTo(s, "settle: somebody waits", p, l[0])
			b := putTo(s, "settle: somebody waits", p, l[1])
			b.End()
			first := r[0].Served(t, "after one Put")
			a.End()
			if waiters == 1 {
				endWith(t, p, 2, first)
				return
			}
			endWith(t, p, 2, first, r[1].Served(t, "after the other Put"))
		})
	}
}

// Seeded fault 7: A is first at the gate and granted; B has registered but is not linked;
// a publisher finds the queue empty, and goes. B must look for itself.
func TestWhoIsNotFirstAtTheGateLooksAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		a := testkit.Ask(bg, p)
		getter, b := getTo(s, "wait: registered", bg, p)
		testkit.GiveBack(t, p, l[0])
		got := a.Served(t, "after the first Put")
		testkit.GiveBack(t, p, l[1])
		getter.GoOn()
		endWith(t, p, 2, got, b.Served(t, "beside an idle slot"))
	})
}

// A waiter that has not looked yet excuses nobody: its stall hides no slot from those
// that come later, and they serve it first.
func TestWaiterStalledBeforeItLooksHoldsUpNobody(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		getter, a := getTo(s, "wait: registered", bg, p)
		testkit.GiveBack(t, p, l[0]) // they find nobody
		testkit.GiveBack(t, p, l[1])
		getter.To("wait: looks again")
		b := testkit.Ask(bg, p)
		got := b.Served(t, "while another has not looked")
		if n := p.Stats().IdleConnections; n != 0 {
			t.Errorf("%d connections are idle, want the other one to be given to who came first", n)
		}
		getter.GoOn()
		endWith(t, p, 2, got, a.Served(t, "when it goes on"))
	})
}

// Seeded fault 9. bb8#67, puddle#2, hackney#462, node-postgres#3721: cancelled getters
// swallow wake-ups, or the connection.
func TestWaiterWhoLosesItsCancelPassesOnWhatItIsGiven(t *testing.T) {
	for name, place := range map[string]string{
		"and its granter sees it":     "grant: decided",
		"and its granter sees it not": "grant: ctx looked at",
	} {
		for _, others := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, l := lent(t, new(testkit.Exchange), 1)
					ctx, cancel := context.WithCancel(bg)
					first := testkit.Ask(ctx, p)
					var second *testkit.Request[*testkit.Wire]
					if others > 0 {
						second = testkit.Ask(bg, p)
					}
					putter := putTo(s, place, p, l[0])
					cancel()
					first.Pending(t, "while it is owed a token")
					putter.End()
					first.Failed(t, "after the Put", context.Canceled)
					// Its channel is in use again with the next wait: it must be clean.
					if second == nil {
						got := testkit.Borrow(t, p)
						third := testkit.Ask(bg, p)
						third.Pending(t, "while the connection is leased")
						testkit.GiveBack(t, p, got)
						endWith(t, p, 1, third.Served(t, "after the next Put"))
						return
					}
					endWith(t, p, 1, second.Served(t, "after the cancel"))
				})
			})
		}
	}
}

// A channel is not used again before its token has come: it would be another's.
func TestChannelIsNotUsedAgainWhileItIsOwedAToken(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that the next caller gets the same one
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		ctx, cancel := context.WithCancel(bg)
		first := testkit.Ask(ctx, p)
		putter := putTo(s, "grant: decided", p, l[0])
		cancel()
		first.Pending(t, "while it is owed a token")
		second := testkit.Ask(bg, p)
		testkit.GiveBack(t, p, l[1])
		got := second.Served(t, "after the other Put")
		first.Pending(t, "while it is owed a token")
		putter.End()
		first.Failed(t, "after its cancel", context.Canceled)
		endWith(t, p, 2, got)
	})
}

// The waiter is owed a token, its ctx has ended, and it has seen that before the
// granter decided it.
func TestGranterDecidesBetweenTheEndOfACtxAndTheLeaving(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		r := testkit.Ask(ctx, p)
		leaving := s.StopNext("leave: ctx ended")
		cancel()
		leaving.Arrived(t)
		testkit.GiveBack(t, p, l[0])
		leaving.GoOn()
		r.Failed(t, "after its cancel", context.Canceled)
		if got := p.Stats().Canceled; got != 1 {
			t.Errorf("%d waits were counted as cancelled, want 1", got)
		}
		endWith(t, p, 1)
	})
}

// vitess#20310: a connection is handed to a waiter that has expired. Its goroutine has
// not run since its ctx ended.
func TestGranterPassesOverAWaiterWhoseCtxHasEnded(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		getter, first := getTo(s, "wait: parked", ctx, p)
		second := testkit.Ask(bg, p)
		cancel()
		testkit.GiveBack(t, p, l[0])
		got := second.Served(t, "while the first has not run")
		getter.GoOn()
		first.Failed(t, "when it runs", context.Canceled)
		if n := p.Stats().Canceled; n != 1 {
			t.Errorf("%d waits were counted as cancelled, want 1", n)
		}
		endWith(t, p, 1, got)
	})
}

// The publisher answers for its own slot only: it is taken by somebody who read the
// gate before anybody waited, the one case of overtaking that there is.
func TestPublisherLeavesASlotToWhoHasTakenIt(t *testing.T) {
	t.Run("settle", func(t *testing.T) {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			p, l := lent(t, new(testkit.Exchange), 1)
			taker, early := getTo(s, "get: gate read", bg, p)
			getter, late := getTo(s, "wait: registered", bg, p)
			putter := putTo(s, "settle: published", p, l[0])
			taker.End()
			got := early.Served(t, "it has taken the slot")
			getter.GoOn()
			putter.End()
			late.Pending(t, "while the slot is leased")
			testkit.GiveBack(t, p, got)
			endWith(t, p, 1, late.Served(t, "after the Put"))
		})
	})
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		putter := putTo(s, "put: gate read", p, l[0])
		getter, early := getTo(s, "get: gate read", bg, p)
		late := testkit.Ask(bg, p)
		putter.To("put: published")
		getter.End()
		got := early.Served(t, "it has taken the slot")
		putter.End()
		late.Pending(t, "while the slot is leased")
		testkit.GiveBack(t, p, got)
		endWith(t, p, 1, late.Served(t, "after the Put"))
	})
}

// A slot is published, taken, emptied, filled again and published, without a lease in between.
// Its word is another one all the same: its first publisher does not take it back.
func TestPublisherDoesNotTakeBackASlotWithAnotherConnectionInIt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		f, broken := testkit.Watched(x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		putter := putTo(s, "put: gate read", p, l)
		putter.To("put: published")
		word := testkit.Inside(p).Ring.At(0)
		broken(1, testkit.ErrCause) // idle, so it is closed
		ctx, cancel := context.WithCancel(bg)
		opened := s.StopNext("opened: established")
		r := testkit.Ask(ctx, p)
		opened.Arrived(t)
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		opened.GoOn()
		if got := testkit.Inside(p).Ring.At(0); got.Phase() != word.Phase() || got.Stamp() != word.Stamp() || got == word {
			t.Fatalf("the word is %#x, want that of an idle slot with the stamp of %#x, and another", got, word)
		}
		getter, r := getTo(s, "get: gate read", bg, p)
		waiting := testkit.Ask(bg, p) // links itself, finds the slot, and is served
		second := waiting.Served(t, "beside an idle slot")
		putter.End()
		getter.GoOn()
		r.Pending(t, "while the connection is leased")
		if second.Value() != x.Opened()[1] {
			t.Errorf("connection %d was lent, want the second", second.Value().Number)
		}
		testkit.GiveBack(t, p, second)
		endWith(t, p, 1, r.Served(t, "after the Put"))
		testkit.BrokenOnce(t, "at the end", x.Opened()[0], testkit.ErrCause)
	})
}
