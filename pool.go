package pool

import (
	"context"
	"errors"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A Pool lends connections of type T, each to one caller at a time, and keeps at
// most [Config.MaxConnections] of them open. Create a Pool with [New]. Close it with
// [Pool.Close] or [Pool.Shutdown] when you no longer need it: otherwise its connections
// stay open and its goroutine keeps running. All methods are safe for concurrent use.
// A Pool must not be copied. In tests with testing/synctest, a Pool belongs to the bubble in
// which it was made, or to none: see [ErrBubble].
//
// While connections are idle, Get and Put take no lock, and each costs one atomic
// read-modify-write. A goroutine that is stopped halfway through one of them delays
// nobody else; only the slot that it holds is out of reach.
//
// In the terms of the Go memory model, what a caller did before [Pool.Put]
// synchronizes before the return of the [Pool.Get] that lends the connection next.
type Pool[T any] struct {
	core core.Pool // by value: a Get reads no pointer more
}

// New returns a pool that opens its connections with factory. It does not block. It
// opens no connection, except that the pool begins to open [Config.MinIdle] connections in
// the background. The error names the field that is invalid.
func New[T any](factory Factory[T], config Config) (*Pool[T], error) {
	factory, config, err := normalized(factory, config)
	if err != nil {
		return nil, err
	}
	p := new(Pool[T])
	p.init(factory, config)
	return p, nil
}

// init makes p a pool of what is normalized. Most of it is made when it is first used.
func (p *Pool[T]) init(factory Factory[T], config Config) {
	p.core.Init(config.Name, config.MaxConnections, func() (core.Factory, core.Config) {
		return factory.boxed(), config.bare(unboxed[T])
	})
	if config.MinIdle > 0 {
		p.core.Wake()
	}
}

// normalized checks what a pool is made of, and fills in defaults.
func normalized[T any](factory Factory[T], config Config) (Factory[T], Config, error) {
	factory, err := factory.normalize()
	if err == nil {
		config, err = config.normalize()
	}
	return factory, config, err
}

// Get lends a connection: an idle one or, if none is idle, the next one that is returned
// or opened, whichever comes first. The caller must end the lease with [Pool.Put],
// [Pool.Discard] or [Pool.Detach].
//
// If no connection is idle, Get waits, and the pool opens connections for those who wait:
// as many as [Config.MaxConnections], [Config.MaxOpening] and [Config.OpenEagerly] allow.
// Waiting callers are served first come, first served; nobody overtakes them.
//
// Get returns an error when
//   - ctx ends: an error that wraps ctx.Err, at once if ctx had ended before the call, and at
//     most a millisecond later if the connection is in Factory.Check (but see [Factory])
//   - the wait has lasted for [Config.MaxWaitTime]: [ErrExhausted]
//   - opening for this caller fails, after [Config.FailFastAfter] (zero: at once before the first
//     connection), while no connection is open, or for the fourth time in a row with nothing
//     coming back meanwhile: that error
//   - opening keeps failing for FailFastAfter and no connection is open: [ErrUnavailable]
//   - [Config.MaxWaiters] callers already wait: [ErrRejected], without a wait
//   - the pool is closed: [ErrClosed]
//
// When ctx ends a wait, the error also wraps the cause of ctx and the last error on
// opening during the wait, if there was one; ctx.Err tells the reasons apart.
//
// A connection that is being opened for a caller who gives up is not lost: it goes to the
// next caller, or is idle.
func (p *Pool[T]) Get(ctx context.Context) (Lease[T], error) {
	l, err := p.core.Get(ctx)
	return Lease[T]{lease: l}, err
}

// GetFresh lends a connection whose opening begins after the call: for a caller that cannot use
// an older one, for example because those that were open have died with the server. It waits
// as Get does, in the same queue, and its errors are those of [Pool.Get].
//
// One connection is opened for each call, and goes to the caller that has waited longest, like
// any other. If MaxConnections are open, an older one is closed to make room: an idle one, that
// has been idle longest, or the next one that is returned when it is the turn of this caller.
// Older connections that are not needed for that go to the callers of Get who wait behind it.
func (p *Pool[T]) GetFresh(ctx context.Context) (Lease[T], error) {
	l, err := p.core.GetFresh(ctx)
	return Lease[T]{lease: l}, err
}

// GetSame lends the connection of m and no other: at once if it is idle, and otherwise when it
// comes back. It is for servers that keep state on the connection, so that the next request
// must go where the last one went. Whether nobody else has had the connection meanwhile, which
// may have changed that state, tells [Lease.Follows].
//
// Of those who could use a connection that comes back, whoever came first gets it, whether it
// waits for this one or, in Get, for any. GetSame opens no connection. It calls Factory.Check as Get does.
//
// GetSame returns an error when
//   - ctx ends, as Get does
//   - m is the zero Mark, or the connection is not in the pool any more or will not come back:
//     [ErrGone], at once or as soon as that is known. So a first request and a later one can
//     share code: on ErrGone they call Get and begin anew
//   - the lease of m is still in force: an error, at once. The caller would wait for itself
//   - m is of another pool: [ErrNotLeased]
//   - the wait has lasted for [Config.MaxWaitTime]: [ErrExhausted]
//   - [Config.MaxWaiters] callers of Get and GetSame already wait, or it is negative and somebody
//     has the connection: [ErrRejected]
//   - the pool is closed: [ErrClosed], also where it would be ErrGone otherwise
func (p *Pool[T]) GetSame(ctx context.Context, m Mark) (Lease[T], error) {
	l, err := p.core.GetSame(ctx, m.mark)
	return Lease[T]{lease: l}, err
}

// TryGetSame is [Pool.GetSame] without a wait. Take it, and Get if it returns false, for a server
// that keeps the state of the last request only: after whoever has the connection now, that is
// not the caller's any more, and to wait for it is in vain. It returns false also if somebody else has the
// connection or comes first, and while the pool itself has it, to ask Check or Probe.
func (p *Pool[T]) TryGetSame(m Mark) (Lease[T], bool) {
	l, ok := p.core.TryGetSame(m.mark)
	return Lease[T]{lease: l}, ok
}

// TryGet lends a connection if one is idle and nobody waits for it. It never waits and
// never opens a connection: it is for work that can be skipped. It returns false if no
// connection is idle, if callers wait (those of [Pool.GetFresh] too), and if the pool is closed.
// While the pool asks Factory.Check about a connection, be it every [Config.CheckInterval] or
// for a Get whose ctx ended during that call, the connection is not idle. TryGet calls Check
// itself, and takes as long as that.
func (p *Pool[T]) TryGet() (Lease[T], bool) {
	l, ok := p.core.TryGet()
	return Lease[T]{lease: l}, ok
}

// TryGetAll is [Pool.TryGet] until that returns false: it lends all connections that are idle, for
// example to send a keep-alive on each. Return what is in order with [Pool.PutUnused], so that it can still expire. Until then other callers
// find nothing idle, and open or wait; so better take them one by one where that takes long.
// It returns nil if nothing is idle, if callers wait, and if the pool is closed.
func (p *Pool[T]) TryGetAll() (leases []Lease[T]) {
	for {
		l, ok := p.core.TryGet()
		if !ok {
			return leases
		}
		leases = append(leases, Lease[T]{lease: l})
	}
}

// Put ends a lease and returns its connection to the pool. The connection goes to the
// caller that has waited longest; if nobody waits, it is idle. It is closed instead if the
// pool has been closed, or if the connection must not be lent again (too old, reported
// broken, refused by Check or Clean). Put calls Factory.Clean and, if somebody waits,
// Factory.Check; apart from these it does not block.
//
// Put says that the connection is ready for another caller. If it may not be, because
// a request was sent in part or a reply has not been read, use [Pool.Discard].
//
// Put returns [ErrNotLeased] and changes nothing if the lease has already ended, is the
// zero Lease, or belongs to another pool. So a deferred Put is harmless after Discard or
// Detach. Of a lease whose connection Close or Revoke has closed, the first Put returns nil.
func (p *Pool[T]) Put(l Lease[T]) error { return p.core.Put(l.lease) }

// PutUnused is [Pool.Put] for a caller that has not used the connection, for example one that
// looked for a certain connection or checked its health. The connection counts as idle since
// it was last returned by Put, so a caller that only looks does not keep it from expiring.
func (p *Pool[T]) PutUnused(l Lease[T]) error { return p.core.PutUnused(l.lease) }

// PutFor is [Pool.Put] for a session that will come back within d: for that time only
// [Pool.GetSame] gets the connection, and afterwards it is idle like any. Without it, a Get takes
// whatever is idle rather than open another connection, and whether a session finds its own
// undisturbed is luck. A d of zero or less is Put.
//
// If [Config.MaxConnections] are open (or no right of the [Budget] is free), nothing else is idle, and
// somebody waits in Get for whom no connection is being opened, the connection that has been
// reserved longest goes to them; for the callers of another pool with the Budget it is closed. In an
// outage it goes to them also if fewer are open: nothing else can come. A reserved
// connection is checked like one that is idle, and closed when it is too old for MaxLifetime or by
// Factory.Expires. Its [Config.MaxIdleTime] begins when the reservation ends. It does not count for
// [Config.MinIdle], and TryGet does not lend it.
func (p *Pool[T]) PutFor(l Lease[T], d time.Duration) error { return p.core.PutFor(l.lease, d) }

// Discard ends a lease and closes its connection, in the background. The slot is free for
// another connection at once (with [Config.StrictMax], when Factory.Close has returned).
// cause goes to Factory.Close and to the log; nil means that there is no particular cause.
// Errors are those of [Pool.Put].
func (p *Pool[T]) Discard(l Lease[T], cause error) error { return p.core.Discard(l.lease, cause) }

// Detach ends a lease and takes its connection out of the pool for good. The caller owns
// the connection now and must close it. The slot is free for another connection at once.
// Errors are those of [Pool.Put]; [ErrClosed] if [Pool.Close] has closed the connection, and
// [ErrRevoked] if [Pool.Revoke] has.
func (p *Pool[T]) Detach(l Lease[T]) (T, error) {
	box, err := p.core.Detach(l.lease)
	return unbox[T](box), err
}

// Revoke ends a lease that does not come back, and closes its connection in the background,
// with [ErrRevoked] as the cause. The slot is free for another connection as after
// [Pool.Discard], also for callers who wait. Revoke reports whether this call has ended the
// lease. It does not wait for the holder, nor for Factory.Close.
//
// info is one that [Pool.Leases] or [Hooks].Leaked has given. Revoke returns false and changes
// nothing if the lease has ended, and if info is the zero LeaseInfo, one made by hand, or one of
// another pool. So it never ends a lease that began after info was made, except that an info about
// a connection that the pool itself held stands for the next lease of that connection. A lease
// whose connection a Get has in hand and not returned yet may be revoked, too; that Get then looks
// for another connection.
//
// The holder is not asked: its calls on the connection end as the connection is closed under them,
// as with [Pool.Close], and Factory.Close must be safe for that. What the holder was doing fails
// halfway, so choose a limit that no honest work takes. Of Put and Discard of a revoked lease the
// first returns nil, later ones return [ErrNotLeased]; Do returns the error of its function.
func (p *Pool[T]) Revoke(info LeaseInfo) bool { return p.core.Revoke(info.lease) }

// Do calls f with a connection: it is Get, f, and Put. ctx is passed to Get and to f. Do
// returns the error of Get, or else that of f, without a mark of [Broken] or [Keep].
//
// If f returns an error, the connection is closed: a reply may still be on its way, and the
// next caller must not read it. An error marked with [Keep] says that the connection is in
// order all the same; then it goes back to the pool, as without an error. [Factory.Clean] is
// asked in addition. If f panics, the connection is closed and the panic continues.
func (p *Pool[T]) Do(ctx context.Context, f func(ctx context.Context, conn T) error) error {
	l, err := p.core.Get(ctx)
	if err != nil {
		return err
	}
	return p.use(l, func() error { return f(ctx, unbox[T](l.Box())) })
}

// DoLease is [Pool.Do] for a function that wants to know more of its connection: whether it
// is reused, or when it was opened. f may end the lease itself; then DoLease only returns
// the error of f.
func (p *Pool[T]) DoLease(ctx context.Context, f func(ctx context.Context, lease Lease[T]) error) error {
	l, err := p.core.Get(ctx)
	if err != nil {
		return err
	}
	return p.use(l, func() error { return f(ctx, Lease[T]{lease: l}) })
}

// Retry is [Pool.Do], and calls f once more if its connection has turned out to be dead: a
// connection that was idle may have been closed by the server, and f is the first to know.
//
// f is called again, at most once, if all of this holds: its error is marked with [Broken], or
// is not marked and [Factory.Check] objects to the connection right afterwards, or Watch has
// reported it broken; the connection was reused; ctx has not ended; f has not panicked. The
// second connection is of [Pool.GetFresh], so it is not another dead one: its opening began
// after the first try.
//
// The server may have received, and carried out, the request of the first try. So use Retry
// only for requests that may be carried out twice, or mark errors with [Keep] once it is too
// late for another try.
//
// Retry returns the error of the last call of f without its marks, or that of Get. If the
// second connection cannot be had, the error wraps that of GetFresh and that of the first try.
func (p *Pool[T]) Retry(ctx context.Context, f func(ctx context.Context, conn T) error) error {
	l, err := p.core.Get(ctx)
	if err != nil {
		return err
	}
	first, again := p.try(ctx, l, func() error { return f(ctx, unbox[T](l.Box())) })
	if !again {
		return first
	}
	l, err = p.core.GetFresh(ctx)
	if err != nil {
		return &retryError{err, first}
	}
	return p.use(l, func() error { return f(ctx, unbox[T](l.Box())) })
}

// RetryLease is [Pool.Retry] for a function that wants to know more of its connection, as
// DoLease is for Do. The lease of the second try is not reused, or was opened after the first
// try began. If f has ended the lease itself, only its mark decides whether it is called again.
func (p *Pool[T]) RetryLease(ctx context.Context, f func(ctx context.Context, lease Lease[T]) error) error {
	l, err := p.core.Get(ctx)
	if err != nil {
		return err
	}
	first, again := p.try(ctx, l, func() error { return f(ctx, Lease[T]{lease: l}) })
	if !again {
		return first
	}
	l, err = p.core.GetFresh(ctx)
	if err != nil {
		return &retryError{err, first}
	}
	return p.use(l, func() error { return f(ctx, Lease[T]{lease: l}) })
}

// try is use for the first try of Retry. again reports whether a second one is due.
func (p *Pool[T]) try(ctx context.Context, l core.Lease, f func() error) (err error, again bool) {
	reused := l.Reused()
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			_ = p.core.Discard(l, core.ErrFuncPanicked)
		}
	}()
	failed := f()
	broken := outermost(failed) != nil
	err, keep := unmarked(failed)
	returned = true
	if keep {
		_ = p.core.Put(l)
		return err, false
	}
	again = reused && ctx.Err() == nil
	if broken || !again {
		_ = p.core.Discard(l, err)
	} else {
		again = p.core.DiscardChecked(l, err)
	}
	return err, again && ctx.Err() == nil
}

