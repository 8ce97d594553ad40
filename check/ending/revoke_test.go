package ending

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/google/go-cmp/cmp"
)

// infoOf returns what Leases says of the lease of w.
func infoOf(t *testing.T, p *pool.Pool[*testkit.Wire], w *testkit.Wire) pool.LeaseInfo {
	t.Helper()
	for _, info := range p.Leases() {
		if info.Conn == w {
			return info
		}
	}
	t.Fatalf("connection %d is not among the leases", w.Number)
	panic("unreachable")
}

// revoked fails the test unless Revoke ends the lease of w, and its connection is closed.
func revoked(t *testing.T, p *pool.Pool[*testkit.Wire], w *testkit.Wire) {
	t.Helper()
	if !p.Revoke(infoOf(t, p, w)) {
		t.Fatalf("Revoke of the lease of connection %d returned false", w.Number)
	}
	testkit.ClosedFor(t, "revoked", w, pool.ErrRevoked)
}

func TestRevokeClosesTheConnectionAndServesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var mu sync.Mutex // guards told
		var told []pool.CloseInfo
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, Hooks: pool.Hooks{
			Closed: func(i pool.CloseInfo) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, i)
			},
		}})
		lost, kept := testkit.Borrow(t, p), testkit.Borrow(t, p)
		first, second := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		info := infoOf(t, p, lost.Value())
		if !p.Revoke(info) {
			t.Fatal("Revoke returned false")
		}
		l := first.Served(t, "after Revoke")
		second.Pending(t, "one slot came free")
		testkit.ClosedFor(t, "revoked", lost.Value(), pool.ErrRevoked)
		mu.Lock()
		if len(told) != 1 || told[0].Reason != "revoke" || told[0].Cause != pool.ErrRevoked || told[0].Number != info.Number {
			t.Errorf("Hooks.Closed was told %+v", told)
		}
		mu.Unlock()
		if got := p.Stats(); got.ClosedRevoke != 1 || got.ActiveConnections != 2 || got.Opened != 3 || got.Gets != 3 {
			t.Errorf("after Revoke %+v", got)
		}
		for _, l := range p.Leases() {
			if l.Conn == lost.Value() {
				t.Error("the revoked lease is still among the leases")
			}
		}
		testkit.GiveBack(t, p, kept)
		testkit.EndWithIdle(t, p, 2, l, second.Served(t, "after a Put"))
		testkit.GiveBack(t, p, lost)
		testkit.Whole(t, p, 2)
	})
}

// As after Close: whoever ends a lease whose connection is gone has made no mistake, once.
func TestALeaseThatRevokeHasEndedMayBeEndedOnce(t *testing.T) {
	want := map[string]error{"Put": nil, "Discard": nil, "Detach": pool.ErrRevoked}
	for first, end := range testkit.Enders {
		for when, goOn := range map[string]func(t *testing.T, p *pool.Pool[*testkit.Wire]){
			"at once":                      func(*testing.T, *pool.Pool[*testkit.Wire]) {},
			"when the slot has been used":  func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.Fill(t, p, 1) },
			"when it is lent to another":   func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.Borrow(t, p) },
			"when that has been discarded": func(t *testing.T, p *pool.Pool[*testkit.Wire]) { _ = p.Discard(testkit.Borrow(t, p), nil) },
			"when that has been revoked":   func(t *testing.T, p *pool.Pool[*testkit.Wire]) { revoked(t, p, testkit.Borrow(t, p).Value()) },
			"after Close":                  func(_ *testing.T, p *pool.Pool[*testkit.Wire]) { _ = p.Close() },
		} {
			testkit.Bubble(t, first+" "+when, func(t *testing.T) {
				var x testkit.Exchange
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
				ended := testkit.Borrow(t, p)
				testkit.GiveBack(t, p, ended)
				l := testkit.Borrow(t, p)
				revoked(t, p, l.Value())
				goOn(t, p)
				testkit.Refused(t, p, ended, "a lease that ended before")
				if got := end(p, l); got != want[first] {
					t.Errorf("%s returned %v, want %v", first, got, want[first])
				}
				testkit.Refused(t, p, l, "a revoked lease that its holder has ended")
				testkit.ClosedFor(t, "at the end", l.Value(), pool.ErrRevoked)
			})
		}
	}
}

