package queue

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/S4AK4N/pool/internal/leftover"
	"go.uber.org/atomic"
)

func TestMain(m *testing.M) { leftover.Main(m) }

// walk checks the invariants of a queue that nobody works on, and returns its live
// waiters in order.
func walk(tb interface {
	Helper()
	Errorf(format string, args ...any)
}, q *Queue) []*Waiter {
	tb.Helper()
	live, faults := q.Walk()
	for _, err := range faults {
		tb.Errorf("%v", err)
	}
	return live
}

func newQueue() *Queue {
	q := new(Queue)
	q.Init()
	return q
}

// link adds a waiter to a queue.
func (q *Queue) link(since int64) *Waiter {
	k := NewParker(0)
	k.Begin(nil, since)
	w, _ := q.Enqueue(k, Any)
	return w
}

// segments returns those that are in the row.
func (q *Queue) segments() (all []*segment) {
	for s := q.first.Load(); s != nil; s = s.next.Load() {
		all = append(all, s)
	}
	return all
}

// end decides a waiter, as far as the queue is concerned.
func (w *Waiter) end(state uint32) bool {
	if !w.Decide(state) {
		return false
	}
	w.Strip()
	return true
}

func TestQueueServesInTheOrderOfArrival(t *testing.T) {
	q := newQueue()
	if w := q.Front(); w != nil {
		t.Fatal("a new queue has somebody in it")
	}
	for i := range int64(3 * segmentSize) {
		q.link(i)
	}
	for i := range int64(3 * segmentSize) {
		w, since := q.Oldest()
		if w == nil || since != i || w.Number() != uint64(i+1) {
			t.Fatalf("front is %v, which waits since %d, want waiter %d", w, since, i)
		}
		w.end(Taken)
		q.Advance(w)
		walk(t, q)
	}
	if w := q.Front(); w != nil {
		t.Fatal("somebody is in the queue after all have been served")
	}
}

