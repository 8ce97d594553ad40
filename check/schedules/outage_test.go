//go:build explore

package schedules

import (
	"context"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// An attempt hangs, and is set aside for another one, just as Open returns, or Watch. What it
// has opened gets a slot again, or is closed, and never more are open than may be.
func TestExploreAnAttemptIsSetAsideAsItReturns(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		x.Open = func(_ context.Context, attempt int) error {
			if attempt == 1 {
				time.Sleep(1001 * time.Millisecond) // when it is overdue
				r.Point("the open returns")
			}
			return nil
		}
		f := x.Factory()
		f.Watch = func(w *testkit.Wire, _ func(error)) {
			if w.Number == 1 {
				r.Point("Watch returns")
			}
		}
		s := newScene(r, x, f, timeless(1))
		s.getter("getter")
		s.Later(1001 * time.Millisecond)
		s.Later(time.Second)
		s.Later(time.Second)
		s.rests(0)
	})
}

// The sweeper looks for a connection that has shown that the server serves, just as one is
// opened. The outage comes to its end.
func TestExploreAConnectionOnProbationIsNotMissed(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		x.Open = func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return testkit.ErrDial
			}
			return nil
		}
		c := timeless(1)
		c.FailFastAfter = -1
		s := newScene(r, x, x.Factory(), c)
		s.Go("getter", func() {
			for range 2 {
				l, err := s.p.Get(background)
				if err != nil {
					s.Errorf("Get: %v", err)
					return
				}
				_ = s.p.Discard(l, nil)
			}
			if err := s.p.Warm(background, 1); err != nil {
				s.Errorf("Warm: %v", err)
			}
		})
		s.Later(time.Second)
		s.Later(time.Second)
		s.Later(2 * time.Second)
		s.End(func() {
			if got := s.in.Outage().Failures; got != 0 {
				s.Errorf("%d failures are known 2 s after the last open, want none", got)
			}
		})
		s.rests(0)
	})
}
