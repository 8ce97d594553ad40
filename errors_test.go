package pool

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
)

func TestSentinelsAreDistinctAndSayWhoseTheyAre(t *testing.T) {
	sentinels := []error{ErrExhausted, ErrRejected, ErrClosed, ErrNotLeased}
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
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxWaitTime: 1500 * time.Millisecond})
		leases := []Lease[*wire]{borrow(t, p), borrow(t, p)}
		first := ask(t.Context(), p)
		time.Sleep(time.Second)
		second := ask(t.Context(), p)
		time.Sleep(time.Second / 2)
		first.failed(t, "after MaxWaitTime", ErrExhausted)
		want := "pool: connection pool exhausted: waited 1.5s, 2 active of 2, 0 opening, 2 waiting (the first for 1.5s)"
		if got := first.err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		var exhausted *ExhaustedError
		if !errors.As(fmt.Errorf("request: %w", first.err), &exhausted) {
			t.Fatalf("errors.As finds no *ExhaustedError in %v", first.err)
		}
		if exhausted.Waited != 1500*time.Millisecond || exhausted.Open != nil {
			t.Errorf("Waited %v, Open %v", exhausted.Waited, exhausted.Open)
		}
		if s := exhausted.Stats; s.ActiveConnections != 2 || s.MaxConnections != 2 || s.WaitingRequests != 2 || s.OldestWait != 1500*time.Millisecond {
			t.Errorf("Stats %+v", s)
		}
		for _, l := range leases {
			giveBack(t, p, l)
		}
		giveBack(t, p, second.served(t, "in time"))
	})
}

func TestExhaustedErrorIsOneLineWithTheCause(t *testing.T) {
	err := &ExhaustedError{
		Waited: 5*time.Second + 123456*time.Nanosecond,
		Stats:  Stats{MaxConnections: 10, ActiveConnections: 7, OpeningConnections: 3, WaitingRequests: 40},
		Open:   &openError{"", errDial},
	}
	want := "pool: connection pool exhausted: waited 5s, 7 active of 10, 3 opening, 40 waiting; " +
		"last error on opening: pool: open connection: wrong password"
	if got := err.Error(); got != want {
		t.Errorf("the error says\n%s, want\n%s", got, want)
	}
	for _, target := range []error{ErrExhausted, errDial} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is does not find %v", target)
		}
	}
	if errors.Is(err, ErrRejected) || errors.Is(&ExhaustedError{}, errDial) {
		t.Error("errors.Is finds what is not there")
	}
}

// A factory's error is wrapped, never replaced.
func TestTheErrorOfOpenIsFoundInThatOfGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := &net.OpError{Op: "dial", Net: "tcp", Err: io.ErrUnexpectedEOF}
		x := exchange{open: func(context.Context, int) error { return cause }}
		p := start(t, x.factory(), Config{})
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

func TestTheErrorOfACtxSaysWhatEndedIt(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	caused, cancelCause := context.WithCancelCause(t.Context())
	cancelCause(errCause)
	deadline, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	tests := []struct {
		ctx  context.Context
		open error
		is   []error
		text string
	}{
		{canceled, nil, []error{context.Canceled}, "pool: context canceled"},
		{caused, nil, []error{context.Canceled, errCause}, "pool: context canceled: my cause"},
		{deadline, nil, []error{context.DeadlineExceeded}, "pool: context deadline exceeded"},
		{deadline, errDial, []error{context.DeadlineExceeded, errDial},
			"pool: context deadline exceeded; last error on opening: wrong password"},
		{caused, errDial, []error{context.Canceled, errCause, errDial},
			"pool: context canceled: my cause; last error on opening: wrong password"},
	}
	for _, tt := range tests {
		err := contextEnded(tt.ctx, tt.open)
		if got := err.Error(); got != tt.text {
			t.Errorf("the error says %q, want %q", got, tt.text)
		}
		for _, target := range []error{context.Canceled, context.DeadlineExceeded, errCause, errDial} {
			want := false
			for _, is := range tt.is {
				want = want || is == target
			}
			if got := errors.Is(err, target); got != want {
				t.Errorf("errors.Is(%q, %v) is %v, want %v", err, target, got, want)
			}
		}
	}
}

// In a storm of timeouts errors would be most of what is allocated.
func TestTheErrorOfACtxWithoutACauseIsNotAllocated(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := testing.AllocsPerRun(100, func() {
		if contextEnded(ctx, nil) == nil {
			t.Error("no error")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func TestBrokenMarksAnErrorAndHidesNothingOfIt(t *testing.T) {
	if got := Broken(nil); got != nil {
		t.Errorf("Broken(nil) is %v", got)
	}
	cause := &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}
	err := Broken(cause)
	var found *net.OpError
	if err.Error() != cause.Error() || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &found) || found != cause {
		t.Errorf("Broken(%v) is %v, in which its cause is not found", cause, err)
	}
	for _, tt := range []struct {
		err  error
		want bool
	}{{err, true}, {fmt.Errorf("query: %w", err), true}, {errors.Join(errCause, err), true}, {cause, false}, {nil, false}} {
		if got := isBroken(tt.err); got != tt.want {
			t.Errorf("isBroken(%v) is %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestAPanicSaysWhereItHappenedAndHoldsItsValue(t *testing.T) {
	err := guard("Factory.Check", func() error { panic(errCause) })
	if got, want := err.Error(), "Factory.Check panicked: my cause"; got != want {
		t.Errorf("the error says %q, want %q", got, want)
	}
	if !errors.Is(err, errCause) {
		t.Errorf("errors.Is does not find %v in %v", errCause, err)
	}
	if got := stackOf(err).Value.String(); !strings.Contains(got, "TestAPanicSaysWhereItHappenedAndHoldsItsValue") {
		t.Errorf("the stack for the log does not lead to the panic:\n%s", got)
	}
	if err := guard("Factory.Check", func() error { panic("text") }); errors.Unwrap(err) != nil {
		t.Errorf("a panic with a text wraps %v", errors.Unwrap(err))
	}
	if err := guard("Factory.Check", func() error { return errUnfit }); err != errUnfit {
		t.Errorf("without a panic %v, want the error as it is", err)
	}
}

// A caller who has not waited has nothing to do with what others had opened.
func TestACtxThatHadEndedBeforeSaysNothingOfOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { return errDial }}
		p := start(t, x.factory(), Config{})
		ask(t.Context(), p).failed(t, "the open fails", errDial)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, errDial) {
			t.Errorf("Get returned %v, want %v and nothing else in it", err, context.Canceled)
		}
	})
}
