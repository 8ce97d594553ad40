package pool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What reviews have broken.

func TestAConnectionThatBecomesUnfitDuringItsCheckIsNotLent(t *testing.T) {
	for _, way := range []string{"Reset", "broken"} {
		bubble(t, way, func(t *testing.T) {
			var x exchange
			var broken func(error)
			f := x.factory()
			hang, release := obstacle(t)
			var checks atomic.Int32
			f.Check = func(*wire) error {
				if checks.Add(1) == 1 {
					<-hang
				}
				return nil
			}
			f.Watch = func(w *wire, b func(error)) {
				if w.number == 1 {
					broken = b
				}
			}
			p := start(t, f, Config{MaxConnections: 1, CheckInterval: -1})
			giveBack(t, p, borrow(t, p))
			r := ask(t.Context(), p)
			if way == "Reset" {
				p.Reset()
			} else {
				broken(errCause)
			}
			release()
			<-r.done
			if r.err != nil || r.lease.Value().number == 1 {
				t.Errorf("lent %v %v after %s", r.lease.Value().number, r.err, way)
			}
		})
	}
}

func TestAHookThatEndsItsGoroutineTakesNothingWithIt(t *testing.T) {
	bubble(t, "Leaked", func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, LeakAfter: time.Second, Hooks: Hooks{Leaked: func(LeaseInfo) { runtime.Goexit() }}})
		l := borrow(t, p)
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := p.Get(ctx)
		if !errors.Is(err, ErrExhausted) {
			t.Errorf("sweeper gone: %v", err)
		}
		giveBack(t, p, l)
	})
	bubble(t, "Opened", func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, Hooks: Hooks{Opened: func(time.Duration, error) { runtime.Goexit() }}})
		_, err := p.Get(t.Context())
		if err != nil {
			t.Errorf("Get: %v, %d", err, p.Stats().OpeningConnections)
		}
		p.Close()
		if len(x.opened()[0].closedWith()) != 1 {
			t.Error("never closed")
		}
	})
	bubble(t, "Closed", func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, StrictMax: true, Hooks: Hooks{Closed: func(string, error) { runtime.Goexit() }}})
		l := borrow(t, p)
		_ = p.Discard(l, nil)
		time.Sleep(time.Minute)
		if len(x.opened()[0].closedWith()) != 1 {
			t.Errorf("never closed; %+v", census(p.conns.Load()).open())
		}
	})
	bubble(t, "Waited", func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, Hooks: Hooks{Waited: func(time.Duration, error) { runtime.Goexit() }}})
		go func() { _, _ = p.Get(t.Context()) }()
		time.Sleep(time.Minute)
		if got := p.Stats(); got.ActiveConnections != 0 {
			t.Errorf("leaked: %d active", got.ActiveConnections)
		}
	})
}

func TestAProbeThatHangsDoesNotKeepTheOutage(t *testing.T) {
	for name, c := range map[string]Config{
		"no limits": {MaxConnections: 4, OpenTimeout: -1, MaxWaitTime: -1},
		"defaults":  {MaxConnections: 4},
	} {
		bubble(t, name, func(t *testing.T) {
			hang, release := obstacle(t)
			x := exchange{open: func(ctx context.Context, n int) error {
				switch {
				case n <= 4:
					return errDial
				case n == 5:
					select {
					case <-hang:
					case <-ctx.Done():
					}
					return errDial
				}
				return nil
			}}
			p := start(t, x.factory(), c)
			for range 4 {
				ask(t.Context(), p).failed(t, "opening fails", errDial)
			}
			time.Sleep(time.Second)
			r := ask(t.Context(), p) // the probe
			began := time.Now()      // from here on the server is well
			for {
				l, err := p.Get(t.Context())
				if err == nil {
					giveBack(t, p, l)
					break
				}
				time.Sleep(10 * time.Millisecond)
				if time.Since(began) > time.Hour {
					t.Errorf("refused for an hour: %v", err)
					break
				}
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("service is back after %v, want a second at most", took)
			}
			release()
			<-r.done
		})
	}
}

