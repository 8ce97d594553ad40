//go:build explore

package schedules

import (
	"context"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// resetter is a goroutine that resets the pool. At the end no connection is open that
// was opened before that.
func (s *scene) resetter() {
	before := 0
	s.Go("resetter", func() {
		s.p.Reset()
		before = len(s.x.Wires)
	})
	s.End(func() {
		for _, slot := range s.in.Slots() {
			if slot.OldEra {
				s.Errorf("connection %d of %d is still there", slot.Box.(*testkit.Wire).Number, before)
			}
		}
	})
}

func TestExploreResetAgainstAPutAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.resetter()
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreResetAgainstAnOpen(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.getter("getter")
		s.resetter()
		s.rests(0)
	})
}

// The caller for whom it was opened leaves at the same time.
func TestExploreResetAgainstAnOpenAndACancel(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		var a asking
		ctx := s.canceler(background)
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.must("leaver", &a, context.Canceled)
		s.resetter()
		s.rests(0)
	})
}

func TestExploreResetAgainstClose(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.lateGetter("getter")
		s.Go("resetter", s.p.Reset)
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreTwoResetsAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.resetter()
		s.Go("resetter too", s.p.Reset)
		s.rests(0)
	})
}

// MaxLifetime is over while the connection is put back, or lent again.
func TestExploreTheEndOfALifetimeAgainstAPutAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		c := timeless(1)
		c.MaxLifetime = 10 * time.Second
		s := newScene(r, x, x.Factory(), c)
		l := s.lend(1)
		testkit.CoreLease(l[0]).SetExpires(10 * time.Second) // the jitter is not the schedule's
		time.Sleep(9900 * time.Millisecond)
		s.after(100*time.Millisecond, "putter", func() { s.mustPut(l[0]) })
		s.after(100*time.Millisecond, "getter", func() { s.mustAsk("getter") })
		s.Later(100 * time.Millisecond)
		s.Later(500 * time.Millisecond)
		s.ages = true
		s.rests(0)
		s.gone(1)
	})
}
