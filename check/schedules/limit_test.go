//go:build explore

package schedules

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// A call of Clean that has taken too long returns just as the sweeper abandons it.
func TestExploreAnAbandonedCallReturns(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				x := new(testkit.Exchange)
				f := x.Factory()
				hangs := true
				f.Clean = func(w *testkit.Wire) error {
					if w.Number == 1 && hangs {
						hangs = false
						time.Sleep(core.CallLimit + time.Second)
						r.Point("Clean returns")
						return verdict
					}
					return nil
				}
				c := timeless(1)
				s := newScene(r, x, f, c)
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
				s.after(time.Second, "getter", func() { s.mustAsk("getter") })
				s.Later(time.Second)
				s.Later(time.Minute)
				s.rests(0)
			})
		})
	}
}

// Opening keeps failing, nothing is open, and one comes to wait just as another failure is
// noted: it is refused, or tries itself. Nobody waits for nothing.
func TestExploreAnOutageAgainstARegistrant(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		fails := true
		x := new(testkit.Exchange)
		x.Open = func(ctx context.Context, attempt int) error {
			r.Point("the open returns")
			if fails {
				return testkit.ErrDial
			}
			return nil
		}
		s := newScene(r, x, x.Factory(), timeless(2))
		for range words.KeepsFailing - 1 {
			if _, err := s.p.Get(background); !errors.Is(err, testkit.ErrDial) {
				s.Fatalf("Get: %v", err)
			}
		}
		var a, b asking
		s.Go("first", func() { s.ask("first", background, &a) })
		s.Go("second", func() { s.ask("second", background, &b) })
		s.End(func() {
			for _, a := range []*asking{&a, &b} {
				if !errors.Is(a.err, testkit.ErrDial) {
					s.Errorf("Get: %v", a.err)
				}
			}
		})
		s.rests(0)
	})
}

// The outage ends while another comes to wait.
func TestExploreTheEndOfAnOutageAgainstARegistrant(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		fails := true
		x := new(testkit.Exchange)
		x.Open = func(ctx context.Context, attempt int) error {
			r.Point("the open returns")
			if fails {
				return testkit.ErrDial
			}
			return nil
		}
		s := newScene(r, x, x.Factory(), timeless(2))
		for range words.KeepsFailing {
			if _, err := s.p.Get(background); !errors.Is(err, testkit.ErrDial) {
				s.Fatalf("Get: %v", err)
			}
		}
		time.Sleep(time.Second)
		fails = false
		var a, b asking
		s.Go("first", func() { s.ask("first", background, &a) })
		s.Go("second", func() { s.ask("second", background, &b) })
		s.Later(time.Second)
		s.must("first", &a, pool.ErrUnavailable)
		s.must("second", &b, pool.ErrUnavailable)
		s.End(func() {
			if a.err != nil && b.err != nil {
				s.Errorf("nobody was served: %v, %v", a.err, b.err)
			}
		})
		s.rests(0)
	})
}

// An open that the quota holds back begins when its time has come, although the open that
// was begun at once hangs, and no leased connection comes back.
func TestExploreTheQuotaIsLifted(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := exploredHang(r)
		s.getter("first")
		s.getter("second")
		s.Later(2 * core.FirstOpenTime)
		s.Later(2 * core.FirstOpenTime)
		s.Later(time.Minute)
		s.served(500 * time.Millisecond)
		s.End(func() { s.put(l[0]) })
		s.rests(0)
	})
}

// The sweeper finds nothing to lift, because the waiters have been served, while opens
// are held back for others.
func TestExploreTheQuotaIsLiftedWhileOthersAreHeldBack(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l := exploredHang(r)
		s.waiting("first", background)
		s.waiting("second", background)
		time.Sleep(2*s.in.OpenTime() - time.Microsecond)
		s.mustPut(l[0]) // serves both
		synctest.Wait()
		l = s.lend(1)
		s.after(time.Microsecond, "third", func() { s.mustAsk("third") })
		s.after(time.Microsecond, "fourth", func() { s.mustAsk("fourth") })
		s.Later(time.Microsecond)
		for range 5 {
			s.Later(core.FirstOpenTime)
		}
		s.Later(time.Minute)
		s.served(time.Second)
		s.End(func() { s.put(l[0]) })
		s.rests(0)
	})
}

// exploredHang returns a scene with one lease, in which the second open takes a minute.
func exploredHang(r *explore.Run) (*scene, []pool.Lease[*testkit.Wire]) {
	x := new(testkit.Exchange)
	x.Open = func(ctx context.Context, attempt int) error {
		if attempt == 2 {
			time.Sleep(time.Minute)
		}
		return nil
	}
	s := newScene(r, x, x.Factory(), timeless(4))
	return s, s.lend(1)
}

