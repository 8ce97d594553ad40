package core

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

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
