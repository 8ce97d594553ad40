package pool

import (
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/histogram"
)

// Stats is a snapshot of a [Pool]. In each snapshot ActiveConnections, IdleConnections,
// OpeningConnections and VacantConnections add up to MaxConnections. The counters are read
// one after the other, Opened last, so Opened is never less than the connections accounted
// for.
type Stats struct {
	// Gauges.
	MaxConnections      int           // the limit in force
	ActiveConnections   int           // leased, or held by the pool to check, probe, clean or hand on
	IdleConnections     int           // ready to be lent
	ReservedConnections int           // of IdleConnections, those that PutFor has reserved
	OpeningConnections  int           // being opened
	AwaitingBudget      int           // that would be opened now, if Config.Budget (or the group) had rights for them
	WaitingRequests     int           // calls of Get and GetSame that wait
	OldestWait          time.Duration // how long the first of them has waited
	LastOpenError       error         // of the last attempt to open that has failed; nil once its outage is over

	// Counters of calls, since the pool was made.
	Gets        uint64 // leases, also those revoked on their way; may briefly include connections that the pool itself holds, and lag while one begins to be opened
	Waits       uint64 // calls of Get that found nothing idle, so also those for which one was opened, and of GetSame that waited; however they ended
	SameWaits   uint64 // of Waits, those of GetSame
	Timeouts    uint64 // calls that ended in ErrExhausted
	Canceled    uint64 // waits that ended with the caller's ctx
	Rejected    uint64 // calls that ended in ErrRejected
	Unavailable uint64 // calls that ended in ErrUnavailable
	Gone        uint64 // calls of GetSame and TryGetSame whose connection was gone; the zero Mark does not count
	Leaked      uint64 // leases reported after LeakAfter

	// Counters of connections, since the pool was made. At rest, Opened = Detached + all
	// Closed… + ActiveConnections + IdleConnections.
	Opened          uint64
	OpenErrors      uint64 // calls of Factory.Open that failed
	Detached        uint64 // taken out by Detach
	ClosedIdle      uint64 // closed after MaxIdleTime
	ClosedLifetime  uint64 // closed after MaxLifetime, or at the time that Factory.Expires said
	ClosedCheck     uint64 // closed because Factory.Check or Probe returned an error
	ClosedClean     uint64 // closed because Factory.Clean returned an error
	ClosedWatch     uint64 // closed because they were reported broken
	ClosedDiscard   uint64 // closed by Discard, or by Do
	ClosedRevoke    uint64 // closed by Revoke
	ClosedReset     uint64 // closed by Reset
	ClosedResize    uint64 // closed by Resize to a lower limit
	ClosedFresh     uint64 // closed to make room for GetFresh or Retry
	ClosedBudget    uint64 // closed because another pool with the same Budget came first
	ClosedAbandoned uint64 // closed because Check, Probe or Clean did not return
	ClosedShutdown  uint64 // closed with the pool
	Abandoned       uint64 // calls of factory functions that did not return in time

	// Durations, since the pool was made.
	WaitTime Histogram // waits, however they ended
	OpenTime Histogram // calls of Factory.Open, failed ones included
	UseTime  Histogram // leases that their holders have ended, with Config.TimeUse
}

// VacantConnections returns how many more connections could be opened. It is negative while
// more are open than MaxConnections, after a [Pool.Resize] to a lower limit.
func (s Stats) VacantConnections() int {
	return s.MaxConnections - s.ActiveConnections - s.IdleConnections - s.OpeningConnections
}

// ClosedBy iterates over the reasons for which connections are closed, and how many were for
// each: the fields that begin with Closed, by the names that Hooks.Closed has.
func (s Stats) ClosedBy() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, by := range []struct {
			reason string
			n      uint64
		}{
			{"idle", s.ClosedIdle},
			{"lifetime", s.ClosedLifetime},
			{"check", s.ClosedCheck},
			{"clean", s.ClosedClean},
			{"watch", s.ClosedWatch},
			{"discard", s.ClosedDiscard},
			{"revoke", s.ClosedRevoke},
			{"reset", s.ClosedReset},
			{"resize", s.ClosedResize},
			{"fresh", s.ClosedFresh},
			{"budget", s.ClosedBudget},
			{"abandoned", s.ClosedAbandoned},
			{"shutdown", s.ClosedShutdown},
		} {
			if !yield(by.reason, by.n) {
				return
			}
		}
	}
}

