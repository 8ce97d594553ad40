package wsconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// Times in force where [Options] name none.
const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultCloseTimeout     = time.Second
	defaultCleanTimeout     = time.Second
	defaultPingInterval     = 20 * time.Second
	defaultPongTimeout      = 10 * time.Second
)

// Options say how connections are dialed and set up. The zero Options are
// valid, and so is a nil pointer to them. [NewFactory] copies what it is given:
// changes made afterwards have no effect.
type Options struct {
	// DialOptions are used for every dial: HTTP client (and in its transport
	// TLS, proxy and dialer), headers, subprotocols, compression. A proxy is
	// asked to CONNECT for wss; for ws net/http sends it an ordinary request,
	// which most proxies do not take for a WebSocket.
	//
	// Compression is off unless asked for here. It costs up to 1.25 MB of memory
	// a connection, and has a hole: of a compressed message that was read in
	// part nobody can tell that the rest is unread. Read messages to their end.
	//
	// Ping callbacks are called for idle connections too, by Check, with a
	// context of no meaning.
	//
	// If nil, the defaults of [websocket.Dial] are used.
	DialOptions *websocket.DialOptions

	// Endpoint, if not nil, is called before each dial and says where that one
	// goes, and how: with a fresh token in the header, to another server than
	// the one that failed last. An empty url stands for that of NewFactory, nil
	// for DialOptions. The dial does not change what Endpoint returns. If
	// Endpoint returns an error the dial has failed with that error.
	Endpoint func(ctx context.Context) (url string, dial *websocket.DialOptions, err error)

	// HandshakeTimeout bounds one dial, from Endpoint to the return of
	// OnConnect. The pool's own OpenTimeout holds too.
	// If zero, 10 s is used. Negative means no limit.
	HandshakeTimeout time.Duration

	// OnConnect, if not nil, makes a new connection ready before it is lent:
	// it authenticates, reads a greeting, subscribes. If it returns an error
	// the dial has failed with that error, and the connection is closed; so it
	// is if OnConnect leaves a message read or written in part. ctx ends when
	// the time for the dial is up.
	OnConnect func(ctx context.Context, conn *Conn) error

	// ReadLimit is the largest message, in bytes, that a connection accepts.
	// Reading a larger one fails and ends the connection.
	// If zero, 32,768 is used. Negative means no limit.
	ReadLimit int64

	// OneReplyPerRequest says that the protocol answers each message with one
	// message. A connection on which the numbers of messages sent and received
	// differ when a lease ends is closed, without calls of Begin and End. It
	// does not go with UnsolicitedKeep.
	OneReplyPerRequest bool

	// Clean, if not nil, resets what a lease may have changed in the session,
	// each time a lease ends. The Put waits for it. A connection for which it
	// returns an error is closed.
	Clean func(ctx context.Context, conn *Conn) error

	// CleanTimeout is when the ctx of Clean ends.
	// If zero, 1 s is used. Negative is an error.
	CleanTimeout time.Duration

	// Unsolicited decides about data that arrives while nobody uses the
	// connection.
	// If zero, the connection is closed.
	Unsolicited Unsolicited

	// OnUnsolicited is called for each message that arrives while nobody uses
	// the connection, if Unsolicited is UnsolicitedHandle. It must not block. It
	// may not read from conn. A connection for which it returns an error is
	// closed.
	OnUnsolicited func(conn *Conn, message Message) error

	// PingInterval is how long nothing may have been received on an idle
	// connection before it is sent a ping.
	// If zero, 20 s is used. Negative means that no pings are sent.
	PingInterval time.Duration

	// PongTimeout is how long after a ping, or a keepalive message that has an
	// answer, an idle connection on which nothing is received is taken for
	// dead.
	// If zero, 10 s is used. Negative is an error.
	PongTimeout time.Duration

	// Keepalive, if not nil, is a message of the application's own that is sent
	// on idle connections.
	Keepalive *Keepalive

	// CloseTimeout bounds the closing handshake of a connection that is still
	// healthy when the pool closes it. The pool waits for none.
	// If zero, 1 s is used. Negative is an error.
	CloseTimeout time.Duration

	// OnClose, if not nil, is called when a connection that was lent or could
	// have been has been closed by the pool. cause is why, or nil if nothing was
	// wrong with it; [websocket.CloseStatus] finds the peer's code in it, if the
	// peer has sent one.
	OnClose func(conn *Conn, cause error)

	// noPeek makes connections do without looking at their sockets, as they
	// have to on Windows.
	noPeek bool
}

// normalize returns a copy of o, which may be nil, with its defaults filled in.
func (o *Options) normalize() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.DialOptions = cloneDialOptions(c.DialOptions)
	if c.Keepalive != nil {
		k := *c.Keepalive
		c.Keepalive = &k
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	if c.PingInterval == 0 {
		c.PingInterval = defaultPingInterval
	}
	for _, field := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"CloseTimeout", &c.CloseTimeout, defaultCloseTimeout},
		{"CleanTimeout", &c.CleanTimeout, defaultCleanTimeout},
		{"PongTimeout", &c.PongTimeout, defaultPongTimeout},
	} {
		if *field.value < 0 {
			return c, fmt.Errorf("wsconn: Options.%s is negative: %v", field.name, *field.value)
		}
		if *field.value == 0 {
			*field.value = field.zero
		}
	}
	switch {
	case c.Unsolicited < UnsolicitedDiscard || c.Unsolicited > UnsolicitedHandle:
		return c, fmt.Errorf("wsconn: Options.Unsolicited is none of its values: %d", c.Unsolicited)
	case c.Unsolicited == UnsolicitedHandle && c.OnUnsolicited == nil:
		return c, errors.New("wsconn: Options.OnUnsolicited is nil with UnsolicitedHandle")
	case c.Unsolicited != UnsolicitedHandle && c.OnUnsolicited != nil:
		return c, errors.New("wsconn: Options.OnUnsolicited is set without UnsolicitedHandle")
	case c.Unsolicited == UnsolicitedKeep && c.OneReplyPerRequest:
		return c, errors.New("wsconn: Options.OneReplyPerRequest does not go with UnsolicitedKeep")
	}
	return c, c.Keepalive.validate()
}

// rules returns what the options say about idle connections.
func (o *Options) rules() rules {
	return rules{
		unsolicited:   o.Unsolicited,
		onUnsolicited: o.OnUnsolicited,
		keepalive:     o.Keepalive,
		pingInterval:  o.PingInterval,
		pongTimeout:   o.PongTimeout,
		onePerRequest: o.OneReplyPerRequest,
		fallback:      o.noPeek,
	}
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
