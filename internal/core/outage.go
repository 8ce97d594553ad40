package core

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// While opening keeps failing, the pool is in an outage. After the first failure,
// connections are opened one at a time. From the fourth failure on there is a backoff
// before each attempt (see words.Outage). Callers wait, as for anything else, until the
// outage has lasted for Config.FailFastAfter. From then on, if no connection is open at
// all, they fail fast: they neither wait for the end of a backoff nor for an attempt that
// was begun for another caller.
//
// What counts as a failure:
//
//   - an Open that fails
//   - an Open that has not returned when it is overdue; its end does not count again
//   - a connection on probation that its peer ends. A server that accepts connections and
//     closes them serves nobody
//
// An attempt that was under way when another one failed says nothing new. So 16 failures
// at the same time count as one.
//
// A connection is on probation until it has been open for a second, or a lease of it has
// ended clean. An outage ends when a connection opened since the last failure leaves
// probation. Older ones say nothing: a server at its limit keeps what is open. The pool
// opens connections for callers and for MinIdle, and never just to probe the server. So an
// unused pool leaves the server alone. A pool that is in use notices within
// Config.MaxBackoff that the server is back.

// probation is how long a new connection must stay open to show that the server serves.
const probation = time.Second

// An outage is an outage as it was after its last failure. Each failure makes another one,
// so a pointer to it tells whether there has been a failure since.
type outage struct {
	words.Outage
	back atomic.Bool // a lease has come back to those who wait, since this failure
}

// failed notes a failure. began is the outage in which the attempt began, at is when the
// failure came, until is when the server may be tried again. refused says that the attempt
// has opened nothing. Then, if a connection that was opened since the last failure is still
// open, this failure is the first in its row: of a server some of whose attempts fail, the
// others are not held up. One that closes what it has accepted has no such excuse.
func (p *Pool) failed(began *outage, at, until time.Duration, refused bool) {
	for {
		old, o := p.outage.Load(), new(outage)
		switch {
		case old == nil:
			o.Outage = words.Outage{}.Worse(at, until, false)
		case old == began && refused && p.firstTrial(old) != never:
			o.Outage = words.Outage{Until: old.Until}.Worse(at, until, false)
		case old == began:
			o.Outage = old.Worse(at, until, old.back.Load())
		case until > old.Until: // another attempt has failed meanwhile; of what the server has asked for, the longest counts
			o.Outage = old.Outage
			o.Until = until
			o.back.Store(old.back.Load())
		default:
			return
		}
		if p.outage.CompareAndSwap(old, o) {
			if o.Failures == words.KeepsFailing && old.Failures < words.KeepsFailing {
				p.config.Logger.Warn("opening connections keeps failing: while none is open, Get fails at once after FailFastAfter")
			}
			return
		}
		// Another attempt has just failed, or a connection has ended the outage.
	}
}

// endOutage ends an outage in which a connection that was opened since the last failure has
// left probation. The other side is in failed: if there has been a failure since, the swap
// fails.
func (p *Pool) endOutage(o *outage) {
	last := p.lastOpen.Load()
	if !p.outage.CompareAndSwap(o, nil) {
		return
	}
	step.At("outage: ended")
	p.lastOpen.CompareAndSwap(last, nil) // unless there is a failure already that begins the next one
	if o.Failures >= words.KeepsFailing {
		p.config.Logger.Info("opening connections succeeds again")
		p.counters.openErrorLog.next.Store(0) // log the next failure at once
	}
	p.ensureOpen(nil) // no longer one at a time
	p.openEnded()     // nor for Warm
}

// endTrials ends the outage if a connection that was opened since the last failure has been
// open for long enough. It returns when to look again. Only the sweeper calls it.
func (p *Pool) endTrials(now time.Duration) (next time.Duration) {
	if !p.sweeper.trials.Load() {
		return never
	}
	p.sweeper.trials.Store(false) // before the look: the other side is in opened
	step.At("endTrials: flag cleared")
	o := p.outage.Load()
	if o == nil {
		return never
	}
	next = p.firstTrial(o)
	if next <= now {
		p.endOutage(o)
		return never
	}
	if next != never {
		p.sweeper.trials.Store(true)
	}
	return next
}

// firstTrial returns when probation ends for the first of those that were opened since the
// last failure, and are still open, or never.
func (p *Pool) firstTrial(o *outage) time.Duration {
	first := never
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			if c := b.slots[i].Load(); c != nil && c.outage == o && c.defect() == nil {
				first = min(first, c.openedAt+probation)
			}
		}
	}
	return first
}

// judge counts a connection as one failed open if its peer has ended it on probation. word
// is that of its slot, unclean is how many of the leases that have ended so far, by that
// word, have not ended clean, beside those that PutUnused has ended. One that Close or Revoke
// has ended is none of them: its connection is marked before anybody would judge it.
func (p *Pool) judge(c *conn, word ring.Word, unclean uint64, why reason, cause error) {
	now := time.Duration(p.now())
	if word.Generation() != c.claimed.Generation()+uint64(c.unused.Load())+unclean || now-c.openedAt >= probation ||
		c.era != p.era.Load() || p.lifetime.Err() != nil {
		return
	}
	ended := false
	if err := guard("the end of a connection", func() error { ended = p.peerEnded(why, cause); return nil }); err != nil || !ended {
		return // a panic, too, of an error that is asked what it is
	}
	p.lastOpen.Store(p.config.OpenFailed(&endedError{cause}))
	p.failed(c.began, now, p.retryAfter(cause, now), false)
}

// An endedError is the error of an open that has succeeded in vain.
type endedError struct{ cause error }