func TestACheckThatEndsItsGoroutineAfterItWasAbandonedIsNotCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		var n atomic.Int32
		f.Check = func(*wire) error {
			if n.Add(1) == 1 {
				time.Sleep(time.Minute)
				runtime.Goexit()
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 2, MaxIdleTime: -1})
		fill(t, p, 2)
		time.Sleep(2 * time.Minute)
		a := borrow(t, p)
		for range 5 {
			time.Sleep(time.Second)
			if s := p.Stats(); s.ActiveConnections != 1 {
				t.Errorf("%d active, %d idle, round %d", s.ActiveConnections, s.IdleConnections, p.sweeper.round.Load())
			}
		}
		giveBack(t, p, a)
	})
}

func TestARoundOfChecksDoesNotGoBelowMinIdle(t *testing.T) {
	for _, check := range []bool{false, true} {
		bubble(t, fmt.Sprint(check), func(t *testing.T) {
			x := exchange{open: func(context.Context, int) error { time.Sleep(100 * time.Millisecond); return nil }}
			f := x.factory()
			if check {
				f.Check = func(*wire) error { return nil }
			}
			p := start(t, f, Config{MaxConnections: 4, MinIdle: 4, MaxIdleTime: 10 * time.Second})
			time.Sleep(time.Second)
			least := 99
			for range 6000 {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
				least = min(least, p.Stats().IdleConnections)
			}
			if least < 3 {
				t.Errorf("down to %d idle of MinIdle 4", least)
			}
		})
	}
}

func TestAConnectionOnItsWayOutDoesNotCountAsOneThatMayComeBack(t *testing.T) {
	bubble(t, "Get", func(t *testing.T) {
		dead := false
		x := exchange{open: func(_ context.Context, n int) error {
			if dead {
				return errDial
			}
			return nil
		}, closing: func(*wire, error) error { time.Sleep(8 * time.Second); return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 4, StrictMax: true, MaxWaitTime: time.Minute})
		l := borrow(t, p)
		dead = true
		_ = p.Discard(l, nil)
		for range 4 {
			ask(t.Context(), p).failed(t, "opening fails", errDial)
		}
		began := time.Now()
		_, err := p.Get(t.Context())
		if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took > 0 {
			t.Errorf("Get returned %v after %v, want ErrUnavailable at once", err, took)
		}
		time.Sleep(time.Minute)
	})
	bubble(t, "Warm", func(t *testing.T) {
		x := exchange{closing: func(w *wire, _ error) error {
			if w.number == 1 {
				time.Sleep(8 * time.Second)
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 4, StrictMax: true})
		l := borrow(t, p)
		_ = p.Discard(l, nil)
		if err := p.Warm(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if _, ok := p.TryGet(); !ok {
			t.Error("Warm returned with nothing open")
		}
		time.Sleep(time.Minute)
	})
}

func TestShutdownDoesNotWaitForACallThatHangs(t *testing.T) {
	for _, call := range []string{"Check", "Clean"} {
		bubble(t, call, func(t *testing.T) {
			var x exchange
			f := x.factory()
			hang, release := obstacle(t)
			hangs := func(*wire) error { <-hang; return nil }
			p := (*Pool[*wire])(nil)
			if call == "Check" {
				f.Check = hangs
				p = start(t, f, Config{MaxConnections: 1})
				giveBack(t, p, borrow(t, p))
				time.Sleep(defaultCheckInterval + time.Millisecond)
			} else {
				f.Clean = hangs
				p = start(t, f, Config{MaxConnections: 1})
				go p.Put(borrow(t, p))
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			if err := p.Shutdown(ctx); err != nil || time.Since(began) > callLimit+5*time.Second {
				t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
			}
			release()
		})
	}
}

// An evil error panics when it is asked what it is.
type evil struct{}

func (evil) Error() string { return "" }
func (evil) As(any) bool   { panic("evil") }

func TestDoEndsTheLeaseWhenAnErrorPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		func() {
			defer func() { _ = recover() }()
			_ = p.Do(t.Context(), func(context.Context, *wire) error { return evil{} })
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
		x := exchange{closing: func(w *wire, _ error) error {
			if w.number == 1 {
				time.Sleep(callLimit - time.Second)
			}
			return nil
		}}
		f := x.factory()
		f.Watch = func(w *wire, broken func(error)) {
			if w.number == 1 {
				broken(errUnfit)
			}
		}
		p := start(t, f, Config{MaxConnections: 2, StrictMax: true, MaxWaiters: -1, MaxIdleTime: -1})
		ask(t.Context(), p).failed(t, "Watch objects", errUnfit)
		l := ask(t.Context(), p).served(t, "while the first is being closed")
		if s := p.Stats(); s.OpeningConnections != 0 || s.MaxConnections-s.VacantConnections() != 2 {
			t.Errorf("%d are being opened, %d slots are vacant, want 0, 0", s.OpeningConnections, s.VacantConnections())
		}
		ask(t.Context(), p).failed(t, "when both slots are taken", ErrRejected)
		time.Sleep(callLimit)
		giveBack(t, p, ask(t.Context(), p).served(t, "when it is closed"))
		giveBack(t, p, l)
	})
}

// StrictMax: a Resize is over when what is too many has begun to leave. What is idle beside
// it can be had.
func TestWhatIsIdleCanBeHadWhileOthersAreBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{closing: func(w *wire, _ error) error {
			if w.number == 1 {
				time.Sleep(callLimit - time.Second)
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxWaiters: -1, StrictMax: true, MaxIdleTime: -1})
		a, b := borrow(t, p), borrow(t, p)
		if a.Value().number != 1 {
			a, b = b, a
		}
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		giveBack(t, p, a)
		giveBack(t, p, b)
		giveBack(t, p, borrow(t, p))
		if l, ok := p.TryGet(); !ok {
			t.Error("TryGet finds nothing beside an idle connection")
		} else {
			giveBack(t, p, l)
		}
		if gateWord(p.gate.Load()).shrinking() {
			t.Error("the flag of Resize is still set")
		}
		time.Sleep(callLimit)
	})
}