// use calls f and ends the lease as Do says.
func (p *Pool[T]) use(l core.Lease, f func() error) error {
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			_ = p.core.Discard(l, core.ErrFuncPanicked)
		}
	}()
	err, keep := unmarked(f()) // looks into the error, which is others' code, too
	returned = true
	var end error
	if keep {
		end = p.core.Put(l)
	} else {
		end = p.core.Discard(l, err)
	}
	if end == core.ErrBubble {
		return errors.Join(err, end) // the lease is still in force
	}
	return err
}

// Warm opens connections until at least n are open, those included that were open before.
// It waits until they are, or until the first error: that of Factory.Open, after which it
// does not try again; an error that wraps ctx.Err when ctx ends; [ErrClosed] when the pool is
// closed. In an outage it waits for the end of the pause before an attempt. Connections that are open or being
// opened by then stay. [Config.OpenContext] is called with ctx. n is at most MaxConnections. No
// more than [Config.MaxOpening] connections are opened at the same time. With a [Config.Budget] it takes
// rights that are free, closes nothing in other pools, and waits as long as none is.
//
// Connections that Warm opens are idle, so they are closed after [Config.MaxIdleTime] if
// nobody uses them. To start with MinIdle connections in place, call Warm(ctx, MinIdle)
// after New.
func (p *Pool[T]) Warm(ctx context.Context, n int) error { return p.core.Warm(ctx, n) }

