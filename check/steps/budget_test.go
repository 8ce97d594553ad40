//go:build step

package steps

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sharingOne returns two pools with a budget of one connection, which is leased in the first.
func sharingOne(t *testing.T) (p, q *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
	t.Helper()
	b := pool.NewBudget(1)
	x, y := new(testkit.Exchange), new(testkit.Exchange)
	p = testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
	q = testkit.Start(t, y.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
	return p, q, testkit.Borrow(t, p)
}

// Another pool comes to stand in the line while a lease is being put back: before Put has read the
// flag, or when it has published the slot, or while settle finds the next owner.
func TestAPoolThatComesToTheLineMeetsAPut(t *testing.T) {
	for name, put := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error{
		"Put":    func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.Put(l) },
		"PutFor": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.PutFor(l, time.Hour) },
	} {
		for _, place := range []string{"put: gate read", "put: published", "settle: gate read", "settle: nobody waits", "reserve: stored"} {
			if (name == "Put") != (place[:3] == "put") {
				continue
			}
			t.Run(name+" at "+place, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, q, l := sharingOne(t)
					putter := s.Act(place, func() {
						if err := put(p, l); err != nil {
							t.Error(err)
						}
					})
					r := testkit.Ask(t.Context(), q)
					putter.GoOn()
					synctest.Wait()
					testkit.GiveBack(t, q, r.Served(t, "after both"))
					if got := p.Stats().ClosedBudget; got != 1 {
						t.Errorf("%d were closed for the other pool, want 1", got)
					}
				})
			})
		}
	}
}

// The lease comes back while another pool comes to stand in the line: before it does, before it looks
// for what is idle, and when it has looked in vain.
func TestAPutMeetsAPoolThatComesToTheLine(t *testing.T) {
	for _, place := range []string{"budget: asks", "budget: flag changed", "budget: looks", "budget: has looked"} {
		t.Run(place, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, q, l := sharingOne(t)
				asker, r := getTo(s, place, bg, q)
				testkit.GiveBack(t, p, l)
				synctest.Wait()
				asker.GoOn()
				testkit.GiveBack(t, q, r.Served(t, "after both"))
			})
		})
	}
}

// A right comes for the pool between the look and the line: what it lacks is less by then, and nothing of
// another pool is closed for the rest.
func TestWhoComesToTheLineTooLateLooksAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(3)
		x, y := new(testkit.Exchange), new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		q := testkit.Start(t, y.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		l, m, n := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		first := testkit.Ask(t.Context(), q)
		asker, second := getTo(s, "budget: asks", bg, q)
		granted := s.StopNext("budget: granted")
		go func() { _ = p.Discard(l, nil) }()
		granted.Arrived(t)
		testkit.GiveBack(t, p, m)
		testkit.GiveBack(t, p, n)
		synctest.Wait()
		asker.GoOn()
		granted.GoOn()
		first.Served(t, "there is a right")
		second.Served(t, "another one was closed for it")
		if got := p.Stats(); got.ClosedBudget != 1 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for the other pool, want 1, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
	})
}

// The last one leaves the line, and another one comes before the flag is cleared: what is published meanwhile
// is found when it is set anew.
func TestWhoClearsTheFlagInVainLooksForWhatIsIdle(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, q, l := sharingOne(t)
		ctx, leave := context.WithCancel(t.Context())
		first := testkit.Ask(ctx, q)
		clears := s.StopNext("budget: line read")
		leave()
		clears.Arrived(t)
		second := testkit.Ask(t.Context(), q)
		cleared := s.StopNext("budget: flag changed")
		clears.GoOn()
		cleared.Arrived(t)
		testkit.GiveBack(t, p, l)
		second.Pending(t, "Put did not see that it stands in the line")
		cleared.GoOn()
		first.Failed(t, "its ctx has ended", context.Canceled)
		testkit.GiveBack(t, q, second.Served(t, "the flag is set again"))
	})
}

