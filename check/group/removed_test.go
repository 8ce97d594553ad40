package group

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestAfterRemoveTheKeyHasANewPoolAndTheOldOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		visit(t, g, "a")
		old, _ := g.Pool("a")
		if !g.Remove("a") || g.Remove("a") || g.Remove("b") {
			t.Error("Remove says whether there was a pool: true, then false, and false for another key")
		}
		synctest.Wait()
		if x := a.exchange(0); x.Now != 1 {
			t.Errorf("%d connections of the removed pool are open, want the leased one", x.Now)
		}
		if _, err := old.Get(t.Context()); !errors.Is(err, pool.ErrClosed) {
			t.Errorf("the removed pool returned %v, want ErrClosed", err)
		}
		visit(t, g, "a")
		if got := a.called("a"); got != 2 {
			t.Errorf("open was called %d times, want twice", got)
		}
		if s := g.Stats(); s.ActiveConnections != 1 || s.IdleConnections != 1 {
			t.Errorf("%d active, %d idle, want 1 of the old pool and 1 of the new", s.ActiveConnections, s.IdleConnections)
		}
		giveBack(t, g, kept)
		synctest.Wait()
		a.exchange(0).AllClosedOnce(t)
		if x := a.exchange(1); x.Now != 1 {
			t.Errorf("%d connections of the new pool are open, want 1", x.Now)
		}
	})
}

func TestThoseWhoWaitInARemovedPoolGoOnInTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1, MaxWaiters: 1}}
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		r := ask(t.Context(), g, "a")
		testkit.Sleep(time.Second)
		if !g.Remove("a") || !r.over() || r.err != nil {
			t.Fatalf("the Get that waited returned %v, want a lease of the new pool", r.err)
		}
		if now := a.exchange(1).Now; now != 1 {
			t.Errorf("the new pool has %d connections, want 1", now)
		}
		giveBack(t, g, r.lease)
		giveBack(t, g, kept)
		if s := g.Stats(); s.Waits != 3 || s.WaitTime.Count != 3 {
			t.Errorf("%d waits, of which %d are timed, want 3: two that had something opened, and the one that waited in the removed pool",
				s.Waits, s.WaitTime.Count)
		}
	})
}

// They had a place: they are not refused one by the new pool, as others are.
func TestThoseWhoGoOnAreNotRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1}}
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		one, two := ask(t.Context(), g, "a"), ask(t.Context(), g, "a")
		testkit.Sleep(time.Second)
		a.config.MaxWaiters = -1
		g.Remove("a")
		first, second := one, two
		if two.over() {
			first, second = two, one
		}
		if !first.over() || first.err != nil || second.over() {
			t.Fatalf("one should be served and the other wait: %v, %v", first.err, second.err)
		}
		if _, err := g.Get(t.Context(), "a"); err != pool.ErrRejected {
			t.Errorf("a new caller got %v, want ErrRejected", err)
		}
		giveBack(t, g, first.lease)
		if !second.over() || second.err != nil {
			t.Fatalf("after the Put the other has %v", second.err)
		}
		giveBack(t, g, second.lease)
		giveBack(t, g, kept)
	})
}

// The time that open takes is no part of MaxWaitTime.
func TestThoseWhoGoOnHaveTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1, MaxWaitTime: 5 * time.Second}}
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		one, two := ask(t.Context(), g, "a"), ask(t.Context(), g, "a")
		testkit.Sleep(2 * time.Second)
		a.open = func(string, int) error { time.Sleep(500 * time.Millisecond); return nil }
		g.Remove("a")
		testkit.Sleep(time.Second)
		late, served := one, two // the new pool has one connection
		if one.over() {
			late, served = two, one
		}
		if !served.over() || served.err != nil {
			t.Fatalf("the new pool has served nobody: %v", served.err)
		}
		<-late.done
		var exhausted *pool.ExhaustedError
		if !errors.As(late.err, &exhausted) || exhausted.Waited != 5*time.Second || late.took != 5500*time.Millisecond {
			t.Errorf("Get returned %v after %v, want ErrExhausted after 5s in two pools and 500ms in open", late.err, late.took)
		}
		giveBack(t, g, kept)
		giveBack(t, g, served.lease)
		if s := g.Stats(); s.Timeouts != 1 || s.WaitTime.Sum > 15*time.Second {
			t.Errorf("%d timeouts, and waits of %v in all; want 1, and each counted once", s.Timeouts, s.WaitTime.Sum)
		}
	})
}

