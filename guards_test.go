package pool

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// The tests in this file are of guards that could be left out, and no other test noticed
// (check/mutants).

// sweep.go passSoon, pass.go pass: Reset has the sweeper pass at once, not at its time.
func TestResetRestoresMinIdleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 5, MinIdle: 2, MaxIdleTime: -1})
		time.Sleep(1100 * time.Millisecond)
		idleIs(t, p, "before Reset", 2)
		p.Reset()
		synctest.Wait()
		idleIs(t, p, "at once after Reset", 2)
		for _, w := range x.opened()[:2] {
			closedFor(t, "after Reset", w, errReset)
		}
	})
}

// outage.go unavailableError: opened ends the outage before it forgets the error, failed
// begins one after the error is known; whoever reads the two in between must not be told
// that the server is away and be given no reason.
func TestNobodyIsRefusedWithoutAnErrorToName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		var o outage
		for range keepsFailing {
			o = o.worse(0)
		}
		p.outage.Store(uint64(o))
		if err := p.unavailable(); err != nil {
			t.Errorf("with no error known: %v, want nil", err)
		}
		p.outage.Store(0)
	})
}

// outage.go failed: what began in an outage that a success has ended since, and fails, is
// the first failure of the next.
func TestAFailureAfterTheEndOfTheOutageInWhichItBeganCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		p.failed(outage(0).worse(time.Second))
		if got := outage(p.outage.Load()).failures(); got != 1 {
			t.Errorf("%d failures are known, want 1", got)
		}
		p.outage.Store(0)
	})
}

// open.go openFailed: an Open that fails because Reset or Close has ended its ctx says
// nothing about the server.
func TestAnOpenThatWasGivenUpIsNoFailureOfTheServer(t *testing.T) {
	for name, end := range map[string]func(p *Pool[*wire]){
		"Reset": func(p *Pool[*wire]) { p.Reset() },
		"Close": func(p *Pool[*wire]) { p.Close() },
	} {
		bubble(t, name, func(t *testing.T) {
			var log logbook
			x := exchange{open: func(ctx context.Context, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			p := start(t, x.factory(), Config{MaxConnections: 1, OpenTimeout: -1, Logger: log.logger()})
			r := ask(t.Context(), p)
			end(p)
			synctest.Wait()
			if got := p.Stats().LastOpenError; got != nil {
				t.Errorf("the last error on opening is %v, want none", got)
			}
			if got := outage(p.outage.Load()).failures(); got != 0 {
				t.Errorf("%d failures are known, want none", got)
			}
			if got := log.with(slog.LevelWarn); len(got) > 0 {
				t.Errorf("it was logged as a failure: %q", got)
			}
			p.Close()
			r.failed(t, "after Close", ErrClosed)
		})
	}
}

// close.go vacate: with StrictMax a slot comes free when Factory.Close returns, and Warm
// waits for that.
func TestWarmGoesOnWhenASlotComesFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := obstacle(t)
		x := exchange{closing: func(*wire, error) error { <-hold; return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 2, StrictMax: true, MaxIdleTime: -1})
		a, b := borrow(t, p), borrow(t, p)
		if err := p.Discard(a, nil); err != nil {
			t.Fatal(err)
		}
		w := warm(t.Context(), p, 2)
		w.pending(t, "while Close has not returned")
		release()
		w.is(t, "when it has", nil)
		giveBack(t, p, b)
	})
}

// open.go timeAttempt: in an outage one attempt is made at a time, and Warm waits for its
// end before it begins another, but not if it hangs.
func TestWarmDoesNotWaitForAnAttemptThatHangsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(_ context.Context, attempt int) error {
			switch attempt {
			case 1:
				return errDial
			case 2:
				<-hang
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1})
		ask(t.Context(), p).failed(t, "an outage begins", errDial)
		ctx, cancel := context.WithCancel(t.Context())
		r := ask(ctx, p)
		cancel()
		r.failed(t, "when its ctx has ended", context.Canceled)
		w := warm(t.Context(), p, 2)
		time.Sleep(backoffMost - 1)
		synctest.Wait()
		if got := x.tried(); got != 2 {
			t.Errorf("Open was called %d times while one may still succeed, want twice", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := x.tried(); got != 3 {
			t.Errorf("Open was called %d times when one is overdue, want three times", got)
		}
		release()
		w.is(t, "when both are open", nil)
	})
}

