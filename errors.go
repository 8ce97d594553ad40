package pool

import (
	"errors"
	"fmt"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

var (
	// ErrExhausted is returned by [Pool.Get] when it has waited for
	// [Config.MaxWaitTime]. The error is an [*ExhaustedError], which tells more.
	ErrExhausted = core.ErrExhausted

	// ErrRejected is returned by [Pool.Get] at once when [Config.MaxWaiters] callers
	// already wait.
	ErrRejected = core.ErrRejected

	// ErrUnavailable is returned by [Pool.Get] and [Pool.Warm] when opening has failed
	// four times in a row and no connection is open: the server is down, the pool is not
	// full. Callers that wait for an attempt get its error. Other callers fail at once,
	// until the backoff ends, after half a second at most. The error also wraps that of
	// the last attempt.
	ErrUnavailable = core.ErrUnavailable

	// ErrClosed is returned by [Pool.Get] after [Pool.Shutdown] or [Pool.Close] was
	// called, also to callers who wait at that time. It is the cause that Factory.Close
	// is given for a connection that was leased when the pool was closed.
	ErrClosed = core.ErrClosed

	// ErrNotLeased is returned by [Pool.Put], [Pool.Discard] and [Pool.Detach] for a
	// lease that is not in force: it has ended, is the zero Lease, or belongs to another
	// pool. The call has changed nothing.
	ErrNotLeased = core.ErrNotLeased
)

// An ExhaustedError says why [Pool.Get] gave up after [Config.MaxWaitTime].
// errors.Is finds [ErrExhausted] and, if there is one, Open in it.
type ExhaustedError struct {
	// Pool is Config.Name.
	Pool string
	// Waited is how long the caller has waited.
	Waited time.Duration
	// Stats is a snapshot of the pool at the end of the wait.
	Stats Stats
	// Open is the error of the last call of Factory.Open that has ended, or nil if that
	// call succeeded. If Open is set, or Stats.OpeningConnections is not zero, callers
	// are not what exhausts the pool.
	Open error
}

func (e *ExhaustedError) Error() string {
	s := fmt.Sprintf("%v: waited %v, %d active of %d, %d opening, %d waiting",
		core.Named(e.Pool, ErrExhausted.Error()), e.Waited.Round(time.Millisecond),
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

// An OpenError says that [Factory.Open] has failed, or what it returned was of no use.
// errors.As finds it in every error of [Pool.Get] and [Pool.Warm] that has this cause, and
// tells it so from an error of the function that uses the connection. errors.Is and
// errors.As find Err in it.
type OpenError struct {
	// Pool is Config.Name.
	Pool string
	// Err is what Open returned. If it is [context.DeadlineExceeded], [Config.OpenTimeout]
	// has ended the attempt, and not the ctx of the caller.
	Err error
}

func (e *OpenError) Error() string {
	return core.Named(e.Pool, "pool: open connection: "+e.Err.Error())
}

// Unwrap returns Err.
func (e *OpenError) Unwrap() error { return e.Err }

// openFailed makes the error of an attempt to open that has failed.
func (c Config) openFailed(err error) error { return &OpenError{Pool: c.Name, Err: err} }

// exhausted makes the error of a wait that has lasted for MaxWaitTime.
func (c Config) exhausted(waited time.Duration, s core.Stats) error {
	return &ExhaustedError{Pool: c.Name, Waited: waited, Stats: statsOf(s), Open: s.LastOpenError}
}

// Broken marks err to say that the connection it came from must not be used again. A
// function given to [Pool.Do] returns it to have the connection closed. errors.Is and
// errors.As see through the mark. Broken(nil) is nil.
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
