//go:build step

package pool

import (
	"testing"

	"github.com/S4AK4N/pool/internal/step"

	"go.uber.org/atomic"
)

// HikariCP#1662, #731: figures taken at different instants. Here a connection is
// opened, and idle, after Stats has read how many there are.
func TestStatsAddUpWhenAConnectionComesBetween(t *testing.T) {
	var x exchange
	p := start(t, x.factory(), Config{MaxConnections: 1})
	var came atomic.Bool
	remove := step.Install(func(name string) {
		if name == "stats: census read" && came.CompareAndSwap(false, true) {
			giveBack(t, p, borrow(t, p))
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