func TestOnlyOneDecidesAWaiter(t *testing.T) {
	for range 200 {
		w := newQueue().link(0)
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if i == 0 {
					w.Park()
				} else if w.Decide(Taken + uint32(i%2)) {
					won.Inc()
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || w.Live() {
			t.Fatalf("%d have decided the waiter, want 1; live: %v", won.Load(), w.Live())
		}
	}
}

// Whoever does not know that the one before has looked looks at every slot.
func TestWhoComesKnowsTheOneBeforeAlsoInAnotherSegment(t *testing.T) {
	q := newQueue()
	var last *Waiter
	for i := range 3 * segmentSize {
		k := NewParker(0)
		k.Begin(nil, int64(i))
		w, before := q.Enqueue(k, Any)
		if before != last {
			t.Errorf("number %d says that %p is before it, want %p", i, before, last)
		}
		last = w
	}
}

// If nobody knew that those before have looked, each who comes would look at every slot.
func TestParkIsNotedForAllButFreshWaiters(t *testing.T) {
	for _, kind := range []Kind{Any, One, Fresh} {
		k := NewParker(0)
		k.Begin(nil, 1)
		w, _ := newQueue().Enqueue(k, kind)
		if w.HasParked() {
			t.Errorf("kind %d: has parked before it has", kind)
		}
		w.Park()
		if got, want := w.HasParked(), kind != Fresh; got != want {
			t.Errorf("kind %d: has parked: %v, want %v", kind, got, want)
		}
	}
}

// sqlx#1129: a dead head of the queue blocks the rest.
func TestFrontPassesOverThoseWhoHaveLeft(t *testing.T) {
	q := newQueue()
	var all []*Waiter
	for i := range int64(3 * segmentSize) {
		all = append(all, q.link(i))
	}
	before := q.segments()
	const left = 2*segmentSize + segmentSize/2
	for _, w := range all[:left] {
		w.end(Left)
	}
	if w := q.Front(); w != all[left] {
		t.Errorf("front is %v, want the first who has not left", w)
	}
	if got := q.Listed(); got != len(all)-left {
		t.Errorf("%d are in the row, want the %d who have not left", got, len(all)-left)
	}
	for _, s := range before[:2] {
		if s.next.Load() != s {
			t.Error("a segment that has left the row has not been severed")
		}
	}
}

// go#76784: cancelled waiters are cleaned only at the front.
func TestUnlinkRemovesThoseWhoHaveLeftFromTheMiddle(t *testing.T) {
	q := newQueue()
	var all []*Waiter
	for i := range int64(10 * segmentSize) {
		all = append(all, q.link(i))
	}
	before := q.segments()
	stay := map[int]bool{0: true, 5*segmentSize + 1: true, 8 * segmentSize: true, 10*segmentSize - 1: true}
	var want []*Waiter
	for i, w := range all {
		if stay[i] {
			want = append(want, w)
		} else {
			w.end(Left)
		}
	}
	q.Unlink()
	live := walk(t, q)
	if len(live) != len(want) {
		t.Fatalf("%d are live, want %d", len(live), len(want))
	}
	for i := range want {
		if live[i] != want[i] {
			t.Errorf("number %d in the row is another", i)
		}
	}
	for i, s := range before {
		// The first is at the head, and the one after it is left to whoever passes over that.
		removed := i > 1 && i != 5 && i != 8 && i != 9
		if (s.next.Load() == s) != removed {
			t.Errorf("segment %d has been severed: %v, want %v", i, !removed, removed)
		}
	}
	if w, ok := q.Behind(all[2*segmentSize]); ok || w != nil {
		t.Error("one whose segment has been removed leads to somebody")
	}
	if w, ok := q.Behind(all[0]); !ok || w != want[1] {
		t.Error("behind the first is another than the second who is left")
	}
}

func TestUnlinkLeavesTheLastInPlace(t *testing.T) {
	q := newQueue()
	q.Unlink() // an empty queue
	a := q.link(0)
	for range 3*segmentSize - 1 {
		q.link(1).end(Left)
	}
	q.Unlink()
	if got := len(q.segments()); got != 3 {
		t.Errorf("%d segments are left, want the first, the one after it and the last", got)
	}
	c := q.link(2)
	if live := walk(t, q); len(live) != 2 || live[0] != a || live[1] != c {
		t.Errorf("live are %v, want the first and the one who came afterwards", live)
	}
}

// last may be at a segment that has left the row, if whoever has made the next one has not come to
// move it. Those who come find the row, and one of them mends it.
func TestWhoComesFindsTheRowIfLastHasLeftIt(t *testing.T) {
	for _, front := range []bool{false, true} {
		q := newQueue()
		all := []*Waiter{q.link(0)}
		for range 3*segmentSize - 1 {
			all = append(all, q.link(1))
			all[len(all)-1].end(Left)
		}
		row := q.segments()
		all = append(all, q.link(2))
		q.last.Store(row[2])
		want := 4
		if front {
			all[0].end(Left)
			want = 3
			q.Front()
		} else {
			q.Unlink()
		}
		if row[2].next.Load() != row[2] {
			t.Fatal("the segment has not been removed")
		}
		q.link(3)
		if got := q.last.Load(); got == row[2] {
			t.Error("last is still at a segment that has left the row")
		}
		if got, w := q.last.Load, q.link(4); got() != w.segment() {
			t.Error("last is not at the last segment")
		}
		if live := walk(t, q); len(live) != want {
			t.Errorf("%d are live, want %d", len(live), want)
		}
	}
}

// Whoever has taken a cell and is not written down in it yet holds nobody up, and overtakes
// nobody: it takes another cell.
func TestACellThatNobodyIsWrittenDownInIsBrokenForThoseBehindIt(t *testing.T) {
	for _, n := range []int{0, 1, segmentSize - 1, segmentSize} { // waiters before it
		q := newQueue()
		for i := range n {
			q.link(int64(i)).end(Left)
		}
		cell := q.tail.Inc() - 1
		if w := q.Front(); w != nil {
			t.Fatal("somebody waits")
		}
		if q.broken.Load() != 0 {
			t.Fatal("a cell was broken for nobody")
		}
		behind := q.link(1)
		if w := q.Front(); w != behind {
			t.Errorf("front is %v, want the one who is written down", w)
		}
		if got, want := q.Waits(), uint64(n+1); got != want || q.Count() != want+1 {
			t.Errorf("%d have come to wait, %d cells are taken, want %d, %d", got, q.Count(), want, want+1)
		}
		s := q.reach(behind.segment(), cell)
		if s == nil { // passed over
			continue
		}
		if w := &s.cells[cell-s.base]; w.in() != broken {
			t.Error("the cell is not broken")
		}
		walk(t, q)
	}
}

// The number of those who came never falls, whatever a Waits meets.
func TestWaitsNeverFalls(t *testing.T) {
	q := newQueue()
	q.tail.Inc()
	if got := q.Waits(); got != 1 {
		t.Errorf("%d have come, want 1", got)
	}
	q.broken.Inc() // it is about to take another cell
	for range 2 {
		if got := q.Waits(); got != 1 {
			t.Errorf("%d have come, want 1", got)
		}
	}
	q.tail.Inc()
	q.link(0)
	if got := q.Waits(); got != 2 {
		t.Errorf("%d have come, want 2", got)
	}
}

func TestQueueAgreesWithASlice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	q := newQueue()
	var want []*Waiter
	for i := range int64(20_000) {
		switch n := rnd.IntN(10); {
		case n < 4 && len(want) < 40:
			want = append(want, q.link(i))
		case n < 6 && len(want) > 0: // one leaves
			k := rnd.IntN(len(want))
			want[k].end(Left)
			want = append(want[:k:k], want[k+1:]...)
		case n < 8: // the oldest is served
			w := q.Front()
			if (w == nil) != (len(want) == 0) || w != nil && w != want[0] {
				t.Fatalf("step %d: front is %v, want one of %d", i, w, len(want))
			}
			if w != nil {
				w.end(Taken)
				if rnd.IntN(2) == 0 {
					q.Advance(w)
				}
				want = want[1:]
			}
		case n == 8:
			q.Unlink()
			if got := len(q.segments()); got > len(want)+3 {
				t.Fatalf("step %d: %d segments are left after unlink, %d live", i, got, len(want))
			}
		}
		live := walk(t, q)
		if len(live) != len(want) {
			t.Fatalf("step %d: %d are live, want %d", i, len(live), len(want))
		}
		for k := range live {
			if live[k] != want[k] {
				t.Fatalf("step %d: number %d in the list is another", i, k)
			}
		}
	}
}

