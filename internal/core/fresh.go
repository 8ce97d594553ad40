package core

import (
	"context"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A fresh waiter is a caller of GetFresh. It stands in the queue like any other, and differs
// in three ways.
//
//   - A connection is for it only if its opening began after the waiter was linked. An
//     attempt counts who has come (after), and a waiter has its number in that count. So
//     what is opened from now on is for everybody who waits now, and the order of the queue
//     decides. Only what is older passes a fresh waiter by, to the next one that it is for.
//   - One attempt is begun for it, beyond what the number of waiters asks for: what is under
//     way may be too old for it. The waiter is claimed then, until that attempt ends.
//   - While all slots are full, it needs the room of a connection that is too old for it.
//     If it is its turn, the connection that has come back is closed (settle), and otherwise
//     the one that has been idle longest (evict).
//
// A fresh waiter never parks, so it excuses nobody from looking at the slots (see wait).
//
// The race between the two sides, a slot that is published in a full pool and a fresh waiter
// that comes:
//
//	publisher:  publishes the slot; then walks the queue (wanted)
//	waiter:     links itself; then looks for an idle slot (ensureOpen, evict)
//
// Whoever lets go of a claim without an open is in the place of the waiter: it lets go, then
// looks (openForWaiters, release).

// GetFresh lends a connection whose opening begins after the call.
func (p *Pool) GetFresh(ctx context.Context) (Lease, error) {
	if ctx.Err() != nil {
		return Lease{}, contextEnded(ctx, nil)
	}
	if !p.wake() {
		return Lease{}, ErrBubble
	}
	p.fresh.Inc() // before the gate: whoever sees the waiter sees this
	defer p.fresh.Dec()
	l, err := p.wait(ctx, true, 0)
	if err != nil {
		return l, err
	}
	return p.noted(l, 2), nil
}

// heir returns the waiter that comes next for a held connection, if the first one is a fresh
// waiter: first is what Front has returned, and after says how many had come when
// the opening of the connection began. If rank is not 0, the connection is too old for w, who
// needs its room: rank fresh waiters, up to this one, have no attempt yet.
func (p *Pool) heir(first *queue.Waiter, after uint64) (w *queue.Waiter, rank int) {
	w = first
	for w != nil {
		if w.Suits(after) {
			return w, 0
		}
		if w.Unclaimed() {
			if rank++; p.lacksRoom(words.Census(p.conns.Load()), rank) {
				return w, rank
			}
		}
		next, ok := p.queue.Behind(w)
		if !ok { // w has left the row: from the front again
			next, rank = p.queue.Front(), 0
		}
		w = next
	}
	return nil, 0
}

// plainWaits reports whether somebody waits who may be lent any connection.
func (p *Pool) plainWaits() bool {
	w := p.queue.Front()
	for w != nil && w.Fresh() {
		next, ok := p.queue.Behind(w)
		if !ok {
			next = p.queue.Front()
		}
		w = next
	}
	return w != nil
}

// lacksRoom reports whether so many fresh waiters without an attempt need more room than
// there is, and an attempt could begin in it now. What is leaving is room. No more is
// closed for them than may be opened at a time.
func (p *Pool) lacksRoom(c words.Census, rank int) bool {
	if c.Max() == 0 || p.tooMany(c) || p.roomIn(c) >= rank {
		return false
	}
	begun := c.Opening() - int(p.overdue.Load()) + c.Leaving()
	if o := p.outage.Load(); o != nil {
		return begun <= 0 && p.now() >= int64(o.RetryAt(p.config.MaxBackoff))
	}
	return begun < p.quota(max(words.Gate(p.gate.Load()).Waiters(), begun+1), c)
}

// roomIn returns how much room there is, and will be: what is leaving is room. While the budget has
// no right for the pool, there is as much as its own connections that are being closed.
func (p *Pool) roomIn(c words.Census) int {
	room := c.Max() - c.Open() + c.Leaving()
	if p.budget != nil && p.budget.asks() > 0 {
		return min(room, max(int(p.unclosed.Load())-c.Established(), 0)+c.Leaving())
	}
	return room
}

// yield counts one more slot as leaving if a fresh waiter needs its room, as heir has said.
// The caller has the slot in hand, and empties it if the result is true.
//
// Of those who look at the same waiter, one yields: the census decides. The claim is read
// after the swap. If the waiter got an attempt before the swap, in room that somebody else has
// made, it had been claimed before that (openForWaiters); and the census may be what it was,
// because that attempt has ended.
func (p *Pool) yield(w *queue.Waiter, rank int) bool {
	c := words.Census(p.conns.Load())
	step.At("yield: census read")
	if !p.lacksRoom(c, rank) || !p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusLeaving)) {
		return false
	}
	step.At("yield: counted")
	if w.Unclaimed() {
		return true
	}
	p.unyield()
	return false
}

