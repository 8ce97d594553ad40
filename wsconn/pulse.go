package wsconn

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A pulse is what is known of a connection's being alive. Times are on the clock
// of since.
type pulse struct {
	heard      time.Duration // a byte was received at this time, or some time before
	pinged     time.Duration // the oldest ping without a byte since was written by this time; 0: there is none
	wrote      time.Duration // a byte was sent at this time, or some time before
	hears      bool          // something has been received since beat last looked
	speaks     bool          // something has been sent since beat last looked
	owed       bool          // the last message was a keepalive message without its answer
	late       bool          // the last check found an answer overdue
	lateBefore bool          // the check before that did
}

var (
	epoch = time.Now()

	// ahead is how far tests have moved the clock, while a tender may be reading it.
	ahead atomic.Int64
)

// since is a clock that is never 0.
func since() time.Duration { return time.Since(epoch) + 1 + time.Duration(ahead.Load()) }

// beat keeps an idle connection alive. now is a time that check has read before it
// received: what had arrived by then has been taken in. So a program that was
// stopped for an hour, at whatever line, finds the pong before it misses it.
//
// The clock is not read when bytes are received: the time of the last byte is
// known to within the time between two checks.
func (s *stream) beat(conn *Conn, now time.Duration) error {
	r, p := s.rules, &s.pulse
	if r.pingInterval < 0 && r.keepalive == nil {
		return nil
	}
	if p.hears {
		p.hears = false
		p.heard, p.pinged = now, 0
	}
	if p.speaks {
		p.speaks = false
		p.wrote = now
	}
	if r.keepalive != nil {
		if err := s.speak(conn, now); err != nil {
			return err
		}
	}
	switch {
	case r.pingInterval < 0:
		return nil
	case p.pinged != 0:
		if s.overdue(now - p.pinged) {
			return fmt.Errorf("wsconn: nothing received within %v of a ping", r.pongTimeout)
		}
		return nil
	case now-p.heard >= r.pingInterval, now-p.wrote >= r.pingInterval:
		if s.outbox != nil {
			return nil // the peer has not read yet what it was sent before
		}
		err := s.send(finBit|opPing, pingPayload)
		p.pinged = since() // the write may have been held up
		return err
	}
	return nil
}

// overdue reports whether an answer that has been awaited for the given time counts
// as missing.
//
// Without a socket to look at, two checks must find it late. After a stop of the
// program the poller's goroutine may not have run yet, and the answer may lie in
// the socket, where the check cannot see it.
func (s *stream) overdue(waited time.Duration) bool {
	if waited < s.rules.pongTimeout {
		return false
	}
	s.pulse.late = true
	return s.peeker.able() || s.pulse.lateBefore
}

// speak sends the application's keepalive message when it is time.
func (s *stream) speak(conn *Conn, now time.Duration) error {
	r, x := s.rules, s.extra
	if x.spoken != s.out.messages {
		x.spoken, x.said = s.out.messages, now
	}
	switch {
	case s.pulse.owed:
		if s.overdue(now - x.said) {
			return fmt.Errorf("wsconn: no answer to the keepalive message within %v", r.pongTimeout)
		}
		return nil
	case now-x.said >= r.keepalive.Interval:
		if s.outbox != nil {
			return nil
		}
		err := r.keepalive.send(conn)
		x.said = since() // the write may have been held up
		return err
	}
	return nil
}

// noteSaid notes that a message has been sent by now, or will be.
func (s *stream) noteSaid() {
	if s.extra != nil {
		s.extra.said = since()
	}
}

// pingPayload is no payload of websocket.Conn.Ping, whose are numbers: a pong
// that comes when the connection is lent again is no answer to the caller's.
var pingPayload = []byte("idle")
