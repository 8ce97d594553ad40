package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
)

// What a group of pools needs of its pools.

// An Owner is what several pools belong to. It tells them from others, and is nothing else.
type Owner struct{ _ byte }

// Own makes p a pool of that owner, before Init. gone is called once the pool is closed, all its
// connections are, and no goroutine is left.
func (p *Pool) Own(o *Owner, gone func()) { p.owner, p.whenGone = o, gone }

// PoolOf returns the pool of a lease if it belongs to that owner, and otherwise nil.
func (l Lease) PoolOf(o *Owner) *Pool {
	if l.conn == nil || l.conn.pool.owner != o {
		return nil
	}
	return l.conn.pool
}

// A movedError is ErrClosed for a caller that has waited for so long in a pool with an owner. It
// may go on in another one.
type movedError struct{ waited time.Duration }

func (e *movedError) Error() string { return ErrClosed.Error() }
func (e *movedError) Unwrap() error { return ErrClosed }

// Moved reports whether err says that the pool which has returned it is closed, and how long the
// caller has waited, in that pool and in those before it. An error of the factory never does,
// whatever it wraps.
func Moved(err error) (waited time.Duration, closed bool) {
	if e, ok := err.(*movedError); ok {
		return e.waited, true
	}
	return 0, err == ErrClosed
}

// GetMoved is Get for a caller that has waited elsewhere for so long. That counts for
// MaxWaitTime, and it is not refused a place in the queue. The noted place is so many calls
// above GetMoved.
func (p *Pool) GetMoved(ctx context.Context, waited time.Duration, above int) (Lease, error) {
	if ctx.Err() != nil {
		return Lease{}, contextEnded(ctx, nil)
	}
	return p.get(ctx, held{}, false, waited, above+2)
}

// limitMoved ends the wait of w after d, or at once, as the sweeper does after MaxWaitTime: for
// the sweeper, waiters must expire in the order in which they came. w is linked. Call the
// returned function when the wait is over; from then on, no goroutine is left of it, or the pool counts
// it.
func (p *Pool) limitMoved(w *queue.Waiter, d time.Duration) (stop func()) {
	p.workers.Inc()
	timer := time.AfterFunc(d, func() {
		// Whoever decides w ends the wait. A waiter is never used again, so that of a later
		// wait is not meant.
		if w.Live() && p.refuse(w, &expiry{p.Stats()}) {
			p.sweepAside()
		}
		p.workerEnded()
	})
	return func() {
		if timer.Stop() {
			p.workerEnded()
		}
	}
}

// ContextEnded returns what Get returns for a ctx that has ended.
func ContextEnded(ctx context.Context) error { return contextEnded(ctx, nil) }

// Guard makes one call of a user's function and returns its panic as an error.
func Guard(function string, call func() error) error { return guard(function, call) }

// Retire closes the pool and does not wait: it lends no more, and what is leased is closed as it
// comes back.
func (p *Pool) Retire() { p.shut() }

// Sever closes all connections of a pool that is retired, and does not wait.
func (p *Pool) Sever() { p.revoke() }

// AllGone returns a channel that is closed once the pool is closed, nothing is being opened, and
// all connections are closed. Quiet returns one that is closed once no goroutine is left, either.
func (p *Pool) AllGone() <-chan struct{} { return p.allGone }
func (p *Pool) Quiet() <-chan struct{}   { return p.quiet }

// Unclosed returns how many connections are neither closed nor detached yet.
func (p *Pool) Unclosed() int { return int(p.unclosed.Load()) }

// ShutdownEnded returns what Shutdown returns if ctx ends before all connections are closed.
func ShutdownEnded(ctx context.Context, leased, unclosed, opening int) error {
	return &shutdownError{leased, unclosed, opening, contextEnded(ctx, nil)}
}

// Elsewhere reports whether the calling goroutine is in another testing/synctest bubble than
// the one in which that time was taken.
func Elsewhere(epoch time.Time) bool {
	now := int64(time.Since(epoch))
	return uint64(now) > uint64(farAway) && far(epoch, now)
}
