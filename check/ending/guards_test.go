package ending

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// The tests in this file are about guards whose loss no other test noticed
// (check/mutants).

// sweep.go passSoon, pass.go pass: after Reset the sweeper makes a pass at once, and does
// not wait for the regular one.
func TestResetRestoresMinIdleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MinIdle: 2, MaxIdleTime: -1})
		testkit.Sleep(1100 * time.Millisecond)
		testkit.IdleIs(t, p, "before Reset", 2)
		p.Reset()
		synctest.Wait()
		testkit.IdleIs(t, p, "at once after Reset", 2)
		for _, w := range x.Opened()[:2] {
			testkit.ClosedFor(t, "after Reset", w, core.ErrReset)
		}
	})
}

// pool.go putSlow: a connection that is going to be closed is not cleaned.
func TestCleanIsNotCalledForWhatComesBackToAClosedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		cleaned := 0
		f.Clean = func(*testkit.Wire) error { cleaned++; return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		synctest.Wait()
		testkit.GiveBack(t, p, l)
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if cleaned != 0 {
			t.Errorf("Clean was called %d times, want never", cleaned)
		}
		x.AllClosedOnce(t)
	})
}

// sweep.go checkSlot: other rounds follow one that runtime.Goexit has ended.
func TestChecksGoOnAfterOneThatEndedItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		checked := 0
		f.Check = func(*testkit.Wire) error {
			if checked++; checked == 1 {
				runtime.Goexit()
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 3, CheckInterval: time.Second, MaxIdleTime: -1})
		testkit.Fill(t, p, 3)
		testkit.Sleep(3500 * time.Millisecond)
		if want := 1 + 2*2; checked != want {
			t.Errorf("Check was called %d times in three rounds, want %d: once, and then for the other two each time", checked, want)
		}
		if got := p.Stats(); got.ClosedCheck != 1 || got.IdleConnections != 2 {
			t.Errorf("then %+v", got)
		}
	})
}

// pass.go pass: at each tick all forget which slot they had last, and take the lowest.
func TestAfterATickTheLowestSlotIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: time.Minute})
		a, b, c := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, a)
		testkit.GiveBack(t, p, b)
		testkit.GiveBack(t, p, c)
		testkit.Sleep(testkit.Inside(p).TickLength() + time.Millisecond)
		l := testkit.Borrow(t, p)
		if l.Value() != a.Value() {
			t.Errorf("connection %d was lent, want the first", l.Value().Number)
		}
		testkit.GiveBack(t, p, l)
	})
}

// resize.go Resize: what there is room for now is opened at once.
func TestResizeRestoresMinIdleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MinIdle: 2, MaxIdleTime: -1})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.Sleep(2100 * time.Millisecond) // between two passes
		testkit.IdleIs(t, p, "as far as there is room", 1)
		resize(t, p, 6)
		synctest.Wait()
		testkit.IdleIs(t, p, "at once after Resize", 2)
		testkit.GiveBack(t, p, a)
		testkit.GiveBack(t, p, b)
	})
}

// pass.go pass: what will have been idle for too long is replaced before it is, with
// MaxLifetime as without.
func TestMinIdleCanBeLentAtAnyTime(t *testing.T) {
	for name, c := range map[string]pool.Config{
		"MaxIdleTime": {},
		"both":        {MaxLifetime: time.Hour},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			c.MaxConnections, c.MinIdle, c.MaxIdleTime = 5, 1, 16*time.Second
			for after := 14 * time.Second; after < 22*time.Second; after += 270 * time.Millisecond {
				x := testkit.Exchange{Open: testkit.Slow(800 * time.Millisecond)}
				p := testkit.Start(t, x.Factory(), c)
				testkit.Sleep(after)
				l, ok := p.TryGet()
				if !ok {
					t.Errorf("after %v nothing could be lent", after)
					continue
				}
				testkit.GiveBack(t, p, l)
				p.Close()
			}
		})
	}
}
