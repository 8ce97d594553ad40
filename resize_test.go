package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/atomic"
)

func resize(t *testing.T, p *Pool[*wire], n int) {
	t.Helper()
	if err := p.Resize(n); err != nil {
		t.Fatalf("Resize(%d): %v", n, err)
	}
}

// vitess#20187, #20081: capacity grows while callers wait, and they sleep on. Beyond the
// slots that the pool began with, and beyond those again.
func TestGrowingServesThoseWhoWaitAtOnce(t *testing.T) {
	for _, steps := range [][]int{{1, 2}, {1, 2, 3, 4, 5, 6, 7}, {4, 8}, {2, 70}, {3, 5, 200}, {64, 65, 129}} {
		bubble(t, fmt.Sprint(steps), func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: steps[0], MaxWaitTime: -1, MaxIdleTime: -1})
			last := steps[len(steps)-1]
			var asked []*request[*wire]
			for range last + 1 {
				asked = append(asked, ask(t.Context(), p))
			}
			for _, n := range steps {
				resize(t, p, n)
				synctest.Wait()
				for i, r := range asked {
					if i < n {
						r.served(t, fmt.Sprintf("of %d: number %d", n, i+1))
					} else {
						r.pending(t, fmt.Sprintf("of %d: number %d", n, i+1))
					}
				}
				if s := p.Stats(); s.MaxConnections != n || s.ActiveConnections != n || s.VacantConnections() != 0 {
					t.Errorf("of %d: %+v", n, figures(p))
				}
			}
			// Every slot is as good as another, in whatever bank.
			giveBack(t, p, asked[last-1].lease)
			if got := asked[last].served(t, "after a Put").Value(); got != asked[last-1].lease.Value() {
				t.Errorf("connection %d was lent, want the one that was returned", got.number)
			}
			for i, r := range asked {
				switch {
				case i == last-1:
				case i%5 == 3:
					if err := p.Discard(r.lease, errCause); err != nil {
						t.Errorf("Discard: %v", err)
					}
				case i%5 == 4:
					if _, err := p.Detach(r.lease); err != nil {
						t.Errorf("Detach: %v", err)
					}
				default:
					giveBack(t, p, r.lease)
					refused(t, p, r.lease, "a second time")
				}
			}
			whole(t, p, last)
			for range last {
				if _, ok := p.TryGet(); !ok {
					t.Fatalf("TryGet does not find all of %d idle connections", last)
				}
			}
		})
	}
}

// What lies in the later banks is looked after like everything else.
func TestConnectionsOfLaterBanksAreCheckedWatchedExpiredAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f, broken := watched(&x)
		var unfit atomic.Int32
		f.Check = func(w *wire) error {
			if w.number == int(unfit.Load()) {
				return errUnfit
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: time.Minute, CheckInterval: time.Second})
		l := []Lease[*wire]{borrow(t, p)}
		resize(t, p, 2)
		l = append(l, borrow(t, p))
		resize(t, p, 6)
		for range 4 {
			l = append(l, borrow(t, p))
		}
		for i := range l {
			giveBack(t, p, l[i])
		}
		broken(6, errCause)
		brokenOnce(t, "when it breaks", l[5].Value(), errCause)
		unfit.Store(5)
		time.Sleep(2 * time.Second)
		brokenOnce(t, "when Check objects", l[4].Value(), errUnfit)
		p.Reset()
		time.Sleep(time.Second)
		if s := p.Stats(); s.ClosedWatch != 1 || s.ClosedCheck != 1 || s.ClosedReset != 4 || s.IdleConnections != 0 {
			t.Errorf("closed: %d by Watch, %d by Check, %d by Reset, %d idle; want 1, 1, 4, 0", s.ClosedWatch, s.ClosedCheck, s.ClosedReset, s.IdleConnections)
		}
		unfit.Store(0)
		whole(t, p, 6)
		time.Sleep(time.Minute + 10*time.Second)
		if s := p.Stats(); s.ClosedIdle != 6 {
			t.Errorf("%d were closed as idle, want 6", s.ClosedIdle)
		}
		fill(t, p, 6)
		held := borrow(t, p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Put(held); err != nil {
			t.Errorf("Put after Close: %v", err)
		}
		x.allClosedOnce(t)
	})
}

