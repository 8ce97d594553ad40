package pool

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A Pool lends connections of type T, each to one caller at a time, and keeps at
// most [Config.MaxConnections] of them open. Create one with [New], and close it with
// [Pool.Close] or [Pool.Shutdown] when it is not needed any more: otherwise its
// connections stay open, and a goroutine with them. The methods may be called from any
// number of goroutines at the same time. A Pool must not be copied.
//
// Get and Put take no lock while connections are to be had, and each costs one
// atomic read-modify-write then. Neither is held up by a goroutine that has been
// stopped halfway through either of them, but for the slot that it has in hand.
//
// In the terms of the Go memory model, what a caller did before [Pool.Put]
// synchronizes before the return of the [Pool.Get] that lends the connection next.
type Pool[T any] struct {
	// Whoever queues or is handed something changes the gate and one end of the
	// queue, and they go from one processor to the other together. While nobody
	// waits, none of them is written.
	gate  atomic.Uint64 // a gateWord
	queue queue
	_     [pad - 8 - unsafe.Sizeof(queue{})]byte

	conns  atomic.Uint64 // a census
	outage atomic.Uint64 // an outage
	took   atomic.Uint64 // how long opening takes, in ns; 0: not known
	_      [pad - 24]byte

	// Read by every Get and Put; tick alone is written after New, by the
	// sweeper and by whoever opens a connection. ring and slots are those of the first
	// bank.
	tick      atomic.Uint32 // time, in ticks of tickLength
	idleTicks uint32        // a slot of this age or more is idle for too long
	plain     bool          // an idle connection can be lent without any ado
	ring      *ring.Ring
	slots     []atomic.Pointer[conn[T]]
	factory   Factory[T]
	config    Config

	banks    atomic.Pointer[[]*bank[T]] // all slots
	parkers  sync.Pool                  // of *parker. Never shared by pools: channels must not leave a synctest bubble
	stripes  atomic.Uint32              // parkers made
	epoch    time.Time                  // zero of the pool's clock
	sweeper  sweeper
	counters *counters
	overdue  atomic.Int32  // connections that are being opened, and have been for overdueAfter
	spares   atomic.Int32  // connections that are being opened for nobody who waits
	landing  atomic.Int32  // connections that are established, and neither idle nor lent yet
	lastOpen atomic.Error  // nil if the last call of Factory.Open succeeded
	lastMax  atomic.Uint32 // MaxConnections of a pool that is closed

	lifetime context.Context // ends when the pool is closed
	close    context.CancelCauseFunc
	era      atomic.Pointer[era]
	ended    atomic.Pointer[chan struct{}] // closed when an attempt to open ends; nil: nobody waits for that
	unclosed atomic.Int32                  // connections opened, and neither closed nor detached
	allGone  chan struct{}                 // closed when the pool is, and unclosed is 0
	gone     atomic.Bool                   // allGone has been closed
}

// New returns a pool that opens its connections by means of factory. It opens none
// yet, but for [Config.MinIdle], and does not wait for those. The error names the field
// that is wrong.
func New[T any](factory Factory[T], config Config) (*Pool[T], error) {
	factory, err := factory.normalize()
	if err != nil {
		return nil, err
	}
	config, err = config.normalize()
	if err != nil {
		return nil, err
	}
	first := newBank[T](0, config.MaxConnections)
	p := &Pool[T]{
		plain:    factory.Check == nil && config.LeakAfter == 0,
		ring:     first.ring,
		slots:    first.slots,
		factory:  factory,
		config:   config,
		epoch:    time.Now(),
		counters: new(counters),
		allGone:  make(chan struct{}),
	}
	p.banks.Store(&[]*bank[T]{first})
	p.conns.Store(uint64(censusMax) * uint64(config.MaxConnections))
	p.queue.init()
	p.parkers.New = func() any { return newParker(uint(p.stripes.Inc())) }
	p.lifetime, p.close = context.WithCancelCause(context.Background())
	p.era.Store(newEra(p.lifetime))
	p.idleTicks = p.sweeper.init(config, factory.Check != nil, factory.Check != nil || factory.Clean != nil)
	if config.MinIdle > 0 {
		p.passSoon()
	}
	return p, nil
}