// Each waiter is decided once, and each granter serves in the order in which its
// waiters were linked by any one goroutine.
func TestQueueUnderConcurrency(t *testing.T) {
	const enqueuers, each = 4, 5_000
	q := newQueue()
	var decided atomic.Int64
	var wg sync.WaitGroup
	for e := range int64(enqueuers) {
		wg.Go(func() {
			for i := range int64(each) {
				k := NewParker(0) // one for each who may be live
				k.Begin(nil, e<<32|i)
				w, _ := q.Enqueue(k, Any)
				if i%3 == 0 && w.end(Left) {
					decided.Inc()
					q.Front()
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			var last [enqueuers]int64
			for decided.Load() < enqueuers*each {
				w, since := q.Oldest()
				if w == nil {
					runtime.Gosched()
					continue
				}
				if !w.end(Taken) {
					continue
				}
				decided.Inc()
				q.Advance(w)
				e, i := since>>32, since&(1<<32-1)+1
				if i <= last[e] {
					t.Errorf("waiter %d of enqueuer %d was served after number %d", i, e, last[e])
				}
				last[e] = i
			}
		})
	}
	wg.Go(func() { // one goroutine unlinks at a time
		for decided.Load() < enqueuers*each {
			q.Unlink()
			runtime.Gosched()
		}
	})
	wg.Wait()
	if live := walk(t, q); len(live) != 0 || decided.Load() != enqueuers*each {
		t.Errorf("%d are live, %d decided, want 0, %d", len(live), decided.Load(), enqueuers*each)
	}
}

func TestAWaiterThatSomebodyKeepsDoesNotPinWhatCameLater(t *testing.T) {
	q := newQueue()
	serve := func(k *Parker) *Waiter {
		k.Begin(nil, 0)
		w, _ := q.Enqueue(k, Any)
		w.end(Taken)
		q.Advance(w)
		return w
	}
	first := serve(NewParker(0))
	busy := NewParker(0)
	serve(busy)
	before := leftover.Heap()
	for range 200_000 {
		serve(busy)
	}
	if grown := leftover.Heap() - before; grown > 1<<19 {
		t.Errorf("the heap has grown by %d bytes with 200,000 waits elsewhere, want no growth", grown)
	}
	if s := first.segment(); s.next.Load() != s {
		t.Error("a segment that has left the row has not been severed")
	}
	runtime.KeepAlive(first)
}

// go#33850: an idle object keeps its last context alive.
func TestAWaitThatIsOverHasNoValues(t *testing.T) {
	q := newQueue()
	if q.link(0).Values() != nil {
		t.Error("a waiter has values that nobody has given it")
	}
	k := NewParker(0)
	k.Begin(nil, 7)
	k.SetValues(t.Context())
	w, _ := q.Enqueue(k, Any)
	if w.Values() != t.Context() {
		t.Error("a waiter that lives has lost its values")
	}
	if since, live := w.Since(); since != 7 || !live {
		t.Errorf("it waits since %d, %v", since, live)
	}
	w.Decide(Left)
	w.Strip()
	if k.values.Load() != nil || k.done != nil {
		t.Error("a wait that is over keeps the values of its caller")
	}
	// The parker is used again: what it says is not true of the wait that is over.
	k.Begin(nil, 9)
	k.SetValues(t.Context())
	if w.Values() != nil {
		t.Error("a wait that is over has the values of a later one")
	}
	if _, live := w.Since(); live {
		t.Error("a wait that is over has begun when a later one did")
	}
}
