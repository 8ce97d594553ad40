package core

import "testing"

// A count that is made up of what is seen in slots, one after the other, may come out lower
// than one before it. A counter that goes back looks like a restart to those who draw it.
func TestGetsNeverGoesBack(t *testing.T) {
	n := new(counters)
	most := uint64(0)
	for _, seen := range []uint64{0, 3, 2, 5, 5, 1, 6} {
		most = max(most, seen)
		if got := n.gets(seen); got != most {
			t.Errorf("of %d, Gets is %d, want %d", seen, got, most)
		}
	}
}
