package queue

import (
	"context"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A Waiter is one caller's place in the queue, for one wait: a cell.
type Waiter struct {
	parker *Parker       // constant once the state says that somebody is here
	state  atomic.Narrow // a phase, and what kind of waiter it is
	index  uint32        // in its segment; constant
}

// The phase of a waiter. Each arrow is a compare-and-swap. Enqueue makes the arrow to
// looking, search that to broken, Park that to parked, Claim and Unclaim those between looking
// and claimed, Decide all others.
//
//	empty ──▶ looking ──▶ parked ──▶ taken  by one that has something for it: a connection, an
//	   │         │           │              error, the end of its time. It owes one token
//	   │         ├───────────┼─────▶ taken
//	   ▼         └───────────┴─────▶ left   by the caller itself, whose ctx has ended
//	broken
//
//	looking ◀──▶ claimed ──▶ taken, left   of a fresh waiter, which never parks
//
// looking, parked and claimed are live; taken, left and broken are final. Only the next waiter
// treats looking and parked differently (see Pool.wait in core), and only those who open
// for a fresh waiter ask whether it is claimed. A granter treats all alike.
const (
	empty   uint32 = iota // nobody has taken the cell, or whoever has is not written down in it yet
	looking               // the caller may still be looking for an idle slot
	parked                // it has looked, or was excused
	claimed               // an attempt to open is its own
	Taken                 // somebody else has ended the wait
	Left                  // the caller has
	broken                // nobody ever waits here

	phase uint32 = 1<<3 - 1
)

// A Kind of waiter.
type Kind uint32

const (
	// Any waits for any connection.
	Any Kind = 0
	// Fresh waits for one that is opened from now on: what was opened before, or is being
	// opened now, is not for it.
	Fresh Kind = 1 << 3
	// One waits for a single connection, in the queue of that.
	One Kind = 1 << 4
)

// A Token is what a waiter is given: a slot with a connection and the slot's word, or an
// error.
type Token struct {
	Slot int
	Word ring.Word
	Err  error
}

// segment returns the segment that w is in.
func (w *Waiter) segment() *segment {
	return (*segment)(unsafe.Add(unsafe.Pointer(w), -int(unsafe.Offsetof(segment{}.cells)+uintptr(w.index)*unsafe.Sizeof(Waiter{}))))
}

// number says how many had come to wait, including w.
func (w *Waiter) number() uint64 { return w.segment().base + uint64(w.index) + 1 }

// in says in which phase w is.
func (w *Waiter) in() uint32 { return w.state.Load() & phase }

// live reports whether a state is that of somebody who waits.
func live(state uint32) bool { return state&phase-looking < Taken-looking }

// Live reports whether the wait is not over yet.
func (w *Waiter) Live() bool { return live(w.state.Load()) }

// Decide ends a wait. Of all that try, for whatever reason, exactly one gets true.
func (w *Waiter) Decide(end uint32) bool {
	for {
		old := w.state.Load()
		if !live(old) {
			return false
		}
		if w.state.CompareAndSwap(old, old&^phase|end) { // the end of the wait
			return true
		}
		// It has just parked, or was claimed, or its attempt is over.
	}
}

// WaitsForOne reports whether w waits for a single connection.
func (w *Waiter) WaitsForOne() bool { return w.state.Load()&uint32(One) != 0 }

// CameBefore reports whether w, who waits for a single connection, came before v, who waits
// for any. If the wait of w is over, the answer says nothing.
func (w *Waiter) CameBefore(v *Waiter) bool { return w.parker.ticket.Load() < v.number() }

// Since says when the wait began, on the pool's clock. It reports false if the wait is over:
// then the time may be that of another one.
func (w *Waiter) Since() (at int64, live bool) {
	at = w.parker.since.Load()
	step.At("since: read")
	return at, w.Live()
}

// Park notes that the waiter has looked for an idle slot, or was excused. It changes
// nothing if the waiter has been decided.
//
// A fresh waiter never parks: it looks for nobody else, so the next one must look.
func (w *Waiter) Park() {
	if old := w.state.Load(); old&^uint32(One) == looking {
		w.state.CompareAndSwap(old, old&^phase|parked)
	}
}

// Fresh reports whether w is a fresh waiter.
func (w *Waiter) Fresh() bool { return w.state.Load()&uint32(Fresh) != 0 }

// Suits reports whether a connection is for w that was begun to be opened when so many had
// come.
func (w *Waiter) Suits(after uint64) bool { return !w.Fresh() || after >= w.number() }

// Unclaimed reports whether a fresh waiter is live and no attempt to open is its own.
func (w *Waiter) Unclaimed() bool { return w.state.Load() == looking|uint32(Fresh) }

// Claim says that an attempt to open is begun for a fresh waiter. It reports false if the
// wait is over, or if another attempt is its own.
func (w *Waiter) Claim() bool {
	return w.state.CompareAndSwap(looking|uint32(Fresh), claimed|uint32(Fresh))
}

// Unclaim says that the attempt is over. Only the one that has claimed w calls it.
func (w *Waiter) Unclaim() {
	w.state.CompareAndSwap(claimed|uint32(Fresh), looking|uint32(Fresh))
}

// HasParked reports whether the waiter is live and has parked. Nobody has not.
func (w *Waiter) HasParked() bool { return w != nil && w.in() == parked }

// Values returns the ctx whose values count for this waiter, and nil if there is none, or if
// the wait is over.
func (w *Waiter) Values() context.Context {
	ctx := w.parker.values.Load()
	step.At("values: read")
	if ctx == nil || !w.Live() { // by now they may be those of another wait
		return nil
	}
	return *ctx
}

// Strip returns what the winner of Decide needs: the channel of the waiter and the Done
// channel of its ctx. It clears that and the values, so that a wait that is over keeps no
// request alive.
func (w *Waiter) Strip() (chan<- Token, <-chan struct{}) {
	k := w.parker
	done := k.done
	k.done = nil
	if k.values.Load() != nil {
		k.values.Store(nil)
	}
	return k.ch, done
}
