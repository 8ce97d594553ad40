package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// When to open for those who wait.
//
// Each who waits may be served by a connection that comes back, long before one that is
// opened for it: 50 requests of 2 ms that meet 5 connections are done in 20 ms, and 45
// connections that took 150 ms to open would be of no use to anybody. But when those 5 do
// not come back, each waits for a connection of its own. Nobody can tell at once which
// of the two it is, so the pool opens
//
//   - as many at a time as it has: each connection that there is may come back, so it
//     doubles at most. Needless are then no more than there were
//   - or 16 while it has none: there is nothing to come back, but nobody knows yet how
//     many the server can bear
//   - and one for each who waits, once the oldest has waited for twice the time that
//     opening takes: what has not come back by then is kept for long.
//
// A cold pool that gets 100 long leases at once so opens 16, then 16, then all the others:
// full in three times the time of one.
//
// What is held back cannot be forgotten: a return, an end of opening, a Discard and a
// newcomer ask again, and the sweeper does when the oldest has waited for long enough.

// coldStart is how many are opened at a time while there is none.
const coldStart = 16

// quota returns how many connections may be being opened for so many waiters.
func (p *Pool) quota(waiters int, c words.Census) int {
	if p.config.OpenEagerly {
		return waiters
	}
	limit := coldStart
	if e := c.Usable(); e > 0 {
		limit = e
	}
	if waiters <= limit || p.oldestHasWaited(2*p.openTime()) {
		return waiters
	}
	return limit
}

func (p *Pool) oldestHasWaited(d time.Duration) bool {
	_, w := p.queue.Front()
	return w != nil && time.Duration(p.now()-w.Since) >= d
}

// What opening is taken to last before it has been seen, and the limits of that.
const (
	firstOpenTime = 100 * time.Millisecond
	leastOpenTime = time.Millisecond
	mostOpenTime  = time.Second
)

// openTime returns how long opening takes: a moving average.
func (p *Pool) openTime() time.Duration {
	t := time.Duration(p.took.Load())
	if t == 0 {
		t = firstOpenTime
	}
	return min(max(t, leastOpenTime), mostOpenTime)
}

// learnOpenTime takes one more into the average. Of two at the same time, one may be lost.
func (p *Pool) learnOpenTime(took time.Duration) {
	if old := time.Duration(p.took.Load()); old != 0 {
		took = old + (took-old)/4
	}
	p.took.Store(uint64(max(took, 1)))
}

// ensureOpen sees to it that enough connections are being opened for those who wait, as
// far as MaxConnections and the quota allow. The first of them is opened for asker, with
// the values of its ctx; a nil asker is nobody in particular. It reports whether one has
// been begun for asker. An open whose asker has given up is as good as another, as long
// as it is not overdue: if it were not, a storm of short deadlines would be a storm of
// opens; if it always were, one that hangs would keep others waiting for it.
//
// The race between the two sides, capacity that comes free and a caller who comes
// to wait:
//
//	leaver:  lowers open; then reads the gate (ensureOpen)
//	waiter:  raises the gate; then reads open (ensureOpen)
//
// At least one of them sees the other, and opens. It is the same for a Resize, which
// raises the limit. And between opening and Close: the limit is in the word by which an
// open is admitted, and Close sets it to zero first of all. What was admitted before ends
// in settle, which sees the gate closed.
func (p *Pool) ensureOpen(asker *queue.Waiter, ctx context.Context) (begun bool) {
	begun, held := p.openForWaiters(asker, ctx)
	if held {
		p.holdBack()
	}
	return begun
}

// openForWaiters is ensureOpen for the sweeper. It also reports whether it has held back
// what time alone will allow.
func (p *Pool) openForWaiters(asker *queue.Waiter, ctx context.Context) (begun, held bool) {
	for {
		// What is landing has been opened, and is on its way to somebody who waits. In
		// this order: what is neither being opened nor landing any more has lowered the
		// gate. What is counted twice asks again when it has landed (opened).
		c := words.Census(p.conns.Load())
		underWay := c.Opening() - int(p.overdue.Load()) + int(p.landing.Load())
		g := words.Gate(p.gate.Load())
		if g.Closed() || g.Waiters() == 0 {
			return begun, false
		}
		if c.Open() >= c.Max() || underWay >= g.Waiters() || p.tooMany(c) {
			return begun, false
		}
		if o := words.Outage(p.outage.Load()); o.Failures() > 0 {
			if underWay > 0 {
				return begun, false // one at a time; its end asks again
			}
			if time.Duration(p.now()) < o.RetryAt() {
				if p.refuseAll(p.unavailable()) {
					return begun, false
				}
				return begun, true
			}
		} else if underWay >= p.quota(g.Waiters(), c) {
			return begun, true
		}
		step.At("ensureOpen: census read")
		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusOpen+words.CensusOpening)) {
			step.At("ensureOpen: admitted")
			p.begin(&attempt{asker: asker, asked: ctx})
			begun = begun || asker != nil
			asker, ctx = nil, nil
		}
	}
}

// tooMany reports whether MaxOpening forbids another.
func (p *Pool) tooMany(c words.Census) bool {
	return p.config.MaxOpening > 0 && c.Opening() >= p.config.MaxOpening
}

// holdBack tells the sweeper that there is something to be opened when it is time.
func (p *Pool) holdBack() {
	if p.sweeper.heldBack.CompareAndSwap(false, true) {
		p.kickSweeper()
	}
}

// lift opens what was held back, as far as it is time, and returns when to come again. It
// is the sweeper's.
func (p *Pool) lift(now time.Duration) time.Duration {
	if !p.sweeper.heldBack.Load() {
		return never
	}
	p.sweeper.heldBack.Store(false) // before the look: who holds back after it, tells us again
	step.At("lift: flag cleared")
	_, held := p.openForWaiters(nil, nil)
	step.At("lift: looked")
	if !held {
		return never
	}
	p.sweeper.heldBack.Store(true)
	if o := words.Outage(p.outage.Load()); o.Failures() > 0 {
		return max(o.RetryAt(), now+time.Millisecond)
	}
	if _, w := p.queue.Front(); w != nil {
		return max(time.Duration(w.Since)+2*p.openTime(), now+time.Millisecond)
	}
	return now + time.Millisecond // they have just gone, or others are coming
}
