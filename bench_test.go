package pool_test

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"go.uber.org/atomic"
)

// What is compared. One operation of every benchmark is one Get and one Put,
// whatever the number of goroutines. impl comes last in each name, for benchstat
// -col /impl.
//
//	pool      this package
//	syncpool  sync.Pool, which bounds nothing and cannot wait
//	mutex     a mutex and a slice, which cannot wait either
//	chan      a buffered channel and a select on ctx.Done, the pool that one writes oneself
//	timer     the same with a limit on the wait, as Config.MaxWaitTime is
//
// Others' pools are compared in the nested module bench.
type benchConn struct{ _ int }

func benchFactory() pool.Factory[*benchConn] {
	return pool.Factory[*benchConn]{
		Open:  func(context.Context) (*benchConn, error) { return new(benchConn), nil },
		Close: func(*benchConn, error) error { return nil },
	}
}

// benchPool returns a pool of size idle connections.
func benchPool(b *testing.B, size int) *pool.Pool[*benchConn] {
	p, err := pool.New(benchFactory(), pool.Config{MaxConnections: size})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	for _, l := range benchLeases(b, p, size) {
		p.Put(l)
	}
	return p
}

func benchLeases(b *testing.B, p *pool.Pool[*benchConn], n int) []pool.Lease[*benchConn] {
	leases := make([]pool.Lease[*benchConn], n)
	for i := range leases {
		var err error
		if leases[i], err = p.Get(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return leases
}

type chanRival chan *benchConn

func newChanRival(size int) chanRival {
	c := make(chanRival, size)
	for range size {
		c <- new(benchConn)
	}
	return c
}

func (c chanRival) get(ctx context.Context) (*benchConn, error) {
	select {
	case conn := <-c:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c chanRival) getTimer(ctx context.Context) (*benchConn, error) {
	select {
	case conn := <-c:
		return conn, nil
	default:
	}
	timer := time.NewTimer(5 * time.Second) // as MaxWaitTime by default
	defer timer.Stop()
	select {
	case conn := <-c:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, pool.ErrExhausted
	}
}

type mutexRival struct {
	mu    sync.Mutex
	conns []*benchConn
}

func (m *mutexRival) get() *benchConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conns[len(m.conns)-1]
	m.conns = m.conns[:len(m.conns)-1]
	return c
}

func (m *mutexRival) put(c *benchConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, c)
}

// cancellable is the ctx of all benchmarks: one that could end, and does not.
func cancellable(b *testing.B) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	return ctx
}

// each runs op in as many goroutines as there are processors, times parallelism.
func each(b *testing.B, parallelism int, op func()) {
	b.SetParallelism(parallelism)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			op()
		}
	})
}

func BenchmarkUncontended(b *testing.B) {
	const size = 16
	b.Run("impl=pool", func(b *testing.B) {
		p, ctx := benchPool(b, size), cancellable(b)
		each(b, 1, func() {
			l, err := p.Get(ctx)
			if err != nil {
				b.Fatal(err)
			}
			p.Put(l)
		})
	})
	b.Run("impl=syncpool", func(b *testing.B) {
		p := sync.Pool{New: func() any { return new(benchConn) }}
		each(b, 1, func() { p.Put(p.Get().(*benchConn)) })
	})
	b.Run("impl=mutex", func(b *testing.B) {
		m := new(mutexRival)
		for range size {
			m.put(new(benchConn))
		}
		each(b, 1, func() { m.put(m.get()) })
	})
	b.Run("impl=chan", func(b *testing.B) {
		c, ctx := newChanRival(size), cancellable(b)
		each(b, 1, func() {
			conn, err := c.get(ctx)
			if err != nil {
				b.Fatal(err)
			}
			c <- conn
		})
	})
}

// BenchmarkUtilization has a part of the slots leased by others, in random
// positions. order=same puts back what it got. order=random puts back a random one
// of those that are leased, and keeps what it got.
func BenchmarkUtilization(b *testing.B) {
	for _, size := range []int{16, 100, 1000, 10000} {
		for _, leased := range []int{0, 50, 90, 99} {
			for _, order := range []string{"same", "random"} {
				b.Run(fmt.Sprintf("size=%d/leased=%d/order=%s/impl=pool", size, leased, order), func(b *testing.B) {
					p, ctx := benchPool(b, size), cancellable(b)
					held := benchLeases(b, p, size)
					rand.Shuffle(size, func(i, j int) { held[i], held[j] = held[j], held[i] })
					keep := min(size*leased/100, size-1)
					for _, l := range held[keep:] {
						p.Put(l)
					}
					held = held[:keep]
					random := make([]int, 1<<12)
					for i := range random {
						random[i] = rand.IntN(max(keep, 1))
					}
					swap := order == "random" && keep > 0
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						l, err := p.Get(ctx)
						if err != nil {
							b.Fatal(err)
						}
						if swap {
							k := random[i%len(random)]
							l, held[k] = held[k], l
						}
						p.Put(l)
					}
				})
			}
		}
	}
}

