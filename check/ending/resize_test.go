package ending

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

func resize(t *testing.T, p *pool.Pool[*testkit.Wire], n int) {
	t.Helper()
	if err := p.Resize(n); err != nil {
		t.Fatalf("Resize(%d): %v", n, err)
	}
}

// vitess#20187, #20081: capacity grows while callers wait, and they sleep on. Beyond the
// slots that the pool began with, and beyond those again.
func TestGrowingServesThoseWhoWaitAtOnce(t *testing.T) {
	for _, steps := range [][]int{{1, 2}, {1, 2, 3, 4, 5, 6, 7}, {4, 8}, {2, 70}, {3, 5, 200}, {64, 65, 129}} {
		testkit.Bubble(t, fmt.Sprint(steps), func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: steps[0], MaxWaitTime: -1, MaxIdleTime: -1})
			last := steps[len(steps)-1]
			var asked []*testkit.Request[*testkit.Wire]
			for range last + 1 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			for _, n := range steps {
				resize(t, p, n)
				synctest.Wait()
				for i, r := range asked {
					if i < n {
						r.Served(t, fmt.Sprintf("of %d: number %d", n, i+1))
					} else {
						r.Pending(t, fmt.Sprintf("of %d: number %d", n, i+1))
					}
				}
				if s := p.Stats(); s.MaxConnections != n || s.ActiveConnections != n || s.VacantConnections() != 0 {
					t.Errorf("of %d: %+v", n, testkit.Figures(p))
				}
			}
			// Every slot is as good as another, in whatever bank.
			testkit.GiveBack(t, p, asked[last-1].Lease)
			if got := asked[last].Served(t, "after a Put").Value(); got != asked[last-1].Lease.Value() {
				t.Errorf("connection %d was lent, want the one that was returned", got.Number)
			}
			for i, r := range asked {
				switch {
				case i == last-1:
				case i%5 == 3:
					if err := p.Discard(r.Lease, testkit.ErrCause); err != nil {
						t.Errorf("Discard: %v", err)
					}
				case i%5 == 4:
					if _, err := p.Detach(r.Lease); err != nil {
						t.Errorf("Detach: %v", err)
					}
				default:
					testkit.GiveBack(t, p, r.Lease)
					testkit.Refused(t, p, r.Lease, "a second time")
				}
			}
			testkit.Whole(t, p, last)
			for range last {
				if _, ok := p.TryGet(); !ok {
					t.Fatalf("TryGet does not find all of %d idle connections", last)
				}
			}
		})
	}
}

// Connections in the later banks are looked after like all others.
func TestConnectionsOfLaterBanksAreCheckedWatchedExpiredAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		var unfit atomic.Int32
		f.Check = func(w *testkit.Wire) error {
			if w.Number == int(unfit.Load()) {
				return testkit.ErrUnfit
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: time.Minute, CheckInterval: time.Second})
		l := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p)}
		resize(t, p, 2)
		l = append(l, testkit.Borrow(t, p))
		resize(t, p, 6)
		for range 4 {
			l = append(l, testkit.Borrow(t, p))
		}
		for i := range l {
			testkit.GiveBack(t, p, l[i])
		}
		broken(6, testkit.ErrCause)
		testkit.BrokenOnce(t, "when it breaks", l[5].Value(), testkit.ErrCause)
		unfit.Store(5)
		testkit.Sleep(2 * time.Second)
		testkit.BrokenOnce(t, "when Check objects", l[4].Value(), testkit.ErrUnfit)
		p.Reset()
		testkit.Sleep(time.Second)
		if s := p.Stats(); s.ClosedWatch != 1 || s.ClosedCheck != 1 || s.ClosedReset != 4 || s.IdleConnections != 0 {
			t.Errorf("closed: %d by Watch, %d by Check, %d by Reset, %d idle; want 1, 1, 4, 0", s.ClosedWatch, s.ClosedCheck, s.ClosedReset, s.IdleConnections)
		}
		unfit.Store(0)
		testkit.Whole(t, p, 6)
		testkit.Sleep(time.Minute + 10*time.Second)
		if s := p.Stats(); s.ClosedIdle != 6 {
			t.Errorf("%d were closed as idle, want 6", s.ClosedIdle)
		}
		testkit.Fill(t, p, 6)
		held := testkit.Borrow(t, p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Put(held); err != nil {
			t.Errorf("Put after Close: %v", err)
		}
		x.AllClosedOnce(t)
	})
}

