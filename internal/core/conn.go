package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/sight"
	"github.com/S4AK4N/pool/ring"
)

// A Lease is the right to use one connection. The zero Lease is none.
type Lease struct {
	conn *conn
	word ring.Word // the slot's word as long as the lease is in force
}

// Box returns the box of the connection, and nil for the zero Lease.
func (l Lease) Box() any {
	if l.conn == nil {
		return nil
	}
	return l.conn.box
}

// Reused reports whether the connection has been leased before, or has lain idle.
func (l Lease) Reused() bool {
	return l.conn != nil && l.word.Generation() != l.conn.born
}

// Opened returns when the connection was opened.
func (l Lease) Opened() time.Time {
	if l.conn == nil {
		return time.Time{}
	}
	return l.conn.opened
}

// A conn is one connection with what the pool keeps beside it. The fields of the first
// group are written before the connection is lent first, and never again.
type conn struct {
	box     any
	pool    *Pool
	ring    *ring.Ring // that its slot is in,
	index   int        // and where there
	slot    int        // the same in the whole pool
	number  uint64     // counts what the pool has opened, for the log
	opened  time.Time
	expires time.Duration // when MaxLifetime is over, on the pool's clock
	era     *era          // in which its opening began
	sight   *sight.Sight

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

// A held slot belongs to the pool itself, in the hands of the goroutine that has
// the held: its word is Leased, in a generation that no caller's lease has. Every
// step from there is a compare-and-swap from that very word. It fails only if
// Close has revoked the slot in the meantime, and then there is nothing left to
// do for it.
type held struct {
	slot int
	word ring.Word
}
