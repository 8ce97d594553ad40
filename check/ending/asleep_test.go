package ending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// In a bubble no clock runs ahead of another, and no machine sleeps: the tests tell the
// sweeper how far the wall clock is ahead.

// A bed is a pool on a machine that can sleep, with a factory whose probes wait for answers.
type bed struct {
	ahead atomic.Int64 // first, for 32-bit processors
	testkit.Exchange
	p *pool.Pool[*testkit.Wire]

	answer  chan error   // nil: each probe is content at once
	under   atomic.Int32 // probes that are under way
	most    atomic.Int32
	probed  atomic.Int32
	checked atomic.Int32
}

func (b *bed) probe(ctx context.Context, w *testkit.Wire) error {
	b.probed.Inc()
	n := b.under.Inc()
	defer b.under.Dec()
	for old := b.most.Load(); old < n && !b.most.CompareAndSwap(old, n); old = b.most.Load() {
	}
	if b.answer == nil {
		return nil
	}
	select {
	case err := <-b.answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *bed) check(*testkit.Wire) error { b.checked.Inc(); return nil }

// sleep is a sleep of the machine: the wall clock goes on, and nothing else does. Then it
// lets the pool notice.
func (b *bed) sleep(d time.Duration) {
	b.ahead.Add(int64(d))
	time.Sleep(core.MaxTick)
	synctest.Wait()
}

// lieDown makes a pool with n idle connections.
func (b *bed) lieDown(t *testing.T, n int, f pool.Factory[*testkit.Wire], c pool.Config) {
	t.Helper()
	b.p = testkit.Start(t, f, c)
	testkit.Inside(b.p).SetAhead(func() time.Duration { return time.Duration(b.ahead.Load()) })
	if c.MinIdle == 0 { // the two at a time may open one too many
		if err := b.p.Warm(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Sleep(10 * time.Second)
	if got := b.probed.Load(); got != 0 {
		t.Fatalf("%d were probed before the machine slept", got)
	}
}

func probing(t *testing.T, n int, c pool.Config) *bed {
	t.Helper()
	b := &bed{answer: make(chan error)}
	f := b.Factory()
	f.Probe = b.probe
	b.lieDown(t, n, f, c)
	return b
}

// restless is a configuration in which nothing but Probe makes the sweeper look.
var restless = pool.Config{MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1, OpenTimeout: -1}

// whatsapp-rust#1376, omnigent#5054, cmux#10917.
func TestWhatWasIdleDuringASleepIsNobodysUntilItsProbeHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := restless
		c.MaxConnections = 4
		b := probing(t, 3, c)
		l := testkit.Borrow(t, b.p)
		before := b.p.Stats()
		b.sleep(2 * time.Hour)
		if got := b.probed.Load(); got != 2 {
			t.Fatalf("%d probes, want one for each of two idle connections", got)
		}
		if got := b.p.Stats(); got.ActiveConnections != 3 || got.IdleConnections != 0 || got.Gets != before.Gets {
			t.Errorf("while they are probed %d are active, %d idle, %d were lent; want 3, 0, %d", got.ActiveConnections, got.IdleConnections, got.Gets, before.Gets)
		}
		if _, ok := b.p.TryGet(); ok {
			t.Error("TryGet got one that is being probed")
		}
		other := testkit.Borrow(t, b.p)
		if got := other.Value().Number; got != 4 {
			t.Errorf("Get got connection %d, want a new one", got)
		}
		r := testkit.Ask(t.Context(), b.p)
		r.Pending(t, "at the limit")
		b.answer <- nil
		first := r.Served(t, "after the first answer")
		b.answer <- nil
		for _, l := range []pool.Lease[*testkit.Wire]{first, other, l} {
			testkit.GiveBack(t, b.p, l)
		}
		testkit.IdleIs(t, b.p, "in the end", 4)
		testkit.AtRest(t, b.p, 0)
		b.sleep(0)
		if got := b.probed.Load(); got != 2 {
			t.Errorf("%d probes, want no more than two", got)
		}
		if got := b.p.Stats(); got.Opened != 4 || got.Gets != before.Gets+2 {
			t.Errorf("%d were opened and %d lent, want 4 and %d", got.Opened, got.Gets, before.Gets+2)
		}
	})
}