func (e *endedError) Error() string {
	return "the peer ended the connection at once: " + e.cause.Error()
}
func (e *endedError) Unwrap() error { return e.cause }

// peerEnded reports whether it was the peer of a connection that has ended it, by what Check,
// Watch or Discard has said. What callers break by their ctx, or close themselves, is no failure
// of the server.
func (p *Pool) peerEnded(why reason, cause error) bool {
	switch {
	case why == closedByCheck:
		return true
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, net.ErrClosed):
		return false
	case why == closedByWatch:
		return true
	}
	for _, end := range peerEnds {
		if errors.Is(cause, end) {
			return true
		}
	}
	var mark *PeerClosed
	if errors.As(cause, &mark) || p.factory.PeerClosed == nil {
		return mark != nil
	}
	return p.factory.PeerClosed(cause)
}

// PeerClosed and RetryAfter are the marks of the root package, which documents them.
type (
	PeerClosed struct{ Err error }
	RetryAfter struct {
		Err   error
		After time.Duration
	}
)

func (e *PeerClosed) Error() string { return e.Err.Error() }
func (e *PeerClosed) Unwrap() error { return e.Err }
func (e *RetryAfter) Error() string { return e.Err.Error() }
func (e *RetryAfter) Unwrap() error { return e.Err }

// retryAfter returns when the server may be tried again, by the mark in an error, or 0.
func (p *Pool) retryAfter(err error, now time.Duration) time.Duration {
	var mark *RetryAfter
	_ = guard("an error", func() error { errors.As(err, &mark); return nil }) // an error may panic when it is asked what it is
	if mark == nil || mark.After <= 0 {
		return 0
	}
	return now + min(mark.After, p.config.MaxRetryAfter)
}

// failFastAt returns when an outage will have lasted for so long that callers who would wait
// for nothing are told at once. By default a pool that has never had a connection tells them
// from the beginning: they are not interrupted by a restart, more likely its configuration
// is wrong.
func (p *Pool) failFastAt(o *outage) time.Duration {
	d := p.config.FailFastAfter
	switch {
	case d < 0:
		return never
	case d > 0:
		return o.Since + d.Truncate(time.Microsecond) // a nanosecond is at once
	case p.took.Load() == 0:
		return 0
	}
	return o.Since + failFastAfter
}

// failFastAfter is the default of Config.FailFastAfter.
const failFastAfter = time.Second

// unavailable returns an error for callers that would wait for nothing, and otherwise
// nil. They would if the outage has lasted for long enough, no connection is open, and
// either it is not yet time for an attempt, or another attempt is in progress, or attempts
// that hang leave no room for one.
func (p *Pool) unavailable() *unavailableError {
	if o := p.outage.Load(); o != nil {
		return p.unavailableIn(o)
	}
	return nil
}

// unavailableIn is unavailable during an outage.
func (p *Pool) unavailableIn(o *outage) *unavailableError {
	now := time.Duration(p.now())
	paused := now < o.RetryAt(p.config.MaxBackoff)
	if o.Failures < words.KeepsFailing && !paused || now < p.failFastAt(o) {
		return nil
	}
	c := words.Census(p.conns.Load())
	if c.Usable() > 0 || c.Max() == 0 {
		return nil
	}
	if !paused && c.Opening() <= int(p.overdue.Load()) {
		if c.Opening() < c.Max() && !p.tooMany(c) {
			return nil
		}
		oldest, another, leaving := p.hanging(c)
		if another != nil || leaving || oldest != nil && (!p.config.StrictMax || oldest.began+p.patience() <= now) {
			return nil // it makes room
		}
	}
	if p.lastOpen.Load() == nil {
		return nil // the outage is just over: nobody is told that there is none without a reason
	}
	return p.unavailableError(0)
}

// refuseHopeless tells all who wait for nothing. It reports false if nobody is told. While an
// attempt hangs, those who wait may yet get what it opens: the server may be a slow one.
func (p *Pool) refuseHopeless() bool {
	if p.overdue.Load() > 0 {
		return false
	}
	err := p.unavailable()
	return err != nil && p.refuseAll(err)
}

// An Unavailability is what an UnavailableError of the root package tells.
type Unavailability struct {
	Waited     time.Duration // 0: told at once
	Opening    int           // attempts under way
	OpeningFor time.Duration // how long the first of them has been under way
	RetryAt    time.Time     // when the server may be tried again, if it has asked for that
	Open       error         // made by Config.OpenFailed; nil if nothing has failed yet
}

// unavailableError says that there is no connection, and why.
func (p *Pool) unavailableError(waited time.Duration) *unavailableError {
	u := Unavailability{Waited: waited, Open: p.lastOpen.Load()}
	u.Opening, u.OpeningFor = p.underWay()
	if o := p.outage.Load(); o != nil && o.Until > time.Duration(p.now()) {
		u.RetryAt = p.epoch.Add(o.Until)
	}
	return &unavailableError{p.config.Unavailable(u)}
}

// An unavailableError carries an UnavailableError of the root package to a waiter.
type unavailableError struct{ error }

func (e *unavailableError) Unwrap() error { return e.error }

// onlyOld reports whether nothing is open but connections that have been idle for too long,
// one of which is held by the caller.
func (p *Pool) onlyOld(h held) bool {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			if b.first+i == h.slot || b.slots[i].Load() == nil {
				continue
			}
			if word.Phase() != ring.Idle || p.idleFor(word) < p.idleTicks {
				return false
			}
		}
	}
	return true
}

// peerEnds are the errors by which a peer's end of a connection is known.
var peerEnds = append([]error{io.EOF, io.ErrUnexpectedEOF}, resets...)
