package pooldebug

import (
	"time"

	"github.com/S4AK4N/pool"
)

const (
	interval = time.Second // between two snapshots
	length   = 5 * time.Minute
	keep     = int(length/interval) + 1
)

// watched is a source and what it was like in the last five minutes.
type watched struct {
	source Source
	points []point // oldest first
	marks  []mark  // oldest first, a tenth of the points
	last   pool.Stats
}

// A point is a snapshot, and what has changed since the one before.
type point struct {
	at                                 time.Time
	max, active, idle, opening, vacant int
	waiting                            int
	gets, waits, failed, opened, ended float64       // each second
	waited                             time.Duration // 99 of 100 waits took no longer
}

// A mark is what counters were at some time.
type mark struct {
	at    time.Time
	stats pool.Stats
}

// markEvery is the time between two marks.
const markEvery = 10 * time.Second

// sample takes a snapshot. The handler's mutex is held.
func (w *watched) sample(now time.Time) pool.Stats {
	s := w.source.Stats()
	p := point{at: now, max: s.MaxConnections, active: s.ActiveConnections, idle: s.IdleConnections, opening: s.OpeningConnections,
		vacant: s.VacantConnections(), waiting: s.WaitingRequests}
	if n := len(w.points); n > 0 {
		if seconds := now.Sub(w.points[n-1].at).Seconds(); seconds > 0 {
			rate := func(now, then uint64) float64 {
				if now < then { // no counter of ours falls; that of somebody else's Source may
					return 0
				}
				return float64(now-then) / seconds
			}
			p.gets, p.waits, p.opened = rate(s.Gets, w.last.Gets), rate(s.Waits, w.last.Waits), rate(s.Opened, w.last.Opened)
			p.failed, p.ended = rate(failed(s), failed(w.last)), rate(closed(s), closed(w.last))
		}
		p.waited = s.WaitTime.Sub(w.last.WaitTime).Quantile(0.99)
	}
	w.last = s
	w.points = append(w.points, p)
	if n := len(w.points) - keep; n > 0 {
		w.points = append(w.points[:0], w.points[n:]...)
	}
	if n := len(w.marks); n == 0 || now.Sub(w.marks[n-1].at) >= markEvery {
		w.marks = append(w.marks, mark{now, s})
	}
	old := 0
	for old < len(w.marks)-1 && now.Sub(w.marks[old].at) > length {
		old++
	}
	w.marks = append(w.marks[:0], w.marks[old:]...)
	return s
}

// closed is how many connections have ended.
func closed(s pool.Stats) (n uint64) {
	for _, of := range s.ClosedBy() {
		n += of
	}
	return n + s.Detached
}

// A window is what has changed in the last minutes.
type window struct {
	Seconds     float64           `json:"seconds"`
	Gets        uint64            `json:"gets"`
	Waits       uint64            `json:"waits"`
	Timeouts    uint64            `json:"timeouts"`
	Canceled    uint64            `json:"canceled"`
	Rejected    uint64            `json:"rejected"`
	Unavailable uint64            `json:"unavailable"`
	Gone        uint64            `json:"gone"`
	Leaked      uint64            `json:"leaked"`
	Abandoned   uint64            `json:"abandoned"`
	Opened      uint64            `json:"opened"`
	OpenErrors  uint64            `json:"open_errors"`
	Detached    uint64            `json:"detached"`
	Closed      map[string]uint64 `json:"closed"`
	WaitTime    pool.Histogram    `json:"wait_time"`
	OpenTime    pool.Histogram    `json:"open_time"`
	UseTime     pool.Histogram    `json:"use_time"`
}

// window returns what has changed since the oldest mark. The handler's mutex is held.
func (w *watched) window(now time.Time, s pool.Stats) window {
	then := mark{now, s}
	if len(w.marks) > 0 {
		then = w.marks[0]
	}
	less := func(now, then uint64) uint64 { return max(now, then) - then }
	c := window{
		Seconds:     now.Sub(then.at).Seconds(),
		Gets:        less(s.Gets, then.stats.Gets),
		Waits:       less(s.Waits, then.stats.Waits),
		Timeouts:    less(s.Timeouts, then.stats.Timeouts),
		Canceled:    less(s.Canceled, then.stats.Canceled),
		Rejected:    less(s.Rejected, then.stats.Rejected),
		Unavailable: less(s.Unavailable, then.stats.Unavailable),
		Gone:        less(s.Gone, then.stats.Gone),
		Leaked:      less(s.Leaked, then.stats.Leaked),
		Abandoned:   less(s.Abandoned, then.stats.Abandoned),
		Opened:      less(s.Opened, then.stats.Opened),
		OpenErrors:  less(s.OpenErrors, then.stats.OpenErrors),
		Detached:    less(s.Detached, then.stats.Detached),
		Closed:      map[string]uint64{},
		WaitTime:    s.WaitTime.Sub(then.stats.WaitTime),
		OpenTime:    s.OpenTime.Sub(then.stats.OpenTime),
		UseTime:     s.UseTime.Sub(then.stats.UseTime),
	}
	for reason, n := range then.stats.ClosedBy() {
		c.Closed[reason] = n
	}
	for reason, n := range s.ClosedBy() {
		c.Closed[reason] = less(n, c.Closed[reason])
	}
	return c
}
