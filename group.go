package pool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/group"
)

// A Group has a [Pool] for each key, such as an account, a credential or an endpoint. A pool is
// made when its key is first asked for, and removed when it has been unused for a while. Create a
// Group with [NewGroup], and close it with [Group.Close] or [Group.Shutdown]. All methods are
// safe for concurrent use. A Group must not be copied. With testing/synctest it belongs to a
// bubble as a Pool does: see [ErrBubble].
//
// Each key has a pool of its own, with its own limits and its own queue: callers of one key do not
// wait for those of another.
//
// A lease knows its pool, so [Group.Put] and the other methods that end a lease need no key. They
// are those of [Pool], and return [ErrNotLeased] for a lease of a pool that is not of this group.
// Such a lease may also be ended by the methods of its pool, which [Group.Pool] returns.
//
// Get and Put take no lock and do not allocate if the key has a pool and a connection is idle in
// it. To find the pool takes 10 to 25 ns with up to a thousand strings, 40 to 60 with structs of two,
// and about a microsecond with a hundred thousand keys, as caches miss.
//
// A Group has no goroutine. While pools are in use, or will have been unused for long enough, it
// looks at them now and then, about once a second if IdleTime is 8 s or more. A pool that has
// lent a connection has one goroutine until it is removed.
type Group[K comparable, T any] struct {
	in group.Group[K, Pool[T]]
}

// GroupConfig holds the limits of a [Group]. The zero GroupConfig is valid.
type GroupConfig struct {
	// MaxPools is the number of pools that there may be at the same time. A key that needs one
	// more makes room: the pool that has been unused for longest (to within a second), and has
	// neither lease nor waiter, is removed, as by [Group.Remove], once the function given to
	// NewGroup has returned without an error. If all have one, [Group.Get] returns
	// [ErrRejected]. Pools that have been removed do not count. What PutFor has reserved is no lease,
	// and goes with its pool. A pool that has been removed forgets that opening fails: in an outage, a key that comes
	// back costs an attempt, and its lines in the log. So set it higher than the number of keys in use at the same time.
	// If zero, there is no limit. Negative is an error.
	MaxPools int

	// IdleTime is how long a pool may have no connection, no lease and no waiter. Then it is
	// removed, at most 12.5 % later (or a second, if that is less; or 20 ms, if that is more).
	// Connections that are idle keep their pool; they are closed after [Config.MaxIdleTime], so a pool with MinIdle, or
	// with a negative MaxIdleTime, stays.
	// If zero, one minute is used. Negative: pools are never removed for this.
	IdleTime time.Duration

	// MaxConnections is the upper bound on connections of all keys together, those included that
	// are being opened or closed. It is a [Budget] inside: what that says about who is served when
	// the bound is reached holds here. If a pool has a [Config.Budget] as well, both hold.
	// If zero, there is no limit but those of the pools. Negative is an error.
	MaxConnections int
}

const defaultIdleTime = time.Minute

// NewGroup returns a group without a pool. It does not block. The error names the field that is
// invalid.
//
// open returns what [New] needs for the pool of a key. It is called once for each pool, in a
// goroutine of its own, however many callers ask for the key at that time. They wait until it
// has returned, each until its own ctx ends; then the call goes on for the others, or for
// whoever comes next. If open returns an error, or panics, or what it returns is refused by New,
// all who wait get that error, nothing is kept, and the next caller has open called again. open is
// not for the dial: it may look up a key or read a configuration, and has no ctx. A call that
// does not return keeps its goroutine, and [Group.Shutdown] waits for it. It must not call
// Shutdown or Close of the group, nor ask it for the key that it is called for: it would wait for itself.
//
// [Config.Name] of each pool is what open says. Names end up in logs and metrics: make them of
// what is no secret.
func NewGroup[K comparable, T any](open func(key K) (Factory[T], Config, error), config GroupConfig) (*Group[K, T], error) {
	switch {
	case open == nil:
		return nil, errors.New("pool: NewGroup: open is nil")
	case config.MaxPools < 0:
		return nil, fmt.Errorf("pool: GroupConfig.MaxPools is negative: %d", config.MaxPools)
	case config.MaxConnections < 0:
		return nil, fmt.Errorf("pool: GroupConfig.MaxConnections is negative: %d", config.MaxConnections)
	}
	var rights *Rights
	if config.MaxConnections > 0 {
		rights = &Rights{core.NewRights(config.MaxConnections, nil)}
	}
	normalizeTime(&config.IdleTime, defaultIdleTime)
	g := new(Group[K, T])
	g.in.Init(group.Config[K, Pool[T]]{
		Open: func(key K) (group.Make[Pool[T]], error) {
			factory, config, err := open(key)
			if err != nil {
				return nil, err
			}
			factory, config, err = normalized(factory, config)
			if err != nil {
				return nil, err
			}
			if rights != nil {
				config.Budget = joined{rights, config.Budget}
			}
			return func(p *Pool[T], owner *core.Owner, gone func()) *core.Pool {
				p.core.Own(owner, gone)
				p.init(factory, config)
				return &p.core
			}, nil
		},
		MaxPools: config.MaxPools,
		IdleTime: config.IdleTime,
	})
	return g, nil
}

