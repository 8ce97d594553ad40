package group

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/step"
)

// A Group has a pool for each key, in a shell M.
//
// The table has the members whose pools lend. A pool is closed only after its member has left the
// table. So a caller that is told by a pool that it is closed looks again, under the lock, and finds
// another pool, or none, and has one made. The only exception is a pool that its user has closed
// behind the back of the group: Enter is told of it, and removes it.
//
// No function of the user, nor any that waits, is called under the lock. A caller that finds its
// pool never takes it.
type Group[K comparable, M any] struct {
	Table[K, M]
	Tender
	Owner core.Owner

	config Config[K, M]
	epoch  time.Time
	timer  *time.Timer // the alarm; rings if it has not been set to anything else

	mu        sync.Mutex // guards what follows, and changes of Table; never taken to find a pool
	closed    bool
	opening   map[K]*opening[K, M]
	openers   int           // goroutines in Config.Open
	noOpeners chan struct{} // closed once the group is closed and there are none

	leaving map[*Member[K, M]]struct{} // removed, and something of the pool is not closed yet
	gone    []*Member[K, M]            // removed, and everything is closed, by the time of that
	past    core.Stats                 // counters of those that are not even in gone any more
	names   map[string]*name

	statsM sync.Mutex // guards most
	most   core.Stats // counters that Stats has returned: they never fall
}

// A Config is how a Group makes pools and how long it keeps them.
type Config[K comparable, M any] struct {
	// Open is the user's function. It returns one that makes the pool of a key in its shell.
	Open     func(K) (Make[M], error)
	MaxPools int           // 0: no bound
	IdleTime time.Duration // negative: never
}

// A Make makes a pool in m, and returns its core. The pool belongs to owner, and calls gone once
// it is closed and everything in it.
type Make[M any] func(m *M, owner *core.Owner, gone func()) *core.Pool

// An opening is one call of Config.Open, and those who wait for it.
type opening[K comparable, M any] struct {
	key    K
	askers int           // under the lock
	done   chan struct{} // closed when member or err is set
	member *Member[K, M]
	err    error // errAgain: look again
}

var (
	errAgain  = errors.New("pool: internal error: the pool was removed while it was being made")
	errKey    = errors.New("pool: the key of a Group is not equal to itself")
	errGoexit = errors.New(openName + " called runtime.Goexit")
)

const openName = "pool: the function given to NewGroup"

// A name is what pools of the same name have in common.
type name struct {
	pools int         // with that name, those included that are not forgotten yet
	past  *core.Stats // counters of those that are; may be nil
}

// keepGone is how long the counters of a pool that is gone are still read from it: callers whose
// wait has ended with it may have to count that yet.
const keepGone = time.Second

// Init makes g an empty group.
func (g *Group[K, M]) Init(config Config[K, M]) {
	g.config, g.epoch = config, time.Now()
	g.Table.Init()
	g.timer = time.AfterFunc(never, g.tend)
	g.timer.Stop()
	g.Tender.init(config.IdleTime, config.MaxPools > 0, g.epoch, func(d time.Duration) { g.timer.Reset(d) })
	g.opening = make(map[K]*opening[K, M])
	g.leaving = make(map[*Member[K, M]]struct{})
	g.names = make(map[string]*name)
	g.noOpeners = make(chan struct{})
}

// Closed reports whether the group has been closed.
func (g *Group[K, M]) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func (g *Group[K, M]) now() time.Duration { return time.Since(g.epoch) }

// Enter returns the member of a key. If there is none, it has one made, and waits for that until
// ctx ends. last is the member whose pool has just told the caller that it is closed, or nil.
// Until Leave the pool counts as used.
func (g *Group[K, M]) Enter(ctx context.Context, key K, last *Member[K, M]) (*Member[K, M], error) {
	if key != key {
		return nil, errKey
	}
	for {
		if ctx.Err() != nil {
			return nil, core.ContextEnded(ctx)
		}
		if core.Elsewhere(g.epoch) {
			return nil, core.ErrBubble
		}
		m, o, err := g.ask(key, last)
		if o == nil {
			return m, err
		}
		step.At("enter: asked")
		select {
		case <-o.done:
		case <-ctx.Done():
			g.mu.Lock()
			if o.member != nil {
				o.member.pins--
			} else {
				o.askers--
			}
			g.mu.Unlock()
			return nil, core.ContextEnded(ctx)
		}
		if o.err != errAgain {
			return o.member, o.err
		}
		last = nil
	}
}

// ask finds the member of a key, or the opening that will make it.
func (g *Group[K, M]) ask(key K, last *Member[K, M]) (*Member[K, M], *opening[K, M], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, core.ErrClosed
	}
	m := g.Find(key)
	if m != nil && m == last {
		g.take(m) // its user has closed the pool itself
		m = nil
	}
	if m != nil {
		m.pins++
		return m, nil, nil
	}
	o := g.opening[key]
	if o == nil {
		// What is taken to make room is looked for when the new pool is made: none should go for
		// one that cannot be made. But nobody has one made for whom there will be no room.
		if n := g.config.MaxPools; n > 0 && g.Len()+len(g.opening) >= n && g.oldest() == nil {
			g.past.Rejected++
			return nil, nil, core.ErrRejected
		}
		o = &opening[K, M]{key: key, done: make(chan struct{})}
		g.opening[key] = o
		g.openers++
		go g.open(o)
	}
	o.askers++
	return nil, o, nil
}

