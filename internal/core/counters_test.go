package core

import "testing"

// A count that is summed up from the slots, one after the other, may come out lower than
// the one before it. A dashboard takes a counter that goes back for a restart.
func TestGetsNeverGoesBack(t *testing.T) {
	n := new(counters)
	most := uint64(0)
	for _, seen := range []uint64{0, 3, 2, 5, 5, 1, 4, 6} {
		most = max(most, seen)
		if got := n.gets(seen); got != most {
			t.Errorf("of %d, Gets is %d, want %d", seen, got, most)
		}
	}
}
