//go:build step

package steps

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// revoke ends the one lease there is.
func revoke(t *testing.T, p *pool.Pool[*testkit.Wire]) {
	t.Helper()
	leases := p.Leases()
	if len(leases) != 1 || !p.Revoke(leases[0]) {
		t.Fatalf("Revoke has not ended the one of %d leases", len(leases))
	}
	synctest.Wait()
}

// A Get has taken a slot, and not yet looked at what is in it, when Revoke ends its lease and
// another connection comes into the slot: that is another caller's.
func TestAGetDoesNotTakeWhatCameIntoItsSlotAfterARevoke(t *testing.T) {
	for name, check := range map[string]func(*testkit.Wire) error{"plain": nil, "with Check": func(*testkit.Wire) error { return nil }} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				f := x.Factory()
				f.Check = check
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, CheckInterval: -1})
				testkit.Fill(t, p, 1)
				getter, r := getTo(s, "get: taken", bg, p)
				revoke(t, p)
				second := testkit.Borrow(t, p)
				getter.GoOn()
				r.Pending(t, "while the next connection is leased")
				testkit.GiveBack(t, p, second)
				got := r.Served(t, "after the Put")
				if got.Value() != second.Value() {
					t.Errorf("connection %d was lent, want the second", got.Value().Number)
				}
				endWith(t, p, 1, got)
				testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
			})
		})
	}
}

// The same, and the slot is empty.
func TestAGetWhoseSlotARevokeHasEmptiedOpensAnother(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p, l := lent(t, &x, 1)
		testkit.GiveBack(t, p, l[0])
		getter, r := getTo(s, "get: taken", bg, p)
		revoke(t, p)
		getter.GoOn()
		got := r.Served(t, "after the Revoke")
		if got.Value().Number != 2 {
			t.Errorf("connection %d was lent, want the second", got.Value().Number)
		}
		endWith(t, p, 1, got)
	})
}

// The same for TryGet, which lends nothing then: what is in its slot is another caller's, or
// there is nothing, or what is in there has been reported broken.
func TestATryGetDoesNotLendWhatHasEndedSinceItTookTheSlot(t *testing.T) {
	for _, end := range []string{"another connection", "an empty slot", "a broken one"} {
		t.Run(end, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				f, broken := testkit.Watched(&x)
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
				testkit.Fill(t, p, 1)
				getter := s.Act("tryget: taken", func() {
					if l, ok := p.TryGet(); ok {
						t.Errorf("connection %d was lent", l.Value().Number)
					}
				})
				var second pool.Lease[*testkit.Wire]
				switch end {
				case "another connection":
					revoke(t, p)
					second = testkit.Borrow(t, p)
				case "an empty slot":
					revoke(t, p)
				case "a broken one":
					broken(1, testkit.ErrCause)
				}
				getter.End()
				if end != "another connection" {
					second = testkit.Borrow(t, p)
				}
				if got := second.Value().Number; got != 2 {
					t.Errorf("connection %d was lent, want the second", got)
				}
				endWith(t, p, 1, second)
			})
		})
	}
}

// Revoke takes a connection that is on its way from a Put to a waiter: the waiter gets another
// one. Its caller may leave as well.
func TestAWaiterWhoseConnectionIsRevokedOnItsWayGetsAnother(t *testing.T) {
	for _, place := range []string{"settle: gate read", "settle: somebody waits", "grant: decided", "grant: ctx looked at"} {
		for _, leaves := range []bool{false, true} {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				p, l := lent(t, &x, 1)
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				r := testkit.Ask(ctx, p)
				putter := putTo(s, place, p, l[0])
				revoke(t, p)
				if leaves {
					cancel()
					synctest.Wait()
				}
				putter.End()
				if !leaves {
					got := r.Served(t, place)
					if got.Value().Number != 2 {
						t.Errorf("%q: connection %d was lent, want the second", place, got.Value().Number)
					}
					testkit.GiveBack(t, p, got)
				} else if r.Returned() && r.Err == nil { // what was opened for it came first
					testkit.GiveBack(t, p, r.Lease)
				}
				synctest.Wait()
				testkit.AtRest(t, p, 0)
				testkit.ClosedFor(t, place, x.Opened()[0], pool.ErrRevoked)
				if got := p.Stats(); got.ClosedRevoke != 1 || got.Opened != uint64(1+got.IdleConnections) {
					t.Errorf("%q: at the end %+v", place, got)
				}
			})
		}
	}
}

