package opening

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// open.go openFailed: an Open that fails because Reset or Close has ended its ctx says
// nothing about the server.
func TestAnOpenThatWasGivenUpIsNoFailureOfTheServer(t *testing.T) {
	for name, end := range map[string]func(p *pool.Pool[*testkit.Wire]){
		"Reset": func(p *pool.Pool[*testkit.Wire]) { p.Reset() },
		"Close": func(p *pool.Pool[*testkit.Wire]) { p.Close() },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var log testkit.Logbook
			x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenTimeout: -1, Logger: log.Logger()})
			r := testkit.Ask(t.Context(), p)
			end(p)
			synctest.Wait()
			if got := p.Stats().LastOpenError; got != nil {
				t.Errorf("the last error on opening is %v, want none", got)
			}
			if got := testkit.Inside(p).Outage().Failures; got != 0 {
				t.Errorf("%d failures are known, want none", got)
			}
			if got := log.With(slog.LevelWarn); len(got) > 0 {
				t.Errorf("it was logged as a failure: %q", got)
			}
			p.Close()
			r.Failed(t, "after Close", pool.ErrClosed)
		})
	}
}

// close.go vacate: with StrictMax a slot comes free when Factory.Close returns, and Warm
// waits for that.
func TestWarmGoesOnWhenASlotComesFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := testkit.Obstacle(t)
		x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { <-hold; return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, StrictMax: true, MaxIdleTime: -1})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		if err := p.Discard(a, nil); err != nil {
			t.Fatal(err)
		}
		w := testkit.Warm(t.Context(), p, 2)
		w.Pending(t, "while Close has not returned")
		release()
		w.Is(t, "when it has", nil)
		testkit.GiveBack(t, p, b)
	})
}

// open.go timeAttempt: in an outage one attempt is made at a time, and Warm waits for its
// end before it begins another, but not if it hangs.
func TestWarmDoesNotWaitForAnAttemptThatHangsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			switch attempt {
			case 1:
				return testkit.ErrDial
			case 2:
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1})
		testkit.Ask(t.Context(), p).Failed(t, "an outage begins", testkit.ErrDial)
		ctx, cancel := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, p)
		cancel()
		r.Failed(t, "when its ctx has ended", context.Canceled)
		w := testkit.Warm(t.Context(), p, 2)
		testkit.Sleep(words.BackoffMost)
		if got := x.Tried(); got != 2 {
			t.Errorf("Open was called %d times while one may still succeed, want twice", got)
		}
		testkit.Sleep(time.Millisecond) // later than that, not at the same moment
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times when one is overdue, want three times", got)
		}
		release()
		w.Is(t, "when both are open", nil)
	})
}

// open.go openFailed: the failure of an attempt for Warm is told to Warm, and to no
// waiter, even if no connection is open that may come back.
func TestNobodyWhoWaitsIsToldOfAFailureOfWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 2 {
				return testkit.ErrDial
			}
			<-hang
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		r := testkit.Ask(t.Context(), p)
		w := testkit.Warm(t.Context(), p, 2)
		w.Is(t, "when its attempt has failed", testkit.ErrDial)
		r.Pending(t, "while its own is under way")
		release()
		testkit.GiveBack(t, p, r.Served(t, "by its own"))
	})
}

// open.go openFailed: without StrictMax nobody waits for the Close of what Watch refused.
func TestTheSlotOfWhatWatchRefusedIsFreeBeforeItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := testkit.Obstacle(t)
		x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { <-hold; return nil }}
		f := x.Factory()
		f.Watch = func(w *testkit.Wire, broken func(error)) {
			if w.Number == 1 {
				broken(testkit.ErrCause)
			}
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		if _, err := p.Get(t.Context()); !errors.Is(err, testkit.ErrCause) {
			t.Fatalf("Get returned %v, want %v", err, testkit.ErrCause)
		}
		l := testkit.Ask(t.Context(), p).Served(t, "while the first is being closed")
		testkit.GiveBack(t, p, l)
		release()
	})
}

// pool.go examine: in an outage an old connection is better than none.
func TestInAnOutageWhatMinIdleHasKeptIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 5, MinIdle: 1, MaxIdleTime: 3 * time.Second})
		testkit.Sleep(time.Second)
		testkit.IdleIs(t, p, "before the outage", 1)
		first := b.Opened()[0]
		b.Down.Store(true)
		testkit.Sleep(20 * time.Second)
		l := testkit.Ask(t.Context(), p).Served(t, "in the outage")
		if l.Value() != first {
			t.Errorf("connection %d was lent, want the one that there was", l.Value().Number)
		}
		testkit.GiveBack(t, p, l)
		p.Close()
		testkit.Sleep(time.Second) // for an Open that is under way
	})
}

// quota.go lift: in an outage the sweeper comes back for the next attempt, not when the
// oldest has waited for twice the time that opening took.
func TestTheNextAttemptIsMadeInTimeThoughOpeningUsedToTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(2 * core.MostOpenTime)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1})
		ctx, cancel := context.WithCancel(t.Context())
		testkit.Ask(ctx, p)
		cancel() // so that no other attempt is made beside one that takes so long
		testkit.Sleep(2 * core.MostOpenTime)
		l := testkit.Borrow(t, p)
		if got := testkit.Inside(p).OpenTime(); got != core.MostOpenTime {
			t.Fatalf("opening is assumed to take %v, want %v", got, core.MostOpenTime)
		}
		b.Takes = time.Millisecond
		b.Down.Store(true)
		for testkit.Inside(p).Outage().Failures < words.KeepsFailing+6 { // up to the longest backoff
			r := testkit.Ask(t.Context(), p)
			for !r.Returned() {
				testkit.Sleep(b.Takes)
			}
			r.Failed(t, "while the server is down", testkit.ErrDial)
		}
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "in the pause")
		b.Down.Store(false)
		testkit.Sleep(words.BackoffMost + b.Takes)
		testkit.GiveBack(t, p, r.Served(t, "after the pause"))
		testkit.GiveBack(t, p, l)
	})
}

// outage.go unavailable: a pool that was closed in an outage is closed.
func TestGetReturnsErrClosedAfterCloseInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Failing(t, testkit.NewBackend(time.Millisecond), pool.Config{MaxConnections: 2})
		if _, err := p.Get(t.Context()); !errors.Is(err, pool.ErrUnavailable) {
			t.Fatalf("Get returned %v, want %v", err, pool.ErrUnavailable)
		}
		p.Close()
		if _, err := p.Get(t.Context()); err != pool.ErrClosed {
			t.Errorf("after Close Get returned %v, want %v", err, pool.ErrClosed)
		}
	})
}

// pass.go pass: where passes are far apart because MaxIdleTime is long, a call that hangs is
// abandoned in time, too.
func TestACallThatHangsIsAbandonedInTimeThoughMaxIdleTimeIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := testkit.Obstacle(t)
		var x testkit.Exchange
		f := x.Factory()
		f.Clean = func(*testkit.Wire) error { <-hold; return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: 480 * time.Hour})
		l := testkit.Borrow(t, p)
		testkit.Sleep(5 * time.Minute)
		go p.Put(l)
		testkit.Sleep(core.CallLimit + 2*core.MaxTick)
		if got := p.Stats().ClosedAbandoned; got != 1 {
			t.Errorf("%d calls were abandoned after %v, want 1", got, core.CallLimit+2*core.MaxTick)
		}
		release()
	})
}
