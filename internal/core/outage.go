package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/words"
)

// While opening keeps failing, the pool is in an outage. After the first failure,
// connections are opened one at a time. After the fourth there is a pause before each
// attempt (see words.Outage); and while no connection is open at all, nobody is kept waiting
// in such a pause, nor for an attempt that somebody else has begun. An attempt that was
// under way when another failed says nothing new, so the failure of 16 at the same time
// counts as one.
//
// A single success ends the outage. Attempts are made for callers and for MinIdle, never
// for their own sake, so a pool that nobody uses leaves the server alone; one that is
// used finds out within BackoffMost that the server is back.

// failed notes that an attempt has failed, which began in the given state.
func (p *Pool) failed(began words.Outage) {
	old := p.outage.Load()
	if old != 0 && words.Outage(old) != began {
		return // another has failed meanwhile
	}
	o := words.Outage(old).Worse(time.Duration(p.now()))
	if p.outage.CompareAndSwap(old, uint64(o)) && o.Failures() == words.KeepsFailing { // else just now
		p.config.Logger.Warn("opening connections keeps failing: from now on Get fails at once while none is open")
	}
}

// unavailable returns an error for those who would wait for nothing: opening keeps
// failing, no connection is open, and it is not yet time to try again, or somebody else is
// trying, or attempts that hang take all the room. Otherwise it returns nil.
func (p *Pool) unavailable() error {
	o := words.Outage(p.outage.Load())
	if o.Failures() < words.KeepsFailing {
		return nil
	}
	c := words.Census(p.conns.Load())
	if c.Usable() > 0 || c.Max() == 0 {
		return nil
	}
	room := c.Opening() < c.Max() && !p.tooMany(c)
	if room && c.Opening() <= int(p.overdue.Load()) && time.Duration(p.now()) >= o.RetryAt() {
		return nil
	}
	return p.unavailableError()
}

// unavailableError returns nil if opening has just succeeded: see opened, which ends the
// outage before it forgets the error.
func (p *Pool) unavailableError() error {
	open := p.lastOpen.Load()
	if open == nil {
		return nil
	}
	return &unavailableError{p.config.Name, open}
}
