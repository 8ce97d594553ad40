// Package queue has the waiters of a pool in the order in which they came: the queue that
// they stand in, a waiter's state, and the parker that its goroutine waits with. It knows
// neither pools nor connections: what a waiter is given is a Token, made by internal/core,
// which also decides who is given what. It imports ring for the word of a slot.
package queue

import (
	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A Queue holds waiters in the order in which they came. It is the queue of Michael and
// Scott (Simple, Fast, and Practical Non-Blocking and Blocking Concurrent Queue
// Algorithms, PODC 1996) with three differences:
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
// another goroutine has completed. Call Init before all others.
type Queue struct {
	head atomic.Pointer[Waiter]
	tail atomic.Pointer[Waiter]
}

// A Waiter is one caller's place in the queue, for one wait.
type Waiter struct {
	next atomic.Pointer[Waiter] // nil: last. Itself: severed

	// done and ch are written before the link, and read and cleared by whoever
	// decides the waiter: nobody else, and nobody earlier.
	done <-chan struct{} // of the caller's ctx
	ch   chan Token      // the caller parks on it; capacity 1

	Since  int64  // when the wait began, on the pool's clock; never changes
	number uint64 // how many have come to wait, this one included; never changes
	state  atomic.Uint32
}

// The state of a waiter. Each arrow is a compare-and-swap, made by Decide but for
// the one to parked, which Park makes.
//
//	looking ──▶ parked ──▶ taken  by whoever has something for it: a connection, an
//	   │           │              error, the end of its time. It owes one token
//	   ├───────────┼─────▶ taken
//	   └───────────┴─────▶ left   by the caller itself, whose ctx has ended
//
// looking and parked are live; the other two are final. The difference between the
// live two is for the waiter that comes next only (see Pool.wait in core): a granter
// treats both alike.
const (
	looking uint32 = iota // the caller may still be looking for an idle slot
	parked                // it has looked, or was excused
	Taken                 // somebody else has ended the wait
	Left                  // the caller has
)

// A Token is what a waiter is given: the slot of a connection, with its word, or an error.
type Token struct {
	Slot int
	Word ring.Word
	Err  error
}

// Init makes q an empty queue.
func (q *Queue) Init() {
	dummy := new(Waiter)
	dummy.state.Store(Taken)
	q.head.Store(dummy)
	q.tail.Store(dummy)
}

// Live reports whether the wait is not over.
func (w *Waiter) Live() bool { return w.state.Load() < Taken }

// Decide ends a wait: of all who try, for whatever reason, one is told true.
func (w *Waiter) Decide(state uint32) bool {
	for {
		old := w.state.Load()
		if old >= Taken {
			return false
		}
		if w.state.CompareAndSwap(old, state) { // the end of the wait
			return true
		}
		// It has parked just now. It cannot do so again.
	}
}

// Park notes that the waiter has looked for an idle slot. If somebody has decided
// it already, that stands.
func (w *Waiter) Park() { w.state.CompareAndSwap(looking, parked) }

// HasParked reports whether the waiter has looked for an idle slot and lives.
func (w *Waiter) HasParked() bool { return w.state.Load() == parked }

// Strip returns what the winner of Decide needs, the channel of the waiter and the end of
// its ctx, and clears it, so that a dead node keeps no request alive.
func (w *Waiter) Strip() (chan<- Token, <-chan struct{}) {
	ch, done := w.ch, w.done
	w.ch, w.done = nil, nil
	return ch, done
}

// Enqueue links w and returns the node before it.
func (q *Queue) Enqueue(w *Waiter) (before *Waiter) {
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

// Front returns the oldest live waiter and the dummy before it, or a nil waiter if
// nobody waits. It removes the decided ones in front on its way.
func (q *Queue) Front() (dummy, oldest *Waiter) {
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
		if next.Live() {
			return dummy, next
		}
		q.Advance(dummy, next)
	}
}

// Count returns how many have come to wait so far.
func (q *Queue) Count() uint64 {
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

// Advance makes next, which is decided, the dummy in place of the dummy before it.
func (q *Queue) Advance(dummy, next *Waiter) {
	if q.tail.Load() == dummy {
		q.tail.CompareAndSwap(dummy, next) // Q1, before dummy leaves the list
	}
	step.At("advance: tail passed")
	if q.head.CompareAndSwap(dummy, next) {
		dummy.next.Store(dummy)
	}
}

// Unlink removes those from the list who have left in the middle of it. One
// goroutine may do so at a time.
func (q *Queue) Unlink() {
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
		live := cur.Live()
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
