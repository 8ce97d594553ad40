package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
)

// In which goroutine a Get looks at a connection.
//
// While Factory.Check is at work in the goroutine of a Get, nothing can end that Get: not
// its ctx, not Close, not the limit of the call. So a Check that may take long is called in
// a goroutine of its own, a look apart, and the Get waits for that, for its ctx and for the
// end of the pool. But a goroutine costs more than all the rest of a Get, and a Check is
// not meant to block. So the pool watches how long Check takes, and calls it in the
// goroutine of the Get as long as it is known to be quick:
//
//   - at first, and once a second, the next tryout looks are apart. If each of them
//     is quick, the pool stops being wary. The looks of the sweeper's rounds count as well
//   - after one that was not quick, it stays wary for the next suspicion looks
//
// What remains: a Check that has been quick, and blocks all of a sudden, keeps the Gets
// that are in it until it returns. There are at most MaxConnections of them, and only
// those that began within a second: by then the next pass has made the pool wary.
const (
	quickLook = 10 * time.Microsecond
	tryout    = 8
	suspicion = 64
)

// lookGrace is how long a look apart may take before its Get leaves it behind when ctx ends.
// While a look is left behind, its connection is neither idle nor lent, and TryGet does not
// find it. So a quick look is not left behind.
const lookGrace = time.Millisecond

// A look is one connection examined for a Get in another goroutine.
type look struct {
	state atomic.Uint32
	began time.Duration // on the pool's clock
	done  chan struct{} // closed when the look is answered
	lease Lease         // the answer
	fit   bool          // likewise
}

// The state of a look. Each arrow is one compare-and-swap; the other two are final.
//
//	underWay ──▶ answered  by the goroutine that looks or, if the call of Check has been
//	                       abandoned, by limitCall or Revoke. The Get has the slot, if it is fit
//	underWay ──▶ left      by the Get. The goroutine that looks has the slot
const (
	lookUnderWay uint32 = iota
	lookAnswered
	lookLeft
)

// answer tells the Get what has come of a look. It reports false if the Get has left: then
// adrift is for the caller to lower, once the slot has an owner again.
func (k *look) answer(l Lease, fit bool) bool {
	if !k.state.CompareAndSwap(lookUnderWay, lookAnswered) {
		return false
	}
	k.lease, k.fit = l, fit
	close(k.done)
	return true
}

// leaveLook tells the Get of a look whose call somebody else has ended, so that it looks for
// another connection. k is nil if the call was made in no look apart.
func (p *Pool) leaveLook(k *look) {
	if k != nil && !k.answer(Lease{}, false) {
		p.adrift.Dec()
	}
}

// admitFor is examine for a Get with this ctx. If that has ended, or the pool, it says so by
// an error, and the Get must not go on.
func (p *Pool) admitFor(ctx context.Context, h held, any bool) (Lease, bool, error) {
	if p.wary.Load() == 0 {
		l, fit, _ := p.examine(h, any)
		return l, fit, nil
	}
	k := &look{began: time.Duration(p.now()), done: make(chan struct{})}
	if p.isElsewhere(int64(k.began)) {
		p.publish(h, p.connIn(h.slot))
		return Lease{}, false, ErrBubble
	}
	p.workers.Inc()
	go p.lookApart(k, h)
	var err error
	select {
	case <-k.done:
		if ctx.Err() != nil {
			err = contextEnded(ctx, nil)
		}
	case <-ctx.Done():
		err = contextEnded(ctx, nil)
		if d := k.began + lookGrace - time.Duration(p.now()); d > 0 {
			k.await(d)
		}
	case <-p.lifetime.Done():
		err = ErrClosed
	}
	step.At("admitFor: awake")
	if k.state.CompareAndSwap(lookUnderWay, lookLeft) { // it has no answer, so there is an err
		p.adrift.Inc()
		return Lease{}, false, err
	}
	<-k.done
	switch {
	case !k.fit:
		return Lease{}, false, err
	case err != nil:
		p.settle(held{k.lease.conn.slot, k.lease.word}, true)
		return Lease{}, false, err
	case k.lease.conn.notice.Load() != nil && p.noticed(held{k.lease.conn.slot, k.lease.word}, k.lease.conn, any): // revoked, or wanted: the answer may have taken a while
		return Lease{}, false, nil
	}
	return k.lease, true, nil
}

// await waits for the answer for at most d.
func (k *look) await(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-k.done:
	case <-timer.C:
	}
}

// lookApart is the goroutine of a look. If the Get has left when Check returns, a
// connection that is fit goes to whoever comes next.
func (p *Pool) lookApart(k *look, h held) {
	c := p.connIn(h.slot)
	if h.owns(c) { // else it has been revoked, and examine says so
		c.look = k // before the call begins: see leaveCall
	}
	var l Lease
	fit, abandoned, returned := false, false, false
	began := time.Duration(p.now())
	defer func() { // deferred, in case of runtime.Goexit: ask has closed the connection then
		p.looked(began, fit)
		if fit {
			c.look = nil
		}
		if abandoned || !returned && c.callLeft() {
			if c.call.Load() == callRevoked {
				p.workerEnded() // otherwise limitCall has done so
			}
			return // limitCall or endCall has answered
		}
		step.At("lookApart: looked")
		if !k.answer(l, fit) {
			if fit {
				p.settle(h, true)
			}
			p.adrift.Dec()
		}
		p.workerEnded()
	}()
	l, fit, abandoned = p.examine(h, false)
	returned = true
}

// looked tells the pool how long a look has taken, from began on. One at an unfit connection
// may have called no Check, and says nothing if it was quick.
func (p *Pool) looked(began time.Duration, fit bool) {
	if time.Duration(p.now())-began > quickLook {
		p.wary.Store(suspicion)
	} else if n := p.wary.Load(); fit && n > 0 {
		p.wary.CompareAndSwap(n, n-1) // of several at the same time, one counts
	}
}

// doubt makes the pool wary for the next few looks. The sweeper calls it in each pass.
func (p *Pool) doubt() {
	if p.factory.Check != nil {
		p.wary.CompareAndSwap(0, tryout) // unless it is wary
	}
}

// lookInFor is lookIn while the pool is wary: the wait goes on meanwhile, and may end before
// the look. w has parked when all slots have been looked at, and not before: see wait.
func (p *Pool) lookInFor(w *queue.Waiter, serve func()) {
	p.apart(func() {
		serve()
		w.Park()
	})
}

// apart calls f in another goroutine, on behalf of a Get that may leave meanwhile, or of nobody. What f
// has in hand is not idle, and no Get is seen to have it.
func (p *Pool) apart(f func()) {
	p.workers.Inc()
	p.adrift.Inc()
	go func() {
		defer func() { // deferred, in case of runtime.Goexit
			p.adrift.Dec()
			p.workerEnded()
		}()
		f()
	}()
}

// settleApart is settle in another goroutine: it may call Check, and the caller does not wait for that.
func (p *Pool) settleApart(h held) {
	p.apart(func() { p.settle(h, false) })
}