// open.go openFailed: the failure of what Warm has begun is Warm's, and nobody's who waits,
// though none is open that may come back to them.
func TestNobodyWhoWaitsIsToldOfAFailureOfWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(_ context.Context, attempt int) error {
			if attempt == 2 {
				return errDial
			}
			<-hang
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2})
		r := ask(t.Context(), p)
		w := warm(t.Context(), p, 2)
		w.is(t, "when its attempt has failed", errDial)
		r.pending(t, "while its own is under way")
		release()
		giveBack(t, p, r.served(t, "by its own"))
	})
}

// wait.go accept: of a token and the end of its ctx that come together, a caller may see
// the token. It is told of its ctx, all the same.
func TestATokenForAWaiterWhoseCtxHasEndedIsTheErrorOfThat(t *testing.T) {
	var x exchange
	p := start(t, x.factory(), Config{MaxConnections: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.accept(ctx, token{err: errEnded}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Get returns %v, want %v", err, context.Canceled)
	}
	if got := p.Stats().Canceled; got != 1 {
		t.Errorf("%d waits were cancelled, want 1", got)
	}
}

// pool.go putSlow: nobody cleans what is to be closed.
func TestCleanIsNotCalledForWhatComesBackToAClosedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		cleaned := 0
		f.Clean = func(*wire) error { cleaned++; return nil }
		p := start(t, f, Config{MaxConnections: 1})
		l := borrow(t, p)
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		synctest.Wait()
		giveBack(t, p, l)
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if cleaned != 0 {
			t.Errorf("Clean was called %d times, want never", cleaned)
		}
		x.allClosedOnce(t)
	})
}

// sweep.go checkSlot: a round that runtime.Goexit ends is not the last.
func TestChecksGoOnAfterOneThatEndedItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		checked := 0
		f.Check = func(*wire) error {
			if checked++; checked == 1 {
				runtime.Goexit()
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 3, CheckInterval: time.Second, MaxIdleTime: -1})
		fill(t, p, 3)
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		if want := 1 + 2*2; checked != want {
			t.Errorf("Check was called %d times in three rounds, want %d: once, and then for the other two each time", checked, want)
		}
		if got := p.Stats(); got.ClosedCheck != 1 || got.IdleConnections != 2 {
			t.Errorf("then %+v", got)
		}
	})
}

// sweep.go advanceTick: the clock skips the stamp by which Close knows what it has revoked.
func TestCloseClosesWhatWasOpenedWhenTheClockStoodAtItsOwnStamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: time.Second})
		time.Sleep(revokedStamp * p.sweeper.tickLength)
		l := borrow(t, p)
		p.Close()
		closedFor(t, "after Close", l.Value(), ErrClosed)
		if err := p.Put(l); err != nil {
			t.Errorf("Put after Close: %v", err)
		}
	})
}

// leak.go place: what no function has called, has a name as well.
func TestALeaseThatAGoStatementTookIsSaidToBeThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, LeakAfter: time.Minute})
		go p.Get(context.Background())
		synctest.Wait()
		if got := p.Leases(); len(got) != 1 || got[0].Where != "a go statement" {
			t.Errorf("the leases are %+v, want one of a go statement", got)
		}
	})
}

// pool.go getFor: Do asks for its ctx as Get does.
func TestDoOfACtxThatHasEndedCallsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, leakAfter := range []time.Duration{0, time.Minute} {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 1, LeakAfter: leakAfter})
			fill(t, p, 1)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := p.Do(ctx, func(context.Context, *wire) error {
				t.Error("the function was called")
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Do returned %v, want %v", err, context.Canceled)
			}
		}
	})
}

// open.go openFailed: without StrictMax nobody waits for the Close of what Watch refused.
func TestTheSlotOfWhatWatchRefusedIsFreeBeforeItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := obstacle(t)
		x := exchange{closing: func(*wire, error) error { <-hold; return nil }}
		f := x.factory()
		f.Watch = func(w *wire, broken func(error)) {
			if w.number == 1 {
				broken(errCause)
			}
		}
		p := start(t, f, Config{MaxConnections: 1})
		if _, err := p.Get(t.Context()); !errors.Is(err, errCause) {
			t.Fatalf("Get returned %v, want %v", err, errCause)
		}
		l := ask(t.Context(), p).served(t, "while the first is being closed")
		giveBack(t, p, l)
		release()
	})
}

