//go:build explore

package schedules

import (
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sleeping returns a scene with a pool that has not been used yet. To look inside would wake it.
func sleeping(r *explore.Run, n int) *scene {
	x := exploredDials(r)
	s := bareScene(r, x, x.Factory(), timeless(n))
	seen := false
	see := func() {
		if !seen {
			seen = true
			s.watch()
		}
		s.look()
	}
	r.Always(func() {
		if testkit.Core(s.p).Awake() {
			see()
		}
	})
	r.End(see)
	return s
}

func TestExploreAPoolThatSleepsAgainstTwoGets(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s := sleeping(r, 2)
		s.getter("getter 0")
		s.getter("getter 1")
		s.End(func() {
			if got := s.p.Stats().Gets; got != 2 {
				s.Errorf("%d leases were counted, want 2", got)
			}
		})
		s.rests(0)
	})
}

func TestExploreAPoolThatSleepsIsClosed(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := sleeping(r, 1)
		s.lateGetter("getter")
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreAPoolThatSleepsAgainstWarmAndClose(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := sleeping(r, 1)
		var a asking
		s.Go("warmer", func() { a.err = s.p.Warm(background, 1) })
		s.must("warmer", &a, pool.ErrClosed)
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreAPoolThatSleepsAgainstWarmAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := sleeping(r, 1)
		s.Go("warmer", func() {
			if err := s.p.Warm(background, 1); err != nil {
				s.Errorf("Warm: %v", err)
			}
		})
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

// The limit is that of Resize, whoever of the two wakes the pool, and both ways.
func TestExploreAPoolThatSleepsIsResized(t *testing.T) {
	for name, n := range map[string][2]int{"up": {1, 2}, "down": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s := sleeping(r, n[0])
				s.resizer("resizer", n[1])
				s.getter("getter")
				s.rests(0)
				if n[1] == 1 { // what Resize opens for a getter may come beside what that opens
					s.idles(1)
				}
				s.End(func() {
					if got := s.p.Stats().MaxConnections; got != n[1] {
						s.Errorf("MaxConnections is %d after Resize(%d)", got, n[1])
					}
				})
			})
		})
	}
}

// What is lent after a Reset was opened after it, also if nothing was awake to be reset.
func TestExploreAPoolThatSleepsIsReset(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s := sleeping(r, 1)
		s.Go("resetter", s.p.Reset)
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreAPoolThatSleepsAgainstStats(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s := sleeping(r, 1)
		s.getter("getter")
		s.Go("observer", func() {
			for range 2 {
				st := s.p.Stats()
				if st.MaxConnections != 1 || st.Gets > 1 || st.Opened > 1 || st.ActiveConnections+st.IdleConnections > 1 {
					s.Errorf("Stats of a pool of one: %+v", st)
				}
			}
			for range s.p.Leases() {
				s.Point("a lease was seen")
			}
		})
		s.rests(0)
	})
}
