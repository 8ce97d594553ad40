package pool

import (
	"context"
	"errors"

	"github.com/S4AK4N/pool/internal/core"
)

// A Pool lends connections of type T, each to one caller at a time, and keeps at
// most [Config.MaxConnections] of them open. Create one with [New], and close it with
// [Pool.Close] or [Pool.Shutdown] when it is not needed any more: otherwise its
// connections stay open, and a goroutine with them. The methods may be called from any
// number of goroutines at the same time. A Pool must not be copied.
//
// Get and Put take no lock while connections are to be had, and each costs one
// atomic read-modify-write then. Neither is held up by a goroutine that has been
// stopped halfway through either of them, but for the slot that it has in hand.
//
// In the terms of the Go memory model, what a caller did before [Pool.Put]
// synchronizes before the return of the [Pool.Get] that lends the connection next.
type Pool[T any] struct {
	core core.Pool // begins with the words that many write, so it lies where the allocator puts p
}

// New returns a pool that opens its connections by means of factory. It opens none
// yet, but for [Config.MinIdle], and does not wait for those. The error names the field
// that is wrong.
func New[T any](factory Factory[T], config Config) (*Pool[T], error) {
	factory, err := factory.normalize()
	if err != nil {
		return nil, err
	}
	config, err = config.normalize()
	if err != nil {
		return nil, err
	}
	p := new(Pool[T])
	p.core.Init(factory.boxed(), config.bare(unboxed[T]))
	return p, nil
}

// Get lends a connection: an idle one or, if there is none, the next that is
// returned or opened. It opens one if fewer than [Config.MaxConnections] are open.
// The caller must end the lease with [Pool.Put], [Pool.Discard] or [Pool.Detach].
//
// Callers who wait are served in the order in which they came, and nobody who comes
// later is served before them. A wait ends when ctx ends, with an error that wraps
// ctx.Err, or after [Config.MaxWaitTime] with [ErrExhausted]; when opening the
// connection that the caller waits for fails, with that error; and when the pool
// is closed, with [ErrClosed]. Get returns [ErrRejected] instead of waiting if too
// many wait already, and [ErrUnavailable] if opening keeps failing and no connection is
// open. If ctx has ended before the call, Get returns that error at once.
//
// The error of a wait that ctx ended holds also the cause of that, and the last error
// on opening during the wait, if there was one; ctx.Err tells which of them counts.
//
// What Get opens outlives a caller who gives up: it goes to the next, or is idle.
func (p *Pool[T]) Get(ctx context.Context) (Lease[T], error) {
	l, err := p.core.Get(ctx)
	return Lease[T]{lease: l}, err
}

// TryGet lends a connection if one is idle and nobody waits for it. It neither
// waits nor opens one, so it is for work that can be left undone. False says also that
// the pool is closed.
func (p *Pool[T]) TryGet() (Lease[T], bool) {
	l, ok := p.core.TryGet()
	return Lease[T]{lease: l}, ok
}

// Put ends a lease and returns its connection to the pool: to the caller that has
// waited longest or, if nobody waits, to those who are idle. Put does not wait, but for
// Factory.Clean. If the pool has been closed, or the connection is not fit to be lent
// again, it is closed.
//
// Put says that the connection is ready for another caller. If it may not be, because
// a request was sent in part, or its reply has not been read, use [Pool.Discard].
//
// Put returns [ErrNotLeased], having changed nothing, for a lease that has ended
// already, is the zero Lease, or is another pool's. So it may be deferred, whether or not
// Discard or Detach comes before.
func (p *Pool[T]) Put(l Lease[T]) error { return p.core.Put(l.lease) }

// Discard ends a lease and closes its connection. Its slot is free for others at
// once. cause goes to Factory.Close and to the log; nil stands for no particular
// one. Errors are as for [Pool.Put].
func (p *Pool[T]) Discard(l Lease[T], cause error) error { return p.core.Discard(l.lease, cause) }

// Detach ends a lease and takes its connection out of the pool for good: it is the
// caller's now, who closes it. Its slot is free for others at once. Errors are as
// for [Pool.Put], and [ErrClosed] if [Pool.Close] has closed the connection.
func (p *Pool[T]) Detach(l Lease[T]) (T, error) {
	box, err := p.core.Detach(l.lease)
	return unbox[T](box), err
}

