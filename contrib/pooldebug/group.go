package pooldebug

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// Pools is what [Group] shows: a [*pool.Group] and a Dialer of package wsconn are.
type Pools interface {
	Stats() pool.Stats
	Sources() iter.Seq[pool.Source]
}

// Group returns a Source of a Group under a name, with its pools by demand. The pools go by their names, which [pool.Config].Name
// gives them; those with equal names are added up. The keys of the Group are not shown, for they may be secrets.
func Group(name string, pools Pools) Source { return &group{name: name, pools: pools} }

type group struct {
	name  string
	pools Pools

	// What the pools had lent when demand was last compared, and the time before that, to tell how much they lend now. The
	// handler's mutex guards them.
	last, before       map[string]uint64
	lastTime, beforeAt time.Time
}

func (g *group) Name() string      { return g.name }
func (g *group) Stats() pool.Stats { return g.pools.Stats() }

// Leases are those of all pools.
func (g *group) Leases() (all []pool.LeaseInfo) {
	for s := range g.pools.Sources() {
		if l, ok := s.(lessor); ok {
			all = append(all, l.Leases()...)
		}
	}
	return all
}

// A lessor is a Source that knows its leases.
type lessor interface{ Leases() []pool.LeaseInfo }

// A key is what the page tells of the pools of one name.
type key struct {
	Name    string  `json:"name"`
	Pools   int     `json:"pools"`
	Active  int     `json:"active"`
	Idle    int     `json:"idle"`
	Opening int     `json:"opening"`
	Waiting int     `json:"waiting"`
	Oldest  float64 `json:"oldest_wait_seconds"`
	Gets    uint64  `json:"gets"`
	Rate    float64 `json:"gets_per_second"`
	Failed  uint64  `json:"failed"`
}

// compareAfter is for how long the demand is counted at least. It is twice that at most.
const compareAfter = 5 * time.Second

// keys returns the n names in most demand, those first, and how many there are.
func (g *group) keys(now time.Time, n int) ([]key, int) {
	byName := map[string]*key{}
	for s := range g.pools.Sources() {
		stats, name := s.Stats(), s.Name()
		_, there := s.(lessor) // else it is what pools that are gone have counted
		if !there && stats.Gets == 0 {
			continue // or dials of a Dialer that have failed
		}
		k := byName[name]
		if k == nil {
			k = &key{Name: name}
			byName[name] = k
		}
		if there {
			k.Pools++
		}
		k.Active += stats.ActiveConnections
		k.Idle += stats.IdleConnections
		k.Opening += stats.OpeningConnections
		k.Waiting += stats.WaitingRequests
		k.Oldest = max(k.Oldest, stats.OldestWait.Seconds())
		k.Gets += stats.Gets
		k.Failed += failed(stats)
	}
	if g.last == nil || now.Sub(g.lastTime) >= compareAfter {
		g.before, g.beforeAt = g.last, g.lastTime
		g.last, g.lastTime = map[string]uint64{}, now
		for name, k := range byName {
			g.last[name] = k.Gets
		}
	}
	all := make([]key, 0, len(byName))
	for name, k := range byName {
		if g.before != nil {
			if then := g.before[name]; k.Gets > then {
				k.Rate = float64(k.Gets-then) / now.Sub(g.beforeAt).Seconds()
			}
		}
		k.Name = redacted(name)
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b key) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Active, a.Active),
			cmp.Compare(b.Gets, a.Gets), strings.Compare(a.Name, b.Name))
	})
	return all[:min(n, len(all))], len(all)
}

// failed is how many calls have got no connection, but for those that gave up.
func failed(s pool.Stats) uint64 { return s.Timeouts + s.Rejected + s.Unavailable + s.Gone }
