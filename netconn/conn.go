package netconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A conn is a connection that [NewFactory] has opened: what is lent or, with TLS, what the
// [tls.Conn] that is lent reads and writes. It changes no byte. It remembers what the next
// caller must not inherit: deadlines, calls in progress, and the end of a ctx.
type conn struct {
	inner  net.Conn
	name   string    // network and address, for errors
	tls    *tls.Conn // that reads and writes this one; or nil
	socket socket    // unable, if inner may have read more than it has handed out

	busy      atomic.Int32          // calls of Read and Write in progress, and poolHolds
	bound     atomic.Int32          // calls of Bind that have not been released
	deadlines atomic.Bool           // one may be in force
	ended     atomic.Pointer[error] // the ctx of a Bind has ended
	failed    atomic.Pointer[error] // why the connection must not be lent again; the first reason stays

	// Below TLS. They belong to whoever reads, and TLS lets one at a time.
	looking atomic.Bool // the pool reads, and must not wait
	hidden  bool        // TLS may hold bytes that it has not handed out
	records records
	one     [1]byte
}

func newConn(inner net.Conn, name string) *conn {
	c := &conn{inner: inner, name: name}
	switch inner.(type) {
	case *net.TCPConn, *net.UnixConn: // anything else may hold bytes back
		c.socket.Init(inner)
	}
	return c
}

// of returns the conn that is, or is below, a connection of a Factory; nil for any other.
func of(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *tls.Conn:
		below, _ := c.NetConn().(*conn)
		return below
	}
	return nil
}

// lent returns what callers get.
func (c *conn) lent() net.Conn {
	if c.tls != nil {
		return c.tls
	}
	return c
}

// poolHolds is added to busy while the pool looks at the connection.
const poolHolds = 1 << 30

// enter is the start of a Read or Write. Its other side is hold: each changes busy, and
// looks at what it was; so not both go on.
func (c *conn) enter() error {
	if c.busy.Add(1) < poolHolds {
		return nil
	}
	c.busy.Add(-1)
	return c.fail(errInUse)
}

func (c *conn) leave() { c.busy.Add(-1) }

// hold makes the connection the pool's, unless a Read or Write is in progress.
func (c *conn) hold() error {
	if !c.busy.CompareAndSwap(0, poolHolds) {
		return c.fail(errInUse)
	}
	return nil
}

func (c *conn) release() { c.busy.Add(-poolHolds) }

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	if c.looking.Load() {
		return c.readNow(p)
	}
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := c.inner.Read(p)
	if c.tls != nil {
		c.noteRead(p[:n])
	}
	if err != nil {
		err = c.failedRead(err)
	}
	return n, err
}

func (c *conn) noteRead(p []byte) {
	c.hidden = true
	c.records.feed(p)
}

// readNow is Read for TLS while the pool looks.
func (c *conn) readNow(p []byte) (int, error) {
	if !c.socket.Able() {
		return 0, errDry
	}
	n, err := c.socket.take(p)
	c.noteRead(p[:n])
	return n, err
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	if c.looking.Load() { // TLS answers an update of its keys
		return c.socket.give(p)
	}
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := c.inner.Write(p)
	if err != nil {
		err = c.failedWrite(err)
	}
	return n, err
}

// ReadFrom implements [io.ReaderFrom], so that a file goes to the socket without a copy.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := io.Copy(c.inner, r)
	if err != nil { // of either side: what has been written is not known to be whole
		err = c.failedWrite(err)
	}
	return n, err
}

// WriteTo implements [io.WriterTo].
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := io.Copy(w, c.inner)
	if err == nil {
		c.failedRead(io.EOF)
	} else {
		err = c.failedWrite(err) // of either side: what was read last may be lost
	}
	return n, err
}

// Close implements [net.Conn].
func (c *conn) Close() error { return c.inner.Close() }

// CloseWrite ends the writing side, as that of [net.TCPConn]. The connection is not lent again.
func (c *conn) CloseWrite() error {
	half, ok := c.inner.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("netconn: %s: CloseWrite: %w", c.name, errors.ErrUnsupported)
	}
	c.fail(errHalfClosed)
	return half.CloseWrite()
}

// NetConn returns the connection that was dialed. What is done with it is not seen here.
func (c *conn) NetConn() net.Conn { return c.inner }

// SyscallConn implements [syscall.Conn].
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.inner.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, fmt.Errorf("netconn: %s: SyscallConn: %w", c.name, errors.ErrUnsupported)
}

func (c *conn) LocalAddr() net.Addr  { return c.inner.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	c.noteDeadline(t)
	return c.afterDeadline(c.inner.SetDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error {
	c.noteDeadline(t)
	return c.afterDeadline(c.inner.SetReadDeadline(t))
}

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.noteDeadline(t)
	return c.afterDeadline(c.inner.SetWriteDeadline(t))
}

func (c *conn) noteDeadline(t time.Time) {
	if !t.IsZero() && !c.deadlines.Load() {
		c.deadlines.Store(true)
	}
}

// afterDeadline keeps a deadline that its user has set from lifting the one that the end of
// a ctx has. Its other side is cut: that one stores ended, then sets the deadline; here the
// deadline has been set, then ended is read. So the one in the past comes last.
func (c *conn) afterDeadline(err error) error {
	if c.ended.Load() != nil {
		c.inner.SetDeadline(longAgo)
	}
	return err
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// cut ends the calls in progress, and those to come: their ctx has ended.
func (c *conn) cut(err error) {
	c.ended.CompareAndSwap(nil, &err)
	c.fail(fmt.Errorf("the ctx it was bound to has ended: %w", err))
	c.inner.SetDeadline(longAgo) // see afterDeadline
}

// failedRead notes why a Read has failed, and returns what its caller is told. A deadline
// of the caller's own says nothing about the connection: there may have been nothing to read.
func (c *conn) failedRead(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.blame("read", err)
	}
	c.fail(ended(err))
	return err
}

// failedWrite is failedRead for a Write. Part of what it was given may have been sent.
func (c *conn) failedWrite(err error) error {
	err = c.blame("write", err)
	c.fail(err)
	return err
}

// blame returns err or, if it comes from the end of a ctx, one that says so.
func (c *conn) blame(op string, err error) error {
	over := c.ended.Load()
	if over == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	network, _, _ := strings.Cut(c.name, " ")
	return &net.OpError{Op: op, Net: network, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: *over}
}

// fail notes why the connection must not be lent again, and returns the reason that was
// noted first.
func (c *conn) fail(err error) error {
	err = fmt.Errorf("netconn: %s: %w", c.name, err)
	if c.failed.CompareAndSwap(nil, &err) {
		return err
	}
	return *c.failed.Load()
}

// failure returns why the connection must not be lent again, or nil.
func (c *conn) failure() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}