// MarshalJSON returns s as an object, for programs that read it; it cannot be read back into a
// Stats. Names are those of LogValue, with vacant beside them. Durations are in seconds and
// have that in their names, last_open_error is the text of the error, or null, the counts of
// closed connections are together, by reason, in closed, and histograms have their buckets.
func (s Stats) MarshalJSON() ([]byte, error) {
	closed := map[string]uint64{}
	for reason, n := range s.ClosedBy() {
		closed[reason] = n
	}
	var lastOpenError *string
	if s.LastOpenError != nil {
		text := s.LastOpenError.Error()
		lastOpenError = &text
	}
	return json.Marshal(struct {
		Max           int               `json:"max"`
		Active        int               `json:"active"`
		Idle          int               `json:"idle"`
		Reserved      int               `json:"reserved"`
		Opening       int               `json:"opening"`
		Awaiting      int               `json:"awaiting_budget"`
		Vacant        int               `json:"vacant"`
		Waiting       int               `json:"waiting"`
		OldestWait    float64           `json:"oldest_wait_seconds"`
		LastOpenError *string           `json:"last_open_error"`
		Gets          uint64            `json:"gets"`
		Waits         uint64            `json:"waits"`
		SameWaits     uint64            `json:"same_waits"`
		Timeouts      uint64            `json:"timeouts"`
		Canceled      uint64            `json:"canceled"`
		Rejected      uint64            `json:"rejected"`
		Unavailable   uint64            `json:"unavailable"`
		Gone          uint64            `json:"gone"`
		Leaked        uint64            `json:"leaked"`
		Opened        uint64            `json:"opened"`
		OpenErrors    uint64            `json:"open_errors"`
		Detached      uint64            `json:"detached"`
		Closed        map[string]uint64 `json:"closed"`
		Abandoned     uint64            `json:"abandoned"`
		WaitTime      Histogram         `json:"wait_time"`
		OpenTime      Histogram         `json:"open_time"`
		UseTime       Histogram         `json:"use_time"`
	}{
		s.MaxConnections, s.ActiveConnections, s.IdleConnections, s.ReservedConnections, s.OpeningConnections, s.AwaitingBudget, s.VacantConnections(),
		s.WaitingRequests, s.OldestWait.Seconds(), lastOpenError,
		s.Gets, s.Waits, s.SameWaits, s.Timeouts, s.Canceled, s.Rejected, s.Unavailable, s.Gone, s.Leaked,
		s.Opened, s.OpenErrors, s.Detached, closed, s.Abandoned, s.WaitTime, s.OpenTime, s.UseTime,
	})
}

// LogValue returns s as a group of attributes.
func (s Stats) LogValue() slog.Value {
	var lastOpenError slog.Attr // left out if there is none
	if s.LastOpenError != nil {
		lastOpenError = slog.Any("last_open_error", s.LastOpenError)
	}
	return slog.GroupValue(
		slog.Int("max", s.MaxConnections),
		slog.Int("active", s.ActiveConnections),
		slog.Int("idle", s.IdleConnections),
		slog.Int("reserved", s.ReservedConnections),
		slog.Int("opening", s.OpeningConnections),
		slog.Int("awaiting_budget", s.AwaitingBudget),
		slog.Int("waiting", s.WaitingRequests),
		slog.Duration("oldest_wait", s.OldestWait),
		lastOpenError,
		slog.Uint64("gets", s.Gets),
		slog.Uint64("waits", s.Waits),
		slog.Uint64("same_waits", s.SameWaits),
		slog.Uint64("timeouts", s.Timeouts),
		slog.Uint64("canceled", s.Canceled),
		slog.Uint64("rejected", s.Rejected),
		slog.Uint64("unavailable", s.Unavailable),
		slog.Uint64("gone", s.Gone),
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
		slog.Uint64("closed_revoke", s.ClosedRevoke),
		slog.Uint64("closed_reset", s.ClosedReset),
		slog.Uint64("closed_resize", s.ClosedResize),
		slog.Uint64("closed_fresh", s.ClosedFresh),
		slog.Uint64("closed_budget", s.ClosedBudget),
		slog.Uint64("closed_abandoned", s.ClosedAbandoned),
		slog.Uint64("closed_shutdown", s.ClosedShutdown),
		slog.Uint64("abandoned", s.Abandoned),
		slog.Any("wait_time", s.WaitTime),
		slog.Any("open_time", s.OpenTime),
		slog.Any("use_time", s.UseTime),
	)
}