// BenchmarkOverload has 64 callers for each connection, who hold it for as long as
// it takes to yield once. size=10000 has 20,000 callers for two connections: all the
// others are leased for good.
//
// With ctx=each every caller has a ctx of its own, and waits with it again and again; with
// ctx=request it makes one for each wait. With ctx=one there is one for all, whose channel
// all who select lock: no real program does that, but many benchmarks.
//
// While any timer is pending the scheduler reads the clock each time that it looks for
// work. In a program that does anything else there always is one; in a benchmark there
// is none but the pool's own. So there is one for all with timers=1. With timers=0
// the channel alone is spared it.
func BenchmarkOverload(b *testing.B) {
	for _, timers := range []int{1, 0} {
		for _, ctx := range []string{"each", "one", "request"} {
			b.Run(fmt.Sprintf("timers=%d/ctx=%s", timers, ctx), func(b *testing.B) {
				if timers > 0 {
					defer time.AfterFunc(time.Hour, func() {}).Stop()
				}
				overload(b, ctx)
			})
		}
	}
}

func overload(b *testing.B, kind string) {
	const free, callers = 2, 128
	// crowd has so many callers do op.
	crowd := func(b *testing.B, callers int, op func(context.Context)) {
		one := cancellable(b)
		b.SetParallelism(callers / runtime.GOMAXPROCS(0))
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			ctx := one
			if kind == "each" {
				own, cancel := context.WithCancel(context.Background())
				defer cancel()
				ctx = own
			}
			for pb.Next() {
				if kind != "request" {
					op(ctx)
					continue
				}
				own, cancel := context.WithCancel(context.Background())
				op(own)
				cancel()
			}
		})
	}
	pooled := func(size, callers int) func(b *testing.B) {
		return func(b *testing.B) {
			p := benchPool(b, size)
			benchLeases(b, p, size-free)
			crowd(b, callers, func(ctx context.Context) {
				l, err := p.Get(ctx)
				if err != nil {
					b.Fatal(err)
				}
				runtime.Gosched()
				p.Put(l)
			})
		}
	}
	channel := func(get func(chanRival, context.Context) (*benchConn, error), callers int) func(b *testing.B) {
		return func(b *testing.B) {
			c := newChanRival(free)
			crowd(b, callers, func(ctx context.Context) {
				conn, err := get(c, ctx)
				if err != nil {
					b.Fatal(err)
				}
				runtime.Gosched()
				c <- conn
			})
		}
	}
	b.Run("size=2/callers=128/impl=pool", pooled(free, callers))
	b.Run("size=2/callers=128/impl=chan", channel(chanRival.get, callers))
	b.Run("size=2/callers=128/impl=timer", channel(chanRival.getTimer, callers))
	b.Run("size=2/callers=20000/impl=pool", pooled(free, 20000))
	b.Run("size=2/callers=20000/impl=chan", channel(chanRival.get, 20000))
	b.Run("size=10000/callers=20000/impl=pool", pooled(10000, 20000))
}

// A spread counts times in buckets of 1/32 of a power of two: the measuring itself
// must not allocate, or the collector would show in what it measures.
type spread [64 * 32]uint32

func (h *spread) add(d time.Duration) {
	n := uint64(d) | 32
	e := bits.Len64(n) - 6
	h[e*32+int(n>>e)-32]++
}

// quantile returns a time that the given part of all does not exceed.
func (h *spread) quantile(part float64) time.Duration {
	var total uint32
	for _, n := range h {
		total += n
	}
	rest := int64(float64(total) * part)
	for i, n := range h {
		if rest -= int64(n); rest < 0 {
			return time.Duration(i%32+33) << (i / 32)
		}
	}
	return 0
}

