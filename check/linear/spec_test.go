package linear

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A kind of step that a pool makes. What a caller asked and what it was told are one
// thing here: a Get that was lent a connection is another kind than one that was told
// that the pool is closed.
type kind uint8

const (
	opened    kind = iota // Factory.Open has returned conn
	vanished              // the pool has closed conn for a reason of its own
	revoked               // Close has closed conn, which was leased
	maybeGone             // Close was called before Factory.Close, but conn may have made room for GetFresh before that
	lent                  // Get or TryGet returned conn, as lease
	missed                // TryGet returned false: conn was not idle
	put                   // Put returned nil
	kept                  // PutFor returned nil: as good as idle, but not for a TryGet
	discarded
	detached
	yielded      // the first step of a Detach that loses the connection: the lease has ended
	lostToClose  // Detach returned ErrClosed
	lostToRevoke // Detach returned ErrRevoked
	cut          // Revoke returned true, for lease, or for whatever was on its way or leased
	notCut       // Revoke returned false, for lease
	notLeased    // Put, Discard or Detach returned ErrNotLeased
	reported     // Watch's broken has returned, or Reset
	maybeReset   // a Reset during which conn began to be opened has returned, and may have marked it
	resized      // MaxConnections is now what conn says
	reset        // not part of the specification: it is made into reported for each connection
	shut         // Shutdown or Close
	sawClosed    // Get returned ErrClosed
	sawGone      // GetSame returned ErrGone
	sawOld       // the same, of one that the pool has closed for its age: it may have been in use, and will not be lent again
	fruitless    // Get or TryGet that took no effect; not part of the specification
)

var kindNames = [...]string{"opened", "vanished", "revoked", "maybe gone", "lent", "missed", "put", "reserved", "discarded", "detached",
	"yielded", "lost to Close", "lost to Revoke", "revoked by a caller", "not revoked", "not leased", "reported", "maybe reset", "resized", "reset", "shut", "saw closed", "saw gone", "saw old", "fruitless"}

func (k kind) String() string { return kindNames[k] }

// An action is one step of the specification. conn and lease are numbers within one
// window.
type action struct {
	kind        kind
	conn, lease uint8
}

// A phase is where a connection is.
type phase uint8

const (
	absent    phase = iota // not opened yet
	stillborn              // reported broken before it was there
	idle                   // idle
	reserved               // for those who ask by its Mark, or somebody who waits and finds nothing else
	leased                 // in a caller's hands
	doomed                 // leased, and reported broken
	taken                  // leased, and closed by Close; the holder does not know yet
	severed                // the same, by Revoke
	gone                   // closed or detached
)

// A standing is a connection with the lease that is in force, if one is.
type standing struct {
	phase phase
	lease uint8
}

// most is how many connections may occur in one window.
const most = 64

// A state is a whole pool.
type state struct {
	closed bool
	max    uint8 // MaxConnections
	conns  [most]standing
}

// open is how many connections there are. Those that Close has closed do not count.
func (s *state) open() (n int) {
	for i := range s.conns {
		if p := s.conns[i].phase; p == idle || p == reserved || p == leased || p == doomed {
			n++
		}
	}
	return n
}

// inForce reports whether a lease is.
func (c standing) inForce(lease uint8) bool {
	return (c.phase == leased || c.phase == doomed || c.phase == taken || c.phase == severed) && c.lease == lease
}