// Less takes no connection from anybody.
func TestShrinkingTakesNoConnectionFromAnybody(t *testing.T) {
	for _, n := range []int{1, 3, 9} {
		testkit.Bubble(t, fmt.Sprint("to ", n), func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MaxWaitTime: -1, MaxIdleTime: -1})
			var l []pool.Lease[*testkit.Wire]
			for range 10 {
				l = append(l, testkit.Borrow(t, p))
			}
			resize(t, p, n)
			if s := p.Stats(); s.ActiveConnections != 10 || s.VacantConnections() != n-10 || s.MaxConnections != n {
				t.Errorf("after Resize %+v, want all as they were", testkit.Figures(p))
			}
			r := testkit.Ask(t.Context(), p)
			for i := range l {
				if got := len(l[i].Value().ClosedWith()); got != 0 {
					t.Errorf("connection %d was closed in its caller's hands", i+1)
				}
				r.Pending(t, "while there are too many")
				if i == 10-n {
					break
				}
				testkit.GiveBack(t, p, l[i])
				synctest.Wait()
				if got := l[i].Value().ClosedWith(); len(got) != 1 || got[0] != nil {
					t.Errorf("connection %d was closed with %v, want nil, once: it is healthy", i+1, got)
				}
			}
			testkit.GiveBack(t, p, l[10-n]) // now there are not
			if got := r.Served(t, "after the last of them"); got.Value() != l[10-n].Value() {
				t.Errorf("connection %d was lent, want the one that was returned", got.Value().Number)
			}
			testkit.GiveBack(t, p, r.Lease)
			for _, l := range l[11-n:] {
				testkit.GiveBack(t, p, l)
			}
			testkit.Whole(t, p, n)
			if s := p.Stats(); s.ClosedResize != uint64(10-n) || s.Opened != 10 {
				t.Errorf("%d were closed, %d opened, want %d, 10", s.ClosedResize, s.Opened, 10-n)
			}
			testkit.AtRest(t, p, 0)
		})
	}
}

func TestShrinkingClosesWhatIsIdleAtOnceAndNoMoreThanItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 100, MaxIdleTime: -1})
		testkit.Fill(t, p, 100)
		for i, n := range []int{99, 40, 40, 70, 41, 7, 1} {
			var l []pool.Lease[*testkit.Wire]
			for range min(p.Stats().IdleConnections, 5) {
				l = append(l, testkit.Borrow(t, p))
			}
			idle := p.Stats().IdleConnections
			resize(t, p, n)
			synctest.Wait()
			if s := p.Stats(); s.IdleConnections != min(idle, max(n-len(l), 0)) || s.ActiveConnections != len(l) {
				t.Errorf("%d: after Resize(%d) with %d leased and %d idle: %+v", i, n, len(l), idle, testkit.Figures(p))
			}
			for _, l := range l {
				testkit.GiveBack(t, p, l)
			}
			synctest.Wait()
			testkit.AtRest(t, p, 0)
		}
		testkit.Whole(t, p, 1)
	})
}

// Each end of a lease counts.
func TestDiscardAndDetachMakeUpForWhatIsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1})
		var l []pool.Lease[*testkit.Wire]
		for range 5 {
			l = append(l, testkit.Borrow(t, p))
		}
		resize(t, p, 2)
		r := testkit.Ask(t.Context(), p)
		_ = p.Discard(l[0], testkit.ErrCause)
		if _, err := p.Detach(l[1]); err != nil {
			t.Error(err)
		}
		_ = p.Discard(l[2], testkit.ErrCause)
		r.Pending(t, "with as many as there may be")
		if got := x.Tried(); got != 5 {
			t.Errorf("Open was called %d times, want 5: there are too many already", got)
		}
		testkit.GiveBack(t, p, l[3])
		if got := r.Served(t, "after a Put").Value(); got != l[3].Value() {
			t.Errorf("connection %d was lent, want the fourth", got.Number)
		}
		_ = p.Discard(r.Lease, testkit.ErrCause)
		testkit.GiveBack(t, p, testkit.Borrow(t, p)) // another is opened in its place
		testkit.GiveBack(t, p, l[4])
		testkit.Whole(t, p, 2)
		if got := p.Stats().ClosedResize; got != 0 {
			t.Errorf("%d were closed by Resize, want none", got)
		}
		testkit.AtRest(t, p, 0)
	})
}

// Connections that are being opened when the limit falls are surplus once they are open.
// Their askers are served with the remaining connections.
func TestShrinkingWhileConnectionsAreBeingOpened(t *testing.T) {
	for _, outcome := range []error{nil, testkit.ErrDial} {
		synctest.Test(t, func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
				if attempt <= 8 {
					<-hang
					return outcome
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 8, MaxWaitTime: -1, MaxIdleTime: -1})
			var asked []*testkit.Request[*testkit.Wire]
			for range 8 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			resize(t, p, 2)
			if got := testkit.Figures(p); got.OpeningConnections != 8 || got.VacantConnections() != -6 {
				t.Errorf("after Resize %+v", got)
			}
			release()
			synctest.Wait()
			if outcome == nil {
				for range 4 {
					var l []pool.Lease[*testkit.Wire]
					for _, r := range asked {
						if r.Returned() {
							l = append(l, r.Served(t, "in turn"))
						}
					}
					if len(l) != 2 {
						t.Fatalf("%d are served at a time, want 2", len(l))
					}
					testkit.GiveBack(t, p, l[0])
					testkit.GiveBack(t, p, l[1])
					asked = asked[2:]
				}
			} else {
				for _, r := range asked {
					r.Failed(t, "when its attempt fails", testkit.ErrDial)
				}
			}
			p.Reset()
			testkit.Whole(t, p, 2)
			synctest.Wait() // an attempt serves its Get before its goroutine ends
			testkit.AtRest(t, p, 0)
		})
	}
}

func TestResizeRefusesWhatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 3})
		for _, n := range []int{0, -1, core.MaxConnections + 1} {
			if err := p.Resize(n); err == nil || !strings.HasPrefix(err.Error(), "pool: Resize: MaxConnections") {
				t.Errorf("Resize(%d) returned %v", n, err)
			}
		}
		if got := p.Stats().MaxConnections; got != 3 {
			t.Errorf("after that there may be %d, want 3", got)
		}
		resize(t, p, core.MaxConnections)
		testkit.Fill(t, p, 100)
		resize(t, p, 5)
		synctest.Wait()
		testkit.Whole(t, p, 5)
		p.Close()
		if err := p.Resize(4); err != pool.ErrClosed {
			t.Errorf("after Close it returned %v, want ErrClosed", err)
		}
		if _, err := p.Get(t.Context()); err != pool.ErrClosed {
			t.Errorf("Get returned %v, want ErrClosed", err)
		}
		if got := p.Stats().MaxConnections; got != 5 {
			t.Errorf("after Close MaxConnections is %d, want 5", got)
		}
	})
}

func TestTheOtherLimitsFollowResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		x.Open = func(context.Context, int) error { time.Sleep(testkit.OpenTime); return nil }
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaiters: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenEagerly: true})
		a, b := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Ask(t.Context(), p).Failed(t, "one more than may wait", pool.ErrRejected)
		resize(t, p, 3)
		c, d := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Ask(t.Context(), p).Failed(t, "one more than may wait now", pool.ErrRejected)
		testkit.Sleep(testkit.OpenTime)
		testkit.GiveBack(t, p, a.Served(t, "first"))
		testkit.GiveBack(t, p, d.Served(t, "last"))
		testkit.GiveBack(t, p, b.Served(t, "second"))
		testkit.GiveBack(t, p, c.Served(t, "third"))

		// Warm learns of it while it waits.
		warm := make(chan error, 1)
		resize(t, p, 20)
		go func() { warm <- p.Warm(t.Context(), 20) }()
		synctest.Wait()
		resize(t, p, 10)
		if err := <-warm; err == nil || errors.Is(err, pool.ErrClosed) || !strings.Contains(err.Error(), "10") {
			t.Errorf("Warm returned %v, want that there may be 10 only", err)
		}
		testkit.Sleep(time.Second)
		testkit.Whole(t, p, 10)
	})
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 8, MinIdle: 6})
		testkit.Sleep(time.Second)
		resize(t, p, 2) // more than there may be are to be idle
		testkit.Sleep(10 * time.Minute)
		if s := testkit.Figures(p); s.IdleConnections != 2 || x.OpenAtMost() != 6 {
			t.Errorf("with MinIdle above the limit %+v, at most %d, want 2, 6", s, x.OpenAtMost())
		}
		before := x.Tried()
		testkit.Sleep(time.Minute)
		if got := x.Tried() - before; got > 8 {
			t.Errorf("%d are opened a minute, want those that replace others", got)
		}
		resize(t, p, 8)
		testkit.Sleep(2 * core.MaxTick)
		if s := testkit.Figures(p); s.IdleConnections != 6 {
			t.Errorf("when it has grown again %+v, want 6 idle", s)
		}
	})
}

func TestGrowingAgainBeforeAllHaveComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 6, MaxWaitTime: -1, MaxIdleTime: -1})
		var l []pool.Lease[*testkit.Wire]
		for range 6 {
			l = append(l, testkit.Borrow(t, p))
		}
		resize(t, p, 2)
		testkit.GiveBack(t, p, l[0]) // closed
		resize(t, p, 6)
		synctest.Wait()
		testkit.AtRest(t, p, 5) // there is nothing special about it any more
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		for _, l := range l[1:] {
			testkit.GiveBack(t, p, l)
		}
		testkit.Whole(t, p, 6)
		if s := p.Stats(); s.ClosedResize != 1 || s.Opened != 7 {
			t.Errorf("%d were closed, %d opened, want 1, 7", s.ClosedResize, s.Opened)
		}
	})
}
