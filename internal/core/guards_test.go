package core

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/words"
)

// Each test names the guard that it is about. Without that guard, no other test fails.

// outage.go unavailableError: opened ends the outage, then clears the error; an outage
// begins after its error is stored. A caller that reads the two in between must not be
// told that the server is away without a reason.
func TestNobodyIsRefusedWithoutAnErrorToName(t *testing.T) {
	p := start(t, bare(), Config{MaxConnections: 1})
	var o words.Outage
	for range words.KeepsFailing {
		o = o.Worse(0, 0, false)
	}
	p.outage.Store(&outage{Outage: o})
	if err := p.unavailable(); err != nil {
		t.Errorf("with no error known: %v, want nil", err)
	}
	p.outage.Store(nil)
}

// outage.go failed: an attempt that began in an outage and fails after a success has
// ended that outage is the first failure of the next one.
func TestAFailureAfterTheEndOfTheOutageInWhichItBeganCounts(t *testing.T) {
	p := start(t, bare(), Config{MaxConnections: 1})
	p.failed(&outage{Outage: words.Outage{}.Worse(time.Second, 0, false)}, 2*time.Second, 0, true)
	if got := p.outage.Load().Failures; got != 1 {
		t.Errorf("%d failures are known, want 1", got)
	}
	p.outage.Store(nil)
}

// wait.go accept: if a token and the end of its ctx come at the same time, a caller may
// see the token first. It is told that its ctx has ended all the same.
func TestATokenForAWaiterWhoseCtxHasEndedIsTheErrorOfThat(t *testing.T) {
	p := start(t, bare(), Config{MaxConnections: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.accept(ctx, queue.Token{Err: errEnded}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Get returns %v, want %v", err, context.Canceled)
	}
	if got := p.Stats().Canceled; got != 1 {
		t.Errorf("%d waits were cancelled, want 1", got)
	}
}

// sweep.go advanceTick: the clock skips the stamp by which Close knows what it has revoked.
func TestCloseClosesWhatWasOpenedWhenTheClockStoodAtItsOwnStamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed []error
		f := bare()
		f.Close = func(_ any, cause error) error { closed = append(closed, cause); return nil }
		p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: time.Second})
		time.Sleep(revokedStamp * p.sweeper.tickLength)
		synctest.Wait()
		l := borrow(t, p)
		p.Close()
		synctest.Wait()
		if len(closed) != 1 || closed[0] != ErrClosed {
			t.Errorf("after Close the connection was closed with %v, want ErrClosed, once", closed)
		}
		if err := p.Put(l); err != nil {
			t.Errorf("Put after Close: %v", err)
		}
	})
}

// quota.go oldestHasWaited: a caller counts as waiting before it stands in the queue.
func TestOpeningForThoseWhoAreCountedAndNotYetInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bare()
		f.Open = func(context.Context) (any, error) { time.Sleep(time.Millisecond); return new(int), nil }
		p := start(t, f, Config{MaxConnections: 50, OpenContext: func(ctx context.Context) context.Context { return ctx }})
		p.gate.Add(2 * coldStart * uint64(words.GateWaiter))
		p.ensureOpen(nil)
		if got := p.Stats().OpeningConnections; got != coldStart {
			t.Errorf("%d are being opened, want %d", got, coldStart)
		}
		p.gate.Sub(2 * coldStart * uint64(words.GateWaiter))
		time.Sleep(time.Second)
	})
}

// pass.go pass: a connection that is due for two reasons is closed for the first, and
// does not count among those whose lifetime is over.
func TestAnIdleConnectionThatIsOldAsWellIsClosedAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, bare(), Config{MaxConnections: 2, MaxIdleTime: time.Minute, MaxLifetime: time.Hour})
		a, b := borrow(t, p), borrow(t, p)
		giveBack(t, p, a)
		giveBack(t, p, b)
		synctest.Wait()
		p.sweeper.nextPass = 0
		p.pass(time.Duration(p.now()) + 2*time.Hour)
		synctest.Wait()
		if s := p.Stats(); s.ClosedIdle != 2 || s.ClosedLifetime != 0 {
			t.Errorf("%d were closed as idle, %d at the end of their lives, want 2, 0", s.ClosedIdle, s.ClosedLifetime)
		}
	})
}

