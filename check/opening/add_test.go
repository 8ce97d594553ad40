package opening

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// adding calls Add in another goroutine, and waits until all is quiet.
func adding(ctx context.Context, p *pool.Pool[*testkit.Wire]) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- p.Add(ctx) }()
	synctest.Wait()
	return ended
}

// still fails the test if a call has ended.
func still(t *testing.T, ended <-chan error, when string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		t.Errorf("%s: Add has returned %v, want it to wait", when, err)
	default:
	}
}

// is fails the test unless a call has ended with want.
func is(t *testing.T, ended <-chan error, when string, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			t.Errorf("%s: Add returned %v, want %v", when, err, want)
		}
	default:
		t.Errorf("%s: Add has not returned, want %v", when, want)
	}
}

func TestAddOpensOneMoreForEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		testkit.Sleep(core.Probation)
		first, second := adding(t.Context(), p), adding(t.Context(), p)
		still(t, first, "while it is being opened")
		still(t, second, "while it is being opened")
		testkit.Sleep(2 * testkit.OpenTime) // one at a time beside the one that is open
		is(t, first, "when it is open", nil)
		is(t, second, "when it is open", nil)
		testkit.IdleIs(t, p, "after two calls", 2)
		third := adding(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		is(t, third, "up to MaxConnections", nil)
		is(t, adding(t.Context(), p), "in a full pool", pool.ErrFull)
		testkit.GiveBack(t, p, l)
		is(t, adding(t.Context(), p), "in a full pool whose connections are idle", pool.ErrFull)
		if got := p.Stats(); got.Opened != 4 || got.Gets != 1 {
			t.Errorf("%d opened and %d leases, want 4 and 1", got.Opened, got.Gets)
		}
	})
}

func TestAddCountsWhatIsBeingOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		ended := adding(t.Context(), p)
		is(t, adding(t.Context(), p), "while the last one is being opened", pool.ErrFull)
		testkit.Sleep(testkit.OpenTime)
		is(t, ended, "when it is open", nil)
	})
}

func TestWhatAddOpensGoesToWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return nil
			}
			return testkit.Pause(ctx, testkit.OpenTime)
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		l := testkit.Borrow(t, p)
		ended := adding(t.Context(), p)
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "while the last one is being opened")
		testkit.Sleep(testkit.OpenTime)
		is(t, ended, "when it is open", nil)
		got := r.Served(t, "by what Add has opened")
		if x.Tried() != 2 {
			t.Errorf("Open was called %d times, want twice", x.Tried())
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, got)
	})
}

func TestAddReturnsTheErrorOfItsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			_ = testkit.Pause(ctx, testkit.OpenTime)
			if attempt <= 4 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		for range 4 {
			ended := adding(t.Context(), p)
			testkit.Sleep(testkit.OpenTime)
			is(t, ended, "after an attempt", testkit.ErrDial)
		}
		// From the fourth failure on there is a pause.
		ended := adding(t.Context(), p)
		if got := x.Tried(); got != 4 {
			t.Errorf("%d attempts, want none during the pause of the outage", got)
		}
		testkit.Sleep(time.Second)
		is(t, ended, "after the pause", nil)
		testkit.IdleIs(t, p, "after the pause", 1)
	})
}

func TestAddEndsWithItsCtxAndWithThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := adding(ctx, p)
		cancel(testkit.ErrCause)
		is(t, ended, "canceled", testkit.ErrCause)
		is(t, adding(ctx, p), "canceled before", context.Canceled)
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "what was being opened remains", 1)
		ended = adding(t.Context(), p)
		p.Close()
		is(t, ended, "closed meanwhile", pool.ErrClosed)
		is(t, adding(t.Context(), p), "closed before", pool.ErrClosed)
		x.AllClosedOnce(t)
	})
}

// The attempt says nothing of the server, so Add begins another one.
func TestAddBeginsAnewAfterAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ignores := make(chan struct{})
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			switch attempt {
			case 1:
				return testkit.Pause(ctx, time.Hour) // ends with the era
			case 2:
				<-ignores // is open after the Reset
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, OpenTimeout: -1})
		ended := adding(t.Context(), p)
		p.Reset()
		still(t, ended, "after a Reset")
		if got := x.Tried(); got != 2 {
			t.Fatalf("%d attempts after a Reset, want another one", got)
		}
		p.Reset()
		close(ignores)
		is(t, ended, "after the second Reset", nil)
		testkit.IdleIs(t, p, "after the second Reset", 1)
		if got := x.Tried(); got != 3 {
			t.Errorf("%d attempts, want 3", got)
		}
	})
}

// An attempt that hangs is set aside for a caller who waits, or replaced when it opens after all.
func TestAddBeginsAnewWhenItsAttemptHasLostItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				<-slow
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenTimeout: -1, MaxIdleTime: -1})
		ended := adding(t.Context(), p)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(2 * core.OverdueAfter)
		l := r.Served(t, "beside an attempt that hangs")
		still(t, ended, "while its attempt goes on")
		close(slow)
		is(t, ended, "when there was no room for what it has opened", pool.ErrFull)
		testkit.GiveBack(t, p, l)
	})
}

func TestAddBeginsAnewWhenAnOlderAttemptTakesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older := make(chan struct{})
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			switch attempt {
			case 1:
				<-older
				return nil
			case 2:
				return testkit.ErrDial
			}
			return testkit.Pause(ctx, time.Hour)
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenTimeout: -1, MaxIdleTime: -1, MaxWaitTime: -1})
		ctx, cancel := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, p)
		testkit.Sleep(core.OverdueAfter + core.Probation/4) // the first is aside, the second has failed
		cancel()
		r.Returned()
		ended := adding(t.Context(), p)
		testkit.Sleep(core.Probation / 4)
		if got := x.Tried(); got != 3 {
			t.Fatalf("%d attempts, want a third one, of Add", got)
		}
		close(older)
		is(t, ended, "when its slot is taken", pool.ErrFull)
		testkit.IdleIs(t, p, "when the older one has opened", 1)
	})
}

func TestAddWaitsForTheRoomOfOneThatIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { <-closed; return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, StrictMax: true})
		_ = p.Discard(testkit.Borrow(t, p), nil)
		ended := adding(t.Context(), p)
		still(t, ended, "while one is being closed")
		close(closed)
		is(t, ended, "when it is closed", nil)
	})
}
