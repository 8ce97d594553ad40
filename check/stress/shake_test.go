//go:build step

package stress

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/S4AK4N/pool/internal/step"
	"go.uber.org/atomic"
)

// shake makes goroutines yield now and then at the marked places, as the seed decides.
func shake(t *testing.T, seed uint64, one uint64) {
	t.Logf("shaken with seed %d, at one place in %d", seed, one)
	var n atomic.Uint64
	t.Cleanup(step.Install(func(string) {
		x := (seed + n.Inc()) * 0x9E3779B97F4A7C15
		x ^= x >> 29
		x *= 0xBF58476D1CE4E5B9
		if (x>>32)%one == 0 {
			for range 1 + x>>60 {
				runtime.Gosched()
			}
		}
	}))
}

func TestRandomActionsWithAShakenSchedule(t *testing.T) {
	for _, one := range []uint64{1, 3, 20} {
		shake(t, rand.Uint64(), one)
		TestRandomActionsOfMany(t)
	}
}
