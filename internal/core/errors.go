package core

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The errors that the root package documents under the same names.
var (
	ErrExhausted   = errors.New("pool: connection pool exhausted")
	ErrRejected    = errors.New("pool: rejected: MaxWaiters callers wait already, or, in a Group, MaxPools pools are in use")
	ErrUnavailable = errors.New("pool: opening connections keeps failing")
	ErrClosed      = errors.New("pool: closed")
	ErrNotLeased   = errors.New("pool: connection is not leased")
	ErrBubble      = errors.New("pool: made in another testing/synctest bubble, or one of the two is in none")
	ErrRevoked     = errors.New("pool: lease revoked")
	ErrGone        = errors.New("pool: the connection is gone")
	ErrFull        = errors.New("pool: MaxConnections are open")
)

// ErrFuncPanicked is the cause of a Discard after a panic in a function given to Do.
var ErrFuncPanicked = errors.New("pool: function given to Do panicked")

// ErrNilConn is what the shell's Open returns for a nil connection.
var ErrNilConn = errors.New("Factory.Open returned neither a connection nor an error")

// Causes that the pool itself passes to Factory.Close, and errors that stand for one that
// a function could not return.
var (
	errDiscarded = errors.New("pool: discarded")
	errBroken    = errors.New("pool: reported broken")
	errNoRoom    = errors.New("pool: opened when there was no room any more")
	errGivenUp   = errors.New("pool: given up for another attempt to open")
	errGoexit    = errors.New("factory function called runtime.Goexit")

	errOpenAbandoned = errors.New("Factory.Open or Watch did not return in time")
)

// errEnded tells a waiter that its ctx has ended. The waiter makes a contextError of it.
var errEnded = errors.New("pool: internal error: ctx has ended")

// errInForce is what GetSame returns to the holder of the very lease that it asks to follow: it
// would wait for itself.
var errInForce = errors.New("pool: the lease of the Mark is still in force")

// A goneError says why a connection is gone. It wraps ErrGone and the cause.
type goneError struct {
	number uint64 // of the connection
	reason string
	cause  error
}

func (e *goneError) Error() string {
	s := ErrGone.Error() + ": " + e.reason
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *goneError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrGone}
	}
	return []error{ErrGone, e.cause}
}

// An expiry tells waiters that MaxWaitTime has run out, and the state of the pool then.
// Each waiter makes an ExhaustedError of it. All that expire together share one: it would
// take too long to look at every slot for each of them.
type expiry struct{ stats Stats }

func (*expiry) Error() string { return "pool: internal error: MaxWaitTime has run out" }

// unlessRevoked is for Put and Discard, with an error of notLeased. To end a lease that Close
// or Revoke has ended is no mistake of the caller: the connection is closed, as it should be.
func unlessRevoked(err error) error {
	if err == ErrNotLeased {
		return err
	}
	return nil
}

// Named puts the name of the pool, if it has one, into a text that begins with "pool: ".
func Named(pool, text string) string {
	if pool == "" {
		return text
	}
	return "pool " + strconv.Quote(pool) + text[len("pool"):]
}

// A hangError stands for an error that Open has not returned yet.
type hangError struct{ after time.Duration }

func (e *hangError) Error() string {
	return fmt.Sprintf("no answer after %v", e.after.Round(time.Millisecond))
}

// UnderWay says how many attempts are under way, and since when, for the text of an error.
func UnderWay(n int, longest time.Duration) string {
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("; an attempt is under way for %v", longest.Round(time.Millisecond))
	}
	return fmt.Sprintf("; %d attempts are under way, the first for %v", n, longest.Round(time.Millisecond))
}

// A contextError is what Get and Shutdown return when their ctx has ended. It wraps
// ctx.Err, the cause of the cancellation, and the last error on opening if there was one
// while the caller waited: a wrong password must not look like a mere timeout.
type contextError struct {
	err, cause, open error
	opening          int           // attempts under way, if nothing was open
	openingFor       time.Duration // how long the first of them has been under way
}

// The two that say no more than ctx.Err are made once: in a storm of timeouts they would
// be most of the garbage.
var (
	errCanceled         = &contextError{err: context.Canceled}
	errDeadlineExceeded = &contextError{err: context.DeadlineExceeded}
)

// contextEnded returns the error for a ctx that has ended. open is the last error on
// opening if the caller has waited for a connection, and else nil. (The last error
// concerns every waiter, because connections are being opened for them. If MaxConnections
// are open, none is; but then the last open has succeeded, and open is nil.)
func contextEnded(ctx context.Context, open error) *contextError {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		cause = nil
	}
	if open == nil && cause == nil {
		switch err {
		case context.Canceled:
			return errCanceled
		case context.DeadlineExceeded:
			return errDeadlineExceeded
		}
	}
	return &contextError{err: err, cause: cause, open: open}
}

func (e *contextError) Error() string { return "pool: " + e.text() }

func (e *contextError) text() string {
	s := e.err.Error()
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	if e.open != nil {
		s += fmt.Sprintf("; last error on opening: %v", e.open)
	}
	return s + UnderWay(e.opening, e.openingFor)
}

func (e *contextError) Unwrap() []error {
	errs := []error{e.err}
	for _, err := range []error{e.cause, e.open} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// A shutdownError is what Shutdown returns if ctx has ended before all connections were
// closed.
type shutdownError struct {
	leased, unclosed, opening int
	ctx                       *contextError
}

func (e *shutdownError) Error() string {
	s := fmt.Sprintf("pool: shutdown: %s with connections not closed: %d, of them leased: %d", e.ctx.text(), e.unclosed, e.leased)
	if e.opening > 0 {
		s += fmt.Sprintf("; being opened: %d", e.opening)
	}
	return s
}

func (e *shutdownError) Unwrap() error { return e.ctx }