// Less takes no connection from anybody.
func TestShrinkingTakesNoConnectionFromAnybody(t *testing.T) {
	for _, n := range []int{1, 3, 9} {
		bubble(t, fmt.Sprint("to ", n), func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 10, MaxWaitTime: -1, MaxIdleTime: -1})
			var l []Lease[*wire]
			for range 10 {
				l = append(l, borrow(t, p))
			}
			resize(t, p, n)
			if s := p.Stats(); s.ActiveConnections != 10 || s.VacantConnections() != n-10 || s.MaxConnections != n {
				t.Errorf("after Resize %+v, want all as they were", figures(p))
			}
			r := ask(t.Context(), p)
			for i := range l {
				if got := len(l[i].Value().closedWith()); got != 0 {
					t.Errorf("connection %d was closed in its caller's hands", i+1)
				}
				r.pending(t, "while there are too many")
				if i == 10-n {
					break
				}
				giveBack(t, p, l[i])
				synctest.Wait()
				if got := l[i].Value().closedWith(); len(got) != 1 || got[0] != nil {
					t.Errorf("connection %d was closed with %v, want nil, once: it is healthy", i+1, got)
				}
			}
			giveBack(t, p, l[10-n]) // now there are not
			if got := r.served(t, "after the last of them"); got.Value() != l[10-n].Value() {
				t.Errorf("connection %d was lent, want the one that was returned", got.Value().number)
			}
			giveBack(t, p, r.lease)
			for _, l := range l[11-n:] {
				giveBack(t, p, l)
			}
			whole(t, p, n)
			if s := p.Stats(); s.ClosedResize != uint64(10-n) || s.Opened != 10 {
				t.Errorf("%d were closed, %d opened, want %d, 10", s.ClosedResize, s.Opened, 10-n)
			}
			atRest(t, p, 0)
		})
	}
}

func TestShrinkingClosesWhatIsIdleAtOnceAndNoMoreThanItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 100, MaxIdleTime: -1})
		fill(t, p, 100)
		for i, n := range []int{99, 40, 40, 70, 41, 7, 1} {
			var l []Lease[*wire]
			for range min(p.Stats().IdleConnections, 5) {
				l = append(l, borrow(t, p))
			}
			idle := p.Stats().IdleConnections
			resize(t, p, n)
			synctest.Wait()
			if s := p.Stats(); s.IdleConnections != min(idle, max(n-len(l), 0)) || s.ActiveConnections != len(l) {
				t.Errorf("%d: after Resize(%d) with %d leased and %d idle: %+v", i, n, len(l), idle, figures(p))
			}
			for _, l := range l {
				giveBack(t, p, l)
			}
			synctest.Wait()
			atRest(t, p, 0)
		}
		whole(t, p, 1)
	})
}

// Each end of a lease counts.
func TestDiscardAndDetachMakeUpForWhatIsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1})
		var l []Lease[*wire]
		for range 5 {
			l = append(l, borrow(t, p))
		}
		resize(t, p, 2)
		r := ask(t.Context(), p)
		_ = p.Discard(l[0], errCause)
		if _, err := p.Detach(l[1]); err != nil {
			t.Error(err)
		}
		_ = p.Discard(l[2], errCause)
		r.pending(t, "with as many as there may be")
		if got := x.tried(); got != 5 {
			t.Errorf("Open was called %d times, want 5: there are too many already", got)
		}
		giveBack(t, p, l[3])
		if got := r.served(t, "after a Put").Value(); got != l[3].Value() {
			t.Errorf("connection %d was lent, want the fourth", got.number)
		}
		_ = p.Discard(r.lease, errCause)
		giveBack(t, p, borrow(t, p)) // another is opened in its place
		giveBack(t, p, l[4])
		whole(t, p, 2)
		if got := p.Stats().ClosedResize; got != 0 {
			t.Errorf("%d were closed by Resize, want none", got)
		}
		atRest(t, p, 0)
	})
}

