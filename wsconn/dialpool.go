package wsconn

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// A dialPool is the pool of the dials with one key.
type dialPool struct {
	*pool.Pool[*Conn]
	all     *dialPools
	url     string
	options websocket.DialOptions // of the first dial

	// Guarded by all.mu.
	held   int       // dials that look for a connection here, or have one
	unused time.Time // when that became zero

	mu       sync.Mutex
	given    []opened // what dials have opened and the pool has not taken yet
	adopting int      // dials that wait for the pool to take it
}

// An opened is a new connection, with the response to its handshake.
type opened struct {
	conn     *Conn
	response *http.Response
}

func newDialPool(all *dialPools, key *dialKey, o *websocket.DialOptions) (*dialPool, error) {
	p := &dialPool{all: all, url: key.url}
	if o != nil {
		p.options = *cloneDialOptions(o)
	}
	// What a peer ends is no failed open: no dial is to wait for another.
	f := pool.Factory[*Conn]{Open: p.open, Close: all.opener.close, Check: all.opener.check}
	if all.opener.options.PingInterval >= 0 {
		f.Probe = all.opener.probe
	}
	config := all.config
	config.Name = key.name()
	if all.config.Name != "" {
		config.Name = all.config.Name + " " + config.Name
	}
	var err error
	p.Pool, err = pool.New(f, config)
	return p, err
}

// lend returns a view of an idle connection, or false.
func (p *dialPool) lend() (*view, bool) {
	for {
		lease, ok := p.TryGet()
		if !ok {
			return nil, false
		}
		// What is there before the first request is no reply to it. Check has left it
		// for the lease: the first part of a message, whose rest is still to come.
		if !lease.Value().silent() {
			p.Discard(lease, errBacklog)
			continue
		}
		return newView(p, lease), true
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
func (p *dialPool) open(ctx context.Context) (*Conn, error) {
	p.mu.Lock()
	if len(p.given) > 0 {
		conn := p.given[0].conn
		p.given = slices.Delete(p.given, 0, 1)
		p.mu.Unlock()
		return conn, nil
	}
	p.mu.Unlock()
	ctx, cancel := p.all.opener.limit(ctx)
	defer cancel()
	conn, _, err := p.all.opener.connect(ctx, p.url, p.options)
	return conn, err
}

// adopt makes a connection that a dial has opened one of the pool's, and returns a view of
// it or of another one. If the pool has no room it returns a connection for the dial alone.
// It fails with errTaken if the pool has taken the connection for somebody else.
//
// The dial is not left to the pool, so that it is just what websocket.Dial would do: with
// the values and the end of the caller's ctx, with the response beside the error, and
// without a wait for anything else.
func (p *dialPool) adopt(ctx context.Context, mine opened) (v *view, alone opened, err error) {
	p.mu.Lock()
	p.given = append(p.given, mine)
	p.adopting++
	p.mu.Unlock()
	lease, err := p.Get(ctx)
	spare := p.adopted(mine)
	switch {
	case errors.Is(err, pool.ErrClosed), err != nil && ctx.Err() != nil:
		if spare.conn != nil {
			p.all.opener.closeConn(spare.conn, err)
		}
		return nil, opened{}, err
	case err == nil && lease.Reused() && !lease.Value().silent():
		p.Discard(lease, errBacklog)
	case err == nil:
		if spare.conn != nil { // one has come back meanwhile
			go p.all.opener.close(spare.conn, nil)
		}
		return newView(p, lease), opened{}, nil
	}
	if spare.conn == nil {
		return nil, opened{}, errTaken
	}
	return nil, spare, nil
}

// adopted ends an adoption. It returns a connection that the pool will not take any more, if
// there is one: mine, or that of a dial that was given mine.
func (p *dialPool) adopted(mine opened) (spare opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adopting--
	if len(p.given) <= p.adopting {
		return opened{} // each of them is for one who waits
	}
	i := max(0, slices.Index(p.given, mine))
	spare = p.given[i]
	p.given = slices.Delete(p.given, i, i+1)
	return spare
}

var errTaken = errors.New("wsconn: the pool has taken the new connection for another dial")

// put gives the connection of a view back.
func (p *dialPool) put(lease pool.Lease[*Conn]) {
	p.Put(lease)
	p.all.leave(p)
}

// discard closes the connection of a view.
func (p *dialPool) discard(lease pool.Lease[*Conn], cause error) {
	p.Discard(lease, cause)
	p.all.leave(p)
}

// dialPools are the pools of a [Dialer], by key. A pool is made by the first dial with its
// key, and removed when it has been empty for a while, or when it is unused and another
// one needs its place.
type dialPools struct {
	opener *dialer // of all connections: its options have no DialOptions
	config pool.Config
	max    int

	mu      sync.Mutex
	byKey   map[dialKey]*dialPool
	leaving map[*dialPool]bool // removed, and not yet empty
	gone    pool.Stats         // counters of those that have been
	swept   time.Time
	closed  bool
}

// emptyTime is how long a pool without a connection and without a dial is kept, and how
// often somebody looks for such pools.
const emptyTime = time.Minute

// enter returns the pool of a key for one dial, which calls leave when it is over. It
// returns nil if there is no room for one more.
func (a *dialPools) enter(key dialKey, o *websocket.DialOptions) (*dialPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errDialerClosed
	}
	p := a.byKey[key]
	if p == nil {
		a.sweep()
		if len(a.byKey) >= a.max && !a.removeOldest() {
			return nil, nil
		}
		var err error
		if p, err = newDialPool(a, &key, o); err != nil {
			return nil, err
		}
		a.byKey[key] = p
	}
	p.held++
	return p, nil
}

func (a *dialPools) leave(p *dialPool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.held--; p.held == 0 {
		p.unused = time.Now()
	}
}

// sweep removes the pools that have been empty for a while.
func (a *dialPools) sweep() {
	now := time.Now()
	if now.Sub(a.swept) < emptyTime {
		return
	}
	a.swept = now
	for key, p := range a.byKey {
		if p.held > 0 || now.Sub(p.unused) < emptyTime {
			continue
		}
		if s := p.Stats(); s.ActiveConnections+s.IdleConnections+s.OpeningConnections == 0 {
			a.remove(key, p)
		}
	}
}

// removeOldest makes room for one more pool. It returns false if all are in use.
func (a *dialPools) removeOldest() bool {
	var oldest *dialPool
	var key dialKey
	for k, p := range a.byKey {
		if p.held == 0 && (oldest == nil || p.unused.Before(oldest.unused)) {
			oldest, key = p, k
		}
	}
	if oldest != nil {
		a.remove(key, oldest)
	}
	return oldest != nil
}

// remove takes a pool out that nobody uses. Its connections are closed in the background.
func (a *dialPools) remove(key dialKey, p *dialPool) {
	delete(a.byKey, key)
	a.leaving[p] = true
	go func() {
		p.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.leaving, p)
		a.gone = counters(addStats(a.gone, p.Stats()))
	}()
}