func TestRevokeRefusesWhatNamesNoLeaseInForce(t *testing.T) {
	clean := func(f *pool.Factory[*testkit.Wire]) { f.Clean = func(*testkit.Wire) error { return nil } }
	plain := func(*pool.Factory[*testkit.Wire]) {}
	for name, tt := range map[string]struct {
		factory func(*pool.Factory[*testkit.Wire])
		make    func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo
	}{
		"the zero LeaseInfo": {plain, func(*testing.T, *pool.Pool[*testkit.Wire]) pool.LeaseInfo { return pool.LeaseInfo{} }},
		"one made by hand": {plain, func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
			i := infoOf(t, p, testkit.Borrow(t, p).Value())
			return pool.LeaseInfo{Conn: i.Conn, Number: i.Number, Opened: i.Opened, Since: i.Since, Where: i.Where}
		}},
		"one of another pool": {plain, func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
			var x testkit.Exchange
			other := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
			testkit.Borrow(t, p)
			return infoOf(t, other, testkit.Borrow(t, other).Value())
		}},
		"one that has been put back":                          {plain, ended("Put", false)},
		"one that was lent again":                             {plain, ended("Put", true)},
		"one that was cleaned":                                {clean, ended("Put", false)},
		"one that was cleaned, and its connection lent again": {clean, ended("Put", true)},
		"one that was discarded":                              {plain, ended("Discard", false)},
		"one that was discarded, and the slot lent again":     {plain, ended("Discard", true)},
		"one that was detached":                               {plain, ended("Detach", false)},
		"one that was detached, and the slot lent again":      {plain, ended("Detach", true)},
		"one that was revoked": {plain, func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
			l := testkit.Borrow(t, p)
			i := infoOf(t, p, l.Value())
			revoked(t, p, l.Value())
			return i
		}},
		"one that was revoked, and the slot lent again": {plain, func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
			l := testkit.Borrow(t, p)
			i := infoOf(t, p, l.Value())
			revoked(t, p, l.Value())
			testkit.Borrow(t, p)
			return i
		}},
		"one that Close ended": {plain, func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
			i := infoOf(t, p, testkit.Borrow(t, p).Value())
			_ = p.Close()
			return i
		}},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			tt.factory(&f)
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
			info := tt.make(t, p)
			synctest.Wait()
			before := testkit.Figures(p)
			if p.Revoke(info) {
				t.Error("Revoke returned true")
			}
			synctest.Wait()
			if diff := cmp.Diff(before, testkit.Figures(p)); diff != "" {
				t.Errorf("Revoke has changed something (-before +after):\n%s", diff)
			}
		})
	}
}

// ended returns a LeaseInfo whose lease has been ended, and whose slot may be lent again.
func ended(how string, again bool) func(*testing.T, *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
	return func(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.LeaseInfo {
		l := testkit.Borrow(t, p)
		i := infoOf(t, p, l.Value())
		if err := testkit.Enders[how](p, l); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		synctest.Wait()
		if again {
			testkit.Borrow(t, p)
		}
		return i
	}
}

func TestALeaseInfoIsTheSameWheneverItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		one, two := infoOf(t, p, l.Value()), infoOf(t, p, l.Value())
		if one != two {
			t.Errorf("two of the same lease differ: %+v, %+v", one, two)
		}
		testkit.GiveBack(t, p, l)
		if three := infoOf(t, p, testkit.Borrow(t, p).Value()); one == three {
			t.Error("those of two leases are the same")
		}
	})
}

// A leak is reported, revoked by the hook, and not reported again.
func TestALeakCanBeRevokedByTheHookThatIsToldOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var p *pool.Pool[*testkit.Wire]
		var ended []bool
		p = testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, LeakAfter: time.Minute, Hooks: pool.Hooks{
			Leaked: func(i pool.LeaseInfo) { ended = append(ended, p.Revoke(i)) },
		}})
		leaked := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(59 * time.Second)
		r.Pending(t, "before LeakAfter")
		testkit.Sleep(30 * time.Second)
		testkit.ClosedFor(t, "after LeakAfter", leaked.Value(), pool.ErrRevoked)
		testkit.GiveBack(t, p, r.Served(t, "after the leak was revoked"))
		testkit.Sleep(time.Hour)
		if len(ended) != 1 || !ended[0] || p.Stats().Leaked != 1 {
			t.Errorf("the hook revoked %v, and %d leaks are counted, want one", ended, p.Stats().Leaked)
		}
	})
}