func TestAConnectionWhoseProbeFailsIsClosedWithTheCause(t *testing.T) {
	mine := errors.New("mine")
	for name, tt := range map[string]struct {
		probe func(context.Context, *testkit.Wire) error
		cause error
	}{
		"error":  {func(context.Context, *testkit.Wire) error { return mine }, mine},
		"panic":  {func(context.Context, *testkit.Wire) error { panic(mine) }, mine},
		"Goexit": {func(context.Context, *testkit.Wire) error { runtime.Goexit(); return nil }, nil},
		"no answer": {func(ctx context.Context, _ *testkit.Wire) error {
			end, _ := ctx.Deadline()
			if got := time.Until(end); got != core.ProbeLimit {
				t.Errorf("the ctx of Probe ends in %v, want %v", got, core.ProbeLimit)
			}
			<-ctx.Done()
			return ctx.Err()
		}, context.DeadlineExceeded},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			const n = core.MaxProbes + 10
			var b bed
			f := b.Factory()
			f.Probe = tt.probe
			b.lieDown(t, n, f, pool.Config{MaxConnections: n, MaxIdleTime: -1})
			b.sleep(time.Hour)
			testkit.Sleep(2 * core.ProbeLimit)
			testkit.IdleIs(t, b.p, "after the probes", 0)
			for _, w := range b.Opened() {
				if got := w.ClosedWith(); len(got) != 1 || got[0] == nil || tt.cause != nil && !errors.Is(got[0], tt.cause) {
					t.Fatalf("connection %d was closed with %v, want %v, once", w.Number, got, tt.cause)
				}
			}
			if got := b.p.Stats(); got.ClosedCheck != n || got.Abandoned != 0 {
				t.Errorf("%d were closed by Check and %d abandoned, want %d and 0", got.ClosedCheck, got.Abandoned, n)
			}
			testkit.AtRest(t, b.p, 0)
			testkit.Whole(t, b.p, n)
		})
	}
}

func TestAProbeThatHangsIsAbandonedAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = core.MaxProbes + 10 // so that the last wait for those that hang
		hang, release := testkit.Obstacle(t)
		var b bed
		f := b.Factory()
		f.Probe = func(_ context.Context, w *testkit.Wire) error {
			if b.probed.Inc() <= core.MaxProbes {
				<-hang
			}
			return nil
		}
		b.lieDown(t, n, f, pool.Config{MaxConnections: n, MaxIdleTime: -1})
		b.sleep(time.Hour)
		if got := b.probed.Load(); got != core.MaxProbes {
			t.Errorf("%d probes at the same time, want %d", got, core.MaxProbes)
		}
		testkit.Sleep(core.CallLimit + testkit.Slack)
		testkit.IdleIs(t, b.p, "when they were abandoned", 10)
		if got := b.p.Stats(); got.Abandoned != core.MaxProbes || got.ClosedAbandoned != core.MaxProbes {
			t.Errorf("%d calls were abandoned, want %d", got.Abandoned, core.MaxProbes)
		}
		if got := testkit.Inside(b.p).Probing.Load(); got != 0 {
			t.Errorf("%d are still being probed, want none", got)
		}
		testkit.Whole(t, b.p, n)
		release()
		testkit.IdleIs(t, b.p, "when they have returned", n)
		if got := b.probed.Load(); got != n {
			t.Errorf("%d probes, want one for each of %d", got, n)
		}
		testkit.AtRest(t, b.p, 0)
	})
}

