package group

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestAPoolGoesWhenItHasHadNothingForIdleTime(t *testing.T) {
	for _, idle := range []time.Duration{100 * time.Millisecond, 4 * time.Second, 0, time.Hour} {
		testkit.Bubble(t, idle.String(), func(t *testing.T) {
			a := &accounts{config: pool.Config{MaxIdleTime: -1}}
			g := start(t, a, pool.GroupConfig{IdleTime: idle})
			if idle == 0 {
				idle = time.Minute
			}
			for range 3 {
				l := borrow(t, g, "a")
				testkit.Sleep(3 * idle) // a lease keeps it
				if !has(g, "a") {
					t.Fatal("a pool with a lease was removed")
				}
				giveBack(t, g, l)
				testkit.Sleep(3 * idle) // and so does an idle connection
				if !has(g, "a") {
					t.Fatal("a pool with an idle connection was removed")
				}
				l = borrow(t, g, "a")
				g.Discard(l, nil)
				testkit.Sleep(idle - time.Millisecond)
				if !has(g, "a") {
					t.Fatal("removed before IdleTime was over")
				}
				testkit.Sleep(max(min(idle/8, time.Second), 10*time.Millisecond) + 2*time.Millisecond)
				if has(g, "a") {
					t.Fatal("still there, although IdleTime has been over for an eighth of it, or a second")
				}
			}
			if got := a.called("a"); got != 3 {
				t.Errorf("open was called %d times, want 3", got)
			}
		})
	}
}

func TestAPoolGoesInTimeWhileAnotherIsInUse(t *testing.T) {
	for _, idle := range []time.Duration{5 * time.Millisecond, 100*time.Millisecond + 1, 8 * time.Second, 8*time.Second + 1, 8500 * time.Millisecond, time.Minute} {
		testkit.Bubble(t, idle.String(), func(t *testing.T) {
			g := start(t, &accounts{config: pool.Config{MaxIdleTime: -1}}, pool.GroupConfig{IdleTime: idle})
			used := borrow(t, g, "used")
			late := max(min(idle/8, time.Second), 20*time.Millisecond)
			for range 7 { // looks come at another time after each
				g.Discard(borrow(t, g, "a"), nil)
				synctest.Wait()
				testkit.Sleep(idle - 1)
				if !has(g, "a") {
					t.Fatal("removed before IdleTime was over")
				}
				testkit.Sleep(late + 2)
				if has(g, "a") {
					t.Fatalf("still there, although IdleTime has been over for %v", late)
				}
				testkit.Sleep(late / 7)
			}
			giveBack(t, g, used)
		})
	}
}

func TestAWaiterKeepsItsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxWaitTime: -1, FailFastAfter: -1, MaxRetryAfter: time.Hour}}
		fail := true
		a.open = func(string, int) error {
			a.exchange(0).Open = func(_ context.Context, _ int) error {
				if fail {
					return pool.RetryAfter(testkit.ErrDial, time.Hour) // nothing is open, nothing is being opened
				}
				return nil
			}
			return nil
		}
		g := start(t, a, pool.GroupConfig{IdleTime: time.Second})
		r := ask(t.Context(), g, "a")
		testkit.Sleep(time.Minute)
		if r.over() || !has(g, "a") {
			t.Fatalf("Get returned %v, and the pool is there: %v; want it to wait", r.err, has(g, "a"))
		}
		fail = false
		<-r.done
		if r.err != nil || a.called("a") != 1 {
			t.Errorf("Get returned %v of pool %d, want a lease of the first", r.err, a.called("a"))
		}
		giveBack(t, g, r.lease)
	})
}

// The caller has found the pool, and has not touched it yet: it does so when it has its lease.
func TestACallerThatWaitsForAConnectionKeepsAPoolThatHadNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: time.Second, MaxWaitTime: -1, OpenTimeout: -1, FailFastAfter: -1}}
		g := start(t, a, pool.GroupConfig{IdleTime: 10 * time.Second})
		visit(t, g, "a")
		testkit.Sleep(5 * time.Second)
		a.exchange(0).Open = testkit.Slow(time.Minute)
		r := ask(t.Context(), g, "a")
		<-r.done
		if r.err != nil || a.called("a") != 1 {
			t.Errorf("Get returned %v of pool %d, want a lease of the first", r.err, a.called("a"))
		}
		giveBack(t, g, r.lease)
	})
}

func TestAPoolThatIsUsedNowAndThenStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: time.Second}}
		g := start(t, a, pool.GroupConfig{IdleTime: 10 * time.Second})
		for range 100 {
			visit(t, g, "a")
			testkit.Sleep(10 * time.Second) // of which some 9 without a connection
		}
		if got := a.called("a"); got != 1 {
			t.Errorf("open was called %d times, want once", got)
		}
	})
}

func TestPoolsStayForEverIfIdleTimeIsNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: time.Second}}
		for _, max := range []int{0, 10} {
			g := start(t, a, pool.GroupConfig{IdleTime: -1, MaxPools: max})
			visit(t, g, "a")
			testkit.Sleep(24 * time.Hour)
			if !has(g, "a") {
				t.Errorf("with MaxPools %d the pool was removed", max)
			}
		}
	})
}

func TestMinIdleKeepsItsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MinIdle: 1, MaxIdleTime: time.Second}}
		g := start(t, a, pool.GroupConfig{IdleTime: time.Second})
		visit(t, g, "a")
		testkit.Sleep(time.Hour)
		if !has(g, "a") {
			t.Error("the pool was removed")
		}
	})
}

// In one instant, between two looks. From when the group is full it is known who was used after whom.
func TestWhoWasUsedAgainInAFullGroupDoesNotMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, &accounts{config: pool.Config{MaxIdleTime: -1}}, pool.GroupConfig{MaxPools: 4, IdleTime: -1})
		for _, key := range []string{"a", "b", "c", "d", "a", "b", "X", "Y"} {
			visit(t, g, key)
		}
		for key, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false, "X": true, "Y": true} {
			if got := has(g, key); got != want {
				t.Errorf("%s has a pool: %v, want %v", key, got, want)
			}
		}
	})
}

func TestOneMorePoolMakesRoomByTheOneUnusedForLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: -1}}
		g := start(t, a, pool.GroupConfig{MaxPools: 3, IdleTime: -1})
		kept := borrow(t, g, "leased")
		visit(t, g, "b")
		testkit.Sleep(2 * time.Second)
		visit(t, g, "c")
		testkit.Sleep(2 * time.Second)
		visit(t, g, "b") // c is the one unused for longest
		testkit.Sleep(2 * time.Second)
		visit(t, g, "d")
		if has(g, "c") || !has(g, "b") || !has(g, "leased") {
			t.Error("c should have been removed, and nothing else")
		}
		synctest.Wait()
		if n := a.exchange(2).Now; n != 0 {
			t.Errorf("%d connections of the removed pool are open, want none", n)
		}
		long := borrow(t, g, "b")
		testkit.Sleep(10 * time.Second)
		giveBack(t, g, long) // used until now, though lent long ago
		testkit.Sleep(2 * time.Second)
		visit(t, g, "d")
		testkit.Sleep(2 * time.Second)
		visit(t, g, "e")
		if has(g, "b") || !has(g, "d") {
			t.Error("b should have been removed: its lease ended before that of d")
		}
		giveBack(t, g, kept)
	})
}

func TestOneMorePoolIsRefusedWhileAllAreInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1}}
		g := start(t, a, pool.GroupConfig{MaxPools: 2})
		one, two := borrow(t, g, "a"), borrow(t, g, "b")
		if _, err := g.Get(t.Context(), "c"); err != pool.ErrRejected {
			t.Errorf("Get returned %v, want ErrRejected", err)
		}
		if s := g.Stats(); s.Rejected != 1 {
			t.Errorf("Stats count %d rejected, want 1", s.Rejected)
		}
		if got := a.called("c"); got != 0 {
			t.Errorf("open was called %d times for a pool that has no room, want never", got)
		}
		r := ask(t.Context(), g, "a")
		g.Remove("a") // does not count any more, though its lease is in force
		if !r.over() || r.err != nil {
			t.Errorf("Get of a removed pool returned %v, want a lease of a new one", r.err)
		}
		for _, l := range []pool.Lease[*testkit.Wire]{one, two, r.lease} {
			giveBack(t, g, l)
		}
		visit(t, g, "c")
	})
}

