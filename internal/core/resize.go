package core

import (
	"log/slog"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// Resize changes MaxConnections to n, which is at least 1 and at most MaxConnections.
func (p *Pool) Resize(n int) error {
	if !p.wake() || p.elsewhere() {
		return ErrBubble
	}
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
		// The race with a publisher. Here the flag is set, then the idle slots are
		// collected. settle and Put publish, then read the flag (wanted).
		p.setGate(words.GateShrink)
		step.At("Resize: flag set")
		p.trim()
	}
	p.shrunk() // the flag of an earlier Resize may be set
	p.ensureOpen(nil)
	p.config.Logger.Info("resized", slog.Int("from", c.Max()), slog.Int("to", n))
	p.openEnded() // a Warm may ask for more than n
	p.passSoon()
	return nil
}

// surplus counts one more slot as leaving if too many are open. The caller holds the
// slot, and must empty it if the result is true. A limit of 0 says that the pool is about to be
// closed: until it is, too many are open only if the flag of a Resize says so.
func (p *Pool) surplus(shrinking bool) bool {
	for {
		c := words.Census(p.conns.Load())
		if !c.Over() || c.Max() == 0 && !shrinking {
			return false
		}
		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusLeaving)) {
			return true
		}
	}
}

// trim closes idle connections while too many are open. It goes by the census alone: the
// flag may be clear for a moment, in shrunk, which is about to set it again.
func (p *Pool) trim() {
	for words.Census(p.conns.Load()).Over() {
		h, ok := p.scan()
		if !ok {
			if h, ok = p.takeLongest(); !ok {
				return
			}
		}
		step.At("trim: taken")
		if p.surplus(true) {
			p.destroyLeaving(h, closedByResize, nil, nil)
		} else {
			// Enough others have left. settle may call Check, and the sweeper must not wait for it.
			p.settleApart(h)
		}
	}
}

// shrunk clears the flag that a Resize has set, unless more connections are open than the
// limit allows.
//
// The race with another Resize. There the limit is lowered, then the flag is set. Here
// the flag is cleared, then the limit is read again. If the limit was lowered before
// that, the flag is set here; if after, there. The one that sets it collects what was
// published while it was clear.
func (p *Pool) shrunk() {
	for !words.Census(p.conns.Load()).Over() {
		if !words.Gate(p.gate.Load()).Shrinking() {
			return
		}
		step.At("shrunk: flag seen")
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
