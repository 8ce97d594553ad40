package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// When to open connections for waiters.
//
// A returning connection may serve a waiter long before a new one is open. 50 requests of
// 2 ms that meet 5 connections are done in 20 ms; 45 new connections that took 150 ms to
// open would serve nobody. But if those 5 do not return, each waiter needs a connection
// of its own. Nobody can tell at once which of the two it is. So the pool opens
//
//   - as many at a time as it has open. Each of those may return. So the number at
//     most doubles, and no more are needless than there were before
//   - or 16 at a time while it has none. Nothing can return then, but nobody knows
//     yet how many connections the server can bear
//   - and one for each waiter, once the oldest has waited for twice the time that
//     opening takes. A connection that has not returned by then is kept for long.
//
// So a cold pool that gets 100 long leases at once opens 16, then 16, then all the
// others. It is full in three times the time of one open.
//
// An open that is held back is not forgotten. The end of an attempt, a connection that is
// closed or detached, and a new waiter ask again. The sweeper asks again when the oldest
// waiter has waited for long enough.

// coldStart is how many connections are opened at a time while none is open.
const coldStart = 16

// quota returns how many connections may be opened at a time for this number of waiters.
func (p *Pool) quota(waiters int, c words.Census) int {
	if p.config.OpenEagerly {
		return waiters
	}
	limit := atATime(c)
	if waiters <= limit || p.oldestHasWaited(2*p.openTime()) {
		return waiters
	}
	return limit
}

// atATime returns how many may be being opened at the same time for no better reason than
// that there is room.
func atATime(c words.Census) int {
	if e := c.Usable(); e > 0 {
		return e
	}
	return coldStart
}

func (p *Pool) oldestHasWaited(d time.Duration) bool {
	w, since := p.queue.Oldest()
	return w != nil && time.Duration(p.now()-since) >= d
}

// The time that opening is assumed to take before it has been measured, and its bounds.
const (
	firstOpenTime = 100 * time.Millisecond
	leastOpenTime = time.Millisecond
	mostOpenTime  = time.Second
)

// openTime returns how long opening takes: a moving average, within its bounds.
func (p *Pool) openTime() time.Duration {
	t := time.Duration(p.took.Load())
	if t == 0 {
		t = firstOpenTime
	}
	return min(max(t, leastOpenTime), mostOpenTime)
}

// learnOpenTime adds one measurement to the average. Of two at the same time, one may be
// lost.
func (p *Pool) learnOpenTime(took time.Duration) {
	if old := time.Duration(p.took.Load()); old != 0 {
		took = old + (took-old)/4
	}
	p.took.Store(uint64(max(took, 1)))
}

// ensureOpen makes sure that enough connections are being opened for the waiters, as far
// as MaxConnections and the quota allow. The first one is opened for asker. If asker is
// nil, no waiter in particular asks. It reports whether an attempt has begun for asker.
//
// An attempt whose asker has given up still counts, until it is overdue. If it never
// counted, a storm of short deadlines would be a storm of opens. If it always counted,
// one that hangs would keep others waiting for it.
//
// The race between the two sides, capacity that comes free and a caller that comes to
// wait:
//
//	leaver:  lowers open; then reads the gate (ensureOpen)
//	waiter:  raises the gate; then reads open (ensureOpen)
//
// At least one of them sees the other, and opens. It is the same for a Resize, which
// raises the limit.
//
// The race between opening and Close has one word. Opens are admitted by a
// compare-and-swap of the census, which has the limit in it, and shut sets the limit to
// zero before anything else. An open that was admitted before ends in settle, which sees
// the gate closed.
func (p *Pool) ensureOpen(asker *queue.Waiter) (begun bool) {
	begun, held := p.openForWaiters(asker)
	p.opensHeld(held)
	return begun
}

// opensHeld is what follows openForWaiters: it has held back an open, or not.
func (p *Pool) opensHeld(held bool) {
	if held {
		p.holdBack()
	}
	p.ensureLapse()
}

// ensureOpenWith is ensureOpen(nil) for who has got so many rights for it.
func (p *Pool) ensureOpenWith(rights int) {
	_, held := p.openWithin(nil, rights)
	p.opensHeld(held)
}

// openForWaiters is ensureOpen for the sweeper. It also reports whether it has held back
// an open that only the passing of time will allow.
func (p *Pool) openForWaiters(asker *queue.Waiter) (begun, held bool) {
	if p.budget != nil {
		return p.openWithin(asker, 0)
	}
	begun, held, _, _ = p.admitOpens(asker, 0)
	return begun, held
}

