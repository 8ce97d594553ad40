package core

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/opentime"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/sight"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// overdueAfter is how long an open may take before it counts as a failed one. It goes on,
// but another one may be begun beside it. It is less in an outage, and more at a server that
// is known to be slow (dueWithin).
const overdueAfter = time.Second

// An attempt is one connection being opened: one call of Factory.Open and, if that
// succeeds, of Factory.Expires and of Factory.Watch.
type attempt struct {
	asker *queue.Waiter   // for whom it was begun; nil: no waiter in particular
	asked context.Context // Open gets its values; may be nil
	spare bool            // for Warm or MinIdle: no waiter is told if it fails
	done  func(err error) // tells Warm or Add how it has ended: see errNoVerdict; may be nil

	slot   int
	word   ring.Word
	era    *era          // in which it began; Reset begins the next one
	outage *outage       // in which it began
	began  time.Duration // on the pool's clock
	told   time.Duration // how long it took to open what Open has had already; zero: as long as Open
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // see timeAttempt
	// hung is set when it ends: it was overdue, and has been counted as a failure. counted is
	// the same, of one that was readmitted.
	hung, counted bool
	slotless      bool // set when it ends: it was set aside
	state         atomic.Uint32
	conn          atomic.Pointer[conn] // what Open has returned; see unlent
}

// The state of an attempt. Each arrow is one compare-and-swap.
//
//	running ──▶ overdue    by its timer: counted in Pool.overdue, and as a failure
//	overdue ──▶ given up   by whoever needs its room: canceled
//	overdue ──▶ aside      by whoever needs its slot, and gets it
//	aside ──▶ running      by its own goroutine, with another slot (readmit)
//	any of these ──▶ ended      by its own goroutine, when the factory has returned
//	any of these ──▶ abandoned  by its timer, if that takes too long
//	running, overdue, given up ──▶ replaced  by one that is readmitted: canceled
//
// The one that ends it gets the slot, if it has one.
const (
	attemptRunning = iota
	attemptOverdue
	attemptGivenUp
	attemptAside
	attemptEnded
	attemptAbandoned
	attemptReplaced
)

// begin begins an attempt that the census has admitted.
func (p *Pool) begin(a *attempt) {
	a.slot, a.word = p.claim()
	a.era = p.era.Load()
	a.outage = p.outage.Load()
	a.began = time.Duration(p.now())
	ctx := a.era.ctx
	if a.asked != nil {
		ctx = context.WithoutCancel(a.asked) // only its values: the connection may serve another caller
	}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	b, i := p.bankOf(a.slot)
	b.opening[i].Store(a)
	if a.spare {
		p.spares.Inc()
	}
	p.workers.Inc()
	go p.open(a)
}

// errNoVerdict is told of an attempt that has ended without a word about the server: Reset has ended it
// or what it has opened, or another one was begun in its place. Whoever wants the connection begins anew.
var errNoVerdict = errors.New("pool: internal error: an attempt has ended without a verdict")

// tell tells who asked for an attempt how it has ended: once, unless nobody is to be told.
func (a *attempt) tell(err error) {
	if a.done != nil {
		a.done(err)
	}
}

// end ends an attempt. It reports false if it has been ended already.
func (p *Pool) end(a *attempt, state uint32) bool {
	for {
		old := a.state.Load()
		if old >= attemptEnded || old == attemptAside && state == attemptReplaced {
			return false // or it has no slot to give
		}
		if a.state.CompareAndSwap(old, state) {
			a.hung = old != attemptRunning || a.counted // in this order: readmit may just be setting counted
			if old == attemptAside {
				a.slotless = true
				p.aside.CompareAndSwap(a, nil)
				return true
			}
			if old != attemptRunning {
				p.overdue.Dec() // it counts as under way until it leaves the census
			}
			b, i := p.bankOf(a.slot)
			b.opening[i].Store(nil)
			return true
		}
	}
}

