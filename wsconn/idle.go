package wsconn

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// partWait is how long check waits for the rest of a TLS record of which
	// a part has arrived. Such a part is waited for once.
	partWait = 2 * time.Millisecond

	// drainLimit is how many bytes one check takes in. A peer who sends more
	// than that in control frames to somebody who does not listen is not one
	// to keep.
	drainLimit = 64 << 10

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
	if err := s.drain(); err != nil {
		return s.fail(err)
	}
	if s.backlog.len() > 0 {
		if err := conn.receiveIdle(); err != nil {
			return s.fail(err)
		}
	}
	if err := s.beat(conn); err != nil {
		return s.fail(err)
	}
	return nil
}

// drain takes in what has arrived, without waiting for more, and sorts it.
func (s *stream) drain() error {
	for taken := 0; taken <= drainLimit; {
		n, err := s.receive()
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
func (s *stream) receive() (int, error) {
	n := 0
	if s.readErr == nil {
		if s.peeker.able() {
			n = s.receiveNow()
		} else {
			n = s.poll()
		}
	}
	if n == 0 && s.readErr != nil {
		return 0, s.lost()
	}
	return n, nil
}

// receiveNow is receive where there is a socket to look at.
func (s *stream) receiveNow() int {
	arrived, err := s.peeker.peek()
	if arrived {
		if s.secure {
			// Whether it is a whole record is known to TLS only.
			return s.readNow(time.Now().Add(partWait))
		}
		return s.readNow(time.Time{}) // does not wait: something is there
	}
	if s.hidden {
		if n := s.readNow(longAgo); n > 0 {
			return n
		}
	}
	if s.readErr == nil {
		s.readErr = err
	}
	return 0
}

// readNow reads once, until deadline if that is not zero, into the backlog. That
// the deadline has passed is no error; any other is in readErr.
func (s *stream) readNow(deadline time.Time) int {
	if !deadline.IsZero() {
		s.conn.SetReadDeadline(deadline)
		defer s.conn.SetReadDeadline(time.Time{})
	}
	n, err := s.body.Read(s.backlog.space(chunkSize / 4))
	s.backlog.grow(n)
	if n > 0 {
		s.heard = true
		s.hidden = s.hidden || s.secure
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
