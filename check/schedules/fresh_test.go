//go:build explore

package schedules

import (
	"context"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A full pool, and somebody who needs the room of what is put back: it is put back before
// that one comes, or after.
func TestExploreAGetFreshAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.freshGetter("fresh")
		s.rests(0)
		s.idles(1)
		s.madeRoom(1)
	})
}

// Each publisher, and the caller itself, might make the room.
// Who comes behind a fresh waiter looks for what is idle: the fresh one has not, for it.
func TestExploreAGetBehindAGetFreshWhoseOpenHangs(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		answered := make(chan struct{})
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 2 {
				<-answered
			}
			return nil
		}}
		s := newScene(r, x, x.Factory(), timeless(3))
		l := s.lend(2) // so that the two who wait stand in the same segment
		s.waitingIn("fresh", func(a *asking) { s.askFresh("fresh", background, a) })
		s.putter("putter", l[0])
		s.Go("getter", func() {
			s.mustAsk("getter")
			close(answered)
		})
		s.End(func() { s.mustPut(l[1]) })
		s.rests(0)
		s.idles(3)
	})
}

func TestExploreAGetFreshAgainstTwoPuts(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.freshGetter("fresh")
		s.rests(0)
		s.idles(2)
		s.madeRoom(1)
	})
}

// The second may be lent what the first puts back, while room is being made for it: then
// nothing is open at the end.
func TestExploreTwoGetFreshAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.freshGetter("first")
		s.freshGetter("second")
		s.rests(0)
	})
}

// The one is lent what is idle, the other needs its room.
func TestExploreAGetFreshAgainstAGet(t *testing.T) {
	for _, max := range []int{1, 2} {
		t.Run([]string{"for one slot", "for two slots"}[max-1], func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				x := exploredDials(r)
				s := newScene(r, x, x.Factory(), timeless(max))
				l := s.lend(1)
				s.mustPut(l[0])
				s.freshGetter("fresh")
				s.getter("getter")
				s.rests(0)
				s.idles(max)
				if max == 1 {
					s.madeRoom(1)
				}
			})
		})
	}
}

// The plain one came first, or behind.
func TestExploreAGetFreshAGetAndAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.freshGetter("fresh")
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreAGetFreshAgainstADiscard(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.putter("putter", l[1])
		s.freshGetter("fresh")
		s.rests(0)
	})
}

// What is being opened was begun before it comes, for somebody who leaves.
func TestExploreAGetFreshAgainstAnOpenForOneWhoLeaves(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		ctx := s.canceler(background)
		var a asking
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.freshGetter("fresh")
		s.must("leaver", &a, context.Canceled)
		s.rests(0)
	})
}

func TestExploreAGetFreshLeaves(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		ctx := s.canceler(background)
		var a asking
		s.Go("leaver", func() { s.askFresh("leaver", ctx, &a) })
		s.getter("getter")
		s.putter("putter", l[0])
		s.must("leaver", &a, context.Canceled)
		s.rests(0) // nothing is open if it left while it was given room
	})
}

// The open that was begun for it serves one who came before: then it needs another one.
func TestExploreAGetFreshWhoseOpenServesAnother(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.waitingIn("older", func(a *asking) {
			if a.lease, a.err = s.p.Get(background); a.err == nil {
				s.hold("older", a.lease) // and keeps it
			}
		})
		s.waitingIn("fresh", func(a *asking) { s.askFresh("fresh", background, a) })
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.putter("putter", l[1])
		s.rests(1)
		s.idles(1)
	})
}

// An open fails; the attempts of the others are no older than they are.
func TestExploreAGetFreshWhoseOpenFails(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r, 2)
		s := newScene(r, x, x.Factory(), timeless(1))
		l := s.lend(1)
		s.putter("putter", l[0])
		var a, b asking
		s.Go("fresh", func() { s.askFresh("fresh", background, &a) })
		s.Go("getter", func() { s.ask("getter", background, &b) })
		s.must("fresh", &a, testkit.ErrDial)
		s.must("getter", &b, testkit.ErrDial)
		s.rests(0)
	})
}

func TestExploreCloseAgainstAGetFresh(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		l := s.lend(1)
		s.mustPut(l[0])
		var a asking
		s.Go("fresh", func() { s.askFresh("fresh", background, &a) })
		s.closer("closer")
		s.must("fresh", &a, pool.ErrClosed)
		s.rests(0)
	})
}

func TestExploreResetAgainstAGetFresh(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(1))
		s.freshGetter("fresh")
		s.Go("resetter", func() { s.p.Reset() })
		s.rests(0)
	})
}

func TestExploreResizeDownAgainstAGetFresh(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.freshGetter("fresh")
		s.resizer("resizer", 1)
		s.rests(0)
		s.idles(1)
	})
}
