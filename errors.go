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
	// already wait. [Group.Get] returns it also for a key that has no pool, when there are
	// [GroupConfig.MaxPools] and all are in use.
	ErrRejected = core.ErrRejected

	// ErrUnavailable is returned by [Pool.Get] when no connection is open and none can be
	// opened: the server is down, the pool is not full. The error is an
	// [*UnavailableError], which tells more. Callers wait, as for anything else, until
	// the outage has lasted for [Config.FailFastAfter]. From then on they are told at
	// once, but for one caller at a time, which waits for the next attempt; so pause before
	// you try again. A wait that lasts for [Config.MaxWaitTime] ends with this error, too,
	// if nothing is open then.
	ErrUnavailable = core.ErrUnavailable

	// ErrClosed is returned by [Pool.Get] after [Pool.Shutdown] or [Pool.Close] was
	// called, also to callers who wait at that time. It is the cause that Factory.Close
	// is given for a connection that was leased when the pool was closed.
	ErrClosed = core.ErrClosed

	// ErrNotLeased is returned by [Pool.Put], [Pool.Discard] and [Pool.Detach] for a
	// lease that is not in force: it has ended, is the zero Lease, or belongs to another
	// pool. The call has changed nothing. [Pool.GetSame] returns it for a Mark of another pool.
	ErrNotLeased = core.ErrNotLeased

	// ErrGone is returned by [Pool.GetSame] if the connection of the Mark will not come back: it
	// has been closed, discarded, detached or revoked, or will be when its lease ends. The error
	// says why and wraps the cause, unless another connection has come and gone in the slot since. Start
	// over, with a connection of [Pool.Get].
	ErrGone = core.ErrGone

	// ErrBubble is returned by the methods of a pool that was made in another bubble of
	// testing/synctest than the one in which it is used, or where one of the two is in
	// none. Each bubble has its own channels and time, so a pool belongs to the one in which
	// it was made. The call has changed nothing. A Get that finds an idle connection, and a
	// Put while nobody waits, do not notice, and do no harm. A pool of another bubble is
	// told by the clock: it is not, if the bubble in which it is used has slept until
	// the time at which the pool was made. There the runtime may end the process.
	ErrBubble = core.ErrBubble

	// ErrFull is returned by [Pool.Add] if [Config.MaxConnections] are open or being opened.
	ErrFull = core.ErrFull

	// ErrRevoked is returned by [Pool.Detach], once, for a lease that [Pool.Revoke] has ended. It
	// is the cause that Factory.Close is given for its connection.
	ErrRevoked = core.ErrRevoked
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
	// Open is the error of the last attempt to open that has failed, or nil once opening
	// has succeeded again. If Open is set, or Stats.OpeningConnections is not zero, callers
	// are not what exhausts the pool. If Stats.AwaitingBudget is not zero, it is the [Budget]: other
	// pools have its connections.
	Open error
}

func (e *ExhaustedError) Error() string {
	s := fmt.Sprintf("%v: waited %v, %d active of %d", core.Named(e.Pool, ErrExhausted.Error()), e.Waited.Round(time.Millisecond),
		e.Stats.ActiveConnections, e.Stats.MaxConnections)
	if n := e.Stats.Leaked; n > 0 {
		s += fmt.Sprintf(" (leaks reported so far: %d)", n) // the log and Leases say where
	}
	s += fmt.Sprintf(", %d opening, %d waiting", e.Stats.OpeningConnections, e.Stats.WaitingRequests)
	if n := e.Stats.AwaitingBudget; n > 0 {
		s += fmt.Sprintf(", the budget has no right for %d more", n)
	}
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

// An UnavailableError says why [Pool.Get] returned no connection while none was open.
// errors.Is finds [ErrUnavailable] and, if there is one, Open in it.
type UnavailableError struct {
	// Pool is Config.Name.
	Pool string
	// Waited is how long the caller has waited if [Config.MaxWaitTime] has ended the wait, and
	// zero if the caller was told at once.
	Waited time.Duration
	// Opening is the number of attempts to open that are under way, and OpeningFor is how long
	// the first of them has been under way. One that takes long means a server that does not
	// answer.
	Opening    int
	OpeningFor time.Duration
	// RetryAt is when the server may be tried again, if it has asked for a pause (see
	// [RetryAfter]). Otherwise it is zero: an attempt begins within [Config.MaxBackoff].
	RetryAt time.Time
	// Open is the error of the last attempt that has failed, an [*OpenError], or nil if none
	// has yet.
	Open error
}

func (e *UnavailableError) Error() string {
	s := core.Named(e.Pool, ErrUnavailable.Error())
	if e.Open == nil {
		s = core.Named(e.Pool, "pool: no connection could be opened yet")
	}
	if e.Waited > 0 {
		s += fmt.Sprintf(": waited %v", e.Waited.Round(time.Millisecond))
	}
	if e.Open != nil {
		s += ": " + errors.Unwrap(e.Open).Error()
	}
	s += core.UnderWay(e.Opening, e.OpeningFor)
	if !e.RetryAt.IsZero() {
		s += "; the server has asked not to be tried before " + e.RetryAt.Format(time.RFC3339)
	}
	return s
}

// Unwrap gives errors.Is and errors.As both errors.
func (e *UnavailableError) Unwrap() []error {
	if e.Open == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, e.Open}
}