// open opens one connection.
func (p *Pool) open(a *attempt) {
	defer func() {
		if a.state.Load() != attemptAbandoned {
			p.workerEnded()
		}
	}()
	carries := p.budget != nil // the right to what it opens, until a connection has it
	defer func() {
		if carries {
			p.rightBack(0)
		}
	}()
	ctx := a.ctx
	defer a.cancel(nil)
	if a.asked != nil {
		stop := context.AfterFunc(a.era.ctx, func() { a.cancel(context.Cause(a.era.ctx)) })
		canceled := ctx.Done()
		defer func() {
			if !stop() {
				<-canceled // that goroutine ends first: Close waits for this one
			}
		}()
	}
	if p.config.OpenTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.config.OpenTimeout)
		defer cancel()
	}
	c := &conn{pool: p, began: a.outage, after: p.queue.Count(), era: a.era, sight: new(sight.Sight)}
	err := errGoexit
	p.timeAttempt(a)
	defer func() { // deferred, in case of runtime.Goexit
		a.timer.Stop()
		if err == nil && p.over(c) { // Watch may have taken a while
			err = errOver
		}
		switch {
		case !p.end(a, attemptEnded):
			if c := p.unlent(a); c != nil {
				p.behind.Inc() // its slot has been free since it was abandoned
				go p.callClose(c, errOpenAbandoned, p.closedBehind)
			}
		case err == errNoRoom, err == nil && a.slotless: // set aside, and there is no room, or it was too late to look
			if c := p.unlent(a); c != nil {
				p.behind.Inc()
				go p.callClose(c, errNoRoom, p.closedBehind)
			}
			p.forget() // counted by setAside
			a.tell(errNoVerdict)
		case err != nil:
			p.openFailed(a, err)
		default:
			p.opened(a)
		}
	}()
	var terms [2]uint64
	if p.budget != nil {
		// Directly before: the process may have been stopped since it got the right.
		if terms, err = p.budget.askTerms(true); err != nil {
			return
		}
		err = errGoexit
	}
	told := opentime.In(ctx)
	err = guard("Factory.Open", func() (err error) {
		c.box, err = p.factory.Open(told)
		return err
	})
	if err != nil {
		return
	}
	a.told = told.Told()
	c.opened = time.Now()
	c.openedAt = time.Duration(p.now())
	c.expires, c.ends = p.lifetimeOf(c.openedAt), never
	if a.state.Load() == attemptAside && !p.readmit(a) {
		err = errNoRoom
		carries = false
		a.conn.Store(c)
		return
	}
	b, i := p.bankOf(a.slot)
	c.slot, c.ring, c.index = a.slot, b.ring, i
	c.claimed, c.born = a.word, a.word.Generation()
	carries = false
	a.conn.Store(c)
	if p.budget != nil {
		err = errGoexit
		now, e := p.budget.askTerms(false)
		if err = e; err == nil && now != terms {
			err = errTermOver
		}
		if err != nil {
			return
		}
	}
	if p.factory.Expires != nil {
		err = errGoexit
		if err = guard("Factory.Expires", func() error { return p.askEnd(c) }); err != nil {
			return
		}
	}
	if p.factory.Watch == nil {
		return
	}
	err = errGoexit
	err = guard("Factory.Watch", func() error {
		p.factory.Watch(c.box, func(cause error) { p.spoil(c, closedByWatch, brokenBy(cause)) })
		if d := c.defect(); d != nil {
			return d.cause // so that the caller is told, and does not ask again and again
		}
		return nil
	})
}

// lifetimeOf returns when MaxLifetime ends for a connection that is open from now on. Its
// jitter is drawn here, once.
func (p *Pool) lifetimeOf(now time.Duration) time.Duration {
	l := p.config.MaxLifetime
	if l == 0 {
		return never
	}
	l -= l / 10
	return now + l + time.Duration(rand.Int64N(int64(p.config.MaxLifetime/5)+1))
}

