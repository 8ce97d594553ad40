package pool

import (
	"context"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// closeGrace is how long Close waits for Factory.Close to return.
const closeGrace = time.Second

// destroy closes the connection in a held slot, for the given reason. A nil cause
// says that it is healthy. The slot is free for others before Factory.Close begins.
func (p *Pool[T]) destroy(h held, why reason, cause error) {
	if c := p.vacate(h); c != nil {
		p.closeConn(c, why, cause)
	}
}

// vacate takes the connection out of a held slot and offers the slot to those who
// wait. It returns nil if Close has revoked the slot.
func (p *Pool[T]) vacate(h held) *conn[T] {
	word, ok := p.ring.Reserve(h.slot, h.word)
	if !ok {
		return nil
	}
	c := p.slots[h.slot].Swap(nil) // and nothing in the pool refers to it any more
	p.ring.Vacate(h.slot, word)    // before the count is lowered: see ensureOpen
	p.conns.Sub(uint64(censusOpen))
	step.At("vacate: census lowered")
	p.ensureOpen(nil, nil)
	return c
}

// closeConn closes a connection that has left its slot. It waits neither for
// Factory.Close nor for the log.
func (p *Pool[T]) closeConn(c *conn[T], why reason, cause error) {
	p.counters.closed[why].Inc()
	go func() {
		defer p.forget()
		p.config.Logger.Debug("closing a connection", slog.Int("slot", c.slot), slog.String("reason", why.String()), slog.Any("cause", cause))
		p.callClose(c, cause)
	}()
}

func (p *Pool[T]) callClose(c *conn[T], cause error) {
	if err := guard("Close", func() error { return p.factory.Close(c.value, cause) }); err != nil {
		p.config.Logger.Debug("closing a connection failed", slog.Any("error", err), stackOf(err))
	}
}

// forget counts a connection that is closed, or the caller's now.
func (p *Pool[T]) forget() {
	p.unclosed.Dec()
	p.noteAllGone()
}

// noteAllGone closes allGone once the pool is closed and no connection is left. Of
// those who close the pool and those who close the last connection, whoever comes
// second sees both.
func (p *Pool[T]) noteAllGone() {
	if gateWord(p.gate.Load()).closed() && p.unclosed.Load() == 0 && p.gone.CompareAndSwap(false, true) {
		close(p.allGone)
	}
}

// Shutdown closes the pool and waits for what is still in use. From the call on
// nothing is lent: those who wait and those who come get [ErrClosed]. Idle
// connections are closed at once, leased ones when they are put back. Shutdown
// returns nil when all are closed, but for those that are being opened: they are
// closed when they are open. If ctx ends before, it closes those that are still
// leased, as [Pool.Close] does, and returns an error that wraps ctx.Err. So with a
// ctx that does not end, it waits for as long as anybody keeps a connection.
func (p *Pool[T]) Shutdown(ctx context.Context) error {
	p.shut()
	select {
	case <-p.allGone:
		return nil
	default:
	}
	select {
	case <-p.allGone:
		return nil
	case <-ctx.Done():
	}
	active, unclosed := p.Stats().ActiveConnections, p.unclosed.Load()
	p.revoke()
	return &shutdownError{active, int(unclosed), contextEnded(ctx, nil)}
}

// Close closes the pool and all its connections at once, also those that are
// leased: their holders see them fail. Those who wait and those who come get
// [ErrClosed]. Close waits for Factory.Close to return, but not for longer than a
// second, and not for connections that are being opened: they are closed when they
// are open. It returns nil. Calls after the first do nothing more, but wait as well.
func (p *Pool[T]) Close() error {
	p.shut()
	p.revoke()
	select {
	case <-p.allGone:
	default:
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-p.allGone:
		case <-grace.C:
		}
	}
	return nil
}

// shut ends all that is to come: opening, lending, waiting. Any number of
// goroutines may be in here at the same time, and each does all of it.
func (p *Pool[T]) shut() {
	// The limit comes before the flag: whoever sees the flag sees that nothing may
	// be opened any more.
	for c := census(p.conns.Load()); c.max() != 0; c = census(p.conns.Load()) {
		p.conns.CompareAndSwap(uint64(c), uint64(c)-uint64(c.max())*uint64(censusMax))
	}
	step.At("shut: limit set")
	for g := gateWord(p.gate.Load()); !g.closed(); g = gateWord(p.gate.Load()) {
		p.gate.CompareAndSwap(uint64(g), uint64(g|gateClosed)) // the pool is closed here
	}
	step.At("shut: flag set")
	p.drain()
	for {
		slot, word, ok := p.ring.Scan()
		if !ok {
			break
		}
		p.settle(held{slot, word}, true) // closes it
	}
	p.end(ErrClosed)
	p.noteAllGone()
}

// drain tells all who wait that the pool is closed.
func (p *Pool[T]) drain() {
	for p.refuseOldest(ErrClosed) {
	}
}

// revokedStamp marks the word of a slot whose lease Close has revoked.
const revokedStamp = 1<<16 - 1

// revoke closes every connection there is, also those that are leased. The pool is
// closed.
//
// Whoever has the slot and whoever revokes it agree by the slot's word, as always.
// No slot escapes: one that is idle or leased when revoke looks at it is closed
// here. One that is not is vacant, and remains so, or belongs to an open or a close
// that has not ended yet, and an open ends in settle, which sees the gate closed.
func (p *Pool[T]) revoke() {
	for slot := range p.ring.High() {
		for {
			word := p.ring.At(slot)
			var ok bool
			switch word.Phase() {
			case ring.Idle:
				if word, ok = p.ring.Retake(slot, word); ok {
					p.destroy(held{slot, word}, closedByShutdown, nil)
				}
				continue
			case ring.Leased:
				if word.Stamp() == revokedStamp {
					break // by another revoke, which closes it
				}
				if word, ok = p.ring.Renew(slot, word, revokedStamp); ok {
					step.At("revoke: renewed")
					p.destroy(held{slot, word}, closedByShutdown, ErrClosed)
				}
				continue
			}
			break
		}
	}
}

// notLeased says why a lease is not in force: it has ended, or Close has revoked
// it. Of all who ask about a lease that was revoked, one gets errRevoked, and has
// ended it in its own eyes.
func (p *Pool[T]) notLeased(l Lease[T]) error {
	word := p.ring.At(l.conn.slot)
	if gateWord(p.gate.Load()).closed() &&
		word.Stamp() == revokedStamp && word.Succeeds(l.word) &&
		l.conn.revoked.CompareAndSwap(false, true) {
		return errRevoked
	}
	return ErrNotLeased
}
