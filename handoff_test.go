package pool

import (
	"testing"
	"testing/synctest"
)

// redis-py#2624, #2665: a connection that comes back goes straight to a caller who
// waits, and has not been idle. What came for its last user may lie on it all the same.
func TestAConnectionIsCheckedBeforeItIsHandedOn(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x exchange
			f := x.factory()
			checked := 0
			f.Check = func(w *wire) error {
				checked++
				if w.number == 1 {
					return errUnfit
				}
				return nil
			}
			if clean {
				f.Clean = func(*wire) error { return nil }
			}
			p := start(t, f, Config{MaxConnections: 1, CheckInterval: -1})
			first := borrow(t, p)
			second, third := ask(t.Context(), p), ask(t.Context(), p)
			giveBack(t, p, first)
			l := second.served(t, "with another connection")
			if l.Value().number != 2 {
				t.Errorf("it was handed connection %d, want the second", l.Value().number)
			}
			giveBack(t, p, l)
			l = third.served(t, "with the same")
			if l.Value().number != 2 {
				t.Errorf("it was handed connection %d, want the second again", l.Value().number)
			}
			giveBack(t, p, l)
			if checked != 2 {
				t.Errorf("Check was called %d times, want once for each that was handed on", checked)
			}
			if got := p.Stats(); got.ClosedCheck != 1 || got.Opened != 2 {
				t.Errorf("%+v, want one closed by Check, two opened", got)
			}
		})
	}
}
