package lending

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/testkit"
)

// go#76784: memory grows behind one patient waiter.
func TestMemoryDoesNotGrowBehindAPatientWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		patient := testkit.Ask(context.Background(), p)
		wait := func(n int) {
			for range n {
				if _, err := p.Get(testkit.NewEnding()); err == nil {
					t.Fatal("a Get was served while the only connection is leased")
				}
			}
			synctest.Wait() // for the sweeper
		}
		wait(10_000)
		before := leftover.Heap()
		wait(200_000)
		if grown := leftover.Heap() - before; grown > 1<<19 {
			t.Errorf("the heap has grown by %d bytes with 200,000 who have left, want no growth", grown)
		}
		// The sweeper is woken for 66 of them. Of the first two segments, the last one, and the one in which somebody
		// waited just then, with 62 places each at most, none is removed.
		if got := testkit.Inside(p).Queue.Listed(); got > 66+4*62 {
			t.Errorf("%d places are left at rest, for one who waits", got)
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, patient.Served(t, "after the Put"))
		synctest.Wait()
		testkit.AtRest(t, p, 0)
	})
}

func TestWhoLeavesTheFrontIsRemovedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		for range 2 {
			if _, err := p.Get(testkit.NewEnding()); err == nil {
				t.Fatal("a Get was served while the only connection is leased")
			}
		}
		if got := testkit.Inside(p).Queue.Listed(); got != 0 {
			t.Errorf("%d are in the row, want none", got)
		}
		testkit.GiveBack(t, p, l)
	})
}

// What a waiter is given depends on who decides it. That its request can be collected
// afterwards does not.
func TestAWaitThatIsOverKeepsNothingAlive(t *testing.T) {
	for name, finish := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire], cancel func()){
		"granted": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire], _ func()) { p.Put(l) },
		"left":    func(_ *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire], cancel func()) { cancel() },
		"expired": func(*pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire], func()) { testkit.Sleep(2 * time.Second) },
		"closed":  func(p *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire], _ func()) { p.Close() },
		"left, and its place is in the middle": func(p *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire], cancel func()) {
			testkit.Ask(context.Background(), p)
			cancel()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second})
				l := testkit.Borrow(t, p)
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
