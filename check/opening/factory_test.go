package opening

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

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// misbehaviours are the ways not to return from a factory function, each with what
// is found in the error that comes of it.
var misbehaviours = map[string]struct {
	do   func()
	want string
}{
	"panics":         {func() { panic("boom") }, "boom"},
	"panics, error":  {func() { panic(testkit.ErrCause) }, testkit.ErrCause.Error()},
	"panics, nil":    {func() { panic(nil) }, "nil"},
	"calls Goexit":   {runtime.Goexit, "Goexit"},
	"index is wrong": {func() { _ = make([]int, 0)[len(core.ErrNilConn.Error())] }, "index out of range"},
}

// go#13677, commons-pool POOL-336: a panic in the driver leaves a lock held or a slot
// lost.
func TestAPanicInOpenIsTheErrorOfGetAndTheSlotComesBack(t *testing.T) {
	for name, mis := range misbehaviours {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
				if attempt <= 3 {
					mis.do()
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
			for range 3 {
				_, err := p.Get(t.Context())
				if err == nil || !strings.Contains(err.Error(), mis.want) {
					t.Errorf("Open %s: Get returned %v, want %q in it", name, err, mis.want)
				}
				if name == "panics, error" && !errors.Is(err, testkit.ErrCause) {
					t.Errorf("errors.Is does not find the value of the panic in %v", err)
				}
				synctest.Wait() // the attempt has left, and begins none for the next one
			}
			if got := p.Stats(); got.OpenErrors != 3 || got.Opened != 0 {
				t.Errorf("Open %s: %+v", name, got)
			}
			testkit.Whole(t, p, 1)
		})
	}
}

func TestAPanicInWatchIsTheErrorOfGetAndTheConnectionIsClosed(t *testing.T) {
	for name, mis := range misbehaviours {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			f.Watch = func(w *testkit.Wire, _ func(error)) {
				if w.Number == 1 {
					mis.do()
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
			_, err := p.Get(t.Context())
			if err == nil || !strings.Contains(err.Error(), mis.want) {
				t.Errorf("Watch %s: Get returned %v, want %q in it", name, err, mis.want)
			}
			testkit.Whole(t, p, 1)
			if got := x.Opened()[0].ClosedWith(); len(got) != 1 || got[0] == nil {
				t.Errorf("Watch %s: the connection was closed with %v, want an error, once", name, got)
			}
			p.Close()
			x.AllClosedOnce(t)
		})
	}
}

func TestAPanicInCheckDestroysTheConnectionOnly(t *testing.T) {
	for name, mis := range misbehaviours {
		for _, way := range []string{"Get", "TryGet", "sweep"} {
			testkit.Bubble(t, name+" in "+way, func(t *testing.T) {
				var x testkit.Exchange
				f := x.Factory()
				f.Check = func(w *testkit.Wire) error {
					if w.Number == 1 {
						mis.do()
					}
					return nil
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: time.Minute})
				testkit.Fill(t, p, 1)
				done := make(chan struct{})
				go func() { // it may not survive
					defer close(done)
					switch way {
					case "Get":
						testkit.GiveBack(t, p, testkit.Borrow(t, p))
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
				got := x.Opened()[0].ClosedWith()
				if len(got) != 1 || got[0] == nil || !strings.Contains(got[0].Error(), mis.want) {
					t.Errorf("Check %s in %s: closed with %v, want %q, once", name, way, got, mis.want)
				}
				testkit.Whole(t, p, 1)
				testkit.Sleep(time.Hour) // the sweep goes on
				if got := p.Stats(); got.ClosedCheck != 1 || got.IdleConnections != 1 {
					t.Errorf("Check %s in %s: %+v", name, way, got)
				}
			})
		}
	}
}

func TestAPanicInCleanDestroysTheConnectionOnly(t *testing.T) {
	for name, mis := range misbehaviours {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			f.Clean = func(w *testkit.Wire) error {
				if w.Number == 1 {
					mis.do()
				}
				return nil
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
			l := testkit.Borrow(t, p)
			r := testkit.Ask(t.Context(), p)
			done := make(chan struct{})
			go func() { // it may not survive
				defer close(done)
				if err := p.Put(l); err != nil {
					t.Errorf("Put returned %v", err)
				}
			}()
			<-done
			testkit.GiveBack(t, p, r.Served(t, "after Clean failed"))
			got := x.Opened()[0].ClosedWith()
			if len(got) != 1 || got[0] == nil || !strings.Contains(got[0].Error(), mis.want) {
				t.Errorf("Clean %s: closed with %v, want %q, once", name, got, mis.want)
			}
			testkit.Whole(t, p, 1)
		})
	}
}

func TestAPanicInCloseLosesNothing(t *testing.T) {
	for name, mis := range misbehaviours {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { mis.do(); return testkit.ErrCause }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2})
			_ = p.Discard(testkit.Borrow(t, p), nil)
			testkit.Whole(t, p, 2)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown returned %v", err)
			}
			x.AllClosedOnce(t)
		})
	}
}

func TestOpenThatReturnsNothingIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, pool.Factory[*testkit.Wire]{Open: testkit.Opens[*testkit.Wire](nil), Close: func(*testkit.Wire, error) error { return nil }}, pool.Config{MaxConnections: 1})
		for range 3 {
			testkit.Ask(t.Context(), p).Failed(t, "nil pointer", core.ErrNilConn)
		}
		q := testkit.Start(t, pool.Factory[net.Conn]{Open: testkit.Opens[net.Conn](nil)}, pool.Config{MaxConnections: 1})
		for range 3 {
			testkit.Ask(t.Context(), q).Failed(t, "nil interface", core.ErrNilConn)
		}
		if got := q.Stats(); got.OpenErrors != 3 || got.VacantConnections() != 1 {
			t.Errorf("after three errors %+v", got)
		}
		// The zero value of another type is as good as any.
		n := testkit.Start(t, pool.Factory[int]{Open: testkit.Opens(0), Close: func(int, error) error { return nil }}, pool.Config{MaxConnections: 1})
		testkit.GiveBack(t, n, testkit.Borrow(t, n))
	})
}

// redis#3089: a background dial without a timeout.
func TestOpenIsGivenOpenTimeout(t *testing.T) {
	tests := []struct {
		timeout time.Duration
		want    time.Duration // 0: none
	}{{0, 10 * time.Second}, {time.Second, time.Second}, {-1, 0}}
	for _, tt := range tests {
		testkit.Bubble(t, tt.timeout.String(), func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-hang:
					return nil
				}
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenTimeout: tt.timeout, MaxWaitTime: -1})
			r := testkit.Ask(t.Context(), p)
			if tt.want == 0 {
				testkit.Sleep(time.Hour)
				synctest.Wait() // a sweep may fall on this very instant
				r.Pending(t, "without a limit")
				release()
				testkit.GiveBack(t, p, r.Served(t, "at last"))
				return
			}
			testkit.Sleep(tt.want - 1)
			r.Pending(t, "before OpenTimeout")
			testkit.Sleep(time.Nanosecond)
			r.Failed(t, "at OpenTimeout", context.DeadlineExceeded)
			release()
			testkit.Whole(t, p, 1)
		})
	}
}

// pgx#1259, pgx#1287: a dial tied to a short caller context never completes, so the
// pool never fills. hackney#462, node-postgres#3721: success after the caller's
// timeout leaks the slot.
func TestOpenOutlivesItsCallerAndItsConnectionIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("Open sees the value %v of its caller's ctx", got)
			}
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 10*time.Second {
				t.Errorf("Open sees the deadline %v, want that of OpenTimeout", deadline)
			}
			time.Sleep(3 * time.Second)
			return ctx.Err()
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, OpenContext: testkit.SameContext})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), 900*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get returned %v, want %v", err, context.DeadlineExceeded)
		}
		if got := time.Since(began); got != 900*time.Millisecond {
			t.Errorf("Get returned after %v, want 900ms", got)
		}
		if got := p.Stats(); got.OpeningConnections != 1 {
			t.Errorf("after Get has given up %+v, want one being opened", got)
		}
		testkit.Sleep(2100 * time.Millisecond)
		if l, ok := p.TryGet(); !ok {
			t.Error("the connection is not idle once it is open")
		} else {
			testkit.GiveBack(t, p, l)
		}
	})
}

// redis#3571: a health check rejects good connections and puts them back.
func TestAConnectionThatCheckRejectsIsDestroyed(t *testing.T) {
	for _, way := range []string{"Get", "TryGet", "sweep"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			var x testkit.Exchange
			var unfit atomic.Bool
			f := x.Factory()
			f.Check = func(w *testkit.Wire) error {
				if unfit.Load() && w.Number <= 3 {
					return testkit.ErrUnfit
				}
				return nil
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 3, CheckInterval: time.Second, MaxIdleTime: -1})
			testkit.Fill(t, p, 3)
			testkit.Sleep(time.Minute + time.Second/2) // between two rounds of checks
			unfit.Store(true)
			switch way {
			case "Get":
				l := testkit.Borrow(t, p)
				if l.Value().Number != 4 {
					t.Errorf("Get lent connection %d, want a new one", l.Value().Number)
				}
				testkit.GiveBack(t, p, l)
			case "TryGet":
				if l, ok := p.TryGet(); ok {
					t.Errorf("TryGet lent connection %d", l.Value().Number)
				}
			case "sweep":
				testkit.Sleep(time.Second)
			}
			synctest.Wait()
			for _, w := range x.Opened()[:3] {
				if got := w.ClosedWith(); len(got) != 1 || got[0] != testkit.ErrUnfit {
					t.Errorf("%s: connection %d was closed with %v, want %v", way, w.Number, got, testkit.ErrUnfit)
				}
			}
			if got := p.Stats(); got.ClosedCheck != 3 {
				t.Errorf("%s: %+v, want 3 closed by Check", way, got)
			}
			testkit.Whole(t, p, 3)
		})
	}
}