// limit.go limitCall, stats.go Stats: what is being checked is idle, unless the check hangs;
// and that it is abandoned does not turn this round.
func TestStatsWhileCheckHangsAndAfterItWasAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		hold, release := obstacle(t)
		f := x.factory()
		f.Check = func(w *wire) error {
			if w.number == 1 {
				<-hold
			} else {
				time.Sleep(800 * time.Millisecond)
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 1, CheckInterval: 2 * time.Second, MaxIdleTime: -1})
		fill(t, p, 1)
		stands := func(when string, active, idle int) {
			t.Helper()
			if got := p.Stats(); got.ActiveConnections != active || got.IdleConnections != idle {
				t.Errorf("%s %d are active and %d idle, want %d and %d", when, got.ActiveConnections, got.IdleConnections, active, idle)
			}
		}
		time.Sleep(2500 * time.Millisecond)
		stands("while Check has been running for half a second", 0, 1)
		time.Sleep(time.Second)
		stands("while Check hangs", 1, 0)
		time.Sleep(2 * callLimit)
		if got := p.Stats().ClosedAbandoned; got != 1 {
			t.Errorf("%d calls were abandoned, want 1", got)
		}
		release()
		fill(t, p, 1)
		for checks := 0; checks < 20; checks++ { // two rounds of 800 ms at least
			stands("while Check is slow", 0, 1)
			time.Sleep(211 * time.Millisecond)
		}
		p.Close()
		time.Sleep(time.Second) // for a Check that is under way
	})
}

// pass.go pass: at each tick all forget which slot they had last, and take the lowest.
func TestAfterATickTheLowestSlotIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxIdleTime: time.Minute})
		a, b, c := borrow(t, p), borrow(t, p), borrow(t, p)
		giveBack(t, p, a)
		giveBack(t, p, b)
		giveBack(t, p, c)
		time.Sleep(p.sweeper.tickLength + time.Millisecond)
		synctest.Wait()
		l := borrow(t, p)
		if l.Value() != a.Value() {
			t.Errorf("connection %d was lent, want the first", l.Value().number)
		}
		giveBack(t, p, l)
	})
}

// resize.go Resize: what there is room for now is opened at once.
func TestResizeRestoresMinIdleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 3, MinIdle: 2, MaxIdleTime: -1})
		a, b := borrow(t, p), borrow(t, p)
		time.Sleep(2100 * time.Millisecond) // between two passes
		synctest.Wait()
		idleIs(t, p, "as far as there is room", 1)
		resize(t, p, 6)
		synctest.Wait()
		idleIs(t, p, "at once after Resize", 2)
		giveBack(t, p, a)
		giveBack(t, p, b)
	})
}

// pool.go examine: in an outage an old connection is better than none.
func TestInAnOutageWhatMinIdleHasKeptIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		p := start(t, b.factory(), Config{MaxConnections: 5, MinIdle: 1, MaxIdleTime: 3 * time.Second})
		time.Sleep(time.Second)
		idleIs(t, p, "before the outage", 1)
		first := b.opened()[0]
		b.down.Store(true)
		time.Sleep(20 * time.Second)
		l := ask(t.Context(), p).served(t, "in the outage")
		if l.Value() != first {
			t.Errorf("connection %d was lent, want the one that there was", l.Value().number)
		}
		giveBack(t, p, l)
		p.Close()
		time.Sleep(time.Second) // for an Open that is under way
	})
}

// pass.go pass: what will have been idle for too long is replaced before it is, with
// MaxLifetime as without.
func TestMinIdleCanBeLentAtAnyTime(t *testing.T) {
	for name, c := range map[string]Config{
		"MaxIdleTime": {},
		"both":        {MaxLifetime: time.Hour},
	} {
		bubble(t, name, func(t *testing.T) {
			c.MaxConnections, c.MinIdle, c.MaxIdleTime = 5, 1, 16*time.Second
			for after := 14 * time.Second; after < 22*time.Second; after += 270 * time.Millisecond {
				x := exchange{open: slow(800 * time.Millisecond)}
				p := start(t, x.factory(), c)
				time.Sleep(after)
				l, ok := p.TryGet()
				if !ok {
					t.Errorf("after %v nothing could be lent", after)
					continue
				}
				giveBack(t, p, l)
				p.Close()
			}
		})
	}
}

// quota.go lift: in an outage the sweeper comes back for the next attempt, not when the
// oldest has waited for twice the time that opening took.
func TestTheNextAttemptIsMadeInTimeThoughOpeningUsedToTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(2 * mostOpenTime)
		p := start(t, b.factory(), Config{MaxConnections: 2, MaxIdleTime: -1})
		l := borrow(t, p)
		b.takes = time.Millisecond
		b.down.Store(true)
		for outage(p.outage.Load()).failures() < keepsFailing+6 { // up to the longest pause
			r := ask(t.Context(), p)
			for !r.returned() {
				time.Sleep(b.takes)
			}
			r.failed(t, "while the server is down", errDial)
		}
		r := ask(t.Context(), p)
		r.pending(t, "in the pause")
		b.down.Store(false)
		time.Sleep(backoffMost + b.takes)
		giveBack(t, p, r.served(t, "after the pause"))
		giveBack(t, p, l)
	})
}

