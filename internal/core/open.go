package core

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/sight"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// overdueAfter is how long an open may take before only the caller that asked for it
// counts on it. It goes on, but another one may be begun for other waiters.
const overdueAfter = time.Second

// An attempt is one connection being opened: one call of Factory.Open and, if that
// succeeds, of Factory.Watch.
type attempt struct {
	asker *queue.Waiter   // for whom it was begun; nil: no waiter in particular
	asked context.Context // Open gets its values; may be nil
	spare bool            // for Warm or MinIdle: no waiter is told if it fails
	done  func(err error) // tells Warm how it ended; may be nil

	slot   int
	word   ring.Word
	era    *era          // in which it began; Reset begins the next one
	outage words.Outage  // in which it began
	began  time.Duration // on the pool's clock
	state  atomic.Uint32
	conn   atomic.Pointer[conn] // what Open has returned; see unlent
}

// The state of an attempt. Each arrow is one compare-and-swap.
//
//	running ──▶ overdue    by its timer: counted in Pool.overdue
//	running, overdue ──▶ ended      by its own goroutine, when the factory has returned
//	running, overdue ──▶ abandoned  by its timer, if that takes too long
//
// The one that ends it gets the slot.
const (
	attemptRunning = iota
	attemptOverdue
	attemptEnded
	attemptAbandoned
)

// begin begins an attempt that the census has admitted.
func (p *Pool) begin(a *attempt) {
	a.slot, a.word = p.claim()
	a.era = p.era.Load()
	a.outage = words.Outage(p.outage.Load())
	a.began = time.Duration(p.now())
	if a.spare {
		p.spares.Inc()
	}
	p.workers.Inc()
	go p.open(a)
}

// end ends an attempt. It reports false if it has been ended already.
func (p *Pool) end(a *attempt, state uint32) bool {
	for {
		old := a.state.Load()
		if old >= attemptEnded {
			return false
		}
		if a.state.CompareAndSwap(old, state) {
			if old == attemptOverdue {
				p.overdue.Dec() // it counts as under way until it leaves the census
			}
			return true
		}
	}
}