func TestNobodyElseHasAConnectionDuringCheckAndClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		owned := make(chan struct{}, 1)
		own := func(*testkit.Wire) error {
			select {
			case owned <- struct{}{}:
			default:
				t.Error("the connection is somebody else's already")
			}
			time.Sleep(time.Millisecond)
			<-owned
			return nil
		}
		f := x.Factory()
		f.Check, f.Clean = own, own
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: 3 * time.Millisecond})
		for range 8 {
			go func() {
				for range 20 {
					l, err := p.Get(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					_ = own(l.Value())
					testkit.GiveBack(t, p, l)
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
		testkit.Sleep(4 * time.Second)
		testkit.Fill(t, p, 1)
		p.Close()
		testkit.Sleep(time.Second) // for a Check of the sweep
		if got := p.Stats(); got.VacantConnections() != 1 {
			t.Errorf("at the end %+v", got)
		}
	})
}

// mongo-driver#2051: a liveness read under the pool's lock. redis#3088, rueidis#761:
// a lock is held across a dial.
func TestAFactoryFunctionThatHangsDelaysNobodyElse(t *testing.T) {
	for _, which := range []string{"Close", "Check", "Clean"} {
		testkit.Bubble(t, which, func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			first := func(w *testkit.Wire) error {
				if w.Number == 1 {
					<-hang
				}
				return nil
			}
			var x testkit.Exchange
			f := x.Factory()
			switch which {
			case "Close":
				x.Closing = func(w *testkit.Wire, _ error) error { return first(w) }
			case "Check":
				f.Check = first
			case "Clean":
				f.Clean = first
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: time.Second, CheckInterval: time.Minute, MaxIdleTime: -1})
			go func() {
				l := testkit.Borrow(t, p)
				if which == "Close" {
					_ = p.Discard(l, nil)
					return
				}
				_ = p.Put(l)
			}()
			testkit.Sleep(2 * time.Minute) // the sweep comes by
			for range 100 {
				l := testkit.Borrow(t, p)
				if l.Value().Number == 1 {
					t.Fatalf("%s hangs, but its connection was lent", which)
				}
				testkit.GiveBack(t, p, l)
			}
			// Nor is the slot lost for others, and the end of a wait is not delayed.
			l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
			r := testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Second)
			r.Failed(t, which+" hangs", pool.ErrExhausted)
			testkit.GiveBack(t, p, l)
			testkit.GiveBack(t, p, m)
			release()
			testkit.Whole(t, p, 2)
		})
	}
}

// The same for Open and Watch, which are called on behalf of a caller: of one that
// still waits, and of one that has given up.
func TestAnOpenThatHangsDelaysItsOwnCallerOnly(t *testing.T) {
	for _, patience := range []time.Duration{time.Hour, time.Second} {
		for _, which := range []string{"Open", "Watch"} {
			testkit.Bubble(t, fmt.Sprintf("%s/patience=%v", which, patience), func(t *testing.T) {
				hang, release := testkit.Obstacle(t)
				x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
					if which == "Open" && attempt == 1 {
						<-hang
					}
					return nil
				}}
				f := x.Factory()
				f.Watch = func(w *testkit.Wire, _ func(error)) {
					if which == "Watch" && w.Number == 1 {
						<-hang
					}
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: 3 * time.Second})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				first := testkit.Ask(ctx, p)
				testkit.Sleep(2 * time.Second)
				second := testkit.Ask(t.Context(), p)
				if patience > time.Second { // it comes first
					testkit.GiveBack(t, p, first.Served(t, "with what was opened for the second"))
				}
				testkit.GiveBack(t, p, second.Served(t, which+" hangs for another caller"))
				release()
				testkit.Whole(t, p, 2)
			})
		}
	}
}

// redis-py#2624, #2665: a connection with something unread in it is never lent again.
func TestAConnectionThatCleanRejectsIsNotLentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		f.Clean = func(w *testkit.Wire) error {
			if w.Number == 1 {
				return testkit.ErrUnfit
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, l) // Put has done what it was asked for
		next := r.Served(t, "after Put")
		if next.Value().Number != 2 {
			t.Errorf("connection %d was lent after Clean rejected the first", next.Value().Number)
		}
		if got := x.Opened()[0].ClosedWith(); len(got) != 1 || got[0] != testkit.ErrUnfit {
			t.Errorf("the connection was closed with %v, want %v", got, testkit.ErrUnfit)
		}
		if got := p.Stats(); got.ClosedClean != 1 {
			t.Errorf("%+v, want one closed by Clean", got)
		}
		testkit.GiveBack(t, p, next)
		_ = p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return nil })
		if got := p.Stats(); got.IdleConnections != 1 || got.ClosedClean != 1 {
			t.Errorf("%+v, want the second one idle", got)
		}
	})
}
