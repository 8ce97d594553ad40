package pool

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/step"
)

// register counts one more waiter at the gate, from where on every Get queues and
// every Put looks for somebody to serve.
func (p *Pool[T]) register() error {
	if p.config.MaxWaiters == 0 {
		if gateWord(p.gate.Add(uint64(gateWaiter))).closed() {
			p.gate.Sub(uint64(gateWaiter))
			return ErrClosed
		}
		return nil
	}
	for {
		g := gateWord(p.gate.Load())
		c := census(p.conns.Load())
		if p.ending(c) { // or closed: the limit comes first
			return ErrClosed
		}
		step.At("register: census read")
		possible := max(c.max()-c.established(), 0)
		if g.waiters() >= max(p.config.MaxWaiters, 0)+possible {
			p.counters.rejected.Inc()
			return ErrRejected
		}
		if p.gate.CompareAndSwap(uint64(g), uint64(g+gateWaiter)) {
			return nil
		}
	}
}

// wait is Get when no idle connection was at hand: the caller becomes a waiter,
// until somebody gives it a token or its ctx ends.
func (p *Pool[T]) wait(ctx context.Context) (Lease[T], error) {
	done := ctx.Done() // not our code, so before there is anything to undo
	if err := p.unavailable(); err != nil {
		p.counters.unavailable.Inc()
		p.hookRejected(err)
		return Lease[T]{}, err
	}
	if err := p.register(); err != nil {
		if err == ErrRejected {
			p.hookRejected(err)
		}
		return Lease[T]{}, err
	}
	k := p.parkers.Get().(*parker)
	w := k.waiter(done, p.now())
	step.At("wait: registered")
	before := p.queue.enqueue(w)

	// A slot may have been published before w was linked: its publisher saw
	// nobody, and nobody will come back to it. So look once more. In steady
	// overload, with thousands of slots and of waiters, that would be most of the
	// work, so whoever queues behind a waiter that has parked is excused.
	//
	// Claim: at rest there is no live waiter beside an idle slot. Suppose slot c
	// stays idle from its publication p on while waiter n lives. The publisher of
	// c looked at the queue after p, saw no live waiter, at an instant q (settle),
	// and so n was linked after q. Let f be the first waiter linked after q. The
	// one before it was linked before q, so it was dead at q; dead is final; so f
	// sees that it is not parked, and looks, after p. Either it meets c, which
	// contradicts that c stays idle; or it stops because nobody waits any more, at
	// q' > q: then n was linked after q' too, and the argument starts again with
	// q' for q. It comes to an end, as there are finitely many waiters.
	//
	// It must be parked, not merely live: if f stalls before it has looked, the
	// next one is not excused, and no stalled goroutine hides a slot from those
	// who come later. And it must be asked of the node before, not of the gate:
	// with A registered, linked, and granted, and B registered but not linked, a
	// publisher sees the gate up and the queue empty, and goes; B would not be
	// the first at the gate, would not look, and would sleep beside an idle slot.
	if before.state.Load() != stateParked {
		step.At("wait: looks again")
		p.look(k, w)
	}
	w.park()
	step.At("wait: parked")

	// The other side is in shut, which sets the flag, then refuses all who wait. If
	// it did not see w, w was linked after the flag was set.
	if gateWord(p.gate.Load()).closed() {
		p.refuseAll(ErrClosed)
	}
	if !p.ensureOpen(w, ctx) {
		// The other side is in openFailed, which notes the failure, then asks
		// ensureOpen, which refuses all who wait in a pause.
		if err := p.unavailable(); err != nil {
			if p.refuse(w, err) {
				p.sweepAside()
			}
		}
	}
	p.wakeSweeper()

	var t token
	if done == nil {
		t = <-k.ch
	} else {
		select {
		case t = <-k.ch:
		case <-done:
			step.At("leave: ctx ended")
			p.counters.canceled.Inc()
			err := contextEnded(ctx, p.lastOpen.Load())
			waited := p.waited(k, w)
			p.leave(k, w)
			p.hookWaited(Lease[T]{}, waited, err)
			return Lease[T]{}, err
		}
	}
	waited := p.waited(k, w)
	p.parkers.Put(k)
	l, err := p.accept(ctx, t, waited)
	p.hookWaited(l, waited, err)
	return l, err
}

// waited counts a wait that is over, and returns how long it took.
func (p *Pool[T]) waited(k *parker, w *waiter) time.Duration {
	d := time.Duration(p.now() - w.since)
	p.counters.waitTime.record(k.stripe, d)
	return d
}

// look is serve for a waiter. Should Factory.Check end its goroutine, its wait ends
// too: what it would be given, nobody would receive.
func (p *Pool[T]) look(k *parker, w *waiter) {
	returned := false
	defer func() {
		if !returned {
			p.leave(k, w)
		}
	}()
	p.serve()
	returned = true
}

// serve gives idle slots to waiters, as long as there are both.
func (p *Pool[T]) serve() {
	for {
		if _, w := p.queue.front(); w == nil {
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

// leave ends a wait of which nothing is wanted any more. The parker is free after it.
func (p *Pool[T]) leave(k *parker, w *waiter) {
	if w.decide(stateLeft) {
		p.gate.Sub(uint64(gateWaiter))
		w.strip()
		p.parkers.Put(k)
		p.sweepAside()
		return
	}
	// Somebody else has decided w, and owes it one token: it is between its
	// compare-and-swap and its send. A connection goes on to the next.
	t := <-k.ch
	p.parkers.Put(k)
	if t.err == nil {
		p.settle(t.held, false)
	}
}

// accept turns a token into what Get returns.
func (p *Pool[T]) accept(ctx context.Context, t token, waited time.Duration) (l Lease[T], err error) {
	switch e := t.err.(type) {
	case nil:
		c := p.connIn(t.slot)
		if c == nil || p.lost(t.held) {
			err = ErrClosed
			break
		}
		l = Lease[T]{c, t.word}
	case *expiry:
		p.counters.timeouts.Inc()
		err = &ExhaustedError{Pool: p.config.Name, Waited: waited, Stats: e.stats, Open: e.stats.LastOpenError}
	case *unavailableError:
		p.counters.unavailable.Inc()
		err = e
	default:
		err = e
		if e == errEnded {
			p.counters.canceled.Inc()
			err = contextEnded(ctx, p.lastOpen.Load())
		}
	}
	return l, err
}

// now is the pool's clock: nanoseconds since it was made.
func (p *Pool[T]) now() int64 { return int64(time.Since(p.epoch)) }
