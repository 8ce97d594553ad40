package wsconn

import (
	"context"
	"errors"

	"github.com/coder/websocket"
)

// Begin says that a request is about to be sent whose reply is owed, and End
// that the whole reply has been read. If a lease ends between them, because the
// caller has given up, the connection is not lent again: the reply that comes
// late would be read as somebody else's.
//
// Requests may overlap; each Begin wants its End. They are called by whoever
// holds the lease, not at the same time.
func (c *Conn) Begin() { c.owed++ }

// End is the counterpart of Begin.
func (c *Conn) End() {
	if c.owed == 0 {
		c.stream.fail(errEndWithoutBegin)
		return
	}
	c.owed--
}

// Exchange sends a request of one message and returns the reply of one message.
// It is Begin, Write, Read, and if all went well End.
func (c *Conn) Exchange(ctx context.Context, kind websocket.MessageType, request []byte) (websocket.MessageType, []byte, error) {
	c.Begin()
	if err := c.Write(ctx, kind, request); err != nil {
		return 0, nil, err
	}
	kind, reply, err := c.Read(ctx)
	if err != nil {
		return 0, nil, err
	}
	c.End()
	return kind, reply, nil
}

// clean says, when a lease ends, whether the connection is fit for the next.
func (c *Conn) clean() error {
	s := c.stream
	if err := s.failed.Load(); err != nil {
		return *err
	}
	if err := s.hold(); err != nil {
		return err
	}
	defer s.release()
	if err := s.clean(c); err != nil {
		return err
	}
	switch {
	case c.owed != 0:
		return s.fail(errReplyOwed)
	case s.rules.onePerRequest && s.in.messages != s.out.messages:
		return s.fail(errReplyCount)
	}
	return nil
}

var errEndWithoutBegin = errors.New("wsconn: End was called without Begin")
