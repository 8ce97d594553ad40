package core

import (
	"context"
	"errors"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// register counts one more waiter at the gate. From then on every Get queues, and every
// Put looks for a waiter to serve. again says that the caller had a place before, and must
// not be refused one.
func (p *Pool) register(again bool) error {
	if p.config.MaxWaiters == 0 || again {
		if words.Gate(p.gate.Add(uint64(words.GateWaiter))).Closed() {
			p.gate.Sub(uint64(words.GateWaiter))
			return ErrClosed
		}
		return nil
	}
	for {
		g := words.Gate(p.gate.Load())
		c := words.Census(p.conns.Load())
		if p.ending(c) { // or closed: the limit is set before the flag
			return ErrClosed
		}
		step.At("register: census read")
		possible := max(c.Max()-c.Established(), 0)
		if p.fresh.Load() > 0 || p.reserved.Load() > 0 {
			possible += p.idleSlots() // one may be idle although somebody waits, and may make room; what is reserved may lapse
		}
		most := max(p.config.MaxWaiters, 0) + possible - int(p.same.Load())
		if g.Waiters() >= most {
			p.counters.rejected.Inc()
			return ErrRejected
		}
		if p.gate.CompareAndSwap(uint64(g), uint64(g+words.GateWaiter)) {
			return nil
		}
	}
}

// unregister takes back what register or registerSame has counted for a waiter, once it is decided.
func (p *Pool) unregister(w *queue.Waiter) {
	if w.WaitsForOne() {
		p.same.Dec()
	} else {
		p.gate.Sub(uint64(words.GateWaiter))
	}
}

// wait is Get when no idle connection was found. The caller becomes a waiter until
// somebody gives it a token or its ctx ends. fresh says that it is GetFresh. A caller whose
// connection was revoked on its way waits again, at the end of the queue: its place has been
// used. For Stats that is another wait, for Hooks.Waited the same. moved is how long the caller has
// waited in another pool of the same owner, which was closed then: it has the rest of its time.
func (p *Pool) wait(ctx context.Context, fresh bool, moved time.Duration) (Lease, error) {
	done := ctx.Done() // not our code, so before anything has to be undone
	values := p.openContext(ctx)
	since := p.now()
	if p.isElsewhere(since) {
		return Lease{}, ErrBubble
	}
	if err := p.unavailable(); err != nil {
		p.counters.unavailable.Inc()
		p.hookRejected(ctx, err.error)
		return Lease{}, err.error
	}
	if err := p.register(moved > 0); err != nil { // it had a place there
		if err == ErrRejected {
			p.hookRejected(ctx, err)
		}
		return Lease{}, err
	}
	l, waited, err := p.waitOnce(ctx, done, values, since, fresh, moved)
	for err == errLost {
		var more time.Duration
		if err = p.register(true); err == nil {
			l, more, err = p.waitOnce(ctx, done, values, p.now(), fresh, moved)
			waited += more
		}
	}
	if err == nil {
		l.noteWait(moved + waited)
	}
	p.hookWaited(ctx, l, waited, err)
	if err == ErrClosed && p.owner != nil {
		err = &movedError{moved + waited}
	}
	return l, err
}

// waitOnce makes a registered caller a waiter from since on, until somebody gives it a token or its ctx
// ends. It returns how long that took.
func (p *Pool) waitOnce(ctx context.Context, done <-chan struct{}, values context.Context, since int64, fresh bool, moved time.Duration) (l Lease, waited time.Duration, err error) {
	k := p.parkers.Get().(*queue.Parker)
	k.Begin(done, since)
	if values != nil {
		k.SetValues(values)
	}
	kind := queue.Any
	if fresh {
		kind = queue.Fresh
	}
	step.At("wait: registered")
	w, before := p.queue.Enqueue(k, kind)

	// A slot may have been published before w was linked: its publisher saw nobody, and
	// will not come back to it. So w looks once more. In steady overload, with thousands
	// of slots and of waiters, that would be most of the work. So a waiter that queues
	// behind a parked one is excused.
	//
	// Claim: at rest there is no live waiter beside an idle slot. (Fresh waiters do not
	// count: see fresh.go. They never park, so the argument is that for all others.) Suppose slot c stays
	// idle from its publication p on, while waiter n lives. After p, at an instant q, the
	// publisher of c looked at the queue (settle) and saw no live waiter. So n was linked
	// after q. Of those linked after q, let f be the first that parks. If it was excused, the
	// waiter before it was parked then. That one was not linked before q, or it would have been
	// dead at q, and dead is final. Nor was it linked after q, or it would have parked before
	// f. So f was not excused, and has looked, after p. Either f meets c, which contradicts that c
	// stays idle. Or f stops because nobody waits any more, at an instant q' > q. Then n was
	// linked after q', too, and the argument starts again with q' for q. It comes to an
	// end, because there are finitely many waiters.
	//
	// The waiter before must be parked, not merely live. If f (or the goroutine that looks
	// for it, see lookInFor) stalls before it has looked, the next one is not excused, and no stalled goroutine hides a slot from
	// those that come later. And f must ask the cell before it, not the gate. Suppose A
	// is registered, linked and granted, and B is registered but not linked. A publisher
	// sees the gate up and the queue empty, and goes. B would not be the first at the
	// gate, would not look, and would sleep beside an idle slot.
	if !before.HasParked() {
		step.At("wait: looks again")
		if p.wary.Load() == 0 {
			p.lookIn(k, w, p.serve)
			w.Park()
		} else {
			p.lookInFor(w, p.serve) // and parks it
		}
	} else {
		w.Park()
	}
	step.At("wait: parked")

	// The other side is in shut, which sets the flag, then refuses all waiters. If shut
	// did not see w, then w was linked after the flag was set, and the flag is seen here.
	if words.Gate(p.gate.Load()).Closed() {
		p.refuseAll(ErrClosed)
	}
	if p.reserved.Load() > 0 && p.wary.Load() == 0 {
		p.lookIn(k, w, p.lapse) // otherwise ensureOpen has it done
	}
	if !p.ensureOpen(w) {
		// The other side is in openFailed, which notes the failure, then calls
		// ensureOpen, which refuses all waiters during a backoff.
		if err := p.unavailable(); err != nil {
			if p.refuse(w, err) {
				p.sweepAside()
			}
		}
	}
	p.wakeSweeper()
	if moved > 0 && p.sweeper.expires {
		defer p.limitMoved(w, p.config.MaxWaitTime-moved)()
	}

	var t queue.Token
	if done == nil {
		t = <-k.Tokens()
	} else {
		select {
		case t = <-k.Tokens():
		case <-done:
			step.At("leave: ctx ended")
			p.counters.canceled.Inc()
			err := p.waitEnded(ctx)
			waited := p.waited(k, since)
			p.leave(k, w)
			return Lease{}, waited, err
		}
	}
	waited = p.waited(k, since)
	p.parkers.Put(k)
	l, err = p.accept(ctx, t, moved+waited)
	return l, waited, err
}

// openContext returns the ctx whose values Open gets if it is called for the caller with this
// ctx, or nil: none.
func (p *Pool) openContext(ctx context.Context) context.Context {
	if p.config.OpenContext == nil {
		return nil
	}
	return p.config.OpenContext(ctx)
}

// waited counts a wait that is over and began then, and returns how long it took.
func (p *Pool) waited(k *queue.Parker, since int64) time.Duration {
	d := time.Duration(p.now() - since)
	p.counters.waitTime.Record(k.Stripe, d)
	return d
}

// lookIn is serve, or serveSame, in the goroutine of a waiter. If Factory.Check ends that
// (runtime.Goexit), the wait ends, too: nobody would receive what the waiter is given.
func (p *Pool) lookIn(k *queue.Parker, w *queue.Waiter, serve func()) {
	returned := false
	defer func() {
		if !returned {
			p.leave(k, w)
		}
	}()
	serve()
	returned = true
}

// serve gives idle slots to waiters, while there are both.
func (p *Pool) serve() {
	for {
		if !p.plainWaits() {
			return
		}
		h, ok := p.scan()
		if !ok {
			return
		}
		if _, ok := p.admit(h); ok {
			p.settle(h, true)
		}
	}
}

// leave ends a wait whose caller no longer wants a connection. It releases the parker.
func (p *Pool) leave(k *queue.Parker, w *queue.Waiter) {
	if w.Decide(queue.Left) {
		p.unregister(w)
		w.Strip()
		p.parkers.Put(k)
		p.sweepAside()
		return
	}
	// Somebody else has decided w, and owes it one token: it is between its
	// compare-and-swap and its send. If the token is a connection, pass it on.
	t := <-k.Tokens()
	p.parkers.Put(k)
	if t.Err == nil {
		p.settle(held{t.Slot, t.Word}, false)
	}
}

// errLost says that the connection in a token was revoked before the waiter had it.
var errLost = errors.New("pool: internal error: revoked on its way")

// accept turns a token into what Get returns, or into errLost.
func (p *Pool) accept(ctx context.Context, t queue.Token, waited time.Duration) (l Lease, err error) {
	if t.Err != nil {
		return l, p.refused(ctx, t.Err, waited)
	}
	h := held{t.Slot, t.Word}
	c := p.connIn(t.Slot)
	if !h.owns(c) || c.ring.At(c.index) != h.word {
		if words.Gate(p.gate.Load()).Closed() {
			return l, ErrClosed
		}
		return l, errLost
	}
	c.sight.Forget(t.Word) // the pool has held the slot under this word: the other side is in see
	if p.config.TimeUse {
		c.leasedAt = time.Duration(p.now()) // a hook may end the lease before it is noted
	}
	return Lease{c, t.Word}, nil
}

// refused counts a wait that somebody else has ended with err, and returns what Get returns.
func (p *Pool) refused(ctx context.Context, err error, waited time.Duration) error {
	switch e := err.(type) {
	case *expiry:
		if e.stats.ActiveConnections+e.stats.IdleConnections == 0 && (e.stats.AwaitingBudget == 0 || p.outage.Load() != nil) {
			p.counters.unavailable.Inc() // nobody has exhausted what there was not
			return p.unavailableError(waited).error
		}
		p.counters.timeouts.Inc()
		return p.config.Exhausted(waited, e.stats)
	case *unavailableError:
		p.counters.unavailable.Inc()
		return e.error
	}
	if err == errEnded {
		p.counters.canceled.Inc()
		return p.waitEnded(ctx)
	}
	return err
}

// waitEnded returns the error for a wait whose ctx has ended. If nothing is open, it says
// what is under way.
func (p *Pool) waitEnded(ctx context.Context) error {
	open := p.lastOpen.Load()
	if c := words.Census(p.conns.Load()); c.Usable() > 0 || c.Opening() == 0 {
		return contextEnded(ctx, open)
	}
	e := *contextEnded(ctx, open)
	e.opening, e.openingFor = p.underWay()
	return &e
}

// now is the pool's clock: nanoseconds since it was made.
func (p *Pool) now() int64 { return int64(time.Since(p.epoch)) }
