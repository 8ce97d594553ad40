package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// The same connection again.
//
// A caller of GetSame waits for one connection. It must not stand in the queue of those who wait
// for any: there it would excuse those behind it from looking at the slots (see waitOnce), and
// they would wait beside idle connections that it cannot use. So each connection has a queue of
// its own, which the gate does not count. Who came first is told by tickets: one who waits for a
// single connection has the number of those who had come to wait for any.
//
// That somebody waits for a connection is a notice on it (wanted). Get and Put look for a notice
// anyway, so they cost no more. Put reads it after it has published; whoever takes a connection
// that it has not asked for by name passes it on (passOn); settle compares the fronts of the two
// queues.
//
// The races, each with two sides:
//
//	publisher:  publishes the slot; then reads the notice (wanted, Put)
//	waiter:     links itself, sets the notice; then looks at the slot (waitSame)
//
//	spoil, part:  mark the connection, or empty its slot; then refuse all who wait for it
//	pass:         after the end of its life, refuses all who wait for it
//	waiter:       links itself; then looks whether the connection is marked, or gone, or too old
//
//	shut:    sets the flag; then refuses all who wait for a connection that is in a slot
//	waiter:  links itself; then reads the flag
//
// A notice is taken down by the owner of the slot only (takeDown): nobody else lends or publishes
// the connection meanwhile.

// A Mark remembers a lease and its connection. It has no pointer, so it keeps nothing alive. The
// zero Mark is of no connection.
type Mark struct {
	pool   uint64
	number uint64 // of the connection
	slot   int
	lease  uint64 // its generation
}

// pools counts the pools of this process: a Mark names its pool by that number.
var pools atomic.Uint64

// Mark remembers a lease and its connection.
func (l Lease) Mark() Mark {
	if l.conn == nil {
		return Mark{}
	}
	return Mark{l.conn.pool.id, l.conn.number, l.conn.slot, l.word.Generation()}
}

// Follows reports whether l is the lease that came after the marked one on the same connection,
// and nothing else has been done with the connection in between.
//
// Each lease has a generation of its slot, and the next one has the next: what the pool does with
// a connection that it holds does not end a generation (see ring.Word).
func (l Lease) Follows(m Mark) bool {
	c := l.conn
	return c != nil && m.pool == c.pool.id && m.number == c.number &&
		l.word.Succeeds(ring.Word(m.lease)) && c.apart.Load() != uint32(l.word.Generation()) &&
		(c.pool.factory.Clean == nil || c.pool.factory.CleanOnlyLooks) // whatever has been put back has been cleaned
}

// GetSame lends the connection of a Mark and no other.
func (p *Pool) GetSame(ctx context.Context, m Mark) (Lease, error) {
	if ctx.Err() != nil {
		return Lease{}, contextEnded(ctx, nil)
	}
	for {
		c, err := p.marked(m)
		if err != nil {
			return Lease{}, p.countGone(m, err)
		}
		word := c.ring.At(c.index)
		step.At("GetSame: slot read")
		// If another connection is in the slot by now, its generations are later ones.
		if word.Phase() == ring.Leased && word.Generation() == m.lease {
			return Lease{}, errInForce
		}
		h, ok := p.takeOf(c)
		if !ok {
			break
		}
		if p.outranked(c, h) {
			if p.elsewhere() {
				p.publish(h, c)
				return Lease{}, ErrBubble
			}
			p.settle(h, false) // whoever came first
			continue
		}
		// Whoever comes to wait for it meanwhile comes second: the slot is ours.
		l, fit, err := p.admitFor(ctx, h, false)
		if err != nil {
			return Lease{}, err
		}
		if fit {
			return p.noted(l, 2), nil
		}
		// It has been closed, or passed on.
	}
	l, err := p.waitSame(ctx, m)
	if err != nil {
		return l, p.countGone(m, err)
	}
	return p.noted(l, 2), nil
}

