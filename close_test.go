package pool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ends are the two ways to close a pool.
var ends = map[string]func(*Pool[*wire]) error{
	"Close":    func(p *Pool[*wire]) error { return p.Close() },
	"Shutdown": func(p *Pool[*wire]) error { return p.Shutdown(context.Background()) },
}

// closedFor fails the test unless w was closed once, with the given cause.
func closedFor(t *testing.T, when string, w *wire, cause error) {
	t.Helper()
	synctest.Wait()
	if got := w.closedWith(); len(got) != 1 || got[0] != cause {
		t.Errorf("%s: connection %d was closed with %v, want %v, once", when, w.number, got, cause)
	}
}

// lendsNothing fails the test unless p is closed in the eyes of all its methods.
func lendsNothing(t *testing.T, p *Pool[*wire]) {
	t.Helper()
	if l, err := p.Get(t.Context()); err != ErrClosed || l != (Lease[*wire]{}) {
		t.Errorf("Get of a closed pool returned (%v, %v), want ErrClosed", l.Value(), err)
	}
	if l, ok := p.TryGet(); ok || l != (Lease[*wire]{}) {
		t.Error("TryGet of a closed pool lent a connection")
	}
	err := p.Do(t.Context(), func(context.Context, *wire) error { t.Error("called"); return nil })
	if err != ErrClosed {
		t.Errorf("Do of a closed pool returned %v, want ErrClosed", err)
	}
}

func TestCloseAndShutdownOfAPoolThatNobodyUses(t *testing.T) {
	for name, end := range ends {
		for _, idle := range []int{0, 3} {
			synctest.Test(t, func(t *testing.T) {
				var x exchange
				p := start(t, x.factory(), Config{MaxConnections: 5})
				fill(t, p, idle)
				began := time.Now()
				for range 3 { // idempotent
					if err := end(p); err != nil {
						t.Errorf("%s with %d idle returned %v", name, idle, err)
					}
				}
				if got := time.Since(began); got != 0 {
					t.Errorf("%s with %d idle took %v", name, idle, got)
				}
				for _, w := range x.opened() {
					closedFor(t, name, w, nil)
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
		bubble(t, name, func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1})
			l := borrow(t, p)
			var asked []*request[*wire]
			for range 20 {
				asked = append(asked, ask(t.Context(), p))
			}
			go end(p)
			for _, r := range asked {
				r.failed(t, "after "+name, ErrClosed)
			}
			lendsNothing(t, p)
			if err := p.Put(l); err != nil {
				t.Errorf("Put returned %v", err)
			}
			synctest.Wait()
			x.allClosedOnce(t)
		})
	}
}

// silenceper (by reading): Put after Close returns nil and leaks the connection.
func TestALeaseThatCloseHasRevokedMayBeEndedOnce(t *testing.T) {
	want := map[string]error{"Put": nil, "Discard": nil, "Detach": ErrClosed}
	for first, end := range enders {
		bubble(t, first, func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 2})
			ended := borrow(t, p)
			giveBack(t, p, ended)
			l := borrow(t, p)
			if err := p.Close(); err != nil {
				t.Errorf("Close returned %v", err)
			}
			closedFor(t, "Close", l.Value(), ErrClosed)
			for name, end := range enders {
				if err := end(p, ended); err != ErrNotLeased {
					t.Errorf("%s of a lease that ended before Close returned %v, want ErrNotLeased", name, err)
				}
			}
			if got := end(p, l); got != want[first] {
				t.Errorf("%s after Close returned %v, want %v", first, got, want[first])
			}
			for second, end := range enders {
				if err := end(p, l); err != ErrNotLeased {
					t.Errorf("%s after %s after Close returned %v, want ErrNotLeased", second, first, err)
				}
			}
			closedFor(t, "at the end", l.Value(), ErrClosed)
			if got := p.Stats(); got.VacantConnections() != 2 || got.ClosedShutdown != 1 || got.ClosedDiscard != 0 || got.Detached != 0 {
				t.Errorf("at the end %+v", got)
			}
		})
	}
}

func TestShutdownWaitsForEveryLeaseHoweverItEnds(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x exchange
			f := x.factory()
			if clean {
				f.Clean = func(*wire) error { return nil }
			}
			p := start(t, f, Config{MaxConnections: 4})
			put, discarded, detached := borrow(t, p), borrow(t, p), borrow(t, p)
			fill(t, p, 1)
			done := make(chan error, 1)
			go func() { done <- p.Shutdown(t.Context()) }()
			synctest.Wait()
			closedFor(t, "idle", x.opened()[3], nil)
			lendsNothing(t, p)

			giveBack(t, p, put)
			closedFor(t, "Put after Shutdown", put.Value(), nil)
			if err := p.Discard(discarded, errCause); err != nil {
				t.Errorf("Discard after Shutdown returned %v", err)
			}
			closedFor(t, "Discard after Shutdown", discarded.Value(), errCause)
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
			if got := len(detached.Value().closedWith()); got != 0 {
				t.Errorf("a detached connection was closed %d times", got)
			}
			for _, l := range []Lease[*wire]{put, discarded, detached} {
				refused(t, p, l, "a lease that ended after Shutdown")
			}
		})
	}
}

