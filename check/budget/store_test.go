package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A store is in another place: it answers what is wanted when it is told to.
type store struct {
	rights *pool.Rights
	most   int // rights that it grants at once; the others have to be granted by hand
	err    error

	mu              sync.Mutex // guards what follows
	out             int        // granted, and neither given back nor lost
	waiting, hoping int
	wants           int // calls of Want
}

func newStore(most int) *store {
	s := &store{most: most}
	s.rights = pool.NewRights(s)
	return s
}

func (s *store) Rights() (*pool.Rights, error) { return s.rights, nil }

func (s *store) Want(waiting, hoping int) {
	s.mu.Lock()
	s.waiting, s.hoping = waiting, hoping
	s.wants++
	err := s.err
	n := 0
	if err == nil {
		n = max(min(waiting+hoping, s.most-s.out), 0)
	}
	s.out += n
	s.mu.Unlock()
	switch {
	case err != nil && waiting+hoping > 0:
		s.rights.Fail(err)
	case n > 0:
		s.rights.Grant(n)
	}
}

func (s *store) Give(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out -= n
}

func (s *store) grant(n int) {
	s.mu.Lock()
	s.out += n
	s.mu.Unlock()
	s.rights.Grant(n)
}

func (s *store) counts() (out, waiting, hoping int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out, s.waiting, s.hoping
}

func (s *store) are(t *testing.T, when string, out, waiting int) {
	t.Helper()
	synctest.Wait()
	if o, w, _ := s.counts(); o != out || w != waiting {
		t.Errorf("%s: %d rights are out, want %d, and %d are wanted, want %d", when, o, out, w, waiting)
	}
}

// A right that comes late is used, and one that nobody needs any more goes back without a dial.
func TestARightThatNobodyNeedsGoesBackWithoutADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, sv := begin(t, s, pool.Config{})
		r := testkit.Ask(t.Context(), p)
		s.are(t, "one waits", 0, 1)
		s.grant(1)
		l := r.Served(t, "there is a right")
		s.are(t, "it is used", 1, 0)
		r = testkit.Ask(t.Context(), p)
		s.are(t, "another one waits", 1, 1)
		testkit.GiveBack(t, p, l)
		l = r.Served(t, "one came back")
		s.are(t, "nobody waits", 1, 0)
		s.grant(1) // too late
		s.are(t, "nobody needs it", 1, 0)
		if got := len(sv.Opened()); got != 1 {
			t.Errorf("%d were opened, want 1", got)
		}
		_ = p.Discard(l, nil)
		s.are(t, "it is closed", 0, 0)
	})
}

