package lending

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// numbered fails the test unless r was served with the connection that was opened as the
// nth.
func numbered(t *testing.T, when string, r *testkit.Request[*testkit.Wire], n int) pool.Lease[*testkit.Wire] {
	t.Helper()
	l := r.Served(t, when)
	if got := l.Value().Number; got != n {
		t.Errorf("%s: connection %d was lent, want %d", when, got, n)
	}
	return l
}

// rests puts the leases back and checks that nothing is lost.
func rests(t *testing.T, p *pool.Pool[*testkit.Wire], leases ...pool.Lease[*testkit.Wire]) {
	t.Helper()
	for _, l := range leases {
		testkit.GiveBack(t, p, l)
	}
	synctest.Wait()
	testkit.AtRest(t, p, 0)
	s := p.Stats()
	ended := s.Detached
	for _, n := range s.ClosedBy() {
		ended += n
	}
	if want := ended + uint64(s.IdleConnections); s.Opened != want {
		t.Errorf("%d were opened, and %d ended or are idle", s.Opened, want)
	}
}

// still is the configuration of a pool to which time does nothing.
func still(n int) pool.Config {
	return pool.Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1}
}

func TestGetFreshOpensWhereThereIsRoomAndLeavesIdleOnesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), still(3))
		testkit.Fill(t, p, 2)
		l := numbered(t, "with room", testkit.AskFresh(t.Context(), p), 3)
		if l.Reused() {
			t.Error("the connection is reused, want a new one")
		}
		if s := p.Stats(); s.IdleConnections != 2 || s.ClosedFresh != 0 {
			t.Errorf("two were idle: %+v", s)
		}
		rests(t, p, l)
	})
}

func TestGetFreshInAFullPoolClosesWhatHasBeenIdleLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		c := still(3)
		c.MaxIdleTime = time.Hour // so that there is a clock
		p := testkit.Start(t, x.Factory(), c)
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
		for _, i := range []int{1, 2, 0} {
			testkit.GiveBack(t, p, leases[i])
			testkit.Sleep(10 * time.Minute)
		}
		l := numbered(t, "in a full pool", testkit.AskFresh(t.Context(), p), 4)
		testkit.ClosedFor(t, "it was idle longest", leases[1].Value(), nil)
		if s := p.Stats(); s.ClosedFresh != 1 || s.IdleConnections != 2 {
			t.Errorf("one had to make room: %+v", s)
		}
		rests(t, p, l)
	})
}

func TestGetFreshTakesTheRoomOfTheNextReturnedWhenAllAreInUse(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x := &testkit.Exchange{Closing: func(*testkit.Wire, error) error { time.Sleep(time.Second); return nil }}
			c := still(2)
			c.StrictMax = strict
			p := testkit.Start(t, x.Factory(), c)
			a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
			r := testkit.AskFresh(t.Context(), p)
			r.Pending(t, "while all are in use")
			testkit.GiveBack(t, p, a)
			testkit.GiveBack(t, p, b) // only one of them need be closed
			if strict {
				r.Pending(t, "while the old one is being closed")
				testkit.Sleep(time.Second)
			}
			l := numbered(t, "after a return", r, 3)
			testkit.Sleep(time.Second)
			testkit.ClosedFor(t, "returned first", a.Value(), nil)
			if got := len(b.Value().ClosedWith()); got != 0 {
				t.Error("the second that was returned has been closed, too")
			}
			rests(t, p, l)
		})
	}
}

func TestGetFreshWaitsForItsTurnAndTheOthersForTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), still(1))
		l := testkit.Borrow(t, p)
		first, fresh, last := testkit.Ask(t.Context(), p), testkit.AskFresh(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, l)
		l = numbered(t, "who came first", first, 1)
		fresh.Pending(t, "before its turn")
		testkit.GiveBack(t, p, l)
		fresh.Pending(t, "while its connection is being opened")
		last.Pending(t, "behind it")
		testkit.Sleep(testkit.OpenTime)
		l = numbered(t, "when it is open", fresh, 2)
		last.Pending(t, "behind it")
		testkit.GiveBack(t, p, l)
		rests(t, p, numbered(t, "who came last", last, 2))
		if got := p.Stats().ClosedFresh; got != 1 {
			t.Errorf("%d were closed, want 1", got)
		}
	})
}