// Leave says that a caller of Enter has got to the pool.
func (g *Group[K, M]) Leave(m *Member[K, M]) {
	g.mu.Lock()
	m.pins--
	g.mu.Unlock()
}

// open is the goroutine of an opening.
func (g *Group[K, M]) open(o *opening[K, M]) {
	var made Make[M]
	err := errGoexit
	defer func() { g.opened(o, made, err) }() // deferred, in case of runtime.Goexit
	err = core.Guard(openName, func() (err error) {
		made, err = g.config.Open(o.key)
		return err
	})
}

// opened ends an opening.
func (g *Group[K, M]) opened(o *opening[K, M], made Make[M], err error) {
	step.At("opened: open has returned")
	var evicted *Member[K, M]
	g.mu.Lock()
	g.openers--
	g.noteOpeners()
	if o.err == nil { // nobody has removed it
		delete(g.opening, o.key)
		if n := g.config.MaxPools; err == nil && n > 0 && g.Len() >= n {
			if n := g.oldest(); n != nil {
				evicted = n.member.(*Member[K, M])
				g.take(evicted)
			} else {
				err = core.ErrRejected
				g.past.Rejected += uint64(o.askers)
			}
		}
		if o.err = err; err == nil {
			o.member = g.add(o, made)
			if g.Len() == g.config.MaxPools {
				g.collect() // from now on it matters who is used after whom
			}
		}
		close(o.done)
	}
	g.mu.Unlock()
	if evicted != nil {
		evicted.core.Retire()
	}
}

// add makes the pool of an opening, for those who wait for it.
func (g *Group[K, M]) add(o *opening[K, M], made Make[M]) *Member[K, M] {
	m := &Member[K, M]{Key: o.key}
	m.core = made(&m.Pool, &g.Owner, func() { g.left(m) })
	m.Node.pool, m.Node.member, m.pins = m.core, m, o.askers
	g.Put(m)
	g.Tender.add(&m.Node)
	n := g.names[m.core.Name()]
	if n == nil {
		n = new(name)
		g.names[m.core.Name()] = n
	}
	n.pools++
	return m
}

// take takes a member out of the table: nobody finds it any more. Retire its pool afterwards,
// without the lock. The race with a Get: here the member leaves the table, then its pool is
// closed. There a Get that has found the member asks its pool, and if that is closed, looks
// again.
func (g *Group[K, M]) take(m *Member[K, M]) {
	g.Delete(m)
	g.Tender.remove(&m.Node)
	if m.gone {
		g.bury(m)
	} else {
		g.leaving[m] = struct{}{}
	}
}

// left is called once the pool of m is closed and everything in it.
func (g *Group[K, M]) left(m *Member[K, M]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.gone = true
	if _, ok := g.leaving[m]; ok {
		delete(g.leaving, m)
		g.bury(m)
	} else if !m.removed {
		g.take(m) // its user has closed the pool itself
	}
}

// bury notes that nothing of a removed pool is left but its counters.
func (g *Group[K, M]) bury(m *Member[K, M]) {
	m.goneAt = g.now()
	g.gone = append(g.gone, m)
	if !g.closed {
		g.rouse()
	}
}

// forget adds the counters of pools that have been gone for a while to the past. It returns after
// how long there is more of them.
func (g *Group[K, M]) forget(now time.Duration) (after time.Duration) {
	n := 0
	for _, m := range g.gone {
		if now-m.goneAt < keepGone {
			after = keepGone - (now - m.goneAt)
			break
		}
		n++
		s := m.core.Stats()
		g.past.AddCounters(s)
		name := g.names[m.core.Name()]
		if name.pools--; name.pools == 0 {
			delete(g.names, m.core.Name())
			continue
		}
		if name.past == nil {
			name.past = new(core.Stats)
		}
		name.past.AddCounters(s)
	}
	g.gone = append(g.gone[:0:0], g.gone[n:]...) // an array of its own: none of those that are forgotten is kept
	if len(g.gone) == 0 {
		g.gone, after = nil, never
	}
	return after
}

// tend is what happens when the alarm rings.
func (g *Group[K, M]) tend() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	now := g.now()
	due := g.look(now)
	for _, n := range due {
		g.take(n.member.(*Member[K, M]))
	}
	g.rest(now, g.forget(now))
	g.mu.Unlock()
	for _, n := range due {
		n.pool.Retire()
	}
}

