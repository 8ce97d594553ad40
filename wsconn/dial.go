package wsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// A dialer opens the connections of one factory.
type dialer struct {
	url     string
	options Options
	rules   rules
	servers *servers // nil: there is one URL for all dials, or that of Options.Endpoint
}

// open is Factory.Open.
func (d *dialer) open(ctx context.Context) (*Conn, error) {
	if d.servers != nil {
		return d.servers.dialAny(ctx)
	}
	return d.dial(ctx)
}

// dial opens one connection and makes it ready to be lent.
func (d *dialer) dial(ctx context.Context) (*Conn, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	url, options, err := d.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	conn, _, err := d.connect(ctx, url, options)
	return conn, err
}

// limit returns ctx with the time limit of a dial.
func (d *dialer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.options.HandshakeTimeout > 0 {
		return context.WithTimeout(ctx, d.options.HandshakeTimeout)
	}
	return ctx, func() {}
}

// connect opens one connection to url and makes it ready to be lent. The response is the
// server's; it may be there beside an error.
func (d *dialer) connect(ctx context.Context, url string, options websocket.DialOptions) (*Conn, *http.Response, error) {
	conn, response, err := d.handshake(ctx, url, options)
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(cmp.Or(d.options.ReadLimit, defaultReadLimit))
	if err := d.setUp(ctx, conn); err != nil {
		return nil, response, err
	}
	return conn, response, nil
}

// endpoint returns what is to be dialed, and how. The options are a copy.
func (d *dialer) endpoint(ctx context.Context) (url string, options websocket.DialOptions, err error) {
	url, given := d.url, d.options.DialOptions
	if d.options.Endpoint != nil {
		u, o, err := d.options.Endpoint(ctx)
		switch {
		case err != nil:
			return "", options, &optionsError{fmt.Errorf("wsconn: Endpoint: %w", err)}
		case u != "" && d.rules.server != nil:
			return "", options, &optionsError{errors.New("wsconn: Endpoint returned a URL, which does not go with Options.Endpoints, Discover or Distribution")}
		}
		if o != nil {
			given = o
		}
		if u != "" {
			url = u
			if err := checkURL(url); err != nil {
				return "", options, err
			}
		}
	}
	if given != nil {
		options = *given
	}
	return url, options, nil
}

// handshake dials and performs the opening handshake. The response is as connect returns
// it.
func (d *dialer) handshake(ctx context.Context, url string, options websocket.DialOptions) (*Conn, *http.Response, error) {
	client := http.Client{}
	if options.HTTPClient != nil {
		client = *options.HTTPClient
	}
	upgrader := &upgrader{transport: client.Transport, rules: d.rulesFor(&options, url)}
	if upgrader.transport == nil {
		upgrader.transport = http.DefaultTransport
	}
	client.Transport = upgrader
	if client.CheckRedirect == nil {
		client.CheckRedirect = redirects(&options)
	}
	options.HTTPClient = &client

	// For a response with status 101 that is wrong otherwise, websocket.Dial
	// waits for a body, whatever ctx says.
	stop := context.AfterFunc(ctx, upgrader.abort)
	ws, response, err := websocket.Dial(ctx, url, &options)
	if !stop() && err == nil {
		ws.CloseNow()
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, response, dialError(url, response, err, upgrader.requests)
	}
	// websocket.Dial accepts no body that is not an io.ReadWriteCloser, so
	// that the one it accepted is upgrader's stream.
	s := upgrader.stream.Load()
	s.compressed = response.Header.Get("Sec-WebSocket-Extensions") != ""
	s.pulse.heard = since()
	s.pulse.wrote = s.pulse.heard
	s.noteSaid()
	s.watch.heard, s.watch.said = s.pulse.heard, s.pulse.heard
	return &Conn{Conn: ws, stream: s, response: pack(response, s.conn), altered: upgrader.sent.altered(upgrader.rules.ignored)}, response, nil
}

// dialError returns the error of a dial of address that failed with err. response is the
// server's, or nil.
func dialError(address string, response *http.Response, err error, requests []*url.URL) error {
	err = hideURLs(err, requests)
	if response == nil {
		return fmt.Errorf("wsconn: dial %s: %w", redact(address), err)
	}
	e := newHandshakeError(address, response, err, requests)
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return pool.RetryAfter(e, e.RetryAfter)
	}
	return e
}

// rulesFor returns the rules for a connection dialed with options to url. Its ping
// callbacks are to be called whoever receives a ping.
func (d *dialer) rulesFor(options *websocket.DialOptions, url string) *rules {
	onPing, onPong := options.OnPingReceived, options.OnPongReceived
	if onPing == nil && onPong == nil && (url == d.rules.url || d.rules.views) {
		return &d.rules
	}
	r := d.rules
	if !r.views {
		r.url = url
	}
	if onPing != nil {
		r.onPing = func(payload []byte) bool { return onPing(context.Background(), payload) }
	}
	if onPong != nil {
		r.onPong = func(payload []byte) { onPong(context.Background(), payload) }
	}
	return &r
}

// setUp calls OnConnect, and gets the connection ready to be lent. If that
// fails the connection is closed, also when OnConnect panics or ends its
// goroutine.
func (d *dialer) setUp(ctx context.Context, conn *Conn) error {
	ready := false
	defer func() {
		if !ready {
			d.closeConn(conn, errNotSetUp)
		}
	}()
	if d.options.OnConnect != nil {
		if err := d.options.OnConnect(ctx, conn); err != nil {
			return fmt.Errorf("wsconn: OnConnect: %w", err)
		}
	}
	if err := conn.settle(); err != nil {
		return fmt.Errorf("wsconn: new connection: %w", err)
	}
	ready = true
	conn.stream.rules.tender.add(conn.stream)
	return nil
}

// errNotSetUp is why a connection is closed whose OnConnect failed.
var errNotSetUp = errors.New("wsconn: connection could not be set up")
