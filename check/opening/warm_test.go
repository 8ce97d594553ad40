package opening

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

func TestWarmReturnsWhenSoManyAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxIdleTime: -1})
		w := testkit.Warm(t.Context(), p, 20)
		testkit.Sleep(testkit.OpenTime - 1)
		w.Pending(t, "while they are being opened")
		if got := p.Stats().OpeningConnections; got != core.ColdStart {
			t.Errorf("%d are being opened, want %d at the same time", got, core.ColdStart)
		}
		testkit.Sleep(testkit.OpenTime)
		w.Pending(t, "while the rest are being opened")
		if got := p.Stats().OpeningConnections; got != 20-core.ColdStart {
			t.Errorf("%d are being opened, want %d at the same time", got, 20-core.ColdStart)
		}
		testkit.Sleep(time.Nanosecond)
		w.Is(t, "when they are open", nil)
		testkit.IdleIs(t, p, "after Warm", 20)

		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		if err := p.Warm(t.Context(), 22); err != nil { // those that are leased are open
			t.Fatal(err)
		}
		testkit.IdleIs(t, p, "beside two that are leased", 20)
		began := time.Now()
		for _, n := range []int{22, 10, 0} {
			if err := p.Warm(t.Context(), n); err != nil || time.Since(began) != 0 {
				t.Errorf("Warm(%d) of 22 returned %v after %v, want nil at once", n, err, time.Since(began))
			}
		}
		if got := x.Tried(); got != 22 {
			t.Errorf("Open was called %d times, want 22", got)
		}
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
		if got := p.Stats(); got.Waits != 0 || got.OpenTime.Count != 22 {
			t.Errorf("%+v, want no waits, 22 opened", got)
		}
	})
}

func TestWhatWarmHasOpenedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MaxIdleTime: 8 * time.Second, MaxWaitTime: -1})
		if err := p.Warm(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(8*time.Second - 1)
		testkit.IdleIs(t, p, "before MaxIdleTime", 10)
		testkit.Sleep(time.Second + 1)
		testkit.IdleIs(t, p, "after MaxIdleTime", 0)
	})
}

func TestWarmRefusesNumbersThatCannotBe(t *testing.T) {
	var x testkit.Exchange
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
	for n, want := range map[int]string{-1: "negative", 4: "MaxConnections"} {
		if err := p.Warm(t.Context(), n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Warm(%d) returned %v, want an error that speaks of %q", n, err, want)
		}
	}
	if got := x.Tried(); got != 0 {
		t.Errorf("Open was called %d times", got)
	}
}

func TestWarmReturnsErrClosedOnceThePoolIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30})
		w := testkit.Warm(t.Context(), p, 20)
		p.Close()
		w.Is(t, "closed meanwhile", pool.ErrClosed)
		testkit.Warm(t.Context(), p, 1).Is(t, "closed before", pool.ErrClosed)
		testkit.Sleep(testkit.OpenTime)
		x.AllClosedOnce(t)
	})
}

func TestWarmReturnsTheFirstErrorOfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := errors.New("the first")
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				_ = testkit.Pause(ctx, testkit.OpenTime/2)
				return first
			}
			_ = testkit.Pause(ctx, testkit.OpenTime)
			if attempt <= 3 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30})
		w := testkit.Warm(t.Context(), p, 10)
		testkit.Sleep(testkit.OpenTime/2 - 1)
		w.Pending(t, "while they are being opened")
		testkit.Sleep(time.Nanosecond)
		w.Is(t, "when one has failed", first)
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "what was being opened remains", 7)
		if got := p.Stats(); got.OpenErrors != 3 {
			t.Errorf("%+v, want three errors", got)
		}
		again := testkit.Warm(t.Context(), p, 10)
		for n := range 3 { // one at a time: those that are open are on probation
			again.Pending(t, "once more")
			if got := p.Stats(); got.IdleConnections != 7+n || got.OpeningConnections != 1 {
				t.Errorf("once more: %+v, want %d idle, one being opened", got, 7+n)
			}
			testkit.Sleep(testkit.OpenTime)
		}
		again.Is(t, "once more", nil)
		testkit.IdleIs(t, p, "once more", 10)
	})
}

func TestWarmEndsWithItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxIdleTime: -1})
		ctx, cancel := context.WithCancelCause(t.Context())
		w := testkit.Warm(ctx, p, 5)
		testkit.Sleep(testkit.OpenTime / 2)
		cancel(testkit.ErrCause)
		w.Is(t, "canceled", context.Canceled)
		w.Is(t, "canceled", testkit.ErrCause)
		testkit.Warm(ctx, p, 20).Is(t, "canceled before", context.Canceled)
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "what was being opened remains", 5) // Open has not been canceled
		deadline, cancelDeadline := context.WithTimeout(t.Context(), testkit.OpenTime/2)
		defer cancelDeadline()
		w = testkit.Warm(deadline, p, 6)
		testkit.Sleep(testkit.OpenTime / 2)
		w.Is(t, "at its deadline", context.DeadlineExceeded)
	})
}

func TestWarmGivesOpenTheValuesOfItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			if got := ctx.Value(key{}); got != "mine" {
				t.Errorf("Open found %v in its ctx", got)
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, OpenContext: testkit.SameContext})
		if err := p.Warm(context.WithValue(t.Context(), key{}, "mine"), 5); err != nil {
			t.Error(err)
		}
	})
}

