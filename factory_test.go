package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// misbehaviours are the ways not to return from a factory function, each with what
// is found in the error that comes of it.
var misbehaviours = map[string]struct {
	do   func()
	want string
}{
	"panics":         {func() { panic("boom") }, "boom"},
	"panics, error":  {func() { panic(errCause) }, errCause.Error()},
	"panics, nil":    {func() { panic(nil) }, "nil"},
	"calls Goexit":   {runtime.Goexit, "Goexit"},
	"index is wrong": {func() { _ = make([]int, 0)[len(errNilConn.Error())] }, "index out of range"},
}

// whole fails the test unless n connections can be leased at the same time, and no
// more, and all of them idle again.
func whole(t *testing.T, p *Pool[*wire], n int) {
	t.Helper()
	synctest.Wait()
	if got := p.Stats(); got.ActiveConnections != 0 || got.OpeningConnections != 0 || got.WaitingRequests != 0 {
		t.Fatalf("the pool does not rest: %+v", got)
	}
	fill(t, p, n)
	if got := p.Stats(); got.IdleConnections != n || got.VacantConnections() != 0 {
		t.Errorf("the pool is not whole: %+v", got)
	}
}

// go#13677, commons-pool POOL-336: a panic in the driver leaves a lock held or a slot
// lost.
func TestAPanicInOpenIsTheErrorOfGetAndTheSlotComesBack(t *testing.T) {
	for name, mis := range misbehaviours {
		bubble(t, name, func(t *testing.T) {
			x := exchange{open: func(_ context.Context, attempt int) error {
				if attempt <= 3 {
					mis.do()
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 1})
			for range 3 {
				_, err := p.Get(t.Context())
				if err == nil || !strings.Contains(err.Error(), mis.want) {
					t.Errorf("Open %s: Get returned %v, want %q in it", name, err, mis.want)
				}
				if name == "panics, error" && !errors.Is(err, errCause) {
					t.Errorf("errors.Is does not find the value of the panic in %v", err)
				}
			}
			if got := p.Stats(); got.OpenErrors != 3 || got.Opened != 0 {
				t.Errorf("Open %s: %+v", name, got)
			}
			whole(t, p, 1)
		})
	}
}

func TestAPanicInWatchIsTheErrorOfGetAndTheConnectionIsClosed(t *testing.T) {
	for name, mis := range misbehaviours {
		bubble(t, name, func(t *testing.T) {
			var x exchange
			f := x.factory()
			f.Watch = func(w *wire, _ func(error)) {
				if w.number == 1 {
					mis.do()
				}
			}
			p := start(t, f, Config{MaxConnections: 1})
			_, err := p.Get(t.Context())
			if err == nil || !strings.Contains(err.Error(), mis.want) {
				t.Errorf("Watch %s: Get returned %v, want %q in it", name, err, mis.want)
			}
			whole(t, p, 1)
			if got := x.opened()[0].closedWith(); len(got) != 1 || got[0] == nil {
				t.Errorf("Watch %s: the connection was closed with %v, want an error, once", name, got)
			}
			p.Close()
			x.allClosedOnce(t)
		})
	}
}

func TestAPanicInCheckDestroysTheConnectionOnly(t *testing.T) {
	for name, mis := range misbehaviours {
		for _, way := range []string{"Get", "TryGet", "sweep"} {
			bubble(t, name+" in "+way, func(t *testing.T) {
				var x exchange
				f := x.factory()
				f.Check = func(w *wire) error {
					if w.number == 1 {
						mis.do()
					}
					return nil
				}
				p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: time.Minute})
				fill(t, p, 1)
				done := make(chan struct{})
				go func() { // it may not survive
					defer close(done)
					switch way {
					case "Get":
						giveBack(t, p, borrow(t, p))
					case "TryGet":
						if _, ok := p.TryGet(); ok {
							t.Error("TryGet lent the connection")
						}
					case "sweep":
						time.Sleep(time.Minute)
					}
				}()
				<-done
				synctest.Wait()
				got := x.opened()[0].closedWith()
				if len(got) != 1 || got[0] == nil || !strings.Contains(got[0].Error(), mis.want) {
					t.Errorf("Check %s in %s: closed with %v, want %q, once", name, way, got, mis.want)
				}
				whole(t, p, 1)
				time.Sleep(time.Hour) // the sweep goes on
				if got := p.Stats(); got.ClosedCheck != 1 || got.IdleConnections != 1 {
					t.Errorf("Check %s in %s: %+v", name, way, got)
				}
			})
		}
	}
}

