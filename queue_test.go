package pool

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"go.uber.org/atomic"
)

func newQueue() *queue {
	q := new(queue)
	q.init()
	return q
}

// link adds a waiter to a queue.
func (q *queue) link(since int64) *waiter {
	w := newParker(0).waiter(nil, since)
	q.enqueue(w)
	return w
}

// end decides a waiter, as far as the queue is concerned.
func (w *waiter) end(state uint32) bool {
	if !w.decide(state) {
		return false
	}
	w.strip()
	return true
}

func TestQueueServesInTheOrderOfArrival(t *testing.T) {
	q := newQueue()
	if _, w := q.front(); w != nil {
		t.Fatal("a new queue has somebody in it")
	}
	for i := range int64(100) {
		q.link(i)
	}
	for i := range int64(100) {
		dummy, w := q.front()
		if w == nil || w.since != i {
			t.Fatalf("front is %v, want waiter %d", w, i)
		}
		w.end(stateTaken)
		q.advance(dummy, w)
		walk(t, q)
	}
	if _, w := q.front(); w != nil {
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
					w.park()
				} else if w.decide(stateTaken + uint32(i%2)) {
					won.Inc()
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || w.live() {
			t.Fatalf("%d have decided the waiter, want 1; live: %v", won.Load(), w.live())
		}
	}
}