// A waiter that waits again is not refused because of MaxWaiters, and Hooks.Waited is told of
// its call once, with all the time that it took.
func TestAWaiterThatWaitsAgainIsStillOneCall(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var told []pool.WaitInfo
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt > 1 {
				time.Sleep(testkit.OpenTime)
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, MaxWaiters: 1,
			Hooks: pool.Hooks{Waited: func(i pool.WaitInfo) { told = append(told, i) }}})
		l := testkit.Borrow(t, p)
		told = nil
		r := testkit.Ask(bg, p)
		testkit.Sleep(time.Second)
		putter := putTo(s, "grant: ctx looked at", p, l)
		revoke(t, p)
		other, third := testkit.Ask(bg, p), testkit.Ask(bg, p) // no more may wait
		putter.End()
		testkit.Sleep(testkit.OpenTime)
		testkit.GiveBack(t, p, other.Served(t, "it waits at the head of the queue now"))
		testkit.GiveBack(t, p, third.Served(t, "it waits behind that"))
		testkit.GiveBack(t, p, r.Served(t, "it waits at the end of the queue"))
		if len(told) != 3 || told[2].Err != nil || told[2].Waited != time.Second+testkit.OpenTime {
			t.Errorf("Hooks.Waited was told %+v", told)
		}
	})
}

// The holder ends its lease while Revoke is at it: before the slot goes on, between the note and
// that, and afterwards, with the look at the slot before it goes on.
func TestTheHolderOfALeaseThatIsBeingRevokedIsToldSoOnce(t *testing.T) {
	want := map[string]error{"Put": nil, "Discard": nil, "Detach": pool.ErrRevoked}
	for name, end := range testkit.Enders {
		for _, place := range []string{"revoke: renewed", "revoke: noted", "empty: reserved", "vacate: census lowered", ""} {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				p, l := lent(t, &x, 1)
				var at *stage.Stop
				if place != "" {
					at = s.StopNext(place)
				}
				info := p.Leases()[0]
				ended := make(chan bool, 1)
				go func() { ended <- p.Revoke(info) }()
				var err error
				if place != "" {
					at.Arrived(t)
					err = end(p, l[0])
					at.GoOn()
				} else {
					synctest.Wait()
					testkit.Fill(t, p, 1)
					err = end(p, l[0])
				}
				if err != want[name] {
					t.Errorf("%s at %q returned %v, want %v", name, place, err, want[name])
				}
				synctest.Wait()
				if !<-ended {
					t.Error("Revoke returned false")
				}
				testkit.Refused(t, p, l[0], "a revoked lease that its holder has ended")
				testkit.ClosedFor(t, place, x.Opened()[0], pool.ErrRevoked)
			})
		}
	}
}

// The holder has found its lease over, and looks at the slot just before it goes on: then it
// finds the note.
func TestTheHolderWhoLooksTooLateAtTheSlotFindsTheNote(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p, l := lent(t, &x, 1)
		revoke(t, p)
		testkit.Fill(t, p, 1)
		putter := putTo(s, "notLeased: slot read", p, l[0])
		revoke(t, lend(t, p))
		putter.End()
		if err := p.Put(l[0]); err != pool.ErrNotLeased {
			t.Errorf("the second Put returned %v, want ErrNotLeased", err)
		}
	})
}

// lend leases a connection of p to nobody in particular.
func lend(t *testing.T, p *pool.Pool[*testkit.Wire]) *pool.Pool[*testkit.Wire] {
	testkit.Borrow(t, p)
	return p
}

// Detach ends the lease, and then takes out the connection. In between the slot is the pool's.
func TestDetachWhoseConnectionIsRevokedBetweenItsTwoSteps(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p, l := lent(t, &x, 1)
		var err error
		detacher := s.Act("move", func() { _, err = p.Detach(l[0]) })
		detacher.To("move")
		revoke(t, p)
		second := testkit.Borrow(t, p)
		detacher.End()
		if err != pool.ErrRevoked {
			t.Errorf("Detach returned %v, want ErrRevoked", err)
		}
		if got := p.Stats(); got.Detached != 0 || got.ClosedRevoke != 1 {
			t.Errorf("at the end %+v", got)
		}
		endWith(t, p, 1, second)
		testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
	})
}

