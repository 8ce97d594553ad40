package core

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// Warm opens connections until n are open.
func (p *Pool) Warm(ctx context.Context, n int) error {
	if n < 0 {
		return fmt.Errorf("pool: Warm: negative number of connections: %d", n)
	}
	if !p.wake() {
		return ErrBubble
	}
	values := p.openContext(ctx) // not our code
	if p.elsewhere() {
		return ErrBubble
	}
	failed := make(chan error, 1)
	report := func(err error) {
		if err == nil || err == errNoVerdict {
			return // the census says so
		}
		select {
		case failed <- err:
		default: // another one has failed before
		}
	}
	defer p.hopeEnds()
	pause := time.NewTimer(never)
	defer pause.Stop()
	for {
		if ctx.Err() != nil {
			return contextEnded(ctx, nil)
		}
		ended := p.nextEnd() // before the look: see openEnded
		for {
			c := words.Census(p.conns.Load())
			switch {
			case p.ending(c):
				return ErrClosed
			case n > c.Max():
				return fmt.Errorf("pool: Warm: %d connections are more than MaxConnections, which is %d", n, c.Max())
			case c.Usable() >= n && p.landing.Load() == 0:
				return nil
			}
			if c.Open()-c.Leaving() >= n {
				break
			}
			// An attempt that has failed has left the census after it has said so (openFailed).
			select {
			case err := <-failed:
				return err
			default:
			}
			step.At("Warm: one missing")
			begun, retryAt := p.openSpare(n, report, values)
			if retryAt > 0 {
				pause.Reset(max(retryAt-time.Duration(p.now()), 0))
			}
			if !begun {
				break // enough are being opened, or there is a pause; wait for the end
			}
			step.At("Warm: begun")
		}
		select {
		case <-ended:
		case <-pause.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return p.waitEnded(ctx)
		case <-p.lifetime.Done():
			return ErrClosed
		}
	}
}

// Add opens one connection, for nobody in particular.
func (p *Pool) Add(ctx context.Context) error {
	if !p.wake() {
		return ErrBubble
	}
	values := p.openContext(ctx) // not our code
	if p.elsewhere() {
		return ErrBubble
	}
	told := make(chan error, 1)
	var verdict <-chan error // set while an attempt is under way
	defer p.hopeEnds()
	pause := time.NewTimer(never)
	defer pause.Stop()
	for {
		if ctx.Err() != nil {
			return contextEnded(ctx, nil)
		}
		ended := p.nextEnd() // before the look: see openEnded
		if verdict == nil {
			c := words.Census(p.conns.Load())
			switch {
			case p.ending(c):
				return ErrClosed
			case c.Open()-c.Leaving() >= c.Max():
				return ErrFull
			}
			begun, retryAt := p.openSpare(math.MaxInt, func(err error) { told <- err }, values)
			if retryAt > 0 {
				pause.Reset(max(retryAt-time.Duration(p.now()), 0))
			}
			if begun {
				verdict = told
			}
		}
		select {
		case err := <-verdict:
			verdict = nil
			switch {
			case p.lifetime.Err() != nil:
				return ErrClosed
			case err != errNoVerdict:
				return err
			}
		case <-ended:
		case <-pause.C:
		case <-ctx.Done():
			return p.waitEnded(ctx)
		case <-p.lifetime.Done():
			return ErrClosed
		}
	}
}

// hopeEnds is called when Warm or Add returns, and when MinIdle lacks nothing. What it has hoped for is not kept for it: see Rights.dispatch.
// Another one in this pool may have hoped with it, and hopes anew. The race: that one takes its channel, then hopes;
// here the hope is taken away, then the channel is closed.
func (p *Pool) hopeEnds() {
	if p.budget == nil {
		return
	}
	hoped := false
	for _, s := range p.budget.shares {
		hoped = s.hopesNot() || hoped
	}
	if hoped {
		p.hopeAnew()
	}
}

// hopeAnew has those try again who hope for a right: Warm, Add, and the sweeper for MinIdle. That one says that something
// is missing (warming) before it hopes.
func (p *Pool) hopeAnew() {
	p.openEnded()
	if p.sweeper.warming.Load() {
		p.sweeper.warmOn.Store(true)
		p.kickSweeper()
	}
}

// openSpare begins to open a connection for no waiter, if fewer than most are open, there is
// room for one, and no outage forbids it. It looks at most itself: of several that call Warm
// each may have seen that one is missing. done is told how the attempt ends. If nothing in
// progress will allow it, only the end of a pause, retryAt is when that ends. done is called once.
func (p *Pool) openSpare(most int, done func(error), asked context.Context) (begun bool, retryAt time.Duration) {
	rights := 0
	defer func() {
		if rights > 0 {
			p.budget.giveBack(rights, 0)
		}
	}()
	for {
		c := words.Census(p.conns.Load())
		if c.Open()-c.Leaving() >= most || c.Open() >= c.Max() || p.tooMany(c) {
			return false, 0
		}
		if !p.config.OpenEagerly && int(p.spares.Load()-p.overdue.Load()) >= atATime(c) {
			return false, 0 // the end of one asks again
		}
		if o := p.outage.Load(); o != nil {
			if c.Opening() > int(p.overdue.Load()) || c.Opening() >= mostHanging {
				return false, 0
			}
			if at := o.RetryAt(p.config.MaxBackoff); time.Duration(p.now()) < at {
				return false, at
			}
		}
		if p.budget != nil && rights == 0 {
			if rights, _ = p.budget.take(1, true); rights == 0 {
				return false, 0 // Warm, or the sweeper, is told when one is free: see hopeAnew
			}
			p.hasRights()
			continue
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusOpen+words.CensusOpening)) {
			rights = 0 // the attempt has it
			p.begin(&attempt{spare: true, asked: asked, done: done})
			return true, 0
		}
	}
}

// nextEnd returns a channel that is closed when the next attempt to open ends.
func (p *Pool) nextEnd() <-chan struct{} {
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

// openEnded closes the channel of nextEnd. The other side is in Warm. Here the census has
// been changed, then the channel is closed. Warm takes the channel, then looks at the
// census.
func (p *Pool) openEnded() {
	if ch := p.ended.Load(); ch != nil && p.ended.CompareAndSwap(ch, nil) {
		close(*ch)
	}
}

// keepWarm begins to open up to n spare connections, and returns how many.
func (p *Pool) keepWarm(n int) (begun int) {
	for ; begun < n; begun++ {
		if ok, _ := p.openSpare(math.MaxInt, nil, nil); !ok {
			break
		}
	}
	return begun
}