// sqlx#1129: a dead head of the queue blocks the rest.
func TestFrontRemovesThoseWhoHaveLeft(t *testing.T) {
	q := newQueue()
	var all []*waiter
	for i := range int64(10) {
		all = append(all, q.link(i))
	}
	for _, w := range all[:7] {
		w.end(stateLeft)
	}
	if _, w := q.front(); w != all[7] {
		t.Errorf("front is %v, want the first who has not left", w)
	}
	if got := listed(q); got != 3 {
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
	var all []*waiter
	for i := range int64(10) {
		all = append(all, q.link(i))
	}
	for _, i := range []int{1, 2, 3, 5, 6, 8} {
		all[i].end(stateLeft)
	}
	q.unlink()
	live := walk(t, q)
	if got := listed(q); got != 4 || len(live) != 4 {
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
	q.unlink() // an empty queue
	a, b := q.link(0), q.link(1)
	b.end(stateLeft)
	q.unlink()
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
	b.end(stateLeft)
	q.unlink()
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
	w.end(stateTaken)
	q.advance(dummy, w)
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
	var want []*waiter
	for i := range int64(20_000) {
		switch n := rnd.IntN(10); {
		case n < 4 && len(want) < 40:
			want = append(want, q.link(i))
		case n < 6 && len(want) > 0: // one leaves
			k := rnd.IntN(len(want))
			want[k].end(stateLeft)
			want = append(want[:k:k], want[k+1:]...)
		case n < 8: // the oldest is served
			dummy, w := q.front()
			if (w == nil) != (len(want) == 0) || w != nil && w != want[0] {
				t.Fatalf("step %d: front is %v, want one of %d", i, w, len(want))
			}
			if w != nil {
				w.end(stateTaken)
				if rnd.IntN(2) == 0 {
					q.advance(dummy, w)
				}
				want = want[1:]
			}
		case n == 8:
			q.unlink()
			if got := listed(q); got > len(want)+2 {
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
			k := newParker(0)
			for i := range int64(each) {
				w := k.waiter(nil, e<<32|i)
				q.enqueue(w)
				if i%3 == 0 && w.end(stateLeft) {
					decided.Inc()
					q.front()
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			var last [enqueuers]int64
			for decided.Load() < enqueuers*each {
				dummy, w := q.front()
				if w == nil {
					runtime.Gosched()
					continue
				}
				since := w.since
				if !w.end(stateTaken) {
					continue
				}
				decided.Inc()
				q.advance(dummy, w)
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
			q.unlink()
			runtime.Gosched()
		}
	})
	wg.Wait()
	if live := walk(t, q); len(live) != 0 || decided.Load() != enqueuers*each {
		t.Errorf("%d are live, %d decided, want 0, %d", len(live), decided.Load(), enqueuers*each)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// go#76784: memory grows behind one patient waiter.
func TestMemoryDoesNotGrowBehindAPatientWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
		l := borrow(t, p)
		patient := ask(context.Background(), p)
		wait := func(n int) {
			for range n {
				if _, err := p.Get(newEnding()); err == nil {
					t.Fatal("a Get was served while the only connection is leased")
				}
			}
			synctest.Wait() // for the sweeper
		}
		wait(10_000)
		before := heap()
		wait(200_000)
		if grown := heap() - before; grown > 1<<19 {
			t.Errorf("the heap has grown by %d bytes with 200,000 who have left, want no growth", grown)
		}
		if got := listed(&p.queue); got > minDead+2 {
			t.Errorf("%d are linked at rest, 1 of them live", got)
		}
		giveBack(t, p, l)
		giveBack(t, p, patient.served(t, "after the Put"))
		synctest.Wait()
		atRest(t, p, 0)
	})
}

func TestWhoLeavesTheFrontIsRemovedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
		l := borrow(t, p)
		for range 2 {
			if _, err := p.Get(newEnding()); err == nil {
				t.Fatal("a Get was served while the only connection is leased")
			}
		}
		if got := listed(&p.queue); got != 0 {
			t.Errorf("%d are linked, want none", got)
		}
		giveBack(t, p, l)
	})
}

func TestAParkerUsedOnceDoesNotPinWhatCameLater(t *testing.T) {
	q := newQueue()
	serve := func(k *parker) *waiter {
		w := k.waiter(nil, 0)
		q.enqueue(w)
		dummy, oldest := q.front()
		oldest.end(stateTaken)
		q.advance(dummy, oldest)
		return w
	}
	old := newParker(0)
	first := serve(old)
	busy := newParker(0)
	serve(busy)
	before := heap()
	for range 200_000 {
		serve(busy)
	}
	if grown := heap() - before; grown > 1<<19 {
		t.Errorf("the heap has grown by %d bytes with 200,000 waits elsewhere, want no growth", grown)
	}
	if first.next.Load() != first {
		t.Error("a waiter that has left the list has not been severed")
	}
	runtime.KeepAlive(old)
}

// What a waiter is given by whoever decides it may differ; that its request can be
// collected afterwards may not.
func TestAWaitThatIsOverKeepsNothingAlive(t *testing.T) {
	for name, finish := range map[string]func(p *Pool[*wire], l Lease[*wire], cancel func()){
		"granted": func(p *Pool[*wire], l Lease[*wire], _ func()) { p.Put(l) },
		"left":    func(_ *Pool[*wire], _ Lease[*wire], cancel func()) { cancel() },
		"expired": func(*Pool[*wire], Lease[*wire], func()) { time.Sleep(2 * time.Second) },
		"closed":  func(p *Pool[*wire], _ Lease[*wire], _ func()) { p.Close() },
		"left, and its place is in the middle": func(p *Pool[*wire], _ Lease[*wire], cancel func()) {
			ask(context.Background(), p)
			cancel()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: time.Second})
				l := borrow(t, p)
				type key struct{}
				request := new([1 << 10]byte)
				kept := weak.Make(request)
				ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, request))
				request = nil
				done := make(chan struct{})
				go func(ctx context.Context) {
					defer close(done)
					p.Get(ctx)
				}(ctx)
				synctest.Wait()
				finish(p, l, cancel)
				<-done
				cancel()
				ctx, cancel = nil, nil
				synctest.Wait()
				runtime.GC()
				runtime.GC()
				if kept.Value() != nil {
					t.Error("the request is still in memory")
				}
				_ = ctx
				runtime.KeepAlive(p)
			})
		})
	}
}
