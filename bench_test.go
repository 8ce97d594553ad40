package pool

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"
)

type resource struct{ _ int }

func nopFactory() Factory[*resource] {
	return Factory[*resource]{
		Open:  func(context.Context) (*resource, error) { return new(resource), nil },
		Close: func(*resource, error) error { return nil },
	}
}

type chanPool struct{ c chan *resource }

func (p *chanPool) Get(ctx context.Context) (*resource, error) {
	select {
	case r := <-p.c:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (p *chanPool) Put(r *resource) { p.c <- r }

type timerPool struct{ c chan *resource }

func (p *timerPool) Get(ctx context.Context) (*resource, error) {
	select {
	case r := <-p.c:
		return r, nil
	default:
	}
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case r := <-p.c:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, context.DeadlineExceeded
	}
}

func BenchmarkPair(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("impl=syncpool", func(b *testing.B) {
		var p sync.Pool
		p.Put(new(resource))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				v, _ := p.Get().(*resource)
				if v == nil {
					v = new(resource)
				}
				p.Put(v)
			}
		})
	})
	b.Run("impl=mutex", func(b *testing.B) {
		var mu sync.Mutex
		s := make([]*resource, 16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mu.Lock()
				r := s[len(s)-1]
				s = s[:len(s)-1]
				mu.Unlock()
				mu.Lock()
				s = append(s, r)
				mu.Unlock()
			}
		})
	})
	b.Run("impl=chan", func(b *testing.B) {
		p := &chanPool{make(chan *resource, 16)}
		for range 16 {
			p.Put(new(resource))
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r, _ := p.Get(ctx)
				p.Put(r)
			}
		})
	})
	b.Run("impl=pool", func(b *testing.B) {
		p, _ := New(nopFactory(), Config{MaxConnections: 16})
		defer p.Close()
		l, _ := p.Get(ctx)
		p.Put(l)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l, err := p.Get(ctx)
				if err != nil {
					b.Fatal(err)
				}
				p.Put(l)
			}
		})
	})
}

func overload(b *testing.B, n int, g int, get func() func()) {
	b.SetParallelism(g / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put := get()
			runtime.Gosched()
			put()
		}
	})
}

func BenchmarkOver(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const n, g = 2, 128
	b.Run("impl=chan", func(b *testing.B) {
		p := &chanPool{make(chan *resource, n)}
		for range n {
			p.Put(new(resource))
		}
		b.SetParallelism(g / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r, _ := p.Get(ctx)
				runtime.Gosched()
				p.Put(r)
			}
		})
	})
	b.Run("impl=chantimer", func(b *testing.B) {
		p := &timerPool{make(chan *resource, n)}
		for range n {
			p.c <- new(resource)
		}
		b.SetParallelism(g / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r, _ := p.Get(ctx)
				runtime.Gosched()
				p.c <- r
			}
		})
	})
	b.Run("impl=pool", func(b *testing.B) {
		p, _ := New(nopFactory(), Config{MaxConnections: n})
		defer p.Close()
		b.SetParallelism(g / runtime.GOMAXPROCS(0))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l, err := p.Get(ctx)
				if err != nil {
					b.Fatal(err)
				}
				runtime.Gosched()
				p.Put(l)
			}
		})
	})
}
