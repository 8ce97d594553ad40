package insight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestSentinelsAreDistinctAndSayWhoseTheyAre(t *testing.T) {
	sentinels := []error{pool.ErrExhausted, pool.ErrRejected, pool.ErrClosed, pool.ErrNotLeased}
	for i, err := range sentinels {
		if !strings.HasPrefix(err.Error(), "pool: ") {
			t.Errorf("%q does not begin with %q", err, "pool: ")
		}
		for j, other := range sentinels {
			if errors.Is(err, other) != (i == j) {
				t.Errorf("errors.Is(%v, %v) is %v", err, other, i != j)
			}
		}
	}
}

// bb8#147, redis#2996: a timeout says how full the pool was.
func TestExhaustedErrorTellsHowThePoolStood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: 1500 * time.Millisecond})
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		first := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second)
		second := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second / 2)
		first.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		want := "pool: connection pool exhausted: waited 1.5s, 2 active of 2, 0 opening, 2 waiting (the first for 1.5s)"
		if got := first.Err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		var exhausted *pool.ExhaustedError
		if !errors.As(fmt.Errorf("request: %w", first.Err), &exhausted) {
			t.Fatalf("errors.As finds no *ExhaustedError in %v", first.Err)
		}
		if exhausted.Waited != 1500*time.Millisecond || exhausted.Open != nil {
			t.Errorf("Waited %v, Open %v", exhausted.Waited, exhausted.Open)
		}
		if s := exhausted.Stats; s.ActiveConnections != 2 || s.MaxConnections != 2 || s.WaitingRequests != 2 || s.OldestWait != 1500*time.Millisecond {
			t.Errorf("Stats %+v", s)
		}
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
		testkit.GiveBack(t, p, second.Served(t, "in time"))
	})
}

// A factory's error is wrapped, never replaced.
func TestTheErrorOfOpenIsFoundInThatOfGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := &net.OpError{Op: "dial", Net: "tcp", Err: io.ErrUnexpectedEOF}
		x := testkit.Exchange{Open: func(context.Context, int) error { return cause }}
		p := testkit.Start(t, x.Factory(), pool.Config{})
		_, err := p.Get(t.Context())
		var found *net.OpError
		if !errors.As(err, &found) || found != cause || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Get returned %v, in which its cause is not found", err)
		}
		if got, want := err.Error(), "pool: open connection: dial tcp: unexpected EOF"; got != want {
			t.Errorf("Get returned %q, want %q", got, want)
		}
		if got := p.Do(t.Context(), nil); !errors.Is(got, cause) {
			t.Errorf("Do returned %v, want %v in it", got, cause)
		}
	})
}

func TestMarksHideNothingOfAnError(t *testing.T) {
	cause := &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}
	for name, mark := range map[string]func(error) error{"Broken": pool.Broken, "Keep": pool.Keep} {
		if got := mark(nil); got != nil {
			t.Errorf("%s(nil) is %v", name, got)
		}
		err := mark(cause)
		var found *net.OpError
		if err.Error() != cause.Error() || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &found) || found != cause {
			t.Errorf("%s(%v) is %v, in which its cause is not found", name, cause, err)
		}
	}
}