// timeAttempt marks an attempt as overdue when it has taken overdueAfter (BackoffMost, if
// it began in an outage), and counts it as a failure. It abandons the attempt openGrace
// after OpenTimeout, or after it was given up.
func (p *Pool) timeAttempt(a *attempt) {
	limit := never
	if t := p.config.OpenTimeout; t > 0 {
		limit = a.began + min(t, Forever/2) + openGrace
	}
	made := make(chan struct{})
	first := p.dueWithin(overdueAfter)
	if a.outage != nil {
		first = p.dueWithin(words.BackoffMost)
	}
	first += time.Millisecond // later than that, not at the same moment
	a.timer = time.AfterFunc(min(first, limit-a.began), func() {
		<-made
		now := time.Duration(p.now())
		if state := a.state.Load(); now >= limit || state == attemptGivenUp {
			if p.end(a, attemptAbandoned) {
				p.abandoned("Factory.Open", now-a.began)
				p.openFailed(a, errOpenAbandoned)
				p.workerEnded()
			}
			return
		} else if state == attemptRunning {
			p.hang(a, now)
		}
		if limit != never {
			a.timer.Reset(limit - now)
		}
		if a.state.Load() == attemptGivenUp { // just now: the other Reset may have come before this one
			a.timer.Reset(openGrace)
		}
	})
	close(made)
}

// hang marks an attempt as overdue. First it counts as a failure, unless it has been counted
// already, then others may be begun beside it: one at a time.
func (p *Pool) hang(a *attempt, now time.Duration) {
	if !a.counted && a.era == p.era.Load() && p.lifetime.Err() == nil {
		if p.lastOpen.Load() == nil {
			p.lastOpen.Store(p.config.OpenFailed(&hangError{now - a.began}))
		}
		p.failed(a.outage, a.began, 0, true)
	}
	step.At("hang: counted")
	p.overdue.Inc() // before the state: the one that ends the attempt subtracts it
	if !a.state.CompareAndSwap(attemptRunning, attemptOverdue) {
		p.overdue.Dec()
		return
	}
	p.ensureOpen(nil)
	p.openEnded() // Warm does not wait for it any more
}

// opened lends the connection that an attempt has opened.
func (p *Pool) opened(a *attempt) {
	c := a.conn.Load()
	took := time.Duration(p.now()) - a.began
	c.number = p.counters.opened.Inc()
	p.learnOpenTime(took)
	if a.told > 0 {
		took = a.told
	}
	p.counters.openTime.Record(0, took)
	p.unclosed.Inc()
	p.config.Logger.Debug("connection opened", slog.Uint64("conn", c.number), slog.Duration("took", took))
	c.outage = p.outage.Load() // it is on probation, and may end this one
	if c.outage == nil {
		p.lastOpen.Store(nil)
	}
	p.hookOpened(OpenInfo{c.number, took, nil})
	b, i := p.bankOf(c.slot)
	b.slots[i].Store(c)
	step.At("opened: stored")
	if c.outage != nil {
		p.sweeper.trials.Store(true) // the other side is in endTrials
		p.kickSweeper()
	}
	// Established from here on. Nobody else has the slot until settle.
	p.landing.Inc()
	p.conns.Sub(uint64(words.CensusOpening))
	step.At("opened: established")
	p.advanceTick(time.Duration(p.now()))
	h := held{c.slot, b.ring.Fill(i, a.word, uint16(p.tick.Load()))}
	var verdict error
	// The other side is in Reset.
	if a.era != p.era.Load() {
		p.conns.Add(uint64(words.CensusLeaving))
		verdict = errNoVerdict
		p.landing.Dec() // its asker cannot count on it
		p.release(a)
		p.destroyLeaving(h, closedByReset, errReset, a.asker)
	} else {
		p.settle(h, true)
		p.landing.Dec()
		p.release(a)
	}
	p.mindSlots()
	p.mindEnd(c)
	// A caller that came to wait meanwhile may have counted this attempt as one for
	// itself, and got nothing.
	p.ensureOpen(nil)
	p.attemptOver(a, nil)
	a.tell(verdict)
}

