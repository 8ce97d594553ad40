package core

import (
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// notFresh is a generation that no lease has.
const notFresh = 1<<64 - 1

// settle finds the next owner of a held slot. That is the oldest waiter. If nobody waits,
// the slot is published, and the goroutine that takes it is the next owner. Every slot
// that comes free while somebody waits goes through here: after a Put, after an open,
// from a waiter that got it too late, from the sweeper.
//
// The race between the two sides, a slot that is published and a caller that comes to
// wait:
//
//	publisher:  publishes the slot; then reads the gate and the queue
//	waiter:     raises the gate, links itself; then looks at the slots (Pool.wait)
//
// Go's atomics have one order that all agree on. So a publisher that sees nobody has
// published before the waiter was linked, and the waiter finds the slot. The publisher
// answers for its own slot only. Either it takes the slot back and settles it. Or
// somebody else has taken it since, and will settle it or put it back in turn.
//
// Two other races have the same form. A slot is published, while Close or Resize sets its
// flag, then collects what is idle (shut, Resize). A slot is published, while spoil marks
// its connection as unfit, then looks whether it is idle.
//
// A connection that goes straight from one caller to the next has not been idle.
// Factory.Check is still asked before the hand-off, unless checked is set: the connection
// has just been checked or opened.
func (p *Pool) settle(h held, checked bool) {
	for {
		c := p.connIn(h.slot)
		if !h.owns(c) {
			return // revoked
		}
		if d := c.defect(); d != nil {
			p.destroy(h, d.why, d.cause)
			return
		}
		if p.over(c) {
			p.destroy(h, closedByLifetime, nil)
			return
		}
		g := words.Gate(p.gate.Load())
		if g.Closed() {
			p.destroy(h, closedByShutdown, nil)
			return
		}
		// Also while the flag is clear: it may be so for a moment, in shrunk, which is about to
		// set it again, and what is lent meanwhile is not collected.
		if words.Census(p.conns.Load()).Over() && p.surplus(g.Shrinking()) {
			p.destroyLeaving(h, closedByResize, nil, nil)
			return
		}
		step.At("settle: gate read")
		oldest := p.queue.Front()
		w := oldest
		kept := c.kept == h.word.Generation()
		if kept || c.notice.Load() != nil || w != nil && w.Fresh() {
			var rank int
			if w, rank = p.firstFor(c, kept, w); rank > 0 {
				if p.yield(w, rank) {
					p.destroyLeaving(h, closedByFresh, nil, w)
					return
				}
				continue
			}
		}
		if words.Gate(p.gate.Load()).Asked() && (w != nil || !p.kept(c, h)) && p.yieldsTo(h, c, w) {
			return
		}
		if w == nil {
			step.At("settle: nobody waits")
			if c.notice.Load() != nil && !c.takeDown() {
				continue
			}
			if c.born == h.word.Generation() {
				c.born = notFresh // we hold the slot, and nobody has had a lease of c
			}
			c.justPut = false
			c.sight.Forget(h.word) // and again when others may have it: see publish
			if kept {
				if done, back := p.reserveKept(c, h); done {
					return
				} else if back {
					continue
				}
			}
			published, ok := p.publish(h, c)
			if !ok {
				return // revoked
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
			checked = true
			if p.factory.Check != nil {
				if fit, _ := p.ask(h, c, checkCall, p.factory.Check); !fit {
					return
				}
				c.justPut = false
				continue // Check may have taken a while
			}
			c.justPut = false
		}
		if c.defect() != nil {
			continue // perhaps marked before w was linked: it must not be lent to w
		}
		if p.grant(w, queue.Token{Slot: h.slot, Word: h.word}) {
			switch {
			case w == oldest:
				p.queue.Advance(w)
			case w.WaitsForOne():
				c.same.Load().Advance(w)
			default:
				p.sweepAside() // it stood behind a fresh waiter
			}
			p.fewerWait()
			return
		}
		// Somebody else has decided w, or its ctx has ended: on to the next. To stop here
		// would leave the slot without an owner, or the next waiter without a slot.
	}
}

// grant gives a connection to a waiter. It reports false if the waiter does not get it:
// its wait is over, or its ctx has ended.
func (p *Pool) grant(w *queue.Waiter, t queue.Token) bool {
	if !w.Decide(queue.Taken) { // the hand-off
		return false
	}
	step.At("grant: decided")
	p.unregister(w)
	ch, done := w.Strip()
	// Its ctx may have ended while its goroutine has not run since. Given the connection,
	// it would only pass it on, once it runs. This is asked after the decision, because
	// only then may we read the field.
	select {
	case <-done:
		ch <- queue.Token{Err: errEnded}
		return false
	default:
	}
	step.At("grant: ctx looked at")
	ch <- t // never blocks: it is the only token of this wait
	return true
}

// refuse gives an error to a waiter. It reports false if the wait is over.
func (p *Pool) refuse(w *queue.Waiter, err error) bool {
	if !w.Decide(queue.Taken) {
		return false
	}
	step.At("refuse: decided")
	p.unregister(w)
	ch, _ := w.Strip()
	ch <- queue.Token{Err: err}
	return true
}

// refuseOldest gives an error to the oldest waiter. It reports false if nobody waits.
func (p *Pool) refuseOldest(err error) bool {
	for {
		w := p.queue.Front()
		if w == nil {
			return false
		}
		if p.refuse(w, err) {
			p.queue.Advance(w)
			return true
		}
	}
}

// refuseAll gives an error to all waiters. It reports false if there are none.
func (p *Pool) refuseAll(err error) (any bool) {
	for p.refuseOldest(err) {
		any = true
	}
	return any
}

// reconsider is called after a slot has been published and something may want it back.
func (p *Pool) reconsider(published held) {
	c := p.connIn(published.slot)
	if c == nil || !p.wanted(c) {
		return
	}
	if p.elsewhere() {
		return // it stays idle: whoever waits must not be woken from here
	}
	if h, ok := p.retake(published); ok {
		p.settle(h, false)
	}
}

// wanted reports whether a slot that has been published with c in it has to be taken back
// and settled.
func (p *Pool) wanted(c *conn) bool {
	if c.notice.Load() != nil {
		return true
	}
	g := words.Gate(p.gate.Load())
	if g == 0 {
		return false
	}
	if g.Closed() || g.Shrinking() && words.Census(p.conns.Load()).Over() {
		return true
	}
	if g.Asked() && p.wantedElsewhere() {
		return true
	}
	w := p.queue.Front()
	if w != nil && w.Fresh() {
		if w, _ = p.heir(w, c.after); w == nil {
			p.ensureOpen(nil) // one may need room, but not now: then the sweeper minds it
		}
	}
	return w != nil
}