// A forgotten Broken lent the late reply to the next caller. So an error closes the
// connection, unless its outermost mark says otherwise.
func TestAnErrorClosesTheConnectionUnlessItsOutermostMarkIsKeep(t *testing.T) {
	e := io.ErrUnexpectedEOF
	wrapped := fmt.Errorf("query: %w", pool.Keep(e))
	for _, tt := range []struct {
		name string
		err  error // of the function
		kept bool
		want error // of Do; nil: whatever has the text of err, and e in it
	}{
		{"no error", nil, true, nil},
		{"an error", e, false, e},
		{"Keep", pool.Keep(e), true, e},
		{"Broken", pool.Broken(e), false, e},
		{"Keep in Keep", pool.Keep(pool.Keep(e)), true, e},
		{"Broken around Keep", pool.Broken(pool.Keep(e)), false, e},
		{"Keep around Broken", pool.Keep(pool.Broken(e)), true, e},
		{"Keep, wrapped", wrapped, true, nil},
		{"Broken, wrapped", fmt.Errorf("query: %w", pool.Broken(e)), false, nil},
		{"Broken around Keep, wrapped", pool.Broken(wrapped), false, nil},
		{"Keep beside an error", errors.Join(testkit.ErrCause, pool.Keep(e)), false, nil},
		{"an error beside Keep", errors.Join(pool.Keep(e), testkit.ErrCause), false, nil},
		{"Keep beside Keep", errors.Join(pool.Keep(testkit.ErrCause), pool.Keep(e)), true, nil},
		{"Keep beside Broken", errors.Join(pool.Keep(e), pool.Broken(testkit.ErrCause)), false, nil},
	} {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{})
		do := func(f func() error) error {
			return p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return f() })
		}
		got := do(func() error { return tt.err })
		if tt.want != nil && got != tt.want || tt.err != nil && (got == nil || got.Error() != tt.err.Error() || !errors.Is(got, e)) {
			t.Errorf("%s: Do returned %v, want that error without its mark", tt.name, got)
		}
		if kept := p.Stats().ClosedDiscard == 0; kept != tt.kept {
			t.Errorf("%s: the connection was kept: %v, want %v", tt.name, kept, tt.kept)
		}
		if got == nil {
			continue
		}
		// The mark of an inner Do is not the outer one's.
		before := p.Stats().ClosedDiscard
		_ = do(func() error { return got })
		if p.Stats().ClosedDiscard != before+1 {
			t.Errorf("%s: an outer Do obeys the mark again", tt.name)
		}
		if again := do(func() error { return pool.Keep(got) }); again == nil || p.Stats().ClosedDiscard != before+1 || !errors.Is(again, e) {
			t.Errorf("%s: an outer Do does not obey its own mark", tt.name)
		}
	}
}

// A caller who has not waited has nothing to do with what others had opened.
func TestACtxThatHadEndedBeforeSaysNothingOfOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), pool.Config{})
		testkit.Ask(t.Context(), p).Failed(t, "the open fails", testkit.ErrDial)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, testkit.ErrDial) {
			t.Errorf("Get returned %v, want %v and nothing else in it", err, context.Canceled)
		}
	})
}

// "4 active of 4" makes operators raise MaxConnections while leases are forgotten.
func TestExhaustedErrorSaysHowManyLeaksThereWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: time.Second, LeakAfter: time.Second})
		forgotten := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		testkit.Sleep(10 * time.Second)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second)
		r.Failed(t, "while two are forgotten", pool.ErrExhausted)
		want := "pool: connection pool exhausted: waited 1s, 2 active of 2 (leaks reported so far: 2), 0 opening, 1 waiting (the first for 1s)"
		if got := r.Err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		for _, l := range forgotten {
			testkit.GiveBack(t, p, l)
		}
	})
}

// Who reads it must know which limit to look at, and that there are two.
func TestErrRejectedNamesTheLimits(t *testing.T) {
	for _, limit := range []string{"MaxWaiters", "MaxPools"} {
		if got := pool.ErrRejected.Error(); !strings.Contains(got, limit) {
			t.Errorf("the error says %q, and does not name %s", got, limit)
		}
	}
}

func TestExhaustedErrorIsOneLineWithTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		_, open := testkit.Start(t, x.Factory(), pool.Config{}).Get(t.Context())
		err := &pool.ExhaustedError{
			Waited: 5*time.Second + 123456*time.Nanosecond,
			Stats:  pool.Stats{MaxConnections: 10, ActiveConnections: 7, OpeningConnections: 3, WaitingRequests: 40},
			Open:   open,
		}
		want := "pool: connection pool exhausted: waited 5s, 7 active of 10, 3 opening, 40 waiting; " +
			"last error on opening: pool: open connection: wrong password"
		if got := err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		for _, target := range []error{pool.ErrExhausted, testkit.ErrDial} {
			if !errors.Is(err, target) {
				t.Errorf("errors.Is does not find %v", target)
			}
		}
		if errors.Is(err, pool.ErrRejected) || errors.Is(&pool.ExhaustedError{}, testkit.ErrDial) {
			t.Error("errors.Is finds what is not there")
		}
	})
}
