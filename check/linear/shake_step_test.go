//go:build step

package linear

import (
	"runtime"
	"testing"

	"github.com/S4AK4N/pool/internal/step"

	"go.uber.org/atomic"
)

// shake makes goroutines yield now and then at the marked places in the pool.
func shake(t *testing.T, seed uint64) {
	var n atomic.Uint64
	t.Cleanup(step.Install(func(string) {
		x := (seed + n.Inc()) * 0x9E3779B97F4A7C15
		x ^= x >> 29
		x *= 0xBF58476D1CE4E5B9
		if (x>>32)%4 == 0 {
			for range 1 + x>>61 {
				runtime.Gosched()
			}
		}
	}))
}
