package puddle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
)

var (
	// ErrClosedPool is returned for a pool that is closed, also to callers who wait when it is.
	ErrClosedPool = errors.New("closed pool")

	// ErrNotAvailable is returned by TryAcquire if no resource is idle, and by CreateResource if
	// the pool is full.
	ErrNotAvailable = errors.New("resource not available")
)

// A Constructor makes a resource. ctx has the values of the ctx of the caller who asks for it, or of
// the one that has waited longest, and does not end with it.
type Constructor[T any] func(ctx context.Context) (res T, err error)

// A Destructor ends a resource. It is called once for each, in a goroutine of its own.
type Destructor[T any] func(res T)

// Config says what a pool is made of. [Configure] sets more.
type Config[T any] struct {
	Constructor Constructor[T]
	Destructor  Destructor[T]
	MaxSize     int32 // how many resources there may be; at least 1
}

// A Pool lends resources, each to one caller at a time. All methods are safe for concurrent use.
type Pool[T any] struct {
	pool  *pool.Pool[*Resource[T]]
	max   int32
	epoch time.Time // zero of LastUsedNanotime

	resets atomic.Uint64
	apart  sync.WaitGroup // calls of the Destructor after a Reset

	closed   atomic.Bool
	creating atomic.Int32  // goroutines of TryAcquire
	unasked  atomic.Uint64 // acquisitions that Stat does not count, and
	begun    atomic.Uint64 // calls that make such,
	counted  atomic.Uint64 // and those of them that are in unasked
	acquires atomic.Uint64 // the most that Stat has told
	empty    atomic.Int64  // that have waited
	waited   atomic.Int64  // for so many ns
	canceled atomic.Int64
}

// most is how many connections a pool can have.
const most = 65535

// NewPool makes a pool, without a resource. The error says that MaxSize is less than 1, or what
// is wrong with what [Configure] has set.
func NewPool[T any](config *Config[T]) (*Pool[T], error) {
	if config.MaxSize < 1 {
		return nil, fmt.Errorf("puddle: MaxSize is %d, want at least 1", config.MaxSize)
	}
	p := &Pool[T]{max: config.MaxSize, epoch: time.Now()}
	constructor, destructor := config.Constructor, config.Destructor
	factory := pool.Factory[*Resource[T]]{
		Open: func(ctx context.Context) (*Resource[T], error) {
			ctx, cancel := p.bounded(ctx)
			defer cancel()
			era := p.resets.Load()
			value, err := constructor(ctx)
			if err != nil {
				return nil, err
			}
			return &Resource[T]{value: value, pool: p, era: era, lastUsed: p.now()}, nil
		},
		Close: func(res *Resource[T], _ error) error {
			if res.era == p.resets.Load() {
				destructor(res.value)
				return nil
			}
			// After a Reset nobody waits for its place: the network may be gone, and the
			// Destructor take long.
			p.apart.Go(func() {
				defer func() { _ = recover() }() // as the pool does
				destructor(res.value)
			})
			return nil
		},
	}
	c := configured(int(min(config.MaxSize, most)))
	if leaked := c.Hooks.Leaked; leaked != nil {
		c.Hooks.Leaked = func(info pool.LeaseInfo) { leaked(bare[T](info)) }
	}
	c.OpenContext = p.passing(c.OpenContext)
	var err error
	if p.pool, err = pool.New(factory, c); err != nil {
		return nil, err
	}
	register(p, native[T]{p.pool})
	return p, nil
}

// now is the time in ns since the pool was made, and never 0.
func (p *Pool[T]) now() int64 { return int64(time.Since(p.epoch)) + 1 }

// Acquire returns an idle resource or, if none is idle, the next one that is released or constructed. It waits until
// then, or until ctx ends. Callers are served first come, first served.
func (p *Pool[T]) Acquire(ctx context.Context) (*Resource[T], error) {
	l, err := p.pool.Get(ctx)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			p.canceled.Add(1)
		}
		return nil, plain(ctx, err)
	}
	if d := l.Waited(); d > 0 {
		p.empty.Add(1)
		p.waited.Add(int64(d))
	}
	return acquire(l), nil
}

