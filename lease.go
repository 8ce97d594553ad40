package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A Lease is the right to use one connection. It begins with the [Pool.Get] that returns
// it and ends with [Pool.Put], [Pool.Discard] or [Pool.Detach], or with [Pool.Revoke]. It is a small value: copy
// it, pass it on, keep it in a struct. All copies are the same lease and end together.
//
// The zero Lease is no lease: its Value is the zero T, and Put refuses it.
type Lease[T any] struct {
	_     [0]*T // so that leases of different types cannot be converted into each other
	lease core.Lease
}

// Value returns the connection. It is the holder's alone until the lease ends; after that
// the holder must not use it. If T is a struct, Value returns a copy: to keep state in it,
// make a pool of pointers.
func (l Lease[T]) Value() T { return unbox[T](l.lease.Box()) }

// Reused reports whether the connection has been leased or idle before. If not, it has
// just been opened. A request that fails on a reused connection, and can be repeated
// without harm, may succeed on a fresh one: see [Pool.Retry].
func (l Lease[T]) Reused() bool { return l.lease.Reused() }

// Waited returns how long the Get has waited by which the lease began: for a connection to come back, or
// to be opened. It is 0 if the connection was idle. Ask while the lease is in force.
func (l Lease[T]) Waited() time.Duration { return l.lease.Waited() }

// Idle returns how long ago the connection was last returned by [Pool.Put], or opened: right after Get,
// how long it has been idle. A holder that asks the server first whether it still answers, if that was long ago,
// need not do so for a connection that was used just now. It costs nothing, and is counted in steps of a sixteenth of
// [Config.MaxIdleTime], at least 10 ms and at most a second (more if MaxIdleTime is over four hours). It is 0 if MaxIdleTime
// is negative, and after [Pool.PutFor] until the reservation has ended.
func (l Lease[T]) Idle() time.Duration { return l.lease.Idle() }

// Number returns the number of the connection in its pool, which hooks and the log have. It is 0
// for the zero Lease.
func (l Lease[T]) Number() uint64 { return l.lease.Number() }

// Mark remembers the connection and the lease, to have the connection again by [Pool.GetSame]
// once the lease has ended. It can be taken at any time, also after the lease has ended. That of
// the zero Lease is the zero Mark.
func (l Lease[T]) Mark() Mark { return Mark{l.lease.Mark()} }

// Follows reports whether l is the next lease of the same connection after the marked one. If
// so, nobody has had the connection in between, and what the server keeps of the last request is
// still that of the marked lease.
//
// It is false after [Pool.PutUnused], for then the last request is not that of the lease before,
// and if the connection was cleaned in between, by a [Factory].Clean that does more than look or
// by Options.Clean of package wsconn. It is false for the zero Mark and the zero Lease. Checks and
// probes of the pool change nothing.
func (l Lease[T]) Follows(m Mark) bool { return l.lease.Follows(m.mark) }

// A Mark remembers a connection and a lease of it. Marks can be compared, are a few words, and
// have no pointer: whoever keeps one keeps nothing alive. They are good for as long as the process
// runs. The zero Mark is of no connection.
type Mark struct {
	mark core.Mark
}

// Opened returns when the connection was opened.
func (l Lease[T]) Opened() time.Time { return l.lease.Opened() }

// A LeaseInfo describes a lease in force, to find one that does not end, and to end it by
// [Pool.Revoke].
type LeaseInfo struct {
	// Conn is the connection. Only look at it: its holder uses it.
	Conn any

	// Number is the number of the connection in its pool, which hooks and the log have.
	Number uint64

	// Opened is when the connection was opened.
	Opened time.Time

	// Since is when the pool first saw the lease, up to one second after its beginning.
	// It is zero if the pool has not seen the lease yet. The pool never looks if
	// MaxIdleTime is negative and none of MaxLifetime, MinIdle, LeakAfter, Factory.Probe
	// and Factory.Expires is set.
	Since time.Time

	// Where is the place from which the method was called that took the lease, such as Get
	// or Do, as "function file:line", or "a go statement" if nothing else called it. After
	// the first leak the pool also remembers the callers of that place for leases that begin
	// later, each after " < ". Where is empty if it was not noted: see [Config.LeakAfter].
	Where string

	lease core.Lease // for Revoke: which lease of which pool
}

// leaseInfoOf makes a LeaseInfo of what the core has, with the connection out of its box.
func leaseInfoOf(l core.LeaseInfo, unboxed func(any) any) LeaseInfo {
	return LeaseInfo{Conn: unboxed(l.Conn), Number: l.Number, Opened: l.Opened, Since: l.Since, Where: l.Where, lease: l.Lease}
}
