package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/ring"
)

// A Lease is the right to use one connection, from the [Pool.Get] that returned
// it to the [Pool.Put], [Pool.Discard] or [Pool.Detach] that ends it. It is a
// small value: copy it, pass it on, keep it in a struct. All copies are the same
// lease and end together.
//
// The zero Lease is none: its Value is the zero T, and Put refuses it.
type Lease[T any] struct {
	conn *conn[T]
	word ring.Word // the slot's word as long as the lease is in force
}

// Value returns the connection. The caller alone may use it, and not after the
// lease has ended.
func (l Lease[T]) Value() T {
	if l.conn == nil {
		var zero T
		return zero
	}
	return l.conn.value
}

// Reused reports whether the connection has been leased before, or has lain idle. If
// not, it has just been opened: a request that fails on a reused connection, but can
// be repeated without harm, may be worth another try on a fresh one.
func (l Lease[T]) Reused() bool {
	return l.conn != nil && l.word.Generation() != l.conn.born
}

// Opened returns when the connection was opened.
func (l Lease[T]) Opened() time.Time {
	if l.conn == nil {
		return time.Time{}
	}
	return l.conn.opened
}

// A conn is one connection with what the pool keeps beside it. The fields of the first
// group are written before the connection is lent first, and never again.
type conn[T any] struct {
	value   T
	pool    *Pool[T]
	ring    *ring.Ring // that its slot is in,
	index   int        // and where there
	slot    int        // the same in the whole pool
	number  uint64     // counts what the pool has opened, for the log
	opened  time.Time
	expires time.Duration // when MaxLifetime is over, on the pool's clock
	era     *era          // in which its opening began
	sight   *sight

	born    uint64 // generation of its first lease, unless it has lain idle before that; the slot's owner's
	calls   uint32 // of Check and Clean; the slot's owner's
	calling string // which of them was called last; the slot's owner's
	inRound bool   // it is being checked in the sweeper's round; the slot's owner's

	unfit   atomic.Pointer[defect] // why it must not be lent again; set once
	call    atomic.Uint32          // of Check or Clean, if one is under way (see ask)
	revoked atomic.Bool            // the holder of the lease that Close revoked has been told
}

// A defect is why a connection that is open must not be lent any more.
type defect struct {
	why   reason
	cause error
}