// pools returns all pools, also those that are ending.
func (a *dialPools) pools() []*dialPool {
	var all []*dialPool
	for _, p := range a.byKey {
		all = append(all, p)
	}
	for p := range a.leaving {
		all = append(all, p)
	}
	return all
}

func (a *dialPools) stats() pool.Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := a.gone
	for _, p := range a.pools() {
		sum = addStats(sum, p.Stats())
	}
	return sum
}

// end ends all pools by f, all at the same time.
func (a *dialPools) end(f func(*dialPool) error) error {
	a.mu.Lock()
	a.closed = true
	all := a.pools()
	a.mu.Unlock()
	errs := make([]error, len(all))
	var ending sync.WaitGroup
	for i, p := range all {
		ending.Go(func() { errs[i] = f(p) })
	}
	ending.Wait()
	return errors.Join(errs...)
}

// addStats returns the sum of two snapshots. A wait is as old as the older one, and an
// error that one of them has is that of both.
func addStats(a, b pool.Stats) pool.Stats {
	for _, n := range []struct{ sum, n *uint64 }{
		{&a.Gets, &b.Gets}, {&a.Waits, &b.Waits}, {&a.SameWaits, &b.SameWaits}, {&a.Gone, &b.Gone}, {&a.Timeouts, &b.Timeouts}, {&a.Canceled, &b.Canceled},
		{&a.Rejected, &b.Rejected}, {&a.Unavailable, &b.Unavailable}, {&a.Leaked, &b.Leaked},
		{&a.Opened, &b.Opened}, {&a.OpenErrors, &b.OpenErrors}, {&a.Detached, &b.Detached},
		{&a.ClosedIdle, &b.ClosedIdle}, {&a.ClosedLifetime, &b.ClosedLifetime}, {&a.ClosedCheck, &b.ClosedCheck},
		{&a.ClosedClean, &b.ClosedClean}, {&a.ClosedWatch, &b.ClosedWatch}, {&a.ClosedDiscard, &b.ClosedDiscard},
		{&a.ClosedRevoke, &b.ClosedRevoke}, {&a.ClosedReset, &b.ClosedReset}, {&a.ClosedResize, &b.ClosedResize},
		{&a.ClosedFresh, &b.ClosedFresh}, {&a.ClosedAbandoned, &b.ClosedAbandoned},
		{&a.ClosedShutdown, &b.ClosedShutdown}, {&a.Abandoned, &b.Abandoned},
	} {
		*n.sum += *n.n
	}
	a.MaxConnections += b.MaxConnections
	a.ActiveConnections += b.ActiveConnections
	a.IdleConnections += b.IdleConnections
	a.ReservedConnections += b.ReservedConnections
	a.OpeningConnections += b.OpeningConnections
	a.WaitingRequests += b.WaitingRequests
	a.OldestWait = max(a.OldestWait, b.OldestWait)
	if b.LastOpenError != nil {
		a.LastOpenError = b.LastOpenError
	}
	a.WaitTime = addHistogram(a.WaitTime, b.WaitTime)
	a.OpenTime = addHistogram(a.OpenTime, b.OpenTime)
	a.UseTime = addHistogram(a.UseTime, b.UseTime)
	return a
}

func addHistogram(a, b pool.Histogram) pool.Histogram {
	long, short := a.Counts, b.Counts
	if len(long) < len(short) {
		long, short = short, long
	}
	a.Counts = slices.Clone(long)
	for i, n := range short {
		a.Counts[i] += n
	}
	a.Count += b.Count
	if a.Sum += b.Sum; a.Sum < 0 {
		a.Sum = 1<<63 - 1
	}
	return a
}

// counters returns s without its gauges: what a pool that is gone has left behind.
func counters(s pool.Stats) pool.Stats {
	s.MaxConnections, s.ActiveConnections, s.IdleConnections, s.ReservedConnections, s.OpeningConnections = 0, 0, 0, 0, 0
	s.WaitingRequests, s.OldestWait, s.LastOpenError = 0, 0, nil
	return s
}
