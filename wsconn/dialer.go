package wsconn

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic" // whose 64-bit words are aligned wherever they are, on 32-bit processors too
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// Defaults of a [Dialer].
const (
	defaultMaxPools      = 1000
	defaultDialerMax     = 100
	defaultDialerMaxLife = 30 * time.Minute
	adoptTimeout         = time.Second
	closeWait            = time.Second
)

// A Dialer dials like [websocket.Dial], and keeps what a program tells the server in-band,
// such as a login or a subscription, on the connection: the next Dial with the same
// URL and options may get that connection. Use it where each Dial leaves nothing behind, or
// undo it in [Options.Clean]; what is the same for all belongs into [Options.OnConnect].
//
// Each Dial returns a WebSocket of its own. Close with [websocket.StatusNormalClosure]
// ends it like any other, and returns the connection below it to a pool if it is known to
// be finished; the server does not notice. From then on every call on that WebSocket, from
// whatever goroutine and through whatever the program has made of it, fails and does not
// reach the connection. Any other end closes the real connection: another status, with that
// and the reason; CloseNow; the end of a context in a call; and Close while the connection
// is not known to be finished.
//
// A connection is finished when it is between two messages in both directions, no ping
// waits for its pong, and what the Options say of it holds: with
// [Options.OneReplyPerRequest], as many messages have been received as were sent, and none
// before its request; with [Options.Finished], that returns true. If neither is set, Dial
// returns an error.
//
// Dials share connections if everything is the same that makes connections different: the
// URL, and in the options headers, Host, subprotocols, compression mode and the transport
// of the HTTP client (and the client itself if it has a CheckRedirect). Dials with a cookie
// jar, with ping callbacks or with CompressionContextTakeover share none. Nor do dials whose
// transport adds headers to a request or changes them, for example by their context, unless
// IgnoreHeaders has them. A transport that makes requests different in any other way is not for a
// Dialer: by their URL, for example, or in requests of its own, without the context of that which
// it was given.
//
// A program that forgets to close its WebSocket keeps the connection, as it would with
// websocket.Dial: [pool.Config].LeakAfter reports it, from the second one on with the callers of
// its Dial. A transport or an httptrace of the
// program that keeps the network connection can disturb those who use it later. An error of
// a request on a connection that was used before may only mean that the server has closed
// it a moment ago: dial once more, if the request may be sent twice.
//
// The zero Dialer is not valid: it needs Options. A Dialer must not be copied, nor its
// fields be changed, after the first call. All methods are safe for concurrent use.
type Dialer struct {
	// Options are those of the connections. OneReplyPerRequest or Finished is required.
	// DialOptions and Endpoint must be nil: Dial is given those of each call. So must
	// Endpoints, Discover and Distribution.
	// UnsolicitedKeep is an error. IsReply is for exchanges in OnConnect and Clean only; the
	// program gets every message.
	Options *Options

	// IgnoreHeaders are names of headers that make no connection different, such as those
	// of a trace. They are sent when a connection is opened; who gets it later has sent
	// none.
	IgnoreHeaders []string

	// Config are the limits of each pool, its Logger and Hooks. If MaxConnections is zero,
	// 100 is used, and if MaxLifetime is zero, 30 minutes. Name precedes that of each
	// pool. Dial never waits for a connection, and opens it itself: MaxWaitTime,
	// MaxWaiters, MaxOpening, MaxBackoff, FailFastAfter, OpenEagerly and OpenContext have no
	// effect. Hooks.Opened is told how long a dial took, and of none that failed.
	Config pool.Config

	// MaxPools is the number of pools, one for each URL and what else makes connections
	// different. One more takes the place of the pool that has been unused longest: see
	// [pool.GroupConfig].MaxPools. A pool without a connection is removed after a minute.
	// If zero, 1,000 is used. Negative is an error.
	MaxPools int

	once    sync.Once
	invalid error
	pools   *dialPools
	ignored map[string]bool

	failed    atomic.Uint64 // dials
	lastError atomic.Pointer[error]

	closing context.Context // ends with Shutdown and Close
	close   context.CancelFunc

	mu      sync.Mutex     // orders what is added to dialing before the end of closing, or refuses it
	dialing sync.WaitGroup // Dials that are opening a connection
}