// Get lends a connection: an idle one or, if there is none, the next that is
// returned or opened. It opens one if fewer than [Config.MaxConnections] are open.
// The caller must end the lease with [Pool.Put], [Pool.Discard] or [Pool.Detach].
//
// Callers who wait are served in the order in which they came, and nobody who comes
// later is served before them. A wait ends when ctx ends, with an error that wraps
// ctx.Err, or after [Config.MaxWaitTime] with [ErrExhausted]; when opening the
// connection that the caller waits for fails, with that error; and when the pool
// is closed, with [ErrClosed]. Get returns [ErrRejected] instead of waiting if too
// many wait already, and [ErrUnavailable] if opening keeps failing and no connection is
// open. If ctx has ended before the call, Get returns that error at once.
//
// The error of a wait that ctx ended holds also the cause of that, and the last error
// on opening during the wait, if there was one; ctx.Err tells which of them counts.
//
// What Get opens outlives a caller who gives up: it goes to the next, or is idle.
func (p *Pool[T]) Get(ctx context.Context) (Lease[T], error) {
	if ctx.Err() != nil {
		return Lease[T]{}, contextEnded(ctx, nil)
	}
	if p.gate.Load() == 0 {
		step.At("get: gate read")
		if i, word, ok := p.ring.Take(); ok { // the lease begins here
			if c := p.slots[i].Load(); c != nil && p.plain && p.fit(c, word) {
				return Lease[T]{c, word}, nil
			}
			if l, ok := p.admit(held{i, word}); ok {
				return p.noted(l, 1), nil
			}
		}
	}
	return p.get(ctx, 1)
}

// get is Get without a short cut, for a function of the API so many calls above it.
func (p *Pool[T]) get(ctx context.Context, above int) (Lease[T], error) {
	for gateWord(p.gate.Load()).open() {
		h, ok := p.take()
		if !ok {
			break
		}
		if l, ok := p.admit(h); ok {
			return p.noted(l, above+1), nil
		}
		// It has been closed. There may be another.
	}
	l, err := p.wait(ctx)
	if err != nil {
		return l, err
	}
	return p.noted(l, above+1), nil
}

// noted returns a lease that has just begun. If leaks are looked for, it notes who has
// taken it: the caller of the function of the API that is so many calls above this one.
func (p *Pool[T]) noted(l Lease[T], above int) Lease[T] {
	if p.config.LeakAfter > 0 {
		p.note(l, above+1)
	}
	return l
}

// TryGet lends a connection if one is idle and nobody waits for it. It neither
// waits nor opens one, so it is for work that can be left undone. False says also that
// the pool is closed.
func (p *Pool[T]) TryGet() (Lease[T], bool) {
	for gateWord(p.gate.Load()).open() {
		h, ok := p.take()
		if !ok {
			if h, ok = p.scan(); !ok {
				break
			}
		}
		if l, ok := p.admit(h); ok {
			return p.noted(l, 1), true
		}
	}
	return Lease[T]{}, false
}

// fit reports whether an idle connection may be lent, as far as one can tell
// without the factory. It is the part of admit that every Get needs, small enough to
// be inlined.
func (p *Pool[T]) fit(c *conn[T], word ring.Word) bool {
	return c.unfit.Load() == nil && p.idleFor(word) < p.idleTicks
}

// idleFor returns how long a slot has been idle, in ticks, give or take one. The
// coarse clock is only as good as the sweeper that keeps it: in a process that was
// stopped for hours, whoever gets in before the sweeper does finds what was young
// when the process stopped still young.
func (p *Pool[T]) idleFor(word ring.Word) uint32 {
	return uint32(uint16(p.tick.Load()) - word.Stamp())
}

// admit turns a slot that was idle into the lease of the caller who has taken it,
// unless the connection is not fit to be lent. That one is closed.
func (p *Pool[T]) admit(h held) (Lease[T], bool) {
	l, fit, _ := p.examine(h)
	return l, fit
}

// examine is admit, and reports whether the call of Factory.Check was abandoned.
func (p *Pool[T]) examine(h held) (l Lease[T], fit, abandoned bool) {
	c := p.connIn(h.slot)
	if c == nil {
		return l, false, false // revoked by Close
	}
	if d := c.unfit.Load(); d != nil {
		p.destroy(h, d.why, d.cause)
		return l, false, false
	}
	// In an outage MinIdle may have kept it: better an old one than none.
	if p.idleFor(h.word) >= p.idleTicks && p.outage.Load() == 0 {
		p.destroy(h, closedByIdleTime, nil)
		return l, false, false
	}
	if p.factory.Check != nil {
		if fit, abandoned = p.ask(h, c, "Factory.Check", p.factory.Check, closedByCheck); !fit {
			return l, false, abandoned
		}
		if d := c.unfit.Load(); d != nil { // that may have taken a while
			p.destroy(h, d.why, d.cause)
			return l, false, false
		}
	}
	if p.lost(h) {
		return l, false, false
	}
	return Lease[T]{c, h.word}, true, false
}

// lost reports whether Close has revoked a held slot. Whoever has had one in hand for
// more than a moment, while Factory.Check ran or a token was on its way, asks before
// it lends the connection.
func (p *Pool[T]) lost(h held) bool {
	return gateWord(p.gate.Load()).closed() && p.word(h.slot) != h.word
}

