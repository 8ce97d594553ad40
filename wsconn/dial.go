package wsconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

// A dialer opens the connections of one factory.
type dialer struct {
	url     string
	options Options
}

// dial opens one connection and makes it ready to be lent.
func (d *dialer) dial(ctx context.Context) (*Conn, error) {
	if d.options.HandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.options.HandshakeTimeout)
		defer cancel()
	}
	conn, err := d.handshake(ctx)
	if err != nil {
		return nil, err
	}
	limit := d.options.ReadLimit
	if limit < 0 {
		limit = -1
	}
	if limit != 0 {
		conn.SetReadLimit(limit)
	}
	if err := d.setUp(ctx, conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// handshake dials and performs the opening handshake.
func (d *dialer) handshake(ctx context.Context) (*Conn, error) {
	var options websocket.DialOptions
	if d.options.DialOptions != nil {
		options = *d.options.DialOptions
	}
	client := http.Client{}
	if options.HTTPClient != nil {
		client = *options.HTTPClient
	}
	upgrader := &upgrader{transport: client.Transport}
	if upgrader.transport == nil {
		upgrader.transport = http.DefaultTransport
	}
	client.Transport = upgrader
	options.HTTPClient = &client

	ws, response, err := websocket.Dial(ctx, d.url, &options)
	if err != nil {
		if response != nil {
			return nil, newHandshakeError(d.url, response, err)
		}
		return nil, fmt.Errorf("wsconn: dial %s: %w", redact(d.url), err)
	}
	// websocket.Dial accepts no body that is not an io.ReadWriteCloser, so
	// that the one it accepted is upgrader.stream.
	return &Conn{Conn: ws, stream: upgrader.stream, response: response}, nil
}

// setUp calls OnConnect. Unless it returns nil the connection is closed, also
// when it panics or ends its goroutine.
func (d *dialer) setUp(ctx context.Context, conn *Conn) error {
	if d.options.OnConnect == nil {
		return nil
	}
	ready := false
	defer func() {
		if !ready {
			d.close(conn, errNotSetUp)
		}
	}()
	if err := d.options.OnConnect(ctx, conn); err != nil {
		return fmt.Errorf("wsconn: OnConnect: %w", err)
	}
	ready = true
	return nil
}

// errNotSetUp is why a connection is closed whose OnConnect failed.
var errNotSetUp = errors.New("wsconn: connection could not be set up")