// TryGetSame lends the connection of a Mark if nobody has it or comes first.
func (p *Pool) TryGetSame(m Mark) (Lease, bool) {
	c, err := p.marked(m)
	if err != nil {
		p.countGone(m, err)
		return Lease{}, false
	}
	h, ok := p.takeOf(c)
	if !ok {
		return Lease{}, false
	}
	if p.outranked(c, h) {
		if p.elsewhere() {
			p.publish(h, c)
		} else {
			p.settle(h, false)
		}
		return Lease{}, false
	}
	l, fit, _ := p.examine(h, false) // as in GetSame
	if !fit {
		return Lease{}, false
	}
	return p.noted(l, 2), true
}

// marked returns the connection of a Mark, unless it is known that it will not be lent again.
func (p *Pool) marked(m Mark) (*conn, error) {
	if m.pool != 0 && m.pool != p.id {
		return nil, ErrNotLeased
	}
	c, err := p.find(m)
	if p.ending(words.Census(p.conns.Load())) { // afterwards: the connection may be gone for that
		return nil, ErrClosed
	}
	return c, err
}

// find returns the connection of a Mark of this pool, or why it is gone.
func (p *Pool) find(m Mark) (*conn, error) {
	if m.pool == 0 {
		return nil, ErrGone
	}
	b, i := p.bankOf(m.slot)
	c := b.slots[i].Load()
	if c == nil || c.number != m.number {
		return nil, p.goneFrom(m)
	}
	if err := p.lostTo(c); err != nil {
		return nil, err
	}
	return c, nil
}

// lostTo returns the error for a connection that is in its slot and will not be lent again, or nil.
func (p *Pool) lostTo(c *conn) error {
	if d := c.defect(); d != nil {
		return p.goneBy(c, d.why, d.cause)
	}
	if p.over(c) {
		return p.goneBy(c, closedByLifetime, nil)
	}
	return nil
}

// goneFrom returns the error for a connection that is not in its slot any more. The cause is
// known until another connection has come and gone there.
func (p *Pool) goneFrom(m Mark) error {
	b, i := p.bankOf(m.slot)
	if gone := b.gone[i].Load(); gone != nil && gone.number == m.number {
		return gone
	}
	return ErrGone
}

// goneBy returns the error for a connection that is marked.
func (p *Pool) goneBy(c *conn, why reason, cause error) error {
	return &goneError{c.number, why.String(), cause}
}

// countGone counts a call that has failed because the connection of its Mark is gone.
func (p *Pool) countGone(m Mark, err error) error {
	if _, gone := err.(*goneError); gone || err == ErrGone && m.pool != 0 {
		p.counters.gone.Inc()
	}
	return err
}

// takeOf takes the slot of a connection, if it is idle or reserved.
func (p *Pool) takeOf(c *conn) (held, bool) {
	word := c.ring.At(c.index)
	// Then the connection. If it is in its slot now, and the word is not its own, it has come
	// since, with another generation: the swap fails.
	if b, i := p.bankOf(c.slot); b.slots[i].Load() != c {
		return held{}, false
	}
	step.At("takeOf: slot read")
	return p.collect(held{c.slot, word})
}

// outranked reports whether somebody comes before one who has taken the slot of c by a Mark. Those
// who wait for any do not, if it is reserved.
func (p *Pool) outranked(c *conn, h held) bool {
	if p.kept(c, h) {
		return p.wantsBack(c)
	}
	return p.wanted(c)
}

// front returns the oldest who waits for c alone, or nil.
func (c *conn) front() *queue.Waiter {
	if q := c.same.Load(); q != nil {
		return q.Front()
	}
	return nil
}

// firstFor returns who comes first for the connection in a held slot, or nil. w is the oldest of
// those who wait for any; kept says that the connection is to be reserved. If rank is not 0, the
// waiter needs its room: see heir.
func (p *Pool) firstFor(c *conn, kept bool, w *queue.Waiter) (_ *queue.Waiter, rank int) {
	if w != nil && w.Fresh() {
		w, rank = p.heir(w, c.after)
	}
	if kept && !c.yields && time.Duration(p.now()) < c.until {
		w, rank = nil, 0 // it is for those alone who ask for it
	}
	if c.notice.Load() != nil {
		if s := c.front(); s != nil && (w == nil || s.CameBefore(w)) {
			return s, 0
		}
	}
	return w, rank
}