// Put ends a lease and returns its connection to the pool: to the caller that has
// waited longest or, if nobody waits, to those who are idle. Put does not wait, but for
// Factory.Clean. If the pool has been closed, or the connection is not fit to be lent
// again, it is closed.
//
// Put says that the connection is ready for another caller. If it may not be, because
// a request was sent in part, or its reply has not been read, use [Pool.Discard].
//
// Put returns [ErrNotLeased], having changed nothing, for a lease that has ended
// already, is the zero Lease, or is another pool's. So it may be deferred, whether or not
// Discard or Detach comes before.
func (p *Pool[T]) Put(l Lease[T]) error {
	c := l.conn
	if c == nil || c.pool != p {
		return ErrNotLeased
	}
	if p.gate.Load() != 0 || p.factory.Clean != nil {
		return p.putSlow(l)
	}
	step.At("put: gate read")
	word, ok := c.ring.Give(c.index, l.word, uint16(p.tick.Load())) // the lease ends here
	if !ok {
		return unlessRevoked(p.notLeased(l))
	}
	step.At("put: published")
	// The slot is anybody's now. See settle for those who might miss it.
	if p.gate.Load() != 0 || c.unfit.Load() != nil {
		p.reconsider(held{c.slot, word})
	}
	return nil
}

// putSlow ends a lease while somebody waits, or the pool is closed, or there is
// something to be cleaned.
func (p *Pool[T]) putSlow(l Lease[T]) error {
	h, err := p.reclaim(l)
	if err != nil {
		return unlessRevoked(err)
	}
	if p.factory.Clean != nil && l.conn.unfit.Load() == nil && !gateWord(p.gate.Load()).closed() {
		if fit, _ := p.ask(h, l.conn, "Factory.Clean", p.factory.Clean, closedByClean); !fit {
			return nil
		}
	}
	p.settle(h, false)
	return nil
}

// Discard ends a lease and closes its connection. Its slot is free for others at
// once. cause goes to Factory.Close and to the log; nil stands for no particular
// one. Errors are as for [Pool.Put].
func (p *Pool[T]) Discard(l Lease[T], cause error) error {
	h, err := p.reclaim(l)
	if err != nil {
		return unlessRevoked(err)
	}
	if cause == nil {
		cause = errDiscarded
	}
	p.destroy(h, closedByDiscard, cause)
	return nil
}

// Detach ends a lease and takes its connection out of the pool for good: it is the
// caller's now, who closes it. Its slot is free for others at once. Errors are as
// for [Pool.Put], and [ErrClosed] if [Pool.Close] has closed the connection.
func (p *Pool[T]) Detach(l Lease[T]) (T, error) {
	h, err := p.reclaim(l)
	if err == nil {
		p.conns.Add(uint64(censusLeaving))
		if c, busy := p.empty(h); c != nil {
			p.counters.detached.Inc()
			p.vacate(c, busy)
			p.ensureOpen(nil, nil)
			p.forget()
			return c.value, nil
		}
		err = errRevoked // between the two steps
	}
	if err == errRevoked {
		err = ErrClosed
	}
	var zero T
	return zero, err
}

// reclaim ends a lease: the slot belongs to the pool again, and all copies of the
// lease are worthless from here on. The error is ErrNotLeased, or errRevoked.
func (p *Pool[T]) reclaim(l Lease[T]) (held, error) {
	c := l.conn
	if c == nil || c.pool != p {
		return held{}, ErrNotLeased
	}
	word, ok := c.ring.Renew(c.index, l.word, uint16(p.tick.Load())) // the lease ends here
	if !ok {
		return held{}, p.notLeased(l)
	}
	return held{c.slot, word}, nil
}

// Do calls f with a connection: it is Get, f, and Put. It returns the error of f as
// it is, or else that of Get. ctx is that of Get, and is handed to f.
//
// The connection goes back whatever f returns, unless Factory.Clean objects or the
// error is marked with [Broken]: then it is closed. If f panics, the connection is
// closed, and the panic goes on.
func (p *Pool[T]) Do(ctx context.Context, f func(ctx context.Context, conn T) error) error {
	l, err := p.getFor(ctx)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			_ = p.Discard(l, errFuncPanicked)
		}
	}()
	err = f(ctx, l.Value())
	broken := isBroken(err) // this is others' code, too
	returned = true
	if broken {
		_ = p.Discard(l, err)
	} else {
		_ = p.Put(l)
	}
	return err
}

// getFor is Get for Do, whose caller is the one to be noted.
func (p *Pool[T]) getFor(ctx context.Context) (Lease[T], error) {
	if p.config.LeakAfter == 0 || ctx.Err() != nil {
		return p.Get(ctx)
	}
	return p.get(ctx, 2)
}
