//go:build linux

package fleet

import (
	"context"
	"errors"
	"testing"

	"github.com/S4AK4N/pool"
)

// asks has the process of a budget ask the server until what it knows is as ready says.
func (b *Budget) asks(ready func(*store) bool) {
	for {
		b.store.mu.Lock()
		done := ready(b.store)
		b.store.need = true
		b.store.mu.Unlock()
		if done {
			return
		}
		b.store.kick()
	}
}

// The server numbers what it says, and begins anew when its data are lost. A process that has heard
// higher numbers heeds what it says then, all the same.
func TestWhatIsIdleIsGivenUpAlsoAfterTheServerHasLostItsData(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(3, Options{Lease: long}), r.budget(3, Options{Lease: long})
	p, q := newPool(t, r.sv.addr, b, pool.Config{}), newPool(t, r.sv.addr, d, pool.Config{})
	giveBack(t, p, take(t, p, 3)...)
	ctx, state := context.Background(), keys("account")[0]
	c := r.newClient()
	const many = 1 << 40 // operations
	if err := c.HIncrBy(ctx, state, "rev", many).Err(); err != nil {
		t.Fatal(err)
	}
	b.asks(func(s *store) bool { return s.askRev > many })
	r.restart()
	b.asks(func(s *store) bool { return s.grace > 0 })
	if err := c.HSet(ctx, state, "open", "0").Err(); err != nil { // the grace is over
		t.Fatal(err)
	}
	giveBack(t, q, take(t, q, 1)...)
	if got := p.Stats(); got.ClosedBudget != 1 {
		t.Errorf("%d were closed, want 1", got.ClosedBudget)
	}
	endAll(t, p, q, b, d)
	r.sv.atMost(t, 3)
	r.isFree("account")
}

// The budget is closed while an open waits until the pools have heard of what is lost. Then nobody
// asks the server any more.
func TestAnOpenThatWaitedForNewsOfALossHearsThatTheBudgetIsClosed(t *testing.T) {
	r := newRig(t)
	b := r.budget(3, Options{Lease: long})
	s := b.store
	told, running := make(chan struct{}), make(chan struct{})
	s.orders.add(func() { close(running); <-told })
	<-running
	s.mu.Lock()
	s.losing, s.lapsed = 1, true
	s.mu.Unlock()
	asked := make(chan error, 1)
	waits := make(chan struct{})
	go func() {
		close(waits)
		_, err := s.Term()
		asked <- err
	}()
	<-waits
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	close(told)
	if err := <-asked; !errors.Is(err, ErrClosed) {
		t.Errorf("Term returned %v, want ErrClosed", err)
	}
	s.mu.Lock()
	s.losing, s.closing = 0, false
	s.mu.Unlock()
	endAll(t, b)
}
