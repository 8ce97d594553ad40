package pool

import (
	"errors"
	"fmt"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

var (
	// ErrExhausted is returned by [Pool.Get] when [Config.MaxWaitTime] has run
	// out. The error is an [*ExhaustedError], which tells more.
	ErrExhausted = core.ErrExhausted

	// ErrRejected is returned by [Pool.Get] at once when [Config.MaxWaiters]
	// callers wait already.
	ErrRejected = core.ErrRejected

	// ErrUnavailable is returned by [Pool.Get] and [Pool.Warm] when opening has failed
	// four times in a row and no connection is open: the pool is not full, the server
	// is down. Those who wait for an attempt are told when that fails, all others at
	// once, until it is time for the next one, half a second later at the most. The
	// error wraps also that of the last attempt.
	ErrUnavailable = core.ErrUnavailable

	// ErrClosed is returned by [Pool.Get] after [Pool.Shutdown] or [Pool.Close]
	// was called, also to those who wait at that time. It is the cause that
	// Factory.Close is given for a connection that was leased when the pool was
	// closed.
	ErrClosed = core.ErrClosed

	// ErrNotLeased is returned by [Pool.Put], [Pool.Discard] and [Pool.Detach]
	// for a lease that is not in force: one that was ended before, the zero
	// Lease, or one of another pool. Nothing has changed then.
	ErrNotLeased = core.ErrNotLeased
)

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

// exhausted makes the error of a wait that has lasted for MaxWaitTime.
func (c Config) exhausted(waited time.Duration, s core.Stats) error {
	return &ExhaustedError{Pool: c.Name, Waited: waited, Stats: statsOf(s), Open: s.LastOpenError}
}

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