// BenchmarkWait reports how long a caller waits under overload, and how evenly.
func BenchmarkWait(b *testing.B) {
	const size, callers = 2, 128
	measure := func(b *testing.B, op func()) {
		var mu sync.Mutex
		var all spread
		b.SetParallelism(callers / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			h := new(spread)
			for pb.Next() {
				began := time.Now()
				op()
				h.add(time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			for i, n := range h {
				all[i] += n
			}
		})
		median, tail := all.quantile(0.5), all.quantile(0.999)
		b.ReportMetric(float64(median), "p50-ns")
		b.ReportMetric(float64(tail), "p99.9-ns")
		b.ReportMetric(float64(tail)/float64(median), "p99.9/p50")
	}
	b.Run("impl=pool", func(b *testing.B) {
		p, ctx := benchPool(b, size), cancellable(b)
		measure(b, func() {
			l, err := p.Get(ctx)
			if err != nil {
				b.Fatal(err)
			}
			runtime.Gosched()
			p.Put(l)
		})
	})
	b.Run("impl=chan", func(b *testing.B) {
		c, ctx := newChanRival(size), cancellable(b)
		measure(b, func() {
			conn, err := c.get(ctx)
			if err != nil {
				b.Fatal(err)
			}
			runtime.Gosched()
			c <- conn
		})
	})
}

// BenchmarkStorm reports the work that gets done, in leases a second, while 1,000
// goroutines ask again and again with a deadline of 1 ms for 4 connections that are
// held for 0.1 ms. What it is measured by: 16 goroutines that ask without a deadline,
// on a pool of their own, while the 1,000 wait for their deadlines elsewhere: in
// load=elsewhere with a pool that has nothing for them, in load=asleep with no pool.
func BenchmarkStorm(b *testing.B) {
	const size, impatient, patient = 4, 1000, 16
	const deadline, hold = time.Millisecond, 100 * time.Microsecond
	for _, load := range []string{"storm", "elsewhere", "asleep"} {
		b.Run("load="+load, func(b *testing.B) {
			p := benchPool(b, size)
			exhausted := benchPool(b, size)
			benchLeases(b, exhausted, size)
			ctx, stop := context.WithCancel(context.Background())
			var served atomic.Int64
			use := func(ctx context.Context) {
				l, err := p.Get(ctx)
				if err != nil {
					return
				}
				time.Sleep(hold)
				p.Put(l)
				if served.Inc() == int64(b.N) {
					stop()
				}
			}
			once := map[string]func(context.Context){
				"storm":     use,
				"elsewhere": func(ctx context.Context) { exhausted.Get(ctx) },
				"asleep":    func(ctx context.Context) { <-ctx.Done() },
			}[load]
			var wg sync.WaitGroup
			b.ResetTimer()
			for range impatient {
				wg.Go(func() {
					for ctx.Err() == nil {
						short, cancel := context.WithTimeout(ctx, deadline)
						once(short)
						cancel()
					}
				})
			}
			for range patient {
				wg.Go(func() {
					for load != "storm" && ctx.Err() == nil {
						use(ctx)
					}
				})
			}
			<-ctx.Done()
			b.StopTimer()
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
		})
	}
}

// BenchmarkLeakAfter reports what it costs a Get to remember where it was called.
func BenchmarkLeakAfter(b *testing.B) {
	for _, after := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprintf("after=%v", after), func(b *testing.B) {
			p, err := pool.New(benchFactory(), pool.Config{MaxConnections: 1, LeakAfter: after})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			ctx := cancellable(b)
			b.ReportAllocs()
			for b.Loop() {
				l, err := p.Get(ctx)
				if err != nil {
					b.Fatal(err)
				}
				p.Put(l)
			}
		})
	}
}

// BenchmarkGroup compares a Get and a Put of a Group with those of the pools themselves, in a random
// order of keys. The callers' strings are not those that the group has. Each pool has one idle
// connection; with two processors they have halves of the keys, so that none waits.
func BenchmarkGroup(b *testing.B) {
	type account struct {
		name   string
		region int
	}
	for _, n := range []int{10, 1000, 100000} {
		b.Run(fmt.Sprintf("keys=%d/type=string", n), func(b *testing.B) {
			benchGroup(b, n, func(i int) string { return fmt.Sprintf("account-%06d", i) })
		})
		b.Run(fmt.Sprintf("keys=%d/type=struct", n), func(b *testing.B) {
			benchGroup(b, n, func(i int) account { return account{fmt.Sprintf("account-%06d", i), i} })
		})
	}
}

func benchGroup[K comparable](b *testing.B, n int, key func(int) K) {
	keys, pools := make([]K, n), make([]*pool.Pool[*benchConn], n)
	g, err := pool.NewGroup(func(K) (pool.Factory[*benchConn], pool.Config, error) {
		return benchFactory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}, nil
	}, pool.GroupConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	ctx := cancellable(b)
	for i := range keys {
		keys[i] = key(i)
		l, err := g.Get(ctx, key(i))
		if err != nil {
			b.Fatal(err)
		}
		g.Put(l)
		pools[i], _ = g.Pool(keys[i])
	}
	order := rand.Perm(n)
	runtime.GC()
	run := func(op func(i int)) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			var workers atomic.Int32
			b.RunParallel(func(pb *testing.PB) {
				half := n / 2 * int(workers.Inc()%2)
				for i := half; pb.Next(); i++ {
					if i == half+n/2 {
						i = half
					}
					op(order[i])
				}
			})
		}
	}
	b.Run("impl=pool", run(func(i int) {
		l, err := pools[i].Get(ctx)
		if err != nil {
			b.Fatal(err)
		}
		pools[i].Put(l)
	}))
	b.Run("impl=group", run(func(i int) {
		l, err := g.Get(ctx, keys[i])
		if err != nil {
			b.Fatal(err)
		}
		g.Put(l)
	}))
}
