package netconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/S4AK4N/pool/internal/peek"
)

// Reasons why a connection is unfit. The name of the connection comes before them.
var (
	errInUse      = errors.New("a Read or Write is still in progress")
	errBound      = errors.New("a Bind has not been released")
	errHalfClosed = errors.New("CloseWrite was called")
	errUnread     = errors.New("bytes have arrived that nobody has read")
	errPart       = errors.New("part of a TLS record has arrived that nobody has read")
	errNoRoom     = errors.New("the peer does not read")
	errEnded      = fmt.Errorf("the peer has closed the connection: %w", io.EOF)
)

// errDry is what TLS is told when it wants to read on and nothing is there. It takes a
// temporary error for no end of the connection.
var errDry net.Error = dry{}

type dry struct{}

func (dry) Error() string   { return "nothing to read" }
func (dry) Timeout() bool   { return true }
func (dry) Temporary() bool { return true }

// Check returns nil if conn, which nobody uses, may be lent: the peer has not closed it, and
// no byte has arrived on it that nobody has read. The error tells the cause: errors.Is finds
// [io.EOF] or the error of the socket, and the error of a ctx that has ended a call (see
// [Bind]). Check does not wait for the peer, and no deadline has an effect on it. On a
// connection of [NewFactory] it makes one system call and does not allocate.
//
// On such a connection it also fails after CloseWrite, after any error but that of a Read whose
// deadline passed, and while a Read or Write is in progress. Once it has failed it always fails.
//
// On TLS it lets through what is none of the application's: session tickets and key updates.
//
// conn may be any other connection. If that is a [tls.Conn] in which part of a record has
// arrived, Check waits up to 40 ms for the rest, and it clears the read deadline. Of a
// connection without a socket, such as that of [net.Pipe], it knows nothing, and returns nil.
//
// Only the BSDs, Linux and macOS let a program look at a socket. Elsewhere, Windows included,
// Check reports what TLS has received and what the calls on the connection have shown; that
// the peer has closed it shows in the next call.
func Check(conn net.Conn) error {
	if c := of(conn); c != nil {
		return c.check()
	}
	if err := checkOther(conn); err != nil {
		return fmt.Errorf("netconn: %s: %w", addressOf(conn), err)
	}
	return nil
}

// check says whether the connection may be lent.
func (c *conn) check() error {
	if err := c.failure(); err != nil {
		return err
	}
	if err := c.hold(); err != nil {
		return err
	}
	err := c.look()
	c.release()
	if err != nil {
		return c.fail(err)
	}
	return nil
}

// clean ends a lease: what it has left behind is taken away, or makes the connection unfit.
func (c *conn) clean() error {
	if c.bound.Load() != 0 { // its ctx would end a call of the next lease
		return c.fail(errBound)
	}
	if c.deadlines.Load() {
		c.deadlines.Store(false)
		if err := c.inner.SetDeadline(time.Time{}); err != nil {
			return c.fail(err)
		}
	}
	return c.check()
}

// look is check while the pool holds the connection.
func (c *conn) look() error {
	if c.socket.Able() && !c.hidden {
		arrived, err := c.socket.Peek()
		if err != nil {
			return ended(err)
		}
		if !arrived {
			return nil
		}
		if c.tls == nil {
			return errUnread
		}
		c.hidden = true
	}
	if c.hidden {
		return c.lookBehindTLS()
	}
	return nil
}

// lookBehindTLS lets TLS read all that is there, but wait for nothing, nor write if there is
// no room. What it hands out is the application's.
func (c *conn) lookBehindTLS() error {
	c.looking.Store(true)
	n, err := c.tls.Read(c.one[:])
	c.looking.Store(false)
	switch {
	case n > 0:
		return errUnread
	case err != errDry:
		return ended(err)
	case c.records.within(): // perhaps of the application: to lend it would be a guess
		return errPart
	}
	c.hidden = false
	return nil
}

// ended says what an error of reading means.
func ended(err error) error {
	if err == io.EOF {
		return errEnded
	}
	return err
}

// checkOther is Check for a connection that no Factory of this package has opened.
func checkOther(conn net.Conn) error {
	if t, ok := conn.(*tls.Conn); ok {
		return checkTLS(t)
	}
	var p peek.Peeker
	p.Init(conn)
	if !p.Able() {
		return nil
	}
	arrived, err := p.Peek()
	if err != nil {
		return ended(err)
	}
	if arrived {
		return errUnread
	}
	return nil
}

const (
	partWait = 2 * time.Millisecond // for the rest of a TLS record
	maxLooks = 20                   // that end without a whole one
)

// checkTLS reads with a deadline, because nothing else keeps this tls.Conn from waiting for
// the rest of a record. A read that ends at its deadline has not always read, if its thread
// was not scheduled: so the socket decides, not the clock.
func checkTLS(t *tls.Conn) error {
	var p peek.Peeker
	p.Init(t.NetConn())
	defer t.SetReadDeadline(time.Time{})
	for range maxLooks {
		arrived, deadline, err := false, longAgo, error(nil)
		if p.Able() {
			if arrived, err = p.Peek(); arrived {
				deadline = time.Now().Add(partWait)
			}
		}
		t.SetReadDeadline(deadline)
		n, readErr := t.Read(make([]byte, 1))
		switch {
		case n > 0:
			return errUnread
		case !errors.Is(readErr, os.ErrDeadlineExceeded):
			return ended(readErr)
		case !arrived:
			return ended(err)
		}
	}
	return errPart
}

// addressOf names a connection in an error.
func addressOf(conn net.Conn) string {
	a := conn.RemoteAddr()
	if a == nil {
		return "connection"
	}
	return a.Network() + " " + a.String()
}
