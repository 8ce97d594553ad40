//go:build step

package steps

import (
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// HikariCP#1662, #731: figures taken at different instants. Here a connection is
// opened, and idle, after Stats has read how many there are.
func TestStatsAddUpWhenAConnectionComesBetween(t *testing.T) {
	var x testkit.Exchange
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
	testkit.Core(p).Wake() // of a pool that sleeps there is nothing to count
	var came atomic.Bool
	remove := step.Install(func(name string) {
		if name == "stats: census read" && came.CompareAndSwap(false, true) {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
		}
	})
	defer remove()
	s := p.Stats()
	if !came.Load() {
		t.Fatal("Stats did not come by")
	}
	if s.ActiveConnections < 0 || s.IdleConnections < 0 || s.VacantConnections() != 1 || s.OpeningConnections != 0 {
		t.Errorf("%+v, want one vacant, as when it began", s)
	}
}
