//go:build explore

package schedules

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sharing returns scenes of n pools with a budget of max connections, as many of which are leased
// in the first one.
func sharing(r *explore.Run, n, max int) ([]*scene, []pool.Lease[*testkit.Wire]) {
	b := pool.NewBudget(max)
	var all []*scene
	for range n {
		x := new(testkit.Exchange)
		c := timeless(max + 1)
		c.Budget = b
		s := newScene(r, x, x.Factory(), c)
		s.rights = true
		all = append(all, s)
	}
	l := all[0].lend(max)
	r.End(func() {
		if n := all[0].in.Promised(); n != 0 {
			r.Errorf("%d rights are still to come at the end", n)
		}
	})
	for _, s := range all[1:] { // what a pool makes when it is first used is no part of it
		s.p.TryGet()
	}
	return all, l
}

// quiet checks at the end that all pools are at rest, and that none stands in the line.
func quiet(all []*scene) {
	for _, s := range all {
		s.rests(0)
		s.End(func() {
			if got := s.p.Stats().AwaitingBudget; got != 0 {
				s.Errorf("a pool stands in line for %d, and nobody waits", got)
			}
		})
	}
}

// settled is quiet where it is known how many connections are open in the end.
func settled(all []*scene, open int) {
	quiet(all)
	all[0].End(func() {
		n := 0
		for _, s := range all {
			n += s.p.Stats().IdleConnections
		}
		if n != open {
			all[0].Errorf("%d are open, want %d", n, open)
		}
	})
}

func TestExploreAPutAgainstAGetOfAnotherPool(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].putter("putter", l[0])
		s[1].getter("getter")
		settled(s, 1)
	})
}

func TestExploreAPutForAgainstAGetOfAnotherPool(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].reserver("reserver", l[0])
		s[1].getter("getter")
		settled(s, 1)
	})
}

func TestExploreAPutAgainstGetsOfTwoPools(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].putter("putter", l[0])
		s[0].getter("own getter")
		s[1].getter("getter")
		settled(s, 1)
	})
}

func TestExploreTwoPutsAgainstTwoGetsOfAnotherPool(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 2)
		s[0].putter("putter 0", l[0])
		s[0].putter("putter 1", l[1])
		s[1].getter("getter 0")
		s[1].getter("getter 1")
		quiet(s)
	})
}

func TestExploreADiscardAgainstGetsOfTwoPools(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].Go("discarder", func() {
			if err := s[0].discard(l[0]); err != nil {
				s[0].Errorf("Discard: %v", err)
			}
		})
		s[0].getter("own getter")
		s[1].getter("getter")
		settled(s, 1)
	})
}

// Whoever stood in the line leaves it: its ctx ends, just then or before.
func TestExploreAPutAgainstAGetOfAnotherPoolThatIsCanceled(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		ctx := s[1].canceler(background)
		a := s[1].waiting("waiter", ctx)
		s[1].must("waiter", a, context.Canceled)
		s[0].putter("putter", l[0])
		quiet(s)
	})
}

// A caller is served by his own pool as it comes to stand in the line: it does not stay there.
func TestExploreAGetThatIsServedLeavesTheLine(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 1, 1)
		s[0].putter("putter", l[0])
		s[0].getter("getter")
		settled(s, 1)
	})
}

// The ctx ends as the caller comes to stand in the line: the pool does not stay there.
func TestExploreAGetThatIsCanceledLeavesTheLine(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, _ := sharing(r, 2, 1)
		ctx := s[1].canceler(background)
		s[1].Go("getter", func() { s[1].ask("getter", ctx, new(asking)) })
		quiet(s[1:])
	})
}

// One leaves the line, which is empty then, while another one comes.
func TestExploreOneLeavesTheLineWhileAnotherComes(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := sharing(r, 3, 1)
		ctx := s[1].canceler(background)
		a := s[1].waiting("waiter", ctx)
		s[1].must("waiter", a, context.Canceled)
		s[0].putter("putter", l[0])
		s[2].getter("getter")
		quiet(s)
	})
}

// The lease that another pool waits for is revoked as it is returned.
func TestExploreRevokeOfWhatAnotherPoolWaitsFor(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		info := s[0].p.Leases()[0]
		s[1].waiting("waiter", background)
		s[0].Go("putter", func() { _ = s[0].put(l[0]) })
		s[0].Go("revoker", func() { s[0].p.Revoke(info) })
		settled(s, 1)
	})
}

func TestExploreTheEndOfAPoolThatStandsInTheLine(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		a := s[1].waiting("waiter", background)
		s[1].must("waiter", a, pool.ErrClosed)
		s[0].putter("putter", l[0])
		s[1].closer("closer")
		r.End(func() {
			if n := s[1].in.Rights(); n != 0 {
				s[1].Errorf("a closed pool has %d rights", n)
			}
		})
		s[0].rests(0)
	})
}

// The pool that has everything is closed, while another one waits.
func TestExploreTheEndOfAPoolForWhichAnotherWaits(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].Go("putter", func() { _ = s[0].put(l[0]) })
		s[0].closer("closer")
		s[1].getter("getter")
		s[1].rests(0)
		s[1].idles(1)
	})
}

