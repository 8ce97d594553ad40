package pool

import "time"

// While opening keeps failing, the pool is in an outage. Its word holds
//
//	63..56  failures: how often opening has failed since it last succeeded
//	55..0   when it failed last, on the pool's clock in microseconds
//
// Zero is no outage. After the first failure, connections are opened one at a time.
// After the fourth there is a pause before each attempt, which doubles from one to the
// next up to backoffMost; and while no connection is open at all, nobody is kept waiting
// in such a pause, nor for an attempt that somebody else has begun. An attempt that was
// under way when another failed says nothing new, so the failure of 16 at the same time
// counts as one.
//
// A single success ends the outage. Attempts are made for callers and for MinIdle, never
// for their own sake, so a pool that nobody uses leaves the server alone; one that is
// used finds out within backoffMost that the server is back.
type outage uint64

const (
	outageFailure outage = 1 << 56
	outageTime           = outageFailure - 1

	keepsFailing = 4 // as many failures in a row are no accident

	backoffLeast = 25 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
)

func (o outage) failures() int           { return int(o >> 56) }
func (o outage) failedAt() time.Duration { return time.Duration(o&outageTime) * time.Microsecond }

// worse returns the outage with one more failure, now.
func (o outage) worse(now time.Duration) outage {
	return min(o>>56+1, 255)<<56 | outage(now/time.Microsecond)&outageTime
}

// retryAt returns when to try again: the pause, of which up to a half is jitter, fixed by
// the word, so that all who ask agree.
func (o outage) retryAt() time.Duration {
	if o.failures() < keepsFailing {
		return 0
	}
	pause := min(backoffLeast<<min(o.failures()-keepsFailing, 10), backoffMost)
	random := uint64(o) * 0x9E3779B97F4A7C15 // by the golden ratio: neighbours are far apart
	return o.failedAt() + pause - time.Duration(random>>32*uint64(pause/2)>>32)
}

// failed notes that an attempt has failed, which began in the given state.
func (p *Pool[T]) failed(began outage) {
	old := p.outage.Load()
	if old != 0 && outage(old) != began {
		return // another has failed meanwhile
	}
	o := outage(old).worse(time.Duration(p.now()))
	if p.outage.CompareAndSwap(old, uint64(o)) && o.failures() == keepsFailing { // else just now
		p.config.Logger.Warn("opening connections keeps failing: from now on Get fails at once while none is open")
	}
}

// unavailable returns an error for those who would wait for nothing: opening keeps
// failing, no connection is open, and it is not yet time to try again, or somebody else is
// trying, or attempts that hang take all the room. Otherwise it returns nil.
func (p *Pool[T]) unavailable() error {
	o := outage(p.outage.Load())
	if o.failures() < keepsFailing {
		return nil
	}
	c := census(p.conns.Load())
	if c.usable() > 0 || c.max() == 0 {
		return nil
	}
	room := c.opening() < c.max() && !p.tooMany(c)
	if room && c.opening() <= int(p.overdue.Load()) && time.Duration(p.now()) >= o.retryAt() {
		return nil
	}
	return p.unavailableError()
}

// unavailableError returns nil if opening has just succeeded: see opened, which ends the
// outage before it forgets the error.
func (p *Pool[T]) unavailableError() error {
	open := p.lastOpen.Load()
	if open == nil {
		return nil
	}
	return &unavailableError{p.config.Name, open}
}