func TestWarmOpensNoMoreThanMaxOpeningAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxOpening: 3})
		w := testkit.Warm(t.Context(), p, 10)
		for range 4 {
			if got := p.Stats().OpeningConnections; got > 3 || got == 0 {
				t.Errorf("%d are being opened, want 3 at most", got)
			}
			w.Pending(t, "while they are being opened")
			testkit.Sleep(testkit.OpenTime)
		}
		w.Is(t, "after ten in threes", nil)
		testkit.IdleIs(t, p, "after Warm", 10)
	})
}

func TestSeveralWarmsAtTheSameTimeOpenNoMoreThanTheLargest(t *testing.T) {
	for name, open := range map[string]func(context.Context, int) error{"quick": nil, "slow": testkit.Slow(testkit.OpenTime)} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := testkit.Exchange{Open: open}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxIdleTime: -1})
			var all sync.WaitGroup
			for n := range 21 {
				all.Go(func() {
					if err := p.Warm(t.Context(), n); err != nil {
						t.Error(err)
					}
					if s := p.Stats(); s.IdleConnections+s.ActiveConnections < n {
						t.Errorf("Warm(%d) has returned, and %d are open", n, s.IdleConnections+s.ActiveConnections)
					}
				})
			}
			all.Wait()
			testkit.IdleIs(t, p, "after all of them", 20)
			if got := x.Tried(); got != 20 {
				t.Errorf("Open was called %d times, want 20", got)
			}
		})
	}
}

// Those that wait take what Warm opens, and what was opened for them counts for Warm.
func TestWarmAndThoseWhoWaitShareWhatIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30})
		before := testkit.Ask(t.Context(), p)
		w := testkit.Warm(t.Context(), p, 3)
		after := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		w.Is(t, "when three are open", nil)
		testkit.GiveBack(t, p, before.Served(t, "before"))
		testkit.GiveBack(t, p, after.Served(t, "after"))
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
	})
}

// While opening keeps failing Warm waits for the end of each pause, and then is told how its
// attempt has ended.
func TestWarmDuringAnOutageWaitsForTheEndOfThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := true
		x := testkit.Exchange{Open: func(context.Context, int) error {
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30})
		// The ten of the first Warm count once, unless some of them begin when others have failed.
		for testkit.Inside(p).Outage().Failures < words.KeepsFailing {
			testkit.Warm(t.Context(), p, 10).Is(t, "failing", testkit.ErrDial)
			synctest.Wait()
		}
		synctest.Wait()
		tried := x.Tried()
		pause := func(w *testkit.Warming) {
			t.Helper()
			end := testkit.Inside(p).Outage().RetryAt(words.BackoffMost) - testkit.Inside(p).Now()
			if end < words.BackoffLeast/2 {
				t.Fatalf("the pause ends in %v", end)
			}
			testkit.Sleep(end - 1)
			w.Pending(t, "in a pause")
			if got := x.Tried(); got != tried {
				t.Errorf("in a pause Open was called %d times", got-tried)
			}
			testkit.Sleep(time.Nanosecond)
		}
		w := testkit.Warm(t.Context(), p, 10)
		pause(w)
		w.Is(t, "after the pause", testkit.ErrDial)
		tried++
		if got := x.Tried(); got != tried {
			t.Errorf("after a pause Open was called %d times, want once", got-tried+1)
		}
		w = testkit.Warm(t.Context(), p, 10)
		fails = false
		pause(w)
		w.Is(t, "when the server is back", nil)
		testkit.IdleIs(t, p, "when the server is back", 10)
		if got := x.Tried(); got != tried+10 {
			t.Errorf("Open was called %d times, want 10", got-tried)
		}
	})
}

func TestWarmMakesUpForWhatIsLostMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxOpening: 2, MaxIdleTime: -1})
		w := testkit.Warm(t.Context(), p, 6)
		testkit.Sleep(testkit.OpenTime) // two
		l := testkit.Borrow(t, p)
		m := testkit.Borrow(t, p)
		if err := p.Discard(l, testkit.ErrCause); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Detach(m); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * testkit.OpenTime)
		w.Pending(t, "with two lost, after the time of six")
		testkit.Sleep(testkit.OpenTime)
		w.Is(t, "when they are replaced", nil)
		testkit.IdleIs(t, p, "when they are replaced", 6)
		if got := x.Tried(); got != 8 {
			t.Errorf("Open was called %d times, want 8", got)
		}
	})
}

func TestWarmGoesOnOverAReset(t *testing.T) {
	for name, open := range map[string]func(context.Context, int) error{
		"Open fails with its ctx":  testkit.Slow(testkit.OpenTime),
		"Open does not see to ctx": func(context.Context, int) error { time.Sleep(testkit.OpenTime); return nil },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := testkit.Exchange{Open: open}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30, MaxIdleTime: -1})
			w := testkit.Warm(t.Context(), p, 5)
			testkit.Sleep(testkit.OpenTime / 2)
			p.Reset()
			w.Pending(t, "after Reset")
			testkit.Sleep(2 * testkit.OpenTime)
			w.Is(t, "when others are open", nil)
			testkit.IdleIs(t, p, "when others are open", 5)
			for _, w := range x.Opened()[:len(x.Opened())-5] {
				if got := w.ClosedWith(); len(got) != 1 || !errors.Is(got[0], core.ErrReset) {
					t.Errorf("what was being opened before Reset was closed with %v", got)
				}
			}
		})
	}
}

func TestWarmSeesAResizeToFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 30})
		w := testkit.Warm(t.Context(), p, 20)
		if err := p.Resize(10); err != nil {
			t.Fatal(err)
		}
		if !w.Returned() || w.Err == nil || !strings.Contains(w.Err.Error(), "MaxConnections, which is 10") {
			t.Errorf("after a Resize to 10, Warm(20) has returned %v", w.Err)
		}
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "in the end", 10)
	})
}
