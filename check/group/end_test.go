package group

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestCloseEndsEverythingAndErrClosedMeansTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1}}
		g := start(t, a, pool.GroupConfig{})
		kept, removed := borrow(t, g, "a"), borrow(t, g, "removed")
		g.Remove("removed")
		waits := ask(t.Context(), g, "a")
		slow := make(chan struct{})
		a.open = func(string, int) error { <-slow; return nil }
		asks := ask(t.Context(), g, "slow")
		time.AfterFunc(100*time.Millisecond, func() { close(slow) })
		began := time.Now()
		if err := g.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("Close took %v, want it to wait for open", d)
		}
		for name, r := range map[string]*request{"that waits": waits, "that has a pool made": asks} {
			if !r.over() || r.err != pool.ErrClosed || r.took != 0 {
				t.Errorf("a Get %s returned %v after %v, want ErrClosed at once", name, r.err, r.took)
			}
		}
		for i := range 2 {
			a.exchange(i).AllClosedOnce(t)
		}
		_, err := g.Get(t.Context(), "a")
		warm := g.Warm(t.Context(), "b", 1)
		do := g.Do(t.Context(), "c", func(context.Context, *testkit.Wire) error { return nil })
		if err != pool.ErrClosed || warm != pool.ErrClosed || do != pool.ErrClosed {
			t.Errorf("Get returned %v, Warm %v, Do %v; want ErrClosed", err, warm, do)
		}
		if _, ok := g.TryGet("a"); ok || g.Remove("a") || has(g, "a") {
			t.Error("a closed group has a pool")
		}
		if err := g.Put(kept); err != nil {
			t.Errorf("the first Put of a lease that Close has ended returned %v", err)
		}
		if err := g.Put(removed); err != nil {
			t.Errorf("the first Put of a lease of a removed pool that Close has ended returned %v", err)
		}
		if s := g.Stats(); s.Opened != 2 || s.ClosedShutdown != 2 || s.ActiveConnections != 0 {
			t.Errorf("after Close: opened %d, closed by shutdown %d, active %d; want 2, 2, 0", s.Opened, s.ClosedShutdown, s.ActiveConnections)
		}
		if err := g.Close(); err != nil {
			t.Errorf("the second Close returned %v", err)
		}
	})
}

func TestCloseWaitsForOneSecondForAllPoolsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		over, remove := testkit.Obstacle(t)
		for i := range 5 {
			visit(t, g, fmt.Sprint(i))
			a.exchange(i).Closing = func(*testkit.Wire, error) error { <-over; return nil }
		}
		began := time.Now()
		if err := g.Close(); err != nil || time.Since(began) != time.Second {
			t.Errorf("Close returned %v after %v, want nil after 1s", err, time.Since(began))
		}
		for i := range 5 {
			a.exchange(i).AllClosedOnce(t) // their Close has been called
		}
		remove()
		synctest.Wait()
	})
}

func TestShutdownWaitsForLeasesOfAllPoolsAndForOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		first, second, gone := borrow(t, g, "a"), borrow(t, g, "b"), borrow(t, g, "removed")
		g.Remove("removed")
		a.open = func(string, int) error { time.Sleep(4 * time.Second); return nil }
		asks := ask(t.Context(), g, "slow")
		for i, l := range []pool.Lease[*testkit.Wire]{first, second, gone} {
			time.AfterFunc(time.Duration(i+1)*time.Second, func() { g.Put(l) })
		}
		began := time.Now()
		if err := g.Shutdown(t.Context()); err != nil || time.Since(began) != 4*time.Second {
			t.Errorf("Shutdown returned %v after %v, want nil after 4s", err, time.Since(began))
		}
		if !asks.over() || asks.err != pool.ErrClosed || asks.took != 0 {
			t.Errorf("Get returned %v after %v, want ErrClosed at once", asks.err, asks.took)
		}
		for i := range 3 {
			a.exchange(i).AllClosedOnce(t)
			if causes := a.exchange(i).Opened()[0].ClosedWith(); causes[0] != nil {
				t.Errorf("a connection was closed with %v, want nil: it came back", causes[0])
			}
		}
	})
}

func TestAShutdownWhoseCtxEndsClosesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		l := borrow(t, g, "a")
		removed := borrow(t, g, "b")
		g.Remove("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v, want the end of its ctx", err)
		}
		synctest.Wait()
		for i := range 2 {
			a.exchange(i).AllClosedOnce(t)
		}
		if _, err := g.Detach(l); err != pool.ErrClosed {
			t.Errorf("Detach returned %v, want ErrClosed", err)
		}
		if err := g.Put(removed); err != nil {
			t.Errorf("Put returned %v", err)
		}
	})
}

func TestResetRetiresWhatAllPoolsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		visit(t, g, "a")
		l := borrow(t, g, "b")
		g.Reset()
		giveBack(t, g, l)
		synctest.Wait()
		for i := range 2 {
			a.exchange(i).AllClosedOnce(t)
		}
		visit(t, g, "a")
		if s := g.Stats(); s.ClosedReset != 2 || a.called("a") != 1 {
			t.Errorf("%d closed by Reset, %d pools made for a; want 2 and 1", s.ClosedReset, a.called("a"))
		}
	})
}

