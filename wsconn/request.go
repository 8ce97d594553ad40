package wsconn

import (
	"context"
	"errors"

	"github.com/coder/websocket"
)

// Begin announces a request to which the server will reply. Call it before sending the
// request, and End when the whole reply has been read. If a lease ends between the two,
// the connection is closed: the next caller would read the late reply as its own.
//
// Requests may overlap. Each Begin needs its End. Only the holder of the lease may call
// them, and not concurrently.
func (c *Conn) Begin() { c.owed++ }

// End says that the whole reply to a request announced by Begin has been read. An End
// without a Begin causes the connection to be closed when the lease ends.
func (c *Conn) End() {
	if c.owed == 0 {
		c.stream.fail(errEndWithoutBegin)
		return
	}
	c.owed--
}

// Exchange sends a request of one message and returns a reply of one message. It is
// Begin, Write, Read, and, if both succeed, End.
//
// The first message that arrives is taken for the reply. If the server also sends messages
// of its own, such as events or a greeting, do not use Exchange: call Begin and Write, Read
// until the message is the reply, then call End. Read a greeting in [Options.OnConnect].
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