// Get lends a connection of the pool of key, as [Pool.Get] does. If the key has no pool, one is
// made first: see [NewGroup].
//
// If the pool is removed while Get is on its way to it or waits in it, Get goes on with the new
// pool of the key, which is made if need be. It has the time that is left of ctx, and of
// [Config.MaxWaitTime], of which the time that open takes is no part. It is not refused by
// [Config.MaxWaiters], but those who go on with another pool do not keep their order.
//
// Get returns an error when
//   - ctx ends, also before or while the pool is made: an error that wraps ctx.Err
//   - open returns an error or panics: that error
//   - [GroupConfig.MaxPools] pools are in use: [ErrRejected]
//   - the group is closed: [ErrClosed], which never means the pool
//   - the key is not equal to itself, such as a NaN
//   - [Pool.Get] does, for any other reason
func (g *Group[K, T]) Get(ctx context.Context, key K) (Lease[T], error) {
	m := g.in.Find(key)
	if m == nil {
		l, _, err := g.get(ctx, key, nil, 0)
		return Lease[T]{lease: l}, err
	}
	l, err := m.Pool.core.Get(ctx)
	if err != nil {
		if waited, closed := core.Moved(err); closed {
			l, _, err = g.get(ctx, key, m, waited)
			return Lease[T]{lease: l}, err
		}
	}
	g.in.Touch(&m.Node) // after the lease has begun: see Touch
	return Lease[T]{lease: l}, err
}

// A member is a pool of the group.
type member[K comparable, T any] = group.Member[K, Pool[T]]

// get is Get if the key has no pool, or if m, the one it had, is closed, after such a wait in it.
func (g *Group[K, T]) get(ctx context.Context, key K, m *member[K, T], waited time.Duration) (core.Lease, *Pool[T], error) {
	for {
		var err error
		if m, err = g.in.Enter(ctx, key, m); err != nil {
			return core.Lease{}, nil, err
		}
		l, err := g.getOf(ctx, m, waited)
		more, closed := core.Moved(err)
		if !closed {
			g.in.Touch(&m.Node)
			return l, &m.Pool, err
		}
		waited = max(waited, more)
	}
}

// getOf is Get of a pool that has been entered. The noted place of the lease is where a method of
// the group was called, three calls above GetMoved.
func (g *Group[K, T]) getOf(ctx context.Context, m *member[K, T], waited time.Duration) (core.Lease, error) {
	defer g.in.Leave(m) // deferred: the factory may panic, or end the goroutine
	return m.Pool.core.GetMoved(ctx, waited, 3)
}

// TryGet lends a connection of the pool of key, as [Pool.TryGet] does. It makes no pool: if the
// key has none, it returns false.
func (g *Group[K, T]) TryGet(key K) (Lease[T], bool) {
	m := g.in.Find(key)
	if m == nil {
		return Lease[T]{}, false
	}
	l, ok := m.Pool.core.TryGet()
	if ok {
		g.in.Touch(&m.Node)
	}
	return Lease[T]{lease: l}, ok
}

