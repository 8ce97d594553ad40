package wsconn

import (
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
)

// A Keepalive is an application message that is sent on idle connections. It is for
// servers that close idle connections and do not accept WebSocket pings as activity.
type Keepalive struct {
	// Interval is how long a connection sends nothing before Message is sent. Checks
	// send it, so it may be sent later by the pool's CheckInterval. Must be positive.
	Interval time.Duration

	// Message returns the message to send. It is called each time. Required.
	Message func() Message

	// Reply, if not nil, means that the server replies, and reports whether message
	// is that reply. The reply is removed: no lease reads it, even if it arrives while
	// the connection is lent. Until it arrives, Reply is called for each uncompressed
	// message of one frame and at most 4 KiB. If it does not arrive within
	// PongTimeout, the connection is closed.
	Reply func(message Message) bool
}

func (k *Keepalive) validate() error {
	switch {
	case k == nil:
		return nil
	case k.Interval <= 0:
		return fmt.Errorf("wsconn: Options.Keepalive.Interval is not positive: %v", k.Interval)
	case k.Message == nil:
		return errors.New("wsconn: Options.Keepalive.Message is nil")
	}
	return nil
}

// send sends the keepalive message on an idle connection.
func (k *Keepalive) send(c *Conn) error {
	if err := c.stream.sendMessage(k.Message()); err != nil {
		return fmt.Errorf("wsconn: keepalive message: %w", err)
	}
	c.stream.pulse.owed = k.Reply != nil
	return nil
}

// awaitReply sees to it that a lease does not read the answer to a keepalive
// message. It returns when there is something for the lease to read, or nothing
// more to come, or when it is interrupted. The backlog, or what is still to be
// received, begins with the start of a frame.
func (s *stream) awaitReply() {
	for s.pulse.owed {
		if s.backlog.len() > 0 {
			if s.swallow() {
				return
			}
			f, err := parseFrame(s.backlog.bytes(), s.compressed)
			if err != nil || f.whole || f.control() || !f.fin || s.backlog.len() >= chunkSize {
				return
			}
		}
		// More of it is needed.
		if s.extra.poller.wake != nil {
			s.arm()
		}
		if s.armed() {
			if !s.inherit() {
				return
			}
		} else if s.readErr() == nil {
			if s.readNow(time.Time{}, chunkSize) == 0 && s.readErr() == nil {
				if _, err := s.decide(); err != nil {
					s.endReading(err)
				}
			}
		}
		if s.readErr() != nil || s.interrupted() {
			return
		}
	}
}

// swallow removes the answer to a keepalive message, if the backlog begins with
// it.
func (s *stream) swallow() bool {
	b := s.backlog.bytes()
	f, err := parseFrame(b, s.compressed)
	if err != nil || !f.whole || f.control() || !f.fin || b[0]&rsv1Bit != 0 || f.length > chunkSize || f.opcode == opContinuation {
		return false
	}
	data := append([]byte(nil), f.payload...) // the callee's to keep
	if !s.rules.keepalive.Reply(Message{websocket.MessageType(f.opcode), data}) {
		return false
	}
	s.backlog.drop(f.length)
	s.pulse.owed = false
	return true
}
