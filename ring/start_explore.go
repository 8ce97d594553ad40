//go:build explore

package ring

import "github.com/S4AK4N/pool/internal/atomic"

// start returns the start of the calling goroutine. It is the same one whenever a
// schedule is repeated, unlike the address of a stack.
func (r *Ring) start() *atomic.Uint32 { return &r.starts[atomic.Lane()%nstarts].slot }
