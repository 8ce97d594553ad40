//go:build !explore

package ring

import (
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
)

// start returns the start of the calling goroutine. The address of its stack tells it
// from others and costs nothing. The goroutine gets another start when its stack moves,
// and possibly when the call comes from much deeper in the stack. Only speed depends on
// it.
func (r *Ring) start() *atomic.Uint32 {
	var local byte
	const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: neighbours are far apart
	h := uint64(uintptr(unsafe.Pointer(&local))>>stackBits) * golden
	return &r.starts[h>>(64-startBits)].slot
}

// stackBits is the logarithm of the size of the smallest stack.
const stackBits = 11
