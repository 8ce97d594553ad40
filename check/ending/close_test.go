package ending

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// ends are the two ways to close a pool.
var ends = map[string]func(*pool.Pool[*testkit.Wire]) error{
	"Close":    func(p *pool.Pool[*testkit.Wire]) error { return p.Close() },
	"Shutdown": func(p *pool.Pool[*testkit.Wire]) error { return p.Shutdown(context.Background()) },
}

// lendsNothing fails the test unless p is closed in the eyes of all its methods.
func lendsNothing(t *testing.T, p *pool.Pool[*testkit.Wire]) {
	t.Helper()
	if l, err := p.Get(t.Context()); err != pool.ErrClosed || l != (pool.Lease[*testkit.Wire]{}) {
		t.Errorf("Get of a closed pool returned (%v, %v), want ErrClosed", l.Value(), err)
	}
	if l, ok := p.TryGet(); ok || l != (pool.Lease[*testkit.Wire]{}) {
		t.Error("TryGet of a closed pool lent a connection")
	}
	err := p.Do(t.Context(), func(context.Context, *testkit.Wire) error { t.Error("called"); return nil })
	if err != pool.ErrClosed {
		t.Errorf("Do of a closed pool returned %v, want ErrClosed", err)
	}
}

func TestCloseAndShutdownOfAPoolThatNobodyUses(t *testing.T) {
	for name, end := range ends {
		for _, idle := range []int{0, 3} {
			synctest.Test(t, func(t *testing.T) {
				var x testkit.Exchange
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5})
				testkit.Fill(t, p, idle)
				began := time.Now()
				for range 3 { // idempotent
					if err := end(p); err != nil {
						t.Errorf("%s with %d idle returned %v", name, idle, err)
					}
				}
				if got := time.Since(began); got != 0 {
					t.Errorf("%s with %d idle took %v", name, idle, got)
				}
				for _, w := range x.Opened() {
					testkit.ClosedFor(t, name, w, nil)
				}
				lendsNothing(t, p)
				if got := p.Stats(); got.VacantConnections() != 5 || got.ClosedShutdown != uint64(idle) {
					t.Errorf("after %s with %d idle %+v", name, idle, got)
				}
			})
		}
	}
}

// vitess#20122, #20157, puddle 2.2.3: Close hangs, and hand-offs go on during it.
func TestCloseAndShutdownEndEveryWaitAtOnce(t *testing.T) {
	for name, end := range ends {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1})
			l := testkit.Borrow(t, p)
			var asked []*testkit.Request[*testkit.Wire]
			for range 20 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			go end(p)
			for _, r := range asked {
				r.Failed(t, "after "+name, pool.ErrClosed)
			}
			lendsNothing(t, p)
			if err := p.Put(l); err != nil {
				t.Errorf("Put returned %v", err)
			}
			synctest.Wait()
			x.AllClosedOnce(t)
		})
	}
}

// silenceper (by reading): Put after Close returns nil and leaks the connection.
func TestALeaseThatCloseHasRevokedMayBeEndedOnce(t *testing.T) {
	want := map[string]error{"Put": nil, "Discard": nil, "Detach": pool.ErrClosed}
	for first, end := range testkit.Enders {
		testkit.Bubble(t, first, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
			ended := testkit.Borrow(t, p)
			testkit.GiveBack(t, p, ended)
			l := testkit.Borrow(t, p)
			if err := p.Close(); err != nil {
				t.Errorf("Close returned %v", err)
			}
			testkit.ClosedFor(t, "Close", l.Value(), pool.ErrClosed)
			for name, end := range testkit.Enders {
				if err := end(p, ended); err != pool.ErrNotLeased {
					t.Errorf("%s of a lease that ended before Close returned %v, want ErrNotLeased", name, err)
				}
			}
			if got := end(p, l); got != want[first] {
				t.Errorf("%s after Close returned %v, want %v", first, got, want[first])
			}
			for second, end := range testkit.Enders {
				if err := end(p, l); err != pool.ErrNotLeased {
					t.Errorf("%s after %s after Close returned %v, want ErrNotLeased", second, first, err)
				}
			}
			testkit.ClosedFor(t, "at the end", l.Value(), pool.ErrClosed)
			if got := p.Stats(); got.VacantConnections() != 2 || got.ClosedShutdown != 1 || got.ClosedDiscard != 0 || got.Detached != 0 {
				t.Errorf("at the end %+v", got)
			}
		})
	}
}

