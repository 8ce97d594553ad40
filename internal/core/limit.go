package core

import (
	"errors"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/step"
)

// No call into the factory may keep a slot for ever. A call that takes too long is
// abandoned. It goes on in its goroutine, which nobody can stop. But the slot is free for
// others, and the result of the call is not used.
const (
	// callLimit is how long Check, Probe, Clean and Close may take.
	callLimit = 10 * time.Second

	// openGrace is how long Open may go on after its ctx has ended.
	openGrace = time.Second
)

var errAbandoned = errors.New("pool: factory function did not return in time")

// ask calls Check, Probe or Clean for the connection in a held slot, and reports whether the
// connection is fit to be lent. If it is not, the connection has been closed, and the
// slot does not belong to the caller any more. If the call was abandoned, all that
// happened before the function returned.
//
// The call word of the connection says whether such a call is in progress:
//
//	0    no
//	odd  yes: each call has a number of its own
//	2    it has been abandoned
//
// Two goroutines may end a call: the one that made it, when the function returns, and the
// sweeper, when it has taken too long (limitCall). Each replaces the number of that very
// call by one compare-and-swap. The winner owns the slot from then on. If the call was made
// for a Get in another goroutine, the winner also answers that (see look.go).
func (p *Pool) ask(h held, c *conn, function string, f func(box any) error, why reason) (fit, abandoned bool) {
	c.calls += 2
	c.calling = function
	call := c.calls | 1
	c.call.Store(call)
	p.mindSlots()
	err := errGoexit
	defer func() { // deferred, in case of runtime.Goexit
		step.At("ask: returned")
		switch {
		case !c.call.CompareAndSwap(call, 0):
			fit, abandoned = false, true
		case err != nil:
			p.destroy(h, why, err)
		}
	}()
	err = guard(function, func() error { return f(c.box) })
	return err == nil, false
}

const callAbandoned = 2

// limitCall abandons a call of Check, Probe or Clean that has taken too long. Only the sweeper
// calls it, and remembers when it first saw the call.
func (p *Pool) limitCall(h held, c *conn, now time.Duration) (underWay bool) {
	call := c.call.Load()
	if call&1 == 0 {
		return false
	}
	if c.sight.SeeCall(call, now) < callLimit {
		return true
	}
	step.At("limitCall: too long")
	if !c.call.CompareAndSwap(call, callAbandoned) {
		return false // it has returned just now
	}
	// The slot is ours: only Close can change its word.
	h.word = p.word(h.slot)
	p.abandoned(c.calling, callLimit)
	if c.inRound { // the round of checks hangs in this call: let another round begin
		p.sweeper.round.Inc()
		p.sweeper.checking.Store(false)
		p.workerEnded()
	}
	if c.probed != nil { // another goroutine goes on with the probes, and counts in its place
		go p.probe(c.probed)
	}
	k := c.look
	p.destroy(h, closedAbandoned, errAbandoned)
	if k != nil { // a Get waits for the call: let it look for another connection
		if !k.answer(Lease{}, false) {
			p.adrift.Dec()
		}
		p.workerEnded()
	}
	if c.probed != nil {
		p.probing.Dec()
	}
	return false
}

// abandoned counts and logs a call that was abandoned.
func (p *Pool) abandoned(function string, after time.Duration) {
	p.counters.abandoned.Inc()
	p.warn(&p.counters.abandonedLog, "a factory function does not return: its connection is given up",
		slog.String("function", function), slog.Duration("after", after))
}
