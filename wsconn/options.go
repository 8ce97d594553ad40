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

// defaultReadLimit is that of the WebSocket layer.
const defaultReadLimit = 32768

// Options configure how connections are dialed and maintained. The zero Options are
// valid, and so is a nil pointer to them. [NewFactory] copies them, so later changes
// have no effect.
type Options struct {
	// DialOptions are used for every dial: HTTP client (whose transport has the TLS
	// settings, proxy and dialer), headers, subprotocols, compression. For wss, a proxy
	// gets a CONNECT request. For ws, net/http sends the proxy an ordinary request,
	// which most proxies do not accept for a WebSocket.
	//
	// Compression is off unless enabled here. It costs up to 1.25 MB of memory per
	// connection. With it the package cannot detect the unread rest of a message that
	// was read in part, so read messages to their end.
	//
	// Ping callbacks are also called for idle connections, by Check, and for leased ones
	// whose holder is not in a call, with a context that carries nothing and does not
	// end. They never run at the same time as a call of the holder, which waits for
	// them: they must not block, and must not use the connection.
	//
	// If nil, the defaults of [websocket.Dial] are used.
	DialOptions *websocket.DialOptions

	// Endpoint, if not nil, is called before each dial. It returns the URL and the
	// options of that dial, for example with a fresh token in the header, or another
	// server than the one that failed last. An empty url means the one given to
	// NewFactory, and nil means DialOptions. The dial does not change what Endpoint
	// returns. If Endpoint returns an error, the dial fails with it.
	Endpoint func(ctx context.Context) (url string, dial *websocket.DialOptions, err error)

	// Endpoints are the URLs of several servers that do the same: one pool has connections to
	// all of them. The url of NewFactory, if it is not empty, is one of them, and the first.
	// Two URLs of the same server and path count once. Schemes may differ. Options are the same
	// for all, so whoever gets the headers of one server gets those of each.
	//
	// An Open dials the server that Policy says. If that fails, or does not answer for
	// 750 ms (by the end of OnConnect), it dials another one as well, and so on. The first
	// connection wins, others are closed. It fails only if all do; the error tells what each
	// has said.
	//
	// A server that fails is set aside: no Open dials it while another one is in service. That
	// is one whose dial fails, or does not answer for 750 ms (or twice as long as a dial
	// takes, if that is more); one that closes a connection within two seconds; and one that
	// closes any with 1001 (going away), 1012 (service restart) or 1013 (try again later).
	// After 0.5 s, and up to 10 s if it fails again, it is dialed once beside what others do,
	// with OnConnect and a ping. It is back in service if both succeed in that time; that
	// connection is closed. A 429 or 503 with Retry-After sets the server aside
	// for as long as it asks, but for 5 min at most. The pool pauses only if all have asked.
	// No server is dialed by a pool that is not used and has no connection.
	//
	// When a server has come back, or another one has joined, connections are moved to it: Put
	// closes one that others have too many of, one each second, until the spread is even. See
	// Policy. The pool counts it as one that Clean has refused ([pool.Stats].ClosedClean), with a
	// cause that says so, and the peer gets a closing handshake. One that PutFor has reserved
	// may be among them.
	//
	// Endpoint, if set, is called before each dial, also at the same time, and must return an
	// empty URL. If it fails, Open does, and no server is set aside.
	Endpoints []string

	// Discover, if not nil, returns the servers that there are now, for example from DNS or a
	// registry. Until it has succeeded for the first time, Endpoints and url are the servers, if
	// there are any. If it returns an error, none or a bad URL, the last set stays, and the
	// error is part of that of an Open that fails.
	//
	// Open and Check call it in a goroutine of its own when DiscoverInterval has passed, and
	// Open when no server can be reached. An Open waits for it for at most 250 ms, unless no
	// server is known yet. It is called once at a time; an unused pool does not call it. Its ctx ends after
	// 10 s, and when the last connection has been closed; it must return then.
	//
	// Connections to a server that is not in the set any more are closed by Put, and if they are
	// idle by Check, and none is closed under its user. A server that returns is as it was.
	Discover func(ctx context.Context) (endpoints []string, err error)

	// DiscoverInterval is the time between two calls of Discover.
	// If zero, 30 s is used. Negative is an error.
	DiscoverInterval time.Duration

	// Policy says which of several servers is dialed.
	// If zero, LeastConnections is used.
	Policy Policy

	// Distribution, if not nil, tells how many connections each server has, and which are set
	// aside. It also counts for a factory that has only one.
	Distribution *Distribution

	// HandshakeTimeout is the time limit of one dial, from the call of Endpoint to the
	// return of OnConnect. The pool's OpenTimeout applies as well.
	// If zero, 10 s is used. Negative means no limit.
	HandshakeTimeout time.Duration

	// OnConnect, if not nil, prepares a new connection before it is lent: it may
	// authenticate, read a greeting, or subscribe. ctx ends after HandshakeTimeout or
	// the pool's OpenTimeout. If OnConnect returns an error, or leaves a message read
	// or written in part, the connection is closed and the dial fails.
	OnConnect func(ctx context.Context, conn *Conn) error

	// ReadLimit is the maximum size of a received message in bytes. Reading a larger
	// one fails and closes the connection. Put restores it if a lease has changed it.
	// If zero, 32,768 is used. Negative means no limit.
	ReadLimit int64

	// IsReply, if not nil, reports whether message is the reply to request. Exchange and
	// ExchangeJSON then read until it is, and pass each other message to OnUnsolicited, or
	// drop it if that is nil. It is needed for each server that also sends messages of its
	// own: one that pushes events, or sends a greeting after the handshake. It must not
	// change what it gets, may be called by several goroutines, and must not block.
	//
	// With IsReply, a message that arrives between leases closes no connection. It is
	// passed to OnUnsolicited, or dropped, unless Unsolicited is UnsolicitedKeep.
	IsReply func(request, message Message) bool

	// OneReplyPerRequest says that the server replies to each message with exactly one
	// message. When a lease ends, the connection is closed if the numbers of messages
	// sent and received differ. Calls of Begin and End are not needed then. It is not for
	// servers that also send messages of their own, and cannot be combined with
	// UnsolicitedKeep.
	OneReplyPerRequest bool

	// Finished, if not nil, reports whether the server owes nothing more after the messages
	// that were sent and received on a connection of a [Dialer] since its Dial. It is asked
	// when the program closes the connection. For example, it looks for the last event of
	// each response, or for a response with the id of each request. It must not keep or
	// change what it gets. It is not asked if sent and received are more than 1 MiB, or cannot
	// be decompressed: then the connection is closed.
	//
	// With OneReplyPerRequest both must hold. Connections of [NewFactory] do not call it.
	Finished func(sent, received []Message) bool

	// Clean, if not nil, is called in Put, when a lease ends. It resets what the lease
	// may have changed in the session. If it returns an error, the connection is
	// closed.
	Clean func(ctx context.Context, conn *Conn) error

	// CleanTimeout is the time after which the ctx of Clean ends.
	// If zero, 1 s is used. Negative is an error.
	CleanTimeout time.Duration

	// Unsolicited says what happens to data that arrives while a connection is idle, or is
	// unread when its lease ends.
	// If zero, the connection is closed. But if OnUnsolicited is set, it gets the messages,
	// and if only IsReply is set, they are dropped.
	Unsolicited Unsolicited

	// OnUnsolicited is called for each message that arrives while a connection is idle, and
	// for each one that an exchange receives and that is not its reply. It is required if
	// Unsolicited is UnsolicitedHandle, and with UnsolicitedKeep it is called in exchanges
	// only.
	//
	// If it returns a reply, that is sent, for example to a heartbeat that is a message. If
	// the Type of the reply is zero, it is that of message. On an idle connection the reply
	// is written without blocking: if there is no room for it, it is sent later, before
	// anything else. In an exchange it is written as the request was, until its ctx ends. If
	// OnUnsolicited returns an error, the connection is closed, and the exchange fails.
	//
	// It is called between leases by a goroutine of the pool, or by one in Get or Put, and
	// in an exchange by the caller's. It must not block, and must neither read from conn
	// nor write to it.
	OnUnsolicited func(conn *Conn, message Message) (reply *Message, err error)

	// PingInterval is how long a connection receives nothing, or sends nothing, before a
	// ping is sent. Some servers close a connection on which one side alone sends.
	// If zero, 20 s is used. Negative means that no pings are sent, not even after the
	// machine has slept.
	PingInterval time.Duration

	// PongTimeout is the time limit for a reply to a ping, or to a keepalive message
	// that has a Reply. An idle connection that receives nothing in that time is
	// closed, and so is one whose peer leaves no room for what is to be sent in that time.
	// A leased one is cut if the operating system reports for that time that what was sent
	// is not acknowledged.
	// (A ping that is sent after the machine has slept has nine seconds at most: see
	// [pool.Factory].)
	// If zero, 10 s is used. Negative is an error.
	PongTimeout time.Duration

	// PongTimeoutInUse, if not zero, is the time limit for any sign of life after a ping
	// while a connection is leased: if nothing is received in that time, the connection
	// is cut, and the call in progress fails. It is for servers that answer pings at any
	// time. Many do not: a server that reads a request, works for a minute, and then
	// writes, answers no ping meanwhile. A path that is dead is noticed without it: see
	// the package documentation.
	// Zero means no limit. Negative is an error.
	PongTimeoutInUse time.Duration

	// Keepalive, if not nil, is an application message that is sent on idle
	// connections.
	Keepalive *Keepalive

	// CloseTimeout is the time limit of the closing handshake of a connection that is
	// healthy when the pool closes it. It happens in the background.
	// If zero, 1 s is used. Negative is an error.
	CloseTimeout time.Duration

	// OnClose, if not nil, is called when the pool has closed a connection, except
	// one whose dial failed. cause is the reason, or nil if the connection was healthy.
	// If the peer sent a close code, [websocket.CloseStatus] finds it in cause.
	OnClose func(conn *Conn, cause error)

	// What follows is for tests. noPeek makes connections do without looking at
	// their sockets, as they have to on Windows. abandonAfter replaces the constant of
	// that name, unless it is zero.
	noPeek       bool
	noTend       bool          // nobody tends leases
	moveInterval time.Duration // between two connections that are retired; zero: a second
	abandonAfter time.Duration
}