// In an outage in which opening hangs, attempts that are overdue may take all the slots, or
// all that MaxOpening allows: then nobody can try, and nobody is kept waiting.
func TestInAnOutageNobodyWaitsWhileAttemptsThatHangTakeAllRoom(t *testing.T) {
	for name, c := range map[string]Config{"defaults": {}, "MaxOpening": {MaxOpening: 1}, "one": {MaxConnections: 1}} {
		bubble(t, name, func(t *testing.T) {
			var hangs atomic.Bool
			x := exchange{open: func(ctx context.Context, n int) error {
				if hangs.Load() {
					<-ctx.Done()
				}
				return errDial
			}}
			p := start(t, x.factory(), c)
			for range keepsFailing {
				ask(t.Context(), p).failed(t, "an outage begins", errDial)
			}
			hangs.Store(true)
			var asked []*request[*wire]
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(53 * time.Millisecond) {
				asked = append(asked, ask(t.Context(), p))
			}
			waited := 0
			for _, r := range asked {
				<-r.done
				if r.took > 0 {
					waited++
				}
			}
			if waited == 0 || waited > x.tried() {
				t.Errorf("%d of %d calls waited, for %d attempts", waited, len(asked), x.tried())
			}
		})
	}
}

// MaxWaiters: what is being opened beyond a limit that has been lowered serves nobody.
func TestNobodyIsLetWaitForWhatIsBeingOpenedBeyondTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				<-hang
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxWaiters: -1, MaxWaitTime: -1, OpenEagerly: true})
		l := borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		a, b := ask(ctx, p), ask(ctx, p)
		cancel()
		a.failed(t, "when its ctx has ended", context.Canceled)
		b.failed(t, "when its ctx has ended", context.Canceled)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		ask(t.Context(), p).failed(t, "while the one that may be open is leased", ErrRejected)
		release()
		giveBack(t, p, l)
	})
}