// That the store is down is an outage of opening: the cause is in the error, what is open goes on,
// and when the store is back, so is the pool.
func TestAStoreThatIsDownIsAnOutageOfOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("store is down")
		s := newStore(5)
		p, sv := begin(t, s, pool.Config{FailFastAfter: testkit.AtOnce})
		l := testkit.Borrow(t, p)
		s.mu.Lock()
		s.err = down
		s.mu.Unlock()
		r := testkit.Ask(t.Context(), p)
		r.Failed(t, "four failures in a row, and nothing has come back", down)
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p)
		_ = p.Discard(l, nil)
		testkit.Sleep(time.Second)
		_, err := p.Get(t.Context())
		var opening *pool.OpenError
		if !errors.Is(err, down) || !errors.As(err, &opening) {
			t.Errorf("with nothing open Get returned %v, want an OpenError", err)
		}
		if got := p.Stats(); got.OpenErrors != 0 || !errors.Is(got.LastOpenError, down) || got.AwaitingBudget != 0 || len(sv.Opened()) != 1 {
			t.Errorf("%d calls of Open have failed, want none; the last error is %v; %d were opened, want 1", got.OpenErrors, got.LastOpenError, len(sv.Opened()))
		}
		s.mu.Lock()
		s.err = nil
		s.mu.Unlock()
		testkit.Sleep(time.Second) // at most a pause
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		testkit.Sleep(core.Probation + time.Second)
		if got := p.Stats(); got.LastOpenError != nil {
			t.Errorf("the outage is not over: %v", got.LastOpenError)
		}
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// Callers who wait keep their places while the store is down for a moment.
func TestAStoreThatIsBackSoonFailsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(5)
		p, _ := begin(t, s, pool.Config{FailFastAfter: time.Second})
		s.err = errors.New("store is down")
		rs := []*testkit.Request[*testkit.Wire]{testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)}
		testkit.Sleep(300 * time.Millisecond)
		s.mu.Lock()
		s.err = nil
		s.mu.Unlock()
		testkit.Sleep(time.Second)
		for _, r := range rs {
			testkit.GiveBack(t, p, r.Served(t, "the store is back"))
		}
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// Others elsewhere stand in the line like a pool: they get what is idle, or what comes back in their turn.
func TestOthersElsewhereGetWhatIsIdleAndWhatComesBackInTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		s.mu.Lock()
		s.most = 1 // the other one is theirs
		s.mu.Unlock()
		s.rights.Reclaim(1)
		s.are(t, "one was idle", 1, 0)
		early := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		s.mu.Lock()
		s.most = 0
		s.mu.Unlock()
		s.rights.Reclaim(1)
		testkit.Sleep(time.Millisecond)
		late := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, m)
		m = early.Served(t, "first come")
		testkit.GiveBack(t, p, m)
		synctest.Wait()
		late.Pending(t, "others came first")
		if got := p.Stats(); got.ClosedBudget != 2 {
			t.Errorf("%d were closed for others, want 2", got.ClosedBudget)
		}
		s.are(t, "one waits", 0, 1)
		s.grant(1)
		testkit.GiveBack(t, p, late.Served(t, "in its turn"))
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// Rights that are lost are made up for by what is idle, then by what comes back. No lease is broken.
func TestRightsThatAreLostAreMadeUpForWithoutBreakingALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(3)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		l, m, n := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		s.rights.Lose(2)
		synctest.Wait()
		waiting := testkit.Ask(t.Context(), p)
		if got := p.Stats(); got.ClosedBudget != 1 || got.ActiveConnections != 2 {
			t.Errorf("%d were closed, want 1, and %d are leased, want 2", got.ClosedBudget, got.ActiveConnections)
		}
		testkit.GiveBack(t, p, m)
		synctest.Wait()
		waiting.Pending(t, "what came back was closed")
		testkit.GiveBack(t, p, n)
		testkit.GiveBack(t, p, waiting.Served(t, "what comes back next is his"))
		if got := len(sv.Opened()); got != 3 {
			t.Errorf("%d were opened, want 3", got)
		}
		p.Close()
		s.are(t, "two of the three are lost", 2, 0)
	})
}

// Warm gets what a store has to spare, at once or later. What it does not need goes back.
func TestWarmGetsWhatAStoreHasToSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		p, sv := begin(t, s, pool.Config{})
		w := testkit.Warm(t.Context(), p, 3)
		w.Pending(t, "there are two rights")
		if got := len(sv.Opened()); got != 2 {
			t.Errorf("%d were opened, want 2", got)
		}
		s.grant(4)
		w.Is(t, "there are enough", nil)
		s.are(t, "the rest has gone back", 3, 0)
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// A leased is a store whose rights end by themselves.
type leased struct {
	*store
	asked  int // calls of Term
	number uint64
	over   error
}

func newLeased(most int) *leased {
	s := &leased{store: &store{most: most}}
	s.rights = pool.NewRights(s)
	return s
}

func (s *leased) Term() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.number, s.over
}

// A process that was stopped between the grant and the dial asks before it opens.
func TestARightThatHasEndedOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("the lease is over")
		s := newLeased(2)
		s.over = over
		p, sv := begin(t, s, pool.Config{FailFastAfter: testkit.AtOnce})
		_, err := p.Get(t.Context())
		var opening *pool.OpenError
		if !errors.Is(err, over) || !errors.As(err, &opening) || len(sv.Opened()) != 0 {
			t.Errorf("Get returned %v, want an OpenError, and %d were opened, want 0", err, len(sv.Opened()))
		}
		s.are(t, "nothing is open", 0, 0)
		s.mu.Lock()
		s.over = nil
		s.mu.Unlock()
		testkit.Sleep(time.Second) // at most a pause
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// What was dialed too late is closed, and not lent.
func TestWhatIsOpenedInAnotherTermIsNotLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLeased(2)
		x := &testkit.Exchange{}
		f := x.Factory()
		open := f.Open
		f.Open = func(ctx context.Context) (*testkit.Wire, error) {
			w, err := open(ctx)
			s.mu.Lock()
			if s.number == 0 {
				s.number = 1 // the lease has ended and begun again
			}
			s.mu.Unlock()
			return w, err
		}
		p := testkit.Start(t, f, pool.Config{Budget: s, FailFastAfter: testkit.AtOnce})
		_, err := p.Get(t.Context())
		var opening *pool.OpenError
		synctest.Wait()
		if got := x.Opened(); !errors.As(err, &opening) || len(got) != 1 || len(got[0].ClosedWith()) != 1 {
			t.Errorf("Get returned %v, want an OpenError; %d were opened, want 1, which is closed", err, len(got))
		}
		s.are(t, "it is closed again", 0, 0)
		testkit.Sleep(time.Second) // at most a pause
		l := testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		p.Close()
		s.are(t, "it is closed", 0, 0)
	})
}

