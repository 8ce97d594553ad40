package wsconn

import "fmt"

// clean says, when a lease ends, whether the connection is fit for the next. It
// makes no system call, but where TLS may hide what has been received. The pool
// holds the stream.
func (s *stream) clean(conn *Conn) error {
	if err := s.tidy(); err != nil {
		return s.fail(err)
	}
	if s.backlog.len() > 0 || s.hidden || !s.peeker.able() {
		return s.cleanSlow(conn)
	}
	return nil
}

// tidy is the part of clean that is always needed. Whoever calls it has looked
// at failed.
func (s *stream) tidy() error {
	if s.in.between() && s.out.between() && !s.held && !s.closed.Load() {
		return nil
	}
	return s.untidy()
}

// untidy finds out what is wrong, the most telling reason first.
func (s *stream) untidy() error {
	if err := s.failure(); err != nil {
		return err
	}
	if !s.out.between() {
		return errUnwritten
	}
	return errUnread
}

// cleanSlow looks at what has been received beyond the last message.
func (s *stream) cleanSlow(conn *Conn) error {
	if !s.peeker.able() {
		s.arm()
	} else if err := s.flush(); err != nil {
		return s.fail(err)
	}
	if s.backlog.len() > 0 {
		if _, err := s.sort(); err != nil {
			return s.fail(err)
		}
		if err := conn.receiveIdle(); err != nil {
			return s.fail(err)
		}
	}
	if s.readErr() != nil {
		return s.lost()
	}
	return nil
}

// flush moves what TLS, or net/http, has received already to the backlog: a read
// with a deadline that has passed gets just that.
func (s *stream) flush() error {
	for s.hidden && s.readErr() == nil {
		if s.backlog.len() > maxBacklog {
			return fmt.Errorf("wsconn: more than %d bytes received that nobody has read", maxBacklog)
		}
		s.readNow(longAgo, readSize)
	}
	return nil
}

// settle gets a new connection ready for its first lease: the messages of
// OnConnect do not count, and what it has left under way is an error.
func (c *Conn) settle() error {
	s := c.stream
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.hold(); err != nil {
		return err
	}
	defer s.release()
	if err := s.tidy(); err != nil {
		return s.fail(err)
	}
	if c.owed != 0 {
		return s.fail(errReplyOwed)
	}
	s.in.messages, s.out.messages, c.pushed, c.answered = 0, 0, 0, 0
	c.settled = true
	return nil
}