// What it cannot use is not kept from those behind it, once its own is being opened.
func TestWhoWaitsBehindGetFreshGetsWhatIsTooOldForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		c := still(3)
		c.OpenEagerly = true
		p := testkit.Start(t, x.Factory(), c)
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		x.Open = testkit.Slow(testkit.OpenTime)
		fresh := testkit.AskFresh(t.Context(), p)
		first, second := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, b)
		l := numbered(t, "the first behind it", first, 2)
		testkit.GiveBack(t, p, a)
		m := numbered(t, "the second behind it", second, 1)
		fresh.Pending(t, "while its connection is being opened")
		testkit.Sleep(testkit.OpenTime)
		rests(t, p, l, m, numbered(t, "when it is open", fresh, 3))
	})
}

// A plain Get timed out beside two idle connections when one that could not use them stood
// before it and was taken to have looked for it.
func TestGetBehindGetFreshFindsWhatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), still(4))
		testkit.Fill(t, p, 2)
		x.Open = testkit.Slow(testkit.OpenTime)
		a, b := testkit.AskFresh(t.Context(), p), testkit.AskFresh(t.Context(), p)
		l, m := testkit.Ask(t.Context(), p).Served(t, "beside two idle"), testkit.Ask(t.Context(), p).Served(t, "beside one idle")
		a.Pending(t, "while its connection is being opened")
		testkit.Sleep(2 * testkit.OpenTime) // that of b may go to a, and then b needs another
		rests(t, p, l, m, a.Served(t, "when it is open"), b.Served(t, "when it is open"))
	})
}

func TestGetFreshIsNotLentWhatWasBeingOpenedBeforeTheCall(t *testing.T) {
	open := func(t *testing.T, max int) (*pool.Pool[*testkit.Wire], *testkit.Request[*testkit.Wire]) {
		t.Helper()
		x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		c := still(max)
		c.OpenEagerly = true
		p := testkit.Start(t, x.Factory(), c)
		ctx, cancel := context.WithCancel(t.Context())
		gone := testkit.Ask(ctx, p)
		testkit.Sleep(testkit.OpenTime / 2)
		cancel()
		gone.Failed(t, "after its cancel", context.Canceled)
		return p, testkit.AskFresh(t.Context(), p)
	}
	testkit.Bubble(t, "with room: it is left idle", func(t *testing.T) {
		p, r := open(t, 2)
		testkit.Sleep(testkit.OpenTime / 2)
		r.Pending(t, "when the older one is open")
		if s := p.Stats(); s.IdleConnections != 1 {
			t.Errorf("the older one is not idle: %+v", s)
		}
		testkit.Sleep(testkit.OpenTime / 2)
		rests(t, p, numbered(t, "when its own is open", r, 2))
	})
	testkit.Bubble(t, "without room: it makes room", func(t *testing.T) {
		p, r := open(t, 1)
		testkit.Sleep(testkit.OpenTime)
		r.Pending(t, "after the older one")
		testkit.Sleep(testkit.OpenTime / 2)
		rests(t, p, numbered(t, "when its own is open", r, 2))
	})
	testkit.Bubble(t, "it goes to who waits behind", func(t *testing.T) {
		p, r := open(t, 2)
		plain := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime / 2)
		l := numbered(t, "when the older one is open", plain, 1)
		testkit.Sleep(testkit.OpenTime / 2)
		rests(t, p, l, numbered(t, "when its own is open", r, 2))
	})
}

// What is opened from the call on is for whoever has waited longest, whoever asked for it.
func TestGetFreshIsLentWhatIsOpenedForAnotherAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			return testkit.Pause(ctx, []time.Duration{0, 3, 1, 2}[attempt]*testkit.OpenTime)
		}}
		c := still(3)
		c.OpenEagerly = true
		p := testkit.Start(t, x.Factory(), c)
		first, fresh, last := testkit.Ask(t.Context(), p), testkit.AskFresh(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		l := numbered(t, "by the open of the fresh one", first, 1)
		fresh.Pending(t, "while only what is older and what is later is being opened")
		testkit.Sleep(testkit.OpenTime)
		m := numbered(t, "by the open of the last", fresh, 2)
		testkit.Sleep(testkit.OpenTime)
		rests(t, p, l, m, numbered(t, "by the open of the first", last, 3))
		if got := x.Tried(); got > 4 {
			t.Errorf("Open was called %d times for three callers", got)
		}
	})
}

