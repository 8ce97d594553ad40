package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// register counts one more waiter at the gate, from where on every Get queues and
// every Put looks for somebody to serve.
func (p *Pool) register() error {
	if p.config.MaxWaiters == 0 {
		if words.Gate(p.gate.Add(uint64(words.GateWaiter))).Closed() {
			p.gate.Sub(uint64(words.GateWaiter))
			return ErrClosed
		}
		return nil
	}
	for {
		g := words.Gate(p.gate.Load())
		c := words.Census(p.conns.Load())
		if p.ending(c) { // or closed: the limit comes first
			return ErrClosed
		}
		step.At("register: census read")
		possible := max(c.Max()-c.Established(), 0)
		if g.Waiters() >= max(p.config.MaxWaiters, 0)+possible {
			p.counters.rejected.Inc()
			return ErrRejected
		}
		if p.gate.CompareAndSwap(uint64(g), uint64(g+words.GateWaiter)) {
			return nil
		}
	}
}

// wait is Get when no idle connection was at hand: the caller becomes a waiter,
// until somebody gives it a token or its ctx ends.
func (p *Pool) wait(ctx context.Context) (Lease, error) {
	done := ctx.Done() // not our code, so before there is anything to undo
	if err := p.unavailable(); err != nil {
		p.counters.unavailable.Inc()
		p.hookRejected(err)
		return Lease{}, err
	}
	if err := p.register(); err != nil {
		if err == ErrRejected {
			p.hookRejected(err)
		}
		return Lease{}, err
	}
	k := p.parkers.Get().(*queue.Parker)
	w := k.Waiter(done, p.now())
	step.At("wait: registered")
	before := p.queue.Enqueue(w)

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
	if !before.HasParked() {
		step.At("wait: looks again")
		p.look(k, w)
	}
	w.Park()
	step.At("wait: parked")

	// The other side is in shut, which sets the flag, then refuses all who wait. If
	// it did not see w, w was linked after the flag was set.
	if words.Gate(p.gate.Load()).Closed() {
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

	var t queue.Token
	if done == nil {
		t = <-k.Tokens()
	} else {
		select {
		case t = <-k.Tokens():
		case <-done:
			step.At("leave: ctx ended")
			p.counters.canceled.Inc()
			err := contextEnded(ctx, p.lastOpen.Load())
			waited := p.waited(k, w)
			p.leave(k, w)
			p.hookWaited(Lease{}, waited, err)
			return Lease{}, err
		}
	}
	waited := p.waited(k, w)
	p.parkers.Put(k)
	l, err := p.accept(ctx, t, waited)
	p.hookWaited(l, waited, err)
	return l, err
}

// waited counts a wait that is over, and returns how long it took.
func (p *Pool) waited(k *queue.Parker, w *queue.Waiter) time.Duration {
	d := time.Duration(p.now() - w.Since)
	p.counters.waitTime.Record(k.Stripe, d)
	return d
}

// look is serve for a waiter. Should Factory.Check end its goroutine, its wait ends
// too: what it would be given, nobody would receive.
func (p *Pool) look(k *queue.Parker, w *queue.Waiter) {
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
func (p *Pool) serve() {
	for {
		if _, w := p.queue.Front(); w == nil {
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
func (p *Pool) leave(k *queue.Parker, w *queue.Waiter) {
	if w.Decide(queue.Left) {
		p.gate.Sub(uint64(words.GateWaiter))
		w.Strip()
		p.parkers.Put(k)
		p.sweepAside()
		return
	}
	// Somebody else has decided w, and owes it one token: it is between its
	// compare-and-swap and its send. A connection goes on to the next.
	t := <-k.Tokens()
	p.parkers.Put(k)
	if t.Err == nil {
		p.settle(held{t.Slot, t.Word}, false)
	}
}

// accept turns a token into what Get returns.
func (p *Pool) accept(ctx context.Context, t queue.Token, waited time.Duration) (l Lease, err error) {
	switch e := t.Err.(type) {
	case nil:
		c := p.connIn(t.Slot)
		if c == nil || p.lost(held{t.Slot, t.Word}) {
			err = ErrClosed
			break
		}
		l = Lease{c, t.Word}
	case *expiry:
		p.counters.timeouts.Inc()
		err = p.config.Exhausted(waited, e.stats)
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
func (p *Pool) now() int64 { return int64(time.Since(p.epoch)) }
