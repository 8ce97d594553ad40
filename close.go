package pool

import (
	"context"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// closeGrace is how long Close waits for Factory.Close to return.
const closeGrace = time.Second

// destroy closes the connection in a held slot, for the given reason. A nil cause
// says that it is healthy. The slot is free for others before Factory.Close begins or,
// with StrictMax, when it has returned.
func (p *Pool[T]) destroy(h held, why reason, cause error) {
	p.destroyFor(h, why, cause, nil, nil)
}

// destroyFor is destroy, with somebody for whom another may have to be opened.
func (p *Pool[T]) destroyFor(h held, why reason, cause error, asker *waiter, asked context.Context) {
	p.conns.Add(uint64(censusLeaving))
	p.destroyLeaving(h, why, cause, asker, asked)
}

// destroyLeaving is destroyFor for a slot that has been counted as leaving.
func (p *Pool[T]) destroyLeaving(h held, why reason, cause error, asker *waiter, asked context.Context) {
	c, word := p.empty(h)
	if c == nil {
		return
	}
	if d := c.unfit.Load(); d != nil && cause == nil {
		why, cause = d.why, d.cause // it was marked before it was taken
	}
	p.counters.closed[why].Inc()
	vacate := func() {
		p.vacate(c, word)
		p.ensureOpen(asker, asked)
	}
	if p.config.StrictMax {
		go p.closeConn(c, why, cause, vacate)
		if gateWord(p.gate.Load()).shrinking() {
			p.shrunk() // that it is leaving is enough
		}
		return
	}
	vacate()
	go p.closeConn(c, why, cause, func() {})
}

// empty takes the connection out of a held slot that has been counted as leaving. It
// returns nil, and has taken the count back, if Close has revoked the slot.
func (p *Pool[T]) empty(h held) (c *conn[T], busy ring.Word) {
	b, i := p.bankOf(h.slot)
	busy, ok := b.ring.Reserve(i, h.word)
	if !ok {
		p.conns.Sub(uint64(censusLeaving))
		return nil, 0
	}
	step.At("empty: reserved")
	return b.slots[i].Swap(nil), busy // and nothing in the pool refers to it any more
}

// vacate gives up the slot that c was in.
func (p *Pool[T]) vacate(c *conn[T], busy ring.Word) {
	c.ring.Vacate(c.index, busy) // before the count is lowered: see claim
	p.conns.Sub(uint64(censusOpen + censusLeaving))
	step.At("vacate: census lowered")
	p.openEnded() // Warm has room
	if gateWord(p.gate.Load()).shrinking() {
		p.shrunk()
	}
}

// closeConn closes a connection that has left its slot.
func (p *Pool[T]) closeConn(c *conn[T], why reason, cause error, closed func()) {
	p.config.Logger.Debug("closing a connection", slog.Uint64("conn", c.number),
		slog.String("reason", why.String()), slog.Any("cause", cause), slog.Duration("age", time.Since(c.opened)))
	p.hookClosed(why, cause)
	p.callClose(c, cause, closed)
}

// callClose calls Factory.Close. It calls closed when that has returned, or has taken too
// long and is abandoned.
func (p *Pool[T]) callClose(c *conn[T], cause error, closed func()) {
	var ended atomic.Bool
	timer := time.AfterFunc(callLimit, func() {
		if ended.CompareAndSwap(false, true) {
			p.abandoned("Factory.Close", callLimit)
			closed()
		}
	})
	defer func() { // deferred, in case of runtime.Goexit
		timer.Stop()
		if ended.CompareAndSwap(false, true) {
			closed()
		}
		p.forget()
	}()
	if err := guard("Factory.Close", func() error { return p.factory.Close(c.value, cause) }); err != nil {
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
		p.lastMax.Store(uint32(c.max()))
		p.conns.CompareAndSwap(uint64(c), uint64(c.withMax(0)))
	}
	step.At("shut: limit set")
	p.setGate(gateClosed) // the pool is closed here
	step.At("shut: flag set")
	p.refuseAll(ErrClosed)
	for {
		h, ok := p.scan()
		if !ok {
			break
		}
		p.settle(h, true) // closes it
	}
	p.close(ErrClosed)
	p.noteAllGone()
}

// ending reports whether the limit is 0 already. It sees to it that the pool is closed
// then: a caller who is told so must not be lent anything afterwards, because whoever set
// the limit has not come to the flag yet.
func (p *Pool[T]) ending(c census) bool {
	if c.max() > 0 {
		return false
	}
	p.setGate(gateClosed)
	return true
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
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			for !p.revokeSlot(b, i) {
			}
		}
	}
}

// revokeSlot reports false if the slot must be looked at again.
func (p *Pool[T]) revokeSlot(b *bank[T], i int) bool {
	word := b.ring.At(i)
	switch word.Phase() {
	case ring.Idle:
		if h, ok := p.retake(held{b.first + i, word}); ok {
			p.destroy(h, closedByShutdown, nil)
		}
		return false
	case ring.Leased:
		if word.Stamp() == revokedStamp {
			return true // by another revoke, which closes it
		}
		if word, ok := b.ring.Renew(i, word, revokedStamp); ok {
			step.At("revoke: renewed")
			p.destroy(held{b.first + i, word}, closedByShutdown, ErrClosed)
		}
		return false
	}
	return true
}

// notLeased says why a lease is not in force: it has ended, or Close has revoked
// it. Of all who ask about a lease that was revoked, one gets errRevoked, and has
// ended it in its own eyes.
func (p *Pool[T]) notLeased(l Lease[T]) error {
	word := l.conn.ring.At(l.conn.index)
	if gateWord(p.gate.Load()).closed() &&
		word.Stamp() == revokedStamp && word.Succeeds(l.word) &&
		l.conn.revoked.CompareAndSwap(false, true) {
		return errRevoked
	}
	return ErrNotLeased
}
