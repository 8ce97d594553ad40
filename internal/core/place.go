package core

import "time"

// A pool belongs to the testing/synctest bubble in which it was made, or to none if it was
// made outside. Its channels and timers are those of that place. If a goroutine of another
// place touches one of them, the runtime ends the process, or the goroutine waits for ever.
// So the slow paths ask where they are, before they change anything: Get before it waits or
// looks apart, Put if somebody waits or the pool is closed, and all that end or open
// connections. The fast paths of Get and Put touch none of them, and do not ask.
//
// The clock tells. That of a bubble begins with the year 2000, and has no monotonic part.

// farAway is an age that no pool has, or one that has been used for long.
const farAway = 365 * 24 * time.Hour

// elsewhere reports whether the calling goroutine is not in the place of the pool. It may
// miss another bubble whose clock is not behind that of the pool's.
//
//go:noinline
func (p *Pool) elsewhere() bool { return p.isElsewhere(p.now()) } // its callers stay small

// isElsewhere is elsewhere at this time on the pool's clock.
func (p *Pool) isElsewhere(now int64) bool {
	return uint64(now) > uint64(farAway) && p.far(now)
}

// far is isElsewhere for a pool that is older than farAway, or not born yet. The clock of one
// place does not go back. If it is far ahead, the pool is old, or was made in a bubble,
// where time has no monotonic part, and is used outside, where it has one.
func (p *Pool) far(now int64) bool { return far(p.epoch, now) }

func far(epoch time.Time, now int64) bool {
	return now < 0 || !monotonic(epoch) && monotonic(time.Now())
}

// monotonic reports whether t has a monotonic part.
func monotonic(t time.Time) bool { return t != t.Round(0) }