// Those that are being opened when the limit falls are too many once they are open; their
// askers are served by what remains.
func TestShrinkingWhileConnectionsAreBeingOpened(t *testing.T) {
	for _, outcome := range []error{nil, errDial} {
		synctest.Test(t, func(t *testing.T) {
			hang, release := obstacle(t)
			x := exchange{open: func(_ context.Context, attempt int) error {
				if attempt <= 8 {
					<-hang
					return outcome
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 8, MaxWaitTime: -1, MaxIdleTime: -1})
			var asked []*request[*wire]
			for range 8 {
				asked = append(asked, ask(t.Context(), p))
			}
			resize(t, p, 2)
			if got := figures(p); got.OpeningConnections != 8 || got.VacantConnections() != -6 {
				t.Errorf("after Resize %+v", got)
			}
			release()
			synctest.Wait()
			if outcome == nil {
				for range 4 {
					var l []Lease[*wire]
					for _, r := range asked {
						if r.returned() {
							l = append(l, r.served(t, "in turn"))
						}
					}
					if len(l) != 2 {
						t.Fatalf("%d are served at a time, want 2", len(l))
					}
					giveBack(t, p, l[0])
					giveBack(t, p, l[1])
					asked = asked[2:]
				}
			} else {
				for _, r := range asked {
					r.failed(t, "when its attempt fails", errDial)
				}
			}
			p.Reset()
			whole(t, p, 2)
			atRest(t, p, 0)
		})
	}
}

func TestResizeRefusesWhatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 3})
		for _, n := range []int{0, -1, maxConnections + 1} {
			if err := p.Resize(n); err == nil || !strings.HasPrefix(err.Error(), "pool: Resize: MaxConnections") {
				t.Errorf("Resize(%d) returned %v", n, err)
			}
		}
		if got := p.Stats().MaxConnections; got != 3 {
			t.Errorf("after that there may be %d, want 3", got)
		}
		resize(t, p, maxConnections)
		fill(t, p, 100)
		resize(t, p, 5)
		synctest.Wait()
		whole(t, p, 5)
		p.Close()
		if err := p.Resize(4); err != ErrClosed {
			t.Errorf("after Close it returned %v, want ErrClosed", err)
		}
		if _, err := p.Get(t.Context()); err != ErrClosed {
			t.Errorf("Get returned %v, want ErrClosed", err)
		}
		if got := p.Stats().MaxConnections; got != 5 {
			t.Errorf("after Close MaxConnections is %d, want 5", got)
		}
	})
}

func TestTheOtherLimitsFollowResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		x.open = func(context.Context, int) error { time.Sleep(openTime); return nil }
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaiters: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenEagerly: true})
		a, b := ask(t.Context(), p), ask(t.Context(), p)
		ask(t.Context(), p).failed(t, "one more than may wait", ErrRejected)
		resize(t, p, 3)
		c, d := ask(t.Context(), p), ask(t.Context(), p)
		ask(t.Context(), p).failed(t, "one more than may wait now", ErrRejected)
		time.Sleep(openTime)
		giveBack(t, p, a.served(t, "first"))
		giveBack(t, p, d.served(t, "last"))
		giveBack(t, p, b.served(t, "second"))
		giveBack(t, p, c.served(t, "third"))

		// Warm learns of it while it waits.
		warm := make(chan error, 1)
		resize(t, p, 20)
		go func() { warm <- p.Warm(t.Context(), 20) }()
		synctest.Wait()
		resize(t, p, 10)
		if err := <-warm; err == nil || errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "10") {
			t.Errorf("Warm returned %v, want that there may be 10 only", err)
		}
		time.Sleep(time.Second)
		whole(t, p, 10)
	})
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 8, MinIdle: 6})
		time.Sleep(time.Second)
		resize(t, p, 2) // more than there may be are to be idle
		time.Sleep(10 * time.Minute)
		if s := figures(p); s.IdleConnections != 2 || x.openAtMost() != 6 {
			t.Errorf("with MinIdle above the limit %+v, at most %d, want 2, 6", s, x.openAtMost())
		}
		before := x.tried()
		time.Sleep(time.Minute)
		if got := x.tried() - before; got > 8 {
			t.Errorf("%d are opened a minute, want those that replace others", got)
		}
		resize(t, p, 8)
		time.Sleep(2 * maxTick)
		if s := figures(p); s.IdleConnections != 6 {
			t.Errorf("when it has grown again %+v, want 6 idle", s)
		}
	})
}

func TestGrowingAgainBeforeAllHaveComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 6, MaxWaitTime: -1, MaxIdleTime: -1})
		var l []Lease[*wire]
		for range 6 {
			l = append(l, borrow(t, p))
		}
		resize(t, p, 2)
		giveBack(t, p, l[0]) // closed
		resize(t, p, 6)
		synctest.Wait()
		atRest(t, p, 5) // there is nothing special about it any more
		giveBack(t, p, borrow(t, p))
		for _, l := range l[1:] {
			giveBack(t, p, l)
		}
		whole(t, p, 6)
		if s := p.Stats(); s.ClosedResize != 1 || s.Opened != 7 {
			t.Errorf("%d were closed, %d opened, want 1, 7", s.ClosedResize, s.Opened)
		}
	})
}
