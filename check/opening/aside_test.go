package opening

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// deaf returns an exchange whose attempts take so long, the first ones first, whatever becomes
// of their ctx. Later ones take no time.
func deaf(takes ...time.Duration) *testkit.Exchange {
	return &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
		if attempt <= len(takes) {
			time.Sleep(takes[attempt-1])
		}
		return nil
	}}
}

// The first attempt is set aside for one that is begun for GetFresh, and takes its slot when it
// succeeds after all. The caller of GetFresh then waited for an attempt that was no more.
func TestAGetFreshWhoseAttemptIsReplacedByAnOlderOneGetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := deaf(1200*time.Millisecond, 10*time.Second)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		plain := testkit.Ask(t.Context(), p)
		synctest.Wait()
		fresh := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(1300 * time.Millisecond)
		testkit.GiveBack(t, p, plain.Served(t, "by the slow attempt"))
		testkit.Sleep(time.Second)
		l := fresh.Served(t, "by an attempt of its own")
		if got := l.Value().Number; got == plain.Lease.Value().Number {
			t.Errorf("GetFresh was lent connection %d, which is older than the call", got)
		}
		testkit.Sleep(20 * time.Second)
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// A spare attempt that was set aside and given a slot again was counted off twice. From then
// on MinIdle opened one too many.
func TestASpareAttemptThatWasSetAsideIsCountedOffOnce(t *testing.T) {
	for _, fails := range []bool{false, true} {
		testkit.Bubble(t, map[bool]string{false: "it succeeds", true: "Watch objects"}[fails], func(t *testing.T) {
			x := deaf(1500*time.Millisecond, 10*time.Second)
			f := x.Factory()
			f.Watch = func(w *testkit.Wire, broken func(error)) {
				if fails && w.Number == 1 {
					broken(io.EOF)
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
			warm := testkit.Warm(t.Context(), p, 1)
			synctest.Wait()
			r := testkit.Ask(t.Context(), p) // needs the slot when the attempt is overdue
			testkit.Sleep(2 * time.Second)
			l := r.Served(t, "at last")
			if got := testkit.Inside(p).Spares.Load(); got != 0 {
				t.Errorf("%d attempts for Warm are under way, want none", got)
			}
			if !fails {
				warm.Is(t, "when one is open", nil)
			}
			testkit.Sleep(20 * time.Second)
			testkit.EndWithIdle(t, p, 1, l)
		})
	}
}

// Shutdown waits for what is being opened. An attempt that had no slot was forgotten: what it
// opened was closed later.
func TestShutdownWaitsForAnAttemptThatWasSetAside(t *testing.T) {
	for _, way := range []string{"it opens", "it fails", "it does not return"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			const takes = 4 * time.Second
			var closed atomic.Bool
			x := &testkit.Exchange{
				Open: func(_ context.Context, attempt int) error {
					switch {
					case attempt > 1:
						return nil
					case way == "it does not return":
						time.Sleep(time.Minute)
					default:
						time.Sleep(takes)
					}
					if way == "it fails" {
						return testkit.ErrDial
					}
					return nil
				},
				Closing: func(w *testkit.Wire, _ error) error {
					if w.Number == 2 { // the first attempt returns as the second
						time.Sleep(time.Second)
						closed.Store(true)
					}
					return nil
				},
			}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: 5 * time.Second})
			began := time.Now()
			r := testkit.Ask(t.Context(), p)
			testkit.Sleep(2 * time.Second) // set aside, and another one has served
			testkit.GiveBack(t, p, r.Served(t, "by the second attempt"))
			if err := p.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			want := map[string]time.Duration{"it opens": takes + time.Second, "it fails": takes, "it does not return": 6 * time.Second}[way]
			if took := time.Since(began); took < want || took > want+time.Millisecond {
				t.Errorf("Shutdown returned %v after the first attempt began, want %v", took, want)
			}
			if got := closed.Load(); got != (way == "it opens") {
				t.Errorf("what it has opened was closed: %v", got)
			}
			testkit.Sleep(2 * time.Minute)
			testkit.AtRest(t, p, 0)
		})
	}
}