// Do calls f with a connection of the pool of key, as [Pool.Do] does: it is Get, f, and Put.
func (g *Group[K, T]) Do(ctx context.Context, key K, f func(ctx context.Context, conn T) error) error {
	var (
		l      core.Lease
		p      *Pool[T]
		err    error
		m      = g.in.Find(key)
		waited time.Duration
		closed = m == nil
	)
	if m != nil {
		p = &m.Pool
		if l, err = p.core.Get(ctx); err != nil {
			waited, closed = core.Moved(err)
		}
		if !closed {
			g.in.Touch(&m.Node)
		}
	}
	if closed {
		l, p, err = g.get(ctx, key, m, waited)
	}
	if err != nil {
		return err
	}
	return p.use(l, func() error { return f(ctx, unbox[T](l.Box())) })
}

// Warm opens connections of the pool of key until at least n are open, as [Pool.Warm] does. If
// the key has no pool, one is made first. If the pool is removed meanwhile, Warm goes on with the
// new one.
func (g *Group[K, T]) Warm(ctx context.Context, key K, n int) error {
	var m *member[K, T]
	for {
		var err error
		if m, err = g.in.Enter(ctx, key, m); err != nil {
			return err
		}
		err = g.warm(ctx, m, n)
		if _, closed := core.Moved(err); !closed {
			return err
		}
	}
}

func (g *Group[K, T]) warm(ctx context.Context, m *member[K, T], n int) error {
	defer g.in.Leave(m)
	defer g.in.Touch(&m.Node)
	return m.Pool.core.Warm(ctx, n)
}

// Put ends a lease and returns its connection to its pool: see [Pool.Put]. If the pool has been
// removed, the connection is closed.
func (g *Group[K, T]) Put(l Lease[T]) error {
	if p := l.lease.PoolOf(&g.in.Owner); p != nil {
		return p.Put(l.lease)
	}
	return ErrNotLeased
}

// GetSame lends the connection of a Mark and no other, as [Pool.GetSame] does. If the key has no
// pool, or another one than that of the Mark, which has been removed, the error is [ErrGone]: the
// caller starts over with Get.
func (g *Group[K, T]) GetSame(ctx context.Context, key K, mark Mark) (Lease[T], error) {
	m := g.in.Find(key)
	if m == nil {
		return Lease[T]{}, g.goneWithItsPool()
	}
	l, err := m.Pool.core.GetSame(ctx, mark.mark)
	if _, closed := core.Moved(err); closed || err == ErrNotLeased {
		return Lease[T]{}, g.goneWithItsPool()
	}
	g.in.Touch(&m.Node)
	return Lease[T]{lease: l}, err
}

// TryGetSame lends the connection of a Mark if it is idle or reserved, as [Pool.TryGetSame] does.
func (g *Group[K, T]) TryGetSame(key K, mark Mark) (Lease[T], bool) {
	m := g.in.Find(key)
	if m == nil {
		return Lease[T]{}, false
	}
	l, ok := m.Pool.core.TryGetSame(mark.mark)
	if ok {
		g.in.Touch(&m.Node)
	}
	return Lease[T]{lease: l}, ok
}

// inline calls what the fast paths of a Group use. The methods of a Group are compiled in the package
// that uses it, and the compiler passes on to that the bodies that are to be inlined there
// only if some function that is not generic calls them here.
func inline(t *group.Tender, n *group.Node, l core.Lease, o *core.Owner) *core.Pool {
	t.Touch(n)
	return l.PoolOf(o)
}

var _ = inline

// goneWithItsPool is what GetSame returns if the pool of a Mark is not that of its key.
func (g *Group[K, T]) goneWithItsPool() error {
	if g.in.Closed() {
		return ErrClosed
	}
	return errPoolGone
}

var errPoolGone = fmt.Errorf("%w: the key has another pool than the Mark, or none", ErrGone)

// PutFor is [Pool.PutFor].
func (g *Group[K, T]) PutFor(l Lease[T], d time.Duration) error {
	if p := l.lease.PoolOf(&g.in.Owner); p != nil {
		return p.PutFor(l.lease, d)
	}
	return ErrNotLeased
}

// PutUnused is [Pool.PutUnused].
func (g *Group[K, T]) PutUnused(l Lease[T]) error {
	if p := l.lease.PoolOf(&g.in.Owner); p != nil {
		return p.PutUnused(l.lease)
	}
	return ErrNotLeased
}

