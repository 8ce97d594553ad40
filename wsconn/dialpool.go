package wsconn

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/opentime"
	"github.com/coder/websocket"
)

// dialPools are the pools of a [Dialer], one for each key.
//
// A dial opens its connection itself, and then offers it to the pool of its key. It is not left
// to the pool, so that it is just what websocket.Dial would do: with the values and the end of
// the caller's ctx, with the response beside the error, and without a wait for anything else.
// Until a dial has opened something, it makes no pool and takes the place of none.
type dialPools struct {
	*pool.Group[dialKey, *Conn]
	opener *dialer     // of all connections: its options have no DialOptions
	config pool.Config // of each pool

	mu     sync.Mutex // guards offers, and what is in them; held for no dial
	offers map[dialKey]*offers
}

// offers are what dials with one key have opened. They are the key's, not its pool's: a dial whose
// pool is removed goes on with the next one.
type offers struct {
	options *websocket.DialOptions // of the first of the dials; a copy
	given   []opened               // what no pool has taken yet
	dials   int                    // that wait for a pool to take it: at least as many
}

// An opened is a new connection, with the response to its handshake.
type opened struct {
	conn     *Conn
	response *http.Response
	took     time.Duration // to open it
}

// newPool is what the Group makes the pool of a key of.
func (a *dialPools) newPool(key dialKey) (pool.Factory[*Conn], pool.Config, error) {
	a.mu.Lock()
	o := a.offers[key]
	a.mu.Unlock()
	config := a.config
	if o == nil { // the dial has not waited
		return pool.Factory[*Conn]{}, config, errWithdrawn
	}
	config.Name = key.name()
	if a.config.Name != "" {
		config.Name = a.config.Name + " " + config.Name
	}
	return a.factory(key, o.options), config, nil
}

// factory returns the factory of the connections with one key.
func (a *dialPools) factory(key dialKey, options *websocket.DialOptions) pool.Factory[*Conn] {
	// What a peer ends is no failed open: no dial is to wait for another.
	f := pool.Factory[*Conn]{
		Open:  func(ctx context.Context) (*Conn, error) { return a.open(ctx, key, options) },
		Close: a.opener.close,
		Check: a.opener.check,
	}
	if a.opener.options.PingInterval >= 0 {
		f.Probe = a.opener.probe
	}
	return f
}

// lend returns a view of an idle connection, or false.
func (a *dialPools) lend(key dialKey) (*view, bool) {
	for {
		lease, ok := a.TryGet(key)
		if !ok {
			return nil, false
		}
		// What is there before the first request is no reply to it. Check has left it
		// for the lease: the first part of a message, whose rest is still to come.
		if !lease.Value().silent() {
			a.Discard(lease, errBacklog)
			continue
		}
		return newView(a, lease), true
	}
}

// silent reports whether nothing has been received that nobody has read.
func (c *Conn) silent() bool {
	if c.stream.hold() != nil {
		return false
	}
	defer c.stream.release()
	return c.stream.backlog.len() == 0
}

// open is Factory.Open: it takes a connection that a dial has opened. It dials when the
// pool wants one for MinIdle.
func (a *dialPools) open(ctx context.Context, key dialKey, options *websocket.DialOptions) (*Conn, error) {
	if o := a.take(key); o.conn != nil {
		opentime.Tell(ctx, o.took)
		return o.conn, nil
	}
	ctx, cancel := a.opener.limit(ctx)
	defer cancel()
	conn, _, err := a.opener.connect(ctx, key.url, *options)
	if err == nil && conn.altered {
		a.opener.closeConn(conn, errAltered)
		return nil, errAltered
	}
	return conn, err
}

// take takes the connection that has been offered for longest, if there is one.
func (a *dialPools) take(key dialKey) (oldest opened) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.offers[key]
	if o == nil || len(o.given) == 0 {
		return opened{}
	}
	oldest = o.given[0]
	o.given = slices.Delete(o.given, 0, 1)
	return oldest
}

// adopt makes a connection that a dial has opened one of the pool's, and returns a view of
// it or of another one. If there is no room, in the pool or for the pool, it returns a connection
// for the dial alone. It fails with errTaken if the pool has taken the connection for somebody else.
func (a *dialPools) adopt(ctx context.Context, key dialKey, mine opened, options *websocket.DialOptions) (v *view, alone opened, err error) {
	a.offer(key, mine, options)
	lease, err := a.Get(ctx, key)
	spare := a.withdraw(key, mine)
	switch {
	case errors.Is(err, pool.ErrClosed), err != nil && ctx.Err() != nil:
		if spare.conn != nil {
			a.opener.closeConn(spare.conn, err)
		}
		return nil, opened{}, err
	case err == nil && lease.Reused() && !lease.Value().silent():
		a.Discard(lease, errBacklog)
	case err == nil:
		if spare.conn != nil { // one has come back meanwhile
			go a.opener.close(spare.conn, nil)
		}
		return newView(a, lease), opened{}, nil
	}
	if spare.conn == nil {
		return nil, opened{}, errTaken
	}
	return nil, spare, nil
}

// offer begins an adoption.
func (a *dialPools) offer(key dialKey, mine opened, options *websocket.DialOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.offers[key]
	if o == nil {
		o = &offers{options: new(websocket.DialOptions)}
		if options != nil {
			o.options = cloneDialOptions(options)
		}
		a.offers[key] = o
	}
	o.given = append(o.given, mine)
	o.dials++
}

// withdraw ends an adoption. It returns a connection that no pool will take any more, if
// there is one: mine, or that of a dial that was given mine.
func (a *dialPools) withdraw(key dialKey, mine opened) (spare opened) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.offers[key]
	if o.dials--; o.dials == 0 {
		delete(a.offers, key)
	}
	if len(o.given) <= o.dials {
		return opened{} // each of them is for one who waits
	}
	i := max(0, slices.Index(o.given, mine))
	spare = o.given[i]
	o.given = slices.Delete(o.given, i, i+1)
	return spare
}

var (
	errTaken     = errors.New("wsconn: the pool has taken the new connection for another dial")
	errWithdrawn = errors.New("wsconn: the dial for which a pool was to be made has ended")
)
