package wsconn

import (
	"context"
	"fmt"
	"time"
)

// awakeWait is how long a probe waits at a time before it looks at its ctx again.
const awakeWait = 100 * time.Millisecond

// probe is Factory.Probe: it sends a ping, and waits at most PongTimeout for anything that
// comes after it. It does what check does with that. What has come before says nothing of
// whether the peer is still there.
func (s *stream) probe(ctx context.Context, conn *Conn) error {
	if err := s.check(conn); err != nil {
		return err
	}
	if err := s.hold(); err != nil {
		return err
	}
	defer s.release()
	s.pulse.hears = false
	if err := s.send(finBit|opPing, pingPayload); err != nil {
		return s.fail(err)
	}
	for began := time.Now(); !s.pulse.hears; {
		ended, left := ctx.Err(), s.rules.pongTimeout-time.Since(began)
		if ended == nil && left > 0 {
			if err := s.post(); err != nil { // the ping may wait for what was sent before
				return s.fail(err)
			}
			s.listen(min(left, awakeWait))
			if !s.pulse.hears && s.readErr() != nil {
				return s.lost()
			}
			continue
		}
		// One more look decides, and not the clock: the goroutine may have been stopped.
		if err := s.drain(conn); err != nil {
			return s.fail(err)
		}
		switch {
		case s.pulse.hears:
		case ended != nil:
			return fmt.Errorf("wsconn: nothing received since a ping: %w", ended)
		default:
			return s.fail(fmt.Errorf("wsconn: nothing received within %v of a ping", s.rules.pongTimeout))
		}
	}
	if _, err := s.sort(); err != nil {
		return s.fail(err)
	}
	if err := s.drain(conn); err != nil { // what has come with it
		return s.fail(err)
	}
	if err := conn.receiveIdle(); err != nil {
		return s.fail(err)
	}
	return nil
}

// listen waits for bytes, and adds them to the backlog.
func (s *stream) listen(d time.Duration) {
	if s.readErr() != nil {
		return
	}
	if s.peeker.able() {
		s.readNow(time.Now().Add(d), readSize)
		return
	}
	s.arm()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case r := <-s.extra.poller.result:
		s.take(r)
		s.arm()
	case <-timer.C:
	}
}
