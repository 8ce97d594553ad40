package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/words"
)

// While opening keeps failing, the pool is in an outage. After the first failure,
// connections are opened one at a time. From the fourth failure on there is a backoff
// before each attempt (see words.Outage). If no connection is open at all, callers fail
// fast then: they neither wait for the end of a backoff nor for an attempt that was begun
// for another caller. An attempt that was in progress when another one failed says
// nothing new. So 16 failures at the same time count as one.
//
// A single success ends the outage. The pool opens connections for callers and for
// MinIdle, and never just to probe the server. So an unused pool leaves the server alone.
// A pool that is in use notices within Config.MaxBackoff that the server is back.

// failed notes that an attempt has failed. began is the outage in which it began.
func (p *Pool) failed(began words.Outage) {
	old := p.outage.Load()
	if old != 0 && words.Outage(old) != began {
		return // another attempt has failed meanwhile
	}
	o := words.Outage(old).Worse(time.Duration(p.now()))
	// If the swap fails, another attempt has just failed, or has ended the outage.
	if p.outage.CompareAndSwap(old, uint64(o)) && o.Failures() == words.KeepsFailing {
		p.config.Logger.Warn("opening connections keeps failing: from now on Get fails at once while none is open")
	}
}

// unavailable returns an error for callers that would wait for nothing, and otherwise
// nil. They would if opening keeps failing, no connection is open, and either the backoff
// is not over, or another attempt is in progress, or attempts that hang leave no room for
// one.
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
	if room && c.Opening() <= int(p.overdue.Load()) && time.Duration(p.now()) >= o.RetryAt(p.config.MaxBackoff) {
		return nil
	}
	return p.unavailableError()
}

// unavailableError returns nil if an open has just succeeded: opened ends the outage
// before it clears the error.
func (p *Pool) unavailableError() error {
	open := p.lastOpen.Load()
	if open == nil {
		return nil
	}
	return &unavailableError{p.config.Name, open}
}
