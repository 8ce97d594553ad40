//go:build step

package steps

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// Between the look of settle at the mark and its grant, the connection becomes unfit, and
// then a Get begins. A waiter of before may get the connection; this Get must not.
// Porcupine found one way, a reviewer the other.
func TestAGetIsNotLentWhatHasBecomeUnfitBefore(t *testing.T) {
	for _, way := range []string{"Reset", "broken"} {
		t.Run(way, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				f, broken := testkit.Watched(new(testkit.Exchange))
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
				l := testkit.Borrow(t, p)
				ctx, cancel := context.WithCancel(bg)
				first := testkit.Ask(ctx, p)
				put := putTo(s, "settle: gate read", p, l)
				cancel()
				first.Failed(t, "after its cancel", context.Canceled)
				if way == "Reset" {
					p.Reset()
				} else {
					broken(1, testkit.ErrCause)
				}
				second := testkit.Ask(bg, p)
				put.End()
				got := second.Served(t, "after "+way)
				if got.Value().Number != 2 {
					t.Errorf("a Get that began after %s was lent connection %d, want a new one", way, got.Value().Number)
				}
				endWith(t, p, 1, got)
			})
		})
	}
}

// Porcupine's second finding: ErrClosed, and then a lease.
func TestNothingIsLentToWhoHasBeenToldThatThePoolIsClosed(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaiters: 1})
		l := testkit.Borrow(t, p)
		closer := s.Act("shut: limit set", func() { _ = p.Close() })
		_, err := p.Get(bg)
		if err != pool.ErrClosed {
			t.Fatalf("Get returned %v, want ErrClosed", err)
		}
		_ = p.Put(l)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet has lent a connection after Get had returned ErrClosed")
		}
		closer.End()
	})
}

func TestWarmReturnsWhenWhatIsOpenCanBeHad(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1})
		opened := s.StopNext("opened: established")
		warm := make(chan error, 1)
		go func() { warm <- p.Warm(bg, 1) }()
		opened.Arrived(t)
		if len(warm) != 0 {
			t.Error("Warm has returned, and nothing is idle")
		}
		opened.GoOn()
		if err := <-warm; err != nil {
			t.Error(err)
		}
		endWith(t, p, 1)
	})
}

// The soak's finding: an open that was admitted before Close comes into the slot of a lease
// that Close has revoked, before the holder puts it back.
func TestALeaseThatWasRevokedCanBePutBackAfterItsSlotWasUsedAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		getter, r := getTo(s, "ensureOpen: admitted", bg, p)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		getter.GoOn()
		r.Failed(t, "after Close", pool.ErrClosed)
		if got := x.Tried(); got != 2 {
			t.Fatalf("%d were opened, want another after Close", got)
		}
		if err := p.Put(l); err != nil {
			t.Errorf("the first Put of the revoked lease returned %v, want nil", err)
		}
		if err := p.Put(l); err != pool.ErrNotLeased {
			t.Errorf("the second Put of it returned %v, want ErrNotLeased", err)
		}
	})
}

// A connection that was marked before it was taken is closed for the reason of the mark,
// no matter who takes it.
func TestWhatWasReportedBrokenIsNotClosedAsHealthy(t *testing.T) {
	for _, way := range []string{"broken", "Reset"} {
		t.Run(way, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				f, broken := testkit.Watched(new(testkit.Exchange))
				p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
				a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
				want := testkit.ErrCause
				if way == "broken" {
					broken(a.Value().Number, testkit.ErrCause)
				} else {
					p.Reset()
					want = core.ErrReset
				}
				putter := putTo(s, "put: published", p, a)
				resizing(t, p, 1)()
				putter.End()
				synctest.Wait()
				if got := a.Value().ClosedWith(); len(got) != 1 || !errors.Is(got[0], want) || p.Stats().ClosedResize != 0 {
					t.Errorf("closed with %v, %d by Resize, want %v, 0", got, p.Stats().ClosedResize, want)
				}
				testkit.GiveBack(t, p, b)
			})
		})
	}
}

// A Resize to fewer hides no idle connection from callers.
func TestWhatIsIdleCanBeHadWhileThePoolShrinks(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 4, MaxWaiters: -1, MaxIdleTime: -1})
		testkit.Fill(t, p, 4)
		end := s.Changing("Resize: flag set", resizing(t, p, 2))
		l := testkit.Borrow(t, p)
		m, ok := p.TryGet()
		if !ok {
			t.Fatal("TryGet finds nothing beside three idle connections")
		}
		end()
		endWith(t, p, 2, l, m)
	})
}

// An attempt that fails refuses no waiter for which another attempt is being made.
func TestWhoTriesIsNotRefusedForTheFailureOfAnother(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 3)
		for i := range words.KeepsFailing {
			r := testkit.Ask(bg, p)
			result(i+1, testkit.ErrDial)
			r.Failed(t, "after its open", testkit.ErrDial)
		}
		testkit.Sleep(words.BackoffMost)
		ctx, cancel := context.WithCancel(bg)
		first := testkit.Ask(ctx, p)
		cancel()
		first.Failed(t, "when its ctx has ended", context.Canceled)
		testkit.Sleep(words.BackoffMost + 2*time.Millisecond)
		if got := testkit.Inside(p).Overdue.Load(); got != 1 {
			t.Fatalf("%d attempts are overdue, want that of the first", got)
		}
		second := testkit.Ask(bg, p)
		result(words.KeepsFailing+1, testkit.ErrDial)
		second.Pending(t, "while its own open is under way")
		result(words.KeepsFailing+2, nil)
		endWith(t, p, 1, second.Served(t, "after its open"))
	})
}

// A connection that is closed while Stats looks does not count as a Get.
func TestStatsCountsNoGetForWhatIsClosedMeanwhile(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 4, MaxIdleTime: -1})
		if err := p.Warm(bg, 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		looker := s.Act("stats: census read", func() { p.Stats() })
		resizing(t, p, 1)()
		synctest.Wait()
		looker.End()
		if got := p.Stats().Gets; got != 0 {
			t.Errorf("%d Gets are counted, want none", got)
		}
	})
}

// Two register at the same time, and both are counted.
func TestTwoWhoRegisterAtTheSameTimeAreTwo(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaiters: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		getter, second := getTo(s, "register: census read", bg, p)
		first := testkit.Ask(bg, p)
		getter.GoOn()
		if got := p.Stats().WaitingRequests; got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, first.Served(t, "after the Put"))
		endWith(t, p, 1, second.Served(t, "after the next"))
	})
}

// A landing connection is on its way to a waiter: no other one is opened for that waiter.
func TestNobodyOpensAnotherForWhatIsLanding(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		landing := s.StopNext("opened: established")
		r := testkit.Ask(bg, p)
		result(1, nil)
		landing.Arrived(t)
		testkit.Inside(p).EnsureOpen()
		synctest.Wait()
		landing.GoOn()
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
		endWith(t, p, 1, r.Served(t, "by what has landed"))
	})
}