// outage.go unavailable: a pool that was closed in an outage is closed.
func TestGetReturnsErrClosedAfterCloseInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := failing(t, newBackend(time.Millisecond), Config{MaxConnections: 2})
		if _, err := p.Get(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Get returned %v, want %v", err, ErrUnavailable)
		}
		p.Close()
		if _, err := p.Get(t.Context()); err != ErrClosed {
			t.Errorf("after Close Get returned %v, want %v", err, ErrClosed)
		}
	})
}

// pass.go pass: where passes are far apart because MaxIdleTime is long, a call that hangs is
// abandoned in time, too.
func TestACallThatHangsIsAbandonedInTimeThoughMaxIdleTimeIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := obstacle(t)
		var x exchange
		f := x.factory()
		f.Clean = func(*wire) error { <-hold; return nil }
		p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: 480 * time.Hour})
		l := borrow(t, p)
		time.Sleep(5 * time.Minute)
		go p.Put(l)
		time.Sleep(callLimit + 2*maxTick)
		if got := p.Stats().ClosedAbandoned; got != 1 {
			t.Errorf("%d calls were abandoned after %v, want 1", got, callLimit+2*maxTick)
		}
		release()
	})
}

// quota.go oldestHasWaited: whoever has come to wait is counted before it stands in the
// queue.
func TestOpeningForThoseWhoAreCountedAndNotYetInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: slow(time.Millisecond)}
		p := start(t, x.factory(), Config{MaxConnections: 50, MaxIdleTime: -1, MaxWaitTime: -1})
		p.gate.Add(2 * coldStart * uint64(gateWaiter))
		p.ensureOpen(nil, nil)
		if got := p.Stats().OpeningConnections; got != coldStart {
			t.Errorf("%d are being opened, want %d", got, coldStart)
		}
		p.gate.Sub(2 * coldStart * uint64(gateWaiter))
		time.Sleep(time.Second)
	})
}

// pass.go pass: what is due for two reasons is closed for the first of them, and does not
// count among those whose lives have ended.
func TestAnIdleConnectionThatIsOldAsWellIsClosedAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: time.Minute, MaxLifetime: time.Hour})
		fill(t, p, 2)
		synctest.Wait()
		p.sweeper.nextPass = 0
		p.pass(time.Duration(p.now()) + 2*time.Hour)
		synctest.Wait()
		if s := p.Stats(); s.ClosedIdle != 2 || s.ClosedLifetime != 0 {
			t.Errorf("%d were closed as idle, %d at the end of their lives, want 2, 0", s.ClosedIdle, s.ClosedLifetime)
		}
	})
}

// pass.go closeDue: between the look at a slot and its end somebody may have taken it, or
// another connection may have come into it.
func TestWhatIsNotDueAnyMoreIsNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: -1, MaxLifetime: time.Hour})
		fill(t, p, 1)
		due := view{due: []dueSlot{{held{0, p.word(0)}, closedByLifetime}}}
		l := borrow(t, p)
		p.closeDue(due)
		synctest.Wait()
		if err := p.Put(l); err != nil {
			t.Errorf("Put of what was taken before it was closed: %v", err)
		}
		idleIs(t, p, "when it has been taken meanwhile", 1)
		due.due[0].word = p.word(0)
		p.closeDue(due)
		synctest.Wait()
		idleIs(t, p, "when another connection is in the slot", 1)
		if got := len(x.opened()[0].closedWith()); got != 0 {
			t.Errorf("the connection was closed %d times, want never", got)
		}
	})
}

// sweep.go checkSlot: somebody may take a connection just before it is checked.
func TestWhatIsTakenBeforeItsCheckIsNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		checked := 0
		f.Check = func(*wire) error { checked++; return nil }
		p := start(t, f, Config{MaxConnections: 1, CheckInterval: -1, MaxIdleTime: -1})
		fill(t, p, 1)
		word := p.word(0)
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

// open.go isNil: a nil pointer in an interface is nil, too.
func TestANilPointerInAnInterfaceIsNoConnection(t *testing.T) {
	for v, want := range map[any]bool{(*wire)(nil): true, 0: false, "": false, new(wire): false} {
		if got := isNil(v); got != want {
			t.Errorf("isNil of %T(%v) is %v, want %v", v, v, got, want)
		}
	}
}