func TestAPanicInCleanDestroysTheConnectionOnly(t *testing.T) {
	for name, mis := range misbehaviours {
		bubble(t, name, func(t *testing.T) {
			var x exchange
			f := x.factory()
			f.Clean = func(w *wire) error {
				if w.number == 1 {
					mis.do()
				}
				return nil
			}
			p := start(t, f, Config{MaxConnections: 1})
			l := borrow(t, p)
			r := ask(t.Context(), p)
			done := make(chan struct{})
			go func() { // it may not survive
				defer close(done)
				if err := p.Put(l); err != nil {
					t.Errorf("Put returned %v", err)
				}
			}()
			<-done
			giveBack(t, p, r.served(t, "after Clean failed"))
			got := x.opened()[0].closedWith()
			if len(got) != 1 || got[0] == nil || !strings.Contains(got[0].Error(), mis.want) {
				t.Errorf("Clean %s: closed with %v, want %q, once", name, got, mis.want)
			}
			whole(t, p, 1)
		})
	}
}

func TestAPanicInCloseLosesNothing(t *testing.T) {
	for name, mis := range misbehaviours {
		bubble(t, name, func(t *testing.T) {
			x := exchange{closing: func(*wire, error) error { mis.do(); return errCause }}
			p := start(t, x.factory(), Config{MaxConnections: 2})
			_ = p.Discard(borrow(t, p), nil)
			whole(t, p, 2)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown returned %v", err)
			}
			x.allClosedOnce(t)
		})
	}
}

func TestOpenThatReturnsNothingIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Factory[*wire]{Open: opens[*wire](nil), Close: func(*wire, error) error { return nil }}, Config{MaxConnections: 1})
		for range 3 {
			ask(t.Context(), p).failed(t, "nil pointer", errNilConn)
		}
		q := start(t, Factory[net.Conn]{Open: opens[net.Conn](nil)}, Config{MaxConnections: 1})
		for range 3 {
			ask(t.Context(), q).failed(t, "nil interface", errNilConn)
		}
		if got := q.Stats(); got.OpenErrors != 3 || got.VacantConnections() != 1 {
			t.Errorf("after three errors %+v", got)
		}
		// The zero value of another type is as good as any.
		n := start(t, Factory[int]{Open: opens(0), Close: func(int, error) error { return nil }}, Config{MaxConnections: 1})
		giveBack(t, n, borrow(t, n))
	})
}

// redis#3089: a background dial without a timeout.
func TestOpenIsGivenOpenTimeout(t *testing.T) {
	tests := []struct {
		timeout time.Duration
		want    time.Duration // 0: none
	}{{0, 10 * time.Second}, {time.Second, time.Second}, {-1, 0}}
	for _, tt := range tests {
		bubble(t, tt.timeout.String(), func(t *testing.T) {
			hang, release := obstacle(t)
			x := exchange{open: func(ctx context.Context, _ int) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-hang:
					return nil
				}
			}}
			p := start(t, x.factory(), Config{MaxConnections: 1, OpenTimeout: tt.timeout, MaxWaitTime: -1})
			r := ask(t.Context(), p)
			if tt.want == 0 {
				time.Sleep(time.Hour)
				synctest.Wait() // a sweep may fall on this very instant
				r.pending(t, "without a limit")
				release()
				giveBack(t, p, r.served(t, "at last"))
				return
			}
			time.Sleep(tt.want - 1)
			r.pending(t, "before OpenTimeout")
			time.Sleep(time.Nanosecond)
			r.failed(t, "at OpenTimeout", context.DeadlineExceeded)
			release()
			whole(t, p, 1)
		})
	}
}

