//go:build linux

package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// asks has the process of a budget ask the server until what it knows is as ready says.
func (b *Budget) asks(ready func(*store) bool) {
	for ; ; time.Sleep(time.Millisecond) {
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
	synctest.Test(t, func(t *testing.T) {
		m := newMute()
		defer m.Close()
		b, err := NewBudget(m, "account", 3, &Options{Lease: long})
		if err != nil {
			t.Fatal(err)
		}
		s := b.store
		told := make(chan struct{})
		s.orders.add(func() { <-told })
		synctest.Wait()
		s.mu.Lock()
		s.losing, s.lapsed = 1, true
		s.mu.Unlock()
		asked := make(chan error, 1)
		go func() {
			_, err := s.Term()
			asked <- err
		}()
		synctest.Wait() // it waits for the pools
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
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Close says last what a process has. Otherwise what was said before might count until the end of the lease.
func TestCloseWaitsForTheOperationUnderWay(t *testing.T) {
	r := newRig(t)
	held, arrived, release, left := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	var seen atomic.Bool
	var calls sync.WaitGroup
	client := struct{ redis.UniversalClient }{r.newClient()} // not a copy, which Close would close
	b, err := NewBudget(client, "account", 3, &Options{Lease: long, Found: true, observe: func(q request) func(reply, error) {
		calls.Add(1)
		select {
		case <-held:
			if seen.CompareAndSwap(false, true) {
				close(arrived)
				<-release
			}
		default:
		}
		return func(reply, error) {
			if q.leaves && q.held == 0 {
				close(left)
			}
			calls.Done()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, r.sv.addr, b, pool.Config{})
	giveBack(t, p, take(t, p, 3)...)
	close(held)
	b.store.mu.Lock()
	b.store.need = true
	b.store.mu.Unlock()
	b.store.kick()
	<-arrived
	endAll(t, p)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	select {
	case <-left: // it has overtaken the other one
	case <-time.After(300 * time.Millisecond):
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	calls.Wait()
	r.isFree("account")
}

// Who waits for a right when the budget is closed will get none.
func TestCloseTellsThoseWhoWaitForARight(t *testing.T) {
	r := newRig(t)
	b := r.budget(1, Options{Lease: long})
	p := newPool(t, r.sv.addr, b, pool.Config{FailFastAfter: 1, MaxWaitTime: -1})
	leases := take(t, p, 1)
	got := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	go func() {
		_, err := p.Get(ctx)
		got <- err
	}()
	b.asks(func(s *store) bool { return s.queued })
	if err := b.Close(); err == nil {
		t.Error("Close returned no error, want that a connection is open")
	}
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("Get returned %v, want ErrClosed", err)
	}
	giveBack(t, p, leases...)
	endAll(t, p)
}

// Close ends a call of Fence that is under way: another process will be told to do it.
func TestCloseEndsACallOfFence(t *testing.T) {
	r := newRig(t)
	fencing, ended := make(chan struct{}), make(chan error, 1)
	b := r.budget(3, Options{Lease: long, Fence: func(ctx context.Context, id string) error {
		close(fencing)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}})
	ctx, c := context.Background(), r.newClient()
	if err := c.HSet(ctx, keys("account")[5], "gone", "1 0 a process").Err(); err != nil {
		t.Fatal(err)
	}
	b.asks(func(*store) bool {
		select {
		case <-fencing:
			return true
		default:
			return false
		}
	})
	endAll(t, b)
	select {
	case err := <-ended:
		if !errors.Is(err, ErrClosed) {
			t.Errorf("its ctx has ended with %v, want ErrClosed", err)
		}
	case <-time.After(patienceOfTests):
		t.Error("it goes on")
	}
}
