package wsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"

	"go.uber.org/atomic"
)

// A stream is what the WebSocket layer reads and writes: the body of the
// response with status 101.
type stream struct {
	io.ReadWriteCloser

	// conn is the connection that the body belongs to, or nil if the transport
	// did not tell.
	conn net.Conn

	// over is set once the connection has failed or been closed by either side of
	// the stream: the WebSocket layer closes it when a ctx ends in mid-call.
	over atomic.Bool
}

var errOver = errors.New("wsconn: the connection has failed, or was closed")

// check reports whether the connection is known to be of no use any more.
func (s *stream) check() error {
	if s.over.Load() {
		return errOver
	}
	return nil
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(p)
	if err != nil {
		s.over.Store(true)
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Write(p)
	if err != nil {
		s.over.Store(true)
	}
	return n, err
}

func (s *stream) Close() error {
	s.over.Store(true)
	return s.ReadWriteCloser.Close()
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
