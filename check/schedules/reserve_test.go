//go:build explore

package schedules

import (
	"context"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// reserver is a goroutine that puts a lease back that nobody else has, and reserves its
// connection.
func (s *scene) reserver(name string, l pool.Lease[*testkit.Wire]) {
	s.Go(name, func() { s.putFor(name, l, time.Hour) })
}

func (s *scene) putFor(name string, l pool.Lease[*testkit.Wire], d time.Duration) {
	delete(s.holders, l.Value())
	if err := s.p.PutFor(l, d); err != nil {
		s.Errorf("%s: PutFor: %v", name, err)
	}
}

// reserving returns a scene with n connections, all of them reserved, and their Marks. The slots
// are leased, in nobody's hands.
func reserving(r *explore.Run, n int) (*scene, []pool.Mark) {
	s, l, _ := marking(r, n)
	var m []pool.Mark
	for i := range l {
		s.numbers[l[i].Mark()] = l[i].Value().Number
		m = append(m, l[i].Mark())
		s.putFor("setup", l[i], time.Hour)
	}
	return s, m
}

func TestExploreAPutForAgainstAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.reserver("reserver", l[0])
		s.sameGetter("same", m[0])
		s.rests(0)
		s.idles(1)
	})
}

// The pool is full: who comes is served, before the connection is reserved or after.
func TestExploreAPutForAgainstAGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 1)
		s.reserver("reserver", l[0])
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreAPutForAgainstAGetAndAGetSame(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.reserver("reserver", l[0])
		s.getter("getter")
		s.sameGetter("same", m[0])
		s.rests(0)
		s.idles(1)
	})
}

// Two publishers, one reserves: whoever waits gets one of the two.
func TestExploreAPutForAndAPutAgainstTwoGets(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.reserver("reserver", l[0])
		s.putter("putter", l[1])
		s.getter("getter 0")
		s.getter("getter 1")
		s.rests(0)
		s.idles(2)
	})
}

func TestExploreTwoGetsOfWhatIsReserved(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, m := reserving(r, 1)
		s.getter("getter 0")
		s.getter("getter 1")
		s.sameGetter("same", m[0])
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreAGetFreshOfTheRoomOfWhatIsReserved(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.reserver("reserver", l[0])
		s.freshGetter("fresh")
		s.sameGetter("same", m[0], pool.ErrGone)
		s.rests(0)
		s.madeRoom(1)
	})
}

// Who waits in front of it leaves: then it is its turn, whoever has looked for the one in front.
func TestExploreAGetFreshBehindOneWhoLeavesAndWhatIsReserved(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := lending(r, 1)
		ctx := s.canceler(background)
		leaver := s.waiting("leaver", ctx)
		s.waitingIn("fresh", func(a *asking) { s.askFresh("fresh", background, a) })
		s.reserver("reserver", l[0])
		s.must("leaver", leaver, context.Canceled)
		s.rests(0)
	})
}

// Each way to end what is idle ends what is reserved, just then or before.
func TestExploreAPutForAgainstWhatEndsIt(t *testing.T) {
	for name, end := range markers {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s, l, broken := watching(r, 1)
				m := s.marks(l)
				info := s.p.Leases()[0]
				s.reserver("reserver", l[0])
				s.Go("ender", func() { end(s, broken, info) })
				s.sameGetter("same", m[0], pool.ErrGone)
				s.rests(0)
				if name != "Revoke" {
					s.gone(1)
				}
			})
		})
	}
}

func TestExploreCloseAgainstAPutFor(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l, m := marking(r, 1)
		s.reserver("reserver", l[0])
		s.closer("closer")
		s.sameGetter("same", m[0], pool.ErrClosed)
		s.allClosed()
	})
}

func TestExploreResizeDownAgainstAPutFor(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l := lending(r, 2)
		s.reserver("reserver 0", l[0])
		s.reserver("reserver 1", l[1])
		s.resizer("resizer", 1)
		s.rests(0)
		s.idles(1)
	})
}

// One has the connection opened for him, and another takes the first that is there.
func TestExploreAPutForWhileAConnectionIsBeingOpened(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := exploredDials(r)
		s := newScene(r, x, x.Factory(), timeless(2))
		l := s.lend(1)
		s.reserver("reserver", l[0])
		s.getter("getter 0")
		s.getter("getter 1")
		s.rests(0)
	})
}

// There is room, and opening fails: who waits has what is reserved, before the failure or after.
func TestExploreAPutForAgainstAnOpenThatFails(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		x.Open = func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return nil
			}
			r.Point("the open fails")
			return pool.RetryAfter(testkit.ErrDial, time.Hour) // so that there is one
		}
		c := timeless(2)
		c.FailFastAfter = -1
		s := newScene(r, x, x.Factory(), c)
		l := s.lend(1)
		s.reserver("reserver", l[0])
		s.getter("getter")
		s.rests(0)
		s.idles(1)
	})
}

// The reservation ends, just then or before.
func TestExploreTheEndOfAReservation(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		s := newScene(r, x, x.Factory(), timeless(2))
		l := s.lend(2)
		m := s.marks(l)
		s.putFor("setup", l[0], time.Second)
		s.after(time.Second, "same", func() {
			var a asking
			if s.askSame("same", background, m[0], &a); a.err != nil {
				s.Errorf("GetSame: %v", a.err)
			}
		})
		s.after(time.Second, "reserver", func() { s.putFor("reserver", l[1], time.Second) })
		s.Later(time.Second)
		s.Later(time.Second)
		s.Later(time.Second)
		s.End(func() {
			if got := s.p.Stats().ReservedConnections; got != 0 {
				s.Errorf("%d are reserved after their time", got)
			}
		})
		s.rests(0)
		s.idles(2)
	})
}

// The sweeper has it in hand, to check it, when somebody asks for it.
func TestExploreTheChecksOfWhatIsReserved(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		checking := false
		f.Check = func(w *testkit.Wire) error {
			if checking {
				r.Point("Check")
			}
			return nil
		}
		c := timeless(1)
		c.CheckInterval = time.Second
		s := newScene(r, x, f, c)
		l := s.lend(1)
		m := s.marks(l)
		s.putFor("setup", l[0], time.Hour)
		checking = true
		s.after(time.Second, "same", func() {
			var a asking
			if s.askSame("same", background, m[0], &a); a.err != nil {
				s.Errorf("GetSame: %v", a.err)
			}
		})
		s.Later(time.Second)
		s.rests(0)
		s.idles(1)
	})
}
