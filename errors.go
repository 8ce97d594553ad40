package pool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

var (
	// ErrExhausted is returned by [Pool.Get] when [Config.MaxWaitTime] has run
	// out. The error is an [*ExhaustedError], which tells more.
	ErrExhausted = errors.New("pool: connection pool exhausted")

	// ErrRejected is returned by [Pool.Get] at once when [Config.MaxWaiters]
	// callers wait already.
	ErrRejected = errors.New("pool: too many callers wait for a connection")

	// ErrUnavailable is returned by [Pool.Get] and [Pool.Warm] when opening has failed
	// four times in a row and no connection is open: the pool is not full, the server
	// is down. Those who wait for an attempt are told when that fails, all others at
	// once, until it is time for the next one, half a second later at the most. The
	// error wraps also that of the last attempt.
	ErrUnavailable = errors.New("pool: opening connections keeps failing")

	// ErrClosed is returned by [Pool.Get] after [Pool.Shutdown] or [Pool.Close]
	// was called, also to those who wait at that time. It is the cause that
	// Factory.Close is given for a connection that was leased when the pool was
	// closed.
	ErrClosed = errors.New("pool: closed")

	// ErrNotLeased is returned by [Pool.Put], [Pool.Discard] and [Pool.Detach]
	// for a lease that is not in force: one that was ended before, the zero
	// Lease, or one of another pool. Nothing has changed then.
	ErrNotLeased = errors.New("pool: connection is not leased")
)

// Causes that the pool itself gives to Factory.Close, and what stands for an error
// that a function could not return.
var (
	errDiscarded    = errors.New("pool: discarded")
	errBroken       = errors.New("pool: reported broken")
	errFuncPanicked = errors.New("pool: function given to Do panicked")
	errGoexit       = errors.New("factory function called runtime.Goexit")
	errNilConn      = errors.New("Factory.Open returned neither a connection nor an error")

	errOpenAbandoned = errors.New("Factory.Open or Watch did not return in time")
)

// errEnded tells a waiter that its ctx has ended. It makes a contextError of it.
var errEnded = errors.New("pool: internal error: ctx has ended")

// An expiry tells waiters that MaxWaitTime has run out, and how the pool stood. They
// make an ExhaustedError of it. One is made for all who expire together: each looking
// at every slot would take too long.
type expiry struct{ stats Stats }

func (*expiry) Error() string { return "pool: internal error: MaxWaitTime has run out" }

// errRevoked tells of a lease that was in force until Close closed its connection.
var errRevoked = errors.New("pool: internal error: lease revoked")

// unlessRevoked is for Put and Discard: to end a lease that Close has ended is not
// the caller's mistake. The connection is closed, as it should be.
func unlessRevoked(err error) error {
	if err == errRevoked {
		return nil
	}
	return err
}

// An ExhaustedError says why [Pool.Get] gave up after [Config.MaxWaitTime].
// errors.Is finds [ErrExhausted] and, if there is one, Open in it.
type ExhaustedError struct {
	// Pool is Config.Name.
	Pool string
	// Waited is how long the caller has waited.
	Waited time.Duration
	// Stats is how the pool stood when the wait ended.
	Stats Stats
	// Open is the error of the last call of Factory.Open that has ended, or nil
	// if that one succeeded. With it set, or with Stats.OpeningConnections not
	// zero, it is not the callers who exhaust the pool.
	Open error
}

func (e *ExhaustedError) Error() string {
	s := fmt.Sprintf("%v: waited %v, %d active of %d, %d opening, %d waiting",
		named(e.Pool, ErrExhausted.Error()), e.Waited.Round(time.Millisecond),
		e.Stats.ActiveConnections, e.Stats.MaxConnections, e.Stats.OpeningConnections, e.Stats.WaitingRequests)
	if e.Stats.OldestWait > 0 {
		s += fmt.Sprintf(" (the first for %v)", e.Stats.OldestWait.Round(time.Millisecond))
	}
	if e.Open != nil {
		s += fmt.Sprintf("; last error on opening: %v", e.Open)
	}
	return s
}

// Unwrap gives errors.Is and errors.As both errors.
func (e *ExhaustedError) Unwrap() []error {
	if e.Open == nil {
		return []error{ErrExhausted}
	}
	return []error{ErrExhausted, e.Open}
}

// named puts the name of the pool, if it has one, into a text that begins with "pool: ".
func named(pool, text string) string {
	if pool == "" {
		return text
	}
	return "pool " + strconv.Quote(pool) + text[len("pool"):]
}

// An openError wraps what Factory.Open returned, so that a caller of Get can
// tell where it comes from, and its own error is still found in it.
type openError struct {
	pool string
	err  error
}

func (e *openError) Error() string { return named(e.pool, "pool: open connection: "+e.err.Error()) }
func (e *openError) Unwrap() error { return e.err }

// An unavailableError is what Get returns when it would wait for nothing.
type unavailableError struct {
	pool string
	open error // an openError
}

func (e *unavailableError) Error() string {
	return named(e.pool, fmt.Sprintf("%v: %v", ErrUnavailable, errors.Unwrap(e.open)))
}

func (e *unavailableError) Unwrap() []error { return []error{ErrUnavailable, e.open} }

// A contextError is what Get and Shutdown return when their ctx has ended. It wraps
// ctx.Err, the cause of the cancellation, and the last error on opening, if there was
// one while the caller waited: a wrong password must not show as a mere timeout.
type contextError struct {
	err, cause, open error
}

// The two that say nothing more than ctx.Err are made once: in a storm of
// timeouts they would be most of what is allocated.
var (
	errCanceled         = &contextError{err: context.Canceled}
	errDeadlineExceeded = &contextError{err: context.DeadlineExceeded}
)

// contextEnded returns the error for a ctx that has ended, with open, the last error
// on opening if the caller has waited for that, or nil. (Whoever waits has a connection
// opened, unless MaxConnections are open; then the last one to be opened has succeeded.)
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
	return &contextError{err, cause, open}
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
	return s
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

// A shutdownError is what Shutdown returns when it had to give up waiting.
type shutdownError struct {
	leased, unclosed int
	ctx              *contextError
}

func (e *shutdownError) Error() string {
	return fmt.Sprintf("pool: shutdown: %s with connections not closed: %d, of them leased: %d", e.ctx.text(), e.unclosed, e.leased)
}

func (e *shutdownError) Unwrap() error { return e.ctx }

// Broken marks err to say that the connection it came from must not be used
// again. A function given to [Pool.Do] returns it to have the connection closed;
// errors.Is and errors.As see through the mark. Broken(nil) is nil.
func Broken(err error) error {
	if err == nil {
		return nil
	}
	return &brokenError{err}
}

type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func isBroken(err error) bool {
	var b *brokenError
	return errors.As(err, &b)
}