// pgx#1259, pgx#1287: a dial tied to a short caller context never completes, so the
// pool never fills. hackney#462, node-postgres#3721: success after the caller's
// timeout leaks the slot.
func TestOpenOutlivesItsCallerAndItsConnectionIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		x := exchange{open: func(ctx context.Context, _ int) error {
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("Open sees the value %v of its caller's ctx", got)
			}
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 10*time.Second {
				t.Errorf("Open sees the deadline %v, want that of OpenTimeout", deadline)
			}
			time.Sleep(3 * time.Second)
			return ctx.Err()
		}}
		p := start(t, x.factory(), Config{MaxConnections: 1})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get returned %v, want %v", err, context.DeadlineExceeded)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("Get returned after %v, want 1s", got)
		}
		if got := p.Stats(); got.OpeningConnections != 1 {
			t.Errorf("after Get has given up %+v, want one being opened", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if l, ok := p.TryGet(); !ok {
			t.Error("the connection is not idle once it is open")
		} else {
			giveBack(t, p, l)
		}
	})
}

// redis#3571: a health check rejects good connections and puts them back.
func TestAConnectionThatCheckRejectsIsDestroyed(t *testing.T) {
	for _, way := range []string{"Get", "TryGet", "sweep"} {
		bubble(t, way, func(t *testing.T) {
			var x exchange
			var unfit atomic.Bool
			f := x.factory()
			f.Check = func(w *wire) error {
				if unfit.Load() && w.number <= 3 {
					return errUnfit
				}
				return nil
			}
			p := start(t, f, Config{MaxConnections: 3, CheckInterval: time.Second, MaxIdleTime: -1})
			fill(t, p, 3)
			time.Sleep(time.Minute + time.Second/2) // between two rounds of checks
			unfit.Store(true)
			switch way {
			case "Get":
				l := borrow(t, p)
				if l.Value().number != 4 {
					t.Errorf("Get lent connection %d, want a new one", l.Value().number)
				}
				giveBack(t, p, l)
			case "TryGet":
				if l, ok := p.TryGet(); ok {
					t.Errorf("TryGet lent connection %d", l.Value().number)
				}
			case "sweep":
				time.Sleep(time.Second)
			}
			synctest.Wait()
			for _, w := range x.opened()[:3] {
				if got := w.closedWith(); len(got) != 1 || got[0] != errUnfit {
					t.Errorf("%s: connection %d was closed with %v, want %v", way, w.number, got, errUnfit)
				}
			}
			if got := p.Stats(); got.ClosedCheck != 3 {
				t.Errorf("%s: %+v, want 3 closed by Check", way, got)
			}
			whole(t, p, 3)
		})
	}
}

