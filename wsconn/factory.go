package wsconn

import "github.com/S4AK4N/pool"

// NewFactory returns a factory for a [pool.Pool] of connections to the WebSocket
// server at url, whose scheme is ws or wss (http and https mean the same).
// opts may be nil. NewFactory opens nothing; it returns an error if url or opts
// cannot be right.
//
// The factory's Check and Clean refuse a connection that is known to have failed
// or to have been closed: a Put after an error is no mistake.
//
// The factory's Close, given no cause, closes the connection with status 1000
// and waits for the peer's answer for at most [Options.CloseTimeout]; given a
// cause, it closes the connection at once.
func NewFactory(url string, opts *Options) (pool.Factory[*Conn], error) {
	var none pool.Factory[*Conn]
	if err := checkURL(url); err != nil {
		return none, err
	}
	options, err := opts.normalize()
	if err != nil {
		return none, err
	}
	d := &dialer{url: url, options: options}
	return pool.Factory[*Conn]{
		Open:  d.dial,
		Close: d.close,
		Check: func(conn *Conn) error { return conn.stream.check() },
		Clean: func(conn *Conn) error { return conn.stream.check() },
	}, nil
}
