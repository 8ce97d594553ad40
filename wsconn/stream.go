package wsconn

import (
	"crypto/tls"
	"io"
	"net"
)

// A stream is what the WebSocket layer reads and writes: the body of the
// response with status 101.
type stream struct {
	io.ReadWriteCloser

	// conn is the connection that the body belongs to, or nil if the transport
	// did not tell.
	conn net.Conn
}

// abort cuts the connection so that every read and write of it fails. It does
// not block: it goes past TLS, whose Close would first tell the peer, and wait
// for a peer that does not read.
func (s *stream) abort() error {
	switch c := s.conn.(type) {
	case nil:
		return s.Close()
	case *tls.Conn:
		return c.NetConn().Close()
	default:
		return c.Close()
	}
}
