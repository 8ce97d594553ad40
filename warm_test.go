package pool

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A warming is a call of Warm in a goroutine of its own.
type warming struct {
	done chan struct{}
	err  error
}

// warm begins a Warm, and returns when it waits or has returned.
func warm(ctx context.Context, p *Pool[*wire], n int) *warming {
	w := &warming{done: make(chan struct{})}
	go func() {
		w.err = p.Warm(ctx, n)
		close(w.done)
	}()
	synctest.Wait()
	return w
}

func (w *warming) returned() bool {
	synctest.Wait()
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *warming) pending(t *testing.T, when string) {
	t.Helper()
	if w.returned() {
		t.Fatalf("%s: Warm has returned %v, want it to wait", when, w.err)
	}
}

// is fails the test unless Warm has returned an error that is want.
func (w *warming) is(t *testing.T, when string, want error) {
	t.Helper()
	if !w.returned() {
		t.Fatalf("%s: Warm waits, want %v", when, want)
	}
	if !errors.Is(w.err, want) || want == nil && w.err != nil {
		t.Fatalf("%s: Warm returned %v, want %v", when, w.err, want)
	}
}

func TestWarmReturnsWhenSoManyAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30, MaxIdleTime: -1})
		w := warm(t.Context(), p, 20)
		time.Sleep(openTime - 1)
		w.pending(t, "while they are being opened")
		if got := p.Stats().OpeningConnections; got != 20 {
			t.Errorf("%d are being opened, want 20 at the same time", got)
		}
		time.Sleep(time.Nanosecond)
		w.is(t, "when they are open", nil)
		idleIs(t, p, "after Warm", 20)

		leases := []Lease[*wire]{borrow(t, p), borrow(t, p)}
		if err := p.Warm(t.Context(), 22); err != nil { // those that are leased are open
			t.Fatal(err)
		}
		idleIs(t, p, "beside two that are leased", 20)
		began := time.Now()
		for _, n := range []int{22, 10, 0} {
			if err := p.Warm(t.Context(), n); err != nil || time.Since(began) != 0 {
				t.Errorf("Warm(%d) of 22 returned %v after %v, want nil at once", n, err, time.Since(began))
			}
		}
		if got := x.tried(); got != 22 {
			t.Errorf("Open was called %d times, want 22", got)
		}
		for _, l := range leases {
			giveBack(t, p, l)
		}
		if got := p.Stats(); got.Waits != 0 || got.OpenTime.Count != 22 {
			t.Errorf("%+v, want no waits, 22 opened", got)
		}
	})
}

func TestWhatWarmHasOpenedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 10, MaxIdleTime: 8 * time.Second, MaxWaitTime: -1})
		if err := p.Warm(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8*time.Second - 1)
		idleIs(t, p, "before MaxIdleTime", 10)
		time.Sleep(time.Second + 1)
		idleIs(t, p, "after MaxIdleTime", 0)
	})
}

func TestWarmRefusesNumbersThatCannotBe(t *testing.T) {
	var x exchange
	p := start(t, x.factory(), Config{MaxConnections: 3})
	for n, want := range map[int]string{-1: "negative", 4: "MaxConnections"} {
		if err := p.Warm(t.Context(), n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Warm(%d) returned %v, want an error that speaks of %q", n, err, want)
		}
	}
	if got := x.tried(); got != 0 {
		t.Errorf("Open was called %d times", got)
	}
}

func TestWarmReturnsErrClosedOnceThePoolIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		w := warm(t.Context(), p, 20)
		p.Close()
		w.is(t, "closed meanwhile", ErrClosed)
		warm(t.Context(), p, 1).is(t, "closed before", ErrClosed)
		time.Sleep(openTime)
		x.allClosedOnce(t)
	})
}

func TestWarmReturnsTheFirstErrorOfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := errors.New("the first")
		x := exchange{open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				_ = pause(ctx, openTime/2)
				return first
			}
			_ = pause(ctx, openTime)
			if attempt <= 3 {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		w := warm(t.Context(), p, 10)
		time.Sleep(openTime/2 - 1)
		w.pending(t, "while they are being opened")
		time.Sleep(time.Nanosecond)
		w.is(t, "when one has failed", first)
		time.Sleep(openTime)
		idleIs(t, p, "what was being opened remains", 7)
		if got := p.Stats(); got.OpenErrors != 3 {
			t.Errorf("%+v, want three errors", got)
		}
		warm(t.Context(), p, 10).pending(t, "once more")
		time.Sleep(2 * openTime) // one by one at first, if the last to end was a failure
		idleIs(t, p, "once more", 10)
	})
}

func TestWarmEndsWithItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30, MaxIdleTime: -1})
		ctx, cancel := context.WithCancelCause(t.Context())
		w := warm(ctx, p, 5)
		time.Sleep(openTime / 2)
		cancel(errCause)
		w.is(t, "canceled", context.Canceled)
		w.is(t, "canceled", errCause)
		warm(ctx, p, 20).is(t, "canceled before", context.Canceled)
		time.Sleep(openTime)
		idleIs(t, p, "what was being opened remains", 5) // Open has not been canceled
		deadline, cancelDeadline := context.WithTimeout(t.Context(), openTime/2)
		defer cancelDeadline()
		w = warm(deadline, p, 6)
		time.Sleep(openTime / 2)
		w.is(t, "at its deadline", context.DeadlineExceeded)
	})
}

func TestWarmGivesOpenTheValuesOfItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		x := exchange{open: func(ctx context.Context, _ int) error {
			if got := ctx.Value(key{}); got != "mine" {
				t.Errorf("Open found %v in its ctx", got)
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		if err := p.Warm(context.WithValue(t.Context(), key{}, "mine"), 5); err != nil {
			t.Error(err)
		}
	})
}

func TestWarmOpensNoMoreThanMaxOpeningAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30, MaxOpening: 3})
		w := warm(t.Context(), p, 10)
		for range 4 {
			if got := p.Stats().OpeningConnections; got > 3 || got == 0 {
				t.Errorf("%d are being opened, want 3 at most", got)
			}
			w.pending(t, "while they are being opened")
			time.Sleep(openTime)
			synctest.Wait()
		}
		w.is(t, "after ten in threes", nil)
		idleIs(t, p, "after Warm", 10)
	})
}

func TestSeveralWarmsAtTheSameTimeOpenNoMoreThanTheLargest(t *testing.T) {
	for name, open := range map[string]func(context.Context, int) error{"quick": nil, "slow": slow(openTime)} {
		bubble(t, name, func(t *testing.T) {
			x := exchange{open: open}
			p := start(t, x.factory(), Config{MaxConnections: 30, MaxIdleTime: -1})
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
			idleIs(t, p, "after all of them", 20)
			if got := x.tried(); got != 20 {
				t.Errorf("Open was called %d times, want 20", got)
			}
		})
	}
}

// Those that wait take what Warm opens, and what was opened for them counts for Warm.
func TestWarmAndThoseWhoWaitShareWhatIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		before := ask(t.Context(), p)
		w := warm(t.Context(), p, 3)
		after := ask(t.Context(), p)
		time.Sleep(openTime)
		w.is(t, "when three are open", nil)
		giveBack(t, p, before.served(t, "before"))
		giveBack(t, p, after.served(t, "after"))
		if got := x.tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
	})
}

// While opening keeps failing Warm says so at once, as Get does, and it succeeds when the
// server is back.
func TestWarmDuringAnOutageReturnsErrUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := true
		x := exchange{open: func(context.Context, int) error {
			if fails {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		for range keepsFailing {
			warm(t.Context(), p, 10).is(t, "failing", errDial)
		}
		synctest.Wait()
		tried := x.tried()
		w := warm(t.Context(), p, 10)
		w.is(t, "in a pause", ErrUnavailable)
		w.is(t, "in a pause", errDial)
		if got := x.tried(); got != tried {
			t.Errorf("in a pause Open was called %d times", got-tried)
		}
		fails = false
		time.Sleep(backoffMost)
		warm(t.Context(), p, 10).is(t, "when the server is back", nil)
		idleIs(t, p, "when the server is back", 10)
		if got := x.tried(); got != tried+10 {
			t.Errorf("Open was called %d times, want 10", got-tried)
		}
	})
}

func TestWarmMakesUpForWhatIsLostMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30, MaxOpening: 2, MaxIdleTime: -1})
		w := warm(t.Context(), p, 6)
		time.Sleep(openTime) // two
		l := borrow(t, p)
		m := borrow(t, p)
		if err := p.Discard(l, errCause); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Detach(m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * openTime)
		w.pending(t, "with two lost, after the time of six")
		time.Sleep(openTime)
		w.is(t, "when they are replaced", nil)
		idleIs(t, p, "when they are replaced", 6)
		if got := x.tried(); got != 8 {
			t.Errorf("Open was called %d times, want 8", got)
		}
	})
}

func TestWarmGoesOnOverAReset(t *testing.T) {
	for name, open := range map[string]func(context.Context, int) error{
		"Open fails with its ctx":  slow(openTime),
		"Open does not see to ctx": func(context.Context, int) error { time.Sleep(openTime); return nil },
	} {
		bubble(t, name, func(t *testing.T) {
			x := exchange{open: open}
			p := start(t, x.factory(), Config{MaxConnections: 30, MaxIdleTime: -1})
			w := warm(t.Context(), p, 5)
			time.Sleep(openTime / 2)
			p.Reset()
			w.pending(t, "after Reset")
			time.Sleep(2 * openTime)
			w.is(t, "when others are open", nil)
			idleIs(t, p, "when others are open", 5)
			for _, w := range x.opened()[:len(x.opened())-5] {
				if got := w.closedWith(); len(got) != 1 || !errors.Is(got[0], errReset) {
					t.Errorf("what was being opened before Reset was closed with %v", got)
				}
			}
		})
	}
}

func TestWarmSeesAResizeToFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(openTime)}
		p := start(t, x.factory(), Config{MaxConnections: 30})
		w := warm(t.Context(), p, 20)
		if err := p.Resize(10); err != nil {
			t.Fatal(err)
		}
		if !w.returned() || w.err == nil || !strings.Contains(w.err.Error(), "MaxConnections, which is 10") {
			t.Errorf("after a Resize to 10, Warm(20) has returned %v", w.err)
		}
		time.Sleep(openTime)
		idleIs(t, p, "in the end", 10)
	})
}
