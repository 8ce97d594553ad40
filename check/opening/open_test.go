package opening

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/google/go-cmp/cmp"
)

// HikariCP "spike demand", redis#3890: a waiter takes whichever comes first, a
// returned connection or a new one.
func TestAReturnedConnectionThatComesFirstIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(testkit.OpenTime); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p) // opens another
		testkit.Sleep(testkit.OpenTime / 2)
		testkit.GiveBack(t, p, l)
		got := r.Served(t, "after the Put")
		if got.Value() != l.Value() || r.Took != testkit.OpenTime/2 {
			t.Errorf("Get lent connection %d after %v, want the one that was returned, after half of that time", got.Value().Number, r.Took)
		}
		testkit.Sleep(testkit.OpenTime / 2)
		if s := p.Stats(); s.IdleConnections != 1 || s.ActiveConnections != 1 {
			t.Errorf("once it is open %+v, want the new connection idle", s)
		}
		testkit.GiveBack(t, p, got)
	})
}

func TestANewConnectionThatComesFirstIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(testkit.OpenTime); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		got := r.Served(t, "once it is open")
		if got.Value().Number != 2 || got.Reused() || r.Took != testkit.OpenTime {
			t.Errorf("Get lent connection %d after %v, want the second, when it was open", got.Value().Number, r.Took)
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, got)
	})
}

// go#31708: first come, first served, whatever the connection.
func TestANewConnectionGoesToTheOldestWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(4-attempt) * testkit.OpenTime) // the first is the slowest
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		var asked []*testkit.Request[*testkit.Wire]
		for range 3 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		for i, r := range asked {
			testkit.Sleep(testkit.OpenTime)
			if got := r.Served(t, fmt.Sprint("number ", i+1)).Value().Number; got != i+1 {
				t.Errorf("caller %d was lent connection %d", i+1, got)
			}
		}
		for _, r := range asked {
			testkit.GiveBack(t, p, r.Lease)
		}
	})
}

func TestAnErrorOfOpenGoesToTheCallerWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(4-attempt) * testkit.OpenTime)
			return fmt.Errorf("attempt %d: %w", attempt, testkit.ErrDial)
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		var asked []*testkit.Request[*testkit.Wire]
		for range 3 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		for i := 2; i >= 0; i-- {
			testkit.Sleep(testkit.OpenTime)
			asked[i].Failed(t, "when its attempt fails", testkit.ErrDial)
			if got, want := asked[i].Err.Error(), fmt.Sprintf("pool: open connection: attempt %d: wrong password", i+1); got != want {
				t.Errorf("caller %d got %q, want %q", i+1, got, want)
			}
			if i > 0 {
				asked[0].Pending(t, "the oldest, whose own attempt goes on")
			}
		}
		if got := p.Stats(); got.OpenErrors != 3 || got.VacantConnections() != 3 {
			t.Errorf("at the end %+v", got)
		}
	})
}

// go#10886, commons-pool POOL-303: a dial fails, and the freed capacity is offered to
// nobody.
func TestTheSlotOfAFailedOpenIsOfferedToThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(testkit.OpenTime)
			if attempt == 1 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		first, second := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		first.Failed(t, "when its attempt fails", testkit.ErrDial)
		second.Pending(t, "when the first attempt has failed")
		if got := x.Tried(); got != 2 {
			t.Fatalf("Open was called %d times, want a second time for the second caller", got)
		}
		testkit.Sleep(testkit.OpenTime)
		testkit.GiveBack(t, p, second.Served(t, "when the second attempt is done"))
	})
}

// The asker of a failed attempt has been served with a returned connection. Nobody gets
// the error, and every other waiter has an attempt of its own.
func TestAnErrorOfOpenWhoseAskerIsServedIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			switch attempt {
			case 1:
				return nil
			case 2:
				time.Sleep(testkit.OpenTime)
				return testkit.ErrDial
			}
			time.Sleep(testkit.OpenTime)
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
		l := testkit.Borrow(t, p)
		asker := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, l)
		l = asker.Served(t, "after the Put")
		other := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		other.Pending(t, "when the attempt of another has failed")
		testkit.Sleep(testkit.OpenTime)
		testkit.GiveBack(t, p, other.Served(t, "when its own is done"))
		testkit.GiveBack(t, p, l)
	})
}

// The error of an attempt without an asker, after a Discard, goes to the oldest waiter.
func TestAnErrorOfOpenForNobodyInParticularGoesToTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(testkit.OpenTime)
			if attempt == 2 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, FailFastAfter: testkit.AtOnce})
		l := testkit.Borrow(t, p)
		first, second := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		_ = p.Discard(l, testkit.ErrCause)
		testkit.Sleep(testkit.OpenTime)
		first.Failed(t, "when the attempt fails", testkit.ErrDial)
		second.Pending(t, "when the attempt fails")
		testkit.Sleep(testkit.OpenTime)
		testkit.GiveBack(t, p, second.Served(t, "when the next is done"))
	})
}