// Add opens one connection more than there are, which then goes to the caller that has waited
// longest, and is idle if nobody waits. Unlike [Pool.Warm] it does not ask how many there are: several calls at
// the same time open one each. It waits until the connection is open, as Warm does, and returns an error when
//   - MaxConnections are open or being opened: [ErrFull], at once. One whose opening has just failed counts
//     for a moment longer. If one of them is being closed ([Config.StrictMax]), Add waits for its room
//   - Factory.Open fails: that error, an [*OpenError]
//   - ctx ends: an error that wraps ctx.Err. What is being opened goes on, and stays
//   - the pool is closed: [ErrClosed]
//
// In an outage it waits for the end of the pause before an attempt.
func (p *Pool[T]) Add(ctx context.Context) error { return p.core.Add(ctx) }

// Resize changes [Config.MaxConnections] to n, between 1 and 65,535, while the pool is in
// use. It does not wait. A higher limit takes effect at once, also for callers who wait. A
// lower limit takes no connection from anybody: surplus connections are closed at once if
// they are idle, and otherwise when they come back. Until then Stats.VacantConnections is
// negative. Resize returns [ErrClosed] if the pool has been closed.
func (p *Pool[T]) Resize(n int) error {
	if n == 0 {
		return errors.New("pool: Resize: MaxConnections is 0: to end a pool, close it")
	}
	if err := checkMax("Resize: MaxConnections", n); err != nil {
		return err
	}
	return p.core.Resize(n)
}

