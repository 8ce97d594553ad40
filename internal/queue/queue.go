// Package queue has the waiters of a pool in the order in which they came: the queue, the
// state of a waiter, and the parker on which its goroutine waits. It knows neither pools
// nor connections. A waiter is given a Token; internal/core makes it and decides who gets
// it. The package imports ring for the word of a slot.
package queue

import (
	"context"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A Queue holds waiters in the order in which they came. It is the queue of Michael and
// Scott (Simple, Fast, and Practical Non-Blocking and Blocking Concurrent Queue
// Algorithms, PODC 1996) with three differences:
//
//   - A waiter is decided first and unlinked afterwards. A goroutine that has
//     something for the oldest waiter decides it by one compare-and-swap of its
//     state, and head moves only over decided waiters. The paper unlinks first.
//     Then a goroutine could stall with a waiter in its hands, others would
//     overtake that waiter, and first come would not be first served.
//   - A waiter that leaves the list is severed: its next points to itself. In the
//     paper each node leads to all nodes that came after it. One node that a slab
//     or a stalled goroutine keeps would keep them all.
//   - Waiters that are decided in the middle of the list are unlinked there, too.
//
// Nodes are never reused; the collector frees them. So a pointer that compares equal is
// the same node in the same place: there is no ABA.
//
// Invariants, with dummy for the node that head points to:
//
//	Q1  tail is never behind head, and never at a severed node
//	Q2  every node up to the dummy is decided
//	Q3  a live waiter is never unlinked
//	Q4  the last node is never unlinked, nor severed
//
// All methods are lock-free: each repetition of a loop is caused by a step that another
// goroutine has completed. Call Init before all others.
type Queue struct {
	head atomic.Pointer[Waiter]
	tail atomic.Pointer[Waiter]
}

// A Waiter is one caller's place in the queue, for one wait.
type Waiter struct {
	next atomic.Pointer[Waiter] // nil: last. Itself: severed

	// done and ch are written before the link. The winner of Decide reads and clears
	// them: nobody else, and nobody earlier.
	done <-chan struct{} // of the caller's ctx
	ch   chan Token      // the caller parks on it; capacity 1

	// values is the ctx whose values Factory.Open gets if it is called for this waiter. It
	// is written before the link, read by anybody, and cleared by Strip.
	values atomic.Pointer[context.Context]

	Since  int64  // when the wait began, on the pool's clock; constant
	number uint64 // how many have come to wait, including this one, and fresh; or a ticket, and one; constant
	state  atomic.Uint32
}

// fresh in the number of a waiter says that only what is opened from now on is for it.
const fresh = 1 << 63

// one in the number of a waiter says that it waits for a single connection, in the queue of that:
// then the number is its ticket, how many had come to wait for any.
const one = 1 << 62

// The state of a waiter. Each arrow is a compare-and-swap. Park makes the arrow to
// parked, Claim and Unclaim those between looking and claimed, Decide makes all others.
//
//	looking ──▶ parked ──▶ taken  by one that has something for it: a connection, an
//	   │           │              error, the end of its time. It owes one token
//	   ├───────────┼─────▶ taken
//	   └───────────┴─────▶ left   by the caller itself, whose ctx has ended
//
//	looking ◀──▶ claimed ──▶ taken, left   of a fresh waiter, which never parks
//
// looking, parked and claimed are live; the other two are final. Only the next waiter
// treats looking and parked differently (see Pool.wait in core), and only those who open
// for a fresh waiter ask whether it is claimed. A granter treats all alike.
const (
	looking uint32 = iota // the caller may still be looking for an idle slot
	parked                // it has looked, or was excused
	claimed               // an attempt to open is its own
	Taken                 // somebody else has ended the wait
	Left                  // the caller has
)

// A Token is what a waiter is given: a slot with a connection and the slot's word, or an
// error.
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

// Live reports whether the wait is not over yet.
func (w *Waiter) Live() bool { return w.state.Load() < Taken }

// Decide ends a wait. Of all that try, for whatever reason, exactly one gets true.
func (w *Waiter) Decide(state uint32) bool {
	for {
		old := w.state.Load()
		if old >= Taken {
			return false
		}
		if w.state.CompareAndSwap(old, state) { // the end of the wait
			return true
		}
		// It has just parked, or was claimed, or its attempt is over.
	}
}

// SetTicket makes w one who waits for a single connection, before it is linked. came is how many
// had come to wait for any.
func (w *Waiter) SetTicket(came uint64) { w.number = one | came }

// WaitsForOne reports whether w waits for a single connection.
func (w *Waiter) WaitsForOne() bool { return w.number&one != 0 }

// CameBefore reports whether w, who waits for a single connection, came before v, who waits
// for any.
func (w *Waiter) CameBefore(v *Waiter) bool { return w.number&^one < v.number&^fresh }

// Park notes that the waiter has looked for an idle slot, or was excused. It changes
// nothing if the waiter has been decided.
//
// A fresh waiter never parks: it looks for nobody else, so the next one must look.
func (w *Waiter) Park() {
	if !w.Fresh() {
		w.state.CompareAndSwap(looking, parked)
	}
}

// SetFresh makes w a fresh waiter, before it is linked: what was opened before, or is being
// opened now, is not for it.
func (w *Waiter) SetFresh() { w.number = fresh }

// Fresh reports whether w is a fresh waiter.
func (w *Waiter) Fresh() bool { return w.number >= fresh }

// Suits reports whether a connection is for w that was begun to be opened when so many had
// come.
func (w *Waiter) Suits(after uint64) bool { return !w.Fresh() || after >= w.number-fresh }

// Unclaimed reports whether a fresh waiter is live and no attempt to open is its own.
func (w *Waiter) Unclaimed() bool { return w.Fresh() && w.state.Load() == looking }

// Claim says that an attempt to open is begun for a fresh waiter. It reports false if the
// wait is over, or if another attempt is its own.
func (w *Waiter) Claim() bool { return w.state.CompareAndSwap(looking, claimed) }

// Unclaim says that the attempt is over. Only the one that has claimed w calls it.
func (w *Waiter) Unclaim() { w.state.CompareAndSwap(claimed, looking) }

// Behind returns the first live waiter behind w, or nil. It reports false if w has left the
// list, perhaps: then begin again at the front. Each time somebody has removed a waiter.
func (w *Waiter) Behind() (next *Waiter, ok bool) {
	for {
		next := w.next.Load()
		switch {
		case next == nil:
			return nil, true // nobody was linked behind w at the instant of this load
		case next == w:
			return nil, false // severed
		case next.Live():
			return next, true
		}
		step.At("behind: passed over")
		w = next
	}
}

// SetValues sets the ctx that Values returns, before the waiter is linked.
func (w *Waiter) SetValues(ctx context.Context) { w.values.Store(&ctx) }

// Values returns the ctx whose values count for this waiter, and nil if there is none, or if
// the wait is over.
func (w *Waiter) Values() context.Context {
	if ctx := w.values.Load(); ctx != nil {
		return *ctx
	}
	return nil
}

// HasParked reports whether the waiter is live and has parked.
func (w *Waiter) HasParked() bool { return w.state.Load() == parked }

// Strip returns what the winner of Decide needs: the channel of the waiter and the Done
// channel of its ctx. It clears both, so that a dead node keeps no request alive.
func (w *Waiter) Strip() (chan<- Token, <-chan struct{}) {
	ch, done := w.ch, w.done
	w.ch, w.done = nil, nil
	if w.values.Load() != nil {
		w.values.Store(nil)
	}
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
		if !w.WaitsForOne() {
			w.number = w.number&fresh | (t.number&^fresh + 1)
		}
		if t.next.CompareAndSwap(nil, w) { // the wait begins here
			step.At("enqueue: linked")
			q.tail.CompareAndSwap(t, w)
			return t
		}
	}
}