// served checks that all have been served so soon.
func (s *scene) served(within time.Duration) {
	began := time.Now()
	s.End(func() {
		for name, at := range s.lent {
			if took := at.Sub(began); took > within {
				s.Errorf("%s was served after %v", name, took)
			}
		}
	})
}

// An open hangs beyond OpenTimeout, is abandoned, and returns at that very moment.
func TestExploreAnAbandonedOpenReturns(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		x.Open = func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				time.Sleep(2 * time.Second)
				r.Point("the open returns")
			}
			return nil
		}
		c := timeless(1)
		c.OpenTimeout = time.Second
		s := newScene(r, x, x.Factory(), c)
		var a asking
		s.Go("getter", func() { s.ask("getter", background, &a) })
		s.Later(time.Second)
		s.Later(time.Second)
		s.Later(time.Second)
		s.End(func() {
			if a.err != nil && !errors.Is(a.err, core.ErrOpenAbandoned) {
				s.Errorf("Get: %v", a.err)
			}
		})
		s.rests(0)
	})
}

// errExits is a verdict that Check does not return, because it calls runtime.Goexit.
var errExits = errors.New("runtime.Goexit")

// looking returns a scene with one idle connection, and a Check in which the schedule stops.
func looking(r *explore.Run, verdict error) *scene {
	x := new(testkit.Exchange)
	f := x.Factory()
	f.Check = func(w *testkit.Wire) error {
		r.Point("Check returns")
		if w.Number == 1 && verdict == errExits {
			runtime.Goexit()
		}
		if w.Number == 1 {
			return verdict
		}
		return nil
	}
	c := timeless(1)
	c.CheckInterval = -1
	s := newScene(r, x, f, c)
	l := s.lend(1)
	s.numbers[l[0].Mark()] = l[0].Value().Number
	s.mustPut(l[0])
	s.End(func() { verdict = nil }) // for the looks of the test itself
	return s
}

// The ctx of a Get ends while Check is at work in another goroutine: one of the two has the
// connection.
func TestExploreCtxEndsDuringALookApart(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := looking(r, verdict)
				var a asking
				ctx := s.canceler(background)
				s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
				s.must("leaver", &a, context.Canceled)
				s.Clock(core.LookGrace, 1)
				s.rests(0)
				s.End(func() {
					if got, want := s.p.Stats().IdleConnections, len(s.x.Wires)-len(s.x.Wires[0].Closes); got != want {
						s.Errorf("%d connections are idle, want %d", got, want)
					}
				})
			})
		})
	}
}

// The same while another caller waits for the connection.
func TestExploreCtxEndsDuringALookApartAndAnotherWaits(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := looking(r, nil)
		var a asking
		ctx := s.canceler(background)
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.must("leaver", &a, context.Canceled)
		s.getter("getter")
		s.Clock(core.LookGrace, 1)
		s.rests(0)
		s.idles(1)
	})
}

func TestExploreCloseDuringALookApart(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := looking(r, nil)
		s.lateGetter("getter")
		s.closer("closer")
		s.allClosed()
	})
}

// A look apart that takes too long ends just as the sweeper abandons it: the Get that waits
// for it goes on, once.
func TestExploreAnAbandonedLookReturns(t *testing.T) {
	for name, verdict := range map[string]error{"content": nil, "not content": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				x := new(testkit.Exchange)
				f := x.Factory()
				hangs := true
				f.Check = func(w *testkit.Wire) error {
					if w.Number == 1 && hangs {
						hangs = false
						time.Sleep(core.CallLimit + time.Second)
						r.Point("Check returns")
						return verdict
					}
					return nil
				}
				c := timeless(1)
				c.CheckInterval = -1
				s := newScene(r, x, f, c)
				l := s.lend(1)
				s.mustPut(l[0])
				var a asking
				s.Begin("getter", func() { s.ask("getter", background, &a) })
				for range 10 {
					time.Sleep(time.Second)
				}
				s.Later(time.Second)
				s.Later(time.Minute)
				s.End(func() {
					if !a.returned || a.err != nil {
						s.Errorf("Get has returned: %v, with %v", a.returned, a.err)
					}
				})
				s.rests(0)
			})
		})
	}
}

// While the pool is wary, another goroutine takes the second look of a caller that comes to
// wait, and parks it.
func TestExplorePutAgainstWaitersWhoseLooksAreApart(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := looking(r, nil)
		l, ok := s.p.TryGet()
		if !ok {
			s.Fatalf("nothing is idle")
		}
		s.holders[l.Value()] = "setup"
		s.getter("first")
		s.getter("second")
		s.putter("putter", l)
		s.rests(0)
		s.idles(1)
	})
}
