//go:build step

package steps

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// Seeded faults 77 and 78: ctx ends while Check is at work in another goroutine. Whoever is
// second, the Get that leaves or the goroutine that answers, has the connection.
func TestALookIsAnsweredAsItsGetLeaves(t *testing.T) {
	for _, first := range []string{"the answer", "the Get"} {
		t.Run(first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				hang, release := testkit.Obstacle(t)
				var x testkit.Exchange
				f := x.Factory()
				f.Check = func(*testkit.Wire) error { <-hang; return nil }
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, CheckInterval: -1})
				testkit.Fill(t, p, 1)
				ctx, cancel := context.WithCancel(t.Context())
				awake, looked := s.StopNext("admitFor: awake"), s.StopNext("lookApart: looked")
				r := testkit.Ask(ctx, p)
				testkit.Sleep(2 * core.LookGrace)
				cancel()
				synctest.Wait()
				awake.Arrived(t)
				release()
				synctest.Wait()
				looked.Arrived(t)
				if first == "the answer" {
					looked.GoOn()
					if got := p.Stats().IdleConnections; got != 0 {
						t.Errorf("%d connections are idle, want none: the Get has it", got)
					}
					awake.GoOn()
				} else {
					awake.GoOn()
					if got := testkit.Inside(p).Adrift.Load(); got != 1 {
						t.Errorf("%d looks are adrift, want 1", got)
					}
					looked.GoOn()
				}
				synctest.Wait()
				if !r.Returned() || !errors.Is(r.Err, context.Canceled) {
					t.Errorf("Get has returned: %v, with %v", r.Returned(), r.Err)
				}
				endWith(t, p, 1)
			})
		})
	}
}
