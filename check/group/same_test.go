package group

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
)

func TestASessionGoesOnOnItsConnectionUntilItsPoolIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		if _, err := g.GetSame(t.Context(), "a", pool.Mark{}); !errors.Is(err, pool.ErrGone) {
			t.Errorf("a key without a pool returned %v, want ErrGone", err)
		}
		first := borrow(t, g, "a")
		mark := first.Mark()
		if err := g.PutFor(first, time.Minute); err != nil {
			t.Fatal(err)
		}
		other := borrow(t, g, "a")
		if other.Value() == first.Value() {
			t.Error("Get lent what was reserved")
		}
		l, err := g.GetSame(t.Context(), "a", mark)
		if err != nil || l.Value() != first.Value() || !l.Follows(mark) {
			t.Fatalf("GetSame returned %v, want the connection of the session", err)
		}
		mark = l.Mark()
		giveBack(t, g, l)
		if l, ok := g.TryGetSame("a", mark); !ok || l.Value() != first.Value() {
			t.Error("TryGetSame does not lend what is idle")
		} else {
			giveBack(t, g, l)
		}
		if _, ok := g.TryGetSame("b", mark); ok {
			t.Error("TryGetSame of another key lent something")
		}
		g.Remove("a")
		if _, err := g.GetSame(t.Context(), "a", mark); !errors.Is(err, pool.ErrGone) {
			t.Errorf("after Remove GetSame returned %v, want ErrGone", err)
		}
		visit(t, g, "a") // it has another pool now
		if _, err := g.GetSame(t.Context(), "a", mark); !errors.Is(err, pool.ErrGone) {
			t.Errorf("in the new pool GetSame returned %v, want ErrGone", err)
		}
		giveBack(t, g, other)
	})
}

func TestWhoWaitsForAConnectionOfARemovedPoolIsToldThatItIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(accounts)
		g := start(t, a, pool.GroupConfig{})
		kept := borrow(t, g, "a")
		mark := kept.Mark()
		giveBack(t, g, kept)
		kept = borrow(t, g, "a")
		done := make(chan error, 1)
		go func() {
			_, err := g.GetSame(t.Context(), "a", mark)
			done <- err
		}()
		synctest.Wait()
		g.Remove("a")
		if err := <-done; !errors.Is(err, pool.ErrGone) {
			t.Errorf("GetSame returned %v, want ErrGone", err)
		}
		giveBack(t, g, kept)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.GetSame(t.Context(), "a", mark); !errors.Is(err, pool.ErrClosed) {
			t.Errorf("a closed group returned %v, want ErrClosed", err)
		}
	})
}
