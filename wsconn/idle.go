package wsconn

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// partWait is how long one look waits for the rest of a TLS record of
	// which a part has arrived.
	partWait = 2 * time.Millisecond

	// maxLooks is how many looks of one check may end at their deadline with
	// bytes in the socket, and looksTime for how long. A check goes on until
	// both are over: see looks.
	maxLooks  = 20
	looksTime = time.Second

	// maxRound is how many bytes one check takes in: more than the receive
	// buffer of a socket holds by default, so that a burst is dealt with at once.
	maxRound = 8 << 20

	// maxControls is how many control frames one check takes in. Answering
	// them takes some 20 ms.
	maxControls = 10_000

	// readSize is how much is read at a time at most. It bounds what cut has to move.
	readSize = 16 << 10

	// maxBacklog is how much data that nobody has read is kept.
	maxBacklog = 1 << 20
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// check says whether an idle connection is fit to be lent. It takes in what has
// arrived, answers pings, and keeps the connection alive.
func (s *stream) check(conn *Conn) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.hold(); err != nil {
		return err
	}
	defer s.release()
	if s.watch.unchecked.Load() {
		s.watch.unchecked.Store(false) // the tender need not look
	}
	now := since() // before drain: see beat
	if err := s.drain(conn); err != nil {
		return s.fail(err)
	}
	s.pulse.lateBefore, s.pulse.late = s.pulse.late, false
	if s.outbox != nil {
		if err := s.repost(now); err != nil {
			return s.fail(err)
		}
	}
	if err := s.beat(conn, now); err != nil {
		return s.fail(err)
	}
	return nil
}

// drain takes in what has arrived, without waiting for more, and deals with it.
//
// A peer that sends faster than it is read must not hold the check for ever. So a
// round has limits, which are not the peer's fault: they end the round, and leave the
// rest to the next one, or to the lease. With UnsolicitedDiscard they end the
// connection, because the rest may be data that a lease must not read.
func (s *stream) drain(conn *Conn) error {
	if s.silent() {
		return nil
	}
	looks, taken, controls := looks{}, 0, 0
	if s.backlog.len() > 0 {
		n, err := s.sort() // what the tender has left there
		if err != nil {
			return err
		}
		controls += n
	}
	for {
		n, err := s.receive(&looks)
		if n == 0 {
			if err != nil {
				return err
			}
			break
		}
		found, err := s.sort()
		if err != nil {
			return err
		}
		// Not with UnsolicitedDiscard: a close frame behind the data tells more.
		if s.rules.unsolicited == UnsolicitedHandle && s.backlog.len() > 0 {
			if err := conn.receiveIdle(); err != nil {
				return err
			}
		}
		taken, controls = taken+n, controls+found
		if taken > maxRound || controls > maxControls {
			if s.rules.unsolicited == UnsolicitedDiscard {
				return errFlood
			}
			break
		}
	}
	if s.backlog.len() > 0 {
		return conn.receiveIdle()
	}
	return nil
}

// silent reports whether it is plain that there is nothing to take in, as with nearly every
// idle connection.
func (s *stream) silent() bool {
	if s.backlog.len() > 0 || s.hidden || s.ending != nil || !s.peeker.able() {
		return false
	}
	arrived, err := s.peeker.peek()
	if err != nil {
		s.endReading(err) // the socket tells it once
	}
	return !arrived && err == nil
}

var errFlood = fmt.Errorf("wsconn: more than %d control frames, or %d bytes, received within one check", maxControls, maxRound)

// receive adds to the backlog what is at hand. It returns 0 and nil if nothing
// is, and an error only when nothing will come any more and all that came has
// been taken: a close frame tells more than the end of the stream behind it.
func (s *stream) receive(looks *looks) (int, error) {
	n, err := 0, error(nil)
	if s.readErr() == nil {
		if s.peeker.able() {
			n, err = s.receiveNow(looks)
		} else {
			n = s.poll()
		}
	}
	if n == 0 && s.readErr() != nil {
		return 0, s.lost()
	}
	return n, err
}

// receiveNow is receive where there is a socket to look at.
//
// Below TLS only TLS knows whether the bytes in the socket are a whole record, so
// the read has a deadline. A read that ends at its deadline has not always read:
// if the thread is descheduled for partWait between setting the deadline and the
// read, the read fails before it looks at the socket. So the socket decides, not
// the clock. An empty socket ends the call: TLS has what arrived, and it is less
// than a record. A socket with bytes is read again.
func (s *stream) receiveNow(looks *looks) (int, error) {
	for {
		arrived, err := s.peeker.peek()
		if !arrived {
			if s.hidden {
				if n := s.readNow(longAgo, readSize); n > 0 {
					return n, nil
				}
			}
			if s.readErr() == nil {
				s.endReading(err)
			}
			return 0, nil
		}
		if !s.secure {
			return s.readNow(time.Time{}, readSize), nil // does not wait: something is there
		}
		if n := s.readNow(time.Now().Add(partWait), readSize); n > 0 || s.readErr() != nil {
			return n, nil
		}
		if looks.over() {
			if s.rules.unsolicited != UnsolicitedDiscard {
				return 0, nil // whatever it is, the lease may read it
			}
			return 0, errPieces
		}
	}
}

// A looks counts the reads of one check that have ended at their deadline with bytes in
// the socket.
//
// It is over when they are many and have taken long. A scheduler cannot bring about
// both: a process that was stopped finds the time over but not the number, one that is
// held up for a moment, time and again, the number but not the time. A peer that sends
// byte by byte holds the check for looksTime. After the last look bytes of unknown
// content may still be there. The connection fails then: passed as clean, it would give
// them to the next lease.
type looks struct {
	made  int
	since time.Duration // the first one
}

func (l *looks) over() bool {
	now := since()
	if l.made == 0 {
		l.since = now
	}
	l.made++
	return l.made >= maxLooks && now-l.since >= looksTime
}

var errPieces = fmt.Errorf("wsconn: bytes arrive, but no whole TLS record within %v", looksTime)

// readNow reads at most limit bytes, until deadline if that is not zero, into the backlog. That
// the deadline has passed is no error; any other is what readErr returns.
func (s *stream) readNow(deadline time.Time, limit int) int {
	if !deadline.IsZero() {
		s.conn.SetReadDeadline(deadline)
		defer s.liftDeadline()
	}
	space := s.backlog.space(min(limit, chunkSize/4))
	n, err := s.body.Read(space[:min(limit, len(space))])
	s.backlog.grow(n)
	if n > 0 {
		s.noteHeard()
	}
	switch {
	case err == nil:
	case !errors.Is(err, os.ErrDeadlineExceeded):
		s.endReading(err)
	case n == 0 && deadline == longAgo:
		s.hidden = false
	}
	return n
}

// sort deals with the control frames in the backlog, which begins at the start
// of a frame. The others stay, and so does a last frame that is not all there. It goes
// on where the last call ended. It returns how many control frames there were.
func (s *stream) sort() (controls int, err error) {
	b := &s.backlog
	for b.sorted() < b.len() {
		f, err := parseFrame(b.bytes()[b.sorted():], s.compressed)
		if err != nil {
			return controls, s.violation(err)
		}
		if !f.whole {
			break
		}
		if !f.control() {
			b.noteFrame(f.length, f.fin)
			continue
		}
		controls++
		err = s.control(f)
		b.cut(b.sorted(), f.length)
		if err != nil {
			return controls, err
		}
	}
	if b.len() > maxBacklog {
		return controls, fmt.Errorf("wsconn: more than %d bytes received that nobody has read", maxBacklog)
	}
	return controls, nil
}
