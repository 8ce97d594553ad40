package core

import (
	"iter"
	"sync"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// What tests in other packages may see and set. Nothing else uses this file.

// An Inside points to the parts of a pool.
type Inside struct {
	pool *Pool

	Gate, Conns               *atomic.Uint64
	Tick                      *atomic.Uint32
	Queue                     *queue.Queue
	Ring                      *ring.Ring // of the first bank
	Parkers                   *sync.Pool
	Counters                  *counters
	Overdue, Spares, Unclosed *atomic.Int32
	Reserved                  *atomic.Int32  // connections that are reserved
	Same                      *atomic.Int32  // who wait for a single connection
	Probing                   *atomic.Int32  // connections that are held until a probe has answered
	Behind                    *atomic.Int32  // connections in Factory.Close whose slot is free already
	Wary                      *atomic.Uint32 // so many looks are still made apart
	Adrift                    *atomic.Int32  // goroutines that have connections in hand for a Get that has left, or may leave at any time
	Workers                   *atomic.Int32  // goroutines of the pool, without those that close connections
	Round                     *atomic.Uint32 // of the sweeper's checks: odd while it holds a slot
}

// Awake reports whether the rest of the pool has been made.
func (p *Pool) Awake() bool { return !words.Gate(p.gate.Load()).Asleep() }

// Inside returns pointers to the parts of p.
func (p *Pool) Inside() Inside {
	p.wake()
	return Inside{p, &p.gate, &p.conns, &p.tick, &p.queue, p.ring, &p.parkers, p.counters,
		&p.overdue, &p.spares, &p.unclosed, &p.reserved, &p.same, &p.probing, &p.behind, &p.wary, &p.adrift, &p.workers, &p.sweeper.round}
}

// Outage returns the outage, the zero one if there is none.
func (in Inside) Outage() words.Outage {
	if o := in.pool.outage.Load(); o != nil {
		return o.Outage
	}
	return words.Outage{}
}

// SetOutage puts the pool into an outage, or out of it with the zero one.
func (in Inside) SetOutage(o words.Outage) {
	if o == (words.Outage{}) {
		in.pool.outage.Store(nil)
	} else {
		in.pool.outage.Store(&outage{Outage: o})
	}
}

// A Slot describes one slot.
type Slot struct {
	Word     ring.Word
	Full     bool // it has a connection
	Box      any
	OldEra   bool         // its opening began before the last Reset
	Same     *queue.Queue // of those who wait for its connection alone; may be nil
	Reserved bool         // it is reserved
	Wanted   bool         // the connection has the notice that somebody does
	IdleLong bool         // it has been idle for too long to be lent
	Opening  bool         // an attempt is noted for it
}

// Slots iterates over all slots, by their number.
func (in Inside) Slots() iter.Seq2[int, Slot] {
	return func(yield func(int, Slot) bool) {
		p := in.pool
		for _, b := range *p.banks.Load() {
			for i := range b.ring.Len() {
				s := Slot{Word: b.ring.At(i), Opening: b.opening[i].Load() != nil}
				if c := b.slots[i].Load(); c != nil {
					s.Full, s.Box, s.OldEra = true, c.box, c.era != p.era.Load()
					s.Same, s.Wanted = c.same.Load(), c.notice.Load() == wanted
					s.Reserved = c.reservedBy(s.Word) != nil
				}
				s.IdleLong = s.Word.Phase() == ring.Idle && p.idleFor(s.Word) >= p.idleTicks
				if !yield(b.first+i, s) {
					return
				}
			}
		}
	}
}

// Promised returns for how many rights of its budgets connections are being closed.
func (in Inside) Promised() (n int) {
	if in.pool.budget == nil {
		return 0
	}
	for _, s := range in.pool.budget.shares {
		s.rights.enter()
		n += s.rights.coming
		s.rights.mu.Unlock()
	}
	return n
}

// Holders returns how many pools are known to have rights of its budgets.
func (in Inside) Holders() (n int) {
	if in.pool.budget == nil {
		return 0
	}
	for _, s := range in.pool.budget.shares {
		s.rights.enter()
		n += len(s.rights.holders)
		s.rights.mu.Unlock()
	}
	return n
}

// Rights returns how many rights of its budget the pool has: those that it has most of.
func (in Inside) Rights() (n int) {
	if in.pool.budget == nil {
		return 0
	}
	for _, s := range in.pool.budget.shares {
		s.rights.enter()
		n = max(n, s.has)
		s.rights.mu.Unlock()
	}
	return n
}

// Closed returns how many connections have been closed, for whatever reason.
func (in Inside) Closed() (n uint64) {
	for why := range in.pool.counters.closed {
		n += in.pool.counters.closed[why].Load()
	}
	return n
}

// LifetimeOf returns when MaxLifetime ends for a connection that is open from now on.
func (in Inside) LifetimeOf(now time.Duration) time.Duration { return in.pool.lifetimeOf(now) }

// EnsureOpen opens what the waiters need, as is done when capacity comes free.
func (in Inside) EnsureOpen() { in.pool.ensureOpen(nil) }

// OpenTime returns how long opening is assumed to take.
func (in Inside) OpenTime() time.Duration { return in.pool.openTime() }

// Aside reports whether an attempt is noted as one that goes on without a slot.
func (in Inside) Aside() bool { return in.pool.aside.Load() != nil }

// Now returns the time on the pool's clock.
func (in Inside) Now() time.Duration { return time.Duration(in.pool.now()) }

// TickLength returns the length of a tick of the coarse clock.
func (in Inside) TickLength() time.Duration { return in.pool.sweeper.tickLength }

// SweeperStarted reports whether the sweeper has been started.
func (in Inside) SweeperStarted() bool { return in.pool.sweeper.started.Load() }

// NoteEveryLease has the place of every lease noted, instead of a sample.
func (in Inside) NoteEveryLease() { in.pool.sample = 1 }

// After returns how many had come to wait when the opening of the connection began.
func (l Lease) After() uint64 { return l.conn.after }

// SetAhead has the sweeper believe that the wall clock is so far ahead of the pool's. The
// sweeper calls the function each time that it is awake.
func (in Inside) SetAhead(ahead func() time.Duration) { in.pool.sweeper.pretended.Store(&ahead) }

// SetExpires sets when MaxLifetime ends for a leased connection, on the pool's clock.
// Nobody else may use the pool meanwhile.
func (l Lease) SetExpires(at time.Duration) { l.conn.expires = at }

// Limits that tests need.
const (
	CallLimit     = callLimit
	CloseGrace    = closeGrace
	ColdStart     = coldStart
	FirstOpenTime = firstOpenTime
	LeastOpenTime = leastOpenTime
	LogEvery      = logEvery
	LookGrace     = lookGrace
	MaxProbes     = maxProbes
	MaxTick       = maxTick
	MinDead       = minDead
	MinTick       = minTick
	MostHanging   = mostHanging
	MostOpenTime  = mostOpenTime
	OpenGrace     = openGrace
	OverdueAfter  = overdueAfter
	ProbeLimit    = probeLimit
	Reasons       = int(reasons)
	Probation     = probation
	RevokedStamp  = revokedStamp
	SleepLeast    = sleepLeast
	Suspicion     = suspicion
	Tryout        = tryout
)

// Errors that are not exported otherwise.
var (
	ErrAbandoned     = errAbandoned
	ErrEnded         = errEnded
	ErrOpenAbandoned = errOpenAbandoned
	ErrReset         = errReset
)
