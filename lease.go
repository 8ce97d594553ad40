package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A Lease is the right to use one connection, from the [Pool.Get] that returned
// it to the [Pool.Put], [Pool.Discard] or [Pool.Detach] that ends it. It is a
// small value: copy it, pass it on, keep it in a struct. All copies are the same
// lease and end together.
//
// The zero Lease is none: its Value is the zero T, and Put refuses it.
type Lease[T any] struct {
	_     [0]*T // leases of different types are no conversions of each other
	lease core.Lease
}

// Value returns the connection. The caller alone may use it, and not after the
// lease has ended.
func (l Lease[T]) Value() T { return unbox[T](l.lease.Box()) }

// Reused reports whether the connection has been leased before, or has lain idle. If
// not, it has just been opened: a request that fails on a reused connection, but can
// be repeated without harm, may be worth another try on a fresh one.
func (l Lease[T]) Reused() bool { return l.lease.Reused() }

// Opened returns when the connection was opened.
func (l Lease[T]) Opened() time.Time { return l.lease.Opened() }

// A LeaseInfo describes a lease in force, for those who look for one that does not end.
type LeaseInfo struct {
	// Conn is the connection, to be looked at: it is in somebody's use.
	Conn any

	// Opened is when the connection was opened.
	Opened time.Time

	// Since is when the pool has first seen the lease, which is up to a second after
	// its beginning. It is zero if the pool has not seen it yet, or never looks: if
	// MaxIdleTime is negative, and none of MaxLifetime, MinIdle and LeakAfter is set.
	Since time.Time

	// Where is the place from which Get, TryGet or Do was called, as "function
	// file:line", or "a go statement" if nothing else called it. Once the pool has
	// found a leak it remembers the callers of that place, too, for the leases that
	// begin from then on, each after " < ". It is empty without [Config.LeakAfter].
	Where string
}

// leaseInfoOf makes a LeaseInfo of what the core has, with the connection out of its box.
func leaseInfoOf(l core.LeaseInfo, unboxed func(any) any) LeaseInfo {
	return LeaseInfo{Conn: unboxed(l.Conn), Opened: l.Opened, Since: l.Since, Where: l.Where}
}
