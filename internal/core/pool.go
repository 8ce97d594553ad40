package core

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A Pool lends boxes, each to one caller at a time. Its methods are those of the root
// package, which documents them.
//
// While a connection is idle, Get and Put take no lock and cost one atomic
// read-modify-write each. A goroutine that is stopped halfway through Get or Put holds up
// the slot that it has in hand, and nothing else.
type Pool struct {
	// A caller that queues, or is handed a connection, changes the gate and one end of
	// the queue. They go from one processor to the other together. While nobody waits,
	// none of them is written.
	gate  atomic.Uint64 // a words.Gate
	queue queue.Queue
	_     [words.Pad - 8 - unsafe.Sizeof(queue.Queue{})]byte

	conns   atomic.Uint64          // a census
	took    atomic.Uint64          // how long opening takes, in ns; 0: unknown
	lapseAt atomic.Uint64          // when the sweeper looks for reservations that have ended, on the pool's clock
	outage  atomic.Pointer[outage] // nil: none
	_       [words.Pad - 24 - unsafe.Sizeof(uintptr(0))]byte

	// Read by every Get and Put. After Init only tick is written, by the sweeper and by
	// attempts that have opened a connection, and wary, a few times a second. ring and slots are those of the first bank.
	tick      atomic.Uint32 // time, in ticks of tickLength
	wary      atomic.Uint32 // so many looks are still made apart (see look.go); 0: none
	fitTicks  uint32        // idleTicks, or 0 if an idle connection needs a Check, a look at its end or a note for leaks
	slowPut   bool          // a lease that ends asks for more than its slot: for Clean, its end, or its time
	idleTicks uint32        // from this age on a slot has been idle for too long
	notes     bool          // a lease that begins is noted: for LeakAfter, or its time
	sample    uint32        // the place of one lease in so many is noted
	ring      *ring.Ring
	owner     *Owner // what the pool belongs to; nil: to nobody
	slots     []atomic.Pointer[conn]
	factory   Factory

	banks atomic.Pointer[[]*bank] // all slots
	*rest

	epoch    time.Time                // zero of the pool's clock
	id       uint64                   // of this pool in this process, for Marks; 0 is none
	name     string                   // Config.Name
	made     func() (Factory, Config) // of what rest is made; nil once it is
	waking   atomic.Mutex             // guards made: one caller makes the rest. Nobody takes it once that is done
	whenGone func()                   // called when quiet is closed; may be nil
}

// A rest is what a pool does not need before it is first used: most of its memory. It is nil as
// long as the gate says that the pool is asleep.
type rest struct {
	config Config
	budget *budget // nil: none

	parkers  sync.Pool     // of *queue.Parker. Not shared by pools: a channel must not leave its synctest bubble
	stripes  atomic.Uint32 // parkers made
	sweeper  sweeper
	counters *counters
	overdue  atomic.Int32            // attempts that are overdue (see attempt)
	spares   atomic.Int32            // attempts for Warm and MinIdle
	behind   atomic.Int32            // connections in Factory.Close whose slot is free already
	aside    atomic.Pointer[attempt] // the attempt that was set aside; nil: none
	adrift   atomic.Int32            // goroutines that have connections in hand for a Get that has left, or may leave at any time
	probing  atomic.Int32            // connections that are held until a probe has answered
	landing  atomic.Int32            // connections that are established, but neither idle nor lent yet
	fresh    atomic.Int32            // calls of GetFresh that wait
	same     atomic.Int32            // calls of GetSame that wait
	reserved atomic.Int32            // connections that are reserved, or just about to be
	lastOpen atomic.Error            // of the last attempt to open; nil if it succeeded
	lastMax  atomic.Uint32           // MaxConnections before the pool was closed

	lifetime context.Context // ends when the pool is closed
	close    context.CancelCauseFunc
	era      atomic.Pointer[era]
	ended    atomic.Pointer[chan struct{}] // closed when an attempt to open ends; nil: nobody waits for one
	unclosed atomic.Int32                  // connections that are neither closed nor detached yet, and the attempt that is aside
	workers  atomic.Int32                  // goroutines of the pool: see workerEnded
	allGone  chan struct{}                 // closed once the pool is closed, nothing is being opened, and unclosed is 0
	quiet    chan struct{}                 // closed with or after allGone, once workers is 0
	gone     atomic.Uint32                 // 1: allGone has been closed; 2: quiet, too
}

