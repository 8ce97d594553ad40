package testkit

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// AtRest checks what must hold of a pool whose goroutines are all gone or blocked,
// while nobody waits and waiting for nobody: that the counts agree with the slots, and
// the queue with its invariants. It knows of so many leases. In a synctest bubble it waits until
// the goroutines are so: one that has done its work may still have to end.
func AtRest[T any](tb testing.TB, p *pool.Pool[T], leased int) {
	tb.Helper()
	waitInBubble()
	g, c := words.Gate(Inside(p).Gate.Load()), words.Census(Inside(p).Conns.Load())
	if g.Waiters() != 0 {
		tb.Errorf("the gate counts %d waiters, want none", g.Waiters())
	}
	if g.Shrinking() && !c.Over() {
		tb.Errorf("the gate says that there are too many, but %d are open of %d", c.Open(), c.Max())
	}
	if g.Closed() != (c.Max() == 0) || c.Opening() != 0 || c.Leaving() != 0 || Inside(p).Spares.Load() != 0 || Inside(p).Overdue.Load() != 0 {
		tb.Errorf("the census is %d max, %d opening, %d leaving, beside %d spares, %d overdue; want 0 but for max, closed: %v",
			c.Max(), c.Opening(), c.Leaving(), Inside(p).Spares.Load(), Inside(p).Overdue.Load(), g.Closed())
	}
	if Inside(p).Aside() {
		tb.Error("an attempt is noted that goes on without a slot, want none")
	}
	var phases [4]int
	reserved := int32(0)
	for i, s := range Inside(p).Slots() {
		phase := s.Word.Phase()
		if s.Reserved {
			phase = ring.Idle
			reserved++
		}
		phases[phase]++
		if s.Opening {
			tb.Errorf("an attempt is noted for slot %d, want none", i)
		}
		if s.Full != (phase == ring.Idle || phase == ring.Leased) {
			tb.Errorf("slot %d is in phase %d, and whether it has a connection is %v", i, phase, s.Full)
		}
	}
	if c.Open() > c.Max() && phases[ring.Idle] > 0 && !g.Closed() {
		tb.Errorf("%d slots are idle, while %d are open of %d", phases[ring.Idle], c.Open(), c.Max())
	}
	if phases[ring.Busy] != 0 || phases[ring.Leased] != leased || phases[ring.Idle]+leased != c.Open() {
		tb.Errorf("of the slots, %d are busy, %d leased, %d idle; want 0, %d, %d",
			phases[ring.Busy], phases[ring.Leased], phases[ring.Idle], leased, c.Open()-leased)
	}
	if g.Closed() && phases[ring.Idle] != 0 {
		tb.Errorf("%d slots are idle in a closed pool", phases[ring.Idle])
	}
	if got := int(Inside(p).Unclosed.Load()); got != c.Open() {
		tb.Errorf("unclosed is %d, want %d", got, c.Open())
	}
	if got := Inside(p).Behind.Load(); got != 0 {
		tb.Errorf("%d connections are counted as being closed, want none", got)
	}
	if got := Inside(p).Adrift.Load(); got != 0 {
		tb.Errorf("%d looks are counted as left by their Get, want none", got)
	}
	workers := int32(0)
	if Inside(p).SweeperStarted() && !g.Closed() {
		workers = 1
	}
	if got := Inside(p).Workers.Load(); got != workers {
		tb.Errorf("%d goroutines are counted, want %d", got, workers)
	}
	if got := Inside(p).Probing.Load(); got != 0 {
		tb.Errorf("%d connections are counted as being probed, want none", got)
	}
	if got := Inside(p).Reserved.Load(); got != reserved {
		tb.Errorf("%d are counted as reserved, want %d", got, reserved)
	}
	if got := Inside(p).Same.Load(); got != 0 {
		tb.Errorf("%d are counted as waiting for a single connection, want none", got)
	}
	for i, s := range Inside(p).Slots() {
		if s.Same != nil {
			if live := Walk(tb, s.Same); len(live) != 0 {
				tb.Errorf("%d wait for the connection in slot %d, want none", len(live), i)
			}
		}
		if s.Wanted && (s.Word.Phase() == ring.Idle || s.Reserved) {
			tb.Errorf("slot %d is idle, and its connection has the notice that somebody waits for it", i)
		}
	}
	if live := Walk(tb, Inside(p).Queue); len(live) != 0 {
		tb.Errorf("%d waiters are linked, want none", len(live))
	}
}

// waitInBubble is synctest.Wait, and nothing outside a bubble.
func waitInBubble() {
	defer func() { _ = recover() }()
	synctest.Wait()
}

// AwaitPools waits until the pools that have been closed have no goroutine any more.
func AwaitPools(tb testing.TB) {
	tb.Helper()
	if left := leftover.Goroutines(10*time.Second, "core.(*Pool)"); len(left) > 0 {
		tb.Fatalf("%d goroutines are left in a closed pool:\n%s", len(left), bytes.Join(left, []byte("\n\n")))
	}
}

// Walk checks the invariants of a queue that nobody works on, and returns its live
// waiters in order.
func Walk(tb testing.TB, q *queue.Queue) []*queue.Waiter {
	tb.Helper()
	live, faults := q.Walk()
	for _, err := range faults {
		tb.Errorf("%v", err)
	}
	return live
}

// An Ending ctx is in force when Get asks, and has ended as soon as Get waits for it.
type Ending struct {
	context.Context
	done <-chan struct{}
	err  error
}

var Over = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func NewEnding() *Ending { return &Ending{Context: context.Background(), done: Over} }

func (e *Ending) Done() <-chan struct{} {
	e.err = context.Canceled
	return e.done
}

func (e *Ending) Err() error { return e.err }
