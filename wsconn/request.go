package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// Exchange sends a request of one message and returns a reply of one message. The reply
// is the first message for which [Options.IsReply] returns true; the others are treated
// as described for ExchangeFunc.
//
// If IsReply is nil, the first message that arrives is taken for the reply. That is right
// only for a server that sends nothing but replies. Servers that push events or send a
// greeting need IsReply: otherwise Exchange returns the event, and the reply itself may
// go to the next lease.
func (c *Conn) Exchange(ctx context.Context, kind websocket.MessageType, request []byte) (websocket.MessageType, []byte, error) {
	var isReply func(Message) bool
	if f := c.stream.rules.isReply; f != nil {
		isReply = func(message Message) bool { return f(Message{kind, request}, message) }
	}
	return c.ExchangeFunc(ctx, kind, request, isReply)
}

// ExchangeFunc sends a request of one message and returns the first message for which
// isReply returns true. It blocks until that message arrives, ctx ends, or the
// connection fails. isReply is called in this goroutine for each message that arrives,
// and may keep it. A nil isReply takes the first message for the reply.
//
// Each other message is passed to [Options.OnUnsolicited], and a reply that this returns
// is sent. If OnUnsolicited is nil, the message is dropped. (Between leases a message
// closes the connection if neither IsReply nor OnUnsolicited is set.)
//
// If ctx has ended before the call, nothing is sent, and the connection remains fit for
// use. After any other error, or a panic of isReply or OnUnsolicited, the reply may still
// arrive. The connection is then closed when the lease ends, and until then each further
// Exchange on it fails. Not for concurrent use on one connection.
func (c *Conn) ExchangeFunc(ctx context.Context, kind websocket.MessageType, request []byte, isReply func(Message) bool) (websocket.MessageType, []byte, error) {
	if c.exchanging {
		return 0, nil, c.abandoned()
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, fmt.Errorf("wsconn: nothing was sent: %w", err)
	}
	// Ended below, and not in a deferred call: whatever else ends this function, a panic
	// of isReply included, leaves the reply owed.
	c.exchanging = true
	c.Begin()
	loan := c.reading.borrow(ctx)
	defer loan.giveBack()
	reply, err := c.exchange(loan, Message{kind, request}, isReply)
	if err != nil {
		c.stream.fail(fmt.Errorf("wsconn: a request failed whose reply may still arrive: %w", err))
		return 0, nil, err
	}
	c.End()
	c.exchanging = false
	return reply.Type, reply.Data, nil
}

// exchange writes request, and reads until a message is its reply.
func (c *Conn) exchange(ctx context.Context, request Message, isReply func(Message) bool) (Message, error) {
	err := c.noteEnd(ctx, c.Conn.Write(ctx, request.Type, request.Data))
	for err == nil {
		var m Message
		m.Type, m.Data, err = c.Conn.Read(ctx)
		err = c.noteEnd(ctx, err)
		switch {
		case err != nil:
		case isReply == nil || isReply(m):
			return m, nil
		default:
			c.pushed++
			err = c.passOn(ctx, m)
		}
	}
	return Message{}, err
}

// passOn gives the application a message that is no reply, during a lease, and sends
// what it answers.
func (c *Conn) passOn(ctx context.Context, m Message) error {
	answer, err := c.unsolicited(m)
	if err != nil || answer == nil {
		return err
	}
	c.answered++
	return c.noteEnd(ctx, c.Conn.Write(ctx, answer.Type, answer.Data))
}

// abandoned says why no further exchange is possible.
func (c *Conn) abandoned() error {
	if err := c.stream.failure(); err != nil {
		return err
	}
	return errExchanging
}

// ExchangeJSON sends request as JSON, in a text message, and decodes the reply into the
// value that reply points to. A nil reply ignores it. Which message is the reply is
// decided as in [Conn.Exchange]: with a server that pushes or greets, set
// [Options.IsReply]. In JSON-RPC, for example, request and reply have the same id.
//
// If the request cannot be encoded, nothing has been sent. If the reply cannot be decoded,
// it has been read to its end. In both cases the connection remains fit for use.
func ExchangeJSON(ctx context.Context, conn *Conn, request, reply any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("wsconn: encoding the request: %w", err)
	}
	_, data, err = conn.Exchange(ctx, websocket.MessageText, data)
	if err != nil || reply == nil {
		return err
	}
	if err := json.Unmarshal(data, reply); err != nil {
		return fmt.Errorf("wsconn: decoding the reply: %w", err)
	}
	return nil
}

// clean says, when a lease ends, whether the connection is fit for the next, and undoes
// what the lease has changed in the WebSocket layer.
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
	case s.rules.onePerRequest && s.in.messages-c.pushed != s.out.messages-c.answered:
		return s.fail(errReplyCount)
	}
	c.Conn.SetReadLimit(c.readLimit) // the layer does not tell whether it was changed
	return nil
}

var (
	errEndWithoutBegin = errors.New("wsconn: End was called without Begin")
	errExchanging      = errors.New("wsconn: an earlier Exchange has not ended: its reply may still arrive")
)