// Init makes p a pool. Call it once, before any other method but Own, and do not copy p
// afterwards. The rest is made of what made returns, when it is needed: see wake.
func (p *Pool) Init(name string, maxConnections int, made func() (Factory, Config)) {
	p.epoch, p.name, p.made, p.id = time.Now(), name, made, pools.Inc()
	p.conns.Store(uint64(words.CensusMax) * uint64(maxConnections))
	p.gate.Store(uint64(words.GateAsleep))
}

// init makes the rest.
func (p *Pool) init(factory Factory, config Config) {
	p.rest = new(rest)
	first := newBank(0, config.MaxConnections)
	p.notes = config.LeakAfter > 0 || config.TimeUse
	p.sample = sampleLeases
	p.slowPut = factory.Clean != nil || factory.Expires != nil || config.TimeUse
	p.ring, p.slots = first.ring, first.slots
	p.factory, p.config = factory, config
	p.budget = newBudget(p, config.Budget)
	if factory.Check != nil {
		p.wary.Store(tryout)
	}
	p.lapseAt.Store(uint64(never))
	p.counters = new(counters)
	p.allGone, p.quiet = make(chan struct{}), make(chan struct{})
	p.banks.Store(&[]*bank{first})
	p.queue.Init()
	p.parkers.New = func() any { return queue.NewParker(uint(p.stripes.Inc())) }
	p.lifetime, p.close = context.WithCancelCause(context.Background())
	p.era.Store(newEra(p.lifetime))
	p.idleTicks = p.sweeper.init(config, factory)
	if factory.Check == nil && factory.Expires == nil && !p.notes {
		p.fitTicks = p.idleTicks
	}
}

// Get lends a connection. If leaks are looked for, the noted place is where the shell's
// Get was called, two calls above noted.
func (p *Pool) Get(ctx context.Context) (Lease, error) {
	if ctx.Err() != nil {
		return Lease{}, contextEnded(ctx, nil)
	}
	if p.gate.Load() == 0 {
		step.At("get: gate read")
		if i, word, ok := p.ring.Take(); ok { // the lease begins here
			step.At("get: taken")
			// A connection that is fit to be lent without a call of the factory or a note. In a
			// function of its own the condition would cost three instructions more.
			//
			// c is what is in the slot now. If Revoke or Close has come since Take, that may be
			// another one, which is somebody else's (see owns). To compare the slot's word
			// would cost more, and tell no more: they may come just afterwards as well.
			if p.idleFor(word) < p.fitTicks {
				if c := p.slots[i].Load(); c != nil && !word.Precedes(c.claimed) && c.notice.Load() == nil {
					return Lease{c, word}, nil
				}
			}
			if p.wary.Load() != 0 {
				return p.get(ctx, held{i, word}, true, 0, 3)
			}
			if l, ok := p.admit(held{i, word}); ok {
				return p.noted(l, 2), nil
			}
		}
	}
	return p.get(ctx, held{}, false, 0, 3)
}

// get is Get without its fast path. h is what that has taken, if ok is set. moved is how long the
// caller has waited in another pool. The noted place is so many calls above noted.
func (p *Pool) get(ctx context.Context, h held, ok bool, moved time.Duration, above int) (Lease, error) {
	if !ok && !p.wake() {
		return Lease{}, ErrBubble
	}
	for ok || words.Gate(p.gate.Load()).Open() {
		if !ok {
			if h, ok = p.take(); !ok {
				break
			}
		}
		l, fit, err := p.admitFor(ctx, h, true)
		if err != nil {
			return Lease{}, err
		}
		if fit {
			return p.noted(l, above), nil
		}
		ok = false // it was unfit and has been closed. Another one may be idle
	}
	l, err := p.wait(ctx, false, moved)
	if err != nil {
		return l, err
	}
	return p.noted(l, above), nil
}