// Close cancels an attempt that has no slot, too, and waits for it.
func TestCloseEndsAnAttemptThatWasSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		h.down.Store(true)
		p := testkit.Start(t, h.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(1300 * time.Millisecond)
		if got := h.under.Load(); got != 2 {
			t.Fatalf("%d attempts are under way, want one aside and one with the slot", got)
		}
		began := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 || h.under.Load() != 0 {
			t.Errorf("Close returned after %v with %d attempts under way, want at once and none", took, h.under.Load())
		}
		r.Failed(t, "in a closed pool", pool.ErrClosed)
		testkit.AtRest(t, p, 0)
	})
}

// What was set aside before a Reset has no claim to the slot of an attempt that was begun
// afterwards.
func TestAnAttemptFromBeforeAResetDoesNotReplaceANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			switch attempt {
			case 1:
				time.Sleep(2 * time.Second) // whatever becomes of its ctx
				return nil
			case 2:
				<-ctx.Done()
				return ctx.Err()
			}
			return testkit.Pause(ctx, 950*time.Millisecond)
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(1100 * time.Millisecond) // the first is aside, the second has the slot
		p.Reset()
		synctest.Wait()
		if got := x.Tried(); got != 3 {
			t.Fatalf("Open was called %d times, want a third time after the Reset", got)
		}
		testkit.Sleep(910 * time.Millisecond) // the first returns
		r.Pending(t, "while the attempt that was begun after the Reset is under way")
		testkit.Sleep(50 * time.Millisecond)
		l := r.Served(t, "by that attempt")
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want 3", got)
		}
		testkit.Sleep(20 * time.Second)
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// A server that accepts and then closes was dialed without a pause if it closed before the
// pool had stored the connection: while Hooks.Opened was at work, for example.
func TestAConnectionThatEndsBeforeItIsLentCountsAsAFailedOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		f := b.Factory()
		f.Watch = func(_ *testkit.Wire, broken func(error)) {
			time.AfterFunc(time.Millisecond/2, func() { broken(io.EOF) })
		}
		c := pool.Config{MaxConnections: 4, MaxWaitTime: 10 * time.Second}
		c.Hooks.Opened = func(pool.OpenInfo) { time.Sleep(time.Millisecond) }
		p := testkit.Start(t, f, c)
		_, err := p.Get(t.Context())
		if !errors.Is(err, pool.ErrUnavailable) || !errors.Is(err, io.EOF) {
			t.Errorf("Get returned %v, want ErrUnavailable, and why", err)
		}
		if got := b.Tried(); got > 10 {
			t.Errorf("the server was dialed %d times for one Get", got)
		}
		if got := testkit.Inside(p).Outage().Failures; got < words.KeepsFailing {
			t.Errorf("%d failures are known, want an outage", got)
		}
	})
}

// A caller of GetFresh whose attempt was set aside needs the room of what comes back: that
// attempt may hang for as long as OpenTimeout allows.
func TestAGetFreshWhoseAttemptWasSetAsideGetsTheRoomOfWhatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := atomic.NewBool(false)
		x := &testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			if down.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		old := testkit.Borrow(t, p)
		down.Store(true)
		fresh := testkit.AskFresh(t.Context(), p)
		testkit.Sleep(1100 * time.Millisecond) // its attempt is aside, and another one has the slot
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(1500 * time.Millisecond) // that is given up
		down.Store(false)
		testkit.GiveBack(t, p, old)
		testkit.Sleep(time.Second)
		l := fresh.Served(t, "in the room of the old one")
		p.Reset() // ends what is aside
		synctest.Wait()
		if err := p.Put(l); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		testkit.AtRest(t, p, 0)
	})
}

