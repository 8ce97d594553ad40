package group

import (
	"slices"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A name is what pools of the same name have in common.
type name struct {
	pools int         // with that name, those included that are not forgotten yet
	past  *core.Stats // counters of those that are; may be nil
}

// keepGone is how long the counters of a pool that is gone are still read from it: callers whose
// wait has ended with it may have to count that yet.
const keepGone = time.Second

// forget adds the counters of pools that have been gone for a while to the past. It returns after
// how long there is more of them.
func (g *Group[K, M]) forget(now time.Duration) (after time.Duration) {
	n := 0
	for _, m := range g.gone {
		if now-m.goneAt < keepGone {
			after = keepGone - (now - m.goneAt)
			break
		}
		n++
		s := m.core.Stats()
		g.past.AddCounters(s)
		name := g.names[m.core.Name()]
		if name.pools--; name.pools == 0 {
			delete(g.names, m.core.Name())
			continue
		}
		if name.past == nil {
			name.past = new(core.Stats)
		}
		name.past.AddCounters(s)
	}
	if n > 0 {
		g.gone = slices.Clone(g.gone[n:]) // an array of its own: none of those that are forgotten is kept
	}
	if len(g.gone) == 0 {
		g.gone, after = nil, never
	}
	return after
}

// Stats returns the sum over all pools, those included that have been removed. Their counters
// are kept for ever.
func (g *Group[K, M]) Stats() core.Stats {
	g.mu.Lock()
	sum := g.past.Clone()
	gone := g.gone
	pools := make([]*core.Pool, 0, g.Len()+len(g.leaving))
	for m := range g.All {
		pools = append(pools, m.core)
	}
	for m := range g.leaving {
		pools = append(pools, m.core)
	}
	g.mu.Unlock()
	for _, p := range pools {
		sum.Add(p.Stats())
	}
	for _, m := range gone {
		sum.AddCounters(m.core.Stats())
	}
	g.statsM.Lock()
	defer g.statsM.Unlock()
	// Whoever has counted something in a pool after its counters were kept is not in the next
	// sum, and may have been in the last one.
	sum.AtLeast(g.most)
	g.most = sum.Clone()
	return sum
}

// A Past is what pools of a name have counted that are gone.
type Past struct {
	Name  string
	Stats core.Stats
}

// Sources returns all pools, and what those that are gone have counted, by name, as long as there
// is another one of that name.
func (g *Group[K, M]) Sources() (pools []*M, past []Past) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m := range g.All {
		pools = append(pools, &m.Pool)
	}
	for m := range g.leaving {
		pools = append(pools, &m.Pool)
	}
	for _, m := range g.gone {
		pools = append(pools, &m.Pool)
	}
	for s, n := range g.names {
		if n.past != nil {
			past = append(past, Past{s, n.past.Clone()})
		}
	}
	return pools, past
}