// step says whether a may happen in s, and makes it happen.
func (s *state) step(a action) bool {
	c := &s.conns[a.conn%most]
	switch a.kind {
	case opened:
		switch {
		case s.closed || c.phase == stillborn:
			c.phase = gone // closed before anybody saw it
			return true
		case c.phase != absent || s.open() >= int(s.max):
			return false
		}
		c.phase = idle
	case vanished:
		if c.phase != idle && c.phase != reserved {
			return false
		}
		c.phase = gone
	case revoked:
		if !s.closed {
			return false
		}
		if c.phase == leased || c.phase == doomed {
			c.phase = taken
		}
	case maybeGone:
		if c.phase == idle || c.phase == reserved {
			c.phase = gone
		}
	case lent:
		if s.closed || c.phase != idle && c.phase != reserved { // who may have it from there: see poached
			return false
		}
		*c = standing{leased, a.lease}
	case missed:
		return s.closed || c.phase != idle
	case put, kept:
		if !c.inForce(a.lease) {
			return false
		}
		switch {
		case c.phase != leased || s.closed:
			c.phase = gone
		case a.kind == kept:
			c.phase = reserved
		default:
			c.phase = idle
		}
	case discarded:
		if !c.inForce(a.lease) {
			return false
		}
		c.phase = gone
	case detached:
		if !c.inForce(a.lease) || c.phase == taken || c.phase == severed {
			return false
		}
		c.phase = gone
	case yielded:
		// The pool holds the connection, with no lease, until Detach has it, or Close or Revoke.
		if !c.inForce(a.lease) {
			return false
		}
		c.lease = 0
	case lostToClose:
		// While Revoke is at work in a closed pool, Detach may be told ErrClosed.
		if c.lease != 0 || c.phase != taken && !(c.phase == severed && s.closed) {
			return false
		}
		c.phase = gone
	case lostToRevoke:
		if c.lease != 0 || c.phase != severed {
			return false
		}
		c.phase = gone
	case cut:
		switch {
		case (c.phase == leased || c.phase == doomed) && (a.lease == 0 || c.lease == a.lease):
			c.phase = severed
		case (c.phase == idle || c.phase == reserved) && a.lease == 0: // on its way
			c.phase = gone
		case (c.phase == gone || c.phase == stillborn) && a.lease == 0: // the pool was about to close it
		default:
			return false
		}
	case notCut:
		return c.phase != leased && c.phase != doomed || c.lease != a.lease
	case notLeased:
		return !c.inForce(a.lease)
	case reported:
		switch c.phase {
		case absent:
			c.phase = stillborn
		case idle, reserved:
			c.phase = gone
		case leased:
			c.phase = doomed
		}
	case maybeReset: // nothing, if it comes before conn is opened
		switch c.phase {
		case idle, reserved:
			c.phase = gone
		case leased:
			c.phase = doomed
		}
	case resized:
		s.max = a.conn
	case shut:
		s.closed = true
		for i := range s.conns {
			if p := s.conns[i].phase; p == idle || p == reserved {
				s.conns[i].phase = gone
			}
		}
	case sawClosed:
		return s.closed
	case sawOld:
		switch c.phase {
		case idle, reserved:
			c.phase = gone
		case leased:
			c.phase = doomed
		}
		return !s.closed
	case sawGone:
		return !s.closed && c.phase != idle && c.phase != reserved && c.phase != leased
	default:
		panic("not a step")
	}
	return true
}

// spec is the specification of a pool that begins in the given state.
func spec(initial state) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(s, input, _ any) (bool, any) {
			next := s.(state)
			ok := next.step(input.(action))
			return ok, next
		},
		DescribeOperation: func(input, _ any) string {
			a := input.(action)
			return fmt.Sprintf("%v c%d l%d", a.kind, a.conn, a.lease)
		},
		DescribeState: func(s any) string {
			var b strings.Builder
			v := s.(state)
			fmt.Fprintf(&b, "closed %v, max %d", v.closed, v.max)
			for i, c := range v.conns {
				if c.phase != absent && c.phase != gone {
					fmt.Fprintf(&b, ", c%d %s", i, [...]string{"", "stillborn", "idle", "reserved", "leased", "doomed", "taken", "severed"}[c.phase])
					if c.phase >= leased {
						fmt.Fprintf(&b, " l%d", c.lease)
					}
				}
			}
			return b.String()
		},
	}
}
