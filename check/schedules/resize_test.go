//go:build explore

package schedules

import (
	"slices"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// resizer is a goroutine that changes the limit. It may fail with those errors.
func (s *scene) resizer(name string, n int, errs ...error) {
	s.shrinks = true
	s.Go(name, func() {
		if err := s.p.Resize(n); err != nil && !slices.Contains(errs, err) {
			s.Errorf("Resize: %v", err)
		}
	})
}

// limited checks at the end that no more are open than may be, and, if all of them were
// in use, no fewer.
func (s *scene) limited(most, least int) {
	s.rests(0)
	s.End(func() {
		c := words.Census(testkit.Inside(s.p).Conns.Load())
		if c.Open() > most || c.Open() < least {
			s.Errorf("%d are open, want %d to %d", c.Open(), least, most)
		}
		if c.Max() > 0 && c.Open() > c.Max() {
			s.Errorf("%d are open, %d may be", c.Open(), c.Max())
		}
	})
}

func TestExploreResizeDownAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.resizer("resizer", 1)
		s.limited(1, 1)
	})
}

func TestExploreResizeDownAgainstAPutAndADiscard(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 3)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.Go("discarder", func() {
			if err := s.discard(l[2]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.resizer("resizer", 1)
		s.limited(1, 0)
	})
}

func TestExploreResizeDownAgainstAWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.getter("getter")
		s.resizer("resizer", 1)
		s.limited(1, 1)
	})
}

func TestExploreResizeDownAgainstAnOpen(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		l := s.lend(1)
		s.putter("putter", l[0])
		s.getter("getter")
		s.resizer("resizer", 1)
		s.limited(1, 1)
	})
}

// Growing serves those who wait, also past the slots that there are.
func TestExploreResizeUpAgainstAWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.getter("getter")
		s.resizer("resizer", 2)
		s.End(func() { s.mustPut(l[0]) })
		s.limited(2, 2)
	})
}

func TestExploreTwoResizes(t *testing.T) {
	for name, n := range map[string][2]int{"down and up": {1, 2}, "down and further down": {2, 1}, "down twice": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s, l := lending(r, 3)
				s.putter("putter", l[0])
				s.resizer("resizer 0", n[0])
				s.resizer("resizer 1", n[1])
				s.End(func() {
					for _, l := range l[1:] {
						s.mustPut(l)
					}
				})
				s.limited(2, 1)
			})
		})
	}
}

// The last surplus leaves, which ends the shrinking, while a Resize begins another.
func TestExploreTheEndOfOneResizeAgainstAnother(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 3)
		s.shrinks = true
		if err := s.p.Resize(2); err != nil {
			s.Fatal(err)
		}
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.resizer("resizer", 1)
		s.End(func() { s.mustPut(l[2]) })
		s.limited(1, 1)
	})
}

func TestExploreResizeAgainstClose(t *testing.T) {
	for name, n := range map[string]int{"down": 1, "up": 4} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s, l := lending(r, 2)
				s.putter("putter", l[0])
				s.resizer("resizer", n, pool.ErrClosed)
				s.closer("closer")
				s.allClosed()
			})
		})
	}
}