// Front returns the oldest live waiter and the dummy before it, or a nil waiter if nobody
// waits. It removes the decided waiters in front of it.
func (q *Queue) Front() (dummy, oldest *Waiter) {
	for {
		dummy = q.head.Load()
		step.At("front: head read")
		next := dummy.next.Load()
		if next == nil {
			// Nobody waits, at the instant of this load. dummy is the last node (Q4), so
			// it is still the head, and all nodes are decided (Q2).
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

// Count returns how many waiters have come so far.
func (q *Queue) Count() uint64 {
	for {
		t := q.tail.Load()
		step.At("count: tail read")
		switch next := t.next.Load(); next {
		case nil:
			return t.number &^ fresh
		case t:
			continue // severed: tail has moved on, and the count must not fall
		default:
			return next.number &^ fresh // tail is at most one node behind
		}
	}
}

// Advance makes next, which is decided, the dummy, in place of the dummy before it.
func (q *Queue) Advance(dummy, next *Waiter) {
	if q.tail.Load() == dummy {
		q.tail.CompareAndSwap(dummy, next) // Q1, before dummy leaves the list
	}
	step.At("advance: tail passed")
	if q.head.CompareAndSwap(dummy, next) {
		dummy.next.Store(dummy)
	}
}

// Unlink removes decided waiters from the middle of the list. One goroutine at a time may
// call it.
func (q *Queue) Unlink() {
	head := q.head.Load()
	prev := head.next.Load()
	if prev == nil || prev == head {
		return
	}
	// The first node after head is left to Front. So each node that is removed here has
	// one before it that is live, or that Front will remove.
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
		// Somebody may have read prev.next == cur before the cut, and be about to make
		// cur the head. That is possible only if prev was the head at that time. Head
		// never goes back, and nodes are never used twice. So if head is where it was,
		// then prev, which comes after it, has never been the head, and nobody has cur in
		// hand. If head has moved, cur may be the head itself, and its next must stay.
		if q.head.Load() != head {
			return
		}
		cur.next.Store(cur)
	}
}