// The sweeper has abandoned a call, and is about to give up the slot, when Revoke takes it from
// the sweeper and somebody else gets it.
func TestAnAbandonedCallWhoseConnectionIsRevokedTakesNothingFromTheNext(t *testing.T) {
	for _, place := range []string{"limitCall: too long", "limitCall: abandoned"} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			h, f := testkit.NewHanging(t, "Check")
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1})
			testkit.Fill(t, p, 1)
			h.On.Store(true)
			go p.TryGet()
			at := s.StopNext(place)
			testkit.Sleep(core.CallLimit + testkit.Slack)
			at.Arrived(t)
			revoke(t, p)
			l := testkit.Borrow(t, p)
			at.GoOn()
			synctest.Wait()
			if got := len(l.Value().ClosedWith()); got != 0 {
				t.Errorf("%q: the next connection in the slot was closed", place)
			}
			h.Release()
			synctest.Wait()
			endWith(t, p, 1, l)
			testkit.ClosedFor(t, place, h.Opened()[0], pool.ErrRevoked)
		})
	}
}

// Revoke comes between a Get's look at its slot and its call of Check: Check is not called for a
// connection that is being closed, and no call is left that no pass would find.
func TestCheckIsNotCalledForWhatHasBeenRevokedBefore(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		f := x.Factory()
		var checked []int
		f.Check = func(w *testkit.Wire) error { checked = append(checked, w.Number); return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1})
		testkit.Fill(t, p, 1)
		checked = nil
		looks := s.StopNext("ask: begins")
		r := testkit.Ask(bg, p)
		synctest.Wait()
		looks.Arrived(t)
		revoke(t, p)
		looks.GoOn()
		got := r.Served(t, "by another connection")
		if len(checked) != 0 {
			t.Errorf("Check was called for %v", checked)
		}
		endWith(t, p, 1, got)
	})
}

// A connection that Warm has opened is revoked before it is idle: Warm opens another.
func TestWarmOpensAnotherForOneThatIsRevokedOnItsWay(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1})
		at := s.StopNext("settle: nobody waits")
		done := make(chan error, 1)
		go func() { done <- p.Warm(bg, 1) }()
		at.Arrived(t)
		revoke(t, p)
		at.GoOn()
		synctest.Wait()
		if len(done) != 1 {
			t.Fatal("Warm has not returned")
		}
		if err := <-done; err != nil {
			t.Errorf("Warm returned %v", err)
		}
		endWith(t, p, 1)
		testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
	})
}

// The sweeper has taken a connection to check it, and not yet noted that it has, when that is
// revoked and the slot is lent again.
func TestTheSweeperDoesNotCheckWhatCameIntoItsSlotAfterARevoke(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		f := x.Factory()
		var checked []int
		f.Check = func(w *testkit.Wire) error { checked = append(checked, w.Number); return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: time.Second})
		testkit.Fill(t, p, 1)
		at := s.StopNext("checkSlot: taken")
		testkit.Sleep(1500 * time.Millisecond)
		at.Arrived(t)
		revoke(t, p)
		l := testkit.Borrow(t, p)
		checked = nil
		at.GoOn()
		synctest.Wait()
		if len(checked) != 0 {
			t.Errorf("Check was called for %v, which is its caller's", checked)
		}
		testkit.GiveBack(t, p, l)
		testkit.Sleep(2 * time.Second)
		if len(checked) == 0 {
			t.Error("the sweeper checks no more")
		}
		testkit.AtRest(t, p, 0)
	})
}

// Who revokes what is leased for too long goes by Since. The sweeper has seen the slot under the
// word of the lease while the pool held it, long before the lease began.
func TestSinceIsNotFromWhenThePoolHeldTheConnection(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		putter := putTo(s, "settle: nobody waits", p, l)
		testkit.Sleep(5500 * time.Millisecond) // not when the sweeper looks
		if got := p.Leases(); len(got) != 1 || got[0].Since.IsZero() {
			t.Fatalf("the sweeper has not seen what the pool holds: %+v", got)
		}
		putter.End()
		leasedAfterAnHour(t, p)
	})
}

// The same, but it has only read the slot when the pool makes it idle, and notes it then.
func TestSinceIsNotFromWhenTheSweeperHadReadTheSlot(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		putter := putTo(s, "settle: nobody waits", p, l)
		sweeper := s.StopNext("see: slot read")
		testkit.Sleep(1500 * time.Millisecond)
		sweeper.Arrived(t)
		putter.End()
		sweeper.GoOn()
		leasedAfterAnHour(t, p)
	})
}

// The same, and it goes on when the next lease has begun, which has the word that it has read.
func TestSinceIsNotFromWhenTheSweeperHadReadTheSlotAndALeaseHasBegun(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		putter := putTo(s, "settle: nobody waits", p, l)
		sweeper := s.StopNext("see: slot read")
		testkit.Sleep(1500 * time.Millisecond)
		sweeper.Arrived(t)
		putter.End()
		testkit.Sleep(time.Hour)
		began := time.Now()
		l = testkit.Borrow(t, p)
		sweeper.GoOn()
		synctest.Wait()
		notSinceBefore(t, p.Leases(), began)
		endWith(t, p, 1, l)
	})
}

