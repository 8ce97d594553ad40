package budget

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// only has the store grant no more than most, also what is given back.
func (s *store) only(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
}

// What is lost comes before all who stand in the line, until all of it is made up for.
func TestWhatIsLostComesBeforeAllOthersInTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(3)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		q, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		l, m, n := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), q)
		testkit.Sleep(time.Millisecond)
		s.rights.Lose(2)
		testkit.GiveBack(t, p, l)
		r.Pending(t, "one of two is made up for")
		testkit.Sleep(time.Millisecond)
		testkit.GiveBack(t, p, m)
		r.Pending(t, "the other one is")
		testkit.GiveBack(t, p, n)
		testkit.GiveBack(t, q, r.Served(t, "nothing else is lost"))
		p.Close()
		q.Close()
		s.are(t, "two of three are lost", 2, 0)
	})
}

// What is being opened as rights are lost serves who waits for it: only a Cut would close it.
func TestWhatIsOpenedAfterALossServesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(4)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		k, l, m := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, k)
		s.only(3)
		s.rights.Cut(1) // has its due at once
		synctest.Wait()
		s.only(4)
		opening, goOn := testkit.Obstacle(t)
		sv.open = func(context.Context) error { <-opening; return nil }
		r := testkit.Ask(t.Context(), p)
		s.only(0)
		s.rights.Lose(3)
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		goOn()
		n := r.Served(t, "it was opened for him")
		if got := p.Stats(); got.ClosedBudget != 2 || got.ActiveConnections != 2 {
			t.Errorf("%d were closed for what is lost, want 2, and %d are leased, want 2", got.ClosedBudget, got.ActiveConnections)
		}
		testkit.GiveBack(t, p, m)
		testkit.GiveBack(t, p, n)
		synctest.Wait()
		if got := p.Stats().ClosedBudget; got != 4 {
			t.Errorf("%d were closed for what is lost, want 4", got)
		}
		p.Close()
		s.are(t, "all are lost", 4, 0)
	})
}

// All that is lost is made up for before those who wait in a pool get what comes back there. For another pool one
// connection is closed, then it is their turn.
func TestWhatComesBackIsClosedForAllThatIsLostAndOnceForAPool(t *testing.T) {
	for _, lost := range []bool{true, false} {
		name := "for a pool"
		if lost {
			name = "for what is lost"
		}
		testkit.Bubble(t, name, func(t *testing.T) {
			s := newStore(2)
			p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
			q, _ := begin(t, s, pool.Config{MaxWaitTime: -1, OpenEagerly: true})
			l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
			closed := slowlyClosed(t, sv)
			var others []*testkit.Request[*testkit.Wire]
			if lost {
				s.only(0)
				s.rights.Lose(2)
			} else {
				others = append(others, testkit.Ask(t.Context(), q), testkit.Ask(t.Context(), q))
				s.are(t, "two wait in the other pool", 2, 2)
			}
			testkit.Sleep(time.Millisecond)
			r := testkit.Ask(t.Context(), p)
			testkit.GiveBack(t, p, l)
			r.Pending(t, "others came first")
			testkit.GiveBack(t, p, m)
			synctest.Wait()
			if got, want := p.Stats().ClosedBudget, map[bool]uint64{true: 2, false: 1}[lost]; got != want {
				t.Errorf("%d were closed, want %d", got, want)
			}
			if lost {
				r.Pending(t, "both are lost")
				closed()
				return
			}
			m = r.Served(t, "the other pool has had its turn")
			closed()
			testkit.GiveBack(t, q, others[0].Served(t, "one was closed for it"))
			testkit.GiveBack(t, q, others[1].Served(t, "what comes back"))
			testkit.GiveBack(t, p, m)
			p.Close()
			q.Close()
			s.are(t, "both are closed", 0, 0)
		})
	}
}

// A right that was to come for a pool is lost: what it has reserved is for its callers.
func TestWhatIsReservedLapsesWhenTheRightThatWasToComeIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		q, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, q)
		closed := slowlyClosed(t, sv)
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, q, m)
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "what is idle is being closed for him")
		s.only(1)
		s.rights.Lose(1)
		n := r.Served(t, "nothing else is left")
		if n.Value() != l.Value() {
			t.Errorf("he was lent connection %d, want that which was reserved", n.Value().Number)
		}
		closed()
		testkit.GiveBack(t, p, n)
		p.Close()
		q.Close()
		s.are(t, "one is lost", 1, 0)
	})
}