// What has been taken for the line goes to somebody who waits in its own pool, and came before: it is not closed.
func TestWhatIsTakenForTheLineGoesToWhoCameFirst(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, q, l := sharingOne(t)
		getter, own := getTo(s, "wait: registered", bg, p)
		testkit.GiveBack(t, p, l)
		testkit.Sleep(time.Millisecond)
		asker, other := getTo(s, "budget: taken", bg, q)
		getter.GoOn()
		own.Pending(t, "what was idle is taken")
		asker.GoOn()
		m := own.Served(t, "first come")
		if got := p.Stats(); m.Value() != l.Value() || got.ClosedBudget != 0 {
			t.Errorf("%d were closed for the other pool, want none, and another connection was opened", got.ClosedBudget)
		}
		testkit.GiveBack(t, p, m)
		testkit.GiveBack(t, q, other.Served(t, "second come"))
	})
}

// A generous store grants whatever is wanted for those who wait.
type generous struct{ rights *pool.Rights }

func (s *generous) Rights() (*pool.Rights, error) { return s.rights, nil }
func (s *generous) Give(int)                      {}

func (s *generous) Want(waiting, _ int) {
	if waiting > 0 {
		s.rights.Grant(waiting)
	}
}

// The lease that is about to be revoked for a right that is lost comes back: it is idle, and is closed.
func TestALeaseThatComesBackAsItIsCutIsClosedAllTheSame(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := new(generous)
		g.rights = pool.NewRights(g)
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: g, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		cutter := s.Act("budget: cuts one", func() { g.rights.Cut(1) })
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		cutter.End()
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 1 || got.IdleConnections != 0 {
			t.Errorf("%d were closed, want 1, and %d are idle, want none", got.ClosedBudget, got.IdleConnections)
		}
	})
}

// The pool is full by the time that Warm has its right: that goes back.
func TestARightThatWarmHasNoRoomForGoesBack(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: b, MaxConnections: 1})
		q := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: b})
		warmer := s.Act("budget: takes", func() {
			if err := p.Warm(bg, 1); err != nil {
				t.Error(err)
			}
		})
		testkit.Borrow(t, p)
		warmer.End()
		testkit.GiveBack(t, q, testkit.Ask(t.Context(), q).Served(t, "one of two rights is used"))
	})
}

// A lease that is being revoked is not revoked once more for a right that is cut.
func TestALeaseThatIsBeingRevokedIsNotCut(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := new(generous)
		g.rights = pool.NewRights(g)
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: g, MaxWaitTime: -1})
		testkit.Borrow(t, p)
		revoker := s.Act("revoke: renewed", func() { p.Revoke(p.Leases()[0]) })
		g.rights.Cut(1)
		revoker.End()
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 0 || got.ActiveConnections != 0 {
			t.Errorf("%d were closed for the budget, want none: Revoke has closed it; %d are leased, want none", got.ClosedBudget, got.ActiveConnections)
		}
	})
}

// Another lease ends just before one is revoked: that was enough.
func TestALeaseIsNotCutWhenAnotherOneHasEnded(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := new(generous)
		g.rights = pool.NewRights(g)
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: g, MaxWaitTime: -1})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
		cutter := s.Act("budget: yields", func() { g.rights.Cut(1) })
		if err := p.Discard(m, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cutter.End()
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 0 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for the budget, want none, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
	})
}

// A pool gets its right while others come to stand in the line behind it: its first connection serves them when
// it comes back.
func TestAPoolThatGetsItsFirstRightKnowsOfTheLine(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(1)
		var pools [3]*pool.Pool[*testkit.Wire]
		for i := range pools {
			pools[i] = testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		}
		l := testkit.Borrow(t, pools[0])
		asker, first := getTo(s, "budget: looks", bg, pools[1])
		second := testkit.Ask(t.Context(), pools[2])
		if err := pools[0].Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		asker.GoOn()
		testkit.GiveBack(t, pools[1], first.Served(t, "first come"))
		testkit.GiveBack(t, pools[2], second.Served(t, "second come"))
	})
}

// A pool with two budgets keeps its place in a line while it asks there for one more.
func TestAPoolKeepsItsPlaceInTheLineWhileItAsksForMore(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		own := pool.NewBudget(1)
		g := newShelf(t, pool.Config{Budget: own, MaxWaitTime: -1}, pool.GroupConfig{MaxConnections: 4})
		h := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: own, MaxWaitTime: -1})
		z := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: own, MaxWaitTime: -1})
		l, err := g.Get(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		p, _ := g.Pool("")
		if err := g.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l = testkit.Borrow(t, h)
		first := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		other := testkit.Ask(t.Context(), z)
		testkit.Sleep(time.Millisecond)
		asker, second := getTo(s, "budget: asks", bg, p)
		if err := h.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		l = first.Served(t, "first come")
		other.Pending(t, "another one came first")
		asker.GoOn()
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, z, other.Served(t, "second come"))
		testkit.GiveBack(t, p, second.Served(t, "third come"))
	})
}

