package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/histogram"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// Stats are the Stats of the root package, which documents each field.
type Stats struct {
	MaxConnections      int
	ActiveConnections   int
	IdleConnections     int
	ReservedConnections int
	OpeningConnections  int
	AwaitingBudget      int
	WaitingRequests     int
	OldestWait          time.Duration
	LastOpenError       error
	Gets                uint64
	Waits               uint64
	SameWaits           uint64
	Timeouts            uint64
	Canceled            uint64
	Rejected            uint64
	Unavailable         uint64
	Gone                uint64
	Leaked              uint64
	Opened              uint64
	OpenErrors          uint64
	Detached            uint64
	ClosedIdle          uint64
	ClosedLifetime      uint64
	ClosedCheck         uint64
	ClosedClean         uint64
	ClosedWatch         uint64
	ClosedDiscard       uint64
	ClosedRevoke        uint64
	ClosedReset         uint64
	ClosedResize        uint64
	ClosedFresh         uint64
	ClosedBudget        uint64
	ClosedAbandoned     uint64
	ClosedShutdown      uint64
	Abandoned           uint64
	WaitTime            histogram.Snapshot
	OpenTime            histogram.Snapshot
	UseTime             histogram.Snapshot
}

// A reason says why a connection was closed.
type reason int

const (
	closedByIdleTime reason = iota
	closedByLifetime
	closedByCheck
	closedByClean
	closedByWatch
	closedByDiscard
	closedByRevoke
	closedByReset
	closedByResize
	closedByFresh
	closedByBudget
	closedAbandoned
	closedByShutdown
	reasons
)

func (r reason) String() string {
	return [reasons]string{"idle", "lifetime", "check", "clean", "watch", "discard", "revoke", "reset", "resize", "fresh", "budget", "abandoned", "shutdown"}[r]
}

type counter = atomic.Uint64

// counters are not written on the fast paths of Get and Put.
type counters struct {
	timeouts, canceled, rejected, unavailable counter
	opened, openErrors, detached, abandoned   counter
	closed                                    [reasons]counter
	leaked                                    counter
	claims                                    counter // of slots
	sameWaits, gone                           counter
	mostGets                                  counter
	checkBegan                                counter // when the round of checks took its slot
	openErrorLog, abandonedLog                logLimit
	waitTime, openTime, useTime               histogram.Recorder
}

// gets returns the number of leases: now, which counts those that have ended and those in
// force, or what was returned before if that is more. A connection that is being cleaned
// or handed off counts as both ended and in force.
func (n *counters) gets(now uint64) uint64 {
	for {
		most := n.mostGets.Load()
		if now <= most || n.mostGets.CompareAndSwap(most, now) {
			return max(now, most)
		}
	}
}

// Name returns the name of the pool.
func (p *Pool) Name() string { return p.name }

// survey counts the connections of each kind, with how many of the idle ones are reserved, and the leases so far. It looks at every slot, and
// holds up nobody.
func (p *Pool) survey() (c words.Census, idle, reserved int, gets uint64) {
	// The census tells the number of connections of each kind in one word, but not how
	// many of them are idle. These are counted while they change, and the result is
	// fitted into the census. So the parts always add up, and they are exact when nothing
	// moves. The connection that the sweeper is checking counts as idle. Those that are being
	// probed do not: nobody can get them. But they are no leases.
	var (
		leased int
		ended  uint64
	)
	for tries := 0; ; tries++ {
		round := p.sweeper.round.Load()
		probing := int(p.probing.Load()) // nobody has leased them
		c, idle, leased, reserved, ended = words.Census(p.conns.Load()), 0, -probing, 0, 0
		if round%2 == 1 && time.Duration(p.now())-time.Duration(p.counters.checkBegan.Load()) < time.Second {
			idle, leased = 1, leased-1 // unless the check hangs: then nobody can get it
		}
		step.At("stats: census read")
		for _, b := range *p.banks.Load() {
			for i := range b.ring.High() {
				word := b.ring.At(i)
				ended += word.Generation()
				switch word.Phase() {
				case ring.Idle:
					idle++
				case ring.Leased:
					if c := b.slots[i].Load(); c != nil && c.reservedBy(word) != nil {
						idle++
						reserved++
					} else {
						leased++
					}
				}
			}
		}
		if p.sweeper.round.Load() == round || tries == 8 {
			break
		}
	}
	// A slot's generation counts its leases and its claims. Claims are counted before they are
	// made, and read after the slots. So more may be subtracted than were seen, but not fewer:
	// gets would never take back what is too much.
	ended -= min(p.counters.claims.Load(), ended)
	idle = min(idle, c.Established())
	return c, idle, min(reserved, idle), p.counters.gets(ended + uint64(max(leased, 0)))
}

