//go:build explore

package ring

import "github.com/S4AK4N/pool/internal/atomic"

// start returns the start of the calling goroutine: the same one whenever a schedule is
// repeated, which the address of a stack would not be.
func (r *Ring) start() *atomic.Uint32 { return &r.starts[atomic.Lane()%nstarts].slot }
