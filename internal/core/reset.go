package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// An era is the time between two calls of Reset. Connections of an earlier era are not
// lent any more.
type era struct {
	ctx context.Context // ends with the era or the pool; parent of the ctx of each Open
	end context.CancelCauseFunc
}

func newEra(lifetime context.Context) *era {
	e := new(era)
	e.ctx, e.end = context.WithCancelCause(lifetime)
	return e
}

var errReset = errors.New("pool: reset")

// Reset closes every connection that exists now: the idle ones at once, the leased ones
// when they come back. It also ends an outage.
func (p *Pool) Reset() {
	if !p.wake() {
		return
	}
	if p.elsewhere() {
		p.config.Logger.Warn("Reset has done nothing", slog.Any("error", ErrBubble))
		return
	}
	// The race with opened. Here the era is changed, then each slot is looked at. There a
	// slot is filled, then the era is read. At least one of the two sees the other.
	old := p.era.Swap(newEra(p.lifetime))
	step.At("Reset: new era")
	last := p.lastOpen.Load()
	p.outage.Store(nil)
	p.lastOpen.CompareAndSwap(last, nil) // unless there is a failure already that begins the next one
	p.openEnded()                        // Warm waits no longer
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			if c := b.slots[i].Load(); c != nil && c.era != p.era.Load() {
				p.spoil(c, closedByReset, errReset)
			}
		}
	}
	old.end(errReset)
	p.ensureOpen(nil)
	p.config.Logger.Info("reset")
	p.passSoon()
}

// brokenBy returns the cause of a close for what the application has passed to broken.
func brokenBy(cause error) error {
	if cause == nil {
		return errBroken
	}
	return fmt.Errorf("pool: reported broken: %w", cause)
}

// spoil marks a connection as unfit, so that it is never lent again. The first mark
// counts.
func (p *Pool) spoil(c *conn, why reason, cause error) {
	if !c.mark(why, cause) {
		return
	}
	step.At("spoil: marked")
	// It will not come back to those who wait for it alone. The other side is in waitSame, which
	// makes the line, then reads the mark. One that is being opened has no line yet.
	if c.same.Load() != nil {
		p.refuseSame(c, p.goneBy(c, why, cause))
	}
	// If the connection is idle or reserved, it is closed now. If it is not, its owner reads the
	// mark: before it lends the connection, or after it has published it (settle, Put).
	// If it is being taken at this moment, Get reads the mark after it has taken it.
	b, i := p.bankOf(c.slot)
	word := b.ring.At(i)
	if b.slots[i].Load() != c {
		return // not yet, or not any more: then whoever closes it judges it (destroyLeaving)
	}
	if why == closedByWatch {
		p.judge(c, word, 0, why, cause)
	}
	if word.Phase() != ring.Idle && c.reservedBy(word) == nil {
		return
	}
	step.At("spoil: slot read")
	// The word is of this connection: it was in the slot after the word was read, and each
	// connection comes with another generation.
	if h, ok := p.collect(held{c.slot, word}); ok {
		p.destroy(h, why, cause)
	}
}
