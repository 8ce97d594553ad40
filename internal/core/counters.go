package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/histogram"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// Stats are those of the root package, which documents each field.
type Stats struct {
	MaxConnections     int
	ActiveConnections  int
	IdleConnections    int
	OpeningConnections int
	WaitingRequests    int
	OldestWait         time.Duration
	LastOpenError      error
	Gets               uint64
	Waits              uint64
	Timeouts           uint64
	Canceled           uint64
	Rejected           uint64
	Unavailable        uint64
	Leaked             uint64
	Opened             uint64
	OpenErrors         uint64
	Detached           uint64
	ClosedIdle         uint64
	ClosedLifetime     uint64
	ClosedCheck        uint64
	ClosedClean        uint64
	ClosedWatch        uint64
	ClosedDiscard      uint64
	ClosedReset        uint64
	ClosedResize       uint64
	ClosedAbandoned    uint64
	ClosedShutdown     uint64
	Abandoned          uint64
	WaitTime           histogram.Snapshot
	OpenTime           histogram.Snapshot
}

// Why a connection was closed.
type reason int

const (
	closedByIdleTime reason = iota
	closedByLifetime
	closedByCheck
	closedByClean
	closedByWatch
	closedByDiscard
	closedByReset
	closedByResize
	closedAbandoned
	closedByShutdown
	reasons
)

func (r reason) String() string {
	return [reasons]string{"idle", "lifetime", "check", "clean", "watch", "discard", "reset", "resize", "abandoned", "shutdown"}[r]
}

type counter = atomic.Uint64

// counters are those that nobody counts on a path where nothing waits and nothing
// is opened or closed.
type counters struct {
	timeouts, canceled, rejected, unavailable counter
	opened, openErrors, detached, abandoned   counter
	closed                                    [reasons]counter
	leaked                                    counter
	mostGets                                  counter
	checkBegan                                counter // when the round of checks took a slot, on the pool's clock
	openErrorLog, abandonedLog                logLimit
	waitTime, openTime                        histogram.Recorder
}

// gets returns the number of leases: those that have ended and those in force, as
// counted just now, or what was returned before if that is more. A connection that is
// being cleaned or handed on is counted with both.
func (n *counters) gets(now uint64) uint64 {
	for {
		most := n.mostGets.Load()
		if now <= most || n.mostGets.CompareAndSwap(most, now) {
			return max(now, most)
		}
	}
}

// Stats returns how the pool stands. It looks at every slot, and holds nobody up.
func (p *Pool) Stats() Stats {
	// One word tells how many there are of each kind, but not how many of them
	// are idle. That is counted over a time in which it changes, and fitted into
	// what the word allows, so that the parts add up always and are exact when
	// nothing moves. What the sweeper has in hand to check it is idle.
	var (
		c      words.Census
		idle   int
		leased int
		ended  uint64
	)
	for tries := 0; ; tries++ {
		round := p.sweeper.round.Load()
		c, idle, leased, ended = words.Census(p.conns.Load()), 0, 0, 0
		if round%2 == 1 && time.Duration(p.now())-time.Duration(p.counters.checkBegan.Load()) < time.Second {
			idle, leased = 1, -1 // unless the check hangs: then nobody can have it
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
					leased++
				}
			}
		}
		if p.sweeper.round.Load() == round || tries == 8 {
			break
		}
	}
	idle = min(idle, c.Established())
	most := c.Max()
	if most == 0 {
		most = int(p.lastMax.Load())
	}
	n := p.counters
	s := Stats{
		Gets:               n.gets(ended + uint64(max(leased, 0))),
		MaxConnections:     most,
		ActiveConnections:  c.Established() - idle,
		IdleConnections:    idle,
		OpeningConnections: c.Opening(),
		WaitingRequests:    words.Gate(p.gate.Load()).Waiters(),
		LastOpenError:      p.lastOpen.Load(),
		Waits:              p.queue.Count(),
		Timeouts:           n.timeouts.Load(),
		Canceled:           n.canceled.Load(),
		Rejected:           n.rejected.Load(),
		Unavailable:        n.unavailable.Load(),
		Leaked:             n.leaked.Load(),
		OpenErrors:         n.openErrors.Load(),
		Detached:           n.detached.Load(),
		ClosedIdle:         n.closed[closedByIdleTime].Load(),
		ClosedLifetime:     n.closed[closedByLifetime].Load(),
		ClosedCheck:        n.closed[closedByCheck].Load(),
		ClosedClean:        n.closed[closedByClean].Load(),
		ClosedWatch:        n.closed[closedByWatch].Load(),
		ClosedDiscard:      n.closed[closedByDiscard].Load(),
		ClosedReset:        n.closed[closedByReset].Load(),
		ClosedResize:       n.closed[closedByResize].Load(),
		ClosedAbandoned:    n.closed[closedAbandoned].Load(),
		ClosedShutdown:     n.closed[closedByShutdown].Load(),
		Abandoned:          n.abandoned.Load(),
		WaitTime:           n.waitTime.Snapshot(),
		OpenTime:           n.openTime.Snapshot(),
	}
	s.Opened = n.opened.Load() // after its ends, so that it is not behind them
	if _, w := p.queue.Front(); w != nil {
		s.OldestWait = time.Duration(p.now() - w.Since)
	}
	return s
}
