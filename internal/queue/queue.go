// Package queue has the waiters of a pool in the order in which they came: the queue, the
// state of a waiter, and the parker on which its goroutine waits. It knows neither pools
// nor connections. A waiter is given a Token; internal/core makes it and decides who gets
// it. The package imports ring for the word of a slot.
package queue

import (
	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// A Queue holds waiters in the order in which they came. It is an endless row of cells, one
// for each wait, in segments that are made as they are needed; an addition gives each who
// comes the next cell. The row is that of the CancellableQueueSynchronizer (Koval, Khalanskiy
// and Alistarh: CQS: A Formally-Verified Framework for Fair and Abortable Synchronization,
// PLDI 2023) with two differences:
//
//   - A waiter is decided first and passed over afterwards. A goroutine that has something
//     for the oldest waiter decides it by one compare-and-swap of its state, and head moves
//     only over what is decided. There, an addition gives it the next cell first. Then a
//     goroutine could stall with a cell in its hands, others would overtake the waiter in it,
//     and first come would not be first served.
//   - Nothing is left in a cell for somebody who has not come yet. If somebody has taken a
//     cell and is not written down in it yet, while somebody behind is, the cell is broken,
//     and who has taken it takes another one.
//
// A waiter is linked once it is written down in its cell.
//
// Cells are never used again; the collector frees their segments. So a waiter that compares
// equal is the same wait: there is no ABA. A cell has 16 bytes: what else a waiter has is in
// its parker, which is used again. It is the waiter's as long as that is live, and then its
// winner's until the token is sent.
//
// A segment that leaves the row is severed: its next points to itself. Otherwise each segment
// would lead to all that came after it, and one that a stalled goroutine keeps would keep them
// all.
//
// Invariants:
//
//	Q1  the row goes from first, over next, to its last segment, whose next is nil
//	Q2  every cell before head is decided or broken
//	Q3  a live waiter is never in a segment that has left the row
//	Q4  the last segment never leaves the row, nor is severed
//
// All methods are lock-free: each repetition of a loop is caused by a step that another
// goroutine has completed. Call Init before all others.
type Queue struct {
	head   atomic.Uint64           // how many cells at the front are passed over
	tail   atomic.Uint64           // how many cells are taken
	first  atomic.Pointer[segment] // with the cell at head, or one before that
	last   atomic.Pointer[segment] // where to look for the next cell: as a rule the last. It may have left the row
	broken atomic.Uint64           // cells that are
	waits  atomic.Uint64           // the most that Waits has returned
}

// A segment is a part of the row.
type segment struct {
	base  uint64                  // how many cells are before it
	next  atomic.Pointer[segment] // nil: last. Itself: severed
	cells [segmentSize]Waiter
}

func newSegment(base uint64) *segment {
	s := &segment{base: base}
	for i := range s.cells {
		s.cells[i].index = uint32(i)
	}
	return s
}

// Init makes q an empty queue.
func (q *Queue) Init() {
	s := newSegment(0)
	q.first.Store(s)
	q.last.Store(s)
}

// Enqueue takes the next cell for a caller, with what its parker has been told of the wait. It
// returns the cell before it, too, or nil if it does not know that.
func (q *Queue) Enqueue(k *Parker, kind Kind) (w, before *Waiter) {
	for {
		last := q.last.Load()
		s, n := last, q.tail.Inc()-1
		step.At("enqueue: cell taken")
		i := n - s.base
		if i >= segmentSize {
			if s = q.reach(last, n); s == nil {
				continue // passed over: it was broken
			}
			i = n - s.base
		}
		w = &s.cells[i]
		w.parker = k
		if w.state.CompareAndSwap(empty, looking|uint32(kind)) { // the wait begins here
			step.At("enqueue: written down")
			if i > 0 {
				return w, &s.cells[i-1]
			}
			// Only those with this cell or one behind it move last to this segment, and all of them
			// took theirs after last was read. So it was the segment before, unless it lagged.
			if last.base+segmentSize == s.base {
				before = &last.cells[segmentSize-1]
			}
			return w, before
		}
		w.parker = nil // broken: nobody looks at it
	}
}

// reach returns the segment that has cell n, which the caller has taken, or nil if the row does
// not have it any more. s is no later segment.
func (q *Queue) reach(s *segment, n uint64) *segment {
	for n >= s.base+segmentSize {
		next := s.next.Load()
		if next == nil {
			if next = newSegment(s.base + segmentSize); !s.next.CompareAndSwap(nil, next) {
				continue // somebody else has made it
			}
			step.At("reach: segment made")
		}
		if next == s { // severed
			first := q.first.Load()
			q.last.CompareAndSwap(s, first) // so that not all who come have to walk from there
			s = first
			continue
		}
		if q.last.Load() == s {
			q.last.CompareAndSwap(s, next)
		}
		s = next
	}
	if s.base > n { // its segment has been removed: the cell was broken
		return nil
	}
	return s
}

// search returns the first live waiter in cell n or behind it, or nil if there is none, and the
// number of the cell at which it has stopped: all from n on to that are decided or broken. s has
// cell n, or comes before it. It reports false if s has left the row, perhaps.
func (q *Queue) search(s *segment, n uint64) (w *Waiter, at uint64, ok bool) {
	n = max(n, s.base) // those before s that have been removed were all decided
	for {
		for n >= s.base+segmentSize {
			next := s.next.Load()
			switch next {
			case nil:
				return nil, n, true // nobody is behind, at the instant of this load
			case s:
				return nil, n, false // severed
			}
			s = next
			n = max(n, s.base)
		}
		w = &s.cells[n-s.base]
		switch state := w.state.Load(); {
		case live(state):
			return w, n, true
		case state != empty:
			n++
			continue
		}
		// Nobody was in this cell, at the instant of that load. If nobody is written down
		// behind it now, nobody was then, and nobody waited: a state is never empty again.
		step.At("search: empty")
		switch behind, ok := q.anyone(s, n+1); {
		case !ok:
			return nil, n, false
		case !behind:
			return nil, n, true
		}
		// Whoever has taken the cell would be served before those behind it, which have been
		// waiting for longer, or has stalled, and would hold them up. It takes another one.
		step.At("search: somebody behind")
		if w.state.CompareAndSwap(empty, broken) {
			q.broken.Inc()
		}
	}
}

// anyone reports whether somebody is, or was, written down in cell n or behind it, in s or
// behind that. It reports false if s has left the row.
func (q *Queue) anyone(s *segment, n uint64) (yes, ok bool) {
	for end := q.tail.Load(); n < end; n++ {
		for n >= s.base+segmentSize {
			next := s.next.Load()
			switch next {
			case nil:
				return false, true
			case s:
				return false, false
			}
			s = next
			if s.base > n {
				return true, true // there was, in a segment that has been removed
			}
		}
		if s.cells[n-s.base].state.Load() != empty {
			return true, true
		}
	}
	return false, true
}

// Front returns the oldest live waiter, or nil if nobody waits. It passes over the decided
// waiters in front of it.
func (q *Queue) Front() *Waiter {
	for {
		if n := q.head.Load(); n == q.tail.Load() {
			return nil // at the instant of the second load: nobody had come but those who were passed over by the first
		}
		s := q.first.Load() // before head: it has that cell, or comes before it
		n := q.head.Load()
		step.At("front: head read")
		if i := n - s.base; i < segmentSize && s.cells[i].Live() {
			return &s.cells[i]
		}
		w, at, ok := q.search(s, n)
		if !ok {
			continue
		}
		if at > n {
			q.pass(at)
		}
		return w
	}
}

// Oldest returns the oldest live waiter and when its wait began, or nil.
func (q *Queue) Oldest() (w *Waiter, since int64) {
	for w = q.Front(); w != nil; w = q.Front() {
		if since, live := w.Since(); live {
			return w, since
		}
	}
	return nil, 0
}

// Behind returns the first live waiter behind w, or nil. It reports false if w has left the
// row, perhaps: then begin again at the front.
func (q *Queue) Behind(w *Waiter) (next *Waiter, ok bool) {
	next, _, ok = q.search(w.segment(), w.number())
	return next, ok
}

// Count returns how many waiters have come so far.
func (q *Queue) Count() uint64 { return q.tail.Load() }

// Waits returns how many have come to wait. Each counts once, also one who takes another cell
// for a broken one. It never falls.
func (q *Queue) Waits() uint64 {
	b := q.broken.Load() // first: each of these cells has been taken
	now := q.tail.Load() - b
	for {
		most := q.waits.Load()
		if now <= most || q.waits.CompareAndSwap(most, now) {
			return max(now, most)
		}
	}
}

// Advance passes over w, which was the oldest and is decided.
func (q *Queue) Advance(w *Waiter) {
	n := w.number()
	if q.head.CompareAndSwap(n-1, n) && w.index < segmentSize-1 {
		return // as a rule
	}
	q.pass(n)
}

// pass moves head to n, if it is not there yet. All cells before that are decided or broken.
func (q *Queue) pass(n uint64) {
	for h := q.head.Load(); h < n; h = q.head.Load() {
		if q.head.CompareAndSwap(h, n) {
			break
		}
	}
	step.At("pass: head moved")
	for s := q.first.Load(); s.base+segmentSize <= n; s = q.first.Load() {
		next := s.next.Load()
		if next == nil {
			return // Q4
		}
		if next == s {
			continue // severed: first has moved on
		}
		step.At("pass: next read")
		if q.first.CompareAndSwap(s, next) {
			s.next.Store(s)
		}
	}
}

// dead reports whether nobody waits in a segment, nor ever will.
func (s *segment) dead() bool {
	for i := range s.cells {
		if s.cells[i].in() < Taken {
			return false
		}
	}
	return true
}

// Unlink removes segments without a live waiter from the middle of the row. One goroutine at a
// time may call it.
func (q *Queue) Unlink() {
	first := q.first.Load()
	prev := first.next.Load()
	if prev == nil || prev == first {
		return
	}
	// The segment after the first is left to pass. So each segment that is removed here has
	// one before it that has a live waiter, or that pass will remove.
	for {
		cur := prev.next.Load()
		if cur == nil || cur == prev {
			return // the end, or prev was severed
		}
		next := cur.next.Load()
		if next == nil || next == cur {
			return // Q4: never the last one
		}
		if !cur.dead() {
			prev = cur
			continue
		}
		step.At("unlink: dead")
		// Not a store: prev may have been severed, and must remain so.
		if !prev.next.CompareAndSwap(cur, next) {
			return
		}
		step.At("unlink: cut")
		// Somebody may have read prev.next == cur before the cut, and be about to make
		// cur the first. That is possible only if prev was the first at that time. First
		// never goes back, and segments are never used twice. So if first is where it was,
		// then prev, which comes after it, has never been the first, and nobody has cur in
		// hand. If first has moved, cur may be the first itself, and its next must stay.
		if q.first.Load() != first {
			return
		}
		cur.next.Store(cur)
	}
}
