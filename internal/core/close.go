package core

import (
	"context"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// closeGrace is how long Close waits for Factory.Close and Open to return.
const closeGrace = time.Second

// destroy closes the connection in a held slot, for the given reason. A nil cause says
// that the connection is healthy. The slot is free before Factory.Close begins or, if
// closeBehind says so, when Factory.Close has returned.
func (p *Pool) destroy(h held, why reason, cause error) {
	p.conns.Add(uint64(words.CensusLeaving))
	p.destroyLeaving(h, why, cause, nil)
}

// destroyLeaving is destroy for a slot that is already counted as leaving, and for a caller
// that still waits: another connection may be opened for asker, who may be nil.
func (p *Pool) destroyLeaving(h held, why reason, cause error, asker *queue.Waiter) {
	if c, word := p.empty(h); c != nil {
		p.destroyEmptied(c, word, why, cause, asker)
	}
}

// destroyEmptied is destroyLeaving for a connection whose slot has been emptied.
func (p *Pool) destroyEmptied(c *conn, word ring.Word, why reason, cause error, asker *queue.Waiter) {
	if d := c.defect(); d != nil && d.why == closedByWatch {
		p.judge(c, word, 0, d.why, d.cause) // spoil may come too late to find it in its slot; two failures at the same time count as one
		if cause == nil {
			why, cause = d.why, d.cause
		}
	} else if d == nil {
		switch {
		case why == closedByDiscard:
			p.judge(c, word, 1, why, cause)
		case why == closedByCheck && c.justPut:
			p.judge(c, word, 1, why, cause) // what Put has said is taken back
		case why == closedByCheck:
			p.judge(c, word, 0, why, cause)
		}
	} else if cause == nil {
		why, cause = d.why, d.cause // it was marked before we got the slot
	}
	p.part(c, why.String(), cause)
	p.counters.closed[why].Inc()
	vacate := func() {
		p.vacate(c, word)
		p.ensureOpen(asker)
	}
	if !p.closeBehind() {
		go p.closeConn(c, why, cause, vacate)
		if words.Gate(p.gate.Load()).Shrinking() {
			p.shrunk() // it need only be counted as leaving
		}
		return
	}
	vacate()
	go p.closeConn(c, why, cause, p.closedBehind)
}

// closeBehind reports whether the slot of a connection may be free for another one while
// Factory.Close is at work, and counts that call; closedBehind counts it off. With StrictMax
// no slot may. Otherwise as many may as MaxConnections: without a bound, a server that is slow
// to close would have any number of connections.
func (p *Pool) closeBehind() bool {
	if p.config.StrictMax {
		return false
	}
	for {
		n := p.behind.Load()
		if n >= int32(p.maxConnections(words.Census(p.conns.Load()))) {
			return false
		}
		if p.behind.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *Pool) closedBehind() { p.behind.Dec() }

// maxConnections returns the limit in a census or, if the pool is closed, the last one.
func (p *Pool) maxConnections(c words.Census) int {
	if n := c.Max(); n > 0 {
		return n
	}
	return int(p.lastMax.Load())
}

// empty makes a held slot that is counted as leaving nobody's, and returns the connection in it,
// which the caller takes out (part). If Close or Revoke has revoked the slot, it takes the count
// back and returns nil.
func (p *Pool) empty(h held) (c *conn, busy ring.Word) {
	b, i := p.bankOf(h.slot)
	busy, ok := b.ring.Reserve(i, h.word)
	if !ok {
		p.conns.Sub(uint64(words.CensusLeaving))
		return nil, 0
	}
	step.At("empty: reserved")
	return b.slots[i].Load(), busy
}

// part takes a connection out of its slot, which has been emptied: the pool keeps no reference
// to it. Those who wait for it are told.
func (p *Pool) part(c *conn, reason string, cause error) {
	b, i := p.bankOf(c.slot)
	gone := &goneError{c.number, reason, cause}
	b.gone[i].Store(gone) // first: whoever does not find the connection looks here
	b.slots[i].Store(nil)
	p.unreserve(c)
	step.At("part: slot emptied")
	p.refuseSame(c, gone) // the other side is in waitSame
}

// vacate frees the slot that c was in.
func (p *Pool) vacate(c *conn, busy ring.Word) {
	c.ring.Vacate(c.index, busy) // before the count is lowered: see claim
	p.conns.Sub(uint64(words.CensusOpen + words.CensusLeaving))
	step.At("vacate: census lowered")
	p.openEnded() // Warm has room
	if words.Gate(p.gate.Load()).Shrinking() {
		p.shrunk()
	}
}

// closeConn closes a connection that has left its slot.
func (p *Pool) closeConn(c *conn, why reason, cause error, closed func()) {
	p.config.Logger.Debug("closing a connection", slog.Uint64("conn", c.number),
		slog.String("reason", why.String()), slog.Any("cause", cause), slog.Duration("age", time.Since(c.opened)))
	p.hookClosed(c, why, cause)
	p.callClose(c, cause, closed)
}

// callClose calls Factory.Close. It calls closed when that has returned, or has been
// abandoned because it took too long.
func (p *Pool) callClose(c *conn, cause error, closed func()) {
	var ended atomic.Bool
	timer := time.AfterFunc(callLimit, func() {
		if ended.CompareAndSwap(false, true) {
			p.abandoned("Factory.Close", callLimit)
			closed()
			p.rightBack(c.yielded)
		}
	})
	defer func() { // deferred, in case of runtime.Goexit
		timer.Stop()
		if ended.CompareAndSwap(false, true) {
			closed()
			p.rightBack(c.yielded)
		}
		p.forget()
	}()
	if err := guard("Factory.Close", func() error { return p.factory.Close(c.box, cause) }); err != nil {
		p.config.Logger.Debug("closing a connection failed", slog.Any("error", err), stackOf(err))
	}
}

// forget counts a connection that has been closed or detached.
func (p *Pool) forget() {
	p.unclosed.Dec()
	p.noteAllGone()
}

// noteAllGone closes allGone once the pool is closed, no connection is left, and none is
// being opened. The race: shut sets the flag, then calls this; forget, openFailed and
// setAside lower their count, then call this. The last of them sees all. (readmit need not: the
// connection that it has no slot for is closed, and forgotten.)
//
// The census comes first: an attempt that has opened a connection counts it as unclosed
// before it leaves the census (opened, unlent). One that is set aside is counted as unclosed
// itself, before it has no slot, until it has ended or is in the census again (setAside,
// readmit). And nothing is admitted by the census of a closed pool.
func (p *Pool) noteAllGone() {
	if words.Gate(p.gate.Load()).Closed() && words.Census(p.conns.Load()).Opening() == 0 && p.unclosed.Load() == 0 &&
		p.gone.CompareAndSwap(0, 1) {
		close(p.allGone)
		p.noteQuiet()
	}
}

// workerEnded is the last thing that a goroutine of the pool does: the sweeper, a round of
// checks, an attempt to open. One whose call of the factory was abandoned is counted off by
// whoever abandoned it. (One whose call was ended by Revoke or Close is not: it will return.) Those that close connections are not counted: forget is the last
// thing that they do.
func (p *Pool) workerEnded() {
	p.workers.Dec()
	p.noteQuiet()
}

// noteQuiet closes quiet once all are gone and no goroutine of the pool is left. The
// race: noteAllGone sets gone, then calls this; workerEnded lowers the count, then calls
// this. The second of them sees both. (If it is workerEnded, it may come just before
// allGone is closed.)
func (p *Pool) noteQuiet() {
	if p.gone.Load() == 1 && p.workers.Load() == 0 && p.gone.CompareAndSwap(1, 2) {
		close(p.quiet)
		if p.whenGone != nil {
			p.whenGone()
		}
	}
}

// Shutdown closes the pool and waits until every connection is closed and none is being
// opened, or ctx ends. Then it closes the others as Close does.
func (p *Pool) Shutdown(ctx context.Context) error {
	if p.elsewhere() {
		return ErrBubble
	}
	p.shut()
	select {
	case <-p.allGone:
		p.awaitQuiet()
		return nil
	default:
	}
	select {
	case <-p.allGone:
		p.awaitQuiet()
		return nil
	case <-ctx.Done():
	}
	s, unclosed := p.Stats(), int(p.unclosed.Load())
	if p.aside.Load() != nil { // counted as unclosed, but it is being opened
		unclosed = max(unclosed-1, 0)
		s.OpeningConnections++
	}
	p.revoke()
	return &shutdownError{s.ActiveConnections, unclosed, s.OpeningConnections, contextEnded(ctx, nil)}
}

// Close closes the pool and all its connections at once.
func (p *Pool) Close() error {
	if p.elsewhere() {
		return ErrBubble
	}
	p.shut()
	p.revoke()
	p.awaitQuiet()
	return nil
}

// awaitQuiet waits for the end of the pool's last goroutine, but no longer than closeGrace:
// it may be in a function of the factory that does not return, or be the very one that
// calls, in a hook. Once allGone is closed, it is a matter of microseconds.
func (p *Pool) awaitQuiet() {
	select {
	case <-p.quiet:
		return
	default:
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-p.quiet:
	case <-grace.C:
	}
}

// shut stops the pool: from here on nothing is opened, nothing is lent, and nobody waits.
// Any number of goroutines may be in here at the same time; each of them does all of it.
func (p *Pool) shut() {
	p.wake()
	// The limit before the flag: anybody that sees the flag sees that nothing may be
	// opened any more.
	for c := words.Census(p.conns.Load()); c.Max() != 0; c = words.Census(p.conns.Load()) {
		p.lastMax.Store(uint32(c.Max()))
		p.conns.CompareAndSwap(uint64(c), uint64(c.WithMax(0)))
	}
	step.At("shut: limit set")
	p.setGate(words.GateClosed) // the pool is closed here
	step.At("shut: flag set")
	p.refuseAll(ErrClosed)
	p.refuseAllSame()
	if p.budget != nil {
		p.budget.quitAll()
	}
	for {
		h, ok := p.scan()
		if !ok {
			break
		}
		p.settle(h, true) // closes it, because the flag is set
	}
	for {
		h, ok := p.takeLongest()
		if !ok {
			break
		}
		p.settle(h, true)
	}
	p.close(ErrClosed)
	p.noteAllGone()
}

// ending reports whether the limit is already 0. If it is, ending makes sure that the
// flag is set, too. The goroutine that has set the limit may not have set the flag yet,
// and a caller that is told that the pool is closed must not get a connection afterwards.
func (p *Pool) ending(c words.Census) bool {
	if c.Max() > 0 {
		return false
	}
	p.setGate(words.GateClosed)
	return true
}

// revokedStamp marks the word of a slot whose lease Close or Revoke has revoked.
const revokedStamp = 1<<16 - 1

// revoke closes every connection, also those that are leased. The pool is closed.
//
// The owner of a slot and revoke compete by one compare-and-swap of the slot's word. No
// slot escapes. One that is idle or leased when revoke looks at it is closed here. Any
// other slot is vacant and remains so, or belongs to an open or a close in progress; and
// an open ends in settle, which sees the gate closed.
func (p *Pool) revoke() {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			for !p.revokeSlot(b, i) {
			}
		}
	}
}

// revokeSlot reports false if the slot must be looked at again.
func (p *Pool) revokeSlot(b *bank, i int) bool {
	word := b.ring.At(i)
	switch word.Phase() {
	case ring.Idle:
		if h, ok := p.retake(held{b.first + i, word}); ok {
			p.destroy(h, closedByShutdown, nil)
		}
		return false
	case ring.Leased:
		if word.Stamp() == revokedStamp {
			return true // somebody else has revoked it, and closes it
		}
		if c := b.slots[i].Load(); (held{b.first + i, word}).owns(c) {
			p.revokeLease(Lease{c, word}, closedByShutdown, ErrClosed)
		}
		return false
	}
	return true
}