func TestManyGetFreshOpenOneEachAndCloseOneEach(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			// In this order: of two that end in another order, the older caller gets the
			// later one, and what is left is too old for the other.
			x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				return testkit.Pause(ctx, testkit.OpenTime+time.Duration(attempt)*time.Millisecond)
			}}
			c := still(8)
			c.StrictMax = strict
			p := testkit.Start(t, x.Factory(), c)
			testkit.Fill(t, p, 8)
			x.Mu.Lock()
			x.Wires = nil
			x.Mu.Unlock()
			before := x.Tried()
			var all []*testkit.Request[*testkit.Wire]
			for range 8 {
				all = append(all, testkit.AskFresh(t.Context(), p))
			}
			testkit.Sleep(8 * testkit.OpenTime)
			var leases []pool.Lease[*testkit.Wire]
			for _, r := range all {
				leases = append(leases, r.Served(t, "when all are open"))
			}
			if got := x.Tried() - before; got != 8 {
				t.Errorf("Open was called %d times, want 8", got)
			}
			if got := p.Stats().ClosedFresh; got != 8 {
				t.Errorf("%d were closed, want 8", got)
			}
			if got := x.OpenAtMost(); got > 8 {
				t.Errorf("%d were open at a time, want 8 at most", got)
			}
			rests(t, p, leases...)
		})
	}
}

// The quota holds: many that ask at a time after a restart are no connection storm, and half
// of the old ones serve others meanwhile.
func TestManyGetFreshCauseNoConnectionStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := 0
		var mu sync.Mutex // guards most
		var p *pool.Pool[*testkit.Wire]
		x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt > 40 {
				now := p.Stats().OpeningConnections
				mu.Lock()
				most = max(most, now)
				mu.Unlock()
			}
			return testkit.Pause(ctx, testkit.OpenTime)
		}}
		p = testkit.Start(t, x.Factory(), still(40))
		testkit.Fill(t, p, 40)
		var all []*testkit.Request[*testkit.Wire]
		for range 40 {
			all = append(all, testkit.AskFresh(t.Context(), p))
		}
		mu.Lock()
		if most > 20 {
			t.Errorf("%d are being opened at a time beside %d, want no more than are open", most, p.Stats().IdleConnections)
		}
		mu.Unlock()
		plain := testkit.Ask(t.Context(), p)
		leases := []pool.Lease[*testkit.Wire]{plain.Served(t, "while some are left")}
		testkit.GiveBack(t, p, leases[0])
		testkit.Sleep(10 * testkit.OpenTime)
		leases = nil
		for _, r := range all {
			leases = append(leases, r.Served(t, "when all are open"))
		}
		rests(t, p, leases...)
	})
}

func TestGetFreshWithoutQueueing(t *testing.T) {
	c := still(2)
	c.MaxWaiters = -1
	testkit.Bubble(t, "an idle one makes room", func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		testkit.Fill(t, p, 2)
		rests(t, p, numbered(t, "in a full pool", testkit.AskFresh(t.Context(), p), 3))
	})
	testkit.Bubble(t, "refused while all are in use", func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.AskFresh(t.Context(), p).Failed(t, "while all are in use", pool.ErrRejected)
		rests(t, p, l, m)
	})
	testkit.Bubble(t, "it does not keep a Get from an idle one", func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), c)
		testkit.Fill(t, p, 1)
		x.Open = testkit.Slow(testkit.OpenTime)
		r := testkit.AskFresh(t.Context(), p)
		l := numbered(t, "beside an idle one", testkit.Ask(t.Context(), p), 1)
		testkit.Sleep(testkit.OpenTime)
		rests(t, p, l, numbered(t, "when it is open", r, 2))
	})
}

func TestGetFreshEndsAsGetDoes(t *testing.T) {
	testkit.Bubble(t, "a ctx that has ended", func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), still(1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		testkit.AskFresh(ctx, p).Failed(t, "with a ctx that has ended", context.Canceled)
		if x.Tried() != 0 {
			t.Error("Open was called for it")
		}
	})
	testkit.Bubble(t, "a ctx that ends", func(t *testing.T) {
		x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), still(1))
		ctx, cancel := context.WithCancel(t.Context())
		r := testkit.AskFresh(ctx, p)
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "its connection is not lost", 1)
		rests(t, p)
	})
	testkit.Bubble(t, "MaxWaitTime", func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		r := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(5 * time.Second)
		r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		rests(t, p, l)
		if got := p.Stats().ClosedFresh; got != 0 {
			t.Errorf("%d were closed for somebody who has gone", got)
		}
	})
	testkit.Bubble(t, "a failed open", func(t *testing.T) {
		x := &testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), still(1))
		testkit.AskFresh(t.Context(), p).Failed(t, "after its open failed", testkit.ErrDial)
		rests(t, p)
	})
	for name, end := range map[string]func(*pool.Pool[*testkit.Wire]){
		"Close":    func(p *pool.Pool[*testkit.Wire]) { p.Close() },
		"Shutdown": func(p *pool.Pool[*testkit.Wire]) { go p.Shutdown(context.Background()) },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
			p := testkit.Start(t, x.Factory(), still(2))
			l := testkit.Borrow(t, p)
			opening, waiting := testkit.AskFresh(t.Context(), p), testkit.AskFresh(t.Context(), p)
			end(p)
			opening.Failed(t, "while it is being opened", pool.ErrClosed)
			waiting.Failed(t, "while it waits for room", pool.ErrClosed)
			testkit.AskFresh(t.Context(), p).Failed(t, "afterwards", pool.ErrClosed)
			_ = p.Put(l)
			testkit.Sleep(testkit.OpenTime)
			testkit.AtRest(t, p, 0)
			x.AllClosedOnce(t)
		})
	}
}

