package core

import (
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// Attempts that hang, and the room for others beside them. An attempt that is overdue has been
// counted as a failure (see outage.go), and may yet succeed. Which of them go on, and with whose
// slot, is decided by swaps of their states.

// underWay returns how many attempts are under way, and for how long the first of them.
func (p *Pool) underWay() (n int, longest time.Duration) {
	now := time.Duration(p.now())
	for a := range p.attempts {
		n++
		longest = max(longest, now-a.began)
	}
	return n, longest
}

// attempts yields the attempts that are under way.
func (p *Pool) attempts(yield func(*attempt) bool) {
	aside := p.aside.Load()
	if aside != nil && !yield(aside) {
		return
	}
	if words.Census(p.conns.Load()).Opening() == 0 {
		return
	}
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			// One that is just being set aside, or readmitted, is in both places.
			if a := b.opening[i].Load(); a != nil && a != aside && !yield(a) {
				return
			}
		}
	}
}

// hanging returns the oldest of the attempts that are overdue, and another one of them, or nil.
// c is the census, read before.
// leaving says that one is about to leave its slot: it has been given up, or has ended and is
// in the census still. Whoever has its slot asks again when the census is lowered. In an
// outage it also says that one runs: it has begun since the caller has looked, or is just
// becoming overdue. Its end, or hang, asks again.
func (p *Pool) hanging(c words.Census) (oldest, another *attempt, leaving bool) {
	opening, seen := c.Opening(), 0
	outage := p.outage.Load() != nil
	for a := range p.attempts {
		state := a.state.Load()
		if state != attemptAside {
			seen++
		}
		switch {
		case state == attemptGivenUp, state >= attemptEnded, state == attemptRunning && outage:
			leaving = true
		case state != attemptOverdue:
		case oldest == nil:
			oldest = a
		case a.began < oldest.began:
			oldest, another = a, oldest
		default:
			another = a
		}
	}
	return oldest, another, leaving || seen < opening
}

// mostHanging is how many attempts may be under way when another one is begun in an outage,
// plus one: the oldest, one that has just been given up, and the new one.
const mostHanging = 3

// makeRoom makes room for another attempt beside those that hang. All but the oldest are
// given up. The oldest may yet succeed at a server that is slow. If there is no room beside
// it, it is set aside: it goes on without a slot. With StrictMax it keeps its slot until its
// patience is over, and is given up then. makeRoom returns when that is, and never if nothing
// need be waited for but the end of what has been given up, which asks again.
func (p *Pool) makeRoom(now time.Duration, full bool) (at time.Duration) {
	for {
		c := words.Census(p.conns.Load()) // one value: what leaves, or is begun, afterwards, is not missed
		oldest, another, leaving := p.hanging(c)
		aside := p.aside.Load()
		switch {
		case another != nil:
			p.giveUp(another)
			continue
		case oldest == nil, leaving && full, oldest == aside: // or somebody else is just setting it aside, and has the room
			return never
		case aside != nil:
			p.giveUp(oldest) // that one is older
			continue
		case !full, c.Open() < c.Max() && !p.tooMany(c): // since the caller has looked
			return never
		case !p.config.StrictMax:
			p.setAside(oldest)
			return never
		}
		if at = oldest.began + p.patience(); at > now {
			return at
		}
		p.giveUp(oldest)
	}
}

// setAside takes its slot from an overdue attempt, which goes on without. What it opens gets
// a slot again, or is closed (readmit). There is one such attempt at a time.
func (p *Pool) setAside(a *attempt) {
	if !p.aside.CompareAndSwap(nil, a) {
		return
	}
	step.At("setAside: noted")
	slot, word, ok := 0, ring.Word(0), a.state.Load() == attemptOverdue // else readmit may be setting others
	// Counted before it has no slot, for Shutdown: once it has none, it may end at any time.
	p.unclosed.Inc()
	if ok {
		slot, word = a.slot, a.word                               // from the swap on, readmit may set others
		ok = a.state.CompareAndSwap(attemptOverdue, attemptAside) // now its slot is ours
	}
	if !ok {
		p.aside.CompareAndSwap(a, nil)
		p.forget()
		return
	}
	step.At("setAside: state set")
	if a.spare {
		p.spares.Dec()
	}
	// Whoever came to GetFresh for it needs another one: it may hang for long. The caller of
	// makeRoom looks afterwards.
	p.unclaim(a)
	b, i := p.bankOf(slot)
	b.opening[i].Store(nil)
	b.ring.Vacate(i, word)
	p.overdue.Dec()
	p.conns.Sub(uint64(words.CensusOpen + words.CensusOpening))
	step.At("setAside: census lowered")
	p.noteAllGone()
	p.openEnded() // Warm has room
	p.shrunk()
}