func TestOneThatIsMovedAgainAndAgainHasTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxWaitTime: 5 * time.Second, FailFastAfter: -1, OpenTimeout: -1}}
		a.open = func(_ string, call int) error {
			a.exchange(call - 1).Open = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
			return nil
		}
		g := start(t, a, pool.GroupConfig{})
		r := ask(t.Context(), g, "a")
		for range 3 {
			testkit.Sleep(1500 * time.Millisecond)
			if r.over() {
				t.Fatalf("Get returned %v after %v, want it to go on with the new pool", r.err, r.took)
			}
			g.Remove("a")
		}
		<-r.done
		if !errors.Is(r.err, pool.ErrUnavailable) || r.took != 5*time.Second {
			t.Errorf("Get returned %v after %v, want ErrUnavailable after 5s", r.err, r.took)
		}
		if got := a.called("a"); got != 4 {
			t.Errorf("open was called %d times, want 4", got)
		}
	})
}

func TestOneWhoIsMovedJustBeforeItsTimeIsOverIsToldInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{MaxConnections: 1, MaxWaitTime: 5 * time.Second}}
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		r := ask(t.Context(), g, "a")
		testkit.Sleep(4999 * time.Millisecond)
		a.open = func(_ string, call int) error {
			a.exchange(call - 1).Open = testkit.Slow(100 * time.Millisecond)
			return nil
		}
		g.Remove("a")
		<-r.done
		if !errors.Is(r.err, pool.ErrUnavailable) || r.took != 5*time.Second {
			t.Errorf("Get returned %v after %v, want ErrUnavailable after 5s", r.err, r.took)
		}
		giveBack(t, g, kept)
	})
}

func TestAnEndOfCtxEndsAWaitThatWasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{config: pool.Config{FailFastAfter: -1}}
		a.open = func(_ string, call int) error {
			a.exchange(call - 1).Open = testkit.Slow(time.Hour)
			return nil
		}
		g := start(t, a, pool.GroupConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r := ask(ctx, g, "a")
		testkit.Sleep(time.Second)
		g.Remove("a")
		<-r.done
		if !errors.Is(r.err, context.DeadlineExceeded) || r.took != 3*time.Second {
			t.Errorf("Get returned %v after %v, want the end of its ctx after 3s", r.err, r.took)
		}
	})
}

func TestAPoolThatIsRemovedWhileItIsMadeIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(_ string, call int) error {
			if call == 1 {
				time.Sleep(time.Hour)
			}
			return nil
		}}
		g := start(t, a, pool.GroupConfig{})
		r := ask(t.Context(), g, "a")
		if !g.Remove("a") {
			t.Error("Remove says that there was none")
		}
		if !r.over() || r.err != nil || r.took != 0 {
			t.Fatalf("Get returned %v after %v, want a lease from a second call of open at once", r.err, r.took)
		}
		if n, m := len(a.exchange(0).Opened()), len(a.exchange(1).Opened()); n != 0 || m != 1 {
			t.Errorf("%d connections by what the first call has returned, %d by the second; want 0 and 1", n, m)
		}
		giveBack(t, g, r.lease)
		testkit.Sleep(2 * time.Hour) // the first call returns: it says nothing any more
		if got := len(a.exchange(0).Opened()); got != 0 {
			t.Errorf("%d connections by what the first call has returned, want none", got)
		}
	})
}

func TestWhatIsOpenedInARemovedPoolIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		ended := make(chan struct{})
		a.open = func(_ string, call int) error {
			if call == 1 {
				a.exchange(0).Open = func(ctx context.Context, _ int) error {
					<-ctx.Done()
					close(ended)
					return ctx.Err()
				}
			}
			return nil
		}
		g := start(t, a, pool.GroupConfig{})
		r := ask(t.Context(), g, "a")
		g.Remove("a")
		<-ended
		if !r.over() || r.err != nil {
			t.Fatalf("Get returned %v, want a lease of the new pool", r.err)
		}
		giveBack(t, g, r.lease)
	})
}

func TestAPoolThatItsUserClosesIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a") // so that not all of the pool is closed, and the group has to be told by Get
		p, _ := g.Pool("a")
		go p.Shutdown(context.Background())
		synctest.Wait()
		visit(t, g, "a")
		giveBack(t, g, kept)
		p, _ = g.Pool("a")
		p.Close()
		synctest.Wait() // the pool's last goroutine tells the group
		if has(g, "a") {
			t.Error("the group keeps a pool that is closed")
		}
		if err := g.Warm(t.Context(), "a", 1); err != nil {
			t.Errorf("Warm returned %v", err)
		}
		p, _ = g.Pool("a")
		go p.Close()
		if err := g.Do(t.Context(), "a", func(context.Context, *testkit.Wire) error { return nil }); err != nil {
			t.Errorf("Do returned %v", err)
		}
	})
}

func TestWarmGoesOnWithTheNewPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		a.open = func(_ string, call int) error {
			if call == 1 {
				a.exchange(0).Open = testkit.Slow(time.Hour)
			}
			return nil
		}
		g := start(t, a, pool.GroupConfig{})
		done := make(chan error)
		go func() { done <- g.Warm(t.Context(), "a", 2) }()
		synctest.Wait()
		g.Remove("a")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := len(a.exchange(1).Opened()); got != 2 {
			t.Errorf("the new pool has opened %d connections, want 2", got)
		}
	})
}