// Reset retires every connection that exists now, as after a failover or a change of
// credentials. Idle connections are closed at once, leased ones when they come back. The
// ctx of those being opened ends, and another connection is opened for the callers who
// asked. Connections opened after the call are not affected. Reset does not wait.
//
// Reset also ends an outage, and so the pause before the next attempt.
func (p *Pool[T]) Reset() { p.core.Reset() }

// Name returns [Config.Name].
func (p *Pool[T]) Name() string { return p.core.Name() }

// Stats returns a snapshot of the pool. It looks at every slot and blocks nobody.
func (p *Pool[T]) Stats() Stats { return statsOf(p.core.Stats()) }

// Leases lists the leases in force: which connection, since when, and where it was taken.
// Connections that the pool itself holds for a moment, to check them, to clean them, or to
// hand them to a waiter, are among them. Leases looks at one slot after the other and
// blocks nobody.
func (p *Pool[T]) Leases() []LeaseInfo {
	var leases []LeaseInfo
	for _, l := range p.core.Leases() {
		leases = append(leases, leaseInfoOf(l, unboxed[T]))
	}
	return leases
}

// Shutdown closes the pool and waits for connections that are in use. From the call on the
// pool lends nothing: callers who wait and callers who come get [ErrClosed]. Idle
// connections are closed at once, leased ones when they come back. The ctx of Factory.Open
// ends; a connection that is opened all the same is closed. Shutdown returns nil when
// everything is closed and nothing is being opened. Then no goroutine of the pool is left,
// unless it is in a function of the factory that was abandoned (see [Factory]).
//
// If ctx ends first, Shutdown closes what is still leased, as [Pool.Close] does, and returns
// an error that wraps ctx.Err. With a ctx that never ends, it waits for as long as anybody
// keeps a connection, and until Factory.Open has returned or was abandoned. So Shutdown
// with such a ctx must not be called in a function of the factory, nor in Hooks.Opened or
// Closed, which it waits for.
func (p *Pool[T]) Shutdown(ctx context.Context) error { return p.core.Shutdown(ctx) }

// Close closes the pool and all its connections at once. Leased connections are closed as
// well: their holders see them fail. Callers who wait and callers who come get [ErrClosed].
// The ctx of Factory.Open ends. Close waits until Factory.Close has returned for all
// connections and Factory.Open for those that were being opened, at most one second for all
// of it. What takes longer goes on in the background: an Open that does not heed its ctx
// may return later, and its connection is closed then. It returns nil. If Close takes less
// than a second, no goroutine of the pool is left, but those in functions that were abandoned
// (see [Factory]). Later calls do nothing but wait in the same way.
func (p *Pool[T]) Close() error { return p.core.Close() }
