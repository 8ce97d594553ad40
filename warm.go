package pool

import (
	"context"
	"fmt"
	"runtime"
)

// Warm opens connections until n are open, those included that were open before, and
// returns when they are. It returns the first error of Factory.Open and does not try
// again: in an outage it returns [ErrUnavailable] at once. It returns an error that wraps
// ctx.Err if ctx ends before, and [ErrClosed] if the pool is closed. What has been opened,
// or is being opened, remains in any case. Open is given the values of ctx. n may be up to
// MaxConnections; no more than [Config.MaxOpening] are opened at the same time.
//
// What Warm opens is idle, and closed after [Config.MaxIdleTime] if nobody uses it. To
// begin with MinIdle in place, call Warm(ctx, MinIdle) after New.
func (p *Pool[T]) Warm(ctx context.Context, n int) error {
	if n < 0 {
		return fmt.Errorf("pool: Warm: negative number of connections: %d", n)
	}
	failed := make(chan error, 1)
	report := func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default: // another has failed before
			}
		}
	}
	for {
		if ctx.Err() != nil {
			return contextEnded(ctx, nil)
		}
		ended := p.nextEnd() // before the look: see openEnded
		for {
			c := census(p.conns.Load())
			switch {
			case p.ending(c):
				return ErrClosed
			case n > c.max():
				return fmt.Errorf("pool: Warm: %d connections are more than MaxConnections, which is %d", n, c.max())
			case c.usable() >= n && p.landing.Load() == 0:
				return nil
			}
			if c.open()-c.leaving() >= n {
				break
			}
			begun, paused := p.openSpare(report, ctx)
			if paused {
				if err := p.unavailableError(); err != nil {
					return err
				}
				runtime.Gosched() // one has just succeeded
			}
			if !begun && !paused {
				break // enough are being opened; the end of one tells when to go on
			}
		}
		select {
		case <-ended:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return contextEnded(ctx, p.lastOpen.Load())
		case <-p.lifetime.Done():
			return ErrClosed
		}
	}
}

// openSpare begins to open a connection for nobody who waits, if there is room for it and
// no outage forbids it. done is told how it ends. paused says that time alone will allow
// it again, and nothing that is under way.
func (p *Pool[T]) openSpare(done func(error), asked context.Context) (begun, paused bool) {
	for {
		c := census(p.conns.Load())
		if c.open() >= c.max() || p.tooMany(c) {
			return false, false
		}
		if o := outage(p.outage.Load()); o.failures() > 0 {
			if c.opening() > int(p.overdue.Load()) {
				return false, false
			}
			if p.now() < int64(o.retryAt()) {
				return false, true
			}
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c+censusOpen+censusOpening)) {
			p.begin(&attempt[T]{spare: true, asked: asked, done: done})
			return true, false
		}
	}
}

// nextEnd returns a channel that is closed when the next attempt to open ends.
func (p *Pool[T]) nextEnd() <-chan struct{} {
	for {
		if ch := p.ended.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		if p.ended.CompareAndSwap(nil, &ch) {
			return ch
		}
	}
}

// openEnded closes that channel. Whoever waits has got it before it looked at the census,
// which has been changed before the channel is closed.
func (p *Pool[T]) openEnded() {
	if ch := p.ended.Load(); ch != nil && p.ended.CompareAndSwap(ch, nil) {
		close(*ch)
	}
}

// keepWarm opens so many spare connections.
func (p *Pool[T]) keepWarm(n int) {
	for ; n > 0; n-- {
		if begun, _ := p.openSpare(nil, nil); !begun {
			return
		}
	}
}