func TestDoWhoseLeaseIsRevokedReturnsWhatItsFunctionSays(t *testing.T) {
	for name, verdict := range map[string]error{"nil": nil, "an error": testkit.ErrCause, "an error marked with Keep": pool.Keep(testkit.ErrCause)} {
		for _, way := range []string{"Do", "DoLease"} {
			testkit.Bubble(t, way+" "+name, func(t *testing.T) {
				var x testkit.Exchange
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
				f := func(_ context.Context, w *testkit.Wire) error {
					revoked(t, p, w)
					testkit.Fill(t, p, 1) // the slot is another's already
					return verdict
				}
				var err error
				if way == "Do" {
					err = p.Do(t.Context(), f)
				} else {
					err = p.DoLease(t.Context(), func(ctx context.Context, l pool.Lease[*testkit.Wire]) error { return f(ctx, l.Value()) })
				}
				var want error
				if verdict != nil {
					want = testkit.ErrCause
				}
				if err != want {
					t.Errorf("it returned %v, want %v", err, want)
				}
				testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
				if got := p.Stats(); got.ClosedRevoke != 1 || got.ClosedDiscard != 0 {
					t.Errorf("at the end %+v", got)
				}
				testkit.Whole(t, p, 1)
			})
		}
	}
}

// The holder's call ends because its connection is closed under it.
func TestTheHoldersCallEndsWhenItsLeaseIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := make(chan struct{})
		x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { close(cut); return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		done := make(chan error, 1)
		go func() {
			done <- p.Do(t.Context(), func(context.Context, *testkit.Wire) error { <-cut; return testkit.ErrCause })
		}()
		synctest.Wait()
		p.Revoke(p.Leases()[0])
		if err := <-done; err != testkit.ErrCause {
			t.Errorf("Do returned %v, want %v", err, testkit.ErrCause)
		}
	})
}

// Revoke takes the connection from a Get that is in Check, and the Get looks for another.
func TestRevokeOfWhatAGetIsCheckingMakesItLookForAnother(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
			testkit.Bubble(t, way+", "+name, func(t *testing.T) {
				hang, release := testkit.Obstacle(t)
				var x testkit.Exchange
				f := x.Factory()
				f.Check = func(w *testkit.Wire) error {
					if w.Number == 1 {
						<-hang
						return verdict
					}
					return nil
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: -1})
				testkit.Fill(t, p, 1)
				var l pool.Lease[*testkit.Wire]
				var ok bool
				done := make(chan struct{})
				go func() {
					defer close(done)
					if way == "TryGet" {
						l, ok = p.TryGet()
						return
					}
					var err error
					l, err = p.Get(t.Context())
					ok = err == nil
				}()
				synctest.Wait()
				revoked(t, p, x.Opened()[0])
				synctest.Wait()
				if way == "TryGet" {
					if got := p.Stats(); got.VacantConnections() != 1 {
						t.Errorf("revoked, and %+v: want the slot free though Check hangs", got)
					}
					release()
				}
				<-done
				if way == "TryGet" {
					if ok {
						t.Errorf("TryGet returned connection %d", l.Value().Number)
					}
				} else if !ok || l.Value().Number != 2 {
					t.Errorf("Get returned %v, %v, want the second connection", l.Value(), ok)
				} else {
					testkit.GiveBack(t, p, l)
					release() // not before: the Get has not waited for that Check
				}
				testkit.ClosedFor(t, "at the end", x.Opened()[0], pool.ErrRevoked)
				testkit.Whole(t, p, 1)
				synctest.Wait()
				testkit.AtRest(t, p, 0)
			})
		}
	}
}

// A Check or Clean that hangs would be abandoned after ten seconds, and its slot with it. The
// slot is another's by then.
func TestACallThatHangsWhenItsConnectionIsRevokedTakesNothingFromTheNext(t *testing.T) {
	for _, function := range []string{"Check", "Clean"} {
		testkit.Bubble(t, function, func(t *testing.T) {
			h, f := testkit.NewHanging(t, function)
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: -1})
			if function == "Check" {
				testkit.Fill(t, p, 1)
				h.On.Store(true)
				go p.TryGet()
			} else {
				h.On.Store(true)
				l := testkit.Borrow(t, p)
				go p.Put(l)
			}
			testkit.Sleep(3 * time.Second) // the sweeper has seen the call
			revoked(t, p, h.Opened()[0])
			l := testkit.Borrow(t, p)
			testkit.Sleep(core.CallLimit + testkit.Slack)
			if got := len(l.Value().ClosedWith()); got != 0 {
				t.Error("the next connection in the slot was closed")
			}
			if got := p.Stats(); got.ClosedAbandoned != 0 || got.Abandoned != 0 || got.ClosedRevoke != 1 {
				t.Errorf("%+v, want one revoked and nothing abandoned", got)
			}
			h.Release()
			synctest.Wait()
			testkit.EndWithIdle(t, p, 1, l)
		})
	}
}

