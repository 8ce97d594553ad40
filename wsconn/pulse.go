package wsconn

import (
	"fmt"
	"time"
)

// A pulse is what is known of a connection's being alive. Times are on the clock
// of since.
type pulse struct {
	heard  time.Duration // a byte was received at this time, or some time before
	pinged time.Duration // the oldest ping without a byte since; 0: there is none
	said   time.Duration // a message was sent at this time, or some time before
	spoken uint64        // messages sent by then
	owed   bool          // the last of them was a keepalive message without its answer
}

var epoch = time.Now()

// since is a clock that is never 0.
func since() time.Duration { return time.Since(epoch) + 1 }

// beat keeps an idle connection alive. It is called with all taken in that has
// arrived: whoever was stopped for an hour finds the pong before it misses it.
//
// The clock is not read when bytes are received, but here: the time of the last
// byte is known to within the time between two checks.
func (s *stream) beat(conn *Conn) error {
	r, p := s.rules, &s.pulse
	if r.pingInterval < 0 && r.keepalive == nil {
		return nil
	}
	now := since()
	if s.heard {
		s.heard = false
		p.heard, p.pinged = now, 0
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
		if now-p.pinged >= r.pongTimeout {
			return fmt.Errorf("wsconn: nothing received within %v of a ping", r.pongTimeout)
		}
		return nil
	case now-p.heard >= r.pingInterval:
		p.pinged = now
		return s.sendControl(opPing, pingPayload)
	}
	return nil
}

// speak sends the application's keepalive message when it is time.
func (s *stream) speak(conn *Conn, now time.Duration) error {
	r, p := s.rules, &s.pulse
	if p.spoken != s.out.messages {
		p.spoken, p.said = s.out.messages, now
	}
	switch {
	case p.owed:
		if now-p.said >= r.pongTimeout {
			return fmt.Errorf("wsconn: no answer to the keepalive message within %v", r.pongTimeout)
		}
		return nil
	case now-p.said >= r.keepalive.Interval:
		p.said = now
		return r.keepalive.send(conn)
	}
	return nil
}

// pingPayload is no payload of websocket.Conn.Ping, whose are numbers: a pong
// that comes when the connection is lent again is no answer to the caller's.
var pingPayload = []byte("idle")
