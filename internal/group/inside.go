package group

import "fmt"

// What tests in other packages may see. Nothing else uses this file.

// Size returns how many pools the table has, without the lock: while all who may have it are stopped.
func (g *Group[K, M]) Size() int { return g.Len() }

// Faults returns what is wrong with a group on which nobody works. Afterwards it is not looked
// after any more.
func (g *Group[K, M]) Faults() (faults []string) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	g.mu.Lock()
	defer g.mu.Unlock()
	alarmed := g.timer.Stop()
	if len(g.opening) != 0 || g.openers != 0 {
		wrong("%d pools are being made, by %d goroutines", len(g.opening), g.openers)
	}
	if len(g.leaving) != 0 {
		wrong("%d removed pools are not closed", len(g.leaving))
	}
	if g.closed {
		if g.Len() != 0 {
			wrong("%d pools are in the table of a closed group", g.Len())
		}
		return faults
	}
	pushed := map[*Node]bool{}
	for n := g.touched.Load(); n != nil; n = n.next.Load() {
		if pushed[n] {
			wrong("a node was pushed twice")
			break
		}
		pushed[n] = true
	}
	tended := 0
	for n := g.order.first; n != nil; n = n.links[g.order.which].next {
		tended++
		key := n.member.(*Member[K, M]).Key
		if n.pins != 0 {
			wrong("%d callers are on their way to the pool of %v", n.pins, key)
		}
		if g.off {
			continue
		}
		if n.flag.Load() != pushed[n] {
			wrong("whether the pool of %v was pushed is %v, and its flag is %v", key, pushed[n], !pushed[n])
		}
		u := n.core.Usage()
		used := u.Gets != n.gets || u.Busy || g.idle >= 0 && u.Open
		if used && !pushed[n] && n.place != &g.active {
			wrong("nobody has noticed that the pool of %v was used", key)
		}
		if g.idle >= 0 && !pushed[n] && n.place == nil {
			wrong("nobody will look at the pool of %v", key)
		}
	}
	if tended != g.Len() {
		wrong("%d pools are tended, and %d are in the table", tended, g.Len())
	}
	soon := g.touched.Load() != nil || g.active.first != nil
	if soon && !g.soon.Load() {
		wrong("there will be no look soon")
	}
	if (soon || g.soon.Load() || g.resting.first != nil) && !alarmed {
		wrong("the alarm is not set")
	}
	return faults
}