// String returns s in one line, by the names of LogValue. Of what is zero it has only max, active,
// idle and waiting.
func (s Stats) String() string {
	var b strings.Builder
	for _, a := range s.LogValue().Group() {
		v := a.Value.Any()
		switch a.Key {
		case "max", "active", "idle", "waiting":
		case "": // there is no last_open_error
			continue
		default:
			if h, ok := v.(Histogram); ok && h.Count == 0 || v == any(int64(0)) || v == any(uint64(0)) || v == any(time.Duration(0)) {
				continue
			}
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		if a.Value.Kind() == slog.KindInt64 || a.Value.Kind() == slog.KindUint64 || a.Value.Kind() == slog.KindDuration {
			fmt.Fprintf(&b, "%s %v", a.Key, v)
		} else {
			text := strings.ReplaceAll(fmt.Sprint(v), "\n", "; ") // of joined errors
			fmt.Fprintf(&b, "%s (%s)", a.Key, text)               // it has commas
		}
	}
	return b.String()
}

// statsOf makes a Stats of what the core has.
func statsOf(s core.Stats) Stats {
	return Stats{
		MaxConnections:      s.MaxConnections,
		ActiveConnections:   s.ActiveConnections,
		IdleConnections:     s.IdleConnections,
		ReservedConnections: s.ReservedConnections,
		OpeningConnections:  s.OpeningConnections,
		AwaitingBudget:      s.AwaitingBudget,
		WaitingRequests:     s.WaitingRequests,
		OldestWait:          s.OldestWait,
		LastOpenError:       s.LastOpenError,
		Gets:                s.Gets,
		Waits:               s.Waits,
		SameWaits:           s.SameWaits,
		Timeouts:            s.Timeouts,
		Canceled:            s.Canceled,
		Rejected:            s.Rejected,
		Unavailable:         s.Unavailable,
		Gone:                s.Gone,
		Leaked:              s.Leaked,
		Opened:              s.Opened,
		OpenErrors:          s.OpenErrors,
		Detached:            s.Detached,
		ClosedIdle:          s.ClosedIdle,
		ClosedLifetime:      s.ClosedLifetime,
		ClosedCheck:         s.ClosedCheck,
		ClosedClean:         s.ClosedClean,
		ClosedWatch:         s.ClosedWatch,
		ClosedDiscard:       s.ClosedDiscard,
		ClosedRevoke:        s.ClosedRevoke,
		ClosedReset:         s.ClosedReset,
		ClosedResize:        s.ClosedResize,
		ClosedFresh:         s.ClosedFresh,
		ClosedBudget:        s.ClosedBudget,
		ClosedAbandoned:     s.ClosedAbandoned,
		ClosedShutdown:      s.ClosedShutdown,
		Abandoned:           s.Abandoned,
		WaitTime:            Histogram(s.WaitTime),
		OpenTime:            Histogram(s.OpenTime),
		UseTime:             Histogram(s.UseTime),
	}
}

// bare returns s for the core.
func (s Stats) bare() core.Stats {
	return core.Stats{
		MaxConnections:      s.MaxConnections,
		ActiveConnections:   s.ActiveConnections,
		IdleConnections:     s.IdleConnections,
		ReservedConnections: s.ReservedConnections,
		OpeningConnections:  s.OpeningConnections,
		AwaitingBudget:      s.AwaitingBudget,
		WaitingRequests:     s.WaitingRequests,
		OldestWait:          s.OldestWait,
		LastOpenError:       s.LastOpenError,
		Gets:                s.Gets,
		Waits:               s.Waits,
		SameWaits:           s.SameWaits,
		Timeouts:            s.Timeouts,
		Canceled:            s.Canceled,
		Rejected:            s.Rejected,
		Unavailable:         s.Unavailable,
		Gone:                s.Gone,
		Leaked:              s.Leaked,
		Opened:              s.Opened,
		OpenErrors:          s.OpenErrors,
		Detached:            s.Detached,
		ClosedIdle:          s.ClosedIdle,
		ClosedLifetime:      s.ClosedLifetime,
		ClosedCheck:         s.ClosedCheck,
		ClosedClean:         s.ClosedClean,
		ClosedWatch:         s.ClosedWatch,
		ClosedDiscard:       s.ClosedDiscard,
		ClosedRevoke:        s.ClosedRevoke,
		ClosedReset:         s.ClosedReset,
		ClosedResize:        s.ClosedResize,
		ClosedFresh:         s.ClosedFresh,
		ClosedBudget:        s.ClosedBudget,
		ClosedAbandoned:     s.ClosedAbandoned,
		ClosedShutdown:      s.ClosedShutdown,
		Abandoned:           s.Abandoned,
		WaitTime:            histogram.Snapshot(s.WaitTime),
		OpenTime:            histogram.Snapshot(s.OpenTime),
		UseTime:             histogram.Snapshot(s.UseTime),
	}
}

// A Source is what exporters of figures read: a name and a snapshot. A [*Pool] is one. Both
// methods may be called at any time, from any goroutine.
type Source interface {
	Name() string
	Stats() Stats
}

// NewSource returns a Source with a name, of what has Stats and none: a [Group], or a Dialer of
// package wsconn, as one.
func NewSource(name string, of interface{ Stats() Stats }) Source { return named{name, of} }

type named struct {
	name string
	of   interface{ Stats() Stats }
}

func (s named) Name() string { return s.name }
func (s named) Stats() Stats { return s.of.Stats() }

// A reading is a Source that has been read.
type reading struct {
	name  string
	stats Stats
}

func (s reading) Name() string { return s.name }
func (s reading) Stats() Stats { return s.stats }

// others is the name of those that ByName has no room for.
const others = "others"

// ByName returns an iterator over the sums of sources with equal names, for exporters, which
// have one series for each name: one Source for each, in the order of the names. sources is
// [Group.Sources], for example, and is read anew by each loop, before the first Source is
// passed on.
//
// At most max names are kept apart, so that the keys of a Group cannot make more series than
// there is room for. The sum of all other names is one more Source, «others». The names that are seen
// first are kept apart, for as long as there is a Source of that name; then there is room for a
// name that was not there before. A name that counts in «others» stays there, and what it has counted
// stays when it is gone, so that no counter falls. If max is zero or negative, there is no limit.
//
// Several goroutines may use the iterator at the same time. It keeps the counters of those in
// «others». Of a Source that is in no loop any more, what it has counted since the last loop is lost: Stats
// of a Group has everything, and [NewSource] makes a Source of that.
func ByName(sources iter.Seq[Source], max int) iter.Seq[Source] {
	n := &names{sources: sources, max: max, apart: map[string]bool{}, rest: map[string]core.Stats{}}
	return func(yield func(Source) bool) {
		for _, s := range n.read() {
			if !yield(s) {
				return
			}
		}
	}
}

// names is what ByName keeps between two loops.
type names struct {
	sources iter.Seq[Source]
	max     int

	mu    sync.Mutex            // held while sources are read: of two loops, the later one has the later counters
	apart map[string]bool       // have a Source of their own
	rest  map[string]core.Stats // the others, as they were in the last loop
	past  core.Stats            // counters of others that are gone
	most  core.Stats            // that have been passed on for the others
	any   bool                  // there have been others
}

func (n *names) read() []Source {
	n.mu.Lock()
	defer n.mu.Unlock()
	sums := map[string]core.Stats{}
	for s := range n.sources {
		name := s.Name()
		sum := sums[name]
		sum.Add(s.Stats().bare())
		sums[name] = sum
	}
	maps.DeleteFunc(n.apart, func(name string, _ bool) bool { _, there := sums[name]; return !there })
	for name, last := range n.rest {
		// A name with fewer leases than before, or fewer connections, is that of another pool
		// now. Other counters may lag in a pool that is gone.
		if now, there := sums[name]; !there || now.Gets < last.Gets || now.Opened < last.Opened {
			n.past.AddCounters(last)
			delete(n.rest, name)
		}
	}
	var all []Source
	rest := n.past.Clone()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if n.hasRoomFor(name) {
			n.apart[name] = true
			all = append(all, reading{name, statsOf(sums[name])})
			continue
		}
		n.rest[name], n.any = sums[name], true
		rest.Add(sums[name])
	}
	if n.any {
		rest.AtLeast(n.most)
		n.most = rest.Clone()
		all = append(all, reading{others, statsOf(rest)})
	}
	return all
}

// hasRoomFor reports whether a name gets a Source of its own.
func (n *names) hasRoomFor(name string) bool {
	if _, counted := n.rest[name]; counted || name == others {
		return false
	}
	return n.apart[name] || n.max <= 0 || len(n.apart) < n.max
}