func TestShutdownWaitsForEveryLeaseHoweverItEnds(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			if clean {
				f.Clean = func(*testkit.Wire) error { return nil }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 4})
			put, discarded, detached := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
			testkit.Fill(t, p, 1)
			done := make(chan error, 1)
			go func() { done <- p.Shutdown(t.Context()) }()
			synctest.Wait()
			testkit.ClosedFor(t, "idle", x.Opened()[3], nil)
			lendsNothing(t, p)

			testkit.GiveBack(t, p, put)
			testkit.ClosedFor(t, "Put after Shutdown", put.Value(), nil)
			if err := p.Discard(discarded, testkit.ErrCause); err != nil {
				t.Errorf("Discard after Shutdown returned %v", err)
			}
			testkit.ClosedFor(t, "Discard after Shutdown", discarded.Value(), testkit.ErrCause)
			synctest.Wait()
			if len(done) != 0 {
				t.Error("Shutdown returned while a connection is leased")
			}
			if w, err := p.Detach(detached); err != nil || w != detached.Value() {
				t.Errorf("Detach after Shutdown returned %v, %v", w, err)
			}
			synctest.Wait()
			if len(done) != 1 {
				t.Fatal("Shutdown waits while no connection is left")
			}
			if err := <-done; err != nil {
				t.Errorf("Shutdown returned %v", err)
			}
			if got := len(detached.Value().ClosedWith()); got != 0 {
				t.Errorf("a detached connection was closed %d times", got)
			}
			for _, l := range []pool.Lease[*testkit.Wire]{put, discarded, detached} {
				testkit.Refused(t, p, l, "a lease that ended after Shutdown")
			}
		})
	}
}

func TestShutdownClosesWhatIsLeasedWhenItsCtxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
		l, early := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.Fill(t, p, 1)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, testkit.ErrCause)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(ctx) }()
		testkit.Sleep(time.Minute / 2)
		testkit.GiveBack(t, p, early)
		testkit.ClosedFor(t, "before ctx has ended", early.Value(), nil)
		if got := len(l.Value().ClosedWith()); got != 0 {
			t.Error("a leased connection was closed before ctx had ended")
		}
		testkit.Sleep(time.Minute / 2)
		err := <-done
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, testkit.ErrCause) {
			t.Errorf("Shutdown returned %v, want one that wraps both ctx.Err and its cause", err)
		}
		testkit.ClosedFor(t, "after ctx has ended", l.Value(), pool.ErrClosed)
		testkit.GiveBack(t, p, l)
		x.AllClosedOnce(t)
	})
}

func TestShutdownWithACtxThatHasEndedSucceedsIfNothingIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // not by luck
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{})
		if err := p.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown of an empty pool returned %v", err)
		}
	}
}

// vitess#20122, #20157, puddle 2.2.3: a dial that finishes after Close waits for ever.
func TestCloseDuringAnOpen(t *testing.T) {
	for name, end := range ends {
		for _, how := range []string{"succeeds", "fails", "succeeds in spite of its ctx", "never returns"} {
			testkit.Bubble(t, name+" and Open "+how, func(t *testing.T) {
				never, _ := testkit.Obstacle(t)
				x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
					switch how {
					case "succeeds":
						<-ctx.Done()
						if got := context.Cause(ctx); got != pool.ErrClosed {
							t.Errorf("the cause of Open's ctx is %v, want ErrClosed", got)
						}
						return nil
					case "fails":
						<-ctx.Done()
						return ctx.Err()
					case "succeeds in spite of its ctx":
						time.Sleep(time.Minute)
						return nil
					}
					<-never
					return testkit.ErrDial
				}}
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, OpenTimeout: time.Hour})
				r := testkit.Ask(t.Context(), p)
				began := time.Now()
				if err := end(p); err != nil {
					t.Errorf("%s returned %v", name, err)
				}
				want := map[string]time.Duration{"succeeds in spite of its ctx": time.Minute, "never returns": time.Hour + core.OpenGrace}[how]
				if name == "Close" {
					want = min(want, core.CloseGrace)
				}
				if got := time.Since(began); got != want {
					t.Errorf("%s took %v, want %v", name, got, want)
				}
				r.Failed(t, "after "+name, pool.ErrClosed)
				lendsNothing(t, p)
				testkit.Sleep(2 * time.Minute)
				x.AllClosedOnce(t)
				if how != "never returns" {
					if got := p.Stats(); got.VacantConnections() != 1 {
						t.Errorf("at the end %+v, want the slot back", got)
					}
				}
			})
		}
	}
}

func TestShutdownSaysHowManyAreBeingOpenedWhenItsCtxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				time.Sleep(5 * time.Second)
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaitTime: -1, OpenEagerly: true})
		l := testkit.Borrow(t, p)
		for range 2 {
			testkit.Ask(t.Context(), p)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Shutdown(ctx)
		const want = "pool: shutdown: context deadline exceeded with connections not closed: 1, of them leased: 1; being opened: 2"
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
			t.Errorf("Shutdown returned %v, want %v", err, want)
		}
		testkit.GiveBack(t, p, l)
		if err := p.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if got := p.Stats().OpeningConnections; got != 0 {
			t.Errorf("%d are being opened when Shutdown has returned nil", got)
		}
		x.AllClosedOnce(t)
	})
}

