package insight

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sight.go Place: what no function has called, has a name as well.
func TestALeaseThatAGoStatementTookIsSaidToBeThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, LeakAfter: time.Minute})
		go p.Get(context.Background())
		synctest.Wait()
		if got := p.Leases(); len(got) != 1 || got[0].Where != "a go statement" {
			t.Errorf("the leases are %+v, want one of a go statement", got)
		}
	})
}

// limit.go limitCall, counters.go Stats: a connection that is being checked counts as
// idle, unless the check hangs. That the check is abandoned does not turn this into its opposite.
func TestStatsWhileCheckHangsAndAfterItWasAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		hold, release := testkit.Obstacle(t)
		f := x.Factory()
		f.Check = func(w *testkit.Wire) error {
			if w.Number == 1 {
				<-hold
			} else {
				time.Sleep(800 * time.Millisecond)
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: 2 * time.Second, MaxIdleTime: -1})
		testkit.Fill(t, p, 1)
		stands := func(when string, active, idle int) {
			t.Helper()
			if got := p.Stats(); got.ActiveConnections != active || got.IdleConnections != idle {
				t.Errorf("%s %d are active and %d idle, want %d and %d", when, got.ActiveConnections, got.IdleConnections, active, idle)
			}
		}
		testkit.Sleep(2500 * time.Millisecond)
		stands("while Check has been running for half a second", 0, 1)
		testkit.Sleep(time.Second)
		stands("while Check hangs", 1, 0)
		testkit.Sleep(2 * core.CallLimit)
		if got := p.Stats().ClosedAbandoned; got != 1 {
			t.Errorf("%d calls were abandoned, want 1", got)
		}
		release()
		if err := p.Warm(t.Context(), 1); err != nil { // for no waiter, who would have it looked at apart
			t.Fatal(err)
		}
		for checks := 0; checks < 20; checks++ { // two rounds of 800 ms at least
			stands("while Check is slow", 0, 1)
			testkit.Sleep(211 * time.Millisecond)
		}
		p.Close()
		testkit.Sleep(time.Second) // for a Check that is under way
	})
}
