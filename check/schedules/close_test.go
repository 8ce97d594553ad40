//go:build explore

package schedules

import (
	"context"
	"errors"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// allClosed checks at the end that every connection has been closed, once.
func (s *scene) allClosed() {
	s.rests(0)
	s.End(func() {
		for _, w := range s.x.Wires {
			if len(w.Closes) != 1 {
				s.Errorf("connection %d was closed %d times, want once", w.Number, len(w.Closes))
			}
		}
	})
}

// lateGetter is a goroutine that gets a connection, unless the pool is closed before.
func (s *scene) lateGetter(name string) {
	var a asking
	s.Go(name, func() { s.askLate(name, &a) })
	s.must(name, &a, pool.ErrClosed)
}

// askLate is ask where Close may take the connection away at any time.
func (s *scene) askLate(name string, a *asking) {
	if a.lease, a.err = s.p.Get(background); a.err != nil {
		return
	}
	s.hold(name, a.lease)
	delete(s.holders, a.lease.Value())
	if err := s.p.Put(a.lease); err != nil {
		s.Errorf("%s: Put: %v", name, err)
	}
}

func TestExploreCloseAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.closer("closer")
		s.allClosed()
	})
}

// A caller comes to wait, and the pool is closed: the wait must end.
func TestExploreCloseAgainstARegistrant(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, _ := lending(r, 1)
		s.lateGetter("getter")
		s.closer("closer")
		s.allClosed()
	})
}

// Close revokes a slot while it is handed on, or while the token is on its way.
func TestExploreCloseAgainstAHandOff(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		a := new(asking)
		s.Begin("waiter", func() { s.askLate("waiter", a) })
		s.must("waiter", a, pool.ErrClosed)
		s.putter("putter", l[0])
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreCloseAgainstAColdGet(t *testing.T) {
	for name, failing := range map[string][]int{"that succeeds": nil, "that fails": {1}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				x := exploredDials(r, failing...)
				s := newScene(r, x, x.Factory(), timeless(1))
				var a asking
				s.Go("getter", func() { s.askLate("getter", &a) })
				s.must("getter", &a, pool.ErrClosed, testkit.ErrDial)
				s.closer("closer")
				s.allClosed()
			})
		})
	}
}

func TestExploreCloseAgainstACancel(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		var a asking
		ctx := s.canceler(background)
		s.Begin("leaver", func() { a.lease, a.err = s.p.Get(ctx) })
		s.must("leaver", &a, pool.ErrClosed, context.Canceled)
		s.putter("putter", l[0])
		s.closer("closer")
		s.End(func() {
			if a.err == nil {
				s.p.Put(a.lease)
			}
		})
		s.allClosed()
	})
}

// The goroutine that ends a lease, and the one that closes the pool: one of them closes
// the connection.
func TestExploreCloseAgainstDiscardAndDetach(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.Go("discarder", func() {
			if err := s.discard(l[0]); err != nil {
				s.Errorf("Discard: %v", err)
			}
		})
		s.Go("detacher", func() {
			switch w, err := s.p.Detach(l[1]); {
			case err == nil:
				s.x.HangUp(w, nil)
			case !errors.Is(err, pool.ErrClosed):
				s.Errorf("Detach: %v", err)
			}
		})
		s.closer("closer")
		s.allClosed()
	})
}

func TestExploreTwoClosesAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.closer("closer 0")
		s.closer("closer 1")
		s.allClosed()
	})
}

// Shutdown leaves leased connections to their holders, and returns when they are done.
func TestExploreShutdownAgainstAPutAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.putter("putter", l[0])
		s.lateGetter("getter")
		s.Go("closer", func() {
			if err := s.p.Shutdown(background); err != nil {
				s.Errorf("Shutdown: %v", err)
			}
			for _, w := range s.x.Wires {
				if len(w.Closes) == 0 {
					s.Errorf("Shutdown has returned before connection %d was closed", w.Number)
				}
			}
		})
		s.allClosed()
	})
}

// Shutdown waits for what is being opened, however that ends.
func TestExploreShutdownAgainstAColdGet(t *testing.T) {
	for name, failing := range map[string][]int{"that succeeds": nil, "that fails": {1}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				x := exploredDials(r, failing...)
				s := newScene(r, x, x.Factory(), timeless(1))
				var a asking
				s.Go("getter", func() { s.askLate("getter", &a) })
				s.must("getter", &a, pool.ErrClosed, testkit.ErrDial)
				s.Go("closer", func() {
					if err := s.p.Shutdown(background); err != nil {
						s.Errorf("Shutdown: %v", err)
					}
					if n := words.Census(s.in.Conns.Load()).Opening(); n != 0 {
						s.Errorf("Shutdown has returned while %d are being opened", n)
					}
					for _, w := range s.x.Wires {
						if len(w.Closes) == 0 {
							s.Errorf("Shutdown has returned before connection %d was closed", w.Number)
						}
					}
				})
				s.allClosed()
			})
		})
	}
}

func TestExploreCloseAgainstAGetOfWhatIsIdle(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.mustPut(l[0])
		s.lateGetter("getter")
		s.closer("closer")
		s.allClosed()
	})
}
