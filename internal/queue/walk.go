package queue

import "fmt"

// Walk checks the invariants of a queue that nobody uses at the moment. It returns the
// live waiters in order, and the faults that it has found. It is for tests.
func (q *Queue) Walk() (live []*Waiter, faults []error) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	tail := q.tail.Load()
	behind := -1 // nodes after tail
	for w := q.head.Load(); w != nil; {
		switch {
		case w.Live() && w == q.head.Load():
			wrong("Q2: the dummy is live")
		case w.Live():
			live = append(live, w)
			if w.ch == nil {
				wrong("a live waiter has no channel")
			}
		case w.ch != nil || w.done != nil:
			wrong("a waiter that is decided has not been stripped")
		}
		if w == tail || behind >= 0 {
			behind++
		}
		next := w.next.Load()
		if next == w {
			wrong("Q1, Q4: a severed waiter is in the list")
			return live, faults
		}
		w = next
	}
	// At rest, tail is at the last node: if an enqueuer has linked its node and lost the
	// race to move tail, somebody else has moved it.
	if behind != 0 {
		wrong("Q1: tail is %d nodes behind the last, or not in the list", behind)
	}
	return live, faults
}

// Listed returns how many nodes the list has, without its dummy. It is for tests.
func (q *Queue) Listed() (n int) {
	for w := q.head.Load().next.Load(); w != nil; w = w.next.Load() {
		n++
	}
	return n
}

// Last returns the node that tail points to, and Next the node after w. They are for
// tests that watch who is linked.
func (q *Queue) Last() *Waiter { return q.tail.Load() }

// Next returns the waiter after w. It is nil if w is the last, and w itself if w is
// severed.
func (w *Waiter) Next() *Waiter { return w.next.Load() }

// Done returns the Done channel of the ctx of a live waiter.
func (w *Waiter) Done() <-chan struct{} { return w.done }

// WasTaken reports whether somebody other than the caller has ended the wait.
func (w *Waiter) WasTaken() bool { return w.state.Load() == Taken }
