package lending

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// What a lease tells its holder of how it began.

func TestALeaseTellsHowLongItsGetHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		waited := func(l pool.Lease[*testkit.Wire], when string, want time.Duration) {
			t.Helper()
			if got := l.Waited(); got != want {
				t.Errorf("%s: waited %v, want %v", when, got, want)
			}
		}
		waited(pool.Lease[*testkit.Wire]{}, "the zero Lease", 0)
		l := testkit.Borrow(t, p)
		waited(l, "for one that was opened", testkit.OpenTime)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(3 * time.Second)
		testkit.GiveBack(t, p, l)
		l = r.Served(t, "by one that came back")
		waited(l, "for one that came back", 3*time.Second)
		mark := l.Mark()
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p)
		waited(l, "for one that was idle", 0)
		same := testkit.AskSame(t.Context(), p, mark)
		testkit.Sleep(time.Second)
		testkit.GiveBack(t, p, l)
		l = same.Served(t, "by the same")
		waited(l, "for the same", time.Second)
		testkit.GiveBack(t, p, l)
		l, _ = p.TryGet()
		waited(l, "by TryGet", 0)
		testkit.GiveBack(t, p, l)
	})
}

// A hand-over that takes no time at all is a wait as well.
func TestAWaitOfNoTimeIsNotNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		if got := l.Waited(); got != 1 {
			t.Errorf("waited %v in a bubble in which no time passes, want 1ns", got)
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestALeaseTellsHowLongItsConnectionHasBeenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: 16 * time.Second, MinIdle: 1})
		idle := func(l pool.Lease[*testkit.Wire], when string, least, most time.Duration) {
			t.Helper()
			if got := l.Idle(); got < least || got > most {
				t.Errorf("%s: idle for %v, want %v to %v", when, got, least, most)
			}
		}
		idle(pool.Lease[*testkit.Wire]{}, "the zero Lease", 0, 0)
		l := testkit.Borrow(t, p)
		idle(l, "just opened", 0, 0)
		testkit.GiveBack(t, p, l)
		testkit.Sleep(5 * time.Second)
		l = testkit.Borrow(t, p)
		idle(l, "five seconds later", 4*time.Second, 6*time.Second)
		testkit.Sleep(2 * time.Second)
		idle(l, "two seconds into the lease", 6*time.Second, 8*time.Second)
		_ = p.PutUnused(l)
		l = testkit.Borrow(t, p)
		idle(l, "after PutUnused", 6*time.Second, 8*time.Second)
		mark := l.Mark()
		if err := p.PutFor(l, 8*time.Second); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * time.Second)
		l, err := p.GetSame(t.Context(), mark)
		if err != nil {
			t.Fatal(err)
		}
		idle(l, "while it is reserved", 0, 0)
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p)
		idle(l, "just returned", 0, time.Second)
		testkit.GiveBack(t, p, l)
	})
}

func TestWithoutMaxIdleTimeNothingIsIdleForAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		testkit.Sleep(time.Hour)
		l := testkit.Borrow(t, p)
		if got := l.Idle(); got != 0 {
			t.Errorf("idle for %v, want 0", got)
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestTryGetAllLendsWhatIsIdleAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4})
		if got := p.TryGetAll(); got != nil {
			t.Errorf("%d leases of a new pool, want none", len(got))
		}
		testkit.Fill(t, p, 4)
		l := testkit.Borrow(t, p)
		all := p.TryGetAll()
		seen := map[uint64]bool{l.Number(): true}
		for _, l := range all {
			seen[l.Number()] = true
		}
		if len(all) != 3 || len(seen) != 4 {
			t.Errorf("%d leases of %d connections, want 3 beside the one that is leased", len(all), len(seen)-1)
		}
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "while all are leased")
		for _, l := range all[1:] {
			if err := p.PutUnused(l); err != nil {
				t.Error(err)
			}
		}
		testkit.GiveBack(t, p, r.Served(t, "by one of them"))
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, all[0])
		p.Close()
		if got := p.TryGetAll(); got != nil {
			t.Errorf("%d leases of a closed pool, want none", len(got))
		}
		if x.Tried() != 4 {
			t.Errorf("Open was called %d times, want 4", x.Tried())
		}
	})
}
