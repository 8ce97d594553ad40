package wsconn

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coder/websocket"
)

// abandonAfter is how long close waits, once the connection has been cut, for
// the calls that use it to notice. On a network connection that is no time at
// all; a transport whose Close does not end a Read in progress never does.
const abandonAfter = time.Second

// close is Factory.Close: closeConn, and OnClose.
func (d *dialer) close(conn *Conn, cause error) error {
	how := cause
	if retired(cause) {
		how = nil // it is healthy
	}
	err := d.closeConn(conn, how)
	if d.options.OnClose != nil {
		d.options.OnClose(conn, closeCause(cause, conn.stream.failed.Load()))
	}
	return err
}

// closeCause returns what OnClose is told: the pool's cause, and the peer's code
// and reason where known is that the peer has closed the connection, and the
// pool was told something else.
func closeCause(cause error, known *error) error {
	if cause == nil || known == nil || websocket.CloseStatus(*known) == -1 || websocket.CloseStatus(cause) != -1 {
		return cause
	}
	return fmt.Errorf("%w (%w)", cause, *known)
}

// closeConn closes conn: with a closing handshake, bounded by CloseTimeout, if
// cause is nil, otherwise at once.
//
// The goroutine is there because the WebSocket layer waits in Close and
// CloseNow until nobody uses the connection any more, for as long as it takes.
func (d *dialer) closeConn(conn *Conn, cause error) error {
	if goodbye := conn.stream.goodbye.Load(); cause != nil && goodbye != nil {
		// A goroutine is telling the peer why.
		timer := time.NewTimer(d.options.CloseTimeout)
		defer timer.Stop()
		select {
		case <-*goodbye:
		case <-timer.C:
		}
	}
	done := make(chan error, 1)
	go func() {
		if cause == nil {
			done <- conn.Conn.Close(websocket.StatusNormalClosure, "")
		} else {
			done <- conn.Conn.CloseNow()
		}
	}()

	var late error
	if cause == nil {
		timer := time.NewTimer(d.options.CloseTimeout)
		defer timer.Stop()
		select {
		case err := <-done:
			return notAlreadyClosed(err)
		case <-timer.C:
			late = fmt.Errorf("wsconn: the peer did not end the closing handshake within %v", d.options.CloseTimeout)
		}
	}
	conn.stream.abort()
	wait := cmp.Or(d.options.abandonAfter, abandonAfter)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		if late != nil {
			return late
		}
		return notAlreadyClosed(err)
	case <-timer.C:
		return fmt.Errorf("wsconn: a call that uses the connection did not end within %v of its being closed", wait)
	}
}

// notAlreadyClosed drops the error that says only that somebody else, such as
// the caller who had leased the connection, has closed it before.
func notAlreadyClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