// redis#3619, #3623, #3625: a slot is freed twice on some interleaving of cancel,
// deliver and fail.
func TestWithFailingOpensEachOfAHundredWaitersHasOneAnswer(t *testing.T) {
	for _, most := range []int{1, 7, 100} {
		testkit.Bubble(t, fmt.Sprint("MaxConnections=", most), func(t *testing.T) {
			x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Millisecond); return testkit.ErrDial }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: most, MaxWaitTime: -1})
			var asked []*testkit.Request[*testkit.Wire]
			for range 100 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			testkit.Sleep(testkit.OpenTime)
			for _, r := range asked {
				r.Failed(t, "after all attempts", testkit.ErrDial)
			}
			if got := x.Tried(); got > 200+most {
				t.Errorf("Open was called %d times for 100 callers", got)
			}
			if got := p.Stats(); got.VacantConnections() != most || got.WaitingRequests != 0 {
				t.Errorf("at the end %+v", got)
			}
			x.Open = nil
			testkit.Whole(t, p, most)
		})
	}
}

func TestNothingIsOpenedThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(testkit.OpenTime); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 100, MaxWaitTime: -1})
		// Fifty callers who have left, one after the other.
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := p.Get(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Get returned %v", err)
			}
		}
		testkit.Sleep(time.Minute)
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times for callers of whom one waited at a time, want once", got)
		}
		// One discard after the other, with nobody waiting.
		for range 5 {
			_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
			synctest.Wait()
			if got := p.Stats().OpeningConnections; got != 0 {
				t.Errorf("%d are being opened, and nobody waits", got)
			}
		}
	})
}

// A failed attempt is not repeated for callers who have given up.
func TestAFailedOpenIsNotRepeatedForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(testkit.OpenTime); return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Get returned %v", err)
				}
			})
		}
		wg.Wait()
		testkit.Sleep(time.Hour)
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
	})
}

// A packet is lost, and the caller that asked for that connection has given up. Callers
// that come later need not wait for all of OpenTimeout.
func TestAnOverdueOpenThatNobodyWaitsForIsNotReliedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt <= 2 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, OpenTimeout: -1, MaxWaitTime: -1, MaxIdleTime: -1})
		ctx, cancel := context.WithTimeout(t.Context(), core.OverdueAfter/2)
		defer cancel()
		first := testkit.Ask(ctx, p)
		testkit.Sleep(core.OverdueAfter / 2)
		first.Failed(t, "at its deadline", context.DeadlineExceeded)
		second := testkit.Ask(t.Context(), p)
		second.Pending(t, "before the attempt is overdue")
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times before the first attempt was overdue, want once", got)
		}
		testkit.Sleep(core.OverdueAfter / 2) // the second attempt hangs, too, and has no asker
		second.Pending(t, "when the second attempt hangs")
		testkit.Sleep(core.OverdueAfter)
		testkit.GiveBack(t, p, second.Served(t, "by the third"))
		release()
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 3 || x.Tried() != 3 {
			t.Errorf("when all have returned %+v, after %d attempts", got, x.Tried())
		}
		if got := testkit.Inside(p).Overdue.Load(); got != 0 {
			t.Errorf("%d attempts are overdue at rest", got)
		}
		testkit.Whole(t, p, 5)
		testkit.Sleep(time.Hour)
		if got := x.Tried(); got != 5 {
			t.Errorf("Open was called %d times, want 5", got)
		}
	})
}

// bb8#147, redis#2996: a wrong password shows as a timeout.
func TestAWrongPasswordShowsInTheErrorOfATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return testkit.ErrDial
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second})
		testkit.Ask(t.Context(), p).Failed(t, "the first attempt", testkit.ErrDial)

		_, err := p.Get(t.Context())
		var unavailable *pool.UnavailableError
		if !errors.Is(err, pool.ErrUnavailable) || errors.Is(err, pool.ErrExhausted) || !errors.As(err, &unavailable) {
			t.Fatalf("after MaxWaitTime Get returned %v, want ErrUnavailable: nothing was open", err)
		}
		if !errors.Is(err, testkit.ErrDial) || !errors.Is(unavailable.Open, testkit.ErrDial) {
			t.Errorf("after MaxWaitTime Get returned %v, want %v in it", err, testkit.ErrDial)
		}
		if u := unavailable; u.Waited != time.Second || u.Opening != 2 || u.OpeningFor != time.Second {
			t.Errorf("the error tells of %d attempts for %v, after %v, want 2 for 1s, after 1s", u.Opening, u.OpeningFor, u.Waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, testkit.ErrDial) {
			t.Errorf("after the deadline of its ctx Get returned %v, want %v in it", err, testkit.ErrDial)
		}
	})
}