// The round of checks hangs in a connection that is revoked: another round begins.
func TestRevokeOfWhatTheSweeperIsCheckingDoesNotEndTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		f := x.Factory()
		checked := 0
		f.Check = func(w *testkit.Wire) error {
			if w.Number == 1 {
				<-hang
			} else {
				checked++
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1, CheckInterval: time.Second})
		testkit.Fill(t, p, 2)
		testkit.Sleep(1500 * time.Millisecond)
		before := checked
		revoked(t, p, x.Opened()[0])
		testkit.Sleep(3 * time.Second)
		if checked < before+2 {
			t.Errorf("the other connection was checked %d times in three seconds, want 2", checked-before)
		}
		if got := testkit.Inside(p).Round.Load(); got%2 != 0 {
			t.Error("a round counts as having a slot in hand")
		}
		release()
		synctest.Wait()
		if got := p.Stats(); got.ClosedRevoke != 1 || got.ClosedCheck != 0 || got.IdleConnections != 1 {
			t.Errorf("at the end %+v", got)
		}
		testkit.AtRest(t, p, 0)
	})
}

// Clean is called for a connection whose lease has ended already: its LeaseInfo is refused.
// One that is made meanwhile stands for what the pool holds.
func TestRevokeWhileAPutIsInClean(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		testkit.Bubble(t, name, func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			var x testkit.Exchange
			f := x.Factory()
			f.Clean = func(w *testkit.Wire) error {
				if w.Number == 1 {
					<-hang
					return verdict
				}
				return nil
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1})
			l := testkit.Borrow(t, p)
			info := infoOf(t, p, l.Value())
			done := make(chan error, 1)
			go func() { done <- p.Put(l) }()
			synctest.Wait()
			if p.Revoke(info) {
				t.Error("Revoke of a lease that Put has ended returned true")
			}
			revoked(t, p, l.Value())
			next := testkit.Borrow(t, p)
			release()
			if err := <-done; err != nil {
				t.Errorf("Put returned %v", err)
			}
			if got := p.Stats(); got.ClosedRevoke != 1 || got.ClosedClean != 0 {
				t.Errorf("at the end %+v", got)
			}
			testkit.EndWithIdle(t, p, 1, next)
		})
	}
}

// Whatever bounds what is being closed bounds what is revoked.
func TestRevokeRespectsTheBoundOnWhatIsBeingClosed(t *testing.T) {
	for _, strict := range []bool{false, true} {
		testkit.Bubble(t, map[bool]string{false: "default", true: "StrictMax"}[strict], func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Closing: func(*testkit.Wire, error) error { <-hang; return nil }}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, StrictMax: strict})
			behind := map[bool]int{false: 2, true: 0}[strict]
			for range behind + 2 {
				l := testkit.Borrow(t, p)
				if !p.Revoke(infoOf(t, p, l.Value())) {
					t.Fatal("Revoke returned false")
				}
			}
			r := testkit.Ask(t.Context(), p)
			r.Pending(t, "while so many are being closed")
			if got := len(x.Opened()); got != behind+2 {
				t.Errorf("%d connections were opened, want %d", got, behind+2)
			}
			release()
			testkit.EndWithIdle(t, p, 1, r.Served(t, "when they have been closed"))
		})
	}
}

func TestRevokeLetsAShutdownReturnThatWaitsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(t.Context()) }()
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("Shutdown has returned while a connection is leased")
		}
		revoked(t, p, l.Value())
		if len(done) != 1 {
			t.Fatal("Shutdown waits for a lease that has been revoked")
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if _, err := p.Detach(l); err != pool.ErrRevoked {
			t.Errorf("Detach returned %v, want ErrRevoked", err)
		}
	})
}

// After a Resize to fewer, what is revoked is not replaced.
func TestRevokeAfterAResizeToFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1})
		lost, kept := testkit.Borrow(t, p), testkit.Borrow(t, p)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		r := testkit.Ask(t.Context(), p)
		revoked(t, p, lost.Value())
		r.Pending(t, "one is leased, and no more may be open")
		if got := len(x.Opened()); got != 2 {
			t.Errorf("%d connections were opened, want 2", got)
		}
		testkit.GiveBack(t, p, kept)
		testkit.EndWithIdle(t, p, 1, r.Served(t, "after the Put"))
	})
}

// A lease that was marked as unfit counts as revoked if Revoke ends it.
func TestRevokeOfALeaseThatResetHasMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		p.Reset()
		revoked(t, p, l.Value())
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		if got := p.Stats(); got.ClosedRevoke != 1 || got.ClosedReset != 0 || got.VacantConnections() != 1 {
			t.Errorf("at the end %+v", got)
		}
	})
}
