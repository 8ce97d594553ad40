//go:build explore

package schedules

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// revoke ends a lease, and counts it if that succeeds.
func (s *scene) revoke(i pool.LeaseInfo, ended *int) {
	if s.p.Revoke(i) {
		*ended++
		s.revoked[i.Conn.(*testkit.Wire)] = true
	}
}

// revoker is a goroutine that revokes leases that are known before the schedule begins. It
// returns how many of them it has ended, once it is done.
func (s *scene) revoker(name string, infos ...pool.LeaseInfo) (ended *int) {
	ended = new(int)
	s.Go(name, func() {
		for _, i := range infos {
			s.revoke(i, ended)
		}
	})
	return ended
}

// lister is a goroutine that revokes whatever it finds leased, or on its way.
func (s *scene) lister(name string) (ended *int) {
	ended = new(int)
	s.Go(name, func() {
		for _, i := range s.p.Leases() {
			s.revoke(i, ended)
		}
	})
	return ended
}

// balances checks at the end that as many connections were closed as revoked as calls of Revoke
// have ended a lease.
func (s *scene) balances(ended ...*int) {
	s.End(func() {
		want := 0
		for _, n := range ended {
			want += *n
		}
		revoked := 0
		for _, w := range s.x.Wires {
			for _, cause := range w.Closes {
				if cause == pool.ErrRevoked {
					revoked++
				}
			}
		}
		if revoked != want || s.p.Stats().ClosedRevoke != uint64(want) {
			s.Errorf("Revoke has ended %d leases; %d connections were closed for it, and %d counted", want, revoked, s.p.Stats().ClosedRevoke)
		}
	})
}

func TestExploreRevokeAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.putter("putter", l[0])
		s.balances(s.revoker("revoker", info))
		s.rests(0)
	})
}

// The waiter gets what is put back, or what is opened in its place.
func TestExploreRevokeAgainstAHandOff(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.waiting("waiter", background)
		s.putter("putter", l[0])
		s.balances(s.revoker("revoker", info))
		s.rests(0)
	})
}

// What is on its way from the putter to the waiter is revoked as well.
func TestExploreRevokeOfWhatIsOnItsWay(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.waiting("waiter", background)
		s.putter("putter", l[0])
		s.balances(s.lister("revoker"))
		s.rests(0)
	})
}

// The next connection in the slot is the second waiter's, while the first has the token for the
// one before.
func TestExploreRevokeOfWhatIsOnItsWayWhileTwoWait(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.waiting("first", background)
		s.waiting("second", background)
		s.putter("putter", l[0])
		s.balances(s.lister("revoker"))
		s.rests(0)
	})
}

// One Get has just taken what is idle, another comes to wait.
func TestExploreRevokeAgainstTwoGetsOfWhatIsIdle(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.mustPut(l[0])
		s.keeper("first")
		s.keeper("second")
		s.balances(s.lister("revoker"))
		s.rests(0)
	})
}

// keeper is a getter that has its connection for a moment, in which others may do something.
// Its lease may be revoked.
func (s *scene) keeper(name string) {
	s.Go(name, func() {
		l, err := s.p.Get(background)
		if err != nil {
			s.Errorf("%s: Get: %v", name, err)
			return
		}
		s.hold(name, l)
		s.Point("holds")
		s.mustPut(l)
	})
}

func TestExploreRevokeAgainstDiscardAndDetach(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		infos := s.p.Leases()
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.Go("detacher", func() {
			switch w, err := s.p.Detach(l[1]); {
			case err == nil:
				s.x.HangUp(w, nil)
			case !errors.Is(err, pool.ErrRevoked):
				s.Errorf("Detach: %v", err)
			}
		})
		s.balances(s.revoker("revoker", infos...))
		s.rests(0)
	})
}

// One ends the lease, the other is told so, and the holder may end it once more.
func TestExploreTwoRevokesAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.putter("putter", l[0])
		s.balances(s.revoker("revoker 0", info), s.revoker("revoker 1", info))
		s.rests(0)
	})
}

// The slot of a revoked lease is used again while its holder puts it back.
func TestExploreRevokeAgainstAPutAndAColdGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.putter("putter", l[0])
		s.balances(s.revoker("revoker", info))
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreRevokeAgainstClose(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.putter("putter", l[0])
		s.balances(s.revoker("revoker", info))
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreRevokeAgainstReset(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		info := s.p.Leases()[0]
		s.putter("putter", l[0])
		s.Go("resetter", s.p.Reset)
		s.balances(s.revoker("revoker", info))
		s.rests(0)
	})
}

func TestExploreRevokeAgainstAResizeDown(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		infos := s.p.Leases()
		s.putter("putter", l[0])
		s.resizer("resizer", 1)
		s.balances(s.revoker("revoker", infos[1]))
		s.End(func() { s.mustPut(l[1]) })
		s.rests(0)
	})
}

// A Get is in Check when its connection is revoked, and another comes into the slot.
func TestExploreRevokeAgainstAGetWithCheck(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		in := map[*testkit.Wire]bool{}
		f.Check = func(w *testkit.Wire) error {
			if in[w] {
				r.Errorf("Check is called for connection %d by two at the same time", w.Number)
			}
			in[w] = true
			r.Point("Check")
			in[w] = false
			return nil
		}
		c := timeless(1)
		c.CheckInterval = -1
		s := newScene(r, x, f, c)
		l := s.lend(1)
		s.mustPut(l[0])
		s.keeper("first")
		s.keeper("second")
		s.balances(s.lister("revoker"))
		s.rests(0)
	})
}

// A Get is waiting for the Check of its connection, in another goroutine, when that is revoked: it
// looks for another, whoever has ended the call.
func TestExploreRevokeDuringALookApart(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit, "Goexit": errExits} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := looking(r, verdict)
				s.keeper("getter")
				s.balances(s.lister("revoker"))
				s.rests(0)
			})
		})
	}
}

// The same while the ctx of the Get ends.
func TestExploreRevokeDuringALookApartWhoseCtxEnds(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := looking(r, nil)
		var a asking
		ctx := s.canceler(background)
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.must("leaver", &a, context.Canceled)
		s.Clock(core.LookGrace, 1)
		s.balances(s.lister("revoker"))
		s.rests(0)
	})
}

// A call of Clean is abandoned just as its connection is revoked, and the slot is lent again.
func TestExploreRevokeAgainstAnAbandonedCall(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		f.Clean = func(w *testkit.Wire) error {
			if w.Number == 1 {
				time.Sleep(core.CallLimit + time.Minute)
			}
			return nil
		}
		s := newScene(r, x, f, timeless(1))
		l := s.lend(1)
		delete(s.holders, l[0].Value())
		s.Begin("putter", func() {
			if err := s.p.Put(l[0]); err != nil {
				s.Errorf("Put: %v", err)
			}
		})
		for range 10 {
			time.Sleep(time.Second)
		}
		info := s.p.Leases()[0]
		ended := new(int)
		s.after(time.Second, "revoker", func() {
			s.revoke(info, ended)
		})
		s.after(time.Second, "getter", func() {
			l, err := s.p.Get(background)
			if err != nil {
				s.Errorf("Get: %v", err)
				return
			}
			s.hold("getter", l)
			s.Point("holds")
			if n := len(l.Value().ClosedWith()); n != 0 {
				s.Errorf("connection %d was closed while it was lent", l.Value().Number)
			}
			s.mustPut(l)
		})
		s.Later(time.Second)
		s.Later(2 * time.Minute)
		s.balances(ended)
		s.rests(0)
	})
}