func TestShutdownWaitsNoLongerForAProbeThanForACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var b bed
		f := b.Factory()
		f.Probe = func(context.Context, *testkit.Wire) error { <-hang; return nil }
		b.lieDown(t, 2, f, restless)
		b.sleep(time.Hour)
		began := time.Now()
		if err := b.p.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if got := time.Since(began); got > core.CallLimit+testkit.Slack {
			t.Errorf("it took %v, want %v", got, core.CallLimit)
		}
		if got := b.p.Stats().ClosedAbandoned; got != 2 {
			t.Errorf("%d were abandoned, want 2", got)
		}
		release()
		testkit.AtRest(t, b.p, 0)
	})
}

func TestOnlyAJumpAheadOfTheWallClockIsASleep(t *testing.T) {
	for _, tt := range []struct {
		jump time.Duration
		want int32
	}{
		{-2 * time.Hour, 0}, {-time.Second, 0}, {time.Second, 0}, {core.SleepLeast, 0}, {core.SleepLeast + 1, 3}, {1000 * testkit.Day, 3},
	} {
		testkit.Bubble(t, tt.jump.String(), func(t *testing.T) {
			b := probing(t, 3, restless)
			b.answer = nil
			b.sleep(tt.jump)
			if got := b.probed.Load(); got != tt.want {
				t.Errorf("%d probes, want %d", got, tt.want)
			}
			b.sleep(-tt.jump) // the clock is set right
			if tt.jump < -core.SleepLeast {
				tt.want = 3
			}
			if got := b.probed.Load(); got != tt.want {
				t.Errorf("when the clock was set right, %d probes, want %d", got, tt.want)
			}
			// Slowly it may go as far as it likes.
			for range 100 {
				b.sleep(core.SleepLeast / 2)
			}
			if got := b.probed.Load(); got != tt.want {
				t.Errorf("by a clock that is fast, %d probes, want %d", got, tt.want)
			}
			testkit.IdleIs(t, b.p, "in the end", 3)
			if got := b.p.Stats().Opened; got != 3 {
				t.Errorf("%d were opened, want 3: a clock closes nothing", got)
			}
		})
	}
}

func TestWithoutAProbeCheckIsAskedUnlessItIsForLendingOnly(t *testing.T) {
	for _, interval := range []time.Duration{time.Hour, -1} {
		testkit.Bubble(t, interval.String(), func(t *testing.T) {
			var b bed
			f := b.Factory()
			f.Check = b.check
			c := pool.Config{MaxIdleTime: testkit.Day, CheckInterval: interval}
			b.lieDown(t, 3, f, c)
			b.sleep(time.Hour)
			want := int32(3)
			if interval < 0 {
				want = 0
			}
			if got := b.checked.Load(); got != want {
				t.Errorf("%d checks, want %d", got, want)
			}
			testkit.IdleIs(t, b.p, "in the end", 3)
		})
	}
	testkit.Bubble(t, "no Check", func(t *testing.T) {
		var b bed
		b.lieDown(t, 3, b.Factory(), pool.Config{MaxIdleTime: time.Hour})
		b.sleep(2 * time.Hour)
		testkit.IdleIs(t, b.p, "after the sleep", 3)
	})
}

// What a probe is interrupted by is why the connection is closed. The probe's own error says
// nothing then.
func TestWhatEndsDuringAProbeEndsForItsOwnReason(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(b *bed) error
		count func(s pool.Stats) uint64
	}{
		"Close":    {func(b *bed) error { return b.p.Close() }, func(s pool.Stats) uint64 { return s.ClosedShutdown }},
		"Shutdown": {func(b *bed) error { return b.p.Shutdown(context.Background()) }, func(s pool.Stats) uint64 { return s.ClosedShutdown }},
		"Reset":    {func(b *bed) error { b.p.Reset(); return nil }, func(s pool.Stats) uint64 { return s.ClosedReset }},
		"Resize":   {func(b *bed) error { return b.p.Resize(1) }, func(s pool.Stats) uint64 { return s.ClosedResize + 1 }},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			const n = core.MaxProbes + 10
			b := probing(t, n, pool.Config{MaxConnections: n, MaxIdleTime: -1})
			b.sleep(time.Hour)
			began := time.Now()
			if err := tt.end(b); err != nil {
				t.Errorf("it returned %v", err)
			}
			synctest.Wait()
			if name == "Resize" {
				for range n {
					b.answer <- nil
				}
				synctest.Wait()
			}
			if got := tt.count(b.p.Stats()); got != n {
				t.Errorf("%d were closed for it, want %d: %+v", got, n, b.p.Stats())
			}
			if got := time.Since(began); got != 0 {
				t.Errorf("it took %v", got)
			}
			testkit.AtRest(t, b.p, 0)
		})
	}
}