// Dial returns a WebSocket to the server at url, as [websocket.Dial] does: on a connection
// that an earlier Dial has given back or, if none is idle, on a new one. Its arguments,
// results and errors are those of websocket.Dial. The response is that to the handshake of
// the connection, copied for this call; beside an error it is the server's, if there is
// one. Errors show scheme and host of the URL only. See [Options].HandshakeTimeout and
// ReadLimit for limits, and the package for redirects.
//
// Dial never waits for another caller: if all of Config.MaxConnections or MaxPools are in
// use, the new connection is in no pool, and its Close is a real one. ctx bounds
// this call only. After Shutdown or Close the error is [pool.ErrClosed].
func (d *Dialer) Dial(ctx context.Context, url string, opts *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	if err := d.start(); err != nil {
		return nil, nil, err
	}
	key, shared := keyOf(url, opts, d.ignored)
	if !shared || ctx.Err() != nil || checkURL(url) != nil {
		return d.dialAlone(ctx, url, opts)
	}
	for {
		if v, ok := d.pools.lend(key); ok {
			return v.dial(url, opts, d.pools.opener.options.ReadLimit)
		}
		began := time.Now()
		conn, response, err := d.open(ctx, url, opts)
		if err != nil {
			return nil, response, err
		}
		if conn.altered {
			return conn.alone(), response, nil
		}
		v, alone, err := d.pools.adopt(ctx, key, opened{conn, response, time.Since(began)}, opts)
		switch {
		case err == errTaken:
			continue // for MinIdle; there are not many of these
		case err != nil:
			return nil, nil, err
		case v != nil:
			return v.dial(url, opts, d.pools.opener.options.ReadLimit)
		}
		return alone.conn.alone(), alone.response, nil
	}
}

// dial opens the WebSocket that the program gets.
func (v *view) dial(url string, opts *websocket.DialOptions, readLimit int64) (*websocket.Conn, *http.Response, error) {
	var o websocket.DialOptions
	if opts != nil {
		o = *opts
	}
	o.HTTPClient = &http.Client{Transport: v}
	// Not the caller's ctx: nothing here waits.
	conn, response, err := websocket.Dial(context.Background(), url, &o)
	if err != nil {
		v.Close()
		return nil, response, err
	}
	conn.SetReadLimit(cmp.Or(readLimit, defaultReadLimit))
	return conn, response, nil
}

// dialAlone dials for one caller, who keeps the connection to the end.
func (d *Dialer) dialAlone(ctx context.Context, url string, opts *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	conn, response, err := d.open(ctx, url, opts)
	if err != nil {
		return nil, response, err
	}
	return conn.alone(), response, nil
}

// alone makes conn one of its holder alone, as websocket.Dial would have made it: nobody
// else looks after it.
func (c *Conn) alone() *websocket.Conn {
	c.stream.rules.tender.remove(c.stream)
	return c.Conn
}

