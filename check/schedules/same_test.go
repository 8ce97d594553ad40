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

// askSame is ask for GetSame, which lends the connection of the Mark and no other.
func (s *scene) askSame(name string, ctx context.Context, m pool.Mark, a *asking) {
	a.lease, a.err = s.p.GetSame(ctx, m)
	a.returned = true
	if a.err == nil {
		s.holdSame(name, a.lease, m)
		s.mustPut(a.lease)
	}
}

// holdSame is hold for a lease of GetSame.
func (s *scene) holdSame(name string, l pool.Lease[*testkit.Wire], m pool.Mark) {
	s.hold(name, l)
	if s.numbers[m] != l.Value().Number {
		s.Errorf("%s was lent connection %d, want %d", name, l.Value().Number, s.numbers[m])
	}
}

// sameGetter is a goroutine that gets the connection of a Mark, and puts it back. It may fail with
// those errors.
func (s *scene) sameGetter(name string, m pool.Mark, errs ...error) *asking {
	a := new(asking)
	s.Go(name, func() { s.askSame(name, background, m, a) })
	s.must(name, a, errs...)
	return a
}

// marking returns a scene with n connections, all of them leased, and a Mark of an earlier lease
// of each.
func marking(r *explore.Run, n int) (*scene, []pool.Lease[*testkit.Wire], []pool.Mark) {
	s, l := lending(r, n)
	return s, l, s.marks(l)
}

// marks puts leases back and gets their connections again, each in its place.
func (s *scene) marks(l []pool.Lease[*testkit.Wire]) (marks []pool.Mark) {
	for i := range l {
		m := l[i].Mark()
		s.numbers[m] = l[i].Value().Number
		marks = append(marks, m)
		if err := s.p.Put(l[i]); err != nil {
			s.Fatalf("Put: %v", err)
		}
		again, err := s.p.GetSame(background, m)
		if err != nil || !again.Follows(m) {
			s.Fatalf("GetSame: %v", err)
		}
		l[i] = again
	}
	return marks
}

func TestExploreAGetSameAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.sameGetter("same", m[0])
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreTwoGetSameAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.sameGetter("same 0", m[0])
		s.sameGetter("same 1", m[0])
		s.rests(0)
		s.idles(1)
	})
}

// Neither is left behind: who waits for this one, and who waits for any.
func TestExploreAGetSameAndAGetAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.sameGetter("same", m[0])
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

// A Get takes on its fast path what somebody asks for by name.
func TestExploreAGetSameAgainstAGetOfWhatIsIdle(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.mustPut(l[0])
		s.sameGetter("same", m[0])
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreAGetSameAgainstATryGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.sameGetter("same", m[0])
		s.Go("trier", func() {
			if l, ok := s.p.TryGetSame(m[0]); ok {
				s.holdSame("trier", l, m[0])
				s.mustPut(l)
			}
		})
		s.rests(0)
		s.idles(1)
	})
}

// Another connection is put back, and goes to whoever waits for any.
func TestExploreAGetSameAndAGetAgainstAPutOfAnother(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 2)
		s.putter("putter", l[1])
		a := s.sameGetter("same", m[0])
		served := make(chan struct{})
		s.Go("getter", func() {
			s.mustAsk("getter")
			close(served)
		})
		s.Go("holder", func() {
			<-served
			if a.returned {
				s.Errorf("GetSame has returned, and nobody has put its connection back: %v", a.err)
			}
			s.mustPut(l[0])
		})
		s.rests(0)
		s.idles(2)
	})
}

func TestExploreAGetSameLeaves(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		ctx := s.canceler(background)
		var a asking
		s.Go("leaver", func() { s.askSame("leaver", ctx, m[0], &a) })
		s.sameGetter("same", m[0])
		s.putter("putter", l[0])
		s.must("leaver", &a, context.Canceled)
		s.rests(0)
		s.idles(1)
	})
}

// Each way for a connection to end tells whoever waits for it, and never leaves one behind.
func TestExploreAGetSameAgainstTheEndOfItsConnection(t *testing.T) {
	for name, end := range map[string]func(*scene, pool.Lease[*testkit.Wire]){
		"Discard": func(s *scene, l pool.Lease[*testkit.Wire]) {
			if err := s.discard(l); err != nil {
				s.Errorf("Discard: %v", err)
			}
		},
		"Detach": func(s *scene, l pool.Lease[*testkit.Wire]) {
			w, err := s.p.Detach(l)
			if err != nil {
				s.Errorf("Detach: %v", err)
			}
			s.x.HangUp(w, nil)
		},
		"Revoke": func(s *scene, l pool.Lease[*testkit.Wire]) {
			s.p.Revoke(s.p.Leases()[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s, l, m := marking(r, 1)
				s.Go("ender", func() { end(s, l[0]) })
				for _, name := range []string{"same 0", "same 1"} {
					a := s.sameGetter(name, m[0], pool.ErrGone)
					s.End(func() {
						if a.err == nil {
							s.Errorf("%s was lent what had not come back", name)
						}
					})
				}
				s.rests(0)
			})
		})
	}
}

