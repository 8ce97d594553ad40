package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// openTime is how long opening takes in these tests. It is not yet overdue then.
const openTime = 100 * time.Millisecond

// HikariCP "spike demand", redis#3890: a waiter takes whichever comes first, a
// returned connection or a new one.
func TestAReturnedConnectionThatComesFirstIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { time.Sleep(openTime); return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 2})
		l := borrow(t, p)
		r := ask(t.Context(), p) // opens another
		time.Sleep(openTime / 2)
		giveBack(t, p, l)
		got := r.served(t, "after the Put")
		if got.Value() != l.Value() || r.took != openTime/2 {
			t.Errorf("Get lent connection %d after %v, want the one that was returned, after half of that time", got.Value().number, r.took)
		}
		time.Sleep(openTime / 2)
		synctest.Wait()
		if s := p.Stats(); s.IdleConnections != 1 || s.ActiveConnections != 1 {
			t.Errorf("once it is open %+v, want the new connection idle", s)
		}
		giveBack(t, p, got)
	})
}

func TestANewConnectionThatComesFirstIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { time.Sleep(openTime); return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 2})
		l := borrow(t, p)
		r := ask(t.Context(), p)
		time.Sleep(openTime)
		got := r.served(t, "once it is open")
		if got.Value().number != 2 || got.Reused() || r.took != openTime {
			t.Errorf("Get lent connection %d after %v, want the second, when it was open", got.Value().number, r.took)
		}
		giveBack(t, p, l)
		giveBack(t, p, got)
	})
}

// go#31708: first come, first served, whatever the connection.
func TestANewConnectionGoesToTheOldestWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(4-attempt) * openTime) // the first is the slowest
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 3})
		var asked []*request[*wire]
		for range 3 {
			asked = append(asked, ask(t.Context(), p))
		}
		for i, r := range asked {
			time.Sleep(openTime)
			if got := r.served(t, fmt.Sprint("number ", i+1)).Value().number; got != i+1 {
				t.Errorf("caller %d was lent connection %d", i+1, got)
			}
		}
		for _, r := range asked {
			giveBack(t, p, r.lease)
		}
	})
}

func TestAnErrorOfOpenGoesToTheCallerWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(4-attempt) * openTime)
			return fmt.Errorf("attempt %d: %w", attempt, errDial)
		}}
		p := start(t, x.factory(), Config{MaxConnections: 3})
		var asked []*request[*wire]
		for range 3 {
			asked = append(asked, ask(t.Context(), p))
		}
		for i := 2; i >= 0; i-- {
			time.Sleep(openTime)
			asked[i].failed(t, "when its attempt fails", errDial)
			if got, want := asked[i].err.Error(), fmt.Sprintf("pool: open connection: attempt %d: wrong password", i+1); got != want {
				t.Errorf("caller %d got %q, want %q", i+1, got, want)
			}
			if i > 0 {
				asked[0].pending(t, "the oldest, whose own attempt goes on")
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
		x := exchange{open: func(_ context.Context, attempt int) error {
			time.Sleep(openTime)
			if attempt == 1 {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 1})
		first, second := ask(t.Context(), p), ask(t.Context(), p)
		time.Sleep(openTime)
		first.failed(t, "when its attempt fails", errDial)
		second.pending(t, "when the first attempt has failed")
		if got := x.tried(); got != 2 {
			t.Fatalf("Open was called %d times, want a second time for the second caller", got)
		}
		time.Sleep(openTime)
		giveBack(t, p, second.served(t, "when the second attempt is done"))
	})
}

// The asker of a failed attempt was served by a returned connection meanwhile: its
// error is nobody's, and whoever waits then has an attempt of its own.
func TestAnErrorOfOpenWhoseAskerIsServedIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(_ context.Context, attempt int) error {
			switch attempt {
			case 1:
				return nil
			case 2:
				time.Sleep(openTime)
				return errDial
			}
			time.Sleep(openTime)
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2})
		l := borrow(t, p)
		asker := ask(t.Context(), p)
		giveBack(t, p, l)
		l = asker.served(t, "after the Put")
		other := ask(t.Context(), p)
		time.Sleep(openTime)
		other.pending(t, "when the attempt of another has failed")
		time.Sleep(openTime)
		giveBack(t, p, other.served(t, "when its own is done"))
		giveBack(t, p, l)
	})
}

// An attempt for nobody in particular, after a Discard, tells the oldest.
func TestAnErrorOfOpenForNobodyInParticularGoesToTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(_ context.Context, attempt int) error {
			time.Sleep(openTime)
			if attempt == 2 {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 1})
		l := borrow(t, p)
		first, second := ask(t.Context(), p), ask(t.Context(), p)
		_ = p.Discard(l, errCause)
		time.Sleep(openTime)
		first.failed(t, "when the attempt fails", errDial)
		second.pending(t, "when the attempt fails")
		time.Sleep(openTime)
		giveBack(t, p, second.served(t, "when the next is done"))
	})
}

