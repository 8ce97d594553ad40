package pool

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/S4AK4N/pool/internal/step"
)

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
	p.more(n) // the slots before the limit: see claim
	step.At("Resize: slots added")
	var c census
	for {
		c = census(p.conns.Load())
		if p.ending(c) {
			return ErrClosed
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c.withMax(n))) {
			break
		}
	}
	step.At("Resize: limit set")
	if census(p.conns.Load()).over() {
		// The race with those who publish: here the flag is set, and then the idle
		// slots are collected; they publish, and then read the flag (wanted).
		p.setGate(gateShrink)
		step.At("Resize: flag set")
		p.trim()
	}
	p.shrunk() // there may be an earlier Resize's flag, too
	p.ensureOpen(nil, nil)
	p.config.Logger.Info("resized", slog.Int("from", c.max()), slog.Int("to", n))
	p.openEnded() // a Warm may ask for more than there may be now
	p.passSoon()
	return nil
}

func checkMax(what string, n int) error {
	if n < 0 {
		return fmt.Errorf("pool: %s is negative: %d", what, n)
	}
	if n > maxConnections {
		return fmt.Errorf("pool: %s is over %d: %d", what, maxConnections, n)
	}
	return nil
}

// surplus counts one more slot as leaving if too many are open. The caller, who holds the
// slot, empties it then.
func (p *Pool[T]) surplus() bool {
	for {
		c := census(p.conns.Load())
		if !c.over() {
			return false
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c+censusLeaving)) {
			return true
		}
	}
}

// trim closes what is idle, as long as too many are open. It goes by the census alone: the
// flag may be clear at the moment, in the hands of somebody who is about to set it again.
func (p *Pool[T]) trim() {
	for census(p.conns.Load()).over() {
		h, ok := p.scan()
		if !ok {
			return
		}
		step.At("trim: taken")
		if p.surplus() {
			p.destroyLeaving(h, closedByResize, nil, nil, nil)
		} else {
			go p.settle(h, false) // others have left meanwhile; Check is not for the sweeper
		}
	}
}

// shrunk clears the flag that a Resize has set, if no more are open than may be.
//
// The race with another Resize: there the limit is lowered, and then the flag is set; here
// the flag is cleared, and then the limit is read again. If it was lowered before that,
// the flag is set here; if after, there. Whoever sets it collects what was published while
// it was clear.
func (p *Pool[T]) shrunk() {
	for !census(p.conns.Load()).over() {
		if !gateWord(p.gate.Load()).shrinking() {
			return
		}
		p.clearGate(gateShrink)
		step.At("shrunk: flag cleared")
		if !census(p.conns.Load()).over() {
			return
		}
		p.setGate(gateShrink)
		step.At("shrunk: flag set again")
		p.trim()
	}
}