// line returns the queue of those who wait for c alone.
func (c *conn) line() *queue.Queue {
	if q := c.same.Load(); q != nil {
		return q
	}
	q := new(queue.Queue)
	q.Init()
	if c.same.CompareAndSwap(nil, q) {
		return q
	}
	return c.same.Load()
}

// takeDown takes the notice down that somebody waits for c alone. It reports false if somebody
// does, and then the notice is set. The caller owns the slot. The other side is in waitSame: the waiter is linked, then it
// sets the notice. Here the notice is taken down, then the queue is looked at.
func (c *conn) takeDown() bool {
	if !c.notice.CompareAndSwap(wanted, nil) {
		return true // there is none, or a defect
	}
	step.At("takeDown: taken down")
	if c.front() == nil {
		return true
	}
	c.notice.CompareAndSwap(nil, wanted)
	return false
}

// passOn is for whoever has taken a connection, perhaps with a notice on it, and has not asked for
// this one. It reports false if the caller may have it: nobody waits for it any more.
func (p *Pool) passOn(h held, c *conn) bool {
	if c.takeDown(); c.notice.Load() == nil {
		return false
	}
	p.settle(h, true)
	return true
}

// registerSame counts one more who waits for a single connection. Of MaxWaiters, those are
// free for whom a connection may be opened: see register.
func (p *Pool) registerSame() error {
	if p.config.MaxWaiters == 0 {
		p.same.Inc()
		return nil
	}
	for {
		n := p.same.Load()
		c, g := words.Census(p.conns.Load()), words.Gate(p.gate.Load())
		if int(n)+max(g.Waiters()-max(c.Max()-c.Established(), 0), 0) >= max(p.config.MaxWaiters, 0) {
			p.counters.rejected.Inc()
			return ErrRejected // without having been counted for a moment: register would refuse another for it
		}
		if p.same.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// waitSame is GetSame when somebody else has the connection. The caller becomes a waiter for it
// until somebody gives it a token or its ctx ends.
func (p *Pool) waitSame(ctx context.Context, m Mark) (Lease, error) {
	done := ctx.Done() // not our code, so before anything has to be undone
	since := p.now()
	if p.isElsewhere(since) {
		return Lease{}, ErrBubble
	}
	if err := p.registerSame(); err != nil {
		p.hookRejected(ctx, err)
		return Lease{}, err
	}
	b, i := p.bankOf(m.slot)
	c := b.slots[i].Load()
	if c == nil || c.number != m.number {
		p.same.Dec()
		return Lease{}, p.goneUnlessClosed(m)
	}
	p.counters.sameWaits.Inc()
	k := p.parkers.Get().(*queue.Parker)
	k.Begin(done, since)
	k.SetTicket(p.queue.Count())
	step.At("waitSame: registered")
	w, _ := c.line().Enqueue(k, queue.One)
	c.notice.CompareAndSwap(nil, wanted) // unless it is set already, or a defect
	step.At("waitSame: notice set")
	if p.wary.Load() == 0 {
		p.lookIn(k, w, func() { p.serveSame(c) })
	} else {
		p.lookInFor(w, func() { p.serveSame(c) })
	}
	// The connection may have gone, or been marked, or its life may have ended, before w was
	// linked: the other sides are in part, in spoil and in pass. The pool may have been closed: that
	// is in shut.
	switch err := p.lostTo(c); {
	case err != nil:
		p.refuseSame(c, err)
	case b.slots[i].Load() != c:
		p.refuseSame(c, p.goneFrom(m))
	case words.Gate(p.gate.Load()).Closed():
		p.refuseSame(c, ErrClosed)
	}
	p.wakeSweeper()

	l, waited, err := p.awaitSame(ctx, done, k, w, since, m)
	if err == nil {
		l.noteWait(waited)
	}
	p.hookWaited(ctx, l, waited, err)
	return l, err
}

// awaitSame waits for the token of a waiter, which waits since then, or the end of its ctx.
func (p *Pool) awaitSame(ctx context.Context, done <-chan struct{}, k *queue.Parker, w *queue.Waiter, since int64, m Mark) (Lease, time.Duration, error) {
	var t queue.Token
	select {
	case t = <-k.Tokens():
	case <-done:
		step.At("leave: ctx ended")
		p.counters.canceled.Inc()
		waited := p.waited(k, since)
		p.leave(k, w)
		return Lease{}, waited, contextEnded(ctx, nil)
	}
	waited := p.waited(k, since)
	p.parkers.Put(k)
	if t.Err == errEnded {
		p.counters.canceled.Inc()
		return Lease{}, waited, contextEnded(ctx, nil) // not what opening has failed with: it waits for no open
	}
	if e, ok := t.Err.(*expiry); ok { // nor does it matter to it that nothing is open
		if _, err := p.marked(m); err != nil {
			return Lease{}, waited, err
		}
		p.counters.timeouts.Inc()
		return Lease{}, waited, p.config.Exhausted(waited, e.stats)
	}
	l, err := p.accept(ctx, t, waited)
	if err == errLost {
		err = p.goneUnlessClosed(m)
	}
	return l, waited, err
}

// goneUnlessClosed returns the error for a connection that is gone, or is going.
func (p *Pool) goneUnlessClosed(m Mark) error {
	if _, err := p.marked(m); err != nil {
		return err
	}
	return ErrGone
}

// serveSame gives a connection that is idle to whoever comes first.
func (p *Pool) serveSame(c *conn) {
	if h, ok := p.takeOf(c); ok {
		if _, fit, _ := p.examine(h, false); fit {
			p.settle(h, true)
		}
	}
}

// refuseSame gives an error to all who wait for c alone: ErrClosed if the pool is closed.
func (p *Pool) refuseSame(c *conn, err error) {
	for {
		w := c.front()
		if w == nil {
			return
		}
		if words.Gate(p.gate.Load()).Closed() {
			err = ErrClosed
		}
		if p.refuse(w, err) {
			c.same.Load().Advance(w)
		}
	}
}

// lines iterates over the connections in the slots for which somebody alone waits, or has.
func (p *Pool) lines(yield func(c *conn) bool) {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			if c := b.slots[i].Load(); c != nil && c.same.Load() != nil && !yield(c) {
				return
			}
		}
	}
}