func TestAnErrorOfOpenIsForgottenOnceOpenSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		testkit.Ask(t.Context(), p).Failed(t, "the first attempt", testkit.ErrDial)
		l := testkit.Borrow(t, p)
		_, err := p.Get(t.Context())
		if !errors.Is(err, pool.ErrExhausted) || errors.Is(err, testkit.ErrDial) {
			t.Errorf("Get returned %v, want ErrExhausted without the error of long ago", err)
		}
		testkit.GiveBack(t, p, l)
	})
}

// bifrost#4629, chi#993: values of a request's ctx that are read after the request has ended
// may be another user's. Nothing of a caller's ctx goes to Open, unless OpenContext says so.
func TestOpenGetsNoValuesButThoseOfOpenContext(t *testing.T) {
	type key struct{}
	ctxOf := func(t *testing.T, name string) context.Context { return context.WithValue(t.Context(), key{}, name) }
	for name, tt := range map[string]struct {
		openContext func(context.Context) context.Context
		want        []any // what the attempts get: for the first caller, for Warm, for the oldest who waits
	}{
		"nil":     {nil, []any{nil, nil, nil}},
		"the ctx": {testkit.SameContext, []any{"first", "warm", "oldest"}},
		"a part of it": {func(ctx context.Context) context.Context {
			return context.WithValue(context.Background(), key{}, ctx.Value(key{}).(string)+"'s")
		}, []any{"first's", "warm's", "oldest's"}},
		"returns nil": {func(context.Context) context.Context { return nil }, []any{nil, nil, nil}},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var got []any
			x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
				got = append(got, ctx.Value(key{}))
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, OpenContext: tt.openContext})
			a := testkit.Ask(ctxOf(t, "first"), p).Served(t, "by an open")
			if err := p.Warm(ctxOf(t, "warm"), 2); err != nil {
				t.Fatal(err)
			}
			b := testkit.Ask(ctxOf(t, "nobody"), p).Served(t, "by what Warm has opened")
			gone, cancel := context.WithCancel(ctxOf(t, "gone"))
			left := testkit.Ask(gone, p)
			oldest := testkit.Ask(ctxOf(t, "oldest"), p)
			next := testkit.Ask(ctxOf(t, "next"), p)
			cancel()
			left.Failed(t, "when its ctx has ended", context.Canceled)
			_ = p.Discard(a, nil) // another is opened for those who wait
			testkit.GiveBack(t, p, oldest.Served(t, "by the new one"))
			testkit.GiveBack(t, p, next.Served(t, "by what the oldest has returned"))
			testkit.GiveBack(t, p, b)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("values in the ctx of Open (-want +got):\n%s", diff)
			}
		})
	}
}

// It is called in Get, by the caller, with nothing held: its panic is the caller's.
func TestAPanicInOpenContextIsTheCallersAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenContext: func(context.Context) context.Context { panic(testkit.ErrCause) }})
		func() {
			defer func() {
				if got := recover(); got != testkit.ErrCause {
					t.Errorf("recovered %v, want the panic of OpenContext", got)
				}
			}()
			_, _ = p.Get(t.Context())
			t.Error("Get has returned")
		}()
		testkit.AtRest(t, p, 0)
	})
}

// The connection that replaces one whose caller has left is opened for those who wait: with
// the values of the oldest of them, who is told if it fails.
func TestWhatIsOpenedAfterAResetIsForWhoeverWaits(t *testing.T) {
	for _, fails := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprintf("it fails: %v", fails), func(t *testing.T) {
			type key struct{}
			var got []any
			first, goOn := testkit.Obstacle(t)
			x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				got = append(got, ctx.Value(key{}))
				if attempt == 1 {
					<-first
				} else if fails {
					return testkit.ErrDial
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, OpenContext: testkit.SameContext, FailFastAfter: testkit.AtOnce})
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "a"))
			a := testkit.Ask(ctx, p)
			b := testkit.Ask(context.WithValue(t.Context(), key{}, "b"), p)
			cancel()
			a.Failed(t, "when its ctx has ended", context.Canceled)
			p.Reset()
			goOn()
			if fails {
				b.Failed(t, "when the second open fails", testkit.ErrDial)
			} else {
				testkit.GiveBack(t, p, b.Served(t, "by the second open"))
			}
			if diff := cmp.Diff([]any{"a", "b"}, got); diff != "" {
				t.Errorf("values in the ctx of Open (-want +got):\n%s", diff)
			}
		})
	}
}
