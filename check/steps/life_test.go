//go:build step

package steps

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// dozing returns a pool with n idle connections on a machine that sleeps when the function
// is called: the sweeper notices within a second. Probes are content at once.
func dozing(t *testing.T, x *testkit.Exchange, n int) (p *pool.Pool[*testkit.Wire], probed *atomic.Int32, sleep func()) {
	t.Helper()
	f := x.Factory()
	probed = new(atomic.Int32)
	f.Probe = func(context.Context, *testkit.Wire) error { probed.Inc(); return nil }
	p, sleep = bedded(t, f, n)
	return p, probed, sleep
}

func bedded(t *testing.T, f pool.Factory[*testkit.Wire], n int) (p *pool.Pool[*testkit.Wire], sleep func()) {
	t.Helper()
	p = testkit.Start(t, f, pool.Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
	var ahead atomic.Int64
	testkit.Inside(p).SetAhead(func() time.Duration { return time.Duration(ahead.Load()) })
	testkit.Fill(t, p, n)
	synctest.Wait()
	return p, func() {
		ahead.Add(int64(time.Hour))
		time.Sleep(core.MaxTick)
		synctest.Wait()
	}
}

// Between the sweeper's look and its step somebody takes the slot: it is a lease like any.
func TestASuspectIsTakenJustBeforeItIsHeld(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, probed, sleep := dozing(t, new(testkit.Exchange), 1)
		late := s.StopNext("suspectIdle: slot read")
		sleep()
		late.Arrived(t)
		l := testkit.Borrow(t, p)
		late.GoOn()
		if got := probed.Load(); got != 0 {
			t.Errorf("%d probes of what is leased, want none", got)
		}
		if got := p.Stats(); got.Gets != 2 || got.ActiveConnections != 1 {
			t.Errorf("%d were lent and %d are active, want 2 and 1", got.Gets, got.ActiveConnections)
		}
		endWith(t, p, 1, l)
	})
}

// What happens to a pool while suspects are held, and nobody has them probed yet, is found
// out by whoever comes to do that.
func TestWhatHappensWhileSuspectsAreHeldIsSeenByTheirProbes(t *testing.T) {
	for name, tt := range map[string]struct {
		happens func(p *pool.Pool[*testkit.Wire])
		probed  int32
		counts  func(s pool.Stats) uint64
	}{
		"Close":    {func(p *pool.Pool[*testkit.Wire]) { p.Close() }, 0, func(s pool.Stats) uint64 { return s.ClosedShutdown }},
		"Shutdown": {func(p *pool.Pool[*testkit.Wire]) { go p.Shutdown(bg) }, 0, func(s pool.Stats) uint64 { return s.ClosedShutdown }},
		"Reset":    {func(p *pool.Pool[*testkit.Wire]) { p.Reset() }, 0, func(s pool.Stats) uint64 { return s.ClosedReset }},
		"Resize":   {func(p *pool.Pool[*testkit.Wire]) { _ = p.Resize(1) }, 2, func(s pool.Stats) uint64 { return s.ClosedResize + 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				var x testkit.Exchange
				p, probed, sleep := dozing(t, &x, 2)
				held := s.StopNext("suspectIdle: held")
				sleep()
				held.Arrived(t)
				go tt.happens(p)
				synctest.Wait()
				if _, ok := p.TryGet(); ok {
					t.Error("TryGet got a suspect")
				}
				held.GoOn()
				testkit.Sleep(2 * time.Second)
				if got := probed.Load(); got != tt.probed {
					t.Errorf("%d probes, want %d", got, tt.probed)
				}
				if got := tt.counts(p.Stats()); got != 2 {
					t.Errorf("%d were closed for it, want 2: %+v", got, p.Stats())
				}
				testkit.AtRest(t, p, 0)
			})
		})
	}
}

// A waiter that comes while all are suspect gets the first that has answered.
func TestAWaiterThatComesWhileSuspectsAreHeldIsServed(t *testing.T) {
	for _, place := range []string{"suspectIdle: held", "settle: nobody waits"} {
		t.Run(place[:6], func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, _, sleep := dozing(t, new(testkit.Exchange), 1)
				held := s.StopNext(place)
				sleep()
				held.Arrived(t)
				r := testkit.Ask(bg, p)
				r.Pending(t, "while it is held")
				held.GoOn()
				endWith(t, p, 1, r.Served(t, "after the probe"))
			})
		})
	}
}

// Stats has read how many are being probed, and then more are: they are no leases.
func TestProbesThatBeginWhileStatsCountsAreNoLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answered, answer := testkit.Obstacle(t)
		x := new(testkit.Exchange)
		f := x.Factory()
		var probed atomic.Int32
		f.Probe = func(context.Context, *testkit.Wire) error { probed.Inc(); <-answered; return nil }
		p, sleep := bedded(t, f, 3)
		want := p.Stats().Gets
		var came atomic.Bool
		remove := step.Install(func(name string) {
			if name == "stats: census read" && came.CompareAndSwap(false, true) {
				sleep()
			}
		})
		defer remove()
		if got := p.Stats().Gets; got != want {
			t.Errorf("%d were lent, want %d", got, want)
		}
		if got := probed.Load(); got != 3 {
			t.Errorf("%d probes while Stats counted, want 3", got)
		}
		answer()
		endWith(t, p, 3)
		if got := p.Stats().Gets; got != want {
			t.Errorf("afterwards %d were lent, want %d", got, want)
		}
	})
}

// A connection whose life is short is stored while a pass is under way that has looked at
// its slot already: another pass comes in time.
func TestAShortLifeThatBeginsBehindThePassEndsInTime(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		var x testkit.Exchange
		f := x.Factory()
		f.Expires = func(w *testkit.Wire) time.Time {
			if w.Number == 1 {
				return time.Time{}
			}
			return time.Now().Add(core.MaxTick/2 + 100*time.Millisecond)
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		l := testkit.Borrow(t, p)
		testkit.Sleep(core.MaxTick / 2)
		stored := s.StopNext("opened: stored")
		r := testkit.Ask(bg, p)
		stored.Arrived(t)
		testkit.Sleep(core.MaxTick / 2) // a pass
		stored.GoOn()
		testkit.GiveBack(t, p, r.Served(t, "after the pass"))
		testkit.Sleep(100*time.Millisecond - 1)
		testkit.IdleIs(t, p, "before the end", 1)
		testkit.Sleep(1)
		testkit.ClosedFor(t, "at the end", x.Opened()[1], nil)
		endWith(t, p, 1, l)
	})
}