// TryGet lends a connection if one is idle and nobody waits.
func (p *Pool) TryGet() (Lease, bool) {
	if p.gate.Load() == 0 { // as in Get
		if i, word, ok := p.ring.Take(); ok {
			step.At("tryget: taken")
			h := held{i, word}
			if p.idleFor(word) < p.fitTicks {
				if c := p.slots[i].Load(); h.owns(c) && c.notice.Load() == nil {
					return Lease{c, word}, true
				}
			}
			if l, ok := p.admit(h); ok {
				return p.noted(l, 2), true
			}
		}
	}
	for words.Gate(p.gate.Load()).Open() {
		h, ok := p.take()
		if !ok {
			if h, ok = p.scan(); !ok {
				break
			}
		}
		if l, ok := p.admit(h); ok {
			return p.noted(l, 2), true
		}
	}
	return Lease{}, false
}

// idleFor returns how long a slot has been idle, in ticks, within one tick. The coarse
// clock is only as good as the sweeper that keeps it. After a process was stopped for
// hours, a caller that runs before the sweeper sees the ages at which the process
// stopped.
func (p *Pool) idleFor(word ring.Word) uint32 {
	return uint32(uint16(p.tick.Load()) - word.Stamp())
}

// admit turns a slot that was idle into the lease of the caller that has taken it. If the
// connection is unfit, it is closed instead.
func (p *Pool) admit(h held) (Lease, bool) {
	l, fit, _ := p.examine(h, true)
	return l, fit
}

// examine is admit. It also reports whether the call of Factory.Check was abandoned. any says that
// the caller would take any connection: then one for which somebody waits goes to them.
func (p *Pool) examine(h held, any bool) (l Lease, fit, abandoned bool) {
	c := p.connIn(h.slot)
	if !h.owns(c) {
		return l, false, false // revoked
	}
	if c.notice.Load() != nil && p.noticed(h, c, any && p.factory.Check == nil) {
		return l, false, false
	}
	// In an outage MinIdle may have kept it: an old connection is better than none.
	if p.idleFor(h.word) >= p.idleTicks && p.idleTooLong(c, h) && (p.outage.Load() == nil || !p.onlyOld(h)) {
		p.destroy(h, closedByIdleTime, nil)
		return l, false, false
	}
	if p.factory.Check != nil {
		if fit, abandoned = p.ask(h, c, checkCall, p.factory.Check); !fit {
			return l, false, abandoned
		}
		// Check may have taken a while. What has been revoked is marked as well; then destroy
		// finds that the slot is not ours any more.
		if c.notice.Load() != nil && p.noticed(h, c, any) {
			return l, false, false
		}
	}
	if p.over(c) {
		p.destroy(h, closedByLifetime, nil)
		return l, false, false
	}
	return Lease{c, h.word}, true, false
}

// noticed does what the notice on a connection asks for, in a function of its own because it is
// seldom needed. It reports whether the slot is not the caller's any more: the connection has been
// closed or, if passes is set, has gone to one who waits for it.
func (p *Pool) noticed(h held, c *conn, passes bool) bool {
	if d := c.defect(); d != nil {
		p.destroy(h, d.why, d.cause)
		return true
	}
	return passes && p.passOn(h, c)
}

// owns reports whether c, which was found in the slot of h, is the connection of h. If not,
// Close or Revoke has revoked the slot. Then it may be empty, or even have another connection,
// claimed for in a later generation: that is not ours, not even to be looked at.
func (h held) owns(c *conn) bool { return c != nil && !h.word.Precedes(c.claimed) }

// Put ends a lease. Its connection goes to the oldest waiter or becomes idle.
func (p *Pool) Put(l Lease) error {
	c := l.conn
	if c == nil || c.pool != p {
		return ErrNotLeased
	}
	if p.gate.Load() != 0 || p.slowPut {
		return p.putSlow(l, uint16(p.tick.Load()), true, 0)
	}
	step.At("put: gate read")
	word, ok := c.ring.Give(c.index, l.word, uint16(p.tick.Load())) // the lease ends here
	if !ok {
		return unlessRevoked(p.notLeased(l))
	}
	step.At("put: published")
	// Anybody may take the slot now. See settle for those who might miss it.
	if p.gate.Load() != 0 || c.notice.Load() != nil {
		p.reconsider(held{c.slot, word})
	}
	return nil
}

