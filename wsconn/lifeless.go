package wsconn

import (
	"errors"
	"fmt"
	"time"
)

// lifeless reports whether there has been no sign of life for so long that the
// connection is to be ended.
//
// That no pong comes is no such thing by itself: a server that reads, works for a minute
// and then writes answers no ping meanwhile. What its kernel does not acknowledge has
// not reached it.
func (s *stream) lifeless(now time.Duration) lifelessness {
	w, r := &s.watch, s.rules
	if w.unanswered && s.stuckFor(now) >= r.pongTimeout {
		return nothingAcknowledged
	}
	if q := w.worries; r.pongTimeoutInUse > 0 && q != nil && q.asked != 0 && now-q.asked >= r.pongTimeoutInUse {
		// Twice without a socket to look at: see overdue.
		if q.late || s.peeker.able() {
			return noPong
		}
		q.late = true
	}
	return alive
}

// lifelessness says that a connection is to be ended, and why.
type lifelessness uint8

const (
	alive lifelessness = iota
	nothingAcknowledged
	noPong
)

func (l lifelessness) error(r *rules) error {
	if l == noPong {
		return fmt.Errorf("%w: nothing received within %v of a ping", errLifeless, r.pongTimeoutInUse)
	}
	return fmt.Errorf("%w: nothing that was sent was acknowledged for %v", errLifeless, r.pongTimeout)
}

// stuckFor returns for how long nothing of what was sent has been acknowledged, as far as
// that is known: 0 if all is well.
func (s *stream) stuckFor(now time.Duration) time.Duration {
	w := &s.watch
	l, known := s.peeker.lag()
	if !known || !l.pending {
		w.unanswered = false
		l.tries = 0
	}
	if l.tries == 0 {
		if w.worries != nil {
			w.worries.stuck, w.worries.tries = 0, 0
		}
		return 0
	}
	q := w.worry()
	if q.stuck == 0 || l.tries < q.tries { // the kernel begins to count anew with each acknowledgment
		q.stuck = now - l.atLeast
	}
	q.tries = l.tries
	return now - q.stuck
}

// end ends the connection, on which there has been no sign of life for too long.
//
// If a Read is in progress, its goroutine may have been stopped with the bytes in its
// hands. So it is that goroutine that decides: it is told of the doubt, and woken by a
// deadline that has passed. It finds the doubt when it has nothing in its hands: when
// its read fails, or when it begins the next. Whoever reads next otherwise, or takes the
// stream, drops the doubt: see enter, hold and seize. What the doubt is about stands in
// doubt until then, guarded by tending.
func (s *stream) end(why lifelessness, reading bool) {
	if reading && s.peeker.able() {
		if s.busy.Load()&doubted == 0 {
			s.watch.worry().doubt = why
			s.busy.Add(doubted)
			s.conn.SetReadDeadline(longAgo)
		}
		return
	}
	s.watch.over = true
	s.fail(why.error(s.rules))
	s.abort()
}

// dropDoubt lets reads wait again. The caller owns the reading side, and has taken
// doubted off busy, or is about to.
func (s *stream) dropDoubt() { s.liftDeadline() }

// decide is called by a Read that has nothing in its hands. It reports whether there was
// a doubt; the error says that it was right, and the connection has been ended.
func (s *stream) decide() (bool, error) {
	s.tending.Lock()
	defer s.tending.Unlock()
	if s.busy.Load()&doubted == 0 {
		return false, nil
	}
	s.dropDoubt()
	lives := s.signOfLife()
	s.busy.Add(-doubted)
	if lives {
		return true, nil
	}
	err := s.fail(s.watch.worries.doubt.error(s.rules))
	s.abort()
	return true, err
}

// signOfLife reports whether bytes have come that nobody has read yet, or that somebody
// is reading now.
func (s *stream) signOfLife() bool {
	if s.watch.hears.Load() {
		return true
	}
	if !s.peeker.able() {
		return false
	}
	arrived, _ := s.peeker.peek()
	return arrived
}

var errLifeless = errors.New("wsconn: no sign of life")
