package group

import (
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/step"
)

// take takes a member out of the table: nobody finds it any more. Retire its pool afterwards,
// without the lock. The race with a Get: here the member leaves the table, then its pool is
// closed. There a Get that has found the member asks its pool, and if that is closed, looks
// again.
func (g *Group[K, M]) take(m *Member[K, M]) {
	g.Delete(m)
	g.Tender.remove(&m.Node)
	if m.gone {
		g.bury(m)
	} else {
		g.leaving[m] = struct{}{}
	}
}

// left is called once the pool of m is closed and everything in it.
func (g *Group[K, M]) left(m *Member[K, M]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.gone = true
	if _, ok := g.leaving[m]; ok {
		delete(g.leaving, m)
		g.bury(m)
	} else if !m.removed {
		g.take(m) // its user has closed the pool itself
	}
}

// bury notes that nothing of a removed pool is left but its counters.
func (g *Group[K, M]) bury(m *Member[K, M]) {
	m.goneAt = g.now()
	g.gone = append(g.gone, m)
	if !g.closed {
		g.rouse()
	}
}

// tend is what happens when the alarm rings.
func (g *Group[K, M]) tend() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	now := g.now()
	due := g.look(now)
	for _, n := range due {
		g.take(n.member.(*Member[K, M]))
	}
	g.rest(now, g.forget(now))
	g.mu.Unlock()
	for _, n := range due {
		n.core.Retire()
	}
}

// Remove takes the pool of a key out of the group, and closes it as Retire does. A pool that is
// being made is not made: it may have been begun with what is out of date. Those who wait for it
// have another one made.
func (g *Group[K, M]) Remove(key K) bool {
	if core.Elsewhere(g.epoch) {
		return false
	}
	g.mu.Lock()
	m, o := g.Find(key), g.opening[key]
	switch {
	case m != nil:
		g.take(m)
	case o != nil:
		g.cancel(o, errAgain)
	}
	g.mu.Unlock()
	if m != nil {
		step.At("remove: taken")
		m.core.Retire()
	}
	return m != nil || o != nil
}
