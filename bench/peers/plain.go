package peers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"golang.org/x/sync/semaphore"
)

// What one writes oneself, rather than import a pool.

var semaphoreStack = harness.Peer{
	Name:   "x/sync semaphore",
	Module: "golang.org/x/sync v0.25.0",
	How:    "its semaphore as the limit, and a slice with a mutex for what is idle",
	New: func(s harness.Settings) (harness.Pool, error) {
		p := &stack{sem: semaphore.NewWeighted(int64(s.Size)), open: s.Open}
		return &harness.Of[*harness.Conn]{Take: p.get, Give: p.put, Drop: p.drop, Conn: itself, End: p.close}, nil
	},
}

func itself(c *harness.Conn) *harness.Conn { return c }

type stack struct {
	sem  *semaphore.Weighted
	open func(context.Context) (*harness.Conn, error)

	mu   sync.Mutex
	idle []*harness.Conn
}

func (p *stack) get(ctx context.Context) (*harness.Conn, error) {
	if err := p.sem.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err != nil {
		p.sem.Release(1)
	}
	return c, err
}

func (p *stack) put(c *harness.Conn) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.sem.Release(1)
}

func (p *stack) drop(c *harness.Conn) {
	_ = c.Close()
	p.sem.Release(1)
}

func (p *stack) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.Close()
	}
}

// filled are the connections that a pool has at the start.
func filled(s harness.Settings) ([]*harness.Conn, error) {
	conns := make([]*harness.Conn, s.Size)
	for i := range conns {
		var err error
		if conns[i], err = s.Open(context.Background()); err != nil {
			return nil, err
		}
	}
	return conns, nil
}

var channelCtx = harness.Peer{
	Name: "channel",
	How:  "a buffered channel, and a select on ctx.Done; filled at the start",
	Lacks: map[harness.Trait]string{
		harness.Opens:   prefilled,
		harness.Discard: prefilled,
	},
	New: func(s harness.Settings) (harness.Pool, error) { return newChannel(s, channel.get) },
}

var channelTimer = harness.Peer{
	Name: "channel and timer",
	How:  "the same, with a timer that limits the wait to 5 s, as MaxWaitTime does",
	Lacks: map[harness.Trait]string{
		harness.Opens:   prefilled,
		harness.Discard: prefilled,
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		limit := s.MaxWait
		if limit == 0 {
			limit = 5 * time.Second
		}
		return newChannel(s, func(c channel, ctx context.Context) (*harness.Conn, error) { return c.getTimer(ctx, limit) })
	},
}

func newChannel(s harness.Settings, get func(channel, context.Context) (*harness.Conn, error)) (harness.Pool, error) {
	conns, err := filled(s)
	if err != nil {
		return nil, err
	}
	c := make(channel, s.Size)
	for _, conn := range conns {
		c <- conn
	}
	return &harness.Of[*harness.Conn]{
		Take: func(ctx context.Context) (*harness.Conn, error) { return get(c, ctx) },
		Give: func(conn *harness.Conn) { c <- conn },
		Conn: itself,
		End:  func() {},
	}, nil
}

type channel chan *harness.Conn

func (c channel) get(ctx context.Context) (*harness.Conn, error) {
	select {
	case conn := <-c:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errLate = errors.New("bench: waited for too long")

func (c channel) getTimer(ctx context.Context, limit time.Duration) (*harness.Conn, error) {
	select {
	case conn := <-c:
		return conn, nil
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case conn := <-c:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, errLate
	}
}

var mutexWaiters = harness.Peer{
	Name: "mutex and waiters",
	How:  "a mutex, a slice of what is idle, and a slice of the channels of those who wait; filled at the start",
	Lacks: map[harness.Trait]string{
		harness.Opens:   prefilled,
		harness.Discard: prefilled,
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		conns, err := filled(s)
		if err != nil {
			return nil, err
		}
		p := &queue{idle: conns}
		return &harness.Of[*harness.Conn]{Take: p.get, Give: p.put, Conn: itself, End: func() {}}, nil
	},
}

type queue struct {
	mu      sync.Mutex
	idle    []*harness.Conn
	waiters []chan *harness.Conn
}

func (p *queue) get(ctx context.Context) (*harness.Conn, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	w := make(chan *harness.Conn, 1)
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	select {
	case c := <-w:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // it has been served meanwhile
		p.put(<-w)
	}
	return nil, ctx.Err()
}

func (p *queue) put(c *harness.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) == 0 {
		p.idle = append(p.idle, c)
		return
	}
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	w <- c
}

var mutexCond = harness.Peer{
	Name: "mutex and cond",
	How:  "a mutex, a slice of what is idle, and a sync.Cond; filled at the start",
	Lacks: map[harness.Trait]string{
		harness.Ctx:     "a sync.Cond knows no ctx",
		harness.Opens:   prefilled,
		harness.Discard: prefilled,
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		conns, err := filled(s)
		if err != nil {
			return nil, err
		}
		p := &condition{idle: conns}
		p.cond.L = &p.mu
		return &harness.Of[*harness.Conn]{Take: p.get, Give: p.put, Conn: itself, End: func() {}}, nil
	},
}

type condition struct {
	mu   sync.Mutex
	cond sync.Cond
	idle []*harness.Conn
}

func (p *condition) get(context.Context) (*harness.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) == 0 {
		p.cond.Wait()
	}
	n := len(p.idle)
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c, nil
}

func (p *condition) put(c *harness.Conn) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.cond.Signal()
}

var syncPool = harness.Peer{
	Name: "sync.Pool",
	How:  "the floor: it has no limit, closes nothing, and drops what it has when the collector runs",
	Lacks: map[harness.Trait]string{
		harness.Waits:   "it does not limit: when it is empty it makes another",
		harness.Ctx:     noCtx,
		harness.Opens:   "what fails to open cannot be told: New returns no error",
		harness.Bare:    "the collector empties it",
		harness.Keeps:   "the collector empties it",
		harness.Discard: "it closes nothing",
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		p := &sync.Pool{New: func() any {
			c, err := s.Open(context.Background())
			if err != nil {
				panic(err)
			}
			return c
		}}
		return &harness.Of[*harness.Conn]{
			Take: func(context.Context) (*harness.Conn, error) { return p.Get().(*harness.Conn), nil },
			Give: func(c *harness.Conn) { p.Put(c) },
			Conn: itself,
			End:  func() {},
		}, nil
	},
}