// An attempt hangs on after another one has ended the outage, or a Reset. It keeps its slot
// from nobody: callers waited until OpenTimeout, at a server that answered at once.
func TestAnAttemptThatHangsOnAfterTheOutageKeepsNobodyWaiting(t *testing.T) {
	for _, strict := range []bool{false, true} {
		for _, way := range []string{"another has ended it", "Reset"} {
			testkit.Bubble(t, fmt.Sprintf("StrictMax=%v, %s", strict, way), func(t *testing.T) {
				goOn, release := testkit.Obstacle(t)
				x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
					if attempt == 1 {
						select {
						case <-goOn:
						case <-ctx.Done():
							if way == "Reset" {
								<-goOn
							}
						}
					}
					return ctx.Err()
				}}
				most := 2
				if way == "Reset" {
					most = 1
				}
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: most, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, StrictMax: strict})
				ctx, cancel := context.WithCancel(t.Context())
				first := testkit.Ask(ctx, p)
				var kept []pool.Lease[*testkit.Wire]
				if way == "Reset" {
					cancel()
					first.Failed(t, "after its cancel", context.Canceled)
					testkit.Sleep(3 * time.Second) // nobody waits, so it keeps its slot
					p.Reset()
				} else {
					testkit.Sleep(1100 * time.Millisecond)
					testkit.GiveBack(t, p, first.Served(t, "by the second attempt"))
					kept = append(kept, testkit.Borrow(t, p))
					testkit.Sleep(1100 * time.Millisecond)
				}
				cancel()
				if got := testkit.Inside(p).Outage().Failures; got != 0 {
					t.Fatalf("%d failures are known, want that the outage is over", got)
				}
				r := testkit.Ask(t.Context(), p)
				testkit.Sleep(1100 * time.Millisecond) // StrictMax must give it up first
				kept = append(kept, r.Served(t, "though the first attempt hangs"))
				release()
				synctest.Wait()
				testkit.EndWithIdle(t, p, most, kept...)
			})
		}
	}
}

// Reset ends an outage, so there is no error of the last attempt any more, in Stats or in what
// a caller is told.
func TestAfterAResetNobodyIsToldOfAFailureFromBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, release := testkit.Obstacle(t)
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return testkit.ErrDial
			}
			<-goOn
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		if _, err := p.Get(t.Context()); !errors.Is(err, testkit.ErrDial) {
			t.Fatalf("Get returned %v, want %v", err, testkit.ErrDial)
		}
		p.Reset()
		if got := p.Stats().LastOpenError; got != nil {
			t.Errorf("after Reset the last error is %v, want none", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, testkit.ErrDial) {
			t.Errorf("Get returned %v, want the end of its ctx alone", err)
		}
		release()
		synctest.Wait()
		testkit.EndWithIdle(t, p, 1)
	})
}

func TestShutdownSaysThatAnAttemptWithoutASlotIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := deaf(5 * time.Second)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(2 * time.Second)
		testkit.GiveBack(t, p, r.Served(t, "by the second attempt"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Shutdown(ctx)
		if err == nil || !strings.Contains(err.Error(), "connections not closed: 0, of them leased: 0; being opened: 1") {
			t.Errorf("Shutdown returned %v, want that one is being opened", err)
		}
		testkit.Sleep(5 * time.Second)
		testkit.AtRest(t, p, 0)
	})
}

// An attempt hangs in Open, has a slot again, and hangs in Watch. Nothing limited it then.
func TestAnAttemptThatHangsOnceMoreInWatchIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, release := testkit.Obstacle(t)
		x := deaf(1200*time.Millisecond, 10*time.Second)
		f := x.Factory()
		f.Watch = func(w *testkit.Wire, _ func(error)) {
			if w.Number == 1 {
				<-goOn
			}
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(3 * time.Second)
		l := r.Served(t, "by an attempt beside the one that hangs")
		if got := l.Value().Number; got == 1 {
			t.Errorf("connection %d was lent while it is in Watch", got)
		}
		release()
		testkit.Sleep(10 * time.Second)
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// Hooks.Opened calls the pool, for an attempt with a slot and for one that got it back.
func TestOpenedMayCallThePool(t *testing.T) {
	calls := map[string]func(p *pool.Pool[*testkit.Wire]){
		"Reset":    func(p *pool.Pool[*testkit.Wire]) { p.Reset() },
		"Close":    func(p *pool.Pool[*testkit.Wire]) { _ = p.Close() },
		"Resize":   func(p *pool.Pool[*testkit.Wire]) { _ = p.Resize(2); _ = p.Resize(1) },
		"TryGet":   func(p *pool.Pool[*testkit.Wire]) { p.TryGet() },
		"Get":      func(p *pool.Pool[*testkit.Wire]) { askShortly(p.Get) },
		"GetFresh": func(p *pool.Pool[*testkit.Wire]) { askShortly(p.GetFresh) },
	}
	for name, call := range calls {
		for _, slow := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprintf("%s, set aside before: %v", name, slow), func(t *testing.T) {
				x := new(testkit.Exchange)
				if slow {
					x = deaf(1200*time.Millisecond, 10*time.Second)
				}
				var p *pool.Pool[*testkit.Wire]
				var called atomic.Bool
				c := pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1}
				c.Hooks.Opened = func(pool.OpenInfo) {
					if called.CompareAndSwap(false, true) {
						call(p)
					}
				}
				p = testkit.Start(t, x.Factory(), c)
				r := testkit.Ask(t.Context(), p)
				testkit.Sleep(20 * time.Second)
				if name == "Close" {
					r.Failed(t, "in a closed pool", pool.ErrClosed)
				} else {
					testkit.GiveBack(t, p, r.Served(t, "in the end"))
				}
				synctest.Wait()
				testkit.AtRest(t, p, 0)
			})
		}
	}
}

