package wsconn

import (
	"context"
	"fmt"

	"github.com/S4AK4N/pool"
)

// NewFactory returns a factory for a [pool.Pool] of connections to the WebSocket
// server at url, whose scheme is ws or wss (http and https mean the same).
// It may be empty if [Options.Endpoint] is set. opts may be nil. NewFactory opens nothing; it returns an error if url or opts
// cannot be right.
//
// The factory's functions hold what [pool.Factory] says of them. Check takes in
// what has arrived on an idle connection, answers pings, and sends its own; a
// connection that the peer has closed, or that has data on it, fails it. Clean
// fails unless the connection is between two messages both ways. Close, given no
// cause, closes the connection with status 1000 and waits for the peer's answer
// for at most [Options.CloseTimeout]; given a cause, it closes at once.
func NewFactory(url string, opts *Options) (pool.Factory[*Conn], error) {
	var none pool.Factory[*Conn]
	if url != "" || opts == nil || opts.Endpoint == nil {
		if err := checkURL(url); err != nil {
			return none, err
		}
	}
	options, err := opts.normalize()
	if err != nil {
		return none, err
	}
	d := &dialer{url: url, options: options, rules: options.rules()}
	return pool.Factory[*Conn]{Open: d.dial, Close: d.close, Check: d.check, Clean: d.clean}, nil
}

// check is Factory.Check.
func (d *dialer) check(conn *Conn) error { return conn.stream.check(conn) }

// clean is Factory.Clean. The application's Clean may use a connection that is
// fit for it only, and must leave it so.
func (d *dialer) clean(conn *Conn) error {
	if err := conn.clean(); err != nil || d.options.Clean == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.options.CleanTimeout)
	defer cancel()
	if err := d.options.Clean(ctx, conn); err != nil {
		return conn.stream.fail(fmt.Errorf("wsconn: Clean: %w", err))
	}
	return conn.clean()
}
