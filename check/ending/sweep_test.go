package ending

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// The sweeper has something else to wake for, later: that must not keep it from the
// end of a wait.
func TestAWaitEndsInTimeWhateverElseTheSweeperWaitsFor(t *testing.T) {
	check := func(*testkit.Wire) error { return nil }
	for name, c := range map[string]struct {
		config pool.Config
		check  func(*testkit.Wire) error
	}{
		"ticks of a second": {pool.Config{MaxWaitTime: 50 * time.Millisecond}, nil},
		"checks":            {pool.Config{MaxWaitTime: time.Second, MaxIdleTime: -1, CheckInterval: time.Hour}, check},
		"nothing":           {pool.Config{MaxWaitTime: time.Second, MaxIdleTime: -1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := new(testkit.Exchange).Factory()
				f.Check = c.check
				c.config.MaxConnections = 1
				p := testkit.Start(t, f, c.config)
				l := testkit.Borrow(t, p)
				for i := range 10 {
					testkit.Sleep(time.Duration(i) * 3370 * time.Millisecond)
					began := time.Now()
					r := testkit.Ask(context.Background(), p)
					<-r.Done
					if got := time.Since(began); got != c.config.MaxWaitTime {
						t.Errorf("wait %d ended after %v, want %v", i, got, c.config.MaxWaitTime)
					}
					r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
				}
				testkit.GiveBack(t, p, l)
				synctest.Wait()
				testkit.AtRest(t, p, 0)
			})
		})
	}
}

// A waiter looks at idle connections, and Check is called for them in its goroutine if it
// has been quick so far. If that goroutine ends, nobody is left to receive what the waiter
// is given.
func TestCheckThatEndsTheGoroutineOfAWaiterLosesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		f := x.Factory()
		fatal := false
		f.Check = func(w *testkit.Wire) error {
			if fatal {
				runtime.Goexit()
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.Ask(context.Background(), p) // so that the next one queues
		testkit.GiveBack(t, p, a)            // and is served
		testkit.Inside(p).Gate.Add(uint64(words.GateWaiter))
		testkit.GiveBack(t, p, b) // idle, while somebody counts as waiting
		fatal = true
		synctest.Wait()
		testkit.Inside(p).Wary.Store(0) // so that Check is called there
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			p.Get(context.Background())
		}()
		<-gone
		fatal = false
		testkit.Inside(p).Gate.Sub(uint64(words.GateWaiter))
		synctest.Wait()
		if got := p.Stats(); got.WaitingRequests != 0 || got.OpeningConnections != 0 {
			t.Errorf("%d wait, %d are being opened, want none", got.WaitingRequests, got.OpeningConnections)
		}
		testkit.AtRest(t, p, 1)
	})
}

// An open that hung, and was overdue, ends. If another one is in progress for the only
// waiter, no third one is opened.
func TestTheEndOfAnOverdueOpenOpensNoMore(t *testing.T) {
	for _, result := range []error{nil, testkit.ErrDial} {
		synctest.Test(t, func(t *testing.T) {
			hung, end := testkit.Obstacle(t)
			slow, goOn := testkit.Obstacle(t)
			x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
				if attempt == 1 {
					<-hung
					return result
				}
				<-slow
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, MaxWaitTime: -1, OpenTimeout: -1})
			ctx, cancel := context.WithCancel(context.Background())
			first := testkit.Ask(ctx, p)
			cancel()
			first.Failed(t, "after its cancel", context.Canceled)
			testkit.Sleep(2 * core.OverdueAfter)
			second, third := testkit.Ask(context.Background(), p), testkit.Ask(context.Background(), p)
			if x.Tried() != 2 {
				t.Errorf("Open was called %d times for two who wait, want 2 with the one that hangs: one at a time", x.Tried())
			}
			end()
			synctest.Wait()
			if x.Tried() != 2 {
				t.Errorf("Open was called %d times after one has ended with %v, want 2", x.Tried(), result)
			}
			goOn()
			testkit.GiveBack(t, p, second.Served(t, "at the end"))
			testkit.GiveBack(t, p, third.Served(t, "at the end"))
			synctest.Wait()
			testkit.AtRest(t, p, 0)
		})
	}
}

// Kicked for every wait, a sweeper without anything to do took as long as the wait.
func TestAPoolWithNothingToDoInTimeStartsNoSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		for range 10 {
			l := testkit.Borrow(t, p)
			r := testkit.Ask(t.Context(), p)
			testkit.GiveBack(t, p, l)
			testkit.GiveBack(t, p, r.Served(t, "when it was put back"))
		}
		if testkit.Inside(p).SweeperStarted() {
			t.Error("the sweeper was started")
		}
	})
}