// askShortly asks for a connection, and gives up if it has to wait.
func askShortly(get func(context.Context) (pool.Lease[*testkit.Wire], error)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, _ = get(ctx)
}

// stuck returns an exchange whose attempts end when they are told to, and the ctx of each.
func stuck(t *testing.T) (x *testkit.Exchange, ctx []context.Context, result func(attempt int, err error)) {
	ctx = make([]context.Context, 20)
	results := make([]chan error, len(ctx))
	for i := range results {
		results[i] = make(chan error, 1)
	}
	t.Cleanup(func() {
		for _, c := range results {
			close(c)
		}
	})
	x = &testkit.Exchange{Open: func(c context.Context, attempt int) error {
		ctx[attempt] = c
		return <-results[attempt]
	}}
	return x, ctx, func(attempt int, err error) {
		results[attempt] <- err
		synctest.Wait()
	}
}

// Which slots they have says nothing: here the younger one has the first, the older one the last.
func TestOfTwoAttemptsThatHangTheOlderOneGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, ctx, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, FailFastAfter: -1})
		result(1, nil)
		result(2, nil)
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		r := testkit.Ask(t.Context(), p)
		if err := p.Discard(leases[0], nil); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(core.OverdueAfter + words.BackoffMost + 20*time.Millisecond)
		if got := x.Tried(); got != 4 {
			t.Fatalf("Open was called %d times, want 4 times", got)
		}
		if err := ctx[3].Err(); err != nil {
			t.Errorf("the older one was given up (%v), want that it goes on", context.Cause(ctx[3]))
		}
		if ctx[4].Err() == nil {
			t.Error("the younger one was not given up")
		}
		result(3, nil)
		result(4, testkit.ErrDial)
		testkit.EndWithIdle(t, p, 2, leases[1], r.Served(t, "by the older one"))
	})
}

// One is set aside, one has been given up and does not return. Then there is room, and another
// one hangs in it.
func TestBesideAnAttemptWithoutASlotNoOtherOneHangsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, ctx, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, FailFastAfter: -1})
		leases := make([]pool.Lease[*testkit.Wire], 2)
		for i := range leases {
			result(i+1, nil)
			leases[i] = testkit.Borrow(t, p)
		}
		var waits []*testkit.Request[*testkit.Wire]
		wait := func(tried int) {
			t.Helper()
			waits = append(waits, testkit.Ask(t.Context(), p))
			if got := x.Tried(); got != tried {
				t.Fatalf("Open was called %d times, want %d times", got, tried)
			}
		}
		wait(3)
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
		wait(4) // the third is set aside
		testkit.Sleep(words.BackoffMost + 10*time.Millisecond)
		wait(4) // the fourth is given up
		if ctx[4].Err() == nil || ctx[3].Err() != nil {
			t.Fatal("want that the attempt with a slot is given up, and not that without")
		}
		for i, l := range leases {
			if err := p.Discard(l, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if i == 0 {
				testkit.Sleep(words.BackoffMost + 10*time.Millisecond) // the fifth hangs
			}
		}
		if got := x.Tried(); got != 6 {
			t.Errorf("Open was called %d times, want 6 times", got)
		}
		if ctx[5].Err() == nil {
			t.Error("an attempt hangs on beside one without a slot")
		}
		for i := 3; i <= 6; i++ {
			result(i, nil)
		}
		for i, w := range waits {
			result(7+i, nil)
			testkit.GiveBack(t, p, w.Served(t, "in the end"))
		}
	})
}

