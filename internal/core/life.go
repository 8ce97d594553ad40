package core

import (
	"errors"
	"fmt"
	"time"
)

// Factory.Expires gives each connection a life of its own. Where it ends is noted once, on
// the pool's clock, and compared with that clock alone: a wall clock that is set later closes
// nothing. What is idle then is closed by the pass that the sweeper wakes for. What is leased
// is closed by Put. Nothing is lent beyond its end: whoever lends a connection, or publishes
// one, asks over first (examine, settle). Between that look and the return of Get there may be
// a moment, as there is behind any look at a clock.

// leastLife is how long a new connection must have. With less, a factory that mistakes a unit
// of time would have one connection after the other opened and closed, without a pause.
const leastLife = time.Millisecond

var errOver = errors.New("the time that Factory.Expires returned has passed before the connection was lent")

// askEnd asks Factory.Expires for a connection that has just been opened.
func (p *Pool) askEnd(c *conn) error {
	at := p.factory.Expires(c.box)
	if at.IsZero() {
		return nil
	}
	// First the pool's clock: a goroutine that is held up between the two makes the life
	// shorter, not longer.
	now := time.Duration(p.now())
	left := time.Until(at)
	if left < leastLife {
		return fmt.Errorf("Factory.Expires returned a time that has passed, or is about to: %s, in %v", at.Format(time.RFC3339), left)
	}
	c.ends = now + min(left, Forever)
	return nil
}

// over reports whether the life of a connection has ended by Factory.Expires.
func (p *Pool) over(c *conn) bool {
	return p.factory.Expires != nil && c.ends <= time.Duration(p.now())
}

// mindEnd makes sure that the sweeper is awake when the life of a new connection ends. A
// regular pass finds most ends in time: those that are two of them away. The other side is
// in pass, which clears endSoon, then looks. Here the connection has been stored, then endSoon
// is set.
func (p *Pool) mindEnd(c *conn) {
	if c.ends-time.Duration(p.now()) < 2*p.sweeper.passEvery {
		p.sweeper.endSoon.Store(true)
		p.kickSweeper()
	}
}
