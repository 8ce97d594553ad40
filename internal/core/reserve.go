package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A reserved connection is idle, but only for those who ask for it by its Mark. Its slot is held:
// leased, in a generation that no caller has, so that no Get finds it and none pays for it.
// Whoever takes the reservation out of the connection owns the slot; Close and Revoke may take
// the slot itself, as any that is held.
//
// That a connection is to be reserved is noted with the generation of its slot (keep). So it is
// forgotten when the next lease ends, and not when the pool takes the connection in between, to
// check it.
//
// A reservation ends when its time is over (pass), and when somebody who waits for any connection
// can get no other: MaxConnections are open or there is an outage, nothing is idle, and more wait
// than connections are being opened (lapse). The races, each with two sides:
//
//	settle:  stores the reservation; then reads the notice, the gate and its flags, the census
//	waiter:  raises the gate, links itself; then looks for what is reserved (ensureOpen)
//	spoil, shut, Resize:  mark, or set the flag; then look for what is reserved
//
//	settle:      stores the reservation; then reads the word of the slot
//	revokeLease: gives the slot another word; then takes the reservation out (part)
//
//	settle:  stores the reservation; then reads when the sweeper will look (lapseAt)
//	pass:    sets lapseAt to never; then looks; then sets lapseAt to the first end that it has seen
type reservation struct {
	held
	since, until time.Duration // on the pool's clock
}

// PutFor is Put, and reserves the connection for d.
func (p *Pool) PutFor(l Lease, d time.Duration) error {
	if d <= 0 || l.conn == nil || l.conn.pool != p { // this pool may be asleep
		return p.Put(l)
	}
	if p.elsewhere() {
		return ErrBubble // it would wake the sweeper, or start it
	}
	return p.putSlow(l, p.stampIn(d), true, d)
}

// stampIn returns the stamp that a slot gets which comes back in d: a reserved connection is idle
// from the end of its reservation on. Before that nobody looks at the stamp.
func (p *Pool) stampIn(d time.Duration) uint16 {
	if p.sweeper.tickLength == 0 {
		return uint16(p.tick.Load())
	}
	stamp := uint16((time.Duration(p.now()) + min(d, Forever)) / p.sweeper.tickLength)
	if stamp == revokedStamp {
		stamp--
	}
	return stamp
}

// ahead is a number of ticks: what seems to have been idle for so long has the stamp of a
// reservation that has not ended. See maxIdleTicks.
const ahead = 1 << 15

// idleTooLong reports whether the connection in a held slot has been idle for too long, as it
// seems by its stamp. (Without MaxIdleTime, it never seems so.)
func (p *Pool) idleTooLong(c *conn, h held) bool {
	// The coarse clock may be behind the stamp of a reservation that has just ended.
	return c.kept != h.word.Generation() || time.Duration(p.now())-c.until >= p.config.MaxIdleTime
}

// keep notes that the connection in a held slot is to be reserved for d.
func (p *Pool) keep(c *conn, h held, d time.Duration) {
	now := time.Duration(p.now())
	c.kept, c.since, c.until, c.yields = h.word.Generation(), now, now+min(d, Forever), false
}

// kept reports whether the connection in a held slot is to be reserved.
func (p *Pool) kept(c *conn, h held) bool {
	return c.kept == h.word.Generation() && time.Duration(p.now()) < c.until
}

// reserveKept is reserve for settle, unless the time is over: then the slot is published. done says
// that the connection is reserved, back that something wants it at once.
func (p *Pool) reserveKept(c *conn, h held) (done, back bool) {
	if p.kept(c, h) {
		back = p.reserve(c, h)
		return !back, back
	}
	p.advanceTick(time.Duration(p.now())) // to its stamp at least: see stampIn
	return false, false
}

// reserve reserves the connection in a held slot. It reports true if the slot has come back to
// the caller: something wants it at once.
func (p *Pool) reserve(c *conn, h held) (back bool) {
	r := &reservation{h, c.since, c.until}
	c.yields = false
	p.reserved.Inc() // first, so that it is never less than there are
	c.reserved.Store(r)
	step.At("reserve: stored")
	c.sight.Forget(h.word) // who takes the reservation has a lease under this word: the other side is in see
	if p.wantsBack(c) || c.ring.At(c.index) != h.word {
		return p.takeReserved(c, r)
	}
	if r.until < time.Duration(p.lapseAt.Load()) {
		p.sweeper.endSoon.Store(true)
		p.kickSweeper()
	}
	if g := words.Gate(p.gate.Load()); g != 0 {
		p.ensureOpen(nil) // what is reserved may lapse, or make room
		if g.Asked() {
			p.lookElsewhere() // or is wanted in another pool
		}
	}
	return false
}

// wantsBack reports whether a connection that has been reserved must be taken back and settled,
// whoever waits for any.
func (p *Pool) wantsBack(c *conn) bool {
	if c.notice.Load() != nil {
		return true
	}
	g := words.Gate(p.gate.Load())
	return g.Closed() || g.Shrinking() && words.Census(p.conns.Load()).Over()
}