// open opens one connection.
func (p *Pool) open(a *attempt) {
	defer func() {
		if a.state.Load() == attemptEnded {
			p.workerEnded()
		}
	}()
	ctx := a.era.ctx
	if a.asked != nil {
		// Only its values: the connection may serve another caller.
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(context.WithoutCancel(a.asked))
		defer cancel(nil)
		stop := context.AfterFunc(a.era.ctx, func() { cancel(context.Cause(a.era.ctx)) })
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
	err := errGoexit
	timer := p.timeAttempt(a)
	defer func() { // deferred, in case of runtime.Goexit
		timer.Stop()
		switch {
		case !p.end(a, attemptEnded):
			if c := p.unlent(a); c != nil {
				p.behind.Inc() // its slot has been free since it was abandoned
				go p.callClose(c, errOpenAbandoned, p.closedBehind)
			}
		case err != nil:
			p.openFailed(a, err)
		default:
			p.opened(a)
		}
	}()
	c := &conn{pool: p, slot: a.slot, born: a.word.Generation(), era: a.era, sight: new(sight.Sight)}
	err = guard("Factory.Open", func() (err error) {
		c.box, err = p.factory.Open(ctx)
		return err
	})
	if err != nil {
		return
	}
	c.opened = time.Now()
	c.expires = p.lifetimeOf(time.Duration(p.now()))
	b, i := p.bankOf(a.slot)
	c.ring, c.index = b.ring, i
	a.conn.Store(c)
	if p.factory.Watch == nil {
		return
	}
	err = errGoexit
	err = guard("Factory.Watch", func() error {
		p.factory.Watch(c.box, func(cause error) { p.spoil(c, closedByWatch, brokenBy(cause)) })
		if d := c.unfit.Load(); d != nil {
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
// it began in an outage) and no asker counts on it: it has none, or its asker no longer
// waits, or Reset has begun another era, or there is an outage, in which it keeps others
// from trying. It abandons the attempt openGrace after OpenTimeout.
func (p *Pool) timeAttempt(a *attempt) *time.Timer {
	limit := never
	if t := p.config.OpenTimeout; t > 0 {
		limit = a.began + min(t, Forever/2) + openGrace
	}
	var timer *time.Timer
	made := make(chan struct{})
	first := overdueAfter
	if a.outage != 0 {
		first = words.BackoffMost
	}
	timer = time.AfterFunc(min(first, limit-a.began), func() {
		<-made
		now := time.Duration(p.now())
		if now >= limit {
			if p.end(a, attemptAbandoned) {
				p.abandoned("Factory.Open", now-a.began)
				p.openFailed(a, errOpenAbandoned)
				p.workerEnded()
			}
			return
		}
		wanted := a.asker != nil && a.asker.Live() && a.era == p.era.Load() && p.outage.Load() == 0
		if !wanted && a.state.Load() == attemptRunning {
			p.overdue.Inc() // before the state: the one that ends the attempt subtracts it
			if a.state.CompareAndSwap(attemptRunning, attemptOverdue) {
				p.ensureOpen(nil)
				p.openEnded() // Warm does not wait for it any more
			} else {
				p.overdue.Dec()
			}
		}
		switch state := a.state.Load(); {
		case state == attemptRunning:
			timer.Reset(min(overdueAfter, limit-now))
		case state == attemptOverdue && limit != never:
			timer.Reset(limit - now)
		}
	})
	close(made)
	return timer
}

// opened lends the connection that an attempt has opened.
func (p *Pool) opened(a *attempt) {
	c := a.conn.Load()
	took := time.Duration(p.now()) - a.began
	c.number = p.counters.opened.Inc()
	p.counters.openTime.Record(0, took)
	p.learnOpenTime(took)
	p.unclosed.Inc()
	p.config.Logger.Debug("connection opened", slog.Uint64("conn", c.number), slog.Duration("took", took))
	if o := words.Outage(p.outage.Swap(0)); o.Failures() >= words.KeepsFailing {
		p.config.Logger.Info("opening connections succeeds again")
		p.counters.openErrorLog.next.Store(0) // log the next failure at once
	}
	p.lastOpen.Store(nil)
	p.hookOpened(OpenInfo{c.number, took, nil})
	b, i := p.bankOf(c.slot)
	b.slots[i].Store(c)
	step.At("opened: stored")
	// Established from here on. Nobody else has the slot until settle.
	p.landing.Inc()
	p.conns.Sub(uint64(words.CensusOpening))
	step.At("opened: established")
	p.advanceTick(time.Duration(p.now()))
	stamp := uint16(p.tick.Load())
	if a.word.Stamp() == revokedStamp {
		stamp = revokedStamp // the holder of the revoked lease has not asked about it yet
	}
	h := held{c.slot, b.ring.Fill(i, a.word, stamp)}
	// The other side is in Reset.
	if a.era != p.era.Load() {
		p.conns.Add(uint64(words.CensusLeaving))
		p.landing.Dec() // its asker cannot count on it
		p.destroyLeaving(h, closedByReset, errReset, a.asker)
	} else {
		p.settle(h, true)
		p.landing.Dec()
	}
	p.mindSlots()
	// A caller that came to wait meanwhile may have counted this attempt as one for
	// itself, and got nothing.
	p.ensureOpen(nil)
	p.attemptOver(a, nil)
}

// openFailed gives the error to the waiter whose Get asked for the connection. If that
// waiter is gone, it was served or gave up, and nobody is owed an error: every other
// waiter has an attempt of its own, or will get one. An attempt that no waiter in
// particular asked for was made for the oldest waiter. That one gets the error if no
// connection is open that may come back to it instead. Nobody gets the error of an
// attempt for Warm or MinIdle, or of one that Reset has ended.
//
// This cannot go on for ever. Each failure ends one wait, or the wait of its asker was
// over already, or nobody waits, or there is a backoff before the next attempt (see
// outage.go).
func (p *Pool) openFailed(a *attempt, err error) {
	took := time.Duration(p.now()) - a.began
	p.counters.openErrors.Inc()
	p.counters.openTime.Record(0, took)
	cause := err
	err = p.config.OpenFailed(cause)
	stale := a.era != p.era.Load() // a Reset may have ended it
	if stale || p.lifetime.Err() != nil {
		p.config.Logger.Debug("opening a connection was given up", slog.Any("error", cause))
	} else {
		p.lastOpen.Store(err)
		p.failed(a.outage)
		p.warn(&p.counters.openErrorLog, "opening a connection failed", slog.Any("error", cause), stackOf(cause))
	}
	p.hookOpened(OpenInfo{0, took, cause})
	told := err
	hopeless := words.Census(p.conns.Load()).Usable() <= 0
	if o := words.Outage(p.outage.Load()); hopeless && o.Failures() >= words.KeepsFailing {
		told = &unavailableError{p.config.Name, err}
	}
	switch {
	case a.spare, stale:
	case a.asker != nil:
		if p.refuse(a.asker, told) {
			p.sweepAside()
		}
	case hopeless:
		p.refuseOldest(told)
	}
	// First the error, then the capacity: no waiter may get the error of an attempt that
	// began after its own. After that the capacity is offered again.
	c := p.unlent(a)
	if c != nil && !p.closeBehind() {
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
	if stale && a.asker != nil && a.asker.Live() {
		p.ensureOpen(a.asker)
	} else {
		p.ensureOpen(nil)
	}
	if stale {
		err = nil // Warm goes on
	}
	p.attemptOver(a, err)
	p.noteAllGone()
}

// unlent takes the connection that Open has returned and nobody will get, in order to
// close it: Watch has refused it, or it came too late. It was never counted as opened. It
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
	if a.done != nil {
		a.done(err)
	}
	p.openEnded()
}
