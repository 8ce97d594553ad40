package pool

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/S4AK4N/pool/ring"
)

// atRest checks what must hold of a pool whose goroutines are all gone or blocked,
// while nobody waits and waiting for nobody: that the counts agree with the slots, and
// the queue with its invariants. It knows of so many leases.
func atRest[T any](tb testing.TB, p *Pool[T], leased int) {
	tb.Helper()
	g, c := gateWord(p.gate.Load()), census(p.conns.Load())
	if g.waiters() != 0 {
		tb.Errorf("the gate counts %d waiters, want none", g.waiters())
	}
	if g.shrinking() && !c.over() {
		tb.Errorf("the gate says that there are too many, but %d are open of %d", c.open(), c.max())
	}
	if g.closed() != (c.max() == 0) || c.opening() != 0 || c.leaving() != 0 || p.spares.Load() != 0 || p.overdue.Load() != 0 {
		tb.Errorf("the census is %d max, %d opening, %d leaving, beside %d spares, %d overdue; want 0 but for max, closed: %v",
			c.max(), c.opening(), c.leaving(), p.spares.Load(), p.overdue.Load(), g.closed())
	}
	var phases [4]int
	for _, b := range *p.banks.Load() {
		for i := range b.ring.Len() {
			phase := b.ring.At(i).Phase()
			phases[phase]++
			if full := b.slots[i].Load() != nil; full != (phase == ring.Idle || phase == ring.Leased) {
				tb.Errorf("slot %d is in phase %d, and whether it has a connection is %v", b.first+i, phase, full)
			}
		}
	}
	if c.open() > c.max() && phases[ring.Idle] > 0 && !g.closed() {
		tb.Errorf("%d slots are idle, while %d are open of %d", phases[ring.Idle], c.open(), c.max())
	}
	if phases[ring.Busy] != 0 || phases[ring.Leased] != leased || phases[ring.Idle]+leased != c.open() {
		tb.Errorf("of the slots, %d are busy, %d leased, %d idle; want 0, %d, %d",
			phases[ring.Busy], phases[ring.Leased], phases[ring.Idle], leased, c.open()-leased)
	}
	if g.closed() && phases[ring.Idle] != 0 {
		tb.Errorf("%d slots are idle in a closed pool", phases[ring.Idle])
	}
	if got := int(p.unclosed.Load()); got != c.open() {
		tb.Errorf("unclosed is %d, want %d", got, c.open())
	}
	if live := walk(tb, &p.queue); len(live) != 0 {
		tb.Errorf("%d waiters are linked, want none", len(live))
	}
}

// awaitPools waits until the pools that have been closed have no goroutine any more.
func awaitPools(tb testing.TB) {
	tb.Helper()
	if left := awaitGoroutines(10*time.Second, "pool.(*Pool["); len(left) > 0 {
		tb.Fatalf("%d goroutines are left in a closed pool:\n%s", len(left), bytes.Join(left, []byte("\n\n")))
	}
}

// walk checks the invariants of a queue that nobody works on, and returns its live
// waiters in order.
func walk(tb testing.TB, q *queue) (live []*waiter) {
	tb.Helper()
	tail := q.tail.Load()
	behind := -1 // nodes after tail
	for w := q.head.Load(); w != nil; {
		switch {
		case w.live() && w == q.head.Load():
			tb.Errorf("Q2: the dummy is live")
		case w.live():
			live = append(live, w)
			if w.ch == nil {
				tb.Errorf("a live waiter has no channel")
			}
		case w.ch != nil || w.done != nil:
			tb.Errorf("a waiter that is decided has not been stripped")
		}
		if w == tail || behind >= 0 {
			behind++
		}
		next := w.next.Load()
		if next == w {
			tb.Errorf("Q1, Q4: a severed waiter is in the list")
			return live
		}
		w = next
	}
	// An enqueuer that has linked its node may have lost the race to move tail, but
	// then somebody has helped it. At rest nobody is behind.
	if behind != 0 {
		tb.Errorf("Q1: tail is %d nodes behind the last, or not in the list", behind)
	}
	return live
}

// listed returns how many nodes the list has, its dummy not counted.
func listed(q *queue) (n int) {
	for w := q.head.Load().next.Load(); w != nil; w = w.next.Load() {
		n++
	}
	return n
}

// An ending ctx is in force when Get asks, and has ended as soon as Get waits for it.
type ending struct {
	context.Context
	done <-chan struct{}
	err  error
}

var over = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func newEnding() *ending { return &ending{Context: context.Background(), done: over} }

func (e *ending) Done() <-chan struct{} {
	e.err = context.Canceled
	return e.done
}

func (e *ending) Err() error { return e.err }