// The pool has held the connection for a while, and hands it to a waiter.
func TestSinceIsNotFromWhenThePoolHeldWhatAWaiterGot(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		r := testkit.Ask(t.Context(), p)
		putter := putTo(s, "settle: somebody waits", p, l)
		testkit.Sleep(3500 * time.Millisecond) // not when the sweeper looks
		began := time.Now()
		putter.End()
		l = r.Served(t, "it came back")
		notSinceBefore(t, p.Leases(), began)
		endWith(t, p, 1, l)
	})
}

// The pool has held the connection for a while when it is reserved, and somebody gets it by its Mark in an hour.
func TestSinceIsNotFromBeforeTheConnectionWasReserved(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("the sweeper notes it afterwards: ", late), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxLifetime: 1000 * time.Hour})
				l := testkit.Borrow(t, p)
				m := l.Mark()
				synctest.Wait()
				putter := s.Act("settle: nobody waits", func() {
					if err := p.PutFor(l, 2*time.Hour); err != nil {
						t.Error(err)
					}
				})
				sweeper := s.StopNext("see: slot read")
				testkit.Sleep(1500 * time.Millisecond)
				sweeper.Arrived(t)
				if late {
					putter.End()
				}
				sweeper.GoOn()
				if !late {
					synctest.Wait()
					putter.End()
				}
				testkit.Sleep(time.Hour)
				began := time.Now()
				l, ok := p.TryGetSame(m)
				if !ok {
					t.Fatal("it is not reserved")
				}
				notSinceBefore(t, p.Leases(), began)
				endWith(t, p, 1, l)
			})
		})
	}
}

// Leases comes when the sweeper has noted the word of a lease and has not read the clock yet.
func TestSinceIsNotKnownBeforeTheSweeperHasReadTheClock(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentAgain(t)
		sweeper := s.StopNext("see: noted")
		testkit.Sleep(2 * time.Second)
		sweeper.Arrived(t)
		if got := p.Leases(); len(got) != 1 || !got[0].Since.IsZero() {
			t.Errorf("it is known since when the lease is in force: %+v", got)
		}
		sweeper.GoOn()
		if got := p.Leases(); len(got) != 1 || got[0].Since.IsZero() {
			t.Errorf("the sweeper has not seen the lease: %+v", got)
		}
		endWith(t, p, 1, l)
	})
}

// The pool has held the connection for a while, and has just made it idle when somebody takes it.
func TestSinceIsNotFromWhenThePoolHeldWhatHasJustBecomeIdle(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		putter := putTo(s, "settle: nobody waits", p, l)
		testkit.Sleep(5500 * time.Millisecond) // not when the sweeper looks
		published := s.StopNext("publish: published")
		putter.GoOn()
		published.Arrived(t)
		began := time.Now()
		l = testkit.Borrow(t, p)
		notSinceBefore(t, p.Leases(), began)
		published.GoOn()
		putter.End()
		endWith(t, p, 1, l)
	})
}

// The same, and it is reserved.
func TestSinceIsNotFromWhenThePoolHeldWhatHasJustBeenReserved(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxLifetime: 1000 * time.Hour})
		l := testkit.Borrow(t, p)
		m := l.Mark()
		synctest.Wait()
		putter := s.Act("settle: nobody waits", func() {
			if err := p.PutFor(l, 2*time.Hour); err != nil {
				t.Error(err)
			}
		})
		testkit.Sleep(5500 * time.Millisecond)
		stored := s.StopNext("reserve: stored")
		putter.GoOn()
		stored.Arrived(t)
		began := time.Now()
		l, ok := p.TryGetSame(m)
		if !ok {
			t.Fatal("it is not reserved")
		}
		notSinceBefore(t, p.Leases(), began)
		stored.GoOn()
		putter.End()
		endWith(t, p, 1, l)
	})
}

