package lending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// looked returns a pool with n idle connections and this Check.
func looked(t *testing.T, x *testkit.Exchange, n int, check func(w *testkit.Wire) error) *pool.Pool[*testkit.Wire] {
	t.Helper()
	f := x.Factory()
	f.Check = check
	p := testkit.Start(t, f, pool.Config{MaxConnections: n, MaxIdleTime: -1, CheckInterval: -1})
	testkit.Fill(t, p, n)
	synctest.Wait()
	return p
}

// A Check that pings a server which has stalled. The ctx of the Get ends it; the connection
// is whose turn it is when Check has returned.
func TestAGetThatIsInCheckReturnsWhenItsCtxEnds(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		for _, waits := range []bool{false, true} {
			testkit.Bubble(t, name, func(t *testing.T) {
				var x testkit.Exchange
				p := looked(t, &x, 1, func(*testkit.Wire) error { time.Sleep(2 * time.Second); return verdict })
				ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, testkit.ErrCause)
				defer cancel()
				began := time.Now()
				l, err := p.Get(ctx)
				if took := time.Since(began); took != 50*time.Millisecond {
					t.Errorf("Get took %v, want 50ms", took)
				}
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, testkit.ErrCause) || l != (pool.Lease[*testkit.Wire]{}) {
					t.Errorf("Get returned (%v, %v), want no lease, and the end of ctx", l.Value(), err)
				}
				if _, ok := p.TryGet(); ok {
					t.Error("a connection was lent that is being checked")
				}
				var next *testkit.Request[*testkit.Wire]
				if waits {
					next = testkit.Ask(t.Context(), p)
					next.Pending(t, "while the connection is checked")
				}
				testkit.Sleep(2*time.Second - 50*time.Millisecond)
				if waits {
					l := next.Served(t, "when Check has returned")
					if got, want := l.Value().Number, 1; verdict == nil && got != want {
						t.Errorf("connection %d was lent, want %d", got, want)
					}
					testkit.GiveBack(t, p, l)
				} else if got := p.Stats(); got.IdleConnections != 1 && verdict == nil || got.ClosedCheck != 1 && verdict != nil {
					t.Errorf("when Check has returned: %+v", got)
				}
				testkit.Sleep(5 * time.Second) // for a Check of what was given back
				testkit.AtRest(t, p, 0)
			})
		}
	}
}

// While a look is left behind, TryGet does not find its connection. So a quick one is not.
func TestAGetDoesNotLeaveAQuickCheckBehind(t *testing.T) {
	for takes, want := range map[time.Duration]time.Duration{
		core.LookGrace / 2: core.LookGrace / 2,
		core.LookGrace * 5: core.LookGrace,
	} {
		testkit.Bubble(t, takes.String(), func(t *testing.T) {
			var x testkit.Exchange
			takes := takes
			p := looked(t, &x, 1, func(*testkit.Wire) error { time.Sleep(takes); return nil })
			ctx, cancel := context.WithTimeout(t.Context(), core.LookGrace/4)
			defer cancel()
			began := time.Now()
			if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get returned %v, want the end of ctx", err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("Get took %v, want %v", took, want)
			}
			if got := p.Stats().IdleConnections; got != 1 && takes == want {
				t.Errorf("%d connections are idle when Get has returned, want 1", got)
			}
			testkit.Sleep(time.Second)
			testkit.AtRest(t, p, 0)
		})
	}
}

func TestCloseEndsAGetThatIsInCheck(t *testing.T) {
	testkit.Bubble(t, "Close", func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		p := looked(t, &x, 1, func(*testkit.Wire) error { <-hang; return nil })
		r := testkit.Ask(context.Background(), p)
		r.Pending(t, "while Check hangs")
		p.Close()
		r.Failed(t, "after Close", pool.ErrClosed)
		x.AllClosedOnce(t)
		release()
		synctest.Wait()
		x.AllClosedOnce(t)
		testkit.AtRest(t, p, 0)
	})
}

// apart reports whether the calling Check is not called in the goroutine of a Get.
func apart() bool {
	pc := make([]uintptr, 50)
	frames := runtime.CallersFrames(pc[:runtime.Callers(1, pc)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".lookApart") {
			return true
		}
		if !more {
			return false
		}
	}
}

// A goroutine for each Check would cost more than the Check.
func TestACheckThatIsKnownToBeQuickIsCalledByTheGetItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		took := time.Duration(0)
		var isApart bool
		p := looked(t, &x, 1, func(*testkit.Wire) error { isApart = apart(); time.Sleep(took); return nil })
		// until makes Gets until one has called Check itself, and returns how many did not.
		until := func() (n int) {
			for ; n < 1000; n++ {
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
				synctest.Wait() // the first call of Check causes a pass
				if !isApart {
					break
				}
			}
			return n
		}
		if got := until(); got != core.Tryout {
			t.Errorf("at first %d looks are apart, want %d", got, core.Tryout)
		}
		if got := until(); got != 0 {
			t.Errorf("then %d looks are apart, want none", got)
		}
		testkit.Sleep(2 * time.Second) // until the next pass
		if got := until(); got != core.Tryout {
			t.Errorf("after a while %d looks are apart, want %d", got, core.Tryout)
		}
		testkit.Sleep(2 * time.Second)
		took = time.Millisecond
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		took = 0
		if got := until(); got != core.Suspicion {
			t.Errorf("after a slow one %d looks are apart, want %d", got, core.Suspicion)
		}
	})
}