// normalize returns a copy of o, which may be nil, with its defaults filled in.
func (o *Options) normalize() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.DialOptions = cloneDialOptions(c.DialOptions)
	c.Endpoints = slices.Clone(c.Endpoints)
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
		{"PongTimeoutInUse", &c.PongTimeoutInUse, 0},
		{"DiscoverInterval", &c.DiscoverInterval, defaultDiscoverInterval},
	} {
		if *field.value < 0 {
			return c, fmt.Errorf("wsconn: Options.%s is negative: %v", field.name, *field.value)
		}
		if *field.value == 0 {
			*field.value = field.zero
		}
	}
	switch {
	case c.Policy < LeastConnections || c.Policy > Failover:
		return c, fmt.Errorf("wsconn: Options.Policy is none of its values: %d", int(c.Policy))
	case c.Unsolicited < UnsolicitedDiscard || c.Unsolicited > UnsolicitedHandle:
		return c, fmt.Errorf("wsconn: Options.Unsolicited is none of its values: %d", c.Unsolicited)
	case c.Unsolicited == UnsolicitedHandle && c.OnUnsolicited == nil:
		return c, errors.New("wsconn: Options.OnUnsolicited is nil with UnsolicitedHandle")
	case c.Unsolicited == UnsolicitedDiscard && (c.OnUnsolicited != nil || c.IsReply != nil):
		c.Unsolicited = UnsolicitedHandle // the server pushes
	case c.Unsolicited == UnsolicitedKeep && c.OneReplyPerRequest:
		return c, errors.New("wsconn: Options.OneReplyPerRequest does not go with UnsolicitedKeep")
	}
	return c, c.Keepalive.validate()
}

// rules returns what the options say about idle connections.
func (o *Options) rules() rules {
	var t *tender
	if !o.noTend {
		t = newTender(o)
	}
	return rules{
		tender:           t,
		pongTimeoutInUse: o.PongTimeoutInUse,
		unsolicited:      o.Unsolicited,
		onUnsolicited:    o.OnUnsolicited,
		isReply:          o.IsReply,
		keepalive:        o.Keepalive,
		pingInterval:     o.PingInterval,
		pongTimeout:      o.PongTimeout,
		onePerRequest:    o.OneReplyPerRequest,
		fallback:         o.noPeek,
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
