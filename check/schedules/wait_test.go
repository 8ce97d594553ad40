//go:build explore

package schedules

import (
	"context"
	"errors"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// vitess#17662, fasthttp#2391, bb8#122: a Put lands between a getter's "nothing idle"
// and its enqueueing.
func TestExplorePutAgainstAWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

func TestExplorePutAgainstTwoWaiters(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.getter("first")
		s.getter("second")
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreTwoGrantersAndOneWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.waiting("waiter", background)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.rests(0)
		s.idles(2)
	})
}

func TestExploreTwoGrantersAndTwoWaiters(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.waiting("waiter", background)
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.getter("getter")
		s.rests(0)
		s.idles(2)
	})
}

// Two callers register. The first may be served before the second is linked. If the
// second asked the gate whether it is the first, it would sleep beside an idle slot.
func TestExploreTwoRegistrantsAndTwoGranters(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.getter("first")
		s.getter("second")
		s.putter("putter 0", l[0])
		s.putter("putter 1", l[1])
		s.rests(0)
		s.idles(2)
	})
}

// sqlx#3132, fasthttp#1830: a grant that cannot be used is dropped. bb8#67, puddle#2,
// hackney#462, node-postgres#3721: cancelled getters swallow wake-ups, or the connection.
func TestExploreCancelAgainstAGrant(t *testing.T) {
	for _, others := range []int{0, 1} {
		t.Run([]string{"alone", "in front of another"}[others], func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s, l := lending(r, 1)
				a := s.waiting("leaver", s.canceler(background))
				if others == 1 {
					s.waiting("waiter", background)
				}
				s.putter("putter", l[0])
				s.rests(0)
				s.idles(1)
				s.End(func() {
					if a.err != nil && !errors.Is(a.err, context.Canceled) {
						s.Errorf("Get: %v", a.err)
					}
				})
			})
		})
	}
}

// The waiter that leaves waits again at once, with the same channel.
func TestExploreCancelAgainstAGrantAndTheChannelIsUsedAgain(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		ctx := s.canceler(background)
		var a asking
		s.Go("leaver", func() {
			if s.ask("leaver", ctx, &a); a.err != nil {
				s.mustAsk("leaver")
			}
		})
		s.putter("putter", l[0])
		s.rests(0)
		s.idles(1)
	})
}

// vitess#20310: a connection is handed to a waiter that has expired.
func TestExploreACtxEndsAtTheFront(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		ctx := s.canceler(background)
		var a asking
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.getter("getter")
		s.putter("putter", l[0])
		s.rests(0)
		s.idles(1)
	})
}

// A second Put, and one that comes after the connection has been lent again.
func TestExploreAStalePutAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		delete(s.holders, l[0].Value())
		refused := 0
		for _, name := range []string{"putter 0", "putter 1"} {
			s.Go(name, func() {
				switch err := s.p.Put(l[0]); {
				case errors.Is(err, pool.ErrNotLeased):
					refused++
				case err != nil:
					s.Errorf("Put: %v", err)
				}
			})
		}
		s.getter("getter")
		s.rests(0)
		s.End(func() {
			if refused != 1 {
				s.Errorf("%d of two Puts were refused", refused)
			}
		})
	})
}

// The same against a caller that has waited, and against Discard.
func TestExploreAStalePutAgainstAWaiterAndADiscard(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		delete(s.holders, l[0].Value())
		s.waiting("waiter", background)
		refused := 0
		note := func(err error) {
			switch {
			case errors.Is(err, pool.ErrNotLeased):
				refused++
			case err != nil:
				s.Errorf("%v", err)
			}
		}
		s.Go("putter", func() { note(s.p.Put(l[0])) })
		s.Go("discarder", func() { note(s.p.Discard(l[0], nil)) })
		s.rests(0)
		s.End(func() {
			if refused != 1 {
				s.Errorf("%d of two were refused", refused)
			}
		})
	})
}

func TestExploreTryGetAgainstAPutAndAWaiter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.getter("getter")
		s.Go("taker", func() {
			if l, ok := s.p.TryGet(); ok {
				s.hold("taker", l)
				s.mustPut(l)
			}
		})
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreMaxWaitersAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		c := timeless(1)
		c.MaxWaiters = 1
		s := newScene(r, x, x.Factory(), c)
		l := s.lend(1)
		s.putter("putter", l[0])
		var a [2]asking
		s.Go("first", func() { s.ask("first", background, &a[0]) })
		s.Go("second", func() { s.ask("second", background, &a[1]) })
		s.rests(0)
		s.End(func() {
			if a[0].err != nil && a[1].err != nil {
				s.Errorf("both were refused: %v, %v", a[0].err, a[1].err)
			}
			for _, a := range a {
				if a.err != nil && !errors.Is(a.err, pool.ErrRejected) {
					s.Errorf("Get: %v", a.err)
				}
			}
		})
	})
}