func TestShutdownClosesWhatIsLeasedWhenItsCtxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 3})
		l, early := borrow(t, p), borrow(t, p)
		fill(t, p, 1)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errCause)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(ctx) }()
		time.Sleep(time.Minute / 2)
		giveBack(t, p, early)
		closedFor(t, "before ctx has ended", early.Value(), nil)
		if got := len(l.Value().closedWith()); got != 0 {
			t.Error("a leased connection was closed before ctx had ended")
		}
		time.Sleep(time.Minute / 2)
		err := <-done
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errCause) {
			t.Errorf("Shutdown returned %v, want one that wraps both ctx.Err and its cause", err)
		}
		closedFor(t, "after ctx has ended", l.Value(), ErrClosed)
		giveBack(t, p, l)
		x.allClosedOnce(t)
	})
}

func TestShutdownWithACtxThatHasEndedSucceedsIfNothingIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // not by luck
		var x exchange
		p := start(t, x.factory(), Config{})
		if err := p.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown of an empty pool returned %v", err)
		}
	}
}

// vitess#20122, #20157, puddle 2.2.3: a dial that finishes after Close waits for ever.
func TestCloseDuringAnOpen(t *testing.T) {
	for name, end := range ends {
		for _, how := range []string{"succeeds", "fails", "succeeds in spite of its ctx", "never returns"} {
			bubble(t, name+" and Open "+how, func(t *testing.T) {
				never, _ := obstacle(t)
				x := exchange{open: func(ctx context.Context, _ int) error {
					switch how {
					case "succeeds":
						<-ctx.Done()
						if got := context.Cause(ctx); got != ErrClosed {
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
					return errDial
				}}
				p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, OpenTimeout: time.Hour})
				r := ask(t.Context(), p)
				began := time.Now()
				if err := end(p); err != nil {
					t.Errorf("%s returned %v", name, err)
				}
				if got := time.Since(began); got > closeGrace {
					t.Errorf("%s took %v", name, got)
				}
				r.failed(t, "after "+name, ErrClosed)
				lendsNothing(t, p)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				x.allClosedOnce(t)
				if how != "never returns" {
					if got := p.Stats(); got.VacantConnections() != 1 {
						t.Errorf("at the end %+v, want the slot back", got)
					}
				}
			})
		}
	}
}

func TestCloseWaitsForFactoryCloseButNotForEver(t *testing.T) {
	for _, takes := range []time.Duration{time.Second / 2, time.Hour} {
		bubble(t, takes.String(), func(t *testing.T) {
			x := exchange{closing: func(*wire, error) error { time.Sleep(takes); return errCause }}
			p := start(t, x.factory(), Config{MaxConnections: 3})
			l := borrow(t, p)
			fill(t, p, 2)
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Errorf("Close returned %v", err)
			}
			if got, want := time.Since(began), min(takes, time.Second); got != want {
				t.Errorf("Close took %v, want %v", got, want)
			}
			giveBack(t, p, l)
			x.allClosedOnce(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.Shutdown(ctx); (err == nil) != (takes < time.Hour) {
				t.Errorf("Shutdown returned %v when Close takes %v", err, takes)
			}
			time.Sleep(2 * takes)
		})
	}
}

func TestCloseEndsAShutdownThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		l := borrow(t, p)
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
		giveBack(t, p, l)
		x.allClosedOnce(t)
	})
}

// A Get that is in Factory.Check when the pool is closed has the connection taken
// from it.
func TestCloseDuringACheckLendsNothing(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		bubble(t, way, func(t *testing.T) {
			hang, release := obstacle(t)
			var x exchange
			f := x.factory()
			f.Check = func(*wire) error { <-hang; return nil }
			p := start(t, f, Config{MaxConnections: 1, CheckInterval: -1})
			fill(t, p, 1)
			var l Lease[*wire]
			err := ErrClosed
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
			if l != (Lease[*wire]{}) || err != ErrClosed {
				t.Errorf("%s returned (%v, %v) after Close had closed the connection", way, l.Value(), err)
			}
			synctest.Wait()
			x.allClosedOnce(t)
		})
	}
}

// The connection is closed by Close, and Put, which is in Clean, leaves it alone.
func TestCloseDuringACleanClosesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		var x exchange
		f := x.factory()
		f.Clean = func(*wire) error { <-hang; return errUnfit }
		p := start(t, f, Config{MaxConnections: 1})
		l := borrow(t, p)
		done := make(chan error, 1)
		go func() { done <- p.Put(l) }()
		synctest.Wait()
		p.Close()
		release()
		if err := <-done; err != nil {
			t.Errorf("Put returned %v", err)
		}
		closedFor(t, "at the end", l.Value(), ErrClosed)
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

func closeAgainstEverything(t *testing.T, end func(*Pool[*wire]) error, round int) {
	x := exchange{open: func(_ context.Context, attempt int) error {
		if attempt%5 == 4 {
			return errDial
		}
		return nil
	}}
	f, broken := watched(&x)
	p := start(t, f, Config{MaxConnections: 3, MaxWaiters: 50})
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
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					continue
				}
				err = nil
				switch (g + i) % 6 {
				case 0:
					err = p.Discard(l, errCause)
				case 1:
					var w *wire
					if w, err = p.Detach(l); err == nil {
						detached.Store(w, true)
					} else if err == ErrClosed {
						err = nil
					}
				case 2:
					broken(l.Value().number, errCause)
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
	for _, w := range x.opened() {
		_, kept := detached.Load(w)
		if n := len(w.closedWith()); kept && n != 0 || !kept && n != 1 {
			t.Fatalf("connection %d, detached %v, was closed %d times", w.number, kept, n)
		}
	}
}
