//go:build step

package pool

import (
	"context"
	"testing"
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