// pass.go closeDue: between the look at a slot and its closing, somebody may have taken
// the slot, or another connection may have come into it, under another word.
func TestWhatIsNotDueAnyMoreIsNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := 0
		f := bare()
		f.Close = func(any, error) error { closed++; return nil }
		p := start(t, f, Config{MaxConnections: 1, MaxLifetime: time.Hour})
		giveBack(t, p, borrow(t, p))
		due := view{due: []dueSlot{{held{0, p.ring.At(0)}, closedByLifetime, false}}}
		l := borrow(t, p)
		p.closeDue(due)
		synctest.Wait()
		if err := p.Put(l); err != nil {
			t.Errorf("Put of what was taken before it was closed: %v", err)
		}
		idle(t, p, "when it has been taken meanwhile", 1)
		if closed != 0 {
			t.Errorf("the connection was closed %d times, want never", closed)
		}
		due.due[0].word = p.ring.At(0)
		if err := p.Discard(borrow(t, p), nil); err != nil {
			t.Fatal(err)
		}
		giveBack(t, p, borrow(t, p))
		p.closeDue(due)
		synctest.Wait()
		idle(t, p, "when another connection is in the slot", 1)
		if closed != 1 {
			t.Errorf("%d connections were closed, want the discarded one", closed)
		}
	})
}

// sweep.go checkSlot: somebody may take a connection just before it is checked.
func TestWhatIsTakenBeforeItsCheckIsNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checked := 0
		f := bare()
		f.Check = func(any) error { checked++; return nil }
		p := start(t, f, Config{MaxConnections: 1})
		giveBack(t, p, borrow(t, p))
		word := p.ring.At(0)
		l := borrow(t, p)
		before := checked
		p.checkSlot(held{0, word})
		if checked != before {
			t.Error("Check was called for a connection in its caller's hands")
		}
		if p.sweeper.round.Load()%2 != 0 {
			t.Error("the round has let go of the slot, and counts as if it had it")
		}
		giveBack(t, p, l)
	})
}

// look.go looked: many connections that are closed without a call of Check do not make the
// pool trust a Check that is slow.
func TestALookWithoutACheckSaysNothingOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2 * tryout
		f, goOn := bare(), make(chan struct{})
		f.Check = func(any) error { return nil }
		p := start(t, f, Config{MaxConnections: n})
		var leases []Lease
		for range n {
			leases = append(leases, borrow(t, p))
		}
		for _, l := range leases {
			giveBack(t, p, l)
			l.conn.notice.Store(&notice{why: closedByWatch}) // as by a report just after the Get has taken it
		}
		open := p.factory.Open
		p.factory.Open = func(ctx context.Context) (any, error) {
			<-goOn // a new one might be looked at before the Get has it
			return open(ctx)
		}
		got := make(chan Lease)
		go func() {
			l, err := p.Get(t.Context())
			if err != nil {
				t.Errorf("Get: %v", err)
			}
			got <- l
		}()
		synctest.Wait()
		if got := p.Stats().ClosedWatch; got != n {
			t.Errorf("%d connections were closed, want %d", got, n)
		}
		if got := p.wary.Load(); got != tryout {
			t.Errorf("%d looks are to be made apart, want %d", got, tryout)
		}
		close(goOn)
		giveBack(t, p, <-got)
	})
}

// place.go: a pool that is used for years is not taken for one of a bubble.
func TestAPoolThatIsYearsOldIsAtHome(t *testing.T) {
	p := start(t, bare(), Config{MaxConnections: 1})
	if p.elsewhere() {
		t.Error("a new pool is not at home")
	}
	p.epoch = p.epoch.Add(-5 * farAway)
	if p.elsewhere() {
		t.Error("a pool that is five years old is not at home")
	}
	synctest.Test(t, func(t *testing.T) {
		if !p.elsewhere() {
			t.Error("it is at home in a bubble")
		}
	})
}

// sweep.go mindSlots, quota.go openForWaiters: neither the sweeper nor an attempt is started
// in another bubble.
func TestNothingIsStartedInAnotherBubble(t *testing.T) {
	f := bare()
	f.Check = func(any) error { return nil }
	p := start(t, f, Config{MaxConnections: 1})
	p.gate.Add(uint64(words.GateWaiter)) // somebody waits
	synctest.Test(t, func(t *testing.T) {
		p.mindSlots()
		p.ensureOpen(nil)
	})
	p.gate.Sub(uint64(words.GateWaiter))
	if p.sweeper.started.Load() {
		t.Error("the sweeper has been started")
	}
	if c := words.Census(p.conns.Load()); c.Open() != 0 {
		t.Errorf("%d connections are open or being opened, want none", c.Open())
	}
	giveBack(t, p, borrow(t, p))
}

// look.go looked and doubt: the count of looks that are made apart does not go below zero, and
// has no meaning without a Check.
func TestAPoolIsWaryOfNothingThatItNeedNotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its time stands still, so the look is quick
		p := start(t, bare(), Config{MaxConnections: 1})
		p.looked(time.Duration(p.now()), true)
		p.doubt()
		if got := p.wary.Load(); got != 0 {
			t.Errorf("without a Check, %d looks are to be made apart, want none", got)
		}
	})
}

