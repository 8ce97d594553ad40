package lending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// What reviews have broken.

func TestAConnectionThatBecomesUnfitDuringItsCheckIsNotLent(t *testing.T) {
	for _, way := range []string{"Reset", "broken"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			var x testkit.Exchange
			var broken func(error)
			f := x.Factory()
			hang, release := testkit.Obstacle(t)
			var checks atomic.Int32
			f.Check = func(*testkit.Wire) error {
				if checks.Add(1) == 1 {
					<-hang
				}
				return nil
			}
			f.Watch = func(w *testkit.Wire, b func(error)) {
				if w.Number == 1 {
					broken = b
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1})
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
			r := testkit.Ask(t.Context(), p)
			if way == "Reset" {
				p.Reset()
			} else {
				broken(testkit.ErrCause)
			}
			release()
			<-r.Done
			if r.Err != nil || r.Lease.Value().Number == 1 {
				t.Errorf("lent %v %v after %s", r.Lease.Value().Number, r.Err, way)
			}
		})
	}
}

func TestAHookThatEndsItsGoroutineTakesNothingWithIt(t *testing.T) {
	testkit.Bubble(t, "Leaked", func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, LeakAfter: time.Second, Hooks: pool.Hooks{Leaked: func(pool.LeaseInfo) { runtime.Goexit() }}})
		l := testkit.Borrow(t, p)
		testkit.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := p.Get(ctx)
		if !errors.Is(err, pool.ErrExhausted) {
			t.Errorf("sweeper gone: %v", err)
		}
		testkit.GiveBack(t, p, l)
	})
	testkit.Bubble(t, "Opened", func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, Hooks: pool.Hooks{Opened: func(pool.OpenInfo) { runtime.Goexit() }}})
		_, err := p.Get(t.Context())
		if err != nil {
			t.Errorf("Get: %v, %d", err, p.Stats().OpeningConnections)
		}
		p.Close()
		if len(x.Opened()[0].ClosedWith()) != 1 {
			t.Error("never closed")
		}
	})
	testkit.Bubble(t, "Closed", func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, StrictMax: true, Hooks: pool.Hooks{Closed: func(pool.CloseInfo) { runtime.Goexit() }}})
		l := testkit.Borrow(t, p)
		_ = p.Discard(l, nil)
		testkit.Sleep(time.Minute)
		if len(x.Opened()[0].ClosedWith()) != 1 {
			t.Errorf("never closed; %+v", words.Census(testkit.Inside(p).Conns.Load()).Open())
		}
	})
	testkit.Bubble(t, "Waited", func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, Hooks: pool.Hooks{Waited: func(pool.WaitInfo) { runtime.Goexit() }}})
		go func() { _, _ = p.Get(t.Context()) }()
		testkit.Sleep(time.Minute)
		if got := p.Stats(); got.ActiveConnections != 0 {
			t.Errorf("leaked: %d active", got.ActiveConnections)
		}
	})
}

func TestAProbeThatHangsDoesNotKeepTheOutage(t *testing.T) {
	for name, c := range map[string]pool.Config{
		"no limits": {MaxConnections: 4, OpenTimeout: -1, MaxWaitTime: -1},
		"defaults":  {MaxConnections: 4},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Open: func(ctx context.Context, n int) error {
				switch {
				case n <= 4:
					return testkit.ErrDial
				case n == 5:
					select {
					case <-hang:
					case <-ctx.Done():
					}
					return testkit.ErrDial
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), c)
			for range 4 {
				testkit.Ask(t.Context(), p).Failed(t, "opening fails", testkit.ErrDial)
			}
			testkit.Sleep(time.Second)
			r := testkit.Ask(t.Context(), p) // the probe
			began := time.Now()              // from here on the server is well
			for {
				l, err := p.Get(t.Context())
				if err == nil {
					testkit.GiveBack(t, p, l)
					break
				}
				testkit.Sleep(10 * time.Millisecond)
				if time.Since(began) > time.Hour {
					t.Errorf("refused for an hour: %v", err)
					break
				}
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("service is back after %v, want a second at most", took)
			}
			release()
			<-r.Done
		})
	}
}