// markers end the first connection, whoever has it.
var markers = map[string]func(s *scene, broken func(int, error), i pool.LeaseInfo){
	"report": func(_ *scene, broken func(int, error), _ pool.LeaseInfo) { broken(1, testkit.ErrCause) },
	"Reset":  func(s *scene, _ func(int, error), _ pool.LeaseInfo) { s.p.Reset() },
	"Revoke": func(s *scene, _ func(int, error), i pool.LeaseInfo) { s.p.Revoke(i) },
}

// The connection is marked while it is put back.
func TestExploreAGetSameAgainstAMarkAndAPut(t *testing.T) {
	for name, mark := range markers {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s, l, broken := watching(r, 1)
				m := s.marks(l)
				info := s.p.Leases()[0]
				s.putter("putter", l[0])
				s.Go("marker", func() { mark(s, broken, info) })
				s.sameGetter("same", m[0], pool.ErrGone)
				s.rests(0)
			})
		})
	}
}

// Whoever takes what is idle is told, too.
func TestExploreAGetSameOfWhatIsIdleAgainstAReset(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.mustPut(l[0])
		s.sameGetter("same", m[0], pool.ErrGone)
		s.Go("resetter", s.p.Reset)
		s.getter("getter")
		s.rests(0)
	})
}

func TestExploreCloseAgainstAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.closer("closer")
		s.sameGetter("same", m[0], pool.ErrClosed)
		s.allClosed()
	})
}

// The holder does not come back: only Close ends the wait.
func TestExploreCloseAgainstAGetSameThatNobodyServes(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, _, m := marking(r, 1)
		s.Go("closer", func() {
			ctx, cancel := context.WithCancel(background)
			cancel()
			_ = s.p.Shutdown(ctx)
		})
		s.sameGetter("same", m[0], pool.ErrClosed)
		s.allClosed()
	})
}

func TestExploreResizeDownAgainstAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 2)
		s.putter("putter", l[0])
		s.resizer("resizer", 1)
		s.sameGetter("same", m[0], pool.ErrGone)
		s.End(func() { s.mustPut(l[1]) })
		s.rests(0)
		s.idles(1)
	})
}

// Room is made of what one waits for by name, or it is lent: not both, and nobody is left.
func TestExploreAGetSameAgainstAGetFresh(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.putter("putter", l[0])
		s.sameGetter("same", m[0], pool.ErrGone)
		s.freshGetter("fresh")
		s.rests(0)
		s.idles(1)
		s.madeRoom(1)
	})
}

// The sweeper has the connection in hand, to check it.
func TestExploreAGetSameAgainstTheChecks(t *testing.T) {
	for name, verdict := range map[string]error{"good": nil, "bad": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				x := new(testkit.Exchange)
				f := x.Factory()
				checking := false
				f.Check = func(w *testkit.Wire) error {
					if checking {
						r.Point("Check")
						return verdict
					}
					return nil
				}
				c := timeless(1)
				c.CheckInterval = time.Second
				s := newScene(r, x, f, c)
				l := s.lend(1)
				m := s.marks(l)
				s.mustPut(l[0])
				checking = true
				var a asking
				s.after(time.Second, "same", func() { s.askSame("same", background, m[0], &a) })
				s.must("same", &a, pool.ErrGone)
				s.End(func() {
					if verdict == nil && a.err != nil {
						s.Errorf("GetSame: %v, and Check had nothing to object", a.err)
					}
				})
				s.Later(time.Second)
				s.rests(0)
			})
		})
	}
}

// The wait ends by MaxWaitTime while the connection comes back.
func TestExploreExpiryAgainstAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := expiring(r, 1)
		m := s.marks(l)
		a := new(asking)
		s.Begin("waiter", func() { s.askSame("waiter", background, m[0], a) })
		s.after(time.Second, "putter", func() { s.mustPut(l[0]) })
		s.Later(time.Second)
		s.must("waiter", a, pool.ErrExhausted)
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreTheSweeperDisarmsAgainstAGetSame(t *testing.T) {
	disarmed(t, func(s *scene, m pool.Mark, a *asking) { s.askSame("second", background, m, a) })
}

// Check is asked in goroutines of their own, and one who asks by name comes meanwhile.
func TestExploreAGetSameAgainstALookApart(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := looking(r, verdict)
				for m := range s.numbers {
					s.sameGetter("same", m, pool.ErrGone)
				}
				s.getter("getter")
				s.rests(0)
			})
		})
	}
}

// Where nobody may wait, one who is refused takes nobody's place, not even for a moment.
func TestExploreAGetSameThatIsRefusedAgainstAGetForWhomThereIsRoom(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		c := timeless(2)
		c.MaxWaiters = -1
		s := newScene(r, x, x.Factory(), c)
		l := s.lend(1)
		m := s.marks(l)
		s.sameGetter("same", m[0], pool.ErrRejected)
		s.getter("getter")
		s.rests(1)
	})
}

// The life of a connection ends that somebody else has, as somebody comes to wait for it.
func TestExploreTheEndOfALifeAgainstAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := mortal(r, 1, 10*time.Second)
		l := s.lend(1)
		m := s.marks(l)
		time.Sleep(9900 * time.Millisecond)
		var a asking
		s.Go("same", func() { s.askSame("same", background, m[0], &a) })
		s.Clock(100*time.Millisecond, 1)
		s.End(func() {
			if !errors.Is(a.err, pool.ErrGone) {
				s.Errorf("GetSame at the end of the life returned %v, %v", a.returned, a.err)
			}
		})
		s.rests(1)
	})
}
