package group

import (
	"context"
	"sync"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
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

	mu        atomic.Mutex // guards what follows, and changes of Table; never taken to find a pool
	closed    bool
	opening   map[K]*opening[K, M]
	openers   int           // goroutines in Config.Open
	noOpeners chan struct{} // closed once the group is closed and there are none

	leaving map[*Member[K, M]]struct{} // removed, and something of the pool is not closed yet
	gone    []*Member[K, M]            // removed, and everything is closed, by the time of that
	past    core.Stats                 // counters of those that are not even in gone any more
	names   map[string]*name

	statsM sync.Mutex // guards the next field alone: Stats holds it, and no Get or Put
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