func TestAGetSameCallsACheckThatIsKnownToBeQuickItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var isApart bool
		p := looked(t, &x, 1, func(*testkit.Wire) error { isApart = apart(); return nil })
		var l pool.Lease[*testkit.Wire]
		for range core.Tryout {
			l = testkit.Borrow(t, p)
			testkit.GiveBack(t, p, l)
			synctest.Wait()
		}
		if !isApart {
			t.Fatal("no look was apart")
		}
		l, err := p.GetSame(t.Context(), l.Mark())
		if err != nil || isApart {
			t.Errorf("GetSame returned %v; its look was apart: %v, want that it is not", err, isApart)
		}
		testkit.GiveBack(t, p, l)
	})
}

// A ctx that ends while its Done is being asked for.
type dawdling struct {
	context.Context
	end func()
}

func (d dawdling) Done() <-chan struct{} {
	time.Sleep(2 * core.LookGrace)
	d.end()
	return d.Context.Done()
}

// Check has returned and ctx has ended before the Get looks: whichever it sees first.
func TestAGetWhoseCtxHasEndedDuringItsCheckGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := looked(t, &x, 1, func(*testkit.Wire) error {
			time.Sleep(core.LookGrace) // so that the next look is apart as well
			return nil
		})
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			if l, err := p.Get(dawdling{ctx, cancel}); err == nil {
				t.Fatalf("Get lent connection %d though its ctx had ended", l.Value().Number)
			}
			synctest.Wait()
		}
		testkit.IdleIs(t, p, "in the end", 1)
	})
}

// While a Get has a connection checked, somebody asks for it by its Mark, and waits on or leaves.
func TestWhatIsCheckedForAGetGoesToWhoWaitsForItAlone(t *testing.T) {
	for _, stays := range []bool{true, false} {
		testkit.Bubble(t, fmt.Sprint("stays=", stays), func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			var x testkit.Exchange
			var slow bool
			p := looked(t, &x, 1, func(*testkit.Wire) error {
				if slow {
					<-hang
				}
				return nil
			})
			l := testkit.Borrow(t, p)
			testkit.GiveBack(t, p, l)
			synctest.Wait()
			slow = true
			r := testkit.Ask(t.Context(), p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			same := testkit.AskSame(ctx, p, l.Mark())
			same.Pending(t, "while it is checked")
			if !stays {
				cancel()
				same.Failed(t, "after its cancel", context.Canceled)
			}
			release()
			if stays {
				l := same.Served(t, "after the check")
				r.Pending(t, "while the other has the connection")
				testkit.GiveBack(t, p, l)
			}
			testkit.EndWithIdle(t, p, 1, r.Served(t, "in the end"))
		})
	}
}

// A Check ends its goroutine after it has been given up: somebody else has answered the Get.
func TestALookThatEndsItsGoroutineTooLateChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		var calls int
		p := looked(t, &x, 1, func(*testkit.Wire) error {
			if calls++; calls == 1 {
				<-hang
				runtime.Goexit()
			}
			return nil
		})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(core.CallLimit + 3*time.Second)
		l := r.Served(t, "by another connection")
		release()
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// A Check that panics, or ends its goroutine, ends neither the Get nor its wait.
func TestAPanicInALookApartReachesNobody(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic(testkit.ErrCause) }, "Goexit": runtime.Goexit} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			p := looked(t, &x, 1, func(w *testkit.Wire) error {
				if w.Number == 1 {
					end()
				}
				return nil
			})
			l := testkit.Borrow(t, p)
			if got := l.Value().Number; got != 2 {
				t.Errorf("connection %d was lent, want the second", got)
			}
			testkit.GiveBack(t, p, l)
			synctest.Wait()
			if got := p.Stats(); got.ClosedCheck != 1 || got.IdleConnections != 1 {
				t.Errorf("at the end %+v, want one closed by Check, one idle", got)
			}
			testkit.AtRest(t, p, 0)
		})
	}
}

// Who has come to wait looks once more at what is idle. Its wait goes on meanwhile: it ends
// with ctx, and is served by what is opened.
func TestAWaiterWhoseOwnLookHangsIsServedAndCanLeave(t *testing.T) {
	for _, room := range []bool{false, true} {
		testkit.Bubble(t, "", func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			var x testkit.Exchange
			f := x.Factory()
			hangs := false
			f.Check = func(w *testkit.Wire) error {
				if hangs {
					<-hang
				}
				return nil
			}
			max := 2
			if room {
				max = 3
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: max, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1})
			a := testkit.Borrow(t, p)
			synctest.Wait() // the end of its attempt would open one more for the next Get
			b := testkit.Borrow(t, p)
			synctest.Wait() // or for whoever counts as waiting
			testkit.Inside(p).Gate.Add(uint64(words.GateWaiter))
			testkit.GiveBack(t, p, b) // idle, while somebody counts as waiting
			synctest.Wait()
			hangs = true
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			r := testkit.Ask(ctx, p)
			synctest.Wait()
			testkit.Inside(p).Gate.Sub(uint64(words.GateWaiter))
			if room {
				testkit.GiveBack(t, p, r.Served(t, "by what was opened"))
			} else {
				r.Pending(t, "while its look hangs")
				testkit.Sleep(time.Second / 2)
				r.Failed(t, "when its ctx has ended", context.DeadlineExceeded)
			}
			release()
			testkit.GiveBack(t, p, a)
			synctest.Wait()
			testkit.AtRest(t, p, 0)
			testkit.Whole(t, p, max)
		})
	}
}
