package pool

import (
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/S4AK4N/pool/internal/core"
)

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
