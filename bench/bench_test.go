package bench

import (
	"context"
	"runtime"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/jackc/puddle/v2"
)

type conn struct{ _ int }

// An impl has callers take a connection from a pool of the given size, hold it, and
// give it back.
var impls = []struct {
	name string
	run  func(b *testing.B, size, callers int, hold func())
}{
	{"pool", runPool},
	{"puddle", runPuddle},
}

func runPool(b *testing.B, size, callers int, hold func()) {
	p, err := pool.New(pool.Factory[*conn]{
		Open:  func(context.Context) (*conn, error) { return new(conn), nil },
		Close: func(*conn, error) error { return nil },
	}, pool.Config{MaxConnections: size})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parallel(b, callers, func() {
		l, err := p.Get(ctx)
		if err != nil {
			b.Fatal(err)
		}
		hold()
		p.Put(l)
	})
}

func runPuddle(b *testing.B, size, callers int, hold func()) {
	p, err := puddle.NewPool(&puddle.Config[*conn]{
		Constructor: func(context.Context) (*conn, error) { return new(conn), nil },
		Destructor:  func(*conn) {},
		MaxSize:     int32(size),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parallel(b, callers, func() {
		r, err := p.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		hold()
		r.Release()
	})
}

// parallel runs op in at least callers goroutines, once to fill the pool, and then
// b.N times together.
func parallel(b *testing.B, callers int, op func()) {
	op()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			op()
		}
	})
}

func compare(b *testing.B, size, callers int, hold func()) {
	for _, impl := range impls {
		b.Run("impl="+impl.name, func(b *testing.B) { impl.run(b, size, callers, hold) })
	}
}

// BenchmarkUncontended has a connection for everybody.
func BenchmarkUncontended(b *testing.B) { compare(b, 16, 1, func() {}) }

// BenchmarkOverload has 64 callers for each of two connections, who hold it for as
// long as it takes to yield once. The pool has its default limit on the wait in
// force; puddle has none.
func BenchmarkOverload(b *testing.B) { compare(b, 2, 128, runtime.Gosched) }