// openFailed notes that an attempt has failed. Those who wait keep their places, and
// another attempt is made for the oldest of them, until the outage has lasted for
// FailFastAfter. Then the waiter whose Get asked for the attempt is told the error, or the
// oldest if no waiter in particular asked for it:
//
//   - if no connection is open that may come back to it
//   - or if opening has failed four times in a row, and nothing has come back meanwhile
//
// If the asker is gone, it was served or gave up, and nobody is owed an error. Nobody gets
// the error of an attempt for Warm or MinIdle, or of one that Reset has ended or that was
// given up for another one.
//
// This cannot go on for ever without a pause. From the fourth failure on there is a backoff
// before the next attempt (see outage.go).
func (p *Pool) openFailed(a *attempt, err error) {
	now := time.Duration(p.now())
	took := now - a.began
	p.counters.openErrors.Inc()
	p.counters.openTime.Record(0, took)
	cause := err
	err = p.config.OpenFailed(cause)
	stale := a.era != p.era.Load() // a Reset may have ended it
	givenUp := context.Cause(a.ctx) == errGivenUp
	if stale || givenUp || p.lifetime.Err() != nil {
		p.config.Logger.Debug("opening a connection was given up", slog.Any("error", cause))
	} else {
		if !a.hung || p.outage.Load() != nil {
			p.lastOpen.Store(err)
		}
		if !a.hung {
			p.failed(a.outage, now, p.retryAfter(cause, now), true)
		} else if until := p.retryAfter(cause, now); until > 0 {
			p.failed(nil, now, until, true) // it has been counted: for the pause alone
		}
		p.warn(&p.counters.openErrorLog, "opening a connection failed", slog.Any("error", cause), stackOf(cause))
	}
	p.hookOpened(OpenInfo{0, took, cause})
	if !stale && !givenUp && !a.spare {
		if told := p.mustTell(now, err); told != nil {
			if a.asker == nil {
				p.refuseOldest(told)
			} else if p.refuse(a.asker, told) {
				p.sweepAside()
			}
		}
	}
	// First the error, then the capacity: no waiter may get the error of an attempt that
	// began after its own, and Warm begins no other one. After that the capacity is offered again.
	if stale || givenUp || a.slotless {
		a.tell(errNoVerdict)
	} else {
		a.tell(err)
	}
	c := p.unlent(a)
	if a.slotless {
		if c != nil {
			p.behind.Inc()
			go p.callClose(c, err, p.closedBehind)
		}
	} else if c != nil && !p.closeBehind() {
		p.conns.Sub(uint64(words.CensusOpening - words.CensusLeaving)) // counts as open until it is closed
		go p.callClose(c, err, func() {
			p.vacate(c, a.word)
			p.ensureOpen(nil)
		})
	} else {
		b, i := p.bankOf(a.slot)
		b.ring.Vacate(i, a.word)
		p.conns.Sub(uint64(words.CensusOpen + words.CensusOpening))
		if c != nil {
			go p.callClose(c, err, p.closedBehind)
		}
	}
	step.At("openFailed: census lowered")
	if words.Gate(p.gate.Load()).Shrinking() {
		p.shrunk()
	}
	p.release(a)
	if a.asker != nil && a.asker.Live() {
		p.ensureOpen(a.asker)
	} else {
		p.ensureOpen(nil)
	}
	if stale || givenUp {
		err = nil // Warm goes on
	}
	if !a.slotless || !a.spare { // otherwise it has been counted off
		p.attemptOver(a, err)
	}
	if a.slotless {
		p.forget() // counted by setAside
	} else {
		p.noteAllGone()
	}
}

// mustTell returns what a waiter is told when an attempt has failed with err, or nil if it
// is to wait on.
func (p *Pool) mustTell(now time.Duration, err error) error {
	if p.lifetime.Err() != nil {
		return nil // shut tells everybody
	}
	o := p.outage.Load()
	if o == nil || now < p.failFastAt(o) {
		return nil
	}
	hopeless := words.Census(p.conns.Load()).Usable() <= 0
	switch {
	case hopeless && o.Failures >= words.KeepsFailing:
		return p.unavailableError(0)
	case hopeless, o.Dry >= words.KeepsFailing && !o.back.Load():
		return err
	}
	return nil
}

// unlent takes the connection that Open has returned and nobody will get, in order to
// close it: Watch has refused it, Expires has failed, or it came too late. It was never counted as opened. It
// returns nil if there is none.
func (p *Pool) unlent(a *attempt) *conn {
	c := a.conn.Swap(nil)
	if c != nil {
		p.unclosed.Inc()
	}
	return c
}

// attemptOver tells Warm that an attempt has ended.
func (p *Pool) attemptOver(a *attempt, err error) {
	if a.spare {
		p.spares.Dec() // not before its connection is idle: see pass
		if err == nil && p.sweeper.warming.Load() {
			p.sweeper.warmOn.Store(true)
			p.kickSweeper() // for those that the quota has held back
		}
	}
	p.openEnded()
}