// A listener is a store that has nothing to say by itself.
type listener struct {
	rights *pool.Rights
	told   []int
}

func (s *listener) Rights() (*pool.Rights, error) { return s.rights, nil }
func (s *listener) Give(int)                      {}
func (s *listener) Want(waiting, _ int)           { s.told = append(s.told, waiting) }

// What has failed is not wanted any more: the store is asked for it again when it is tried again.
func TestAStoreThatHasFailedIsNotToldAtOnceThatAsMuchIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(listener)
		s.rights = pool.NewRights(s)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: time.Hour})
		testkit.Ask(t.Context(), p)
		s.rights.Fail(errDown)
		testkit.Sleep(time.Minute) // it is tried again
		if want := []int{1, 0, 1}; !slices.Equal(s.told, want) {
			t.Errorf("it was told that so many are wanted: %v, want %v", s.told, want)
		}
	})
}

// slowlyClosed has each Close of the server wait.
func slowlyClosed(t *testing.T, s *server) (goOn func()) {
	closing, goOn := testkit.Obstacle(t)
	s.close = func() error { <-closing; return nil }
	return goOn
}

// Once something is being closed for each right that is cut, what is opened serves who waits, though a pool
// stands in the line that came before him.
func TestWhatIsOpenedWhenACutHasItsDueServesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		q, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		testkit.Borrow(t, p)
		opening, opened := testkit.Obstacle(t)
		sv.open = func(context.Context) error { <-opening; return nil }
		closed := slowlyClosed(t, sv)
		ctx, leave := context.WithCancel(t.Context())
		first := testkit.Ask(ctx, p)
		testkit.Sleep(time.Millisecond)
		other := testkit.Ask(t.Context(), q)
		testkit.Sleep(time.Millisecond)
		second := testkit.Ask(t.Context(), p)
		leave()
		first.Failed(t, "its ctx has ended", context.Canceled)
		s.only(0)
		s.rights.Cut(1)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 1 || got.ActiveConnections != 0 {
			t.Errorf("%d were closed, want 1, and %d are leased, want none", got.ClosedBudget, got.ActiveConnections)
		}
		opened()
		l := second.Served(t, "it was opened for those who wait here")
		closed()
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, q, other.Served(t, "in its turn"))
		p.Close()
		q.Close()
		s.are(t, "one is lost", 1, 0)
	})
}

// A Cut takes what is being closed for those in the line. It revokes no lease for them.
func TestACutRevokesNoLeaseForAPoolInTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(3)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		q, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		l, m, n := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		closed := slowlyClosed(t, sv)
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, m)
		var rs []*testkit.Request[*testkit.Wire]
		for range 3 {
			rs = append(rs, testkit.Ask(t.Context(), q))
		}
		if got := p.Stats().ClosedBudget; got != 2 {
			t.Errorf("%d are being closed for the other pool, want both that were idle", got)
		}
		s.only(0)
		s.rights.Cut(1)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 2 || got.ActiveConnections != 1 {
			t.Errorf("%d are being closed, want 2, and %d are leased, want 1", got.ClosedBudget, got.ActiveConnections)
		}
		closed()
		testkit.GiveBack(t, p, n)
		a, b := rs[0].Served(t, "two rights are left"), rs[1].Served(t, "two rights are left")
		rs[2].Pending(t, "two rights are left")
		testkit.GiveBack(t, q, a)
		testkit.GiveBack(t, q, b)
		testkit.GiveBack(t, q, rs[2].Served(t, "what comes back is his"))
		p.Close()
		q.Close()
		s.are(t, "one is lost", 1, 0)
	})
}

