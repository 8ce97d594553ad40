package wsconn

import (
	"context"
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

	stream   *stream
	response *http.Response
	owed     int32 // requests begun and not ended
}

// Response returns the server's response to the handshake: status, header, and TLS
// state. Its Body is empty and its Request is nil. It must not be changed.
func (c *Conn) Response() *http.Response { return c.response }

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
// the connection again.
func (c *Conn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	kind, message, err := c.Conn.Read(ctx)
	c.noteEnd(ctx)
	return kind, message, err
}

// Write is Write of [websocket.Conn]. If ctx has ended when Write returns, the
// connection will be closed, as described for Read.
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

// CloseRead is CloseRead of [websocket.Conn]. It cannot be undone, so the connection is
// closed when the lease ends.
func (c *Conn) CloseRead(ctx context.Context) context.Context {
	c.stream.fail(errCloseRead)
	return c.Conn.CloseRead(ctx)
}
