package wsconn

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// Times in force where [Options] name none.
const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultCloseTimeout     = time.Second
)

// Options say how connections are dialed and set up. The zero Options are
// valid, and so is a nil pointer to them. [NewFactory] copies what it is given:
// changes made afterwards have no effect.
type Options struct {
	// DialOptions are used for every dial: HTTP client (and in its transport
	// TLS, proxy and dialer), headers, subprotocols, compression.
	// If nil, the defaults of [websocket.Dial] are used.
	DialOptions *websocket.DialOptions

	// ReadLimit is the largest message, in bytes, that a connection accepts.
	// Reading a larger one fails and ends the connection.
	// If zero, 32,768 is used. Negative means no limit.
	ReadLimit int64

	// OnConnect, if not nil, makes a new connection ready before it is lent:
	// it authenticates, reads a greeting, subscribes. If it returns an error
	// the dial has failed with that error, and the connection is closed. ctx
	// ends when the time for the dial is up. OnConnect must not keep conn.
	OnConnect func(ctx context.Context, conn *Conn) error

	// HandshakeTimeout bounds one dial, from the look-up of the host's name to
	// the return of OnConnect. The pool's own OpenTimeout holds too.
	// If zero, 10 s is used. Negative means no limit.
	HandshakeTimeout time.Duration

	// CloseTimeout bounds the closing handshake of a connection that is still
	// healthy when the pool closes it. The pool waits for none.
	// If zero, 1 s is used. Negative is an error.
	CloseTimeout time.Duration
}

// normalize returns a copy of o, which may be nil, with its defaults filled in.
func (o *Options) normalize() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.DialOptions = cloneDialOptions(c.DialOptions)
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	switch {
	case c.CloseTimeout < 0:
		return c, fmt.Errorf("wsconn: Options.CloseTimeout is negative: %v", c.CloseTimeout)
	case c.CloseTimeout == 0:
		c.CloseTimeout = defaultCloseTimeout
	}
	return c, nil
}

// cloneDialOptions returns a copy of o that shares nothing with it that a dial
// would read while the caller changes it. It returns nil for nil.
func cloneDialOptions(o *websocket.DialOptions) *websocket.DialOptions {
	if o == nil {
		return nil
	}
	c := *o
	c.HTTPHeader = o.HTTPHeader.Clone()
	c.Subprotocols = slices.Clone(o.Subprotocols)
	return &c
}

// checkURL says what is wrong with raw as the address of a WebSocket server.
// Its error does not show a password that raw may hold.
func checkURL(raw string) error {
	if raw == "" {
		return errors.New("wsconn: URL is empty")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if parse := (*url.Error)(nil); errors.As(err, &parse) {
			err = parse.Err
		}
		return fmt.Errorf("wsconn: URL is malformed: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return fmt.Errorf("wsconn: URL %q has scheme %q; want ws, wss, http or https", u.Redacted(), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("wsconn: URL %q names no host", u.Redacted())
	}
	if u.Fragment != "" {
		return fmt.Errorf("wsconn: URL %q has a fragment, which RFC 6455 forbids", u.Redacted())
	}
	return nil
}

// redact returns raw, a URL that has passed checkURL, without its password.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(malformed URL)"
	}
	return u.Redacted()
}
