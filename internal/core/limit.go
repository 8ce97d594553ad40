package core

import (
	"errors"
	"log/slog"
	"runtime/debug"
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
//	4    Revoke has ended it
//	6    no, and Revoke sees to it that none begins
//
// Three goroutines may end a call: the one that made it, when the function returns, the
// sweeper, when it has taken too long (limitCall), and Revoke (endCall). Each replaces the
// number of that very call by one compare-and-swap. The winner owns the slot from then on, or
// finds it revoked. If the call was made for a Get in another goroutine, the winner also
// answers that (see look.go). Revoke also replaces 0. So no call begins for a connection that
// has been revoked before, which no pass would find any more to limit it.
//
// What the deferred function needs is in c: to capture it would cost more. It does what guard
// does, which by itself costs as much as all the rest of ask.
func (p *Pool) ask(h held, c *conn, which call, f func(box any) error) (fit, abandoned bool) {
	c.calls += 2
	c.calling, c.asked = which, h.word
	step.At("ask: begins")
	if !c.call.CompareAndSwap(0, c.calls|1) {
		return false, false // revoked
	}
	p.mindSlots()
	err := errGoexit
	defer func() { // deferred, in case of a panic or of runtime.Goexit
		if v := recover(); v != nil {
			err = &panicError{c.calling.String(), v, debug.Stack()}
		}
		step.At("ask: returned")
		switch {
		case !c.call.CompareAndSwap(c.calls|1, 0):
			abandoned = true
		case err != nil:
			p.destroy(held{c.slot, c.asked}, c.calling.reason(), err)
		default:
			fit = true
		}
	}()
	err = f(c.box)
	return false, false // the deferred function has the last word
}

// A call says which function ask calls.
type call uint8

const (
	checkCall call = iota
	probeCall
	cleanCall
)

func (c call) String() string {
	return [...]string{"Factory.Check", "Factory.Probe", "Factory.Clean"}[c]
}

// reason is why a connection is closed that the function objects to.
func (c call) reason() reason {
	if c == cleanCall {
		return closedByClean
	}
	return closedByCheck
}

// The last values of a call word.
const (
	callAbandoned = 2
	callRevoked   = 4
	callNone      = 6
)

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
	step.At("limitCall: abandoned")
	// The slot is ours, with the word that it had when the call began. That is not the word
	// of h if the slot has come back since this pass read it. Nor is it the slot's word now
	// if Revoke has come: that may be the word of somebody else's lease.
	p.abandoned(c.calling.String(), callLimit)
	k, inRound := p.leaveCall(c)
	p.destroy(held{c.slot, c.asked}, closedAbandoned, errAbandoned)
	p.leaveLook(k)
	if inRound || k != nil {
		p.workerEnded() // on behalf of its goroutine
	}
	return false
}

// endCall ends the call that is under way for a connection that has been revoked, if one is,
// and sees to it that none begins. The connection is being closed, so the call will return;
// if it does not, nothing waits for it but its own goroutine and, within its second, Close.
// It returns what leaveLook is for.
func (p *Pool) endCall(c *conn) *look {
	for {
		call, last := c.call.Load(), uint32(callRevoked)
		switch call {
		case 0:
			last = callNone
		case callAbandoned:
			return nil
		}
		if c.call.CompareAndSwap(call, last) {
			if last == callNone {
				return nil // whoever begins one finds out by itself
			}
			k, _ := p.leaveCall(c)
			return k
		}
	}
}

// leaveCall is for the one that has ended somebody else's call. It lets another round of
// checks begin if the call was made for one: the round is abandoned with it. The same for a probe. It returns the
// look apart that made the call, or nil. When the connection has left its slot, that is for
// leaveLook.
func (p *Pool) leaveCall(c *conn) (k *look, inRound bool) {
	if c.inRound {
		p.sweeper.round.Inc()
		p.sweeper.checking.Store(false)
	}
	if c.probed != nil { // another goroutine goes on with the probes, and is counted in its place
		go p.probe(c.probed)
		p.probing.Dec()
	}
	return c.look, c.inRound
}

// callLeft is for the goroutine of a call in which runtime.Goexit was called. It reports
// whether somebody else has ended the call.
func (c *conn) callLeft() bool {
	last := c.call.Load()
	return last == callAbandoned || last == callRevoked
}

// abandoned counts and logs a call that was abandoned.
func (p *Pool) abandoned(function string, after time.Duration) {
	p.counters.abandoned.Inc()
	p.warn(&p.counters.abandonedLog, "a factory function does not return: its connection is given up",
		slog.String("function", function), slog.Duration("after", after))
}
