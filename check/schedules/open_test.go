//go:build explore

package schedules

import (
	"context"
	"errors"
	"testing"

	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestExploreTwoColdGets(t *testing.T) {
	for _, max := range []int{1, 2} {
		t.Run([]string{"for one slot", "for two slots"}[max-1], func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				x := exploredDials(r)
				s := newScene(r, x, x.Factory(), timeless(max))
				s.getter("first")
				s.getter("second")
				s.rests(0)
			})
		})
	}
}

// go#10886, commons-pool POOL-303: a dial fails, and the freed capacity is offered to
// nobody.
func TestExploreAnOpenFailsWhileTwoWait(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r, 1)
		s := newScene(r, x, x.Factory(), timeless(1))
		var a [2]asking
		s.Go("first", func() { s.ask("first", background, &a[0]) })
		s.Go("second", func() { s.ask("second", background, &a[1]) })
		s.must("first", &a[0], testkit.ErrDial)
		s.must("second", &a[1], testkit.ErrDial)
		s.rests(0)
		s.End(func() {
			if a[0].err != nil && a[1].err != nil {
				s.Errorf("one open failed, and both have its error")
			}
		})
	})
}

// redis#3619, #3623, #3625: a slot is freed twice when an open fails and its caller
// gives up.
func TestExploreAnOpenFailsWhileItsCallerLeaves(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r, 1)
		s := newScene(r, x, x.Factory(), timeless(1))
		a, b := new(asking), new(asking)
		ctx := s.canceler(background)
		s.Go("leaver", func() { s.ask("leaver", ctx, a) })
		s.Go("waiter", func() { s.ask("waiter", background, b) })
		s.must("leaver", a, testkit.ErrDial, context.Canceled)
		s.must("waiter", b, testkit.ErrDial)
		s.rests(0)
		s.End(func() {
			if errors.Is(a.err, testkit.ErrDial) && !errors.Is(a.err, context.Canceled) && b.err != nil {
				s.Errorf("one open failed, and both have its error")
			}
		})
	})
}

func TestExploreACallerLeavesDuringItsOpen(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		var a asking
		ctx := s.canceler(background)
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.getter("getter")
		s.must("leaver", &a, context.Canceled)
		s.rests(0)
	})
}

// What comes first, a connection that is put back or one that is opened.
func TestExploreAPutAgainstAnOpen(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		l := s.lend(1)
		s.putter("putter", l[0])
		s.getter("getter")
		s.rests(0)
	})
}

// Capacity comes free, and a caller comes to wait: no wake-up is missed, and an attempt
// finds a vacant slot.
func TestExploreADiscardAgainstAWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreTwoDiscardsAgainstTwoWaiters(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		for i, name := range []string{"discarder 0", "discarder 1"} {
			s.Go(name, func() {
				if err := s.discard(l[i]); err != nil {
					s.Errorf("Discard: %v", err)
				}
			})
		}
		s.waiting("waiter", background)
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreADetachAgainstAWaiterAndAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		delete(s.holders, l[0].Value())
		detached, put := false, false
		s.Go("detacher", func() {
			w, err := s.p.Detach(l[0])
			if detached = err == nil; detached {
				s.x.HangUp(w, nil)
			}
		})
		s.Go("putter", func() { put = s.p.Put(l[0]) == nil })
		s.getter("getter")
		s.rests(0)
		s.End(func() {
			if detached == put {
				s.Errorf("detached: %v, put back: %v", detached, put)
			}
		})
	})
}

// Two are closed, one after the other, where one may be closed behind: the second keeps its
// slot, for which somebody waits, until its Close has returned, unless that of the first has.
func TestExploreADiscardWhileAnotherIsBeingClosed(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		open, most := 1, 1 // as the peer counts them
		x := &testkit.Exchange{
			Open: func(context.Context, int) error {
				open++
				most = max(most, open)
				return nil
			},
			Closing: func(*testkit.Wire, error) error {
				r.Point("the close returns")
				open--
				return nil
			},
		}
		s := newScene(r, x, x.Factory(), timeless(1))
		l := s.lend(1)
		open, most = 1, 1
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
			second, err := s.p.Get(background)
			if err != nil {
				s.Errorf("Get: %v", err)
				return
			}
			s.hold("discarder", second)
			if err := s.discard(second); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.getter("getter")
		s.rests(0)
		s.End(func() {
			if most > 2 {
				s.Errorf("the peer has seen %d at a time, want one open and one being closed", most)
			}
		})
	})
}
