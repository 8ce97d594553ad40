//go:build explore

package schedules

import (
	"context"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// warmer is a goroutine that waits until n connections are open.
func (s *scene) warmer(n int, errs ...error) {
	var a asking
	s.Go("warmer", func() { a.err = s.p.Warm(background, n) })
	s.must("warmer", &a, errs...)
}

func TestExploreWarmAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		s.warmer(2)
		s.getter("getter")
		s.rests(0)
		s.idles(2)
	})
}

// The room that Warm needs is about to come free.
func TestExploreWarmAgainstADiscard(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.warmer(1)
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.rests(0)
	})
}

func TestExploreWarmAgainstAResize(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.warmer(2)
		s.putter("putter", l[0])
		s.resizer("resizer", 3)
		s.End(func() { s.mustPut(l[1]) })
		s.rests(0)
	})
}

func TestExploreWarmAgainstAReset(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.warmer(1)
		s.resetter()
		s.rests(0)
	})
}

func TestExploreWarmAgainstClose(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.warmer(1, pool.ErrClosed)
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreWarmThatFailsAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r, 1)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.warmer(1, testkit.ErrDial)
		var a asking
		s.Go("getter", func() { s.ask("getter", background, &a) })
		s.must("getter", &a, testkit.ErrDial)
		s.rests(0)
	})
}

// With StrictMax the slot is free when Factory.Close has returned.
func TestExploreStrictMaxAgainstAWaiter(t *testing.T) {
	for name, max := range map[string]int{"one slot": 1, "two slots": 2} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				x := new(testkit.Exchange)
				x.Closing = func(w *testkit.Wire, cause error) error {
					r.Point("Factory.Close returns")
					return nil
				}
				c := timeless(max)
				c.StrictMax = true
				s := newScene(r, x, x.Factory(), c)
				l := s.lend(max)
				s.Go("discarder", func() {
					if err := s.discard(l[0]); err != nil {
						s.Errorf("Discard: %v", err)
					}
				})
				s.getter("getter")
				s.End(func() {
					for _, l := range l[1:] {
						s.put(l)
					}
				})
				s.rests(0)
				s.End(func() {
					if x.Most > max {
						s.Errorf("%d were open at a time", x.Most)
					}
				})
			})
		})
	}
}

// A connection is reported broken, or the pool reset, while Check looks at it.
func TestExploreAReportDuringACheck(t *testing.T) {
	t.Run("apart", func(t *testing.T) { exploreAReportDuringACheck(t, true) })
	t.Run("in Get", func(t *testing.T) { exploreAReportDuringACheck(t, false) })
}

func exploreAReportDuringACheck(t *testing.T, apart bool) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f, broken := testkit.Watched(x)
		f.Check = func(w *testkit.Wire) error {
			r.Point("Check returns")
			return nil
		}
		c := timeless(1)
		c.CheckInterval = -1
		s := newScene(r, x, f, c)
		l := s.lend(1)
		s.mustPut(l[0])
		if !apart {
			s.in.Wary.Store(0)
		}
		reported := false
		s.Go("reporter", func() {
			broken(1, testkit.ErrCause)
			reported = true
		})
		s.Go("getter", func() {
			before := reported
			l, err := s.p.Get(background)
			if err != nil {
				s.Errorf("Get: %v", err)
				return
			}
			s.hold("getter", l)
			if before && l.Value().Number == 1 {
				s.Errorf("a connection was lent that had been reported before the Get")
			}
			s.put(l)
		})
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreAResetDuringACheck(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		f.Check = func(w *testkit.Wire) error {
			r.Point("Check returns")
			return nil
		}
		c := timeless(1)
		c.CheckInterval = -1
		s := newScene(r, x, f, c)
		l := s.lend(1)
		s.mustPut(l[0])
		s.getter("getter")
		s.resetter()
		s.rests(0)
	})
}

// Of two that hope for a right one gives up, just as it comes.
func TestExploreAWarmThatGivesUpBesideAnother(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		var quits asking
		ctx := s[1].canceler(background)
		s[1].Go("quitter", func() { quits.err = s[1].p.Warm(ctx, 1) })
		s[1].must("quitter", &quits, context.Canceled)
		s[1].warmer(1)
		s[0].Go("discarder", func() {
			if err := s[0].discard(l[0]); err != nil {
				s[0].Errorf("Discard: %v", err)
			}
		})
		settled(s, 1)
	})
}