// reservedBy returns the reservation of a connection if word is the word of its slot, and else nil.
func (c *conn) reservedBy(word ring.Word) *reservation {
	if word.Phase() != ring.Leased {
		return nil
	}
	if r := c.reserved.Load(); r != nil && r.word == word {
		return r
	}
	return nil
}

// takeReserved takes the slot of a reserved connection. It reports false if somebody else has
// taken it, or Revoke or Close.
func (p *Pool) takeReserved(c *conn, r *reservation) bool {
	if !c.reserved.CompareAndSwap(r, nil) {
		return false
	}
	p.reserved.Dec()
	return c.ring.At(c.index) == r.word
}

// unreserve takes the reservation out of a connection that leaves its slot.
func (p *Pool) unreserve(c *conn) {
	if c.reserved.Swap(nil) != nil {
		p.reserved.Dec()
	}
}

// collect takes a slot that is idle or reserved, and has this word.
func (p *Pool) collect(h held) (held, bool) {
	if h.word.Phase() == ring.Idle {
		return p.retake(h)
	}
	if c := p.connIn(h.slot); c != nil {
		if r := c.reservedBy(h.word); r != nil {
			return r.held, p.takeReserved(c, r)
		}
	}
	return held{}, false
}

// takeLongest takes the slot that has been reserved longest. False means that each slot was not
// reserved at some instant of the call.
func (p *Pool) takeLongest() (held, bool) {
	for p.reserved.Load() > 0 {
		var in *conn
		var longest *reservation
		for _, b := range *p.banks.Load() {
			for i := range b.ring.High() {
				c := b.slots[i].Load()
				if c == nil {
					continue
				}
				if r := c.reserved.Load(); r != nil && (longest == nil || r.since < longest.since) {
					in, longest = c, r
				}
			}
		}
		if longest == nil {
			break
		}
		if p.takeReserved(in, longest) {
			return longest.held, true
		}
		// Somebody has taken it.
	}
	return held{}, false
}

// needsReserved reports whether somebody who waits for any connection can get no other than one
// that is reserved: as many are open as may be, and no other is being opened for him. In an outage,
// what is being opened counts for nothing: the server may be at a limit of its own.
func (p *Pool) needsReserved() bool {
	c := words.Census(p.conns.Load())
	underWay := c.Opening() - int(p.overdue.Load()) + int(p.landing.Load())
	full := c.Open() >= c.Max()
	if p.outage.Load() != nil {
		full, underWay = true, int(p.landing.Load())
	}
	g := words.Gate(p.gate.Load())
	if g.Closed() || g.Waiters() <= underWay {
		return false
	}
	return (full || p.budget != nil && p.budget.short()) && p.plainWaits()
}

// lapse gives what is reserved to those who can get no other, the longest first. If they have gone
// meanwhile, a fresh waiter who stood behind them may need the room: see ensureLapse.
func (p *Pool) lapse() {
	for p.reserved.Load() > 0 && p.needsReserved() {
		if h, ok := p.scan(); ok { // nothing else may be idle
			if _, fit := p.admit(h); fit {
				p.settle(h, true)
			}
			continue
		}
		h, ok := p.takeLongest()
		if !ok {
			break
		}
		step.At("lapse: taken")
		c := p.connIn(h.slot)
		if !h.owns(c) {
			continue // revoked
		}
		c.yields = true
		p.settle(h, false)
		if c.reserved.Load() != nil {
			break // nobody could use it any more
		}
	}
	if p.fresh.Load() > 0 {
		p.evict()
	}
}

// ensureLapse is lapse in a goroutine of its own, if there is anything to do: settle may call
// Check, and neither the sweeper nor a Put of another connection waits for it.
//
// A fresh waiter needs the room of what is reserved only when no plain one stands before it (needsRoom),
// and a plain one needs what is reserved only as long as it waits (needsReserved). So that neither
// question is answered by somebody who is gone at the other, needsRoom is asked last: here, and where a
// lapse ends. A plain waiter whom that still finds has come since, and asks for itself.
func (p *Pool) ensureLapse() {
	if p.reserved.Load() > 0 {
		p.lapseApart()
	}
}

// lapseApart is ensureLapse while something is reserved.
func (p *Pool) lapseApart() {
	if p.elsewhere() {
		return
	}
	if p.needsReserved() {
		p.apart(p.lapse)
		return
	}
	step.At("ensureLapse: no plain waiter")
	if p.fresh.Load() > 0 {
		if w, _ := p.needsRoom(); w != nil {
			p.apart(p.evict)
		}
	}
}

// passReserved does what time does to a reserved connection, and returns when to look again.
func (p *Pool) passReserved(c *conn, r *reservation, now time.Duration, mayAge bool) (next time.Duration, aged bool) {
	aged = mayAge && c.expires <= now
	switch {
	case c.ends <= now || aged:
		if p.takeReserved(c, r) {
			p.destroy(r.held, closedByLifetime, nil)
		}
		return never, aged
	case r.until <= now:
		if p.takeReserved(c, r) {
			p.settleApart(r.held) // idle like any; settle may call Check
		}
		return c.ends, false // it may be idle by then
	}
	return min(r.until, c.ends), false
}
