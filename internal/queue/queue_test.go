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
	w := NewParker(0).Waiter(nil, since)
	q.Enqueue(w)
	return w
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
	if _, w := q.Front(); w != nil {
		t.Fatal("a new queue has somebody in it")
	}
	for i := range int64(100) {
		q.link(i)
	}
	for i := range int64(100) {
		dummy, w := q.Front()
		if w == nil || w.Since != i {
			t.Fatalf("front is %v, want waiter %d", w, i)
		}
		w.end(Taken)
		q.Advance(dummy, w)
		walk(t, q)
	}
	if _, w := q.Front(); w != nil {
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

// sqlx#1129: a dead head of the queue blocks the rest.
func TestFrontRemovesThoseWhoHaveLeft(t *testing.T) {
	q := newQueue()
	var all []*Waiter
	for i := range int64(10) {
		all = append(all, q.link(i))
	}
	for _, w := range all[:7] {
		w.end(Left)
	}
	if _, w := q.Front(); w != all[7] {
		t.Errorf("front is %v, want the first who has not left", w)
	}
	if got := q.Listed(); got != 3 {
		t.Errorf("%d are linked, want the 3 who have not left", got)
	}
	for _, w := range all[:6] {
		if w.next.Load() != w {
			t.Error("one that was removed has not been severed")
		}
	}
}

// go#76784: cancelled waiters are cleaned only at the front.
func TestUnlinkRemovesThoseWhoHaveLeftFromTheMiddle(t *testing.T) {
	q := newQueue()
	var all []*Waiter
	for i := range int64(10) {
		all = append(all, q.link(i))
	}
	for _, i := range []int{1, 2, 3, 5, 6, 8} {
		all[i].end(Left)
	}
	q.Unlink()
	live := walk(t, q)
	if got := q.Listed(); got != 4 || len(live) != 4 {
		t.Errorf("%d are linked, %d live, want 4, 4", got, len(live))
	}
	for i, want := range []int{0, 4, 7, 9} {
		if live[i] != all[want] {
			t.Errorf("number %d in the list is not waiter %d", i, want)
		}
	}
	for _, i := range []int{1, 2, 3, 5, 6, 8} {
		if all[i].next.Load() != all[i] {
			t.Errorf("waiter %d was removed and has not been severed", i)
		}
	}
}

func TestUnlinkLeavesTheLastInPlace(t *testing.T) {
	q := newQueue()
	q.Unlink() // an empty queue
	a, b := q.link(0), q.link(1)
	b.end(Left)
	q.Unlink()
	c := q.link(2)
	if live := walk(t, q); len(live) != 2 || live[0] != a || live[1] != c {
		t.Errorf("live are %v, want the first and the third", live)
	}
}

func TestUnlinkBringsTailPastWhatItRemoves(t *testing.T) {
	q := newQueue()
	q.link(0)
	b, c := q.link(1), q.link(2)
	q.tail.Store(b) // c's enqueuer has not come to move it
	b.end(Left)
	q.Unlink()
	if q.tail.Load() != c {
		t.Error("Q1: tail is at a node that has been removed")
	}
	q.link(3)
	if live := walk(t, q); len(live) != 3 {
		t.Errorf("%d are live, want 3", len(live))
	}
}

func TestAdvanceBringsTailPastWhatItRemoves(t *testing.T) {
	q := newQueue()
	dummy := q.head.Load()
	w := q.link(0)
	q.tail.Store(dummy) // w's enqueuer has not come to move it
	w.end(Taken)
	q.Advance(dummy, w)
	if q.tail.Load() != w {
		t.Error("Q1: tail is behind head")
	}
	q.link(1)
	if live := walk(t, q); len(live) != 1 {
		t.Errorf("%d are live, want 1", len(live))
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
			dummy, w := q.Front()
			if (w == nil) != (len(want) == 0) || w != nil && w != want[0] {
				t.Fatalf("step %d: front is %v, want one of %d", i, w, len(want))
			}
			if w != nil {
				w.end(Taken)
				if rnd.IntN(2) == 0 {
					q.Advance(dummy, w)
				}
				want = want[1:]
			}
		case n == 8:
			q.Unlink()
			if got := q.Listed(); got > len(want)+2 {
				t.Fatalf("step %d: %d are linked after unlink, %d of them live", i, got, len(want))
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
			k := NewParker(0)
			for i := range int64(each) {
				w := k.Waiter(nil, e<<32|i)
				q.Enqueue(w)
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
				dummy, w := q.Front()
				if w == nil {
					runtime.Gosched()
					continue
				}
				since := w.Since
				if !w.end(Taken) {
					continue
				}
				decided.Inc()
				q.Advance(dummy, w)
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

func TestAParkerUsedOnceDoesNotPinWhatCameLater(t *testing.T) {
	q := newQueue()
	serve := func(k *Parker) *Waiter {
		w := k.Waiter(nil, 0)
		q.Enqueue(w)
		dummy, oldest := q.Front()
		oldest.end(Taken)
		q.Advance(dummy, oldest)
		return w
	}
	old := NewParker(0)
	first := serve(old)
	busy := NewParker(0)
	serve(busy)
	before := leftover.Heap()
	for range 200_000 {
		serve(busy)
	}
	if grown := leftover.Heap() - before; grown > 1<<19 {
		t.Errorf("the heap has grown by %d bytes with 200,000 waits elsewhere, want no growth", grown)
	}
	if first.next.Load() != first {
		t.Error("a waiter that has left the list has not been severed")
	}
	runtime.KeepAlive(old)
}

// go#33850: an idle object keeps its last context alive.
func TestAWaitThatIsOverHasNoValues(t *testing.T) {
	q := newQueue()
	k := NewParker(0)
	w := k.Waiter(nil, 0)
	if w.Values() != nil {
		t.Error("a waiter has values that nobody has given it")
	}
	w.SetValues(t.Context())
	q.Enqueue(w)
	if w.Values() != t.Context() {
		t.Error("a waiter that lives has lost its values")
	}
	w.Decide(Left)
	w.Strip()
	if w.Values() != nil {
		t.Error("a wait that is over keeps the values of its caller")
	}
}
