package queue

import (
	"fmt"
	"iter"
)

// Cells iterates over all cells that somebody has been written down in, and the row still has, in
// order. It is for tests.
func (q *Queue) Cells() iter.Seq[*Waiter] {
	return func(yield func(*Waiter) bool) {
		for s := q.first.Load(); s != nil; s = s.next.Load() {
			for i := range s.cells {
				if w := &s.cells[i]; w.in() != empty && w.in() != broken && !yield(w) {
					return
				}
			}
			if s.next.Load() == s {
				return
			}
		}
	}
}

// Walk checks the invariants of a queue that nobody uses at the moment. It returns the
// live waiters in order, and the faults that it has found. It is for tests.
func (q *Queue) Walk() (live []*Waiter, faults []error) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	head, tail := q.head.Load(), q.tail.Load()
	if head > tail {
		wrong("head is at cell %d, and %d are taken", head, tail)
	}
	var before *segment
	for s := q.first.Load(); s != nil; before, s = s, s.next.Load() {
		if before != nil && s.base < before.base+segmentSize {
			wrong("the segment after that of cell %d begins with cell %d", before.base, s.base)
		}
		for i := range s.cells {
			w := &s.cells[i]
			switch n := s.base + uint64(i); {
			case w.number() != n+1 || w.segment() != s:
				wrong("cell %d says that it is number %d", n, w.number())
			case w.Live():
				live = append(live, w)
				if n < head || n >= tail {
					wrong("Q2: cell %d is live, head is at %d, %d are taken", n, head, tail)
				}
			case w.in() == empty && n < tail:
				wrong("Q2: cell %d is empty, head is at %d, %d are taken", n, head, tail)
			case w.in() != empty && n >= tail:
				wrong("cell %d is not empty, %d are taken", n, tail)
			}
		}
		if s.next.Load() == s {
			wrong("Q1: a severed segment is in the row")
			return live, faults
		}
	}
	return live, faults
}

// Listed returns how many cells the row has that are taken and not passed over. It is for tests.
func (q *Queue) Listed() (n int) {
	head, tail := q.head.Load(), q.tail.Load()
	for s := q.first.Load(); s != nil; s = s.next.Load() {
		for i := range s.cells {
			if c := s.base + uint64(i); c >= head && c < tail {
				n++
			}
		}
	}
	return n
}

// Done returns the Done channel of the ctx of a live waiter. It is for tests.
func (w *Waiter) Done() <-chan struct{} { return w.parker.done }

// WasTaken reports whether somebody other than the caller has ended the wait.
func (w *Waiter) WasTaken() bool { return w.in() == Taken }

// Number says how many had come to wait, including w. It is for tests.
func (w *Waiter) Number() uint64 { return w.number() }
