package core

import (
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// notFresh is the generation of no lease.
const notFresh = 1<<64 - 1

// settle finds the next owner of a held slot: the oldest waiter or, if nobody
// waits, whoever takes it. Every slot that comes free while somebody waits goes
// through here: that of a Put, of a connection just opened, of a waiter who got it
// too late, of the sweeper.
//
// The race between the two sides, a slot that is published and a caller who comes
// to wait:
//
//	publisher:  publishes the slot; then reads the gate and the queue
//	waiter:     raises the gate, links itself; then looks at the slots (Pool.wait)
//
// Go's atomics have one order that all agree on. So a publisher that sees nobody
// has published before the waiter was linked, and the waiter finds the slot. The
// publisher answers for its own slot only: it takes it back and settles it, or
// somebody else has taken it since, who will settle it or put it back in turn.
//
// It is the same between a slot that is published and a Close or a Resize that sets its
// flag, then collects what is idle; and between a slot that is published and whoever
// marks the connection as unfit, then looks whether it is idle (spoil).
//
// A connection that goes straight from one caller to the next has not been idle, but
// the next is lent it all the same: unless it has just been checked or opened, as
// checked says, Factory.Check is asked first.
func (p *Pool) settle(h held, checked bool) {
	for {
		c := p.connIn(h.slot)
		if c == nil {
			return // revoked by Close
		}
		if d := c.unfit.Load(); d != nil {
			p.destroy(h, d.why, d.cause)
			return
		}
		if g := words.Gate(p.gate.Load()); g.Closed() {
			p.destroy(h, closedByShutdown, nil)
			return
		} else if g.Shrinking() && p.surplus() {
			p.destroyLeaving(h, closedByResize, nil, nil, nil)
			return
		}
		step.At("settle: gate read")
		dummy, w := p.queue.Front()
		if w == nil {
			step.At("settle: nobody waits")
			if c.born == h.word.Generation() {
				c.born = notFresh // the slot is ours, and nobody has had a lease of c
			}
			published, ok := p.publish(h)
			if !ok {
				return // revoked by Close
			}
			step.At("settle: published")
			if !p.wanted(c) {
				return
			}
			if h, ok = p.retake(published); !ok {
				return // somebody else has taken it
			}
			continue
		}
		step.At("settle: somebody waits")
		if !checked {
			if p.factory.Check != nil {
				if fit, _ := p.ask(h, c, "Factory.Check", p.factory.Check, closedByCheck); !fit {
					return
				}
			}
			checked = true
			continue // it may have taken a while
		}
		if c.unfit.Load() != nil {
			continue // marked before w was linked, perhaps: it must not be lent to w
		}
		if p.grant(w, queue.Token{Slot: h.slot, Word: h.word}) {
			p.queue.Advance(dummy, w)
			return
		}
		// Decided by somebody else, or of no use to it: on to the next. To stop
		// here would leave the slot, or the next waiter, to nobody.
	}
}

// grant gives a connection to a waiter. It fails if the wait is over.
func (p *Pool) grant(w *queue.Waiter, t queue.Token) bool {
	if !w.Decide(queue.Taken) { // the hand-off
		return false
	}
	step.At("grant: decided")
	p.gate.Sub(uint64(words.GateWaiter))
	ch, done := w.Strip()
	// Its ctx may have ended without its goroutine having run since. Given the
	// connection, it would only pass it on, once it gets to run. This is asked
	// after the decision because only then the field is ours to read.
	select {
	case <-done:
		ch <- queue.Token{Err: errEnded}
		return false
	default:
	}
	step.At("grant: ctx looked at")
	ch <- t // never blocks: it is the only token for this wait
	return true
}

// refuse gives an error to a waiter. It fails if the wait is over.
func (p *Pool) refuse(w *queue.Waiter, err error) bool {
	if !w.Decide(queue.Taken) {
		return false
	}
	step.At("refuse: decided")
	p.gate.Sub(uint64(words.GateWaiter))
	ch, _ := w.Strip()
	ch <- queue.Token{Err: err}
	return true
}

// refuseOldest gives an error to the oldest waiter. It reports false if nobody waits.
func (p *Pool) refuseOldest(err error) bool {
	for {
		dummy, w := p.queue.Front()
		if w == nil {
			return false
		}
		if p.refuse(w, err) {
			p.queue.Advance(dummy, w)
			return true
		}
	}
}

// refuseAll gives an error to all who wait. It reports false if nobody does.
func (p *Pool) refuseAll(err error) (any bool) {
	if err == nil {
		return false
	}
	for p.refuseOldest(err) {
		any = true
	}
	return any
}

// reconsider is for whoever has published a slot and sees that it may be wanted.
func (p *Pool) reconsider(published held) {
	c := p.connIn(published.slot)
	if c == nil || !p.wanted(c) {
		return
	}
	if h, ok := p.retake(published); ok {
		p.settle(h, false)
	}
}

// wanted reports whether somebody must see to a slot that has been published with c
// in it.
func (p *Pool) wanted(c *conn) bool {
	if c.unfit.Load() != nil {
		return true
	}
	g := words.Gate(p.gate.Load())
	if g == 0 {
		return false
	}
	if g.Closed() || g.Shrinking() && words.Census(p.conns.Load()).Over() {
		return true
	}
	_, w := p.queue.Front()
	return w != nil
}