// An attempt loses its slot after a Resize to fewer: from then on no more are open than may be,
// and Put need not look any more.
func TestTheSlotOfAnAttemptThatIsSetAsideEndsTheSurplus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, FailFastAfter: -1})
		result(1, nil)
		l := testkit.Borrow(t, p)
		waits := testkit.Ask(t.Context(), p)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		gate := func() words.Gate { return words.Gate(testkit.Inside(p).Gate.Load()) }
		if !gate().Shrinking() {
			t.Fatal("two are open of one, and the gate does not say so")
		}
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
		if gate().Shrinking() {
			t.Error("the gate says that there are too many, but one is open of one")
		}
		result(2, nil) // there is no room for it
		testkit.GiveBack(t, p, l)
		testkit.EndWithIdle(t, p, 1, waits.Served(t, "in the end"))
	})
}

// The connection of an attempt that was set aside takes the slot of another attempt, which goes
// on for nobody: it was begun for a Get, or for Warm.
func TestAnAttemptThatIsReplacedIsCanceled(t *testing.T) {
	for _, spare := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("spare=", spare), func(t *testing.T) {
			x, ctx, result := stuck(t)
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, FailFastAfter: -1})
			until, cancel := context.WithCancel(t.Context())
			waits := testkit.Ask(until, p)
			testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
			replaced := 2
			var warm *testkit.Warming
			if spare {
				cancel()
				waits.Failed(t, "after its cancel", context.Canceled)
				result(2, testkit.ErrDial)
				warm = testkit.Warm(t.Context(), p, 1)
				replaced = 3
			}
			if got := x.Tried(); got != replaced {
				t.Fatalf("Open was called %d times, want %d times", got, replaced)
			}
			result(1, nil)
			var leases []pool.Lease[*testkit.Wire]
			if spare {
				warm.Is(t, "when one is open", nil)
			} else {
				leases = append(leases, waits.Served(t, "by the first attempt"))
			}
			if ctx[replaced].Err() == nil {
				t.Error("the attempt that was replaced goes on")
			}
			result(replaced, nil)
			testkit.EndWithIdle(t, p, 1, leases...)
			cancel()
		})
	}
}

// With StrictMax nothing can be opened for a caller until the patience with an attempt that hangs
// is over: it is told so at once.
func TestWithStrictMaxAnAttemptThatHangsKeepsNobodyWaiting(t *testing.T) {
	for name, c := range map[string]pool.Config{"MaxConnections": {MaxConnections: 1}, "MaxOpening": {MaxConnections: 5, MaxOpening: 1}} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x, _, result := stuck(t)
			c.StrictMax, c.FailFastAfter = true, testkit.AtOnce
			c.MaxWaitTime, c.MaxIdleTime, c.OpenTimeout = -1, -1, -1
			p := testkit.Start(t, x.Factory(), c)
			testkit.Sleep(time.Second)
			testkit.Inside(p).SetOutage(words.Outage{Failures: words.KeepsFailing})
			first := testkit.Ask(t.Context(), p)
			testkit.Sleep(words.BackoffMost + 10*time.Millisecond)
			if got := testkit.Inside(p).Overdue.Load(); got != 1 {
				t.Fatalf("%d attempts are overdue, want one", got)
			}
			testkit.Ask(t.Context(), p).Failed(t, "while an attempt hangs", pool.ErrUnavailable)
			result(1, nil)
			testkit.EndWithIdle(t, p, 1, first.Served(t, "in the end"))
		})
	}
}

// Two hang in all the room there is. One of them is given up for whoever comes: nobody is told
// that there is no hope.
func TestWithStrictMaxOneOfTwoAttemptsThatHangMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, ctx, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, StrictMax: true, FailFastAfter: testkit.AtOnce, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		until, cancel := context.WithCancel(t.Context())
		left := []*testkit.Request[*testkit.Wire]{testkit.Ask(until, p), testkit.Ask(until, p)}
		cancel()
		for _, r := range left {
			r.Failed(t, "after its cancel", context.Canceled)
		}
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
		testkit.Inside(p).SetOutage(words.Outage{Failures: words.KeepsFailing})
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "while one of two is given up for it")
		if (ctx[1].Err() == nil) == (ctx[2].Err() == nil) {
			t.Errorf("given up are %v and %v, want one of them", ctx[1].Err(), ctx[2].Err())
		}
		result(1, nil)
		result(2, testkit.ErrDial)
		result(3, testkit.ErrDial)
		testkit.GiveBack(t, p, r.Served(t, "in the end"))
	})
}
