package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
)

// 64 callers for each of two connections, who yield once while they hold it: all of them wait, each with
// a ctx of its own. A timer is pending, as in every program that does anything else.
func init() {
	ways["wait"] = func(n int, f pool.Factory[*conn], c pool.Config) {
		c.MaxConnections = 2
		p, err := pool.New(f, c)
		if err != nil {
			panic(err)
		}
		defer p.Close()
		overload(n, func(ctx context.Context) {
			l, err := p.Get(ctx)
			if err != nil {
				panic(err)
			}
			runtime.Gosched()
			_ = p.Put(l)
		})
	}
	ways["waitchan"] = func(n int, f pool.Factory[*conn], c pool.Config) {
		conns := make(chan *conn, 2)
		conns <- new(conn)
		conns <- new(conn)
		overload(n, func(ctx context.Context) {
			select {
			case c := <-conns:
				runtime.Gosched()
				conns <- c
			case <-ctx.Done():
				panic(ctx.Err())
			}
		})
	}
}

func overload(n int, op func(context.Context)) {
	defer time.AfterFunc(time.Hour, func() {}).Stop()
	const callers = 128
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for range n / callers {
				op(ctx)
			}
		})
	}
	wg.Wait()
}
