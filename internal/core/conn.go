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
	word ring.Word // the slot's word while the lease is in force
}

// Box returns the box of the connection, or nil for the zero Lease.
func (l Lease) Box() any {
	if l.conn == nil {
		return nil
	}
	return l.conn.box
}

// Reused reports whether the connection has been leased or idle before.
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

// A conn is one connection with what the pool knows about it. The fields of the first
// groups are written before the connection is lent for the first time, and never again,
// except for unfit.
type conn struct {
	// What Get and Put look at.
	box     any
	pool    *Pool
	ring    *ring.Ring             // of its slot
	index   int                    // the number of its slot in ring
	slot    int                    // the number of its slot in the whole pool
	claimed ring.Word              // of its slot when that was claimed for it: it has no lease of an earlier generation
	unfit   atomic.Pointer[defect] // why it must not be lent again; set once

	number   uint64 // numbers the connections of the pool, for the log
	opened   time.Time
	openedAt time.Duration // the same on the pool's clock
	expires  time.Duration // when MaxLifetime is over, on the pool's clock
	ends     time.Duration // when its life ends by Factory.Expires, on the pool's clock; never if it does not
	era      *era          // in which its opening began
	began    *outage       // in which its opening began
	outage   *outage       // in which it was opened: it may end this one
	after    uint64        // how many had come to wait when its opening began
	sight    *sight.Sight

	noted    bool          // the place of a lease of it has been noted; the holder's
	leasedAt time.Duration // when its lease began, on the pool's clock, with TimeUse; the holder's
	born     uint64        // generation of its first lease; notFresh if it was idle before. Only for the slot's owner
	justPut  bool          // a lease of it has just ended, and Check has not been asked since. Only for the slot's owner
	calls    uint32        // numbers the calls of Check and Clean. Only for the slot's owner
	calling  call          // which function was called last. Only for the slot's owner
	asked    ring.Word     // the slot's word during that call. Only for the slot's owner
	inRound  bool          // the sweeper's round is checking it. Only for the slot's owner
	look     *look         // the look apart that calls Check; may be nil. Only for the slot's owner
	probed   *suspects     // it is being probed, as one of these. Only for the slot's owner

	call    atomic.Uint32              // the call of Check or Clean in progress (see ask)
	unused  atomic.Uint32              // leases of it that PutUnused has ended
	revoked atomic.Pointer[revocation] // nil unless Close or Revoke has ended its lease
	told    atomic.Bool                // the holder of that lease has been told
}

// A revocation says how a lease has ended that its holder has not ended.
type revocation struct {
	word ring.Word // the slot's word that ended it
	by   error     // ErrClosed or ErrRevoked
}

// A defect says why an open connection must not be lent any more.
type defect struct {
	why   reason
	cause error
}

// A held slot belongs to the pool itself: its owner is the goroutine that has the held.
// Its word is Leased, in a generation that no caller's lease has. Every step from there
// is a compare-and-swap from that very word. It fails only if Close or Revoke has revoked the
// slot meanwhile; then nothing is left to do for it. By then the slot may have another
// connection, and another owner (see owns). (publish returns a held with the word of an idle
// slot, for retake.)
type held struct {
	slot int
	word ring.Word
}
