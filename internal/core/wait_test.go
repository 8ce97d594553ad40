package core

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/words"
)

// A waiter's ctx has ended, but its goroutine has been stopped before it could see that.
// The goroutine that has the connection sees it.
func TestAGranterPassesOverAWaiterWhoseCtxHasEnded(t *testing.T) {
	p := start(t, bare(), Config{MaxConnections: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := p.parkers.Get().(*queue.Parker)
	k.Begin(ctx.Done(), 0)
	w, _ := p.queue.Enqueue(k, queue.Any)
	p.gate.Add(uint64(words.GateWaiter))
	if p.grant(w, queue.Token{}) {
		t.Error("the waiter was given the connection")
	}
	if got := <-k.Tokens(); got.Err != errEnded {
		t.Errorf("the waiter was told %v, want that its ctx has ended", got.Err)
	}
	if got := p.gate.Load(); got != 0 || w.Live() {
		t.Errorf("the gate is %d, the waiter live %v", got, w.Live())
	}
}

// The same, with the granter faster: the waiter leaves, finds that it has a connection
// already, and passes it on.
func TestAWaiterWhoLeavesTooLatePassesOnItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		f := bare()
		f.Open = func(context.Context) (any, error) { opened++; return new(int), nil }
		p := start(t, f, Config{MaxConnections: 1})
		for _, waiting := range []bool{false, true} {
			h, err := p.reclaim(borrow(t, p))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			k := p.parkers.Get().(*queue.Parker)
			k.Begin(ctx.Done(), 0)
			w, _ := p.queue.Enqueue(k, queue.Any)
			p.gate.Add(uint64(words.GateWaiter))
			if !p.grant(w, queue.Token{Slot: h.slot, Word: h.word}) {
				t.Fatal("the waiter was not given the connection")
			}
			cancel()
			next := make(chan Lease, 1)
			if waiting {
				go func() {
					l, err := p.Get(context.Background())
					if err != nil {
						t.Errorf("Get: %v", err)
					}
					next <- l
				}()
				synctest.Wait()
			}
			p.leave(k, w)
			synctest.Wait()
			if waiting {
				select {
				case l := <-next:
					giveBack(t, p, l)
				default:
					t.Fatal("the next waits when the first has left, want a lease")
				}
			}
			idle(t, p, "when the waiter has left", 1)
		}
		if opened != 1 {
			t.Errorf("Open was called %d times, want once", opened)
		}
	})
}
