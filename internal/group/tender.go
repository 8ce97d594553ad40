package group

import (
	"slices"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/step"
)

// A Tender knows which pools are in use and since when the others are not. It has no goroutine.
// It looks now and then, when its alarm rings, and sets the alarm only while there is something
// to look at: pools that are in use, or will have been out of use for long enough.
//
// A call of Get only touches its node: it reads a flag in a line that it has read already, and
// writes it if it is not set, at most once in each look. So the calls of a second cost one
// write of that line. The race between the two sides:
//
//	caller:  has its lease; then reads the flag, and sets it and pushes the node if it is clear (Touch)
//	tender:  takes the nodes that were pushed, and clears their flags; then looks at their pools (look)
//
// A caller that finds the flag set has its lease before the flag is cleared, so the look sees the
// lease, or by the number of leases that there was one. A caller that finds it clear pushes the
// node for the next look. To touch first and then Get is tempting and wrong: the flag is still
// set, it is cleared, the look sees nothing, and a lease begins that nobody has noticed, for
// hours perhaps.
//
// All methods but Touch are for whoever holds the lock of the group.
type Tender struct {
	touched atomic.Pointer[Node] // pushed since the last look
	soon    atomic.Bool          // the alarm rings within every, or a look is under way that will see touched

	idle  time.Duration // see Config.IdleTime; negative: never
	every time.Duration // between two looks while something is in use
	off   bool          // nobody asks who is in use
	epoch time.Time
	alarm func(time.Duration)

	order   list // all nodes, the one whose pool has not been used for longest first
	active  list // nodes to look at
	resting list // nodes whose pools have nothing: no connection, no lease, no waiter; by the time of that
	found   []*Node
	looks   uint64 // for tests
}

// A Node is a pool in the view of the tender.
type Node struct {
	// Used by Touch, beside the key of the member.
	flag atomic.Bool
	next atomic.Pointer[Node] // pushed before this one

	core    *core.Pool // the pool
	pins    int        // callers that have it in hand, and have not got to the pool yet
	gets    uint64
	since   time.Duration // in resting: when its pool was first seen to have nothing
	place   *list         // active, resting, or nil
	links   [2]struct{ prev, next *Node }
	member  any  // what the group has of it
	removed bool // from the group
}

// Shortest and longest times between two looks.
const (
	leastEvery = 10 * time.Millisecond
	mostEvery  = time.Second
)

func (t *Tender) init(idle time.Duration, bounded bool, epoch time.Time, alarm func(time.Duration)) {
	t.epoch = epoch
	t.idle, t.alarm, t.off = idle, alarm, idle < 0 && !bounded
	t.every = mostEvery
	if idle >= 0 {
		// A pool begins to rest in one look, and goes in another: IdleTime is a number of them.
		n := max(8, (idle+mostEvery-1)/mostEvery)
		t.every = max((idle+n-1)/n, leastEvery)
	}
	t.active.which, t.resting.which = 1, 1 // a node is in one of these two, and in order
}

// Touch says that a caller has just used the pool of n. It takes no lock.
func (t *Tender) Touch(n *Node) {
	if !n.flag.Load() {
		t.push(n)
	}
}

func (t *Tender) push(n *Node) {
	if core.Elsewhere(t.epoch) || !n.flag.CompareAndSwap(false, true) {
		return // the alarm is not for another bubble to set; or somebody else pushes it
	}
	step.At("push: flag set")
	for {
		first := t.touched.Load()
		n.next.Store(first)
		if t.touched.CompareAndSwap(first, n) { // from here on it is the tender's
			break
		}
	}
	step.At("push: pushed")
	t.rouse()
}

// rouse makes sure that there will be a look. The other side is in rest, which clears soon, sets
// the alarm, and looks at touched. Here the node is pushed, then soon is read.
func (t *Tender) rouse() {
	if !t.soon.Load() && t.soon.CompareAndSwap(false, true) {
		step.At("rouse: soon set")
		t.alarm(t.every)
	}
}

// add begins to tend a pool that has just been made.
func (t *Tender) add(n *Node) {
	t.order.push(n)
	if t.off {
		n.flag.Store(true) // for ever: nobody looks
		return
	}
	t.move(n, &t.active)
	t.rouse()
}