// An OpenError says that [Factory.Open] has failed, or what it returned was of no use, or that a
// [Budget] cannot be asked for the right to call it.
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

// unavailable makes the error of a Get that would wait, or has waited, for nothing.
func (c Config) unavailable(u core.Unavailability) error {
	return &UnavailableError{c.Name, u.Waited, u.Opening, u.OpeningFor, u.RetryAt, u.Open}
}

// RetryAfter marks err, an error of [Factory.Open], to say that the server has asked not to be
// tried again for d. No connection is opened until then, or until [Config.MaxRetryAfter] has
// passed; [Pool.Reset] ends the pause. The mark is obeyed from the first such error on, and
// of several the longest counts. It is obeyed, too, in an error by which a connection ends
// right after it was opened. errors.Is and errors.As see through the mark. RetryAfter(nil, d)
// is nil, and a d that is not positive says nothing.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &core.RetryAfter{Err: err, After: d}
}

// RetryAfterOf returns the pause that a mark of [RetryAfter] in err asks for, and whether
// there is one. It is for factories that choose between servers: the outermost mark counts,
// so RetryAfter(err, 0) takes back what the error of one server asks for.
func RetryAfterOf(err error) (time.Duration, bool) {
	if mark := (*core.RetryAfter)(nil); errors.As(err, &mark) && mark.After > 0 {
		return mark.After, true
	}
	return 0, false
}

// PeerClosed marks err to say that the peer has ended the connection it came from. The pool
// knows so of io.EOF, of a reset and of a broken pipe; this is for what a protocol says in
// its own words. A connection that ends so within a second of its opening, before a lease of
// it has ended clean, counts as one whose opening has failed. errors.Is and errors.As see
// through the mark. PeerClosed(nil) is nil.
func PeerClosed(err error) error {
	if err == nil {
		return nil
	}
	return &core.PeerClosed{Err: err}
}

// A retryError is what Retry returns if it gets no second connection.
type retryError struct{ get, first error }

func (e *retryError) Error() string { return e.get.Error() + "; the first try: " + e.first.Error() }

func (e *retryError) Unwrap() []error { return []error{e.get, e.first} }

// Keep marks err to say that the connection it came from is in order: nothing has been sent
// whose reply has not been read. A function given to [Pool.Do] returns it to have the
// connection lent again. errors.Is and errors.As see through the mark. Keep(nil) is nil.
//
// Of several marks in an error the outermost counts; of errors joined side by side, each must
// be marked with Keep. Do takes marks off the error that it returns, so the mark of an inner
// Do says nothing to an outer one.
func Keep(err error) error { return marked(err, true) }

// Broken marks err to say that the connection it came from must not be used again. Do closes
// the connection for any error that is not marked with [Keep]; a Broken around such an error
// takes the Keep back. errors.Is and errors.As see through the mark. Broken(nil) is nil.
func Broken(err error) error { return marked(err, false) }

func marked(err error, keep bool) error {
	if err == nil {
		return nil
	}
	return &mark{err, keep}
}

// A mark is Keep or Broken.
type mark struct {
	err  error
	keep bool
}

func (m *mark) Error() string { return m.err.Error() }
func (m *mark) Unwrap() error { return m.err }

// A settled error has marks inside it that have been obeyed already.
type settled struct{ err error }

func (s *settled) Error() string { return s.err.Error() }
func (s *settled) Unwrap() error { return s.err }

// unmarked returns err without its marks, and whether the connection is kept.
func unmarked(err error) (_ error, keep bool) {
	if err == nil {
		return nil, true
	}
	m := outermost(err)
	if m == nil {
		return err, false
	}
	for {
		top, ok := err.(*mark)
		if !ok {
			break
		}
		err = top.err
	}
	if outermost(err) != nil {
		err = &settled{err}
	}
	return err, m.keep
}

// outermost returns the mark of err that counts, or nil.
func outermost(err error) *mark {
	switch e := err.(type) {
	case *mark:
		return e
	case *settled:
		return nil
	case interface{ Unwrap() error }:
		return outermost(e.Unwrap())
	case interface{ Unwrap() []error }:
		var found *mark
		bare := false
		for _, err := range e.Unwrap() {
			m := outermost(err)
			switch {
			case m == nil:
				bare = true
			case !m.keep:
				return m // one that is broken is enough
			default:
				found = m
			}
		}
		if bare {
			return nil // and one that is not marked
		}
		return found
	}
	return nil
}