func TestACheckThatEndsItsGoroutineAfterItWasAbandonedIsNotCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		var n atomic.Int32
		f.Check = func(*testkit.Wire) error {
			if n.Add(1) == 1 {
				time.Sleep(time.Minute)
				runtime.Goexit()
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1})
		testkit.Fill(t, p, 2)
		testkit.Sleep(2 * time.Minute)
		a := testkit.Borrow(t, p)
		for range 5 {
			testkit.Sleep(time.Second)
			if s := p.Stats(); s.ActiveConnections != 1 {
				t.Errorf("%d active, %d idle, round %d", s.ActiveConnections, s.IdleConnections, testkit.Inside(p).Round.Load())
			}
		}
		testkit.GiveBack(t, p, a)
	})
}

func TestARoundOfChecksDoesNotGoBelowMinIdle(t *testing.T) {
	for _, check := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint(check), func(t *testing.T) {
			x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(100 * time.Millisecond); return nil }}
			f := x.Factory()
			if check {
				f.Check = func(*testkit.Wire) error { return nil }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 4, MinIdle: 4, MaxIdleTime: 10 * time.Second})
			testkit.Sleep(time.Second)
			least := 99
			for range 6000 {
				testkit.Sleep(10 * time.Millisecond)
				least = min(least, p.Stats().IdleConnections)
			}
			if least < 3 {
				t.Errorf("down to %d idle of MinIdle 4", least)
			}
		})
	}
}

func TestAConnectionOnItsWayOutDoesNotCountAsOneThatMayComeBack(t *testing.T) {
	testkit.Bubble(t, "Get", func(t *testing.T) {
		dead := false
		x := testkit.Exchange{Open: func(_ context.Context, n int) error {
			if dead {
				return testkit.ErrDial
			}
			return nil
		}, Closing: func(*testkit.Wire, error) error { time.Sleep(8 * time.Second); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, StrictMax: true, MaxWaitTime: time.Minute, FailFastAfter: testkit.AtOnce})
		l := testkit.Borrow(t, p)
		dead = true
		_ = p.Discard(l, nil)
		for range 4 {
			testkit.Ask(t.Context(), p).Failed(t, "opening fails", testkit.ErrDial)
		}
		began := time.Now()
		_, err := p.Get(t.Context())
		if took := time.Since(began); !errors.Is(err, pool.ErrUnavailable) || took > 0 {
			t.Errorf("Get returned %v after %v, want ErrUnavailable at once", err, took)
		}
		testkit.Sleep(time.Minute)
	})
	testkit.Bubble(t, "Warm", func(t *testing.T) {
		x := testkit.Exchange{Closing: func(w *testkit.Wire, _ error) error {
			if w.Number == 1 {
				time.Sleep(8 * time.Second)
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, StrictMax: true})
		l := testkit.Borrow(t, p)
		_ = p.Discard(l, nil)
		if err := p.Warm(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if _, ok := p.TryGet(); !ok {
			t.Error("Warm returned with nothing open")
		}
		testkit.Sleep(time.Minute)
	})
}

func TestShutdownDoesNotWaitForACallThatHangs(t *testing.T) {
	for _, call := range []string{"Check", "Clean"} {
		testkit.Bubble(t, call, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			hang, release := testkit.Obstacle(t)
			hangs := func(*testkit.Wire) error { <-hang; return nil }
			p := (*pool.Pool[*testkit.Wire])(nil)
			if call == "Check" {
				f.Check = hangs
				p = testkit.Start(t, f, pool.Config{MaxConnections: 1})
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
				testkit.Sleep(time.Second + time.Millisecond)
			} else {
				f.Clean = hangs
				p = testkit.Start(t, f, pool.Config{MaxConnections: 1})
				go p.Put(testkit.Borrow(t, p))
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			if err := p.Shutdown(ctx); err != nil || time.Since(began) > core.CallLimit+5*time.Second {
				t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
			}
			release()
		})
	}
}

// An evil error panics when it is asked what it is.
type evil struct{}

func (evil) Error() string { return "" }

func (evil) As(any) bool { panic("evil") }

func TestDoEndsTheLeaseWhenAnErrorPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		func() {
			defer func() { _ = recover() }()
			_ = p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return evil{} })
		}()
		if p.Stats().ActiveConnections != 0 {
			t.Error("lease lost")
		}
	})
}