// Rights that must not be exceeded are made up for at once: by what is idle, then by leases.
func TestRightsThatAreCutRevokeLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(4)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1})
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
		testkit.GiveBack(t, p, leases[0])
		if n, _ := s.rights.Idle(); n != 1 {
			t.Errorf("%d are idle, want 1", n)
		}
		s.rights.Cut(3)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 3 || got.ActiveConnections != 1 {
			t.Errorf("%d were closed, want 3, %d are leased, want 1", got.ClosedBudget, got.ActiveConnections)
		}
		var revoked, fine int
		for _, l := range leases[1:] {
			switch err := p.Put(l); {
			case err == nil:
				fine++
			default:
				t.Errorf("Put of a lease returned %v", err)
			}
			if len(l.Value().ClosedWith()) == 1 {
				revoked++
			}
		}
		if revoked != 2 || fine != 3 || len(sv.Opened()) != 4 {
			t.Errorf("%d leases were revoked, want 2, and %d of Put returned nil, want 3", revoked, fine)
		}
		p.Close()
		s.are(t, "three of the four are lost", 3, 0)
	})
}

// A connection that is being handed over when rights are cut is closed, and one who waits gets no other.
func TestWhatIsOpenedAfterACutIsClosedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		x := &testkit.Exchange{}
		f := x.Factory()
		open, hold := f.Open, make(chan struct{})
		f.Open = func(ctx context.Context) (*testkit.Wire, error) {
			<-hold
			return open(ctx)
		}
		p := testkit.Start(t, f, pool.Config{Budget: s, MaxWaitTime: -1})
		r := testkit.Ask(t.Context(), p)
		synctest.Wait()
		s.mu.Lock()
		s.most = 0
		s.mu.Unlock()
		s.rights.Cut(1)
		close(hold)
		r.Pending(t, "its right is lost")
		if got := p.Stats(); got.ClosedBudget != 1 || got.ActiveConnections != 0 {
			t.Errorf("%d were closed, want 1, and %d are leased, want 0", got.ClosedBudget, got.ActiveConnections)
		}
		s.grant(1)
		testkit.GiveBack(t, p, r.Served(t, "there is a right"))
		p.Close()
		s.are(t, "one is lost", 1, 0)
	})
}

// A store that says later that nothing can be had ends what was asked for, and is asked again: by those
// who wait, and by Warm.
func TestWhatAStoreHasRefusedIsAskedForAgain(t *testing.T) {
	for _, warms := range []bool{false, true} {
		name := "Get"
		if warms {
			name = "Warm"
		}
		testkit.Bubble(t, name, func(t *testing.T) {
			s := newStore(0)
			p, _ := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: time.Minute})
			var served func()
			if warms {
				w := testkit.Warm(t.Context(), p, 1)
				served = func() { w.Is(t, "the store is back", nil) }
			} else {
				r := testkit.Ask(t.Context(), p)
				served = func() { testkit.GiveBack(t, p, r.Served(t, "the store is back")) }
			}
			s.mu.Lock()
			s.most = 1
			s.mu.Unlock()
			s.rights.Fail(errDown)
			testkit.Sleep(time.Second) // more than a pause
			served()
			p.Close()
			s.are(t, "it is closed", 0, 0)
		})
	}
}

