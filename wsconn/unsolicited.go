package wsconn

import (
	"context"
	"fmt"

	"github.com/coder/websocket"
)

// Unsolicited says what happens to data that arrives while a connection is idle, or
// that is unread behind the last message read when a lease ends. A connection with a
// message read in part is closed in any case.
type Unsolicited int

const (
	// UnsolicitedDiscard closes the connection, so that no lease reads what was
	// meant for another. More than 10,000 control frames, or 8 MiB, within one check
	// close it too. This is the default, unless Options.OnUnsolicited or
	// Options.IsReply is set.
	UnsolicitedDiscard Unsolicited = iota

	// UnsolicitedKeep keeps the data for the next lease to read, up to 1 MiB.
	UnsolicitedKeep

	// UnsolicitedHandle passes each message to Options.OnUnsolicited, or drops it if
	// only Options.IsReply is set. With either of them it is the default. A message of more than 1 MiB closes the connection, and so
	// does one over the ReadLimit. A message of which only a part has arrived when the
	// connection is lent goes to the lease.
	UnsolicitedHandle
)

// A Message is one WebSocket message.
type Message struct {
	Type websocket.MessageType
	Data []byte
}

// receiveIdle deals with the data that sort has left in the backlog.
func (c *Conn) receiveIdle() error {
	s := c.stream
	for s.backlog.len() > 0 {
		if s.backlog.bytes()[0]&opBits >= opClose {
			return nil // a control frame, not all of it yet
		}
		if s.pulse.owed && s.swallow() {
			continue
		}
		switch s.rules.unsolicited {
		case UnsolicitedKeep:
			return nil
		case UnsolicitedDiscard:
			if !s.pulse.owed || s.wholeMessage() {
				return errBacklog
			}
			return nil // the reply to the keepalive message, not all of it yet
		}
		if !s.wholeMessage() {
			return nil
		}
		// All of it is there: this Read does not wait, and takes no more.
		var m Message
		err := s.lend(func() (err error) {
			m.Type, m.Data, err = c.Conn.Read(context.Background())
			return err
		})
		if err != nil {
			return fmt.Errorf("wsconn: unsolicited message: %w", err)
		}
		s.in.messages-- // it was no reply
		answer, err := c.unsolicited(m)
		if err == nil && answer != nil {
			err = s.sendMessage(*answer)
			s.noteSaid()
		}
		if err != nil {
			return err
		}
		if err := s.tidy(); err != nil {
			return err
		}
	}
	return nil
}

// unsolicited gives m to the application, if that wants it, and returns what it wants to
// be sent.
func (c *Conn) unsolicited(m Message) (*Message, error) {
	on := c.stream.rules.onUnsolicited
	if on == nil {
		return nil, nil
	}
	answer, err := on(c, m)
	switch {
	case err != nil:
		return nil, fmt.Errorf("wsconn: OnUnsolicited: %w", err)
	case answer == nil:
		return nil, nil
	}
	a := *answer
	if a.Type == 0 {
		a.Type = m.Type
	}
	if a.Type != websocket.MessageText && a.Type != websocket.MessageBinary {
		return nil, fmt.Errorf("wsconn: OnUnsolicited: a reply of the unknown type %d", a.Type)
	}
	return &a, nil
}

// wholeMessage reports whether the backlog begins with a message that is there to its
// end, as sort has found. Between two messages the first final frame ends the first one.
func (s *stream) wholeMessage() bool { return s.backlog.final() > 0 }
