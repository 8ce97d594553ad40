//go:build explore

package schedules

import (
	"context"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// mortal returns a scene whose connections live for so long, each as its number says.
func mortal(r *explore.Run, n int, lives ...time.Duration) *scene {
	x := new(testkit.Exchange)
	f := x.Factory()
	f.Expires = func(w *testkit.Wire) time.Time {
		if w.Number > len(lives) {
			return time.Time{}
		}
		return time.Now().Add(lives[w.Number-1])
	}
	s := newScene(r, x, f, timeless(n))
	s.ages = true
	return s
}

// The life of a connection ends while it is put back and while somebody asks for one, or
// waits: from that instant on it is lent to nobody.
func TestExploreTheEndOfALifeAgainstAPutAndAGet(t *testing.T) {
	for name, waits := range map[string]bool{"a Get": false, "a waiter": true} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := mortal(r, 1, 10*time.Second)
				l := s.lend(1)
				time.Sleep(9900 * time.Millisecond)
				var a *asking
				if waits {
					a = s.waiting("getter", background)
				} else {
					a = new(asking)
					s.after(100*time.Millisecond, "getter", func() { s.ask("getter", background, a) })
				}
				s.after(100*time.Millisecond, "putter", func() { s.mustPut(l[0]) })
				s.Later(100 * time.Millisecond)
				s.Later(500 * time.Millisecond)
				s.must("getter", a)
				s.End(func() {
					if w := a.lease.Value(); w != nil && w.Number == 1 {
						s.Errorf("connection 1 was lent when its life had ended")
					}
				})
				s.rests(0)
				s.gone(1)
			})
		})
	}
}

// A connection is opened that ends before the next regular pass, while the sweeper is at
// work: it is closed in time.
func TestExploreAShortLifeBeginsDuringAPass(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := mortal(r, 2, 10*time.Second, 300*time.Millisecond)
		s.lend(1)
		time.Sleep(core.MaxTick - 100*time.Millisecond)
		s.after(100*time.Millisecond, "getter", func() { s.mustAsk("getter") })
		s.Later(100 * time.Millisecond)
		s.Later(300 * time.Millisecond)
		s.End(func() {
			if w := s.x.Wires[1]; len(w.Closes) != 1 {
				s.Errorf("connection 2 was closed %d times at the end of its life, want once", len(w.Closes))
			}
		})
		s.rests(1)
	})
}

// asleep returns a scene with n idle connections, in which the machine has just slept: the
// sweeper sees it within a second.
func asleep(r *explore.Run, n int, c pool.Config, verdict error) *scene {
	x := new(testkit.Exchange)
	f := x.Factory()
	var s *scene
	f.Probe = func(_ context.Context, w *testkit.Wire) error {
		r.Point("the probe asks")
		if by := s.holders[w]; by != "" {
			s.Errorf("connection %d is probed while %s has it", w.Number, by)
		}
		s.holders[w] = "the probe"
		r.Point("the probe is answered")
		delete(s.holders, w)
		if w.Number == 1 {
			return verdict
		}
		return nil
	}
	s = newScene(r, x, f, c)
	var ahead time.Duration
	s.in.SetAhead(func() time.Duration { return ahead })
	for _, l := range s.lend(n) {
		s.mustPut(l)
	}
	time.Sleep(core.MaxTick / 2)
	ahead = time.Hour
	return s
}

// What was idle is probed while somebody asks for it, and waits.
func TestExploreProbesAgainstAGet(t *testing.T) {
	for name, verdict := range map[string]error{"good": nil, "bad": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := asleep(r, 1, timeless(1), verdict)
				s.after(core.MaxTick/2, "getter", func() { s.mustAsk("getter") })
				s.Later(core.MaxTick / 2)
				s.rests(0)
			})
		})
	}
}

func TestExploreProbesAgainstReset(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := asleep(r, 1, timeless(1), nil)
		s.after(core.MaxTick/2, "resetter", s.p.Reset)
		s.Later(core.MaxTick / 2)
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreProbesAgainstClose(t *testing.T) {
	for name, end := range map[string]func(s *scene) error{
		"Close":    func(s *scene) error { return s.p.Close() },
		"Shutdown": func(s *scene) error { return s.p.Shutdown(background) },
	} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := asleep(r, 2, timeless(2), nil)
				s.after(core.MaxTick/2, "closer", func() {
					if err := end(s); err != nil {
						s.Errorf("%s: %v", name, err)
					}
				})
				s.Later(core.MaxTick / 2)
				s.allClosed()
			})
		})
	}
}

// A probe that has taken too long returns just as the sweeper abandons it.
func TestExploreAnAbandonedProbeReturns(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		f.Probe = func(_ context.Context, w *testkit.Wire) error {
			time.Sleep(core.CallLimit + time.Second)
			r.Point("the probe returns")
			return nil
		}
		s := newScene(r, x, f, timeless(1))
		var ahead time.Duration
		s.in.SetAhead(func() time.Duration { return ahead })
		s.mustPut(s.lend(1)[0])
		time.Sleep(core.MaxTick / 2)
		ahead = time.Hour
		for range 11 {
			time.Sleep(time.Second)
		}
		s.Later(core.MaxTick / 2)
		s.Later(core.MaxTick / 2)
		s.Later(time.Second)
		s.Later(time.Minute)
		s.rests(0)
	})
}