// Do calls f with a connection: it is Get, f, and Put. It returns the error of f as
// it is, or else that of Get. ctx is that of Get, and is handed to f.
//
// The connection goes back whatever f returns, unless Factory.Clean objects or the
// error is marked with [Broken]: then it is closed. If f panics, the connection is
// closed, and the panic goes on.
func (p *Pool[T]) Do(ctx context.Context, f func(ctx context.Context, conn T) error) error {
	l, err := p.core.Get(ctx)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			_ = p.core.Discard(l, core.ErrFuncPanicked)
		}
	}()
	err = f(ctx, unbox[T](l.Box()))
	broken := isBroken(err) // this is others' code, too
	returned = true
	if broken {
		_ = p.core.Discard(l, err)
	} else {
		_ = p.core.Put(l)
	}
	return err
}

// Warm opens connections until n are open, those included that were open before, and
// returns when they are. It returns the first error of Factory.Open and does not try
// again: in an outage it returns [ErrUnavailable] at once. It returns an error that wraps
// ctx.Err if ctx ends before, and [ErrClosed] if the pool is closed. What has been opened,
// or is being opened, remains in any case. Open is given the values of ctx. n may be up to
// MaxConnections; no more than [Config.MaxOpening] are opened at the same time.
//
// What Warm opens is idle, and closed after [Config.MaxIdleTime] if nobody uses it. To
// begin with MinIdle in place, call Warm(ctx, MinIdle) after New.
func (p *Pool[T]) Warm(ctx context.Context, n int) error { return p.core.Warm(ctx, n) }

// Resize changes [Config.MaxConnections] to n, between 1 and 65,535, while the pool is in
// use. More takes effect at once, also for those who wait. Less takes no connection
// from anybody: what is too many is closed at once if it is idle, and otherwise when it
// comes back. Until then Stats.VacantConnections is negative. Resize does not wait, and
// returns [ErrClosed] if the pool has been closed.
func (p *Pool[T]) Resize(n int) error {
	if n == 0 {
		return errors.New("pool: Resize: MaxConnections is 0: to end a pool, close it")
	}
	if err := checkMax("Resize: MaxConnections", n); err != nil {
		return err
	}
	return p.core.Resize(n)
}

// Reset closes every connection that exists now, because they are of no use any more, as
// after a failover or with new credentials: those that are idle at once, those that are
// leased when they come back. One that is being opened is not used either; its ctx
// ends, and another one is opened for the caller who asked. Reset does not wait. What is
// opened after the call is not concerned.
//
// It also ends the pauses between attempts after failures.
func (p *Pool[T]) Reset() { p.core.Reset() }

// Stats returns how the pool stands. It looks at every slot, and holds nobody up.
func (p *Pool[T]) Stats() Stats { return statsOf(p.core.Stats()) }

// Leases lists the leases that are in force: which connection, since when, and where it
// was taken. What the pool has in its own hands, to check it, to clean it, or on its way
// to a waiter, is among them. Each is looked at on its own, and nobody is held up.
func (p *Pool[T]) Leases() []LeaseInfo {
	var leases []LeaseInfo
	for _, l := range p.core.Leases() {
		leases = append(leases, leaseInfoOf(l, unboxed[T]))
	}
	return leases
}

// Shutdown closes the pool and waits for what is still in use. From the call on
// nothing is lent: those who wait and those who come get [ErrClosed]. Idle
// connections are closed at once, leased ones when they are put back. Shutdown
// returns nil when all are closed, but for those that are being opened: they are
// closed when they are open. If ctx ends before, it closes those that are still
// leased, as [Pool.Close] does, and returns an error that wraps ctx.Err. So with a
// ctx that does not end, it waits for as long as anybody keeps a connection.
func (p *Pool[T]) Shutdown(ctx context.Context) error { return p.core.Shutdown(ctx) }

// Close closes the pool and all its connections at once, also those that are
// leased: their holders see them fail. Those who wait and those who come get
// [ErrClosed]. Close waits for Factory.Close to return, but not for longer than a
// second, and not for connections that are being opened: they are closed when they
// are open. It returns nil. Calls after the first do nothing more, but wait as well.
func (p *Pool[T]) Close() error { return p.core.Close() }