func TestGetFreshGetsTheRoomThatResizeMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		l := testkit.Borrow(t, p)
		r := testkit.AskFresh(t.Context(), p)
		if err := p.Resize(2); err != nil {
			t.Fatal(err)
		}
		m := numbered(t, "after the Resize", r, 2)
		if got := p.Stats().ClosedFresh; got != 0 {
			t.Errorf("%d were closed although there was room", got)
		}
		rests(t, p, l, m)
	})
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(3))
		l := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
		r := testkit.AskFresh(t.Context(), p)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			testkit.GiveBack(t, p, l[i])
			r.Pending(t, "while as many are open as may be")
		}
		testkit.GiveBack(t, p, l[2])
		rests(t, p, numbered(t, "when the last one is back", r, 4))
		if s := p.Stats(); s.ClosedResize != 2 || s.ClosedFresh != 1 {
			t.Errorf("want two closed for the Resize and one for GetFresh: %+v", s)
		}
	})
}

func TestResetOpensAnotherForGetFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt < 3 {
				time.Sleep(testkit.OpenTime) // deaf to its ctx
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), still(1))
		r := testkit.AskFresh(t.Context(), p)
		for range 2 {
			testkit.Sleep(testkit.OpenTime / 2)
			p.Reset()
			testkit.Sleep(testkit.OpenTime / 2)
		}
		rests(t, p, numbered(t, "after the Resets", r, 3))
	})
}

// Opening fails while what is open still works: then not all of that is closed in vain.
func TestGetFreshInAnOutageLeavesTheOthersOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		c := still(6)
		c.MaxWaitTime = time.Minute
		p := testkit.Start(t, x.Factory(), c)
		testkit.Fill(t, p, 6)
		down := atomic.NewBool(true)
		x.Open = func(context.Context, int) error {
			time.Sleep(10 * time.Millisecond)
			if down.Load() {
				return testkit.ErrDial
			}
			return nil
		}
		for range 3 * words.KeepsFailing {
			r := testkit.AskFresh(t.Context(), p)
			testkit.Sleep(5 * time.Second)
			r.Failed(t, "in the outage", testkit.ErrDial)
		}
		if s := p.Stats(); s.ClosedFresh != 1 || s.IdleConnections != 5 {
			t.Errorf("after some that failed %+v, want one closed", s)
		}
		var all []*testkit.Request[*testkit.Wire]
		for range 4 {
			all = append(all, testkit.AskFresh(t.Context(), p))
		}
		if s := p.Stats(); s.ClosedFresh != 1 {
			t.Errorf("while four wait for the end of the backoff %+v, want none closed for that", s)
		}
		down.Store(false)
		testkit.Sleep(10 * time.Second)
		var leases []pool.Lease[*testkit.Wire]
		for _, r := range all {
			leases = append(leases, r.Served(t, "after the outage"))
		}
		rests(t, p, leases...)
	})
}

// All are lent in a backoff, and come back in it: whoever needs the room is not forgotten
// when the backoff is over.
func TestGetFreshInABackoffGetsTheRoomAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), still(3))
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		x.Open = func(context.Context, int) error { return testkit.ErrDial }
		ctx, cancel := context.WithCancel(t.Context())
		failed := testkit.AskFresh(ctx, p)
		for tried := 0; tried < 8; tried = x.Tried() - 2 {
			testkit.Sleep(time.Millisecond)
		}
		cancel()
		synctest.Wait()
		if !failed.Returned() {
			t.Fatal("the first one still waits")
		}
		if err := p.Resize(2); err != nil {
			t.Fatal(err)
		}
		x.Open = nil
		r := testkit.AskFresh(t.Context(), p)
		r.Pending(t, "in the backoff")
		testkit.GiveBack(t, p, a)
		testkit.GiveBack(t, p, b)
		if s := p.Stats(); s.IdleConnections != 2 {
			t.Errorf("in the backoff %+v, want both idle", s)
		}
		testkit.Sleep(time.Second)
		rests(t, p, numbered(t, "after the backoff", r, 3))
	})
}

func TestGetFreshFailsFastWhenNothingIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), still(1))
		var err error
		for range words.KeepsFailing + 1 {
			_, err = p.GetFresh(t.Context())
		}
		if !errors.Is(err, pool.ErrUnavailable) || !errors.Is(err, testkit.ErrDial) {
			t.Errorf("GetFresh returned %v, want ErrUnavailable with its cause", err)
		}
	})
}

func TestGetFreshBesideMinIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MinIdle: 2})
		testkit.Sleep(2 * time.Second)
		r := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		l := numbered(t, "in a full pool of idle ones", r, 3)
		testkit.Sleep(5 * time.Second)
		rests(t, p, l)
		if got := x.OpenAtMost(); got != 2 {
			t.Errorf("%d were open at a time, want 2", got)
		}
	})
}

func TestGetFreshOpensWithTheValuesOfItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var got []any
		x := &testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			got = append(got, ctx.Value(key{}))
			return nil
		}}
		c := still(1)
		c.OpenContext = testkit.SameContext
		p := testkit.Start(t, x.Factory(), c)
		l := testkit.Borrow(t, p)
		r := testkit.AskFresh(context.WithValue(t.Context(), key{}, "mine"), p)
		testkit.GiveBack(t, p, l)
		rests(t, p, r.Served(t, "after the return"))
		if want := []any{nil, "mine"}; !slices.Equal(got, want) {
			t.Errorf("Open got the values %v, want %v", got, want)
		}
	})
}

// An attempt that hangs is no reason to wait beside idle connections.
func TestGetFreshBesideAnOpenThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, goOn := testkit.Obstacle(t)
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 2 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), still(2))
		l := testkit.Borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		gone := testkit.Ask(ctx, p)
		cancel()
		gone.Failed(t, "after its cancel", context.Canceled)
		testkit.GiveBack(t, p, l)
		r := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(time.Second)
		m := r.Served(t, "after a second at most")
		testkit.ClosedFor(t, "to make room", l.Value(), nil)
		goOn()
		rests(t, p, m)
	})
}

func TestTheSameRoomIsNotMadeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{}
		c := still(4)
		c.StrictMax = true
		p := testkit.Start(t, x.Factory(), c)
		testkit.Fill(t, p, 4)
		x.Closing = func(*testkit.Wire, error) error { time.Sleep(time.Second); return nil }
		l := testkit.Borrow(t, p)
		if err := p.Discard(l, nil); err != nil { // its room will do
			t.Fatal(err)
		}
		r := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(time.Second)
		m := r.Served(t, "when the discarded one is closed")
		if s := p.Stats(); s.ClosedFresh != 0 {
			t.Errorf("one more was closed: %+v", s)
		}
		rests(t, p, m)
	})
}

// No more are closed for GetFresh than may be opened at a time.
func TestNothingIsClosedForAGetFreshThatMayNotOpenYet(t *testing.T) {
	for name, outage := range map[string]bool{"MaxOpening": false, "an outage": true} {
		testkit.Bubble(t, name, func(t *testing.T) {
			opens, open := testkit.Obstacle(t)
			x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
				if attempt > 2 {
					<-opens
				}
				return nil
			}}
			c := still(2)
			c.OpenEagerly = true
			if !outage {
				c.MaxOpening = 1
			}
			p := testkit.Start(t, x.Factory(), c)
			leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
			if outage {
				testkit.Inside(p).SetOutage(words.Outage{}.Worse(1, 0, false))
			}
			first := testkit.AskFresh(t.Context(), p)
			testkit.GiveBack(t, p, leases[0])
			synctest.Wait()
			if got := x.Tried(); got != 3 {
				t.Fatalf("Open was called %d times, want a third time, in the room of what has come back", got)
			}
			second := testkit.AskFresh(t.Context(), p)
			testkit.GiveBack(t, p, leases[1])
			synctest.Wait()
			if got := p.Stats(); got.IdleConnections != 1 || got.OpeningConnections != 1 {
				t.Errorf("%d are idle and %d being opened, want one and one", got.IdleConnections, got.OpeningConnections)
			}
			open()
			rests(t, p, numbered(t, "in the end", first, 3), numbered(t, "in the end", second, 4))
		})
	}
}