// unyield takes back what yield has counted. A Resize may have counted on it: then too many
// are open once more, and the flag may be clear already (shrunk).
func (p *Pool) unyield() {
	if c := words.Census(p.conns.Sub(uint64(words.CensusLeaving))); c.Over() && c.Max() > 0 {
		p.setGate(words.GateShrink)
		p.trim()
		p.shrunk()
	}
}

// evict makes room for fresh waiters whose turn it is, while idle connections are open that
// are too old for them. It closes the one that has been idle longest first.
//
// It takes the slot, then counts it as leaving (yield). A count without a slot would hide from a
// Resize, and from settle, that too many are open, and all of them might be lent.
//
// The other side is in settle, where a slot is published, then the queue is walked. Whoever
// counts on the room that is made here has published before: if it is not needed, settle walks
// the queue for the slot in hand.
func (p *Pool) evict() {
	for {
		w, rank := p.needsRoom()
		if w == nil {
			return
		}
		h, ok := p.takeOldest()
		if !ok {
			step.At("evict: looked in vain")
			return
		}
		if p.yield(w, rank) {
			p.destroyLeaving(h, closedByFresh, nil, w)
		} else {
			p.settle(h, false)
		}
	}
}

// needsRoom returns the fresh waiter that needs room and whose turn it is, with its rank, or
// nil.
func (p *Pool) needsRoom() (*queue.Waiter, int) {
	if w, rank := p.heir(p.queue.Front(), 0); rank > 0 {
		return w, rank
	}
	return nil, 0
}

// takeOldest takes the slot that has been idle longest, to within a tick of the clock. Of
// several it takes the last, which Get comes to last; if none is idle, the one that has been
// reserved longest. False means that each slot was neither at some instant of the call.
func (p *Pool) takeOldest() (held, bool) {
	for {
		var oldest held
		found, most := false, uint32(0)
		for _, b := range *p.banks.Load() {
			for i := range b.ring.High() {
				word := b.ring.At(i)
				if word.Phase() != ring.Idle {
					continue
				}
				if age := p.idleFor(word); age >= most {
					oldest, found, most = held{b.first + i, word}, true, age
				}
			}
		}
		if !found {
			return p.takeLongest()
		}
		if h, ok := p.retake(oldest); ok {
			return h, true
		}
		// Somebody has taken it.
	}
}

// unclaimed returns a fresh waiter without an attempt: asker if it is one, and else the
// first. It returns nil if there is none.
func (p *Pool) unclaimed(asker *queue.Waiter) *queue.Waiter {
	if asker != nil && asker.Unclaimed() {
		return asker
	}
	w := p.queue.Front()
	for w != nil && !w.Unclaimed() {
		next, ok := p.queue.Behind(w)
		if !ok {
			next = p.queue.Front()
		}
		w = next
	}
	return w
}

// release ends the claim of an attempt that is over. If its asker still waits, it needs
// another one: the caller calls ensureOpen afterwards.
func (p *Pool) release(a *attempt) {
	if !a.slotless && !a.counted { // in this order: readmit may just be setting counted
		p.unclaim(a)
	}
}

// unclaim is release for whoever knows that the claim is still the attempt's: one that was set
// aside has none any more, and its asker may be claimed for another one.
func (p *Pool) unclaim(a *attempt) {
	if a.asker != nil && a.asker.Fresh() {
		a.asker.Unclaim()
		step.At("release: claim ended")
	}
}

// idleSlots returns how many slots are idle or reserved.
func (p *Pool) idleSlots() (n int) {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			if word.Phase() == ring.Idle {
				n++
			} else if c := b.slots[i].Load(); c != nil && c.reservedBy(word) != nil {
				n++
			}
		}
	}
	return n
}
