//go:build step

package pool

import (
	"context"
	"testing"
)

// A Reset, and then a Get, come between a settle that has found the connection fit and its
// grant: to a waiter of its own time it may go, to this one it may not.
func TestAGetAfterResetIsNotLentWhatWasHandedOnBefore(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p := start(t, new(exchange).factory(), Config{MaxConnections: 1})
		l := borrow(t, p)
		ctx, cancel := context.WithCancel(bg)
		first := ask(ctx, p)
		put := s.put("settle: gate read", p, l)
		put.to("settle: gate read") // once more, as if it had been checked
		cancel()
		first.failed(t, "after its cancel", context.Canceled)
		p.Reset()
		second := ask(bg, p)
		put.end()
		got := second.served(t, "after Reset")
		if got.Value().number != 2 {
			t.Errorf("a Get that began after Reset was lent connection %d, want a new one", got.Value().number)
		}
		endWith(t, p, 1, got)
	})
}

// Porcupine's first finding: the same with a connection that the caller itself has
// reported broken.
func TestAGetIsNotLentWhatWasReportedBrokenBefore(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		f, broken := watched(new(exchange))
		p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		getter, first := s.get("wait: registered", bg, p) // so that Put goes to settle
		put := s.put("settle: gate read", p, l)
		broken(1, errCause)
		getter.goOn()
		put.end()
		got := first.served(t, "after the Put")
		if got.Value().number != 2 {
			t.Errorf("lent connection %d, which had been reported broken", got.Value().number)
		}
		endWith(t, p, 1, got)
	})
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
