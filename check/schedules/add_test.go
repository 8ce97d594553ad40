//go:build explore

package schedules

import (
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// adder is a goroutine that opens one connection more.
func (s *scene) adder(name string, errs ...error) {
	var a asking
	s.Go(name, func() { a.err = s.p.Add(background) })
	s.must(name, &a, errs...)
}

func TestExploreAnAddAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		s.adder("adder", pool.ErrFull) // the Get may have had one opened, and then another one
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreTwoAddsOpenOneEach(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		s.adder("adder 0")
		s.adder("adder 1")
		s.rests(0)
		s.idles(2)
	})
}

func TestExploreAnAddAgainstADiscard(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.adder("adder", pool.ErrFull)
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.rests(0)
	})
}

func TestExploreAnAddAgainstAReset(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.adder("adder")
		s.resetter()
		s.rests(0)
	})
}

func TestExploreAnAddAgainstClose(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.adder("adder", pool.ErrClosed)
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreAnAddThatFailsAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r, 1)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.adder("adder", testkit.ErrDial, pool.ErrFull)
		var a asking
		s.Go("getter", func() { s.ask("getter", background, &a) })
		s.must("getter", &a, testkit.ErrDial)
		s.rests(0)
	})
}

// The attempt of an Add is set aside for a caller who waits, and may come back.
func TestExploreTheAttemptOfAnAddIsSetAside(t *testing.T) {
	for name, verdict := range map[string]error{"that succeeds": nil, "that fails": testkit.ErrDial} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s := hanging(r, 1, 0, verdict)
				s.adder("adder", testkit.ErrDial, pool.ErrFull)
				s.Go("getter", func() {
					time.Sleep(overdue / 2)
					s.mustAsk("getter")
				})
				s.rests(0)
			})
		})
	}
}
