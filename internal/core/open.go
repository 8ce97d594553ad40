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

// overdueAfter is how long an open may take before nobody counts on it any more but
// the caller who asked for it. It goes on, but others have another one begun.
const overdueAfter = time.Second

// An attempt is one connection being opened: one call of Factory.Open and, if that
// succeeds, of Factory.Watch.
type attempt struct {
	asker *queue.Waiter   // for whom it was begun; nil: nobody in particular
	asked context.Context // of whose values Open is given; may be nil
	spare bool            // for Warm or MinIdle: if it fails, no waiter is told
	done  func(err error) // of Warm; may be nil

	slot   int
	word   ring.Word
	era    *era          // in which it began; a Reset begins the next
	outage words.Outage  // in which it began
	began  time.Duration // on the pool's clock
	state  atomic.Uint32
	conn   atomic.Pointer[conn] // that Open has returned, until somebody has seen to it
}

// The state of an attempt. Each arrow is one compare-and-swap.
//
//	running ──▶ overdue    by its timer: counted in Pool.overdue
//	running, overdue ──▶ ended      by its own goroutine, when the factory has returned
//	running, overdue ──▶ abandoned  by its timer, if that takes too long
//
// Whoever ends it has the slot.
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
				p.overdue.Dec() // until it is counted out of the census, it counts as under way
			}
			return true
		}
	}
}

// open opens one connection.
func (p *Pool) open(a *attempt) {
	ctx := a.era.ctx
	if a.asked != nil {
		// Its values and no more: the connection may serve somebody else.
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(context.WithoutCancel(a.asked))
		defer cancel(nil)
		defer context.AfterFunc(a.era.ctx, func() { cancel(context.Cause(a.era.ctx)) })()
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
				go p.callClose(c, errOpenAbandoned, func() {})
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
			return d.cause // so the caller is told, and does not ask again and again
		}
		return nil
	})
}

// lifetimeOf returns when the MaxLifetime of a connection that is open from now on is over.
// Its jitter is settled here, once.
func (p *Pool) lifetimeOf(now time.Duration) time.Duration {
	l := p.config.MaxLifetime
	if l == 0 {
		return never
	}
	l -= l / 10
	return now + l + time.Duration(rand.Int64N(int64(p.config.MaxLifetime/5)+1))
}

// timeAttempt counts an attempt as overdue, once it is and its asker does not wait any
// more, could not be lent what it opens after a Reset, or keeps others from trying in an
// outage; and abandons it some time after OpenTimeout.
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
			}
			return
		}
		wanted := a.asker != nil && a.asker.Live() && a.era == p.era.Load() && p.outage.Load() == 0
		if !wanted && a.state.Load() == attemptRunning {
			p.overdue.Inc() // before the state: whoever ends it takes it back
			if a.state.CompareAndSwap(attemptRunning, attemptOverdue) {
				p.ensureOpen(nil, nil)
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

// opened lends what an attempt has opened.
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
		p.counters.openErrorLog.next.Store(0) // the next failure is news
	}
	p.lastOpen.Store(nil)
	p.hookOpened(took, nil)
	b, i := p.bankOf(c.slot)
	b.slots[i].Store(c)
	step.At("opened: stored")
	// Established from here on. The slot is nobody else's until settle.
	p.landing.Inc()
	p.conns.Sub(uint64(words.CensusOpening))
	step.At("opened: established")
	p.advanceTick(time.Duration(p.now()))
	stamp := uint16(p.tick.Load())
	if a.word.Stamp() == revokedStamp {
		stamp = revokedStamp // the holder of the lease that Close revoked has not asked yet
	}
	h := held{c.slot, b.ring.Fill(i, a.word, stamp)}
	// The other side is in Reset.
	if a.era != p.era.Load() {
		p.conns.Add(uint64(words.CensusLeaving))
		p.landing.Dec() // it is nothing that its asker could count on
		p.destroyLeaving(h, closedByReset, errReset, a.asker, a.asked)
	} else {
		p.settle(h, true)
		p.landing.Dec()
	}
	p.mindSlots()
	// Somebody may have come to wait meanwhile, counted this one as being opened
	// for it, and got nothing.
	p.ensureOpen(nil, nil)
	p.attemptOver(a, nil)
}

// openFailed gives the error to the waiter whose Get asked for the connection. If
// that one is gone, it was served or gave up, and nobody is owed an error: whoever
// waits then has asked, or will be asked for, by an attempt of its own. An attempt
// that nobody in particular asked for was made for the oldest, who is told if there is no
// connection that may come back to it instead.
//
// This cannot go on for ever: each failure ends one wait, or its asker's had ended
// before, or nobody waits, or there is a pause before the next (see outage).
func (p *Pool) openFailed(a *attempt, err error) {
	took := time.Duration(p.now()) - a.began
	p.counters.openErrors.Inc()
	p.counters.openTime.Record(0, took)
	cause := err
	err = &openError{p.config.Name, cause}
	stale := a.era != p.era.Load() // Reset, or Close, may have ended it
	if stale || p.lifetime.Err() != nil {
		p.config.Logger.Debug("opening a connection was given up", slog.Any("error", cause))
	} else {
		p.lastOpen.Store(err)
		p.failed(a.outage)
		p.warn(&p.counters.openErrorLog, "opening a connection failed", slog.Any("error", cause), stackOf(cause))
	}
	p.hookOpened(took, cause)
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
	// The error comes before the capacity, so that no waiter gets the error of an
	// attempt that began after its own; then the capacity is offered again.
	c := p.unlent(a)
	if c != nil && p.config.StrictMax {
		p.conns.Sub(uint64(words.CensusOpening - words.CensusLeaving)) // it is open until it is closed
		go p.callClose(c, err, func() {
			p.vacate(c, a.word)
			p.ensureOpen(nil, nil)
		})
	} else {
		b, i := p.bankOf(a.slot)
		b.ring.Vacate(i, a.word)
		p.conns.Sub(uint64(words.CensusOpen + words.CensusOpening))
		if c != nil {
			go p.callClose(c, err, func() {})
		}
	}
	step.At("openFailed: census lowered")
	if words.Gate(p.gate.Load()).Shrinking() {
		p.shrunk()
	}
	if stale && a.asker != nil && a.asker.Live() {
		p.ensureOpen(a.asker, a.asked)
	} else {
		p.ensureOpen(nil, nil)
	}
	if stale {
		err = nil // Warm goes on
	}
	p.attemptOver(a, err)
}

// unlent takes what Open has returned and nobody will be lent, to close it: Watch objected,
// or it came too late. It never counted as opened. It returns nil if there is nothing.
func (p *Pool) unlent(a *attempt) *conn {
	c := a.conn.Swap(nil)
	if c != nil {
		p.unclosed.Inc()
	}
	return c
}

// attemptOver tells those who wait for the end of attempts: Warm.
func (p *Pool) attemptOver(a *attempt, err error) {
	if a.spare {
		p.spares.Dec() // not before what it has opened is idle: see keepWarm
	}
	if a.done != nil {
		a.done(err)
	}
	p.openEnded()
}