// Others elsewhere keep their place when more of them come.
func TestOthersElsewhereKeepTheirPlaceWhenMoreCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		s.only(0)
		s.rights.Reclaim(1)
		testkit.Sleep(time.Millisecond)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		s.rights.Reclaim(2)
		testkit.GiveBack(t, p, l)
		r.Pending(t, "others came first")
		s.are(t, "it is theirs", 0, 1)
		s.rights.Reclaim(0)
		s.grant(1)
		testkit.GiveBack(t, p, r.Served(t, "there is a right"))
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// A store that fails fails those in its own process: others elsewhere keep their place in the line.
func TestOthersElsewhereKeepTheirPlaceWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: testkit.AtOnce})
		q, _ := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: testkit.AtOnce})
		l := testkit.Borrow(t, p)
		s.only(0)
		s.rights.Reclaim(1)
		r := testkit.Ask(t.Context(), q)
		s.rights.Fail(errDown)
		r.Failed(t, "the store has failed", errDown)
		testkit.GiveBack(t, p, l)
		s.are(t, "what came back is for the others", 0, 0)
		if got := p.Stats().ClosedBudget; got != 1 {
			t.Errorf("%d were closed for the others, want 1", got)
		}
	})
}

// A pool whose callers wait while it is warmed has failed once, not twice.
func TestAFailureOfTheStoreCountsOnceInAPoolThatWaitsAndHopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: time.Hour})
		w := testkit.Warm(t.Context(), p, 2)
		w.Pending(t, "there is no right")
		r := testkit.Ask(t.Context(), p)
		s.are(t, "both want one", 0, 1)
		s.rights.Fail(errDown)
		synctest.Wait()
		if got := testkit.Inside(p).Outage().Failures; got != 1 {
			t.Errorf("%d failures are counted, want 1", got)
		}
		s.grant(2)
		testkit.GiveBack(t, p, r.Served(t, "there are rights"))
		w.Is(t, "there are rights", nil)
	})
}

// Idle says how many could be closed at once, and since when the first has been idle: of what is idle in all
// pools, or, if nothing is, of what is reserved.
func TestIdleSaysWhatCouldBeClosedInAllPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(7)
		c := pool.Config{MaxIdleTime: time.Hour}
		var pools []*wires
		var leases [][]pool.Lease[*testkit.Wire]
		for range 3 {
			p, _ := begin(t, s, c)
			pools = append(pools, p)
			leases = append(leases, []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)})
		}
		began := time.Now()
		is := func(when string, n int, since time.Duration) {
			t.Helper()
			got, at := s.rights.Idle()
			if got != n {
				t.Errorf("%s: %d could be closed, want %d", when, got, n)
			}
			// To within a second, as idle times are.
			if d := at.Sub(began) - since; n > 0 && (d < -time.Second || d > time.Second) || n == 0 && !at.IsZero() {
				t.Errorf("%s: the first has been idle since %v, want %v", when, at.Sub(began), since)
			}
		}
		reserve := func(pool, lease int) {
			t.Helper()
			if err := pools[pool].PutFor(leases[pool][lease], time.Hour); err != nil {
				t.Fatal(err)
			}
			testkit.Sleep(time.Minute)
		}
		put := func(pool, lease int) {
			t.Helper()
			testkit.GiveBack(t, pools[pool], leases[pool][lease])
			testkit.Sleep(time.Minute)
		}
		is("all are leased", 0, 0)
		reserve(1, 0)
		is("one is reserved", 1, 0)
		reserve(0, 0)
		is("another one is, in the pool before", 2, 0)
		reserve(2, 0)
		is("a third one is, in the pool behind", 3, 0)
		put(1, 1)
		is("one is idle", 1, 3*time.Minute)
		put(0, 1)
		is("another one is, in the pool before", 2, 3*time.Minute)
		put(2, 1)
		is("a third one is, in the pool behind", 3, 3*time.Minute)
	})
}

// A pool that has no right is none of those that are looked through for others.
func TestAPoolWithoutARightIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		q, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		ctx, leave := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, q)
		if got := testkit.Inside(p).Holders(); got != 1 {
			t.Errorf("%d pools are looked through, want only the one that has a right", got)
		}
		leave()
		if r.Returned(); !errors.Is(r.Err, context.Canceled) {
			t.Errorf("Get returned %v", r.Err)
		}
		if err := p.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := testkit.Inside(p).Holders(); got != 0 {
			t.Errorf("%d pools are looked through, and none has a right", got)
		}
		atRest(t, b, 1, p, q)
	})
}
