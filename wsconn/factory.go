package wsconn

import (
	"context"
	"fmt"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// NewFactory returns a factory for a [pool.Pool] of connections to the WebSocket
// server at url. The scheme of url is ws or wss; http and https mean the same. url may
// be empty if [Options.Endpoint], Endpoints or Discover is set; with Endpoints it is one
// more of them. opts may be nil. NewFactory opens no
// connection. It returns an error if url or opts are invalid.
//
// The factory's functions keep the contract of [pool.Factory]:
//   - Check processes what has arrived on an idle connection, answers pings, and sends
//     pings. It fails if the peer has closed the connection, or if there is data on it
//     (but see [Options.Unsolicited]).
//   - Probe sends a ping, and fails if nothing comes back within [Options.PongTimeout]. Without
//     pings there is no Probe.
//   - PeerClosed knows the peer's close frame.
//   - Clean fails unless the connection is between two messages in both directions.
//   - Close without a cause does the closing handshake with status 1000, and waits at
//     most [Options.CloseTimeout] for the peer. With a cause it closes immediately.
func NewFactory(url string, opts *Options) (pool.Factory[*Conn], error) {
	var none pool.Factory[*Conn]
	if url != "" || opts == nil || opts.Endpoint == nil && len(opts.Endpoints) == 0 && opts.Discover == nil {
		if err := checkURL(url); err != nil {
			return none, err
		}
	}
	options, err := opts.normalize()
	if err != nil {
		return none, err
	}
	d := &dialer{url: url, options: options, rules: options.rules()}
	d.rules.url = url
	if d.servers, err = newServers(d, url); err != nil {
		return none, err
	}
	f := pool.Factory[*Conn]{Open: d.open, Close: d.close, Check: d.check, Clean: d.clean, CleanOnlyLooks: options.Clean == nil, PeerClosed: peerClosed}
	if options.PingInterval >= 0 {
		f.Probe = d.probe
	}
	return f, nil
}

// probe is Factory.Probe.
func (d *dialer) probe(ctx context.Context, conn *Conn) error { return conn.stream.probe(ctx, conn) }

// peerClosed is Factory.PeerClosed: a close frame has been read.
func peerClosed(cause error) bool { return websocket.CloseStatus(cause) >= 0 }

// check is Factory.Check.
func (d *dialer) check(conn *Conn) error {
	if e := conn.stream.rules.server; e != nil {
		now := since()
		e.of.tend(now)
		if err := e.retireIdle(conn.stream, now); err != nil {
			return err
		}
	}
	return conn.stream.check(conn)
}

// clean is Factory.Clean. The application's Clean may use a connection that is
// fit for it only, and must leave it so.
func (d *dialer) clean(conn *Conn) error {
	if err := conn.clean(); err != nil {
		return err
	}
	if e := conn.stream.rules.server; e != nil {
		now := since()
		e.of.tend(now)
		if err := e.retire(conn.stream, now); err != nil {
			return err
		}
	}
	if d.options.Clean == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.options.CleanTimeout)
	defer cancel()
	if err := d.options.Clean(ctx, conn); err != nil {
		return conn.stream.fail(fmt.Errorf("wsconn: Clean: %w", err))
	}
	return conn.clean()
}