func TestAGroupIsOfItsBubble(t *testing.T) {
	var g *wires
	a := new(accounts)
	synctest.Test(t, func(t *testing.T) {
		g = start(t, a, pool.GroupConfig{})
		visit(t, g, "a")
	})
	// It has been closed there. Here it says where it is from.
	if _, err := g.Get(t.Context(), "a"); err != pool.ErrBubble {
		t.Errorf("Get returned %v, want ErrBubble", err)
	}
	if err := g.Close(); err != pool.ErrBubble {
		t.Errorf("Close returned %v, want ErrBubble", err)
	}
	if err := g.Shutdown(t.Context()); err != pool.ErrBubble {
		t.Errorf("Shutdown returned %v, want ErrBubble", err)
	}
	if g.Remove("a") {
		t.Error("Remove has removed something")
	}
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1}}
		g, _ = pool.NewGroup(a.pool, pool.GroupConfig{MaxPools: 2, IdleTime: -1})
		visit(t, g, "a")
		testkit.Sleep(time.Minute) // its use has been seen: the next one would set the alarm
	})
	visit(t, g, "a")
	outside := start(t, a, pool.GroupConfig{})
	visit(t, outside, "a")
	synctest.Test(t, func(t *testing.T) {
		testkit.Sleep(time.Minute)
		visit(t, outside, "a") // idle: nobody notices, and no harm is done
		if _, err := outside.Get(t.Context(), "b"); err != pool.ErrBubble {
			t.Errorf("Get of a key without a pool returned %v, want ErrBubble", err)
		}
	})
}

func TestAGroupThatIsOldIsStillOfItsBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, &accounts{}, pool.GroupConfig{})
		testkit.Sleep(2 * 365 * testkit.Day)
		giveBack(t, g, borrow(t, g, "a"))
	})
}

func TestStatsAreTheSumAndNeverFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 7, MaxIdleTime: time.Second}}
		g := start(t, a, pool.GroupConfig{IdleTime: time.Second})
		before := g.Stats()
		rises := func(when string) pool.Stats {
			t.Helper()
			s := g.Stats()
			if s.Gets < before.Gets || s.Waits < before.Waits || s.Opened < before.Opened || s.ClosedIdle < before.ClosedIdle ||
				s.WaitTime.Count < before.WaitTime.Count || s.OpenTime.Sum < before.OpenTime.Sum {
				t.Errorf("%s a counter has fallen: %+v, before %+v", when, s, before)
			}
			if got := s.ActiveConnections + s.IdleConnections + s.OpeningConnections + s.VacantConnections(); got != s.MaxConnections {
				t.Errorf("%s the parts are %d, MaxConnections is %d", when, got, s.MaxConnections)
			}
			before = s
			return s
		}
		for i := range 20 {
			key := fmt.Sprint(i)
			visit(t, g, key)
			rises("after a visit")
			switch i % 3 {
			case 0:
				g.Remove(key)
				rises("right after Remove")
				synctest.Wait()
			case 1:
				testkit.Sleep(700 * time.Millisecond)
			}
			rises("later")
		}
		for range 100 {
			testkit.Sleep(100 * time.Millisecond)
			rises("while pools go")
		}
		if s := rises("at the end"); s.Gets != 20 || s.Waits != 20 || s.WaitTime.Count != 20 || s.OpenTime.Count != 20 || s.Opened != 20 ||
			s.MaxConnections != 0 || s.ClosedIdle+s.ClosedShutdown != 20 {
			t.Errorf("after 20 visits to pools that are gone: %+v", s)
		}
		g.Close()
		if s := rises("after Close"); s.Gets != 20 {
			t.Errorf("after Close: %d leases, want 20", s.Gets)
		}
	})
}

func TestSourcesOfANameNeverFallTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := pool.NewGroup(func(key int) (pool.Factory[*testkit.Wire], pool.Config, error) {
			return new(testkit.Exchange).Factory(), pool.Config{Name: []string{"even", "odd"}[key%2]}, nil
		}, pool.GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		gets := func() map[string]uint64 {
			sum := map[string]uint64{}
			for s := range g.Sources() {
				sum[s.Name()] += s.Stats().Gets
			}
			return sum
		}
		for key := range 10 {
			if err := g.Do(t.Context(), key, func(context.Context, *testkit.Wire) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]uint64{"even": 5, "odd": 5}
		for key := range 8 { // of each name one is left
			g.Remove(key)
			for range 5 {
				if got := gets(); !maps.Equal(got, want) {
					t.Errorf("after Remove(%d) the sources count %v leases, want %v", key, got, want)
				}
				testkit.Sleep(500 * time.Millisecond)
			}
		}
		g.Remove(8)
		testkit.Sleep(5 * time.Second)
		if got := gets(); !maps.Equal(got, map[string]uint64{"odd": 5}) {
			t.Errorf("with no pool left that is even, the sources count %v leases, want 5 of the odd ones", got)
		}
		if got := g.Stats().Gets; got != 10 {
			t.Errorf("Stats count %d leases, want 10", got)
		}
	})
}

func TestAllHasThePoolsOfAllKeys(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	var want []string
	for i := range 30 {
		key := fmt.Sprint("key", i)
		visit(t, g, key)
		want = append(want, key)
	}
	var got []string
	for key, p := range g.All() {
		if own, _ := g.Pool(key); own != p {
			t.Errorf("All has another pool for %s than Pool", key)
		}
		got = append(got, key)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("All has %v, want %v", got, want)
	}
	for key := range g.All() {
		g.Remove(key) // the loop may do that
	}
	for range g.All() {
		t.Error("there is a pool left")
	}
	for i, key := range want {
		visit(t, g, key)
		if i == 3 {
			break
		}
	}
	n := 0
	for range g.All() {
		if n++; n == 2 {
			break
		}
	}
	for range g.Sources() {
		break
	}
}
