package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// An era is the time between two calls of Reset. Connections of an era that is over are
// not lent any more.
type era struct {
	ctx context.Context // ends with the era, or with the pool; the parent of each Open's
	end context.CancelCauseFunc
}

func newEra(lifetime context.Context) *era {
	e := new(era)
	e.ctx, e.end = context.WithCancelCause(lifetime)
	return e
}

var errReset = errors.New("pool: reset")

// Reset closes every connection that exists now, and ends the pauses of an outage.
func (p *Pool) Reset() {
	// The race with those who open: here the era is changed, and then each slot is
	// looked at; they fill their slot, and then look at the era (opened). At least one
	// of the two sees the other.
	old := p.era.Swap(newEra(p.lifetime))
	step.At("Reset: new era")
	p.outage.Store(0)
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			if c := b.slots[i].Load(); c != nil && c.era != p.era.Load() {
				p.spoil(c, closedByReset, errReset)
			}
		}
	}
	old.end(errReset)
	p.ensureOpen(nil, nil)
	p.config.Logger.Info("reset")
	p.passSoon()
}

// brokenBy makes a cause of what Watch's broken was given.
func brokenBy(cause error) error {
	if cause == nil {
		return errBroken
	}
	return fmt.Errorf("pool: reported broken: %w", cause)
}

// spoil marks a connection as unfit to be lent. The first mark counts.
func (p *Pool) spoil(c *conn, why reason, cause error) {
	if !c.unfit.CompareAndSwap(nil, &defect{why, cause}) {
		return
	}
	step.At("spoil: marked")
	// If the connection is idle, it is closed now. If it is not, whoever has it
	// reads the mark before it is lent, or after it is published (settle, Put). If it
	// is taken just now, Get reads the mark after it has taken it.
	b, i := p.bankOf(c.slot)
	word := b.ring.At(i)
	if word.Phase() != ring.Idle || b.slots[i].Load() != c {
		return
	}
	step.At("spoil: slot read")
	h, ok := p.retake(held{c.slot, word})
	if !ok {
		return
	}
	if b.slots[i].Load() == c {
		p.destroy(h, why, cause)
	} else {
		go p.settle(h, false) // another connection has come into the slot, with the same word
	}
}
