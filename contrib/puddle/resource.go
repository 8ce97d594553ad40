package puddle

import (
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
)

// A Resource is a resource in a pool. Whoever has acquired it ends that by Release, ReleaseUnused, Destroy, or
// Hijack, and must not use it then. As long as nobody has acquired it, each method panics, but
// after Hijack those that only look.
type Resource[T any] struct {
	value    T
	pool     *Pool[T]
	era      uint64                   // how many Resets there had been when its construction began
	lease    pool.Lease[*Resource[T]] // the holder's, like the next one
	lastUsed int64                    // when it was last released, or constructed
	state    atomic.Uint32
}

// The state of a Resource.
//
//	free ──▶ acquired    by who gets it from the pool
//	acquired ──▶ free    by its holder, who gives it back or has it destroyed
//	acquired ──▶ hijacked    by its holder; final
const (
	free uint32 = iota
	acquired
	hijacked
)

// acquire notes that a lease of a resource has begun.
func acquire[T any](l pool.Lease[*Resource[T]]) *Resource[T] {
	res := l.Value()
	res.lease = l
	res.state.Store(acquired)
	return res
}

// end notes that the lease ends, and returns it. It panics if nobody has acquired the resource.
func (res *Resource[T]) end(state uint32, verb string) pool.Lease[*Resource[T]] {
	l := res.lease // afterwards it may be somebody else's
	if !res.state.CompareAndSwap(acquired, state) {
		panic("tried to " + verb + " resource that is not acquired")
	}
	return l
}

// look panics if nobody may look at the resource.
func (res *Resource[T]) look() {
	if res.state.Load() == free {
		panic("tried to access resource that is not acquired or hijacked")
	}
}

// Value returns the resource itself.
func (res *Resource[T]) Value() T {
	res.look()
	return res.value
}

// Release gives the resource back.
func (res *Resource[T]) Release() {
	l := res.end(free, "release")
	res.lastUsed = res.pool.now() // nobody else gets it before the next line
	_ = res.pool.pool.Put(l)      // one that was revoked is destroyed
}

// ReleaseUnused is Release, but the resource counts as idle since Release was last called.
func (res *Resource[T]) ReleaseUnused() {
	_ = res.pool.pool.PutUnused(res.end(free, "release"))
}

// Destroy gives the resource back to be destroyed, in the background.
func (res *Resource[T]) Destroy() {
	_ = res.pool.pool.Discard(res.end(free, "destroy"), nil)
}

// Hijack takes the resource out of the pool for good. It is the caller's to clean up.
func (res *Resource[T]) Hijack() {
	_, _ = res.pool.pool.Detach(res.end(hijacked, "hijack"))
}

// CreationTime returns when the resource was constructed.
func (res *Resource[T]) CreationTime() time.Time {
	res.look()
	return res.lease.Opened()
}

// LastUsedNanotime returns when Release was last called for the resource, or when it was constructed: in ns
// from some time on. It can be compared with others of the same pool.
func (res *Resource[T]) LastUsedNanotime() int64 {
	res.look()
	return res.lastUsed
}

// IdleDuration returns how long ago Release was last called for the resource.
func (res *Resource[T]) IdleDuration() time.Duration {
	res.look()
	return time.Duration(res.pool.now() - res.lastUsed)
}
