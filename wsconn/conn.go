package wsconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// A Conn is one WebSocket connection of a pool. It embeds the connection of
// [github.com/coder/websocket] and so has all its methods. Functions that want a
// *[websocket.Conn], such as those of wsjson, get the embedded field, Conn.Conn.
//
// Methods may be called concurrently if those of [websocket.Conn] may.
type Conn struct {
	*websocket.Conn

	// Value belongs to the application, for example for what OnConnect has learned
	// about the session. The pool does not use it.
	Value any

	stream    *stream
	response  response
	reading   borrowed // the ctx of a Read or an Exchange
	writing   borrowed // the ctx of a Write
	readLimit int64    // what Put restores

	// Those of the lease's holder, and of the pool between leases.
	owed       int32  // requests begun and not ended
	pushed     uint32 // messages received in exchanges that were no replies, modulo 1<<32
	answered   uint32 // messages sent in exchanges that were no requests, modulo 1<<32
	exchanging bool   // an exchange has begun and not ended well

	settled bool // OnConnect has returned
	altered bool // the transport has sent headers of its own: it is for one Dial
}

// Response returns the server's response to the handshake: status, header, and TLS
// state. Its Body is empty and its Request is nil. Each call makes a new one, from what
// little is kept of it.
func (c *Conn) Response() *http.Response { return c.response.unpack(c.stream.conn) }

// NetConn returns the underlying network connection, for its addresses or its TLS
// state. It is nil if the HTTP transport does not reveal it. Do not read from it, write
// to it, or close it. Clear a deadline that you set on it. While no call
// is in progress a deadline may be cleared by this package.
func (c *Conn) NetConn() net.Conn { return c.stream.conn }

// Err returns why the connection will not be lent again, or nil if no reason is known.
// If the peer has closed the connection, [websocket.CloseStatus] finds the code in the
// error.
func (c *Conn) Err() error { return c.stream.failure() }

// Read is Read of [websocket.Conn]. If ctx has ended when Read returns, the connection
// will be closed, even if Read succeeded: that package does so, perhaps a little later.
// Unlike c.Conn.Read, this method makes sure that a Put in the meantime does not lend
// the connection again, and that the error, if there is one, is that of ctx too. The
// connection does not keep ctx when Read has returned.
func (c *Conn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	loan := c.reading.borrow(ctx)
	kind, message, err := c.Conn.Read(loan)
	loan.giveBack()
	return kind, message, c.noteEnd(ctx, err)
}

// Write is Write of [websocket.Conn]. If ctx has ended when Write returns, the
// connection will be closed, as described for Read. The connection does not keep ctx.
func (c *Conn) Write(ctx context.Context, kind websocket.MessageType, message []byte) error {
	loan := c.writing.borrow(ctx)
	err := c.Conn.Write(loan, kind, message)
	loan.giveBack()
	return c.noteEnd(ctx, err)
}

// SetReadLimit is SetReadLimit of [websocket.Conn], until the lease ends: Put restores
// the limit of the options. A limit set in [Options.OnConnect] remains.
func (c *Conn) SetReadLimit(n int64) {
	if !c.settled {
		c.readLimit = max(n, -1)
	}
	c.Conn.SetReadLimit(n)
}

// noteEnd is called after a call of the WebSocket layer with ctx. That layer has
// ctx close the connection when it ends, and has ended that arrangement before
// it returned. So if ctx has not ended now, it will not close the connection; if
// it has, it may just have begun to.
//
// It returns err, the error of the call. That layer may say only that the connection was
// closed, and not that ctx did it.
func (c *Conn) noteEnd(ctx context.Context, err error) error {
	end := ctx.Err()
	if end == nil {
		return err
	}
	c.stream.fail(fmt.Errorf("wsconn: the context of a call ended: %w", end))
	if err != nil && !errors.Is(err, end) {
		err = fmt.Errorf("%w: %w", end, err)
	}
	return err
}

// CloseRead is CloseRead of [websocket.Conn]. It cannot be undone, so the connection is
// closed when the lease ends.
func (c *Conn) CloseRead(ctx context.Context) context.Context {
	c.stream.fail(errCloseRead)
	return c.Conn.CloseRead(ctx)
}