// Leak checkers look for goroutines as soon as Close has returned. In each case something
// of the pool is at work at that time, and comes to its end within the second.
func TestNoGoroutineOfThePoolIsLeftWhenCloseOrShutdownHasReturned(t *testing.T) {
	for name, end := range ends {
		for _, busy := range []string{"nothing", "the sweeper", "an open that fails", "an open that succeeds", "a round of checks", "a Close", "a Warm", "an abandoned check"} {
			testkit.Bubble(t, name+" while busy with "+busy, func(t *testing.T) {
				const takes = core.CloseGrace / 2
				never, _ := testkit.Obstacle(t)
				var checks atomic.Bool
				x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
					if attempt == 1 && busy != "an open that fails" && busy != "an open that succeeds" {
						return nil
					}
					<-ctx.Done()
					time.Sleep(takes)
					if busy == "an open that fails" {
						return testkit.ErrDial
					}
					return nil
				}}
				if busy == "a Close" {
					x.Closing = func(*testkit.Wire, error) error { time.Sleep(takes); return nil }
				}
				f := x.Factory()
				f.Check = func(w *testkit.Wire) error {
					switch {
					case !checks.Load():
					case busy == "a round of checks":
						time.Sleep(takes)
					case busy == "an abandoned check":
						<-never
					}
					return nil
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 3, MaxWaitTime: -1})
				var want time.Duration
				switch busy {
				case "the sweeper":
					testkit.Fill(t, p, 1)
				case "an open that fails", "an open that succeeds":
					testkit.Ask(t.Context(), p)
					want = takes
				case "a Warm":
					testkit.GiveBack(t, p, testkit.Borrow(t, p))
					go p.Warm(t.Context(), 2)
					want = takes
				case "a round of checks":
					testkit.Fill(t, p, 1)
					checks.Store(true)
					testkit.Sleep(time.Second + takes/2)
					want = takes / 2
				case "a Close":
					testkit.Fill(t, p, 1)
					want = takes
				case "an abandoned check":
					testkit.Fill(t, p, 1)
					checks.Store(true)
					testkit.Sleep(core.CallLimit + time.Second + testkit.Slack)
					if got := p.Stats().ClosedAbandoned; got != 1 {
						t.Fatalf("%d connections were abandoned, want 1", got)
					}
				}
				synctest.Wait()
				began := time.Now()
				if err := end(p); err != nil {
					t.Errorf("%s returned %v", name, err)
				}
				if got := time.Since(began); got != want {
					t.Errorf("%s took %v, want %v", name, got, want)
				}
				in := testkit.Inside(p)
				if workers, unclosed := in.Workers.Load(), in.Unclosed.Load(); workers != 0 || unclosed != 0 {
					t.Errorf("when %s has returned, %d goroutines are at work and %d connections not closed, want none", name, workers, unclosed)
				}
			})
		}
	}
}

// Close waits for the open that has called the hook that has called Close.
func TestCloseInAHookWaitsNoLongerThanItsSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		var p *pool.Pool[*testkit.Wire]
		p = testkit.Start(t, x.Factory(), pool.Config{Hooks: pool.Hooks{Opened: func(pool.OpenInfo) {
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Errorf("Close returned %v", err)
			}
			if got := time.Since(began); got != core.CloseGrace {
				t.Errorf("Close took %v, want %v", got, core.CloseGrace)
			}
		}}})
		testkit.Ask(t.Context(), p).Failed(t, "after Close", pool.ErrClosed)
		if err := p.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if got := testkit.Inside(p).Workers.Load(); got != 0 {
			t.Errorf("%d goroutines are at work, want none", got)
		}
	})
}

func TestCloseWaitsForFactoryCloseButNotForEver(t *testing.T) {
	for _, takes := range []time.Duration{time.Second / 2, time.Hour} {
		testkit.Bubble(t, takes.String(), func(t *testing.T) {
			x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { time.Sleep(takes); return testkit.ErrCause }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3})
			l := testkit.Borrow(t, p)
			testkit.Fill(t, p, 2)
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Errorf("Close returned %v", err)
			}
			if got, want := time.Since(began), min(takes, time.Second); got != want {
				t.Errorf("Close took %v, want %v", got, want)
			}
			testkit.GiveBack(t, p, l)
			x.AllClosedOnce(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.Shutdown(ctx); (err == nil) != (takes < time.Hour) {
				t.Errorf("Shutdown returned %v when Close takes %v", err, takes)
			}
			testkit.Sleep(2 * takes)
		})
	}
}

func TestCloseEndsAShutdownThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(t.Context()) }()
		synctest.Wait()
		if len(done) != 0 {
			t.Error("Shutdown returned while a connection is leased")
		}
		p.Close()
		synctest.Wait()
		if len(done) != 1 {
			t.Fatal("Shutdown waits while no connection is left")
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		testkit.GiveBack(t, p, l)
		x.AllClosedOnce(t)
	})
}

// A Get that is in Factory.Check when the pool is closed has the connection taken
// from it.
func TestCloseDuringACheckLendsNothing(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			var x testkit.Exchange
			f := x.Factory()
			f.Check = func(*testkit.Wire) error { <-hang; return nil }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1})
			testkit.Fill(t, p, 1)
			var l pool.Lease[*testkit.Wire]
			err := pool.ErrClosed
			done := make(chan struct{})
			go func() {
				defer close(done)
				if way == "Get" {
					l, err = p.Get(t.Context())
				} else {
					l, _ = p.TryGet()
				}
			}()
			synctest.Wait()
			p.Close()
			release()
			<-done
			if l != (pool.Lease[*testkit.Wire]{}) || err != pool.ErrClosed {
				t.Errorf("%s returned (%v, %v) after Close had closed the connection", way, l.Value(), err)
			}
			synctest.Wait()
			x.AllClosedOnce(t)
		})
	}
}

// The connection is closed by Close, and Put, which is in Clean, leaves it alone.
func TestCloseDuringACleanClosesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		f := x.Factory()
		f.Clean = func(*testkit.Wire) error { <-hang; return testkit.ErrUnfit }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		done := make(chan error, 1)
		go func() { done <- p.Put(l) }()
		synctest.Wait()
		p.Close()
		release()
		if err := <-done; err != nil {
			t.Errorf("Put returned %v", err)
		}
		testkit.ClosedFor(t, "at the end", l.Value(), pool.ErrClosed)
	})
}

// redigo (by reading): Close and cancel together send on a closed channel. Close
// against everything, at any moment.
func TestCloseAgainstEverything(t *testing.T) {
	for _, end := range ends {
		for round := range 150 {
			synctest.Test(t, func(t *testing.T) { closeAgainstEverything(t, end, round) })
		}
	}
}

func closeAgainstEverything(t *testing.T, end func(*pool.Pool[*testkit.Wire]) error, round int) {
	x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
		if attempt%5 == 4 {
			return testkit.ErrDial
		}
		return nil
	}}
	f, broken := testkit.Watched(&x)
	p := testkit.Start(t, f, pool.Config{MaxConnections: 3, MaxWaiters: 50})
	var detached sync.Map
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				ctx, cancel := context.WithCancel(context.Background())
				if g%3 == 0 {
					go cancel()
				}
				l, err := p.Get(ctx)
				cancel()
				if errors.Is(err, pool.ErrClosed) {
					return
				}
				if err != nil {
					continue
				}
				err = nil
				switch (g + i) % 6 {
				case 0:
					err = p.Discard(l, testkit.ErrCause)
				case 1:
					var w *testkit.Wire
					if w, err = p.Detach(l); err == nil {
						detached.Store(w, true)
					} else if err == pool.ErrClosed {
						err = nil
					}
				case 2:
					broken(l.Value().Number, testkit.ErrCause)
					err = p.Put(l)
				default:
					err = p.Put(l)
				}
				if err != nil {
					t.Errorf("the end of a lease: %v", err)
					return
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range round * 20 {
				p.Stats()
			}
			if err := end(p); err != nil {
				t.Errorf("closing the pool: %v", err)
			}
		})
	}
	wg.Wait()
	if err := p.Shutdown(t.Context()); err != nil { // waits for every Close
		t.Errorf("Shutdown returned %v", err)
	}
	synctest.Wait() // for what was being opened
	got := p.Stats()
	closed := got.ClosedDiscard + got.ClosedWatch + got.ClosedShutdown
	if got.VacantConnections() != got.MaxConnections || got.WaitingRequests != 0 {
		t.Fatalf("after the end %+v", got)
	}
	if got.Opened != got.Detached+closed {
		t.Fatalf("opened %d, detached %d, closed %d", got.Opened, got.Detached, closed)
	}
	for _, w := range x.Opened() {
		_, kept := detached.Load(w)
		if n := len(w.ClosedWith()); kept && n != 0 || !kept && n != 1 {
			t.Fatalf("connection %d, detached %v, was closed %d times", w.Number, kept, n)
		}
	}
}
