//go:build explore

package schedules

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// expiring returns a scene in which waits end after a second, with n leases.
func expiring(r *explore.Run, n int) (*scene, []pool.Lease[*testkit.Wire]) {
	x := new(testkit.Exchange)
	c := timeless(n)
	c.MaxWaitTime = time.Second
	s := newScene(r, x, x.Factory(), c)
	return s, s.lend(n)
}

// A grant meets the end of the wait.
func TestExploreExpiryAgainstAGrant(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := expiring(r, 1)
		a := s.waiting("waiter", background)
		s.after(time.Second, "putter", func() { s.mustPut(l[0]) })
		s.Later(time.Second)
		s.must("waiter", a, pool.ErrExhausted)
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreExpiryAgainstAGrantAndACancel(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := expiring(r, 1)
		ctx, cancel := context.WithTimeout(background, time.Second)
		s.Cleanup(cancel)
		a := s.waiting("waiter", ctx)
		b := s.waiting("second", background)
		s.after(time.Second, "putter", func() { s.mustPut(l[0]) })
		s.Later(time.Second)
		s.must("waiter", a, pool.ErrExhausted, context.DeadlineExceeded)
		s.must("second", b, pool.ErrExhausted)
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreTheSweeperDisarmsAgainstARegistrant(t *testing.T) {
	disarmed(t, func(s *scene, _ pool.Mark, a *asking) { s.ask("second", background, a) })
}

// The sweeper goes to sleep because nobody waits, and somebody comes to wait: it must
// learn of it.
func disarmed(t *testing.T, comes func(s *scene, m pool.Mark, a *asking)) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := expiring(r, 1)
		m := s.marks(l)
		a := s.waiting("first", background)
		time.Sleep(time.Second) // it expires, and the sweeper disarms a second later
		var b asking
		s.after(time.Second, "second", func() { comes(s, m[0], &b) })
		s.Later(time.Second)
		s.Later(2 * time.Second)
		s.End(func() {
			if !errors.Is(a.err, pool.ErrExhausted) || !errors.Is(b.err, pool.ErrExhausted) {
				s.Errorf("the waits ended with %v and %v", a.err, b.err)
			}
			s.mustPut(l[0])
		})
		s.rests(0)
	})
}

// What has been idle for too long is closed, or lent before that.
func TestExploreIdleTimeAgainstAGetAndAPut(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		c := timeless(1)
		c.MaxIdleTime = time.Second
		s := newScene(r, x, x.Factory(), c)
		s.ages = true
		l := s.lend(1)
		s.mustPut(l[0])
		s.after(1125*time.Millisecond, "getter", func() { // when it is closed
			s.mustAsk("getter")
		})
		s.Later(1125 * time.Millisecond)
		s.rests(0)
	})
}

// Whether idle connections are still good is asked while they are wanted.
func TestExploreChecksAgainstAGetAndClose(t *testing.T) {
	for name, verdict := range map[string]error{"good": nil, "bad": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				x := new(testkit.Exchange)
				f := x.Factory()
				f.Check = func(w *testkit.Wire) error {
					if len(w.Closes) != 0 {
						r.Errorf("Check of connection %d, which has been closed", w.Number)
					}
					if w.Number == 1 {
						return verdict
					}
					return nil
				}
				c := timeless(1)
				c.CheckInterval = time.Second
				s := newScene(r, x, f, c)
				l := s.lend(1)
				s.mustPut(l[0])
				var a asking
				s.after(time.Second, "getter", func() { s.ask("getter", background, &a) })
				s.must("getter", &a)
				s.Later(time.Second)
				s.rests(0)
			})
		})
	}
}
