package pool

import (
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// Stats says how a [Pool] stands. ActiveConnections, IdleConnections,
// OpeningConnections, and the vacant rest of MaxConnections always add up; the
// counters are read one after the other, Opened last, so that it is never behind what has
// become of connections.
type Stats struct {
	// How it stands.
	MaxConnections     int           // what the pool may hold
	ActiveConnections  int           // leased, or in the pool's own hands: checked, cleaned, handed on
	IdleConnections    int           // to be had
	OpeningConnections int           // being opened
	WaitingRequests    int           // callers of Get that wait
	OldestWait         time.Duration // how long the first of them has waited
	LastOpenError      error         // of the last call of Factory.Open that has ended; nil if it succeeded

	// What callers have got, since the pool was made.
	Gets        uint64 // leases; may run ahead by what is in the pool's own hands
	Waits       uint64 // calls of Get that found nothing idle and waited, however they ended
	Timeouts    uint64 // calls that ended in ErrExhausted
	Canceled    uint64 // waits that ended with the caller's ctx
	Rejected    uint64 // calls that ended in ErrRejected
	Unavailable uint64 // calls that ended in ErrUnavailable
	Leaked      uint64 // leases that were reported after LeakAfter

	// What has become of connections, since the pool was made. While nothing moves,
	// Opened = Detached + all that were closed + ActiveConnections + IdleConnections.
	Opened          uint64
	OpenErrors      uint64 // calls of Factory.Open that failed
	Detached        uint64 // taken by Detach
	ClosedIdle      uint64 // closed after MaxIdleTime
	ClosedLifetime  uint64 // closed after MaxLifetime
	ClosedCheck     uint64 // closed because Factory.Check objected
	ClosedClean     uint64 // closed because Factory.Clean objected
	ClosedWatch     uint64 // closed because they were reported broken
	ClosedDiscard   uint64 // closed by Discard, or by Do
	ClosedReset     uint64 // closed by Reset
	ClosedResize    uint64 // closed by Resize, because there were too many
	ClosedAbandoned uint64 // closed because Check or Clean did not return
	ClosedShutdown  uint64 // closed with the pool
	Abandoned       uint64 // calls of factory functions that did not return in time

	// How long it took, since the pool was made.
	WaitTime Histogram // waits, however they ended
	OpenTime Histogram // calls of Factory.Open, failed ones too
}

// VacantConnections returns how many more connections could be opened. It is negative if
// there are more than there may be, after a [Pool.Resize] to fewer.
func (s Stats) VacantConnections() int {
	return s.MaxConnections - s.ActiveConnections - s.IdleConnections - s.OpeningConnections
}

// LogValue makes a group of attributes of s.
func (s Stats) LogValue() slog.Value {
	var lastOpenError slog.Attr // left out if there is none
	if s.LastOpenError != nil {
		lastOpenError = slog.Any("last_open_error", s.LastOpenError)
	}
	return slog.GroupValue(
		slog.Int("max", s.MaxConnections),
		slog.Int("active", s.ActiveConnections),
		slog.Int("idle", s.IdleConnections),
		slog.Int("opening", s.OpeningConnections),
		slog.Int("waiting", s.WaitingRequests),
		slog.Duration("oldest_wait", s.OldestWait),
		lastOpenError,
		slog.Uint64("gets", s.Gets),
		slog.Uint64("waits", s.Waits),
		slog.Uint64("timeouts", s.Timeouts),
		slog.Uint64("canceled", s.Canceled),
		slog.Uint64("rejected", s.Rejected),
		slog.Uint64("unavailable", s.Unavailable),
		slog.Uint64("leaked", s.Leaked),
		slog.Uint64("opened", s.Opened),
		slog.Uint64("open_errors", s.OpenErrors),
		slog.Uint64("detached", s.Detached),
		slog.Uint64("closed_idle", s.ClosedIdle),
		slog.Uint64("closed_lifetime", s.ClosedLifetime),
		slog.Uint64("closed_check", s.ClosedCheck),
		slog.Uint64("closed_clean", s.ClosedClean),
		slog.Uint64("closed_watch", s.ClosedWatch),
		slog.Uint64("closed_discard", s.ClosedDiscard),
		slog.Uint64("closed_reset", s.ClosedReset),
		slog.Uint64("closed_resize", s.ClosedResize),
		slog.Uint64("closed_abandoned", s.ClosedAbandoned),
		slog.Uint64("closed_shutdown", s.ClosedShutdown),
		slog.Uint64("abandoned", s.Abandoned),
		slog.Any("wait_time", s.WaitTime),
		slog.Any("open_time", s.OpenTime),
	)
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
	waitTime, openTime                        recorder
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
func (p *Pool[T]) Stats() Stats {
	// One word tells how many there are of each kind, but not how many of them
	// are idle. That is counted over a time in which it changes, and fitted into
	// what the word allows, so that the parts add up always and are exact when
	// nothing moves. What the sweeper has in hand to check it is idle.
	var (
		c      census
		idle   int
		leased int
		ended  uint64
	)
	for tries := 0; ; tries++ {
		round := p.sweeper.round.Load()
		c, idle, leased, ended = census(p.conns.Load()), 0, 0, 0
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
	idle = min(idle, c.established())
	most := c.max()
	if most == 0 {
		most = int(p.lastMax.Load())
	}
	n := p.counters
	s := Stats{
		Gets:               n.gets(ended + uint64(max(leased, 0))),
		MaxConnections:     most,
		ActiveConnections:  c.established() - idle,
		IdleConnections:    idle,
		OpeningConnections: c.opening(),
		WaitingRequests:    gateWord(p.gate.Load()).waiters(),
		LastOpenError:      p.lastOpen.Load(),
		Waits:              p.queue.count(),
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
		WaitTime:           n.waitTime.snapshot(),
		OpenTime:           n.openTime.snapshot(),
	}
	s.Opened = n.opened.Load() // after its ends, so that it is not behind them
	if _, w := p.queue.front(); w != nil {
		s.OldestWait = time.Duration(p.now() - w.since)
	}
	return s
}
