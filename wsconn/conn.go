package wsconn

import (
	"net/http"

	"github.com/coder/websocket"
)

// A Conn is one WebSocket connection of a pool. It embeds the connection of
// [github.com/coder/websocket], so that all its methods, and functions that
// take a *[websocket.Conn] such as those of wsjson, are at hand.
type Conn struct {
	*websocket.Conn

	stream   *stream
	response *http.Response
}

// Response returns the server's answer to the handshake, for its headers. Its
// body is empty. It must not be changed.
func (c *Conn) Response() *http.Response { return c.response }