// StrictMax: what Watch has refused holds its slot until Close has returned, but it is not
// being opened any more, so nobody waits for that.
func TestNobodyWaitsForTheCloseOfWhatWatchRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Closing: func(w *testkit.Wire, _ error) error {
			if w.Number == 1 {
				time.Sleep(core.CallLimit - time.Second)
			}
			return nil
		}}
		f := x.Factory()
		f.Watch = func(w *testkit.Wire, broken func(error)) {
			if w.Number == 1 {
				broken(testkit.ErrUnfit)
			}
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, StrictMax: true, MaxWaiters: -1, MaxIdleTime: -1})
		testkit.Ask(t.Context(), p).Failed(t, "Watch objects", testkit.ErrUnfit)
		l := testkit.Ask(t.Context(), p).Served(t, "while the first is being closed")
		if s := p.Stats(); s.OpeningConnections != 0 || s.MaxConnections-s.VacantConnections() != 2 {
			t.Errorf("%d are being opened, %d slots are vacant, want 0, 0", s.OpeningConnections, s.VacantConnections())
		}
		testkit.Ask(t.Context(), p).Failed(t, "when both slots are taken", pool.ErrRejected)
		testkit.Sleep(core.CallLimit)
		testkit.GiveBack(t, p, testkit.Ask(t.Context(), p).Served(t, "when it is closed"))
		testkit.GiveBack(t, p, l)
	})
}

// StrictMax: a Resize is over when the surplus has begun to leave. Other idle connections
// can be taken.
func TestWhatIsIdleCanBeHadWhileOthersAreBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Closing: func(w *testkit.Wire, _ error) error {
			if w.Number == 1 {
				time.Sleep(core.CallLimit - time.Second)
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaiters: -1, StrictMax: true, MaxIdleTime: -1})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		if a.Value().Number != 1 {
			a, b = b, a
		}
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, p, a)
		testkit.GiveBack(t, p, b)
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		if l, ok := p.TryGet(); !ok {
			t.Error("TryGet finds nothing beside an idle connection")
		} else {
			testkit.GiveBack(t, p, l)
		}
		if words.Gate(testkit.Inside(p).Gate.Load()).Shrinking() {
			t.Error("the flag of Resize is still set")
		}
		testkit.Sleep(core.CallLimit)
	})
}

// In an outage in which opening hangs, attempts that are overdue may take all the slots, or
// all that MaxOpening allows: then nobody can try, and nobody is kept waiting.
func TestInAnOutageNobodyWaitsWhileAttemptsThatHangTakeAllRoom(t *testing.T) {
	for name, c := range map[string]pool.Config{"defaults": {}, "MaxOpening": {MaxOpening: 1}, "one": {MaxConnections: 1}} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var hangs atomic.Bool
			x := testkit.Exchange{Open: func(ctx context.Context, n int) error {
				if hangs.Load() {
					<-ctx.Done()
				}
				return testkit.ErrDial
			}}
			p := testkit.Start(t, x.Factory(), c)
			for range words.KeepsFailing {
				testkit.Ask(t.Context(), p).Failed(t, "an outage begins", testkit.ErrDial)
			}
			hangs.Store(true)
			var asked []*testkit.Request[*testkit.Wire]
			for began := time.Now(); time.Since(began) < time.Minute; testkit.Sleep(53 * time.Millisecond) {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			waited := 0
			for _, r := range asked {
				<-r.Done
				if r.Took > 0 {
					waited++
				}
			}
			if waited == 0 || waited > x.Tried() {
				t.Errorf("%d of %d calls waited, for %d attempts", waited, len(asked), x.Tried())
			}
		})
	}
}

// MaxWaiters: connections that are being opened beyond a lowered limit do not count as
// serving anybody.
func TestNobodyIsLetWaitForWhatIsBeingOpenedBeyondTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaiters: -1, MaxWaitTime: -1, OpenEagerly: true})
		l := testkit.Borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		a, b := testkit.Ask(ctx, p), testkit.Ask(ctx, p)
		cancel()
		a.Failed(t, "when its ctx has ended", context.Canceled)
		b.Failed(t, "when its ctx has ended", context.Canceled)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		testkit.Ask(t.Context(), p).Failed(t, "while the one that may be open is leased", pool.ErrRejected)
		release()
		testkit.GiveBack(t, p, l)
	})
}