// remove ends that. A node that has been pushed stays there until the next look.
func (t *Tender) remove(n *Node) {
	n.removed = true
	t.order.remove(n)
	t.move(n, nil)
}

func (t *Tender) move(n *Node, to *list) {
	if n.place != nil {
		n.place.remove(n)
	}
	if n.place = to; to != nil {
		to.push(n)
	}
}

// collect takes the nodes that have been pushed, and clears their flags: look at their pools
// afterwards.
func (t *Tender) collect() {
	found := t.found[:0]
	for n := t.touched.Swap(nil); n != nil; n = n.next.Load() {
		found = append(found, n)
	}
	step.At("collect: taken")
	for _, n := range slices.Backward(found) { // the oldest push first
		n.next.Store(nil)
		n.flag.Store(false) // from here on anybody may push it
		if !n.removed {
			t.use(n)
			t.move(n, &t.active)
		}
	}
	clear(found)
	if t.found = found; cap(found) > mostKept {
		t.found = nil
	}
}

// mostKept is how many nodes there is room for between two looks.
const mostKept = 1024

// use notes that the pool of n has been used just now.
func (t *Tender) use(n *Node) {
	t.order.remove(n)
	t.order.push(n)
}

// look looks at all pools that may be in use, or may have been out of use for long enough. It
// returns those that have been.
func (t *Tender) look(now time.Duration) (due []*Node) {
	t.looks++
	t.collect()
	step.At("look: collected")
	for n := t.active.first; n != nil; {
		next := n.links[t.active.which].next
		u, used := n.usage()
		busy := u.Busy || n.pins > 0
		if used || busy {
			t.use(n)
		}
		switch {
		case busy:
		case t.idle < 0:
			t.move(n, nil) // a Touch brings it back
		case !u.Open:
			n.since = now
			t.move(n, &t.resting)
		}
		n = next
	}
	for n := t.resting.first; n != nil && n.since+t.idle <= now; {
		next := n.links[t.resting.which].next
		if u, used := n.usage(); used || u.Busy || u.Open || n.pins > 0 {
			t.move(n, &t.active)
		} else {
			due = append(due, n)
		}
		n = next
	}
	return due
}

// usage returns what is going on in the pool of n, and whether there has been a lease since the
// last call.
func (n *Node) usage() (u core.Usage, used bool) {
	u = n.core.Usage()
	used = u.Gets != n.gets
	n.gets = u.Gets
	return u, used
}

// rest sets the alarm for the next look, if there is anything to look at: then, or after that
// time if it is less.
func (t *Tender) rest(now, after time.Duration) {
	if t.active.first != nil {
		t.soon.Store(true)
		t.alarm(t.every)
		return
	}
	t.soon.Store(false)
	step.At("rest: not soon")
	if n := t.resting.first; n != nil {
		after = min(after, max(n.since+t.idle-now, 0))
	}
	if after < never {
		t.alarm(after)
	}
	step.At("rest: alarm set")
	// Then look: the other side is in push. It may have set the alarm before we did.
	if t.touched.Load() != nil {
		t.soon.Store(true)
		t.alarm(t.every)
	}
}

const never = time.Duration(1<<63 - 1)

// oldest returns the node whose pool has been out of use for longest and has neither lease nor
// waiter, or nil if all have.
func (t *Tender) oldest() *Node {
	t.collect()
	for n := t.order.first; n != nil; n = n.links[t.order.which].next {
		if n.pins == 0 && !n.core.Usage().Busy {
			return n
		}
	}
	return nil
}

// A list links nodes by one of their two pairs of links.
type list struct {
	first, last *Node
	which       int
}

// push adds a node at the end.
func (l *list) push(n *Node) {
	k := &n.links[l.which]
	if k.prev = l.last; k.prev != nil {
		k.prev.links[l.which].next = n
	} else {
		l.first = n
	}
	l.last = n
}

func (l *list) remove(n *Node) {
	k := &n.links[l.which]
	if k.prev != nil {
		k.prev.links[l.which].next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		k.next.links[l.which].prev = k.prev
	} else {
		l.last = k.prev
	}
	k.prev, k.next = nil, nil
}