// Remove takes the pool of a key out of the group, and closes it as Retire does. A pool that is
// being made is not made: it may have been begun with what is out of date. Those who wait for it
// have another one made.
func (g *Group[K, M]) Remove(key K) bool {
	if core.Elsewhere(g.epoch) {
		return false
	}
	g.mu.Lock()
	m, o := g.Find(key), g.opening[key]
	switch {
	case m != nil:
		g.take(m)
	case o != nil:
		g.cancel(o, errAgain)
	}
	g.mu.Unlock()
	if m != nil {
		step.At("remove: taken")
		m.core.Retire()
	}
	return m != nil || o != nil
}

// cancel ends an opening before Config.Open has returned.
func (g *Group[K, M]) cancel(o *opening[K, M], err error) {
	delete(g.opening, o.key)
	o.err = err
	close(o.done)
}

// noteOpeners closes noOpeners once the group is closed and no opening is under way.
func (g *Group[K, M]) noteOpeners() {
	if g.closed && g.openers == 0 {
		close(g.noOpeners)
	}
}

// close closes the group, and returns all pools that may have anything open.
func (g *Group[K, M]) close() (pools []*core.Pool) {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		g.timer.Stop()
		for _, o := range g.opening {
			g.cancel(o, core.ErrClosed)
		}
		g.noteOpeners()
		for m := range g.All {
			g.Tender.remove(&m.Node)
			g.leaving[m] = struct{}{}
		}
		g.Clear()
	}
	for m := range g.leaving {
		pools = append(pools, m.core)
	}
	g.mu.Unlock()
	for _, p := range pools {
		p.Retire()
	}
	return pools
}

// Shutdown closes the group and waits until everything is closed and nothing is being made, or
// ctx ends.
func (g *Group[K, M]) Shutdown(ctx context.Context) error {
	if core.Elsewhere(g.epoch) {
		return core.ErrBubble
	}
	pools := g.close()
	ended := func(c <-chan struct{}) bool { return closedBefore(c, ctx.Done()) }
	all := ended(g.noOpeners)
	for _, p := range pools {
		if !all {
			break
		}
		all = ended(p.AllGone())
	}
	if all {
		g.awaitQuiet(pools)
		return nil
	}
	s, unclosed := g.Stats(), 0
	for _, p := range pools {
		unclosed += p.Unclosed()
		p.Sever()
	}
	return core.ShutdownEnded(ctx, s.ActiveConnections, unclosed, s.OpeningConnections)
}

// Close closes the group and all connections at once.
func (g *Group[K, M]) Close() error {
	if core.Elsewhere(g.epoch) {
		return core.ErrBubble
	}
	pools := g.close()
	for _, p := range pools {
		p.Sever()
	}
	g.awaitQuiet(pools)
	return nil
}

// closedBefore waits until c is closed or end comes. If both have happened, c counts.
func closedBefore[T any](c <-chan struct{}, end <-chan T) bool {
	select {
	case <-c:
		return true
	default:
	}
	select {
	case <-c:
		return true
	case <-end:
		return false
	}
}

// awaitQuiet waits for the last goroutines of the pools, and of those that make one, for as long
// as Close of one pool does, for all together.
func (g *Group[K, M]) awaitQuiet(pools []*core.Pool) {
	grace := time.NewTimer(core.CloseGrace)
	defer grace.Stop()
	quiet := func(c <-chan struct{}) bool { return closedBefore(c, grace.C) }
	if !quiet(g.noOpeners) {
		return
	}
	for _, p := range pools {
		if !quiet(p.Quiet()) {
			return
		}
	}
}

// Stats returns the sum over all pools, those included that have been removed. Their counters
// are kept for ever.
func (g *Group[K, M]) Stats() core.Stats {
	g.mu.Lock()
	sum := g.past.Clone()
	gone := g.gone
	pools := make([]*core.Pool, 0, g.Len()+len(g.leaving))
	for m := range g.All {
		pools = append(pools, m.core)
	}
	for m := range g.leaving {
		pools = append(pools, m.core)
	}
	g.mu.Unlock()
	for _, p := range pools {
		sum.Add(p.Stats())
	}
	for _, m := range gone {
		sum.AddCounters(m.core.Stats())
	}
	g.statsM.Lock()
	defer g.statsM.Unlock()
	// Whoever has counted something in a pool after its counters were kept is not in the next
	// sum, and may have been in the last one.
	sum.AtLeast(g.most)
	g.most = sum.Clone()
	return sum
}

// A Past is what pools of a name have counted that are gone.
type Past struct {
	Name  string
	Stats core.Stats
}

// Sources returns all pools, and what those that are gone have counted, by name, as long as there
// is another one of that name.
func (g *Group[K, M]) Sources() (pools []*M, past []Past) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m := range g.All {
		pools = append(pools, &m.Pool)
	}
	for m := range g.leaving {
		pools = append(pools, &m.Pool)
	}
	for _, m := range g.gone {
		pools = append(pools, &m.Pool)
	}
	for s, n := range g.names {
		if n.past != nil {
			past = append(past, Past{s, n.past.Clone()})
		}
	}
	return pools, past
}