// Who has made the connection idle is held up before it forgets what the sweeper noted. The lease after
// that was noted as well.
func TestSinceOfALeaseStaysWhenWhatWasNotedBeforeIsForgotten(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentWithClean(t)
		putter := putTo(s, "settle: nobody waits", p, l)
		reads := s.StopNext("see: slot read")
		testkit.Sleep(1500 * time.Millisecond)
		reads.Arrived(t)
		published, noted := s.StopNext("publish: published"), s.StopNext("see: noted")
		putter.GoOn()
		published.Arrived(t)
		reads.GoOn()
		noted.Arrived(t)
		forgets := s.StopNext("forget: word read")
		published.GoOn()
		forgets.Arrived(t)
		noted.GoOn()
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		l = testkit.Borrow(t, p)
		testkit.Sleep(1500 * time.Millisecond)
		if got := p.Leases(); len(got) != 1 || got[0].Since.IsZero() {
			t.Fatalf("the sweeper has not seen the lease: %+v", got)
		}
		forgets.GoOn()
		if got := p.Leases(); len(got) != 1 || got[0].Since.IsZero() {
			t.Errorf("what the sweeper noted is forgotten: %+v", got)
		}
		putter.End()
		endWith(t, p, 1, l)
	})
}

// lentWithClean returns a pool whose Puts take the slow path, and whose sweeper looks each second, with the lease
// of its connection.
func lentWithClean(t *testing.T) (*pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire]) {
	t.Helper()
	f := new(testkit.Exchange).Factory()
	f.Clean = func(*testkit.Wire) error { return nil }
	p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxLifetime: 1000 * time.Hour})
	l := testkit.Borrow(t, p)
	synctest.Wait()
	return p, l
}

// lentAgain returns a pool with the lease of its connection. The sweeper looks each second, and has seen a lease
// that ended an hour before.
func lentAgain(t *testing.T) (*pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire]) {
	t.Helper()
	p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxLifetime: 1000 * time.Hour})
	l := testkit.Borrow(t, p)
	testkit.Sleep(1500 * time.Millisecond)
	if got := p.Leases(); len(got) != 1 || got[0].Since.IsZero() {
		t.Fatalf("the sweeper has not seen the lease before: %+v", got)
	}
	testkit.GiveBack(t, p, l)
	testkit.Sleep(time.Hour)
	return p, testkit.Borrow(t, p)
}

// notSinceBefore checks that there is one lease, and that it is not said to have begun before it has.
func notSinceBefore(t *testing.T, got []pool.LeaseInfo, began time.Time) {
	t.Helper()
	switch {
	case len(got) != 1:
		t.Errorf("%d leases are in force, want 1: %+v", len(got), got)
	case !got[0].Since.IsZero() && got[0].Since.Before(began):
		t.Errorf("leased since %v before it was: %+v", began.Sub(got[0].Since), got)
	}
}

// leasedAfterAnHour checks of the next lease, in an hour, that its Since is not before it began.
func leasedAfterAnHour(t *testing.T, p *pool.Pool[*testkit.Wire]) {
	t.Helper()
	testkit.Sleep(time.Hour)
	began := time.Now()
	l := testkit.Borrow(t, p)
	testkit.Sleep(100 * time.Millisecond)
	notSinceBefore(t, p.Leases(), began)
	testkit.Sleep(2 * time.Second)
	if got := p.Leases(); len(got) != 1 || got[0].Since.Before(began) {
		t.Errorf("the sweeper has not seen the lease: %+v", got)
	}
	endWith(t, p, 1, l)
}

// Leases has begun to read what the sweeper noted of the lease before, and goes on when it has
// noted this one.
func TestSinceIsNotThatOfTheLeaseBefore(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lentAgain(t)
		began := time.Now()
		var got []pool.LeaseInfo
		reader := s.Act("since: word read", func() { got = p.Leases() })
		testkit.Sleep(2 * time.Second)
		reader.End()
		notSinceBefore(t, got, began)
		endWith(t, p, 1, l)
	})
}

func TestALeaseThatIsBeingRevokedIsNotAmongTheLeases(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		p, l := lent(t, &x, 1)
		info := p.Leases()[0]
		revoker := s.Act("revoke: renewed", func() { p.Revoke(info) })
		if got := p.Leases(); len(got) != 0 {
			t.Errorf("Leases has %+v", got)
		}
		if p.Revoke(info) {
			t.Error("another Revoke has ended the same lease")
		}
		revoker.End()
		endWith(t, p, 0, l[0])
		testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
	})
}

// Close has ended a lease, and not yet noted that it was Close.
func TestTheHolderLearnsThatCloseHasEndedItsLeaseAtTheSameMoment(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		closer := s.Act("revoke: renewed", func() { p.Close() })
		if _, err := p.Detach(l[0]); err != pool.ErrClosed {
			t.Errorf("Detach returned %v, want ErrClosed", err)
		}
		closer.End()
		testkit.AtRest(t, p, 0)
	})
}