func TestAPoolThatCannotBeMadeTakesNobodysRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(key string, _ int) error {
			if key == "bad" {
				return testkit.ErrDial
			}
			return nil
		}}
		g := start(t, a, pool.GroupConfig{MaxPools: 1})
		visit(t, g, "a")
		if _, err := g.Get(t.Context(), "bad"); err != testkit.ErrDial {
			t.Errorf("Get returned %v, want the error of open", err)
		}
		if !has(g, "a") {
			t.Error("the pool of a was removed for one that could not be made")
		}
	})
}

// Of several keys that find room for one, one gets it. A pool that has been made for a caller is
// not taken away before that caller has got to it.
func TestPoolsThatAreMadeAtTheSameTimeDoNotTakeEachOthersRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(string, int) error { time.Sleep(time.Second); return nil }}
		g := start(t, a, pool.GroupConfig{MaxPools: 1})
		visit(t, g, "z")
		var asked []*request
		for i := range 10 {
			asked = append(asked, ask(t.Context(), g, fmt.Sprint(i)))
		}
		served := 0
		for _, r := range asked {
			<-r.done
			switch {
			case r.err == nil:
				served++
			case !errors.Is(r.err, pool.ErrRejected):
				t.Errorf("Get returned %v, want ErrRejected", r.err)
			}
		}
		if s := g.Stats(); served != 1 || s.Rejected != 9 {
			t.Errorf("%d were served and %d counted as rejected, want 1 and 9", served, s.Rejected)
		}
	})
}

func TestKeysThatComeAndGoLeaveNothing(t *testing.T) {
	rounds, keys := 100, 1000
	if testing.Short() || testkit.RaceEnabled { // which takes ten times as long, and does not look at the heap
		rounds = 10
	}
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: time.Second, MaxConnections: 2}}
		g, err := pool.NewGroup(func(key string) (pool.Factory[*testkit.Wire], pool.Config, error) {
			return new(testkit.Exchange).Factory(), a.config, nil
		}, pool.GroupConfig{IdleTime: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		round := func(n int) {
			for i := range keys {
				visit(t, g, fmt.Sprintf("%d of %d", i, n))
			}
			time.Sleep(6 * time.Second)
		}
		round(0)
		heap := leftover.Heap()
		for n := range rounds {
			round(n)
		}
		for key := range g.All() {
			t.Fatalf("%s still has a pool", key)
		}
		if left := leftover.Goroutines(-1, "internal/core."); len(left) > 0 {
			t.Errorf("%d goroutines are left: %s", len(left), left[0])
		}
		if got := leftover.Heap() - heap; got > 256<<10 && !testkit.RaceEnabled {
			t.Errorf("%d bytes are kept of %d pools", got, rounds*keys)
		}
		if got, want := g.Stats().Gets, uint64((rounds+1)*keys); got != want {
			t.Errorf("Stats count %d leases, want %d", got, want)
		}
	})
}

// A group at rest has nothing to do: no timer wakes it. In a bubble where nothing else happens
// time would go on with each of its looks.
func TestAGroupAtRestIsNotWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, config := range []pool.GroupConfig{{}, {MaxPools: 10}, {IdleTime: -1, MaxPools: 10}} {
			a := &accounts{config: pool.Config{MaxIdleTime: time.Second}}
			g := start(t, a, config)
			visit(t, g, "a")
			testkit.Sleep(10 * time.Minute)
			looks := testkit.Looks(g)
			testkit.Sleep(24 * time.Hour)
			if got := testkit.Looks(g); got != looks {
				t.Errorf("with %+v the group has looked %d times at nothing", config, got-looks)
			}
		}
	})
}
