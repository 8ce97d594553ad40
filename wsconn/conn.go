package wsconn

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// A Conn is one WebSocket connection of a pool. It embeds the connection of
// [github.com/coder/websocket], so that all its methods, and functions that
// take a *[websocket.Conn] such as those of wsjson, are at hand.
//
// Its methods may be called at the same time as far as those of websocket.Conn
// may.
type Conn struct {
	*websocket.Conn

	// Value is the application's own: what OnConnect has learned of the
	// session, say. The pool does nothing with it.
	Value any

	stream   *stream
	response *http.Response
	owed     int32 // requests begun and not ended
}

// Response returns the server's answer to the handshake: status, header, and
// TLS state. It has no body, and does not tell the request. It must not be
// changed.
func (c *Conn) Response() *http.Response { return c.response }

// NetConn returns the network connection below, for its addresses or its TLS
// state, or nil if the HTTP transport does not tell. Reading, writing and
// closing are not for it, and deadlines that are set must be cleared again.
func (c *Conn) NetConn() net.Conn { return c.stream.conn }

// Err returns why the connection is of no use any more, or nil if nothing is
// known against it. If the peer has closed the connection,
// [websocket.CloseStatus] finds the code in the error.
func (c *Conn) Err() error { return c.stream.failure() }

// Read is Read of [websocket.Conn]. If ctx has ended when it returns, also
// successfully, the connection is closed, as is always the case with that
// package, perhaps a little later; called here, and not on c.Conn, a Put that
// comes before does not lend the connection again.
func (c *Conn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	kind, message, err := c.Conn.Read(ctx)
	c.noteEnd(ctx)
	return kind, message, err
}

// Write is Write of [websocket.Conn]. For a ctx that has ended when it returns
// the same holds as for Read.
func (c *Conn) Write(ctx context.Context, kind websocket.MessageType, message []byte) error {
	err := c.Conn.Write(ctx, kind, message)
	c.noteEnd(ctx)
	return err
}

// noteEnd is called after a call of the WebSocket layer with ctx. That layer has
// ctx close the connection when it ends, and has ended that arrangement before
// it returned. So if ctx has not ended now, it will not close the connection; if
// it has, it may just have begun to.
func (c *Conn) noteEnd(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		c.stream.fail(fmt.Errorf("wsconn: the context of a call ended: %w", err))
	}
}

// CloseRead is CloseRead of [websocket.Conn]. It cannot be undone: a connection
// for which it was called is not lent again.
func (c *Conn) CloseRead(ctx context.Context) context.Context {
	c.stream.fail(errCloseRead)
	return c.Conn.CloseRead(ctx)
}