// Who waits alone is served by his own pool or by a right, and what is not needed goes on.
func TestExploreAGetIsServedWhileARightComes(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 2)
		other := s[0].p
		_ = other.Discard(l[1], nil)
		delete(s[0].holders, l[1].Value())
		m := s[1].lend(1)
		s[1].putter("putter", m[0])
		s[0].putter("other putter", l[0])
		s[1].getter("getter")
		quiet(s)
	})
}

func TestExploreAGetFreshOfTheOnlyRight(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 1)
		s[0].putter("putter", l[0])
		s[0].freshGetter("fresh")
		s[1].getter("getter")
		quiet(s)
	})
}

// One right is enough for one who waits, whoever looks while it is on its way.
func TestExploreAGetOfAPoolTakesOneOfTwoThatComeBackInAnother(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 2)
		s[1].waiting("getter", background)
		s[1].Go("looker", func() { s[1].in.EnsureOpen() })
		s[0].Go("putter", func() {
			for _, l := range l {
				if err := s[0].put(l); err != nil {
					r.Errorf("Put: %v", err)
				}
			}
		})
		settled(s, 2)
		r.End(func() {
			if got := s[0].p.Stats().ClosedBudget; got != 1 {
				r.Errorf("%d were closed for one who waits, want 1", got)
			}
		})
	})
}

// Two who wait, each of whom may count on what the other has in hand.
func TestExploreTwoGetsOfAPoolTakeIdleConnectionsOfAnother(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := sharing(r, 2, 2)
		for _, l := range l {
			if err := s[0].put(l); err != nil {
				r.Fatalf("Put: %v", err)
			}
		}
		s[1].getter("getter 0")
		s[1].getter("getter 1")
		quiet(s) // one may have served both, and then only one is open
	})
}

// A vault is a store that grants what is wanted while it has it.
type vault struct {
	rights *pool.Rights
	mu     sync.Mutex // held for a few plain steps
	free   int
	out    int
}

func (v *vault) Rights() (*pool.Rights, error) { return v.rights, nil }

func (v *vault) Want(waiting, hoping int) {
	v.mu.Lock()
	n := min(waiting, v.free)
	v.free -= n
	v.out += n
	v.mu.Unlock()
	if n > 0 {
		v.rights.Grant(n)
	}
}

func (v *vault) Give(n int) {
	v.mu.Lock()
	v.free += n
	v.out -= n
	v.mu.Unlock()
}

// cut returns a scene of a pool with max rights from elsewhere, so many of them in use, one of which is cut.
func cut(r *explore.Run, max, leased int) (*scene, []pool.Lease[*testkit.Wire]) {
	v := &vault{free: max}
	v.rights = pool.NewRights(v)
	x := new(testkit.Exchange)
	c := timeless(max + 1)
	c.Budget = v
	s := newScene(r, x, x.Factory(), c)
	s.rights = true
	l := s.lend(leased)
	s.Go("cutter", func() { v.rights.Cut(1) })
	s.End(func() {
		if n := s.in.Promised(); n != 0 {
			r.Errorf("%d rights are still to come at the end", n)
		}
		if got := s.in.Rights(); got != v.out-1 {
			r.Errorf("the pool has %d rights, and %d were granted and one is lost", got, v.out)
		}
	})
	return s, l
}

func TestExploreACutAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := cut(r, 2, 2)
		s.Go("putter", func() { _ = s.p.Put(l[0]) })
		s.End(func() {
			if got := s.p.Stats(); got.ClosedBudget != 1 || got.ActiveConnections+got.IdleConnections != 1 {
				s.Errorf("%d were closed, want 1, %d are leased and %d idle, want 1", got.ClosedBudget, got.ActiveConnections, got.IdleConnections)
			}
		})
	})
}

func TestExploreACutAgainstAPutAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := cut(r, 2, 2)
		s.Go("putter", func() { _ = s.p.Put(l[0]) })
		s.Go("getter", func() {
			if _, err := s.p.Get(background); err != nil {
				s.Errorf("Get: %v", err)
			}
		})
		s.Go("other putter", func() { _ = s.p.Put(l[1]) })
	})
}

func TestExploreACutAgainstAGetThatOpens(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := cut(r, 2, 1)
		s.Go("getter", func() {
			if _, err := s.p.Get(background); err != nil {
				s.Errorf("Get: %v", err)
			}
		})
		s.Go("putter", func() { _ = s.p.Put(l[0]) })
		s.End(func() {
			if got := s.p.Stats(); got.ActiveConnections+got.IdleConnections > 1 {
				s.Errorf("%d are leased and %d idle, want 1 in all", got.ActiveConnections, got.IdleConnections)
			}
		})
	})
}

// Nothing else is there to be cut than what is being opened.
func TestExploreACutAgainstAGetThatOpensTheFirst(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, _ := cut(r, 2, 0)
		s.Go("getter", func() {
			_, err := s.p.Get(background)
			var opening *pool.OpenError // the right has ended just before Open
			if err != nil && !errors.As(err, &opening) {
				s.Errorf("Get: %v", err)
			}
		})
	})
}