// admitOpens is openForWaiters with so many rights, if the pool has a budget. It also returns how
// many it has not used, and for how many more opens there were none.
func (p *Pool) admitOpens(asker *queue.Waiter, rights int) (begun, held bool, left, lacks int) {
	if asker != nil && !asker.Live() {
		asker = nil // its connection is for the oldest, who is told if it fails
	}
	letGo := false
	for {
		// A landing connection is open and on its way to a waiter, so it counts as under
		// way. The order matters: census, landing, gate. A connection that is neither
		// opening nor landing any more has already lowered the gate. One that is counted
		// as both asks again when it has landed (opened).
		c := words.Census(p.conns.Load())
		underWay := c.Opening() - int(p.overdue.Load()) + int(p.landing.Load())
		g := words.Gate(p.gate.Load())
		if g.Closed() || g.Waiters() == 0 {
			return begun, false, rights, 0
		}
		full := c.Open() >= c.Max() || p.tooMany(c)
		o := p.outage.Load()
		// In a full pool one that hangs keeps its slot from others also when the outage is over.
		hanging := (o != nil || full) && p.overdue.Load() > 0
		if full && !hanging && asker != nil && !asker.Fresh() && !letGo {
			return begun, false, rights, 0
		}
		waiters := g.Waiters()
		var fresh *queue.Waiter
		if p.fresh.Load() > 0 {
			fresh = p.unclaimed(asker)
			if fresh == nil && p.overdue.Load() == 0 && p.aside.Load() == nil && !p.plainWaits() {
				// Who has claimed them begins an attempt for each, or asks again. An attempt
				// that hangs, or is aside, keeps its claim, and nobody is to wait for it.
				return begun, false, rights, 0
			}
		}
		if fresh != nil {
			waiters = max(waiters, underWay+1) // what is under way may be too old for it
		}
		if full && !hanging && (fresh == nil || p.tooMany(c)) || underWay >= waiters {
			return begun, false, rights, 0
		}
		if o != nil {
			if underWay > 0 {
				return begun, false, rights, 0 // one at a time; the end of that one asks again
			}
			if time.Duration(p.now()) < o.RetryAt(p.config.MaxBackoff) {
				return begun, !p.refuseHopeless(), rights, 0
			}
		} else if underWay >= p.quota(waiters, c) {
			return begun, true, rights, 0
		}
		if hanging {
			if p.makeRoom(time.Duration(p.now()), full) != never {
				return begun, !p.refuseHopeless(), rights, 0
			}
			c = words.Census(p.conns.Load())
			if c.Open() >= c.Max() || p.tooMany(c) || c.Opening() >= mostHanging {
				return begun, false, rights, 0 // the end of one asks again
			}
			full = false
		}
		if p.elsewhere() {
			return begun, false, rights, 0
		}
		lacking := p.budget != nil && rights == 0
		if full || lacking && fresh != nil { // then the right of one that is too old for it is room
			if w, _ := p.needsRoom(); w != nil {
				p.apart(p.evict)
			}
		}
		if full {
			return begun, false, rights, 0
		}
		if lacking {
			return begun, false, 0, p.mayBegin(c, waiters, underWay)
		}
		if fresh != nil && !fresh.Claim() { // before the census: see yield
			continue
		}
		step.At("ensureOpen: census read")
		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusOpen+words.CensusOpening)) {
			step.At("ensureOpen: admitted")
			if p.budget != nil {
				rights--
			}
			if fresh != nil && fresh != asker {
				p.begin(&attempt{asker: fresh, asked: p.valuesFor(fresh)})
				continue
			}
			p.begin(&attempt{asker: asker, asked: p.valuesFor(asker)})
			begun = begun || asker != nil
			asker = nil
		} else if fresh != nil {
			fresh.Unclaim()
			letGo = true // then look again, also for something idle: see fresh.go
		}
	}
}

// valuesFor returns the ctx whose values Open gets, or nil: that of asker or, if no waiter in
// particular asks, of the oldest one.
func (p *Pool) valuesFor(asker *queue.Waiter) context.Context {
	if p.config.OpenContext == nil {
		return nil
	}
	if asker == nil {
		asker = p.queue.Front()
	}
	if asker == nil {
		return nil
	}
	return asker.Values()
}

// mayBegin returns how many attempts may be begun now for those who wait.
func (p *Pool) mayBegin(c words.Census, waiters, underWay int) int {
	n := min(p.quota(waiters, c)-underWay, c.Max()-c.Open())
	if p.config.MaxOpening > 0 {
		n = min(n, p.config.MaxOpening-c.Opening())
	}
	if p.outage.Load() != nil {
		n = 1
	}
	return max(n, 1)
}

// tooMany reports whether MaxOpening forbids another open.
func (p *Pool) tooMany(c words.Census) bool {
	return p.config.MaxOpening > 0 && c.Opening() >= p.config.MaxOpening
}

// holdBack tells the sweeper that an open is held back until its time has come.
func (p *Pool) holdBack() {
	if p.sweeper.heldBack.CompareAndSwap(false, true) {
		p.kickSweeper()
	}
}

// lift opens what was held back, as far as its time has come, and returns when to look
// again. Only the sweeper calls it.
func (p *Pool) lift(now time.Duration) time.Duration {
	if !p.sweeper.heldBack.Load() {
		return never
	}
	p.sweeper.heldBack.Store(false) // before the look: a caller that holds back after it tells us again
	step.At("lift: flag cleared")
	_, held := p.openForWaiters(nil)
	step.At("lift: looked")
	p.ensureLapse()
	if !held {
		return never
	}
	p.sweeper.heldBack.Store(true)
	next, o := now, p.outage.Load()
	if o != nil {
		next = o.RetryAt(p.config.MaxBackoff)
	} else if w, since := p.queue.Oldest(); w != nil { // else they have just gone, or others are coming
		next = time.Duration(since) + 2*p.openTime()
	}
	if oldest, _, _ := p.hanging(words.Census(p.conns.Load())); next <= now && oldest != nil && p.config.StrictMax {
		next = oldest.began + p.patience()
	}
	if o != nil {
		if tell := p.failFastAt(o); tell > now {
			next = min(next, tell)
		}
	}
	return max(next, now+time.Millisecond)
}