func TestNobodyElseHasAConnectionDuringCheckAndClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		owned := make(chan struct{}, 1)
		own := func(*wire) error {
			select {
			case owned <- struct{}{}:
			default:
				t.Error("the connection is somebody else's already")
			}
			time.Sleep(time.Millisecond)
			<-owned
			return nil
		}
		f := x.factory()
		f.Check, f.Clean = own, own
		p := start(t, f, Config{MaxConnections: 1, CheckInterval: 3 * time.Millisecond})
		for range 8 {
			go func() {
				for range 20 {
					l, err := p.Get(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					_ = own(l.Value())
					giveBack(t, p, l)
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
		time.Sleep(4 * time.Second)
		fill(t, p, 1)
		p.Close()
		time.Sleep(time.Second) // for a Check of the sweep
		if got := p.Stats(); got.VacantConnections() != 1 {
			t.Errorf("at the end %+v", got)
		}
	})
}

// mongo-driver#2051: a liveness read under the pool's lock. redis#3088, rueidis#761:
// a lock is held across a dial.
func TestAFactoryFunctionThatHangsDelaysNobodyElse(t *testing.T) {
	for _, which := range []string{"Close", "Check", "Clean"} {
		bubble(t, which, func(t *testing.T) {
			hang, release := obstacle(t)
			first := func(w *wire) error {
				if w.number == 1 {
					<-hang
				}
				return nil
			}
			var x exchange
			f := x.factory()
			switch which {
			case "Close":
				x.closing = func(w *wire, _ error) error { return first(w) }
			case "Check":
				f.Check = first
			case "Clean":
				f.Clean = first
			}
			p := start(t, f, Config{MaxConnections: 2, MaxWaitTime: time.Second, CheckInterval: time.Minute, MaxIdleTime: -1})
			go func() {
				l := borrow(t, p)
				if which == "Close" {
					_ = p.Discard(l, nil)
					return
				}
				_ = p.Put(l)
			}()
			time.Sleep(2 * time.Minute) // the sweep comes by
			synctest.Wait()
			for range 100 {
				l := borrow(t, p)
				if l.Value().number == 1 {
					t.Fatalf("%s hangs, but its connection was lent", which)
				}
				giveBack(t, p, l)
			}
			// Nor is the slot lost for others, and the end of a wait is not delayed.
			l, m := borrow(t, p), borrow(t, p)
			r := ask(t.Context(), p)
			time.Sleep(time.Second)
			r.failed(t, which+" hangs", ErrExhausted)
			giveBack(t, p, l)
			giveBack(t, p, m)
			release()
			whole(t, p, 2)
		})
	}
}

// The same for Open and Watch, which are called on behalf of a caller: of one that
// still waits, and of one that has given up.
func TestAnOpenThatHangsDelaysItsOwnCallerOnly(t *testing.T) {
	for _, patience := range []time.Duration{time.Hour, time.Second} {
		for _, which := range []string{"Open", "Watch"} {
			bubble(t, fmt.Sprintf("%s/patience=%v", which, patience), func(t *testing.T) {
				hang, release := obstacle(t)
				x := exchange{open: func(_ context.Context, attempt int) error {
					if which == "Open" && attempt == 1 {
						<-hang
					}
					return nil
				}}
				f := x.factory()
				f.Watch = func(w *wire, _ func(error)) {
					if which == "Watch" && w.number == 1 {
						<-hang
					}
				}
				p := start(t, f, Config{MaxConnections: 2, MaxWaitTime: 3 * time.Second})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				first := ask(ctx, p)
				time.Sleep(2 * time.Second)
				second := ask(t.Context(), p)
				if patience > time.Second { // it comes first
					giveBack(t, p, first.served(t, "with what was opened for the second"))
				}
				giveBack(t, p, second.served(t, which+" hangs for another caller"))
				release()
				whole(t, p, 2)
			})
		}
	}
}

// redis-py#2624, #2665: a connection with something unread in it is never lent again.
func TestAConnectionThatCleanRejectsIsNotLentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		f.Clean = func(w *wire) error {
			if w.number == 1 {
				return errUnfit
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 1})
		l := borrow(t, p)
		r := ask(t.Context(), p)
		giveBack(t, p, l) // Put has done what it was asked for
		next := r.served(t, "after Put")
		if next.Value().number != 2 {
			t.Errorf("connection %d was lent after Clean rejected the first", next.Value().number)
		}
		if got := x.opened()[0].closedWith(); len(got) != 1 || got[0] != errUnfit {
			t.Errorf("the connection was closed with %v, want %v", got, errUnfit)
		}
		if got := p.Stats(); got.ClosedClean != 1 {
			t.Errorf("%+v, want one closed by Clean", got)
		}
		giveBack(t, p, next)
		_ = p.Do(t.Context(), func(context.Context, *wire) error { return nil })
		if got := p.Stats(); got.IdleConnections != 1 || got.ClosedClean != 1 {
			t.Errorf("%+v, want the second one idle", got)
		}
	})
}