// A store that answers from outside the bubble of its pools reaches none of them: what it grants goes back.
func TestAStoreThatAnswersFromOutsideTheBubbleReachesNoPool(t *testing.T) {
	calls, done := make(chan func()), make(chan struct{})
	defer close(calls)
	go func() {
		for call := range calls {
			call()
			done <- struct{}{}
		}
	}()
	outside := func(f func()) {
		calls <- f
		<-done
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, sv := begin(t, s, pool.Config{MaxWaitTime: -1, FailFastAfter: testkit.AtOnce})
		for name, answer := range map[string]func(){
			"Grant": func() { s.grant(1) },
			"Fail":  func() { s.rights.Fail(errDown) },
		} {
			ctx, leave := context.WithCancel(t.Context())
			r := testkit.Ask(ctx, p)
			outside(answer)
			r.Pending(t, name)
			if got := p.Stats(); got.LastOpenError != nil || len(sv.Opened()) != 0 {
				t.Errorf("%s: %d were opened, want none; the last error is %v, want none", name, len(sv.Opened()), got.LastOpenError)
			}
			leave()
			r.Failed(t, name, context.Canceled)
			s.are(t, name, 0, 0)
		}
	})
}

// A losing store loses a right while it is asked for its term.
type losing struct {
	*leased
	once sync.Once
}

func (s *losing) Term() (uint64, error) {
	s.once.Do(func() { s.rights.Lose(1) })
	return s.leased.Term()
}

func TestNothingIsOpenedWhileARightIsLostForWhichNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &losing{leased: &leased{store: &store{most: 1}}}
		s.rights = pool.NewRights(s)
		p, sv := begin(t, s, pool.Config{FailFastAfter: testkit.AtOnce})
		_, err := p.Get(t.Context())
		var opening *pool.OpenError
		if !errors.As(err, &opening) || len(sv.Opened()) != 0 {
			t.Errorf("Get returned %v, want an OpenError, and %d were opened, want none", err, len(sv.Opened()))
		}
		s.are(t, "the right is lost", 1, 0)
	})
}

// What a store is told of what is idle: how many, and since when the first of them has been, in whatever order they came back.
func TestRightsKnowHowManyAreIdleAndSinceWhen(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
			testkit.Bubble(t, fmt.Sprint(order, ", reserved: ", reserved), func(t *testing.T) {
				s := newStore(3)
				p, _ := begin(t, s, pool.Config{MaxIdleTime: time.Hour})
				ls := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
				testkit.Sleep(time.Minute)
				began := time.Now()
				for i, k := range order {
					if reserved {
						if err := p.PutFor(ls[k], time.Hour); err != nil {
							t.Fatal(err)
						}
					} else {
						testkit.GiveBack(t, p, ls[k])
					}
					testkit.Sleep(5 * time.Second)
					if n, since := s.rights.Idle(); n != i+1 || since.Sub(began).Abs() > 2*time.Second {
						t.Errorf("%d are idle, want %d, since %v after the first came back, want then", n, i+1, since.Sub(began))
					}
				}
			})
		}
	}
}

// What is reserved is not counted beside what is idle.
func TestRightsCountWhatIsReservedOnlyWhileNothingIsIdle(t *testing.T) {
	for _, first := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("the first one is reserved: ", first), func(t *testing.T) {
			s := newStore(2)
			p, _ := begin(t, s, pool.Config{MaxIdleTime: time.Hour})
			idle, reserved := testkit.Borrow(t, p), testkit.Borrow(t, p)
			if first {
				idle, reserved = reserved, idle
			}
			testkit.Sleep(time.Minute)
			if err := p.PutFor(reserved, time.Hour); err != nil {
				t.Fatal(err)
			}
			testkit.Sleep(time.Minute)
			testkit.GiveBack(t, p, idle)
			began := time.Now()
			if n, since := s.rights.Idle(); n != 1 || since.Sub(began).Abs() > 2*time.Second {
				t.Errorf("%d are idle, want 1, since %v after it came back, want then", n, since.Sub(began))
			}
		})
	}
}

// Leases are revoked for what is lost, and not for others who wait.
func TestNoMoreLeasesAreRevokedThanRightsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(2)
		p, _ := begin(t, s, pool.Config{MaxWaitTime: -1})
		testkit.Borrow(t, p)
		testkit.Borrow(t, p)
		s.rights.Reclaim(1)
		s.rights.Cut(1)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 1 || got.ActiveConnections != 1 {
			t.Errorf("%d were closed, want 1, and %d are leased, want 1", got.ClosedBudget, got.ActiveConnections)
		}
	})
}
