package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
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

// Number returns the number of the connection, or 0 for the zero Lease.
func (l Lease) Number() uint64 {
	if l.conn == nil {
		return 0
	}
	return l.conn.number
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

// Waited returns how long the Get has waited by which the lease began, and 0 if it has not. It is
// the holder's to ask.
func (l Lease) Waited() time.Duration {
	if l.conn == nil || l.conn.waitedBy != l.word {
		return 0
	}
	return l.conn.waited
}

// noteWait notes how long the Get has waited by which the lease begins.
func (l Lease) noteWait(waited time.Duration) {
	l.conn.waited, l.conn.waitedBy = max(waited, 1), l.word
}

// Idle returns how long ago the connection came back by the last Put, by the coarse clock, and 0 if
// that stands still.
func (l Lease) Idle() time.Duration {
	if l.conn == nil {
		return 0
	}
	p := l.conn.pool
	ticks := p.idleFor(l.word)
	if ticks >= ahead {
		return 0 // it was reserved, and the reservation had not ended
	}
	return time.Duration(ticks) * p.sweeper.tickLength
}

// A conn is one connection with what the pool knows about it. The fields of the first
// groups are written before the connection is lent for the first time, and never again,
// except for notice.
type conn struct {
	// What Get and Put look at.
	box     any
	pool    *Pool
	ring    *ring.Ring             // of its slot
	index   int                    // the number of its slot in ring
	slot    int                    // the number of its slot in the whole pool
	claimed ring.Word              // of its slot when that was claimed for it: it has no lease of an earlier generation
	notice  atomic.Pointer[notice] // nil: lend it. See notice

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
	waited   time.Duration // how long the Get of a lease has waited; the holder's, like the next one
	waitedBy ring.Word     // which lease that was: not the one in force, if the Get for that found c idle
	born     uint64        // generation of its first lease; notFresh if it was idle before. Only for the slot's owner
	justPut  bool          // a lease of it has just ended, and Check has not been asked since. Only for the slot's owner
	calls    uint32        // numbers the calls of Check and Clean. Only for the slot's owner
	calling  call          // which function was called last. Only for the slot's owner
	asked    ring.Word     // the slot's word during that call. Only for the slot's owner
	inRound  bool          // the sweeper's round is checking it. Only for the slot's owner
	look     *look         // the look apart that calls Check; may be nil. Only for the slot's owner
	probed   *suspects     // it is being probed, as one of these. Only for the slot's owner
	kept     uint64        // generation in which it is to be reserved; 0: none. Only for the slot's owner, like the next three
	since    time.Duration // when that began, on the pool's clock
	until    time.Duration // when that ends
	yields   bool          // whoever waits for any may have it all the same
	yielded  uint8         // the shares for whose lines it is closed. Only for who closes it

	call     atomic.Uint32               // the call of Check or Clean in progress (see ask)
	unused   atomic.Uint32               // leases of it that PutUnused has ended
	apart    atomic.Uint32               // generation, modulo 2^32, of a lease that does not follow the one before: see Lease.Follows
	same     atomic.Pointer[queue.Queue] // those who wait for this connection alone; nil: nobody ever has
	revoked  atomic.Pointer[revocation]  // nil unless Close or Revoke has ended its lease
	reserved atomic.Pointer[reservation] // whoever takes it out owns the slot; nil: not reserved
	told     atomic.Bool                 // the holder of that lease has been told
}

// A revocation says how a lease has ended that its holder has not ended.
type revocation struct {
	word ring.Word // the slot's word that ended it
	by   error     // ErrClosed or ErrRevoked
}

// A notice on a connection is for whoever takes it, or has published it. It is wanted, or a
// defect: why the connection must not be lent any more.
//
//	none ──▶ wanted    by a waiter for this connection alone (see same.go)
//	wanted ──▶ none    by the owner of the slot, if nobody waits for it any more
//	none, wanted ──▶ defect    by spoil or Revoke; final
type notice struct {
	why   reason
	cause error
}

// wanted is the notice that somebody waits for this connection alone.
var wanted = new(notice)

// defect returns why the connection must not be lent any more, or nil.
func (c *conn) defect() *notice {
	if n := c.notice.Load(); n != wanted {
		return n
	}
	return nil
}

// mark makes a defect the notice of a connection. The first defect counts.
func (c *conn) mark(why reason, cause error) bool {
	n := &notice{why, cause}
	for {
		old := c.notice.Load()
		if old != nil && old != wanted {
			return false
		}
		if c.notice.CompareAndSwap(old, n) {
			return true
		}
	}
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
