package pool

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// The sweeper has something else to wake for, later: that must not keep it from the
// end of a wait.
func TestAWaitEndsInTimeWhateverElseTheSweeperWaitsFor(t *testing.T) {
	check := func(*wire) error { return nil }
	for name, c := range map[string]struct {
		config Config
		check  func(*wire) error
	}{
		"ticks of a second": {Config{MaxWaitTime: 50 * time.Millisecond}, nil},
		"checks":            {Config{MaxWaitTime: time.Second, MaxIdleTime: -1, CheckInterval: time.Hour}, check},
		"nothing":           {Config{MaxWaitTime: time.Second, MaxIdleTime: -1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := new(exchange).factory()
				f.Check = c.check
				c.config.MaxConnections = 1
				p := start(t, f, c.config)
				l := borrow(t, p)
				for i := range 10 {
					time.Sleep(time.Duration(i) * 3370 * time.Millisecond)
					began := time.Now()
					r := ask(context.Background(), p)
					<-r.done
					if got := time.Since(began); got != c.config.MaxWaitTime {
						t.Errorf("wait %d ended after %v, want %v", i, got, c.config.MaxWaitTime)
					}
					r.failed(t, "after MaxWaitTime", ErrExhausted)
				}
				giveBack(t, p, l)
				synctest.Wait()
				atRest(t, p, 0)
			})
		})
	}
}

// A waiter looks at idle connections, and Check is called for them, in its goroutine:
// if that ends, nobody is there to receive what the waiter is given.
func TestCheckThatEndsTheGoroutineOfAWaiterLosesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(exchange)
		f := x.factory()
		fatal := false
		f.Check = func(w *wire) error {
			if fatal {
				runtime.Goexit()
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1})
		a, b := borrow(t, p), borrow(t, p)
		ask(context.Background(), p) // so that the next one queues
		giveBack(t, p, a)            // and is served
		p.gate.Add(uint64(gateWaiter))
		giveBack(t, p, b) // idle, while somebody counts as waiting
		fatal = true
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			p.Get(context.Background())
		}()
		<-gone
		fatal = false
		p.gate.Sub(uint64(gateWaiter))
		synctest.Wait()
		if got := p.Stats(); got.WaitingRequests != 0 || got.OpeningConnections != 0 {
			t.Errorf("%d wait, %d are being opened, want none", got.WaitingRequests, got.OpeningConnections)
		}
		atRest(t, p, 1)
	})
}

// An open that hung and was not counted on any more ends: while another is under way
// for the only one who waits, nobody needs a third.
func TestTheEndOfAnOverdueOpenOpensNoMore(t *testing.T) {
	for _, result := range []error{nil, errDial} {
		synctest.Test(t, func(t *testing.T) {
			hung, end := obstacle(t)
			slow, goOn := obstacle(t)
			x := &exchange{open: func(_ context.Context, attempt int) error {
				if attempt == 1 {
					<-hung
					return result
				}
				<-slow
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 4, MaxWaitTime: -1, OpenTimeout: -1})
			ctx, cancel := context.WithCancel(context.Background())
			first := ask(ctx, p)
			cancel()
			first.failed(t, "after its cancel", context.Canceled)
			time.Sleep(2 * overdueAfter)
			second, third := ask(context.Background(), p), ask(context.Background(), p)
			if x.tried() != 3 {
				t.Errorf("Open was called %d times for two who wait, want 3 with the one that hangs", x.tried())
			}
			end()
			synctest.Wait()
			if x.tried() != 3 {
				t.Errorf("Open was called %d times after one has ended with %v, want 3", x.tried(), result)
			}
			goOn()
			giveBack(t, p, second.served(t, "at the end"))
			giveBack(t, p, third.served(t, "at the end"))
			synctest.Wait()
			atRest(t, p, 0)
		})
	}
}

// Kicked for every wait, a sweeper without anything to do took as long as the wait.
func TestAPoolWithNothingToDoInTimeStartsNoSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		for range 10 {
			l := borrow(t, p)
			r := ask(t.Context(), p)
			giveBack(t, p, l)
			giveBack(t, p, r.served(t, "when it was put back"))
		}
		if p.sweeper.started.Load() {
			t.Error("the sweeper was started")
		}
	})
}