// plain returns what puddle returns for an error of the pool: the error of the Constructor, or of ctx, as
// it is, where there is nothing to add.
func plain(ctx context.Context, err error) error {
	var failed *pool.OpenError
	switch {
	case errors.Is(err, pool.ErrClosed):
		return ErrClosedPool
	case errors.Is(err, pool.ErrFull):
		return ErrNotAvailable
	case !errors.As(err, &failed):
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return ctx.Err()
		}
	case err == error(failed):
		return failed.Err
	}
	return err
}

// TryAcquire returns an idle resource, or ErrNotAvailable if there is none or if callers wait. Then a resource is
// constructed in the background, if there is room and no outage forbids it; ctx ends the wait for that.
func (p *Pool[T]) TryAcquire(ctx context.Context) (*Resource[T], error) {
	if l, ok := p.pool.TryGet(); ok {
		return acquire(l), nil
	}
	if p.closed.Load() {
		return nil, ErrClosedPool
	}
	if p.creating.Add(1) > p.max { // more cannot be of use
		p.creating.Add(-1)
		return nil, ErrNotAvailable
	}
	go func() {
		defer p.creating.Add(-1)
		_ = p.add(ctx)
	}()
	return nil, ErrNotAvailable
}

// AcquireAllIdle returns all resources that are idle, for example to send something on each. They do
// not count in Stat. It returns nil if the pool is closed.
func (p *Pool[T]) AcquireAllIdle() []*Resource[T] {
	p.begun.Add(1)
	leases := p.pool.TryGetAll()
	p.unasked.Add(uint64(len(leases)))
	p.counted.Add(1)
	var all []*Resource[T]
	for _, l := range leases {
		all = append(all, acquire(l))
	}
	return all
}

// CreateResource constructs a resource, which is idle then, or goes to the caller that has waited longest. It
// waits until that is done, and returns ErrNotAvailable if the pool is full.
func (p *Pool[T]) CreateResource(ctx context.Context) error {
	if err := p.add(ctx); err != nil {
		return plain(ctx, err)
	}
	return nil
}

// add constructs a resource, for at most as long as ctx lasts.
func (p *Pool[T]) add(ctx context.Context) error { return p.pool.Add(&binding{ctx}) }

// A binding is the ctx of a call that bounds the Constructor.
type binding struct{ context.Context }

// boundBy is the key of the value by which the Constructor gets it: values are all that it gets.
type boundBy struct{ pool any }

// passing returns an OpenContext that also passes on the ctx that bounds the call. For all other callers it
// costs no look at their values.
func (p *Pool[T]) passing(values func(context.Context) context.Context) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context {
		b, bound := ctx.(*binding)
		if bound {
			ctx = b.Context
		}
		var passed context.Context
		if values != nil {
			passed = values(ctx)
		}
		if bound {
			if passed == nil {
				passed = context.Background()
			}
			passed = context.WithValue(passed, boundBy{p}, b.Context)
		}
		return passed
	}
}

// bounded returns ctx with the end of the ctx that bounds the call, if there is one.
func (p *Pool[T]) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, ok := ctx.Value(boundBy{p}).(context.Context)
	if !ok {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	expire := cancel
	if deadline, ok := bound.Deadline(); ok {
		ctx, expire = context.WithDeadline(ctx, deadline)
	}
	stop := context.AfterFunc(bound, func() {
		if bound.Err() != context.DeadlineExceeded { // that is for ctx to tell
			cancel()
		}
	})
	return ctx, func() { stop(); expire(); cancel() }
}

// Reset destroys all resources: idle ones now, others when they are released. What is being
// constructed does not get into the pool. What is destroyed has no place any more, so there may be more than
// MaxSize until it is. Reset also ends an outage.
func (p *Pool[T]) Reset() {
	p.resets.Add(1)
	p.pool.Reset()
}

// Close destroys all resources, and waits until those that are acquired have been released and everything is
// destroyed. From the call on there are no more resources for anybody.
func (p *Pool[T]) Close() {
	p.closed.Store(true)
	_ = p.pool.Shutdown(context.Background())
	p.apart.Wait() // nothing is added any more
	unregister(p)
}