// What is being probed will be idle in a moment: MinIdle need not be opened once more.
func TestMinIdleCountsWhatIsBeingProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := probing(t, 3, pool.Config{MinIdle: 3, MaxIdleTime: -1})
		b.sleep(time.Hour)
		testkit.Sleep(5 * time.Second)
		if got := b.p.Stats().Opened; got != 3 {
			t.Errorf("%d were opened, want 3", got)
		}
		b.answer <- testkit.ErrUnfit
		testkit.Sleep(2 * time.Second)
		if got := b.p.Stats().Opened; got != 4 {
			t.Errorf("after one has failed %d were opened, want 4", got)
		}
		b.answer <- nil
		b.answer <- nil
		testkit.IdleIs(t, b.p, "in the end", 3)
	})
}

// A second sleep comes while the first one's probes are under way, and finds idle what has
// answered.
func TestTheMachineMaySleepAgainDuringTheProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := probing(t, 3, restless)
		b.sleep(time.Hour)
		b.answer <- nil
		b.sleep(time.Hour)
		if got := b.probed.Load(); got != 4 {
			t.Errorf("%d probes, want 4", got)
		}
		for range 3 {
			b.answer <- nil
		}
		testkit.IdleIs(t, b.p, "in the end", 3)
		testkit.AtRest(t, b.p, 0)
	})
}

// A probe is not a use, and not a lease.
func TestAProbeRenewsNeitherTheIdleTimeNorReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := probing(t, 2, pool.Config{MaxIdleTime: time.Minute, LeakAfter: time.Second})
		l := testkit.Borrow(t, b.p)
		testkit.Sleep(20 * time.Second)
		b.sleep(time.Hour)
		testkit.Sleep(5 * time.Second)
		if got := b.p.Stats().Leaked; got != 1 {
			t.Errorf("%d leaks, want that of the lease alone", got)
		}
		b.answer <- nil
		testkit.Sleep(24*time.Second + core.MinTick)
		testkit.IdleIs(t, b.p, "before", 1)
		testkit.Sleep(9 * time.Second)
		testkit.IdleIs(t, b.p, "after MaxIdleTime", 0)
		testkit.GiveBack(t, b.p, l)
	})
}

// In a moment of the sleep that the sweeper has not seen, somebody takes what is idle: that
// is a lease like any, and goes on.
func TestWhoeverIsFasterThanTheSweeperAfterASleepHasALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := probing(t, 2, restless)
		b.ahead.Add(int64(time.Hour))
		l := testkit.Borrow(t, b.p)
		testkit.Sleep(core.MaxTick)
		if got := b.probed.Load(); got != 1 {
			t.Errorf("%d probes, want 1", got)
		}
		b.answer <- nil
		testkit.GiveBack(t, b.p, l)
		testkit.IdleIs(t, b.p, fmt.Sprintf("after the Put of connection %d", l.Value().Number), 2)
	})
}

// A Probe ends its goroutine after it has been given up: another goroutine goes on already.
func TestAProbeThatEndsItsGoroutineTooLateChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		b := new(bed)
		f := b.Factory()
		f.Probe = func(context.Context, *testkit.Wire) error {
			<-hang
			runtime.Goexit()
			return nil
		}
		b.lieDown(t, 1, f, restless)
		b.sleep(time.Hour)
		testkit.Sleep(core.CallLimit + 3*time.Second)
		if got := b.p.Stats().ClosedAbandoned; got != 1 {
			t.Errorf("%d connections were given up, want one", got)
		}
		release()
		testkit.EndWithIdle(t, b.p, 0)
	})
}