// putSlow ends a lease while somebody waits, or the pool is closed or shrinking, or there
// is a Clean or an Expires, or the connection is to be reserved for a time.
func (p *Pool) putSlow(l Lease, stamp uint16, used bool, keep time.Duration) error {
	if p.gate.Load() != 0 && p.elsewhere() {
		return ErrBubble
	}
	h, err := p.reclaimAs(l, stamp)
	if err != nil {
		return unlessRevoked(err)
	}
	c := l.conn
	if used {
		c.justPut = true
	} else {
		c.unused.Inc()
		c.apart.Store(uint32(h.word.Generation())) // whoever is next does not follow: see Follows
	}
	if p.factory.Clean != nil && (c.notice.Load() == nil || c.defect() == nil) && !words.Gate(p.gate.Load()).Closed() && !p.over(c) {
		if fit, _ := p.ask(h, c, cleanCall, p.factory.Clean); !fit {
			return nil
		}
	}
	if keep > 0 {
		p.keep(c, h, keep)
	}
	p.settle(h, false)
	if o := p.outage.Load(); o != nil && used {
		o.back.Store(true)
		if o == c.outage && c.defect() == nil {
			p.endOutage(o) // a lease of it has ended clean
		}
	}
	return nil
}

// PutUnused is Put, with the stamp that the slot had before the lease. It says nothing about
// the server.
func (p *Pool) PutUnused(l Lease) error {
	stamp := l.word.Stamp()
	if p.idleFor(l.word) >= ahead {
		stamp = uint16(p.tick.Load()) // it was reserved for longer
	}
	return p.putSlow(l, stamp, false, 0)
}

// Discard ends a lease and closes its connection.
func (p *Pool) Discard(l Lease, cause error) error {
	if p.elsewhere() {
		return ErrBubble
	}
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

// DiscardChecked is Discard for a lease whose use has failed. It reports whether the
// connection is to blame: Watch has reported it broken, or Check objects to it.
func (p *Pool) DiscardChecked(l Lease, cause error) (broken bool) {
	h, err := p.reclaim(l)
	if err != nil {
		return false
	}
	if d := l.conn.defect(); d != nil {
		broken = d.why == closedByWatch
	} else if p.factory.Check != nil {
		if fit, _ := p.ask(h, l.conn, checkCall, p.factory.Check); !fit {
			return true
		}
	}
	p.destroy(h, closedByDiscard, cause)
	return broken
}

// Detach ends a lease and returns the box of its connection, which belongs to the caller
// from then on.
func (p *Pool) Detach(l Lease) (box any, err error) {
	if p.elsewhere() {
		return nil, ErrBubble
	}
	h, err := p.reclaim(l)
	if err == nil {
		p.conns.Add(uint64(words.CensusLeaving))
		if c, busy := p.empty(h); c != nil {
			p.counters.detached.Inc()
			p.part(c, "detached", nil)
			p.vacate(c, busy)
			p.rightBack(0)
			p.ensureOpen(nil)
			p.hookDetached(c)
			p.forget()
			return c.box, nil
		}
		err = p.notLeased(Lease{l.conn, h.word}) // revoked, between the two steps
	}
	return nil, err
}

// reclaim ends a lease: the slot belongs to the pool again, and all copies of the lease
// have ended. The errors are those of notLeased.
func (p *Pool) reclaim(l Lease) (held, error) { return p.reclaimAs(l, uint16(p.tick.Load())) }

// reclaimAs is reclaim with the stamp that the slot gets.
func (p *Pool) reclaimAs(l Lease, stamp uint16) (held, error) {
	c := l.conn
	if c == nil || c.pool != p {
		return held{}, ErrNotLeased
	}
	word, ok := c.ring.Renew(c.index, l.word, stamp) // the lease ends here
	if !ok {
		return held{}, p.notLeased(l)
	}
	if p.config.TimeUse {
		p.counters.useTime.Record(uint(c.slot), time.Duration(p.now())-c.leasedAt)
	}
	return held{c.slot, word}, nil
}
