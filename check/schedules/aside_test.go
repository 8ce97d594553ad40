//go:build explore

package schedules

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// overdue is when a first attempt is overdue.
const overdue = 1001 * time.Millisecond

// hanging returns a scene for n connections whose first attempt returns just as it is overdue, or
// so much later, whatever becomes of its ctx. A second one takes no time.
func hanging(r *explore.Run, n int, more time.Duration, verdict error) *scene {
	var s *scene
	x := &testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
		if attempt > 1 {
			return nil
		}
		time.Sleep(overdue + more)
		r.Point("the open returns")
		if err := context.Cause(ctx); err != nil && err != pool.ErrClosed && err.Error() != "pool: reset" {
			s.Errorf("the first attempt has ended by %v, want that it goes on", err)
		}
		return verdict
	}}
	s = newScene(r, x, x.Factory(), timeless(n))
	s.Later(overdue)
	s.Later(time.Second)
	s.Later(time.Second)
	return s
}

// An attempt is replaced by an older one that was set aside, or set aside itself. A caller of
// GetFresh for whom it was begun gets another one.
func TestExploreAGetFreshWhileAnAttemptIsSetAside(t *testing.T) {
	for name, verdict := range map[string]error{"that succeeds": nil, "that fails": testkit.ErrDial} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s := hanging(r, 1, 0, verdict)
				var plain, fresh asking
				s.Go("getter", func() { s.ask("getter", background, &plain) })
				s.Go("fresh", func() {
					time.Sleep(overdue / 2)
					s.askFresh("fresh", background, &fresh)
				})
				s.must("getter", &plain, testkit.ErrDial)
				s.must("fresh", &fresh, testkit.ErrDial)
				s.rests(0)
			})
		})
	}
}

// Two need the slot of an attempt that hangs: one of them sets it aside, and nobody gives it up.
func TestExploreTwoNeedTheSlotOfOneAttempt(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s := hanging(r, 1, time.Second/2, nil)
		s.getter("getter")
		s.after(overdue, "late", func() { s.mustAsk("late") })
		s.rests(0)
	})
}

// An attempt for Warm is set aside for a caller who waits. It is counted off once.
func TestExploreASpareAttemptIsSetAside(t *testing.T) {
	for name, verdict := range map[string]error{"that succeeds": nil, "that fails": testkit.ErrDial} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s := hanging(r, 1, 0, verdict)
				s.Go("warmer", func() {
					if err := s.p.Warm(background, 1); err != nil && !errors.Is(err, testkit.ErrDial) {
						s.Errorf("Warm: %v", err)
					}
				})
				s.Go("getter", func() {
					time.Sleep(overdue / 2)
					s.mustAsk("getter")
				})
				s.rests(0)
			})
		})
	}
}

// The limit falls and rises while an attempt loses its slot and gets it back.
func TestExploreResizeWhileAnAttemptIsSetAside(t *testing.T) {
	for name, n := range map[string][2]int{"up": {1, 2}, "down": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				s := hanging(r, n[0], 0, nil)
				s.shrinks = true
				s.getter("getter")
				s.after(overdue, "resizer", func() {
					if err := s.p.Resize(n[1]); err != nil {
						s.Errorf("Resize: %v", err)
					}
				})
				s.rests(0)
			})
		})
	}
}

func TestExploreResetWhileAnAttemptIsSetAside(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s := hanging(r, 1, 0, nil)
		s.getter("getter")
		s.after(overdue, "resetter", s.p.Reset)
		s.rests(0)
	})
}

// Shutdown waits for an attempt without a slot, and Close for its goroutine.
func TestExploreTheEndOfAPoolWhileAnAttemptIsSetAside(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		for name, verdict := range map[string]error{"that succeeds": nil, "that fails": testkit.ErrDial} {
			t.Run(map[bool]string{false: "Close/", true: "Shutdown/"}[shutdown]+name, func(t *testing.T) {
				explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
					s := hanging(r, 1, 0, verdict)
					under := false
					opens := s.x.Open
					s.x.Open = func(ctx context.Context, attempt int) error {
						if attempt == 1 {
							under = true
							defer func() { under = false }()
						}
						return opens(ctx, attempt)
					}
					var a asking
					s.Go("getter", func() { s.askLate("getter", &a) })
					s.must("getter", &a, pool.ErrClosed, testkit.ErrDial)
					s.after(overdue, "closer", func() {
						if !shutdown {
							if err := s.p.Close(); err != nil {
								s.Errorf("Close: %v", err)
							}
							return
						}
						if err := s.p.Shutdown(background); err != nil {
							s.Errorf("Shutdown: %v", err)
						}
						if under {
							s.Errorf("Shutdown has returned while an attempt is under way")
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
}

// Watch reports a connection before it is in its slot, or just afterwards. That is a failed
// open, if nobody was lent it.
func TestExploreAReportAgainstItsOpen(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		x := new(testkit.Exchange)
		f := x.Factory()
		f.Watch = func(w *testkit.Wire, broken func(error)) {
			if w.Number == 1 {
				go func() {
					r.Point("report")
					broken(io.EOF)
				}()
			}
		}
		s := newScene(r, x, f, timeless(1))
		var got pool.Lease[*testkit.Wire]
		s.Go("getter", func() {
			l, err := s.p.Get(background)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					s.Errorf("Get: %v", err)
				}
				return
			}
			s.hold("getter", l)
			got = l // until the end: a lease that ends clean may end the outage
		})
		s.End(func() {
			if got.Value() == nil {
				return
			}
			if got.Value().Number == 2 && s.in.Outage().Failures != 1 {
				s.Errorf("%d failures are known, want that of the first connection", s.in.Outage().Failures)
			}
			_ = s.put(got)
		})
		s.rests(0)
	})
}

// What is revoked is about to be probed, or being probed.
func TestExploreRevokeAgainstProbes(t *testing.T) {
	for name, verdict := range map[string]error{"good": nil, "bad": testkit.ErrUnfit} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := asleep(r, 2, timeless(2), verdict)
				s.Later(time.Second / 2)
				ended := new(int)
				s.after(time.Second/2, "revoker", func() {
					for _, i := range s.p.Leases() {
						w := i.Conn.(*testkit.Wire)
						if s.p.Revoke(i) {
							*ended++
							delete(s.holders, w) // its probe is no more
						}
					}
				})
				s.getter("getter")
				s.balances(ended)
				s.rests(0)
			})
		})
	}
}
