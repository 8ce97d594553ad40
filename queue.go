package pool

import (
	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// The queue of waiters is the queue of Michael and Scott (Simple, Fast, and
// Practical Non-Blocking and Blocking Concurrent Queue Algorithms, PODC 1996)
// with three differences:
//
//   - A waiter is decided first and unlinked afterwards. Whoever has something for
//     the oldest waiter settles with it by one compare-and-swap of its state, and
//     head moves only over waiters that are decided. To unlink first, as the paper
//     does, would let a goroutine that stalls with a waiter in its hands be
//     overtaken, and first come would not be first served.
//   - A waiter that leaves the list is severed: its next points to itself. In the
//     paper each node leads to all that came after it, and one that a slab or a
//     stalled goroutine keeps would keep them all.
//   - Waiters that have left are unlinked from the middle of the list, too.
//
// Nodes are never used again, the collector frees them, so a pointer that compares
// equal is the same node in the same place: there is no ABA.
//
// Invariants, with dummy for the node that head points to:
//
//	Q1  tail is never behind head, and never at a severed node
//	Q2  every node up to the dummy is decided
//	Q3  a live waiter is never unlinked
//	Q4  the last node is never unlinked, nor severed
//
// All methods are lock-free: each repetition of a loop is caused by a step that
// another goroutine has completed.
type queue struct {
	head atomic.Pointer[waiter]
	tail atomic.Pointer[waiter]
}

// A waiter is one caller's place in the queue, for one wait.
type waiter struct {
	next atomic.Pointer[waiter] // nil: last. Itself: severed

	// done and ch are written before the link, and read and cleared by whoever
	// decides the waiter: nobody else, and nobody earlier.
	done <-chan struct{} // of the caller's ctx
	ch   chan token      // the caller parks on it; capacity 1

	since  int64  // when the wait began, on the pool's clock; never changes
	number uint64 // how many have come to wait, this one included; never changes
	state  atomic.Uint32
}

// The state of a waiter. Each arrow is a compare-and-swap, made by decide but for
// the one to parked, which park makes.
//
//	looking ──▶ parked ──▶ taken  by whoever has something for it: a connection, an
//	   │           │              error, the end of its time. It owes one token
//	   ├───────────┼─────▶ taken
//	   └───────────┴─────▶ left   by the caller itself, whose ctx has ended
//
// looking and parked are live; the other two are final. The difference between the
// live two is for the waiter that comes next only (see Pool.wait): a granter treats
// both alike.
const (
	stateLooking = iota // the caller may still be looking for an idle slot
	stateParked         // it has looked, or was excused
	stateTaken
	stateLeft
)

// A token is what a waiter is given: a connection, or an error.
type token struct {
	held
	err error
}

func (q *queue) init() {
	dummy := new(waiter)
	dummy.state.Store(stateTaken)
	q.head.Store(dummy)
	q.tail.Store(dummy)
}

func (w *waiter) live() bool { return w.state.Load() < stateTaken }

// decide ends a wait: of all who try, for whatever reason, one is told true.
func (w *waiter) decide(state uint32) bool {
	for {
		old := w.state.Load()
		if old >= stateTaken {
			return false
		}
		if w.state.CompareAndSwap(old, state) { // the end of the wait
			return true
		}
		// It has parked just now. It cannot do so again.
	}
}

// park notes that the waiter has looked for an idle slot. If somebody has decided
// it already, that stands.
func (w *waiter) park() { w.state.CompareAndSwap(stateLooking, stateParked) }

// strip returns what the winner of decide needs and clears it, so that a dead node
// keeps no request alive.
func (w *waiter) strip() (chan token, <-chan struct{}) {
	ch, done := w.ch, w.done
	w.ch, w.done = nil, nil
	return ch, done
}

// enqueue links w and returns the node before it.
func (q *queue) enqueue(w *waiter) (before *waiter) {
	for {
		t := q.tail.Load()
		step.At("enqueue: tail read")
		next := t.next.Load()
		if next == t {
			continue // severed: tail has moved on
		}
		if next != nil {
			q.tail.CompareAndSwap(t, next) // help
			continue
		}
		w.number = t.number + 1
		if t.next.CompareAndSwap(nil, w) { // the wait begins here
			step.At("enqueue: linked")
			q.tail.CompareAndSwap(t, w)
			return t
		}
	}
}

// front returns the oldest live waiter and the dummy before it, or a nil waiter if
// nobody waits. It removes the decided ones in front on its way.
func (q *queue) front() (dummy, oldest *waiter) {
	for {
		dummy = q.head.Load()
		step.At("front: head read")
		next := dummy.next.Load()
		if next == nil {
			// Nobody waits, at the instant of this load: dummy is the last
			// node (Q4), so it is still the head, and by Q2 all are decided.
			return nil, nil
		}
		if next == dummy {
			continue // severed: head has moved on
		}
		if next.live() {
			return dummy, next
		}
		q.advance(dummy, next)
	}
}

// count returns how many have come to wait so far.
func (q *queue) count() uint64 {
	for {
		t := q.tail.Load()
		step.At("count: tail read")
		switch next := t.next.Load(); next {
		case nil:
			return t.number
		case t:
			continue // severed: tail has moved on, and what was counted before must be again
		default:
			return next.number // tail lags behind by one at most
		}
	}
}

// advance makes next, which is decided, the dummy in place of the dummy before it.
func (q *queue) advance(dummy, next *waiter) {
	if q.tail.Load() == dummy {
		q.tail.CompareAndSwap(dummy, next) // Q1, before dummy leaves the list
	}
	step.At("advance: tail passed")
	if q.head.CompareAndSwap(dummy, next) {
		dummy.next.Store(dummy)
	}
}

// unlink removes those from the list who have left in the middle of it. One
// goroutine may do so at a time.
func (q *queue) unlink() {
	head := q.head.Load()
	prev := head.next.Load()
	if prev == nil || prev == head {
		return
	}
	// The first node is front's business: prev is never unlinked here unless a
	// live one, or one that front will remove, stands before it.
	for {
		cur := prev.next.Load()
		if cur == nil || cur == prev {
			return // the end, or prev was severed
		}
		live := cur.live()
		next := cur.next.Load()
		if next == nil || next == cur {
			return // Q4: never the last one
		}
		if live {
			prev = cur
			continue
		}
		if q.tail.Load() == cur {
			q.tail.CompareAndSwap(cur, next) // Q1, before cur leaves the list
		}
		step.At("unlink: tail passed")
		// Not a store: prev may have been severed, and must remain so.
		if !prev.next.CompareAndSwap(cur, next) {
			return
		}
		step.At("unlink: cut")
		// Somebody may have read prev.next == cur before the cut and be about to
		// make cur the head. But only if prev was the head when it did so. Head
		// never goes back, and nodes are never used twice: if it still is where
		// it was, prev, which comes after it, has never been the head, and nobody
		// has cur in hand. If head has moved, cur may be the head itself, and
		// its next must stay.
		if q.head.Load() != head {
			return
		}
		cur.next.Store(cur)
	}
}

// A parker is what a goroutine needs to wait: a channel, and nodes for its next
// waits. It belongs to one goroutine at a time. It may be used again for the next
// wait because its channel is empty and nobody will send to it any more: a sender
// gets the channel only by deciding a waiter, sends once, and the owner lets go of
// the parker only after it has received that token or has decided the waiter itself.
type parker struct {
	ch     chan token
	slab   *[slabSize]waiter
	used   int
	stripe uint // of the histogram of waits, as others use other parkers at the same time
}

// slabSize is how many waiters are allocated together. Two live waiters never share
// a slab, nor a line. slabStride is coprime to it: a waiter that has just died, whom
// others still look at and sever, is not the neighbour of the next.
const (
	slabSize   = 12
	slabStride = 5
)

func newParker(stripe uint) *parker {
	return &parker{ch: make(chan token, 1), used: slabSize, stripe: stripe}
}

func (k *parker) waiter(done <-chan struct{}, since int64) *waiter {
	if k.used == slabSize {
		k.slab, k.used = new([slabSize]waiter), 0
	}
	w := &k.slab[k.used*slabStride%slabSize]
	k.used++
	w.ch, w.done, w.since = k.ch, done, since
	return w
}