// A Usage says what is going on in a pool.
type Usage struct {
	Gets uint64 // leases so far
	Open bool   // a connection is open, or is being opened
	Busy bool   // somebody has a lease, or waits
}

// Usage says what is going on in the pool. It looks at every slot, and holds up nobody.
func (p *Pool) Usage() Usage {
	g := words.Gate(p.gate.Load())
	if g.Asleep() {
		return Usage{}
	}
	waits := g.Waiters() > 0 || p.same.Load() > 0 // first: whoever has waited has a lease then
	c, idle, _, gets := p.survey()
	return Usage{gets, c.Open() > 0, waits || c.Established()-c.Leaving() > idle}
}

// Stats returns the state of the pool. It looks at every slot, and holds up nobody.
func (p *Pool) Stats() Stats {
	if words.Gate(p.gate.Load()).Asleep() {
		return Stats{MaxConnections: words.Census(p.conns.Load()).Max()}
	}
	c, idle, reserved, gets := p.survey()
	n := p.counters
	s := Stats{
		Gets:                gets,
		MaxConnections:      p.maxConnections(c),
		ActiveConnections:   c.Established() - idle,
		IdleConnections:     idle,
		ReservedConnections: reserved,
		OpeningConnections:  c.Opening(),
		WaitingRequests:     words.Gate(p.gate.Load()).Waiters() + int(p.same.Load()),
		LastOpenError:       p.lastOpen.Load(),
		SameWaits:           n.sameWaits.Load(),
		Timeouts:            n.timeouts.Load(),
		Canceled:            n.canceled.Load(),
		Rejected:            n.rejected.Load(),
		Unavailable:         n.unavailable.Load(),
		Gone:                n.gone.Load(),
		Leaked:              n.leaked.Load(),
		OpenErrors:          n.openErrors.Load(),
		Detached:            n.detached.Load(),
		ClosedIdle:          n.closed[closedByIdleTime].Load(),
		ClosedLifetime:      n.closed[closedByLifetime].Load(),
		ClosedCheck:         n.closed[closedByCheck].Load(),
		ClosedClean:         n.closed[closedByClean].Load(),
		ClosedWatch:         n.closed[closedByWatch].Load(),
		ClosedDiscard:       n.closed[closedByDiscard].Load(),
		ClosedRevoke:        n.closed[closedByRevoke].Load(),
		ClosedReset:         n.closed[closedByReset].Load(),
		ClosedResize:        n.closed[closedByResize].Load(),
		ClosedFresh:         n.closed[closedByFresh].Load(),
		ClosedBudget:        n.closed[closedByBudget].Load(),
		ClosedAbandoned:     n.closed[closedAbandoned].Load(),
		ClosedShutdown:      n.closed[closedByShutdown].Load(),
		Abandoned:           n.abandoned.Load(),
		WaitTime:            n.waitTime.Snapshot(),
		OpenTime:            n.openTime.Snapshot(),
		UseTime:             n.useTime.Snapshot(),
	}
	if p.budget != nil {
		s.AwaitingBudget = p.budget.asks()
	}
	s.Opened = n.opened.Load() // read last: never less than the connections that have ended
	s.Waits = p.queue.Waits() + s.SameWaits
	since, any := p.oldestSame()
	if w, began := p.queue.Oldest(); w != nil && (!any || began < since) {
		since, any = began, true
	}
	if any {
		s.OldestWait = time.Duration(p.now() - since)
	}
	return s
}