// What has been taken for the line is not needed any more: it is idle again.
func TestWhatIsTakenForTheLineInVainIsIdleAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		x, y := new(testkit.Exchange), new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		q := testkit.Start(t, y.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		asker, r := getTo(s, "budget: taken", bg, q)
		if err := p.Discard(m, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		asker.GoOn()
		testkit.GiveBack(t, q, r.Served(t, "a right has come free"))
		if got := p.Stats(); got.ClosedBudget != 0 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for the other pool, want none, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
	})
}

// Somebody comes to wait who counts on a right in another one's hands, who has just found that
// nobody needs it.
func TestWhoCountsOnARightThatIsGivenBackGetsAnother(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, q, l := sharingOne(t)
		first, leave := context.WithCancel(t.Context())
		r := testkit.Ask(first, q)
		granted := s.StopNext("budget: granted")
		go func() { _ = p.Discard(l, nil) }()
		granted.Arrived(t)
		leave()
		r.Failed(t, "by its ctx", context.Canceled)
		used := s.StopNext("budget: used")
		granted.GoOn()
		used.Arrived(t)
		second := testkit.Ask(t.Context(), q)
		second.Pending(t, "while another one has the right")
		used.GoOn()
		testkit.GiveBack(t, q, second.Served(t, "when that has looked again"))
	})
}

// The right has come, and the attempt has not begun: nothing is lacking, whoever looks meanwhile.
func TestWhatIsInHandIsNotAskedForAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		closes, let := testkit.Obstacle(t)
		x, y := &testkit.Exchange{}, new(testkit.Exchange)
		f := x.Factory()
		closed := f.Close
		f.Close = func(w *testkit.Wire, err error) error {
			<-closes
			return closed(w, err)
		}
		p := testkit.Start(t, f, pool.Config{Budget: b, MaxIdleTime: -1})
		q := testkit.Start(t, y.Factory(), pool.Config{Budget: b})
		if err := p.Warm(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		granted := s.StopNext("budget: granted")
		r := testkit.Ask(t.Context(), q)
		r.Pending(t, "while one is closed for it")
		let()
		granted.Arrived(t)
		testkit.Inside(q).EnsureOpen()
		granted.GoOn()
		testkit.GiveBack(t, q, r.Served(t, "with the right of the one"))
		if got := p.Stats().ClosedBudget; got != 1 {
			t.Errorf("%d were closed for one, want 1", got)
		}
	})
}

// A vault is a store that has so many rights.
type vault struct {
	rights *pool.Rights
	left   int
}

func (v *vault) Rights() (*pool.Rights, error) { return v.rights, nil }
func (v *vault) Give(int)                      {}

func (v *vault) Want(waiting, hoping int) {
	if n := min(waiting+hoping, v.left); n > 0 {
		v.left -= n
		v.rights.Grant(n)
	}
}

