package wsconn

import (
	"errors"
	"time"
)

// A Read that waits for the peer can be ended without harm to the connection. A view
// needs that: the program's reader may still wait when the program closes the view. The
// Read ends by a deadline that has passed, as a look at a TLS socket does, or, if a
// goroutine reads in its place, by not waiting for that one any longer. (With views, that
// goroutine reads for leases, too.)

// interrupt ends a Read in progress, and one that is about to begin, with
// errInterrupted, unless there is something to read. It lasts until resume, which is
// called when no Read is in progress. Only for connections with views.
//
// Its other sides are Read and liftDeadline. Here the mark is set, then the deadline;
// Read meets the deadline, then asks for the mark. The tender sets deadlines as well, and
// lifts them; it holds tending meanwhile, as this does. So whichever of the two is later
// leaves the deadline that ends the Read.
func (s *stream) interrupt() {
	if !s.peeker.able() {
		s.extra.interrupted.Store(true)
		select {
		case s.extra.poller.wake <- struct{}{}:
		default:
		}
		return
	}
	s.tending.Lock()
	defer s.tending.Unlock()
	s.extra.interrupted.Store(true)
	s.conn.SetReadDeadline(longAgo)
}

// interrupted reports whether reads are being interrupted.
func (s *stream) interrupted() bool { return s.extra != nil && s.extra.interrupted.Load() }

func (s *stream) resume() {
	if !s.peeker.able() {
		s.extra.interrupted.Store(false)
		select {
		case <-s.extra.poller.wake:
		default:
		}
		return
	}
	s.tending.Lock()
	defer s.tending.Unlock()
	s.extra.interrupted.Store(false)
	s.conn.SetReadDeadline(time.Time{})
}

// liftDeadline lets reads wait again, unless one is being interrupted. Whoever calls it
// holds tending, or is the only one who uses the stream.
func (s *stream) liftDeadline() {
	if s.interrupted() {
		s.conn.SetReadDeadline(longAgo)
		return
	}
	s.conn.SetReadDeadline(time.Time{})
}

var errInterrupted = errors.New("wsconn: the wait for the peer was interrupted")