// readmit gives a slot to an attempt that was set aside and has succeeded: one that is
// vacant, or that of another attempt, which is replaced. It reports false if there is none:
// MaxConnections are open. After a Reset it has no claim to one: nobody would be lent what it
// has opened. Two may end the attempt, its goroutine here and its timer. If the timer is
// first, the slot is not needed.
func (p *Pool) readmit(a *attempt) bool {
	step.At("readmit: begins")
	if a.era != p.era.Load() || !p.slotFor(a) {
		return false
	}
	step.At("readmit: has a slot")
	b, i := p.bankOf(a.slot)
	b.opening[i].Store(a)
	a.counted = true
	if a.spare {
		p.spares.Inc() // before the state: attemptOver counts it off
	}
	if a.state.CompareAndSwap(attemptAside, attemptRunning) {
		p.aside.CompareAndSwap(a, nil)
		p.unclosed.Dec()                              // the census has it again
		a.timer.Reset(p.dueWithin(words.BackoffMost)) // Expires and Watch may hang as well
		return true
	}
	if a.spare {
		p.spares.Dec()
	}
	b.opening[i].Store(nil)
	b.ring.Vacate(i, a.word)
	p.conns.Sub(uint64(words.CensusOpen + words.CensusOpening)) // if the pool is closed, forget sees that, of the connection
	p.openEnded()                                               // Warm has room
	p.shrunk()
	p.ensureOpen(nil)
	return false
}

// slotFor finds a slot for an attempt that was set aside.
func (p *Pool) slotFor(a *attempt) bool {
	for {
		c := words.Census(p.conns.Load())
		if c.Open() < c.Max() {
			if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusOpen+words.CensusOpening)) {
				a.slot, a.word = p.claim()
				return true
			}
			continue
		}
		for b := range p.attempts {
			if p.end(b, attemptReplaced) { // its slot is ours; a itself has none
				b.cancel(errGivenUp)
				a.slot, a.word = b.slot, b.word
				step.At("slotFor: replaced")
				p.release(b) // its asker may need another one. When this one has ended, ensureOpen looks
				p.attemptOver(b, nil)
				b.tell(errNoVerdict)
				return true
			}
		}
		return false
	}
}

// patience is how long an attempt that hangs may keep the only slot, with StrictMax. If it is known how long
// opening takes, that is the measure. If it has never succeeded, the server may be a slow
// one, and each attempt has twice as long as the one before.
func (p *Pool) patience() time.Duration {
	failures := 1
	if o := p.outage.Load(); o != nil && p.took.Load() == 0 {
		failures = o.Failures
	}
	return p.dueWithin(words.BackoffMost) << min(failures-1, 8)
}

// dueWithin returns how long an open may take before it counts as a failed one: least or, at
// a slow server, twice the time that opening takes.
func (p *Pool) dueWithin(least time.Duration) time.Duration {
	return max(least, 2*time.Duration(p.took.Load()))
}

// giveUp cancels an overdue attempt. It is abandoned openGrace later if it does not return.
func (p *Pool) giveUp(a *attempt) {
	if !a.state.CompareAndSwap(attemptOverdue, attemptGivenUp) {
		return // it has ended, or somebody else has given it up
	}
	step.At("giveUp: state set")
	p.config.Logger.Debug("an attempt to open is given up for another one", slog.Duration("after", time.Duration(p.now())-a.began))
	a.cancel(errGivenUp)
	a.timer.Reset(openGrace)
}
