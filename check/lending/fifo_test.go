package lending

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// A line is a number of callers who wait for the one connection of a pool, and the
// order in which they were served. Each puts the connection back at once.
type line struct {
	p      *pool.Pool[*testkit.Wire]
	cancel []context.CancelFunc
	served []int // appended to by whoever has the connection
	wg     sync.WaitGroup
}

// newLine lets n callers come, all at once, and returns them in the order in which
// they stand in the queue.
func newLine(t *testing.T, n int) (*line, pool.Lease[*testkit.Wire], []int) {
	t.Helper()
	s := &line{cancel: make([]context.CancelFunc, n)}
	s.p = testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
	l := testkit.Borrow(t, s.p)
	number := make(map[<-chan struct{}]int)
	for i := range n {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		s.cancel[i] = cancel
		number[ctx.Done()] = i
		s.wg.Go(func() {
			l, err := s.p.Get(ctx)
			if err != nil {
				return
			}
			s.served = append(s.served, i)
			if err := s.p.Put(l); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	synctest.Wait()
	var order []int
	for _, w := range testkit.Walk(t, testkit.Inside(s.p).Queue) {
		order = append(order, number[w.Done()])
	}
	if len(order) != n {
		t.Fatalf("%d wait, want %d", len(order), n)
	}
	return s, l, order
}

// go#31708: random choice among waiters. go.dev/issue/31708 saw 7 m 29 s where 2 m was
// due.
func TestWaitersAreServedInTheOrderInWhichTheyStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, order := newLine(t, 500)
		testkit.GiveBack(t, s.p, l)
		s.wg.Wait()
		if len(s.served) != len(order) {
			t.Fatalf("%d were served, want %d", len(s.served), len(order))
		}
		for i := range order {
			if s.served[i] != order[i] {
				t.Fatalf("number %d to be served was caller %d, want %d", i, s.served[i], order[i])
			}
		}
		synctest.Wait()
		testkit.AtRest(t, s.p, 0)
	})
}

// bb8#67, puddle#2: cancelled waiters swallow wake-ups.
func TestOrderHoldsWhileOthersCancel(t *testing.T) {
	for _, when := range []string{"before", "meanwhile"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l, order := newLine(t, 500)
				gone := make(map[int]bool)
				for _, i := range rand.Perm(500)[:250] {
					gone[i] = true
				}
				cancel := func() {
					for i := range gone {
						s.cancel[i]()
						runtime.Gosched()
					}
				}
				if when == "before" {
					cancel()
					synctest.Wait()
				} else {
					s.wg.Go(cancel)
				}
				testkit.GiveBack(t, s.p, l)
				s.wg.Wait()
				at := 0
				for _, i := range order {
					if at < len(s.served) && s.served[at] == i {
						at++
						if gone[i] && when == "before" {
							t.Errorf("caller %d was served after its cancel", i)
						}
					} else if !gone[i] {
						t.Fatalf("caller %d, who stayed, was not served in its turn", i)
					}
				}
				if at != len(s.served) {
					t.Errorf("%d were served out of order", len(s.served)-at)
				}
				synctest.Wait()
				testkit.AtRest(t, s.p, 0)
			})
		})
	}
}

// sqlx#453, HikariCP#1909: newcomers overtake.
func TestNobodyBargesWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, order := newLine(t, 300)
		var stop atomic.Bool
		const newcomer, tryer = 1000, 2000
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { // TryGet, as often as it can
				for !stop.Load() {
					if l, ok := s.p.TryGet(); ok {
						s.served = append(s.served, tryer)
						s.p.Put(l)
					}
					runtime.Gosched()
				}
			})
			wg.Go(func() {
				l, err := s.p.Get(context.Background())
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				s.served = append(s.served, newcomer+i)
				s.p.Put(l)
			})
		}
		testkit.GiveBack(t, s.p, l)
		s.wg.Wait()
		stop.Store(true)
		wg.Wait()
		for i := range order {
			if s.served[i] != order[i] {
				t.Fatalf("number %d to be served was caller %d, want %d", i, s.served[i], order[i])
			}
		}
		synctest.Wait()
		testkit.AtRest(t, s.p, 0)
	})
}

func TestTryGetDoesNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1})
		testkit.Fill(t, p, 2)
		testkit.Inside(p).Gate.Add(uint64(words.GateWaiter)) // a caller who is about to be linked
		if l, ok := p.TryGet(); ok {
			t.Error("TryGet has overtaken somebody")
			testkit.GiveBack(t, p, l)
		}
		testkit.Inside(p).Gate.Sub(uint64(words.GateWaiter))
		l, ok := p.TryGet()
		if !ok {
			t.Fatal("TryGet has found nothing, with two idle")
		}
		testkit.GiveBack(t, p, l)
	})
}

// vitess#20310: an expired waiter is never served. Its ctx has ended, and its goroutine
// has not run since: this one never will.
func TestConnectionGoesToTheSecondIfTheFirstHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		k := queue.NewParker(0)
		testkit.Inside(p).Gate.Add(uint64(words.GateWaiter))
		k.Begin(testkit.Over, int64(testkit.Inside(p).Now()))
		testkit.Inside(p).Queue.Enqueue(k, queue.Any)
		second := testkit.Ask(context.Background(), p)
		third := testkit.Ask(context.Background(), p)
		testkit.GiveBack(t, p, l)
		got := second.Served(t, "after the Put")
		third.Pending(t, "while the connection is leased")
		if len(k.Tokens()) != 1 {
			t.Fatalf("the first has been given %d tokens, want 1", len(k.Tokens()))
		}
		if tk := <-k.Tokens(); tk.Err != core.ErrEnded {
			t.Errorf("the first has been given %v, want errEnded", tk)
		}
		testkit.GiveBack(t, p, got)
		testkit.GiveBack(t, p, third.Served(t, "after the second Put"))
		synctest.Wait()
		testkit.AtRest(t, p, 0)
	})
}

// fasthttp#1830: a chain of those who cannot be served breaks.
func TestConnectionPassesOverAnyNumberWhoHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		for range 1000 {
			k := queue.NewParker(0)
			testkit.Inside(p).Gate.Add(uint64(words.GateWaiter))
			k.Begin(testkit.Over, int64(testkit.Inside(p).Now()))
			testkit.Inside(p).Queue.Enqueue(k, queue.Any)
		}
		last := testkit.Ask(context.Background(), p)
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, last.Served(t, "after the Put"))
		synctest.Wait()
		testkit.AtRest(t, p, 0)
	})
}
