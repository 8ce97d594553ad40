package core

import (
	"log/slog"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// Resize changes MaxConnections to n, which is at least 1 and at most MaxConnections.
func (p *Pool) Resize(n int) error {
	p.more(n) // the slots before the limit: see claim
	step.At("Resize: slots added")
	var c words.Census
	for {
		c = words.Census(p.conns.Load())
		if p.ending(c) {
			return ErrClosed
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c.WithMax(n))) {
			break
		}
	}
	step.At("Resize: limit set")
	if words.Census(p.conns.Load()).Over() {
		// The race with those who publish: here the flag is set, and then the idle
		// slots are collected; they publish, and then read the flag (wanted).
		p.setGate(words.GateShrink)
		step.At("Resize: flag set")
		p.trim()
	}
	p.shrunk() // there may be an earlier Resize's flag, too
	p.ensureOpen(nil, nil)
	p.config.Logger.Info("resized", slog.Int("from", c.Max()), slog.Int("to", n))
	p.openEnded() // a Warm may ask for more than there may be now
	p.passSoon()
	return nil
}

// surplus counts one more slot as leaving if too many are open. The caller, who holds the
// slot, empties it then.
func (p *Pool) surplus() bool {
	for {
		c := words.Census(p.conns.Load())
		if !c.Over() {
			return false
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusLeaving)) {
			return true
		}
	}
}

// trim closes what is idle, as long as too many are open. It goes by the census alone: the
// flag may be clear at the moment, in the hands of somebody who is about to set it again.
func (p *Pool) trim() {
	for words.Census(p.conns.Load()).Over() {
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
func (p *Pool) shrunk() {
	for !words.Census(p.conns.Load()).Over() {
		if !words.Gate(p.gate.Load()).Shrinking() {
			return
		}
		p.clearGate(words.GateShrink)
		step.At("shrunk: flag cleared")
		if !words.Census(p.conns.Load()).Over() {
			return
		}
		p.setGate(words.GateShrink)
		step.At("shrunk: flag set again")
		p.trim()
	}
}