// refuseAllSame gives ErrClosed to all who wait for a single connection. Of one that leaves its
// slot meanwhile, part tells them.
func (p *Pool) refuseAllSame() {
	for c := range p.lines {
		p.refuseSame(c, ErrClosed)
	}
}

// oldestSame returns when the one began to wait who has waited longest for a single connection.
func (p *Pool) oldestSame() (since int64, any bool) {
	if p.same.Load() == 0 {
		return 0, false
	}
	for c := range p.lines {
		if w, began := c.same.Load().Oldest(); w != nil && (!any || began < since) {
			since, any = began, true
		}
	}
	return since, any
}

// expireSame ends the waits for a single connection that have lasted for MaxWaitTime, and
// returns when to look again.
func (p *Pool) expireSame(now time.Duration, report **expiry) (next time.Duration) {
	next = never
	if p.same.Load() == 0 {
		return next
	}
	for c := range p.lines {
		for {
			w, since := c.same.Load().Oldest()
			if w == nil {
				break
			}
			if end := time.Duration(since) + p.config.MaxWaitTime; end > now {
				next = min(next, end)
				break
			}
			if *report == nil {
				*report = &expiry{p.Stats()}
			}
			if p.refuse(w, *report) {
				c.same.Load().Advance(w)
			}
		}
	}
	return next
}

// unlinkSame removes those who have left from the middle of each queue for a single connection.
// Only the sweeper calls it.
func (p *Pool) unlinkSame() {
	for c := range p.lines {
		c.same.Load().Unlink()
	}
}
