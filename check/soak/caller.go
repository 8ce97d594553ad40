package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// A caller is one of many who use the pool.
type caller struct {
	*life
	id    int64
	rnd   *rand.Rand
	stale pool.Lease[*wire]
}

// come lets callers use the pool until end, and waits for them.
func (l *life) come(end <-chan struct{}, kind uint64) {
	for id := range int64(l.plan.callers) {
		c := &caller{life: l, id: id + 1, rnd: l.weather.rand(kind, uint64(id))}
		l.callers.Go(func() { c.goOn(end) })
	}
}

// goOn does one thing after the other.
func (c *caller) goOn(end <-chan struct{}) {
	returned := false
	defer func() {
		if !returned { // Check or Clean has ended the goroutine: in another one, then
			c.callers.Go(func() { c.goOn(end) })
		}
	}()
	for c.act() {
		select {
		case <-end:
			returned = true
			return
		default:
		}
	}
	returned = true
}

// act does one thing. It reports false when the pool is closed.
func (c *caller) act() bool {
	switch n := c.rnd.IntN(40); {
	case n < 4:
		l, ok := c.p.TryGet()
		if !ok {
			c.misses.Inc()
			c.yield()
			return !c.over.Load()
		}
		c.leases.Inc()
		c.work(l)
	case n < 8:
		return c.do()
	case n == 8:
		c.warm()
	default:
		ctx, cancel := c.patience()
		defer cancel()
		began := time.Now()
		get := c.p.Get
		if c.rnd.IntN(32) == 0 {
			get = c.p.GetFresh
		}
		l, err := get(ctx)
		c.noteWait(time.Since(began))
		if err != nil {
			return c.refused(ctx, err)
		}
		c.leases.Inc()
		c.work(l)
	}
	return true
}

func (c *caller) yield() {
	if c.rnd.IntN(8) == 0 {
		pause(c.weather.over(), time.Duration(c.rnd.IntN(2000))*time.Microsecond)
	} else {
		runtime.Gosched()
	}
}

// patience is a ctx of one of many kinds.
func (c *caller) patience() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	switch c.rnd.IntN(8) {
	case 0:
		return context.WithTimeout(ctx, time.Duration(c.rnd.IntN(5000))*time.Microsecond)
	case 1:
		return context.WithTimeout(ctx, time.Duration(c.rnd.IntN(50))*time.Millisecond)
	case 2:
		ctx, cancel := context.WithCancel(ctx)
		go cancel()
		return ctx, cancel
	case 3:
		ctx, cancel := context.WithCancelCause(ctx)
		d := time.Duration(c.rnd.IntN(3000)) * time.Microsecond
		t := time.AfterFunc(d, func() { cancel(errFault) })
		return ctx, func() { t.Stop(); cancel(nil) }
	case 4:
		if c.rnd.IntN(8) == 0 {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}
	}
	return ctx, func() {}
}

// refused looks at an error of Get. It reports false if the pool is closed.
func (c *caller) refused(ctx context.Context, err error) bool {
	c.refusals.Inc()
	switch {
	case errors.Is(err, pool.ErrClosed) && (c.ending.Load() || ctx.Err() == nil):
		if !c.ending.Load() {
			c.fail("Get: %v, but the pool is not closed", err)
		}
		return false
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
	case errors.Is(err, pool.ErrRejected):
		pause(c.weather.over(), time.Duration(c.rnd.IntN(20000))*time.Microsecond) // not to do nothing but this
	case errors.Is(err, pool.ErrExhausted):
	case errors.Is(err, pool.ErrUnavailable):
		pause(c.weather.over(), time.Duration(c.rnd.IntN(20000))*time.Microsecond)
	case strings.HasPrefix(err.Error(), "pool: open connection: "):
	default:
		c.fail("Get: %v", err)
	}
	c.yield()
	return true
}

// warm is a call of Warm or Add, which may fail in many ways.
func (c *caller) warm() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.rnd.IntN(20000))*time.Microsecond)
	defer cancel()
	n := c.rnd.IntN(c.plan.config.MaxConnections + 1)
	var err error
	if c.rnd.IntN(3) == 0 {
		err = c.p.Add(ctx)
	} else {
		err = c.p.Warm(ctx, n)
	}
	switch {
	case err == pool.ErrFull:
	case err == nil, errors.Is(err, ctx.Err()), errors.Is(err, pool.ErrUnavailable):
	case errors.Is(err, pool.ErrClosed) && c.ending.Load():
	case strings.HasPrefix(err.Error(), "pool: open connection: "):
	case c.plan.resizes && strings.HasPrefix(err.Error(), "pool: Warm: "):
	default:
		c.fail("Warm or Add: %v", err)
	}
}

