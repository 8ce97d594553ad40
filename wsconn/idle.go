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
	// bytes in the socket. A record of the largest size, in segments of at
	// least 1 KiB that arrive just too late each time, needs 17.
	maxLooks = 20

	// drainLimit is how many bytes one check takes in. A peer who sends more
	// than that in control frames to somebody who does not listen is not one
	// to keep.
	drainLimit = 64 << 10

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
	if s.unchecked.Load() {
		s.unchecked.Store(false) // the tender need not look
	}
	now := since() // before drain: see beat
	if s.backlog.len() > 0 {
		if err := s.sort(); err != nil { // what the tender has left there
			return s.fail(err)
		}
	}
	if err := s.drain(); err != nil {
		return s.fail(err)
	}
	if s.backlog.len() > 0 {
		if err := conn.receiveIdle(); err != nil {
			return s.fail(err)
		}
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

// drain takes in what has arrived, without waiting for more, and sorts it.
func (s *stream) drain() error {
	looks := maxLooks
	for taken := 0; taken <= drainLimit; {
		n, err := s.receive(&looks)
		if n == 0 {
			return err
		}
		if err := s.sort(); err != nil {
			return err
		}
		taken += n
	}
	return fmt.Errorf("wsconn: more than %d bytes received within one check", drainLimit)
}

// receive adds to the backlog what is at hand. It returns 0 and nil if nothing
// is, and an error only when nothing will come any more and all that came has
// been taken: a close frame tells more than the end of the stream behind it.
func (s *stream) receive(looks *int) (int, error) {
	n, err := 0, error(nil)
	if s.readErr == nil {
		if s.peeker.able() {
			n, err = s.receiveNow(looks)
		} else {
			n = s.poll()
		}
	}
	if n == 0 && s.readErr != nil {
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
//
// looks is how many more reads may end so within this check. A number, because the
// scheduler cannot use it up at once, and because a peer that sends byte by byte must
// not hold the check. After the last look bytes of unknown content may still be there.
// The connection fails then: passed as clean, it would give them to the next lease.
func (s *stream) receiveNow(looks *int) (int, error) {
	for ; *looks > 0; *looks-- {
		arrived, err := s.peeker.peek()
		if !arrived {
			if s.hidden {
				if n := s.readNow(longAgo, readSize); n > 0 {
					return n, nil
				}
			}
			if s.readErr == nil {
				s.readErr = err
			}
			return 0, nil
		}
		if !s.secure {
			return s.readNow(time.Time{}, readSize), nil // does not wait: something is there
		}
		if n := s.readNow(time.Now().Add(partWait), readSize); n > 0 || s.readErr != nil {
			return n, nil
		}
	}
	return 0, errPieces
}

var errPieces = fmt.Errorf("wsconn: bytes arrive, but no whole TLS record in %d looks", maxLooks)

// readNow reads at most limit bytes, until deadline if that is not zero, into the backlog. That
// the deadline has passed is no error; any other is in readErr.
func (s *stream) readNow(deadline time.Time, limit int) int {
	if !deadline.IsZero() {
		s.conn.SetReadDeadline(deadline)
		defer s.conn.SetReadDeadline(time.Time{})
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
		s.readErr = err
	case n == 0 && deadline == longAgo:
		s.hidden = false
	}
	return n
}

// sort deals with the control frames in the backlog, which begins at the start
// of a frame. The others stay, and so does a last frame that is not all there.
func (s *stream) sort() error {
	for at := 0; at < s.backlog.len(); {
		f, err := parseFrame(s.backlog.bytes()[at:], s.compressed)
		if err != nil {
			return s.violation(err)
		}
		if !f.whole {
			break
		}
		if !f.control() {
			at += f.length
			continue
		}
		err = s.control(f)
		s.backlog.cut(at, f.length)
		if err != nil {
			return err
		}
	}
	if s.backlog.len() > maxBacklog {
		return fmt.Errorf("wsconn: more than %d bytes received that nobody has read", maxBacklog)
	}
	return nil
}
