package lending

import (
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// redis-py#2624, #2665: a connection that comes back goes straight to a caller who
// waits, and has not been idle. What came for its last user may lie on it all the same.
func TestAConnectionIsCheckedBeforeItIsHandedOn(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			checked := 0
			f.Check = func(w *testkit.Wire) error {
				checked++
				if w.Number == 1 {
					return testkit.ErrUnfit
				}
				return nil
			}
			if clean {
				f.Clean = func(*testkit.Wire) error { return nil }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1})
			first := testkit.Borrow(t, p)
			second, third := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
			testkit.GiveBack(t, p, first)
			l := second.Served(t, "with another connection")
			if l.Value().Number != 2 {
				t.Errorf("it was handed connection %d, want the second", l.Value().Number)
			}
			testkit.GiveBack(t, p, l)
			l = third.Served(t, "with the same")
			if l.Value().Number != 2 {
				t.Errorf("it was handed connection %d, want the second again", l.Value().Number)
			}
			testkit.GiveBack(t, p, l)
			if checked != 2 {
				t.Errorf("Check was called %d times, want once for each that was handed on", checked)
			}
			if got := p.Stats(); got.ClosedCheck != 1 || got.Opened != 2 {
				t.Errorf("%+v, want one closed by Check, two opened", got)
			}
		})
	}
}
