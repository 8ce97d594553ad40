//go:build step

package steps

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// aside returns a pool for one connection whose attempts end when they are told to, whatever
// becomes of their ctx.
func aside(t *testing.T, openTimeout time.Duration) (p *pool.Pool[*testkit.Wire], x *testkit.Exchange, ctx []context.Context, result func(attempt int, err error)) {
	x, result = dialing(t)
	ctx = make([]context.Context, 10)
	waits := x.Open
	x.Open = func(c context.Context, attempt int) error {
		ctx[attempt] = c
		return waits(c, attempt)
	}
	return testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, FailFastAfter: -1, OpenTimeout: openTimeout}), x, ctx, result
}

// Two need the room of an attempt that hangs at the same time. One of them sets it aside. The
// other gave it up: it was found in both places, and was the oldest and the youngest.
func TestAnAttemptThatIsJustBeingSetAsideIsNotGivenUp(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, x, ctx, result := aside(t, -1)
		noted := s.StopNext("setAside: noted")
		first := testkit.Ask(bg, p)
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
		noted.Arrived(t)
		second := testkit.Ask(bg, p)
		noted.GoOn()
		if err := ctx[1].Err(); err != nil {
			t.Errorf("the first attempt was given up (%v), want that it goes on", context.Cause(ctx[1]))
		}
		if got := x.Tried(); got != 2 {
			t.Errorf("Open was called %d times, want twice", got)
		}
		result(1, nil)
		result(2, nil)
		testkit.GiveBack(t, p, first.Served(t, "by the first attempt"))
		endWith(t, p, 1, second.Served(t, "after it"))
	})
}

// An attempt without a slot succeeds too late: its timer has ended it, and another one has
// been set aside since. That has no slot that it could take.
func TestAnAttemptWithoutASlotTakesNoneFromAnother(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, x, _, result := aside(t, 2*time.Second)
		begins := s.StopNext("readmit: begins")
		r := testkit.Ask(bg, p)
		testkit.Sleep(2500 * time.Millisecond) // the first is aside; others have been given up
		result(1, nil)
		begins.Arrived(t)
		testkit.Sleep(time.Second) // the first is abandoned, and the next one that hangs is set aside
		begins.GoOn()
		for i := 2; i <= x.Tried(); i++ {
			result(i, nil)
		}
		endWith(t, p, 1, r.Served(t, "in the end"))
	})
}

// The same, while another one is just being set aside: it is in both places, and loses its slot
// to the one that comes too late.
func TestAnAttemptThatIsJustBeingSetAsideIsReplaced(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, x, _, result := aside(t, 2*time.Second)
		begins := s.StopNext("readmit: begins")
		r := testkit.Ask(bg, p)
		testkit.Sleep(2500 * time.Millisecond) // the first is aside; others have been given up
		result(1, nil)
		begins.Arrived(t)
		noted := s.StopNext("setAside: noted")
		testkit.Sleep(time.Second) // the first is abandoned, and the next one that hangs is being set aside
		noted.Arrived(t)
		begins.GoOn()
		noted.GoOn()
		for i := 2; i <= x.Tried(); i++ {
			result(i, nil)
		}
		endWith(t, p, 1, r.Served(t, "in the end"))
	})
}

// An attempt that was set aside has a slot again, and its timer is faster than its last step.
// Warm has seen the slot taken, and learns that it is free.
func TestWarmLearnsOfASlotThatIsNotNeededAfterAll(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, x, _, result := aside(t, 2*time.Second)
		ctx, cancel := context.WithCancel(bg)
		r := testkit.Ask(ctx, p)
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond) // the first is aside, the second has the slot
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		result(2, testkit.ErrDial)
		slot := s.StopNext("readmit: has a slot")
		result(1, nil)
		slot.Arrived(t)
		testkit.Sleep(3 * time.Second) // the first is abandoned
		warm := testkit.Warm(bg, p, 1)
		warm.Pending(t, "while the only slot is taken")
		slot.GoOn()
		synctest.Wait()
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want a third time, for Warm", got)
		}
		result(3, nil)
		warm.Is(t, "when one is open", nil)
		endWith(t, p, 1)
	})
}

// The same, and somebody waits for the slot, or nobody does; the attempt was begun for a Get, or
// for Warm.
func TestASlotThatIsNotNeededAfterAllIsVacant(t *testing.T) {
	for _, spare := range []bool{false, true} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("spare=%v, waits=%v", spare, waits), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, x, _, result := aside(t, 2*time.Second)
					ctx, cancel := context.WithCancel(bg)
					if spare {
						testkit.Warm(ctx, p, 1)
					}
					r := testkit.Ask(ctx, p)
					testkit.Sleep(core.OverdueAfter + 10*time.Millisecond) // the first is aside, the second has the slot
					cancel()
					r.Failed(t, "after its cancel", context.Canceled)
					result(2, testkit.ErrDial)
					slot := s.StopNext("readmit: has a slot")
					result(1, nil)
					slot.Arrived(t)
					testkit.Sleep(3 * time.Second) // the first is abandoned
					if !waits {
						slot.GoOn()
						endWith(t, p, 0)
						return
					}
					r = testkit.Ask(bg, p)
					slot.GoOn()
					if got := x.Tried(); got != 3 {
						t.Errorf("Open was called %d times, want a third time", got)
					}
					result(3, nil)
					endWith(t, p, 1, r.Served(t, "by the third attempt"))
				})
			})
		}
	}
}

// The same, and a Resize has counted the slot as one too many.
func TestASlotThatIsNotNeededAfterAllEndsTheSurplus(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, _, _, result := aside(t, 2*time.Second)
		r := testkit.Ask(bg, p)
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond) // the first is aside, the second has the slot
		result(2, nil)
		l := r.Served(t, "by the second attempt")
		if err := p.Resize(2); err != nil {
			t.Fatal(err)
		}
		slot := s.StopNext("readmit: has a slot")
		result(1, nil)
		slot.Arrived(t)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(3 * time.Second) // the first is abandoned
		slot.GoOn()
		testkit.AtRest(t, p, 1)
		endWith(t, p, 1, l)
	})
}

// An attempt ends after it has been set aside, and before its slot has left the census. So it
// does not see that nothing is left for Shutdown to wait for.
func TestShutdownLearnsThatAnAttemptHasEndedWhileItWasSetAside(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, x, _, result := aside(t, -1)
		set := s.StopNext("setAside: state set")
		first := testkit.Ask(bg, p)
		testkit.Sleep(core.OverdueAfter + 10*time.Millisecond)
		set.Arrived(t) // the first one that is overdue makes room for another attempt
		done := beginClose(p, true)
		first.Failed(t, "after Shutdown", pool.ErrClosed)
		result(1, testkit.ErrDial)
		set.GoOn()
		closed(t, p, x, done)
	})
}