// work uses a lease and ends it.
func (c *caller) work(l pool.Lease[*wire]) {
	w := l.Value()
	if w == nil {
		c.fail("a lease without a connection")
		return
	}
	err := w.use(c.id, func() error {
		c.hold()
		return w.exchange()
	})
	if c.rnd.IntN(4) == 0 {
		if err := c.p.Put(c.stale); err != pool.ErrNotLeased {
			c.fail("a stale Put: %v", err)
		}
	}
	if err != nil && c.rnd.IntN(4) > 0 {
		c.end("Discard", c.p.Discard(l, err))
	} else {
		c.finish(l)
	}
	c.stale = l
}

// hold is what happens during a lease.
func (c *caller) hold() {
	switch n := c.rnd.IntN(100); {
	case n == 0:
		pause(c.weather.over(), time.Duration(c.rnd.IntN(20))*time.Millisecond)
	case n < 10:
		pause(c.weather.over(), time.Duration(c.rnd.IntN(1000))*time.Microsecond)
	case n < 50:
		runtime.Gosched()
	}
}

func (c *caller) end(what string, err error) {
	if err != nil {
		c.fail("%s: %v", what, err)
	}
}

// finish ends a lease in one of many ways.
func (c *caller) finish(l pool.Lease[*wire]) {
	w := l.Value()
	broken := func() {
		if b := w.broken.Load(); b != nil {
			(*b)(errReported)
		}
	}
	switch c.rnd.IntN(40) {
	case 0, 1:
		c.end("Discard", c.p.Discard(l, errFault))
	case 2:
		w.away.Store(true)
		w.uncount()
		conn, err := c.p.Detach(l)
		if err == nil && conn != w {
			c.fail("Detach returned another connection")
		}
		if err == nil {
			w.gone.Store(true)
			if w.closes.Load() != 0 {
				c.fail("connection %d was closed, and detached", w.number)
			}
			c.detached.Inc()
			c.mu.Lock()
			delete(c.wires, w)
			c.mu.Unlock()
			w.hangUp()
			return
		}
		w.away.Store(false)
		if !(errors.Is(err, pool.ErrClosed) && c.ending.Load() || errors.Is(err, pool.ErrRevoked) && c.plan.revokes) {
			c.fail("Detach: %v", err)
		}
	case 3:
		broken()
		c.end("Put", c.p.Put(l))
	case 4: // it breaks at the same time
		go broken()
		c.end("Put", c.p.Put(l))
	case 5: // two at the same time
		other := make(chan error, 1)
		go func() {
			var err error
			defer func() { other <- err }() // deferred: Clean may end this goroutine
			err = c.p.Put(l)
		}()
		err := c.p.Discard(l, errFault)
		if o := <-other; (err == nil) == (o == nil) || err != nil && err != pool.ErrNotLeased || o != nil && o != pool.ErrNotLeased {
			c.fail("of Discard and Put of one lease, one returned %v, the other %v", err, o)
		}
	case 6: // it breaks when it is anybody's
		c.end("Put", c.p.Put(l))
		broken()
	case 7:
		c.end("PutUnused", c.p.PutUnused(l))
	default:
		c.end("Put", c.p.Put(l))
	}
}

// do is a call of Do. It reports false when the pool is closed.
func (c *caller) do() (open bool) {
	ctx, cancel := c.patience()
	defer cancel()
	thrown := errors.New("thrown")
	fate := c.rnd.IntN(16)
	called := false
	defer func() {
		if v := recover(); v != nil {
			if v != thrown || fate != 0 {
				c.fail("a panic came out of Do: %v", v)
			}
			open = true
		}
	}()
	err := c.p.Do(ctx, func(_ context.Context, w *wire) error {
		called = true
		c.leases.Inc()
		err := w.use(c.id, func() error {
			c.hold()
			return w.exchange()
		})
		switch {
		case fate == 0:
			panic(thrown)
		case fate == 1 || err != nil:
			return thrown
		case fate == 2:
			return pool.Keep(thrown)
		}
		return nil
	})
	switch {
	case !called:
		if err == nil {
			c.fail("Do returned nil and did not call")
			return true
		}
		return c.refused(ctx, err)
	case err != nil && !errors.Is(err, thrown):
		c.fail("Do: %v", err)
	}
	return true
}
