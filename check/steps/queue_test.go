//go:build step

package steps

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// The two sides of going to sleep: the sweeper clears armed, then looks at the queue;
// a waiter links itself, then reads armed.
func TestSweeperThatGoesToSleepMissesNoWaiter(t *testing.T) {
	const ticks, none = time.Minute, -1 // MaxIdleTime: to wake at the next tick, or not at all
	for _, c := range []struct {
		place string
		idle  time.Duration
		first string
	}{
		{"disarm: nobody waits", ticks, "sweeper"}, {"disarm: nobody waits", ticks, "waiter"},
		{"disarm: disarmed", ticks, "sweeper"}, {"disarm: disarmed", ticks, "waiter"},
		{"sweep: nothing due", none, "sweeper"}, {"sweep: nothing due", none, "waiter"},
	} {
		t.Run("after the "+c.first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: 50 * time.Millisecond, MaxIdleTime: c.idle})
				disarmed := s.StopNext(c.place)
				l := testkit.Borrow(t, p)
				testkit.Sleep(130 * time.Millisecond)
				disarmed.Arrived(t) // since nobody waits
				var r *testkit.Request[*testkit.Wire]
				if c.first == "sweeper" {
					r = testkit.Ask(bg, p)
					disarmed.GoOn()
				} else {
					var getter *stage.Actor
					getter, r = getTo(s, "wait: parked", bg, p)
					disarmed.GoOn()
					getter.GoOn()
				}
				testkit.Sleep(50 * time.Millisecond)
				r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
				endWith(t, p, 1, l)
			})
		})
	}
}

// The sweeper ends a wait and somebody else serves it, both at the same time.
func TestAWaitIsEndedByTheSweeperOrAGranterNotBoth(t *testing.T) {
	for _, first := range []string{"sweeper", "granter"} {
		t.Run(first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second, MaxIdleTime: -1})
				l := testkit.Borrow(t, p)
				r := testkit.Ask(bg, p)
				if first == "granter" {
					putter := putTo(s, "grant: decided", p, l)
					testkit.Sleep(time.Second)
					r.Pending(t, "while it is owed a token")
					putter.End()
					endWith(t, p, 1, r.Served(t, "after the Put"))
					return
				}
				putter := putTo(s, "settle: somebody waits", p, l)
				expiring := s.StopNext("refuse: decided")
				testkit.Sleep(time.Second)
				expiring.Arrived(t)
				putter.End()
				expiring.GoOn()
				r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
				synctest.Wait()
				endWith(t, p, 1)
			})
		})
	}
}
