package budget

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// What is reserved lapses when no right is free and nothing is idle anywhere, the longest first.
func TestWhatIsReservedLapsesForAnotherPoolWhenNothingIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(3)
		p, ps := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		q, _ := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		asker, _ := begin(t, b, pool.Config{})
		first, second, idle := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, q)
		for _, l := range []pool.Lease[*testkit.Wire]{second, first} {
			if err := p.PutFor(l, time.Hour); err != nil {
				t.Fatal(err)
			}
			testkit.Sleep(2 * time.Second)
		}
		testkit.GiveBack(t, q, idle)
		open := []pool.Lease[*testkit.Wire]{testkit.Ask(t.Context(), asker).Served(t, "something is idle")}
		if got := q.Stats().ClosedBudget; got != 1 {
			t.Errorf("%d that were idle have been closed, want 1", got)
		}
		for i, want := range []*testkit.Wire{second.Value(), first.Value()} {
			open = append(open, testkit.Ask(t.Context(), asker).Served(t, "something is reserved"))
			synctest.Wait()
			if got := p.Stats(); got.ClosedBudget != uint64(i+1) || len(want.ClosedWith()) != 1 {
				t.Errorf("%d that were reserved have been closed, want %d, the longest first", got.ClosedBudget, i+1)
			}
		}
		if got := len(ps.Opened()); got != 2 {
			t.Errorf("%d were opened, want 2", got)
		}
		for _, l := range open {
			testkit.GiveBack(t, asker, l)
		}
		atRest(t, b, 3, p, q, asker)
	})
}

// In the pool of the caller, what is reserved goes to him: nothing is closed. But first what is
// idle in another pool is closed.
func TestWhatIsReservedGoesToTheCallersOfItsOwnPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		p, ps := begin(t, b, pool.Config{})
		q, qs := begin(t, b, pool.Config{})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, q)
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, q, m)
		n := testkit.Ask(t.Context(), p).Served(t, "something is idle in the other pool")
		if n.Value() == l.Value() || q.Stats().ClosedBudget != 1 {
			t.Errorf("it was lent what is reserved, and %d were closed in the other pool", q.Stats().ClosedBudget)
		}
		o := testkit.Ask(t.Context(), p).Served(t, "nothing is idle")
		if o.Value() != l.Value() || len(ps.Opened()) != 2 || p.Stats().ClosedBudget != 0 {
			t.Errorf("it was lent connection %d, want that which was reserved, and %d were opened", o.Value().Number, len(ps.Opened()))
		}
		testkit.GiveBack(t, p, n)
		testkit.GiveBack(t, p, o)
		if len(qs.Opened()) != 1 {
			t.Errorf("%d were opened in the other pool, want 1", len(qs.Opened()))
		}
		atRest(t, b, 2, p, q)
	})
}

// Nor does he need what is reserved in another pool, though that has been so for longer.
func TestACallerGetsWhatHisOwnPoolHasReservedBeforeAnotherPoolGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		p, ps := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		q, qs := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, q)
		if err := q.PutFor(m, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * time.Second)
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * time.Second)
		n := testkit.Ask(t.Context(), p).Served(t, "his own pool has one reserved")
		if got := q.Stats().ClosedBudget; n.Value() != l.Value() || got != 0 || len(ps.Opened())+len(qs.Opened()) != 2 {
			t.Errorf("he was lent connection %d, and %d were closed in the other pool", n.Value().Number, got)
		}
		testkit.GiveBack(t, p, n)
		atRest(t, b, 2, p, q)
	})
}

// One who waits already gets what is to be reserved.
func TestWhatIsToBeReservedGoesToAnotherPoolThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		asker, _ := begin(t, b, pool.Config{})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), asker)
		mark := l.Mark()
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, asker, r.Served(t, "nothing else is idle"))
		if _, err := p.GetSame(t.Context(), mark); err == nil {
			t.Error("GetSame has returned what is closed")
		}
		atRest(t, b, 1, p, asker)
	})
}

// A GetFresh takes the right of a connection that is too old for it, if there is no other.
func TestAFreshOneTakesTheRightOfOneThatIsTooOld(t *testing.T) {
	for _, idle := range []bool{true, false} {
		name := "leased"
		if idle {
			name = "idle"
		}
		testkit.Bubble(t, name, func(t *testing.T) {
			b := pool.NewBudget(1)
			p, s := begin(t, b, pool.Config{})
			l := testkit.Borrow(t, p)
			if idle {
				testkit.GiveBack(t, p, l)
			}
			r := testkit.AskFresh(t.Context(), p)
			if !idle {
				r.Pending(t, "there is no right")
				testkit.GiveBack(t, p, l)
			}
			testkit.GiveBack(t, p, r.Served(t, "what is too old was closed"))
			if got := p.Stats(); got.ClosedFresh != 1 || len(s.Opened()) != 2 {
				t.Errorf("%d were closed to make room, want 1, and %d opened, want 2", got.ClosedFresh, len(s.Opened()))
			}
			atRest(t, b, 1, p)
		})
	}
}

// One who waits in the pool itself, and came before the other pool, gets what is to be reserved: it is not closed.
func TestWhatIsToBeReservedGoesToWhoCameFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, s := begin(t, b, pool.Config{MaxWaitTime: -1})
		other, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		own := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		r := testkit.Ask(t.Context(), other)
		if err := p.PutFor(l, time.Hour); err != nil {
			t.Fatal(err)
		}
		m := own.Served(t, "first come")
		if m.Value() != l.Value() || len(s.Opened()) != 1 {
			t.Errorf("what was to be reserved was closed, and %d were opened, want 1", len(s.Opened()))
		}
		testkit.GiveBack(t, p, m)
		testkit.GiveBack(t, other, r.Served(t, "second come"))
		atRest(t, b, 1, p, other)
	})
}