// Discard ends a lease and closes its connection: see [Pool.Discard].
func (g *Group[K, T]) Discard(l Lease[T], cause error) error {
	if p := l.lease.PoolOf(&g.in.Owner); p != nil {
		return p.Discard(l.lease, cause)
	}
	return ErrNotLeased
}

// Detach ends a lease and takes its connection out of its pool for good: see [Pool.Detach].
func (g *Group[K, T]) Detach(l Lease[T]) (T, error) {
	if p := l.lease.PoolOf(&g.in.Owner); p != nil {
		box, err := p.Detach(l.lease)
		return unbox[T](box), err
	}
	var none T
	return none, ErrNotLeased
}

// Pool returns the pool of a key. It returns false if the key has none, or if it is still being
// made. The pool may be removed at any time; then its Get returns an error that wraps
// [ErrClosed]. A pool that is closed by its own methods is removed when the group notices: when
// it is asked for a connection, or when all of the pool is closed.
func (g *Group[K, T]) Pool(key K) (*Pool[T], bool) {
	m := g.in.Find(key)
	if m == nil {
		return nil, false
	}
	return &m.Pool, true
}

// All iterates over the keys that have a pool, in no order, and their pools. It takes no lock: of
// pools that come or go meanwhile, it may have some. The loop may call any method of the group.
func (g *Group[K, T]) All() iter.Seq2[K, *Pool[T]] {
	return func(yield func(K, *Pool[T]) bool) {
		for m := range g.in.All {
			if !yield(m.Key, &m.Pool) {
				return
			}
		}
	}
}

// Sources iterates over all pools, for exporters, those included that have been removed and are
// not empty yet. An exporter that adds up the counters of equal names never sees a sum fall as
// long as there is a pool of that name: one more Source with that name has what those that are
// gone have counted. What is left of a name none of whose pools is there any more is in Stats
// alone. [ByName] adds up equal names, and limits how many there are.
func (g *Group[K, T]) Sources() iter.Seq[Source] {
	return func(yield func(Source) bool) {
		pools, past := g.in.Sources()
		for _, p := range pools {
			if !yield(p) {
				return
			}
		}
		for _, s := range past {
			if !yield(reading{s.Name, statsOf(s.Stats)}) {
				return
			}
		}
	}
}

// Stats returns the sum of the Stats of all pools, those included that have been removed. No
// counter is ever less than in an earlier call. OldestWait is the longest of all, LastOpenError
// that of any of the pools. Rejected includes callers for whom there was no room for a pool. It
// looks at every pool.
func (g *Group[K, T]) Stats() Stats { return statsOf(g.in.Stats()) }

// Remove takes the pool of a key out of the group, for example because the account has a new
// key: it reports whether there was one. From then on the pool lends nothing and ends as in
// [Pool.Shutdown]: idle connections are closed at once, leased ones when they come back, and
// those being opened are given up. The next caller for the key has a new pool made, and so have
// those who wait in the removed one. Remove does not wait.
//
// A pool that is still being made counts as one: what open returns is thrown away, and those who
// wait for it have open called again. So after Remove nobody gets a connection that was opened
// with what open had returned before, except for leases that are in force.
//
// Until everything in it is closed, a removed pool counts in [Group.Stats], and Shutdown and Close
// wait for it.
func (g *Group[K, T]) Remove(key K) bool { return g.in.Remove(key) }

// Reset retires all connections of all pools that exist now: see [Pool.Reset].
func (g *Group[K, T]) Reset() {
	for m := range g.in.All {
		m.Pool.core.Reset()
	}
}

// Shutdown closes the group and all its pools, and waits for connections that are in use, as
// [Pool.Shutdown] does, and for open where it has not returned. From the call on nothing is lent:
// callers who wait and callers who come get [ErrClosed]. If ctx ends first, Shutdown closes what is
// still leased and returns an error that wraps ctx.Err.
func (g *Group[K, T]) Shutdown(ctx context.Context) error { return g.in.Shutdown(ctx) }

// Close closes the group, all its pools and all their connections at once, as [Pool.Close] does.
// It waits for at most one second, for all of them together. It returns nil.
func (g *Group[K, T]) Close() error { return g.in.Close() }