// redis#3619, #3623, #3625: a slot is freed twice on some interleaving of cancel,
// deliver and fail. WAITING.md, section 12.7.
func TestWithFailingOpensEachOfAHundredWaitersHasOneAnswer(t *testing.T) {
	for _, most := range []int{1, 7, 100} {
		bubble(t, fmt.Sprint("MaxConnections=", most), func(t *testing.T) {
			x := exchange{open: func(context.Context, int) error { time.Sleep(time.Millisecond); return errDial }}
			p := start(t, x.factory(), Config{MaxConnections: most, MaxWaitTime: -1})
			var asked []*request[*wire]
			for range 100 {
				asked = append(asked, ask(t.Context(), p))
			}
			time.Sleep(openTime)
			for _, r := range asked {
				r.failed(t, "after all attempts", errDial)
			}
			if got := x.tried(); got > 200+most {
				t.Errorf("Open was called %d times for 100 callers", got)
			}
			if got := p.Stats(); got.VacantConnections() != most || got.WaitingRequests != 0 {
				t.Errorf("at the end %+v", got)
			}
			x.open = nil
			whole(t, p, most)
		})
	}
}

func TestNothingIsOpenedThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { time.Sleep(openTime); return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 100, MaxWaitTime: -1})
		// Fifty callers who have left, one after the other.
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := p.Get(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Get returned %v", err)
			}
		}
		time.Sleep(time.Minute)
		if got := x.tried(); got != 1 {
			t.Errorf("Open was called %d times for callers of whom one waited at a time, want once", got)
		}
		// One discard after the other, with nobody waiting.
		for range 5 {
			_ = p.Discard(borrow(t, p), errCause)
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
		x := exchange{open: func(context.Context, int) error { time.Sleep(openTime); return errDial }}
		p := start(t, x.factory(), Config{MaxConnections: 3})
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
		time.Sleep(time.Hour)
		if got := x.tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
	})
}

// A packet is lost, and the caller who asked for that connection has given up: those
// who come later need not wait for as long as OpenTimeout.
func TestAnOverdueOpenThatNobodyWaitsForIsNotReliedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(_ context.Context, attempt int) error {
			if attempt <= 2 {
				<-hang
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 5, OpenTimeout: -1, MaxWaitTime: -1, MaxIdleTime: -1})
		ctx, cancel := context.WithTimeout(t.Context(), overdueAfter/2)
		defer cancel()
		first := ask(ctx, p)
		time.Sleep(overdueAfter / 2)
		first.failed(t, "at its deadline", context.DeadlineExceeded)
		second := ask(t.Context(), p)
		second.pending(t, "before the attempt is overdue")
		if got := x.tried(); got != 1 {
			t.Errorf("Open was called %d times before the first attempt was overdue, want once", got)
		}
		time.Sleep(overdueAfter / 2) // the second attempt hangs, too, and is nobody's
		second.pending(t, "when the second attempt hangs")
		time.Sleep(overdueAfter)
		giveBack(t, p, second.served(t, "by the third"))
		release()
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 3 || x.tried() != 3 {
			t.Errorf("when all have returned %+v, after %d attempts", got, x.tried())
		}
		if got := p.overdue.Load(); got != 0 {
			t.Errorf("%d attempts are overdue at rest", got)
		}
		whole(t, p, 5)
		time.Sleep(time.Hour)
		if got := x.tried(); got != 5 {
			t.Errorf("Open was called %d times, want 5", got)
		}
	})
}

// bb8#147, redis#2996: a wrong password shows as a timeout.
func TestAWrongPasswordShowsInTheErrorOfATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return errDial
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: time.Second})
		ask(t.Context(), p).failed(t, "the first attempt", errDial)

		_, err := p.Get(t.Context())
		var exhausted *ExhaustedError
		if !errors.Is(err, ErrExhausted) || !errors.Is(err, errDial) || !errors.As(err, &exhausted) || !errors.Is(exhausted.Open, errDial) {
			t.Errorf("after MaxWaitTime Get returned %v, want ErrExhausted with %v in it", err, errDial)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDial) {
			t.Errorf("after the deadline of its ctx Get returned %v, want %v in it", err, errDial)
		}
	})
}

func TestAnErrorOfOpenIsForgottenOnceOpenSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 1})
		ask(t.Context(), p).failed(t, "the first attempt", errDial)
		l := borrow(t, p)
		_, err := p.Get(t.Context())
		if !errors.Is(err, ErrExhausted) || errors.Is(err, errDial) {
			t.Errorf("Get returned %v, want ErrExhausted without the error of long ago", err)
		}
		giveBack(t, p, l)
	})
}