// A Cut finds a lease that is just being put back, in a pool whose Put has not yet seen that anybody stands in the line:
// the connection is idle when its lease should be revoked, or in other hands already.
func TestACutMeetsALeaseThatIsJustBeingPutBack(t *testing.T) {
	for _, again := range []bool{false, true} {
		name := "idle"
		if again {
			name = "leased again"
		}
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				v := &vault{left: 2}
				v.rights = pool.NewRights(v)
				x, y := new(testkit.Exchange), new(testkit.Exchange)
				p := testkit.Start(t, x.Factory(), pool.Config{Budget: v, MaxWaitTime: -1})
				q := testkit.Start(t, y.Factory(), pool.Config{Budget: v, MaxWaitTime: -1})
				l := testkit.Borrow(t, p)
				opening, opened := testkit.Obstacle(t)
				y.Open = func(context.Context, int) error { <-opening; return nil }
				r := testkit.Ask(t.Context(), q) // nothing is to be had there: it is looked at last
				putter := putTo(s, "put: gate read", p, l)
				cutter := s.Act("budget: yields", func() { v.rights.Cut(1) })
				putter.To("put: published")
				if again {
					var ok bool
					if l, ok = p.TryGet(); !ok {
						t.Fatal("nothing is idle")
					}
				}
				cutter.End()
				synctest.Wait()
				if got := p.Stats(); got.ClosedBudget != 1 || got.IdleConnections+got.ActiveConnections != 0 {
					t.Errorf("%d were closed for what is lost, want 1; %d are idle and %d leased, want none", got.ClosedBudget, got.IdleConnections, got.ActiveConnections)
				}
				putter.End()
				if again {
					testkit.GiveBack(t, p, l)
				}
				opened()
				testkit.GiveBack(t, q, r.Served(t, "it was opened for him"))
				if got := testkit.Inside(p).Promised(); got != 0 {
					t.Errorf("%d are still to be closed", got)
				}
			})
		})
	}
}

// A pool that has something reserved stands in the line, and another one comes to stand behind it before it has looked.
func TestAPoolThatHasSomethingReservedLooksAfterAnotherOneHas(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		start := func() (*pool.Pool[*testkit.Wire], *testkit.Exchange) {
			x := new(testkit.Exchange)
			return testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1}), x
		}
		p, x := start()
		q, _ := start()
		other, _ := start()
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, q)
		if err := q.PutFor(m, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * time.Second)
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		asker, r := getTo(s, "budget: looks", bg, p)
		testkit.Sleep(time.Millisecond)
		behind := testkit.Ask(t.Context(), other)
		asker.GoOn()
		n := r.Served(t, "his own pool has one reserved")
		if n.Value() != l.Value() || len(x.Opened()) != 1 {
			t.Errorf("he was lent connection %d, want that which was reserved, and %d were opened, want 1", n.Value().Number, len(x.Opened()))
		}
		testkit.GiveBack(t, other, behind.Served(t, "the third pool has one reserved"))
		testkit.GiveBack(t, p, n)
	})
}

// A pool has had its turn, and somebody comes to wait in it before it has used the right: it goes to the end of the line all
// the same.
func TestWhoComesToWaitAsARightComesGetsNoEarlierPlace(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		start := func() *pool.Pool[*testkit.Wire] {
			return testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: b, MaxWaitTime: -1, OpenEagerly: true})
		}
		holder, p, q := start(), start(), start()
		l, m := testkit.Borrow(t, holder), testkit.Borrow(t, holder)
		mine := []*testkit.Request[*testkit.Wire]{testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)}
		testkit.Sleep(time.Millisecond)
		other := testkit.Ask(t.Context(), q)
		testkit.Sleep(time.Millisecond)
		granted := s.StopNext("budget: granted")
		go func() { _ = holder.Discard(l, nil) }()
		granted.Arrived(t)
		mine = append(mine, testkit.Ask(t.Context(), p))
		if err := holder.Discard(m, nil); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, q, other.Served(t, "the other pool has had its turn since he came"))
		granted.GoOn()
		for _, r := range mine {
			testkit.GiveBack(t, p, r.Served(t, "first in the line, then what comes back"))
		}
	})
}

// Somebody is about to ask for two rights when one comes: he asks for no more than is still lacking.
func TestWhoHasLookedBeforeARightCameLooksAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(3)
		start := func() *pool.Pool[*testkit.Wire] {
			return testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{Budget: b, MaxWaitTime: -1, OpenEagerly: true})
		}
		holder, p, q := start(), start(), start()
		h, l, m := testkit.Borrow(t, holder), testkit.Borrow(t, p), testkit.Borrow(t, p)
		first := testkit.Ask(t.Context(), q)
		asker, second := getTo(s, "budget: asks", bg, q)
		if err := holder.Discard(h, nil); err != nil {
			t.Fatal(err)
		}
		h = first.Served(t, "a right has come")
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, m)
		synctest.Wait()
		asker.GoOn()
		testkit.GiveBack(t, q, second.Served(t, "another one has come"))
		testkit.GiveBack(t, q, h)
		if got := p.Stats(); got.ClosedBudget != 1 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for one who waits, want 1, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
	})
}
