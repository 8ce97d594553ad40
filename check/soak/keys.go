package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/S4AK4N/pool"

	"go.uber.org/atomic"
)

// Keys that come and go: a group of so many keys, each of which is asked for now and then, and
// whose pools end when they are unused, to make room for others, or by Remove. In between there are
// calms in which nobody asks. In each of them nothing may be left: no pool, no connection, no
// goroutine, and no more memory than in the first.

// A crowd is what uses the keys.
type crowd struct {
	*soak
	g      *pool.Group[int, *item]
	number int
	calls  atomic.Int64 // of the function
	closed atomic.Int64
	lost   atomic.Int64 // Gets refused because there was no room for a pool
	gone   atomic.Int64 // GetSames that were told so
}

// An item is a connection.
type item struct {
	key    int
	holder atomic.Int64
	closed atomic.Bool
}

// calms is how often nobody asks in one run.
const calms = 5

// unusedFor is how long pools are kept: so many of them come and go that each key has several in a run.
const unusedFor = time.Second

func (s *soak) keys(total time.Duration, number int) error {
	c := &crowd{soak: s, number: number}
	g, err := pool.NewGroup(c.open, pool.GroupConfig{MaxPools: max(number/4, s.callers+1), IdleTime: unusedFor})
	if err != nil {
		return err
	}
	c.g = g
	first := int64(0)
	for n := range calms {
		c.busy(total/calms, uint64(n))
		heap := c.calm()
		if n == 0 {
			first = heap
		} else if heap > first+1<<20 {
			s.fail("%d bytes are alive after calm %d, %d after the first", heap, n+1, first)
		}
		fmt.Printf("calm %d: %d pools made so far, %d connections, %d leases; %d bytes alive\n",
			n+1, c.calls.Load(), c.opened.Load(), c.leases.Load(), heap)
	}
	stats := g.Stats()
	if err := g.Shutdown(context.Background()); err != nil {
		s.fail("Shutdown: %v", err)
	}
	// A connection that its pool holds for a moment may count as leased, and a pool that is gone keeps that.
	if n := uint64(c.leases.Load()); stats.Gets < n || stats.Gets > n+n/100 || stats.Opened != uint64(c.opened.Load()) {
		s.fail("Stats count %d leases and %d connections, of %d and %d", stats.Gets, stats.Opened, n, c.opened.Load())
	}
	fmt.Printf("%d keys in %v: %d pools, %d connections, %d leases; %d times no room, %d connections gone; longest Get %v\n",
		number, total, c.calls.Load(), c.opened.Load(), c.leases.Load(), c.lost.Load(), c.gone.Load(), c.longest.Load().Round(time.Millisecond))
	if c.calls.Load() == 0 || c.leases.Load() == 0 {
		s.fail("nobody was lent anything: not a soak")
	}
	if len(s.failures) > 0 {
		return fmt.Errorf("%d failures, with seed %d", len(s.failures), s.seed)
	}
	return nil
}

// open is the function of the group.
func (c *crowd) open(key int) (pool.Factory[*item], pool.Config, error) {
	n := c.calls.Inc()
	f := pool.Factory[*item]{
		Open: func(context.Context) (*item, error) {
			c.opened.Inc()
			return &item{key: key}, nil
		},
		Close: func(i *item, _ error) error {
			if i.closed.Swap(true) {
				c.fail("a connection was closed twice")
			}
			c.closed.Inc()
			return nil
		},
	}
	if n%100 == 0 {
		return f, pool.Config{}, errors.New("not today")
	}
	return f, pool.Config{Name: fmt.Sprint("key ", key%8), MaxConnections: 2, MaxIdleTime: 300 * time.Millisecond, MaxWaitTime: time.Minute}, nil
}

// busy has all callers ask, for that long.
func (c *crowd) busy(d time.Duration, round uint64) {
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for id := range c.callers {
		rnd := rand.New(rand.NewPCG(c.seed+round, uint64(id)))
		all.Go(func() {
			for time.Now().Before(end) {
				c.visit(int64(id+1), rnd)
			}
		})
	}
	all.Wait()
}

// visit is a call or two for one key.
func (c *crowd) visit(id int64, rnd *rand.Rand) {
	key := rnd.IntN(c.number)
	if rnd.IntN(8) == 0 {
		key = rnd.IntN(16) // these are asked for by many at a time
	}
	if rnd.IntN(200) == 0 {
		c.g.Remove(key)
	}
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if rnd.IntN(16) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(1000))*time.Microsecond)
	}
	defer cancel()
	began := time.Now()
	l, err := c.g.Get(ctx, key)
	c.noteWait(time.Since(began))
	switch {
	case errors.Is(err, pool.ErrRejected):
		c.lost.Inc()
		return
	case err != nil:
		if ctx.Err() == nil && err.Error() != "not today" {
			c.fail("Get: %v", err)
		}
		return
	}
	c.hold(id, key, l)
	if rnd.IntN(8) != 0 {
		c.end(rnd, l)
		return
	}
	m := l.Mark()
	if err := c.g.PutFor(l, 100*time.Millisecond); err != nil {
		c.fail("PutFor: %v", err)
	}
	l, err = c.g.GetSame(context.Background(), key, m)
	switch {
	case errors.Is(err, pool.ErrGone):
		c.gone.Inc()
	case err != nil:
		c.fail("GetSame: %v", err)
	default:
		c.hold(id, key, l)
		c.end(rnd, l)
	}
}

// hold has the lease for a moment, alone.
func (c *crowd) hold(id int64, key int, l pool.Lease[*item]) {
	c.leases.Inc()
	i := l.Value()
	if i.key != key || i.closed.Load() {
		c.fail("key %d was lent a connection of key %d, closed: %v", key, i.key, i.closed.Load())
	}
	if !i.holder.CompareAndSwap(0, id) {
		c.fail("a connection was lent to two")
	}
	i.holder.Store(0)
}

func (c *crowd) end(rnd *rand.Rand, l pool.Lease[*item]) {
	end := c.g.Put
	if rnd.IntN(16) == 0 {
		end = func(l pool.Lease[*item]) error { return c.g.Discard(l, nil) }
	}
	if err := end(l); err != nil {
		c.fail("the end of a lease: %v", err)
	}
}

// calm waits until nothing is left, and returns how many bytes are alive.
func (c *crowd) calm() int64 {
	left := func() (n int) {
		for range c.g.All() {
			n++
		}
		return n
	}
	for began := time.Now(); left() > 0 || c.opened.Load() != c.closed.Load(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			c.fail("a minute after the last call there are %d pools, and %d of %d connections are open", left(), c.opened.Load()-c.closed.Load(), c.opened.Load())
			break
		}
	}
	time.Sleep(3 * time.Second) // what a pool that is gone has counted is read from it for a second
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		g := goroutines("/internal/core.")
		if len(g) == 0 {
			break
		}
		if time.Since(began) > time.Minute {
			c.fail("%d goroutines are left:\n%s", len(g), g[0])
			break
		}
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
