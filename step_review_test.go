//go:build step

package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The connection becomes unfit, and then a Get begins, between the look of a settle at the
// mark and its grant: to a waiter of before it may go, to this one it may not. Porcupine
// found the one way, a reviewer the other.
func TestAGetIsNotLentWhatHasBecomeUnfitBefore(t *testing.T) {
	for _, way := range []string{"Reset", "broken"} {
		t.Run(way, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				f, broken := watched(new(exchange))
				p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
				l := borrow(t, p)
				ctx, cancel := context.WithCancel(bg)
				first := ask(ctx, p)
				put := s.put("settle: gate read", p, l)
				put.to("settle: gate read") // once more, as if it had been checked
				cancel()
				first.failed(t, "after its cancel", context.Canceled)
				if way == "Reset" {
					p.Reset()
				} else {
					broken(1, errCause)
				}
				second := ask(bg, p)
				put.end()
				got := second.served(t, "after "+way)
				if got.Value().number != 2 {
					t.Errorf("a Get that began after %s was lent connection %d, want a new one", way, got.Value().number)
				}
				endWith(t, p, 1, got)
			})
		})
	}
}

// Porcupine's second finding: ErrClosed, and then a lease.
func TestNothingIsLentToWhoHasBeenToldThatThePoolIsClosed(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaiters: 1})
		l := borrow(t, p)
		closer := s.act("shut: limit set", func() { _ = p.Close() })
		_, err := p.Get(bg)
		if err != ErrClosed {
			t.Fatalf("Get returned %v, want ErrClosed", err)
		}
		_ = p.Put(l)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet has lent a connection after Get had returned ErrClosed")
		}
		closer.end()
	})
}

func TestWarmReturnsWhenWhatIsOpenCanBeHad(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1})
		opened := s.stopNext("opened: established")
		warm := make(chan error, 1)
		go func() { warm <- p.Warm(bg, 1) }()
		opened.arrived(t)
		if len(warm) != 0 {
			t.Error("Warm has returned, and nothing is idle")
		}
		opened.goOn()
		if err := <-warm; err != nil {
			t.Error(err)
		}
		endWith(t, p, 1)
	})
}

// The soak's finding: an open that was admitted before Close comes into the slot of a lease
// that Close has revoked, before the holder puts it back.
func TestALeaseThatWasRevokedCanBePutBackAfterItsSlotWasUsedAgain(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		getter, r := s.get("ensureOpen: admitted", bg, p)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		getter.goOn()
		r.failed(t, "after Close", ErrClosed)
		if got := x.tried(); got != 2 {
			t.Fatalf("%d were opened, want another after Close", got)
		}
		if err := p.Put(l); err != nil {
			t.Errorf("the first Put of the revoked lease returned %v, want nil", err)
		}
		if err := p.Put(l); err != ErrNotLeased {
			t.Errorf("the second Put of it returned %v, want ErrNotLeased", err)
		}
	})
}

// What was marked before it was taken is closed for the reason of the mark, whoever takes it.
func TestWhatWasReportedBrokenIsNotClosedAsHealthy(t *testing.T) {
	for _, way := range []string{"broken", "Reset"} {
		t.Run(way, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				f, broken := watched(new(exchange))
				p := start(t, f, Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
				a, b := borrow(t, p), borrow(t, p)
				want := errCause
				if way == "broken" {
					broken(a.Value().number, errCause)
				} else {
					p.Reset()
					want = errReset
				}
				putter := s.put("put: published", p, a)
				resizing(t, p, 1)()
				putter.end()
				synctest.Wait()
				if got := a.Value().closedWith(); len(got) != 1 || !errors.Is(got[0], want) || p.Stats().ClosedResize != 0 {
					t.Errorf("closed with %v, %d by Resize, want %v, 0", got, p.Stats().ClosedResize, want)
				}
				giveBack(t, p, b)
			})
		})
	}
}

// A Resize to fewer hides nothing that is idle from those who want it.
func TestWhatIsIdleCanBeHadWhileThePoolShrinks(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 4, MaxWaiters: -1, MaxIdleTime: -1})
		fill(t, p, 4)
		end := s.changing("Resize: flag set", resizing(t, p, 2))
		l := borrow(t, p)
		m, ok := p.TryGet()
		if !ok {
			t.Fatal("TryGet finds nothing beside three idle connections")
		}
		end()
		endWith(t, p, 2, l, m)
	})
}

// An attempt that fails refuses nobody for whom another is being made.
func TestWhoTriesIsNotRefusedForTheFailureOfAnother(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 3)
		for i := range keepsFailing {
			r := ask(bg, p)
			result(i+1, errDial)
			r.failed(t, "after its open", errDial)
		}
		time.Sleep(backoffMost)
		ctx, cancel := context.WithCancel(bg)
		first := ask(ctx, p)
		cancel()
		first.failed(t, "when its ctx has ended", context.Canceled)
		time.Sleep(backoffMost + time.Millisecond) // its attempt is overdue
		second := ask(bg, p)
		result(keepsFailing+1, errDial)
		second.pending(t, "while its own open is under way")
		result(keepsFailing+2, nil)
		endWith(t, p, 1, second.served(t, "after its open"))
	})
}

// What is closed while Stats looks has not been got by anybody.
func TestStatsCountsNoGetForWhatIsClosedMeanwhile(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 4, MaxIdleTime: -1})
		if err := p.Warm(bg, 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		looker := s.act("stats: census read", func() { p.Stats() })
		resizing(t, p, 1)()
		synctest.Wait()
		looker.end()
		if got := p.Stats().Gets; got != 0 {
			t.Errorf("%d Gets are counted, want none", got)
		}
	})
}

// Two register at the same time, and both are counted.
func TestTwoWhoRegisterAtTheSameTimeAreTwo(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaiters: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		getter, second := s.get("register: census read", bg, p)
		first := ask(bg, p)
		getter.goOn()
		if got := p.Stats().WaitingRequests; got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		giveBack(t, p, l)
		giveBack(t, p, first.served(t, "after the Put"))
		endWith(t, p, 1, second.served(t, "after the next"))
	})
}

// What is landing is on its way to somebody who waits: nobody opens another for him.
func TestNobodyOpensAnotherForWhatIsLanding(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		landing := s.stopNext("opened: established")
		r := ask(bg, p)
		result(1, nil)
		landing.arrived(t)
		p.ensureOpen(nil, nil)
		synctest.Wait()
		landing.goOn()
		if got := x.tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
		endWith(t, p, 1, r.served(t, "by what has landed"))
	})
}