// look.go lookApart: a call of Check that is made for nobody in another goroutine has nobody to
// answer.
func TestAConnectionKeepsNoLookThatIsOver(t *testing.T) {
	f := bare()
	f.Check = func(any) error { return nil }
	p := start(t, f, Config{MaxConnections: 1})
	giveBack(t, p, borrow(t, p))
	l := borrow(t, p)
	if l.conn.calls == 0 || l.conn.look != nil {
		t.Errorf("after %d calls the look is %v, want one that has been forgotten", l.conn.calls/2, l.conn.look)
	}
	giveBack(t, p, l)
}

// leak.go info: what is looked at may have left its slot, and another connection may be leased
// there. To revoke one by the word of the other would end somebody else's lease.
func TestAConnectionThatHasLeftItsSlotHasNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, bare(), Config{MaxConnections: 1})
		first := borrow(t, p)
		if _, ok := p.info(first.conn); !ok {
			t.Error("a leased connection has no lease")
		}
		if err := p.Discard(first, nil); err != nil {
			t.Fatal(err)
		}
		second := borrow(t, p)
		if info, ok := p.info(first.conn); ok {
			t.Errorf("a connection that was discarded has the lease of the next one: %+v", info)
		}
		giveBack(t, p, second)
	})
}

// aside.go hanging: of two attempts that hang, the younger one has been given up, and has ended,
// and is in the census still. With StrictMax the older one is not given up for want of room: room
// is about to come.
func TestAnAttemptIsNotGivenUpForRoomThatIsAboutToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bare()
		f.Open = func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		p := start(t, f, Config{MaxConnections: 2, StrictMax: true, MaxWaitTime: -1, OpenTimeout: -1})
		ended := make(chan error)
		for range 2 {
			go func() {
				_, err := p.Get(t.Context())
				ended <- err
			}()
		}
		time.Sleep(overdueAfter) // not yet overdue
		synctest.Wait()
		var under []*attempt
		for a := range p.attempts {
			under = append(under, a)
		}
		if len(under) != 2 {
			t.Fatalf("%d attempts are under way, want 2", len(under))
		}
		older, younger := under[0], under[1]
		for _, a := range under {
			a.timer.Stop()
		}
		p.overdue.Inc()
		older.state.Store(attemptOverdue)
		b, i := p.bankOf(younger.slot)
		b.opening[i].Store(nil) // as end leaves it, before openFailed lowers the census
		time.Sleep(time.Hour)   // patience is over
		synctest.Wait()
		if at := p.makeRoom(time.Duration(p.now()), true); at != never || older.state.Load() != attemptOverdue {
			t.Errorf("the older attempt is in state %d, and the next look is at %v, want that it goes on", older.state.Load(), at)
		}
		b.opening[i].Store(younger)
		p.failed(nil, time.Duration(p.now()), 0, true)
		time.Sleep(time.Hour)
		synctest.Wait()
		// As end leaves it a moment before; and while it becomes overdue, or has just begun.
		for _, state := range []uint32{attemptEnded, attemptAbandoned, attemptReplaced, attemptRunning} {
			younger.state.Store(state)
			if at := p.makeRoom(time.Duration(p.now()), true); at != never || older.state.Load() != attemptOverdue {
				t.Errorf("beside one in state %d the older attempt is in state %d, and the next look is at %v, want that it goes on", state, older.state.Load(), at)
			}
		}
		// It has left since the caller has looked.
		b.opening[i].Store(nil)
		p.conns.Sub(uint64(words.CensusOpen + words.CensusOpening))
		if at := p.makeRoom(time.Duration(p.now()), true); at != never || older.state.Load() != attemptOverdue {
			t.Errorf("beside a free slot the older attempt is in state %d, and the next look is at %v, want that it goes on", older.state.Load(), at)
		}
		p.conns.Add(uint64(words.CensusOpen + words.CensusOpening))
		b.opening[i].Store(younger)
		_ = p.Close()
		for range 2 {
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Errorf("Get returned %v, want %v", err, ErrClosed)
			}
		}
	})
}

// same.go awaitSame: a GetSame waits for no open, so it is of no importance to it that nothing is open
// when its time is over.
func TestAGetSameWhoseTimeIsOverDoesNotSayThatNothingCanBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errTime := errors.New("time is over")
		p := start(t, bare(), Config{MaxConnections: 1, Exhausted: func(time.Duration, Stats) error { return errTime }})
		l := borrow(t, p)
		m := l.Mark()
		giveBack(t, p, l)
		l = borrow(t, p)
		ended := make(chan error)
		go func() {
			_, err := p.GetSame(t.Context(), m)
			ended <- err
		}()
		synctest.Wait()
		w := l.conn.same.Load().Front()
		p.refuse(w, &expiry{Stats{}}) // as when it is detached while the sweeper counts
		if err := <-ended; err != errTime {
			t.Errorf("GetSame returned %v, want %v", err, errTime)
		}
		giveBack(t, p, l)
	})
}
