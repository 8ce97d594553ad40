//go:build linux

package fleet

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// benchBudgets returns two budgets of max, with pools whose connections cost nothing.
func benchBudgets(b *testing.B, max int) (pools [2]*pool.Pool[*int], budgets [2]*Budget) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		b.Skip("redis-server is not installed")
	}
	s := newBenchServer(b)
	for i := range pools {
		budget, err := NewBudget(redis.NewClient(&redis.Options{Addr: s}), "bench", max, &Options{Found: true})
		if err != nil {
			b.Fatal(err)
		}
		pools[i], err = pool.New(pool.Factory[*int]{Open: func(context.Context) (*int, error) { return new(int), nil },
			Close: func(*int, error) error { return nil }}, pool.Config{Budget: budget, MaxConnections: 2 * max, MaxWaitTime: -1, OpenEagerly: true})
		if err != nil {
			b.Fatal(err)
		}
		budgets[i] = budget
		b.Cleanup(func() {
			pools[i].Close()
			budget.Close()
		})
	}
	return pools, budgets
}

func newBenchServer(b *testing.B) string {
	l := freeAddress(b)
	_, port, _ := net.SplitHostPort(l)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", b.TempDir())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := redis.NewClient(&redis.Options{Addr: l})
	defer c.Close()
	for c.Ping(context.Background()).Err() != nil {
		time.Sleep(10 * time.Millisecond)
	}
	return l
}

// One op is one right that is given up, and goes to who has waited longest: each of two processes has as many callers
// as there are rights.
func BenchmarkMove(b *testing.B) {
	for _, max := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("max=%d", max), func(b *testing.B) {
			pools, budgets := benchBudgets(b, max)
			ctx, stop := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			moved := func() (n uint64) {
				for _, b := range budgets {
					b.store.mu.Lock()
					n += b.store.fetched
					b.store.mu.Unlock()
				}
				return n
			}
			enough := make(chan struct{})
			var once sync.Once
			b.ResetTimer()
			for _, p := range pools {
				for range max {
					wg.Go(func() {
						for ctx.Err() == nil {
							l, err := p.Get(ctx)
							if err != nil {
								return
							}
							_ = p.Discard(l, nil)
							if moved() >= uint64(b.N) {
								once.Do(func() { close(enough) })
							}
						}
					})
				}
			}
			<-enough
			b.StopTimer()
			stop()
			wg.Wait()
			b.ReportMetric(float64(moved())/b.Elapsed().Seconds(), "rights/s")
		})
	}
}

// One op is one Get of a process that has to wait for another one to close what is idle there.
func BenchmarkReclaim(b *testing.B) {
	pools, _ := benchBudgets(b, 1)
	ctx := context.Background()
	var took []time.Duration
	for i := range b.N {
		p := pools[i%2]
		start := time.Now()
		l, err := p.Get(ctx)
		took = append(took, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Put(l)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