// open opens a connection in the caller's goroutine.
func (d *Dialer) open(ctx context.Context, url string, opts *websocket.DialOptions) (*Conn, *http.Response, error) {
	if err := checkURL(url); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	if d.closing.Err() != nil {
		d.mu.Unlock()
		return nil, nil, errDialerClosed
	}
	d.dialing.Add(1)
	d.mu.Unlock()
	defer d.dialing.Done()

	ctx, cancel := d.pools.opener.limit(ctx)
	defer cancel()
	ctx, abort := context.WithCancelCause(ctx)
	defer context.AfterFunc(d.closing, func() { abort(errDialerClosed) })()
	defer abort(nil)
	var o websocket.DialOptions
	if opts != nil {
		o = *opts
	}
	conn, response, err := d.pools.opener.connect(ctx, url, o)
	if err == nil {
		d.lastError.Store(nil)
		return conn, response, nil
	}
	if cause := context.Cause(ctx); cause == errDialerClosed {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	d.failed.Add(1)
	d.lastError.Store(&err)
	if response != nil {
		response.Body = http.NoBody
		if e := (*HandshakeError)(nil); errors.As(err, &e) {
			response.Body = io.NopCloser(bytes.NewReader(e.Body))
		}
	}
	return nil, response, err
}

// start gets the Dialer ready at its first call.
func (d *Dialer) start() error {
	d.once.Do(func() { d.invalid = d.init() })
	return d.invalid
}

func (d *Dialer) init() error {
	o, err := d.Options.normalize()
	switch {
	case err != nil:
		return err
	case !o.OneReplyPerRequest && o.Finished == nil:
		return errors.New("wsconn: Dialer.Options do not say how a connection is known to be finished: set OneReplyPerRequest, or Finished")
	case o.DialOptions != nil || o.Endpoint != nil:
		return errors.New("wsconn: Dialer.Options have DialOptions or Endpoint: Dial is given those of each call")
	case len(o.Endpoints) > 0 || o.Discover != nil || o.Distribution != nil:
		return errors.New("wsconn: Dialer.Options have Endpoints, Discover or Distribution: Dial is given the URL of each call")
	case o.Unsolicited == UnsolicitedKeep:
		return errors.New("wsconn: Dialer.Options have UnsolicitedKeep: a Dial would read what was sent to another")
	case d.MaxPools < 0:
		return fmt.Errorf("wsconn: Dialer.MaxPools is negative: %d", d.MaxPools)
	}
	d.ignored = map[string]bool{}
	for _, name := range d.IgnoreHeaders {
		d.ignored[http.CanonicalHeaderKey(name)] = true
	}
	opener := &dialer{options: o, rules: o.rules()}
	opener.rules.views, opener.rules.ignored = true, d.ignored
	each, all := d.limits()
	if err := validate(each); err != nil {
		return err
	}
	d.pools = &dialPools{opener: opener, config: each, offers: map[dialKey]*offers{}}
	if d.pools.Group, err = pool.NewGroup(d.pools.newPool, all); err != nil {
		return err
	}
	d.closing, d.close = context.WithCancel(context.Background())
	return nil
}

// limits returns what bounds each pool, and all of them.
func (d *Dialer) limits() (each pool.Config, all pool.GroupConfig) {
	each = d.Config
	each.MaxConnections = cmp.Or(each.MaxConnections, defaultDialerMax)
	each.MaxLifetime = cmp.Or(each.MaxLifetime, defaultDialerMaxLife)
	// A Get of the pool waits for what the dial has opened already, and for nothing else.
	each.MaxWaitTime, each.MaxWaiters, each.OpenEagerly, each.MaxOpening = adoptTimeout, -1, true, 0
	each.MaxBackoff, each.MaxRetryAfter, each.FailFastAfter = 1, 1, 1
	each.OpenContext = nil
	return each, pool.GroupConfig{MaxPools: cmp.Or(d.MaxPools, defaultMaxPools)}
}

// validate makes a pool of c, so that what is wrong is an error of each Dial, and no reason to do
// without a pool.
func validate(c pool.Config) error {
	c.Hooks, c.Logger = pool.Hooks{}, slog.New(slog.DiscardHandler)
	p, err := pool.New(pool.Factory[*Conn]{
		Open:  func(context.Context) (*Conn, error) { return nil, errors.ErrUnsupported }, // called for MinIdle
		Close: func(*Conn, error) error { return nil },
	}, c)
	if err != nil {
		return err
	}
	return p.Close()
}

// Stats returns the sum of the pools' [pool.Stats]. Its counters never fall: those of pools
// that are gone are in it. MaxConnections is what the pools have room for that exist. OpenErrors
// and LastOpenError are those of Dial; OpenTime does not have the time of dials that failed. Waits and WaitTime
// are those for a pool to take over what a dial has opened, and tell nothing.
// Rejected are the dials over MaxConnections or MaxPools. Connections that are in no pool do
// not count.
func (d *Dialer) Stats() pool.Stats {
	if d.start() != nil {
		return pool.Stats{}
	}
	s, f := d.pools.Stats(), (*failures)(d).Stats()
	s.OpenErrors += f.OpenErrors
	if f.LastOpenError != nil {
		s.LastOpenError = f.LastOpenError
	}
	return s
}

// failures is a Dialer as the Source of its dials that have failed, which no pool has.
type failures Dialer

func (d *failures) Name() string { return cmp.Or(d.Config.Name, "failed dials") }

func (d *failures) Stats() pool.Stats {
	s := pool.Stats{OpenErrors: d.failed.Load()}
	if err := d.lastError.Load(); err != nil {
		s.LastOpenError = *err
	}
	return s
}

// Sources iterates over the pools, for exporters of metrics, as [pool.Group.Sources] does. The
// name of each shows scheme and host of its URL, and a hash of that and of everything else that
// makes its connections different; the hash is another one in each process. Once a dial has failed,
// one more Source has OpenErrors and LastOpenError of those that have, for no pool is made for them. Its name is Config.Name or, if
// that is empty, «failed dials».
func (d *Dialer) Sources() iter.Seq[pool.Source] {
	return func(yield func(pool.Source) bool) {
		if d.start() != nil {
			return
		}
		for s := range d.pools.Sources() {
			if !yield(s) {
				return
			}
		}
		if d.failed.Load() > 0 {
			yield((*failures)(d))
		}
	}
}

// Shutdown ends the Dialer, and waits for connections of its pools that are in use: see
// [pool.Pool.Shutdown]. Dials that are opening a connection fail. If ctx ends first,
// connections in use are closed, and the error wraps ctx.Err. Connections in no pool
// belong to those who have them.
func (d *Dialer) Shutdown(ctx context.Context) error {
	return d.end(ctx, func() error { return d.pools.Shutdown(ctx) })
}

// Close ends the Dialer, and closes all connections of its pools at once, those in use too:
// see [pool.Pool.Close]. It returns nil.
func (d *Dialer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	d.end(ctx, func() error { return d.pools.Close() })
	return nil
}

func (d *Dialer) end(ctx context.Context, f func() error) error {
	if d.start() != nil {
		return nil
	}
	d.mu.Lock()
	d.close()
	d.mu.Unlock()
	over := make(chan struct{})
	go func() {
		d.dialing.Wait()
		close(over)
	}()
	err := f()
	select {
	case <-over:
	case <-ctx.Done():
		// A transport that does not heed its context. What it opens is closed.
		err = errors.Join(err, fmt.Errorf("wsconn: Shutdown: a dial has not ended: %w", ctx.Err()))
	}
	return err
}

var errDialerClosed = fmt.Errorf("wsconn: the Dialer is closed: %w", pool.ErrClosed)
