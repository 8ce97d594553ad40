package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkFloor asks what a wait costs at least that needs no lock, and stands in an order which
// others may look at: a row of cells as internal/queue has it, a channel for each waiter, and
// nothing else. No limit is in force, nobody leaves, nothing is counted; with clock=true the time
// is read where a wait begins and ends. select=false does not look at ctx. What the pool takes above
// that are its promises; what this takes above impl=chan is the price of a queue of one's own.
func BenchmarkFloor(b *testing.B) {
	b.Run("impl=chan", func(b *testing.B) {
		c := make(chan int, 2)
		c <- 1
		c <- 1
		overload(b, func(ctx context.Context) {
			select {
			case <-c:
			case <-ctx.Done():
			}
		}, func() { c <- 1 })
	})
	for _, clock := range []bool{false, true} {
		for _, selects := range []bool{true, false} {
			b.Run(fmt.Sprintf("clock=%v/select=%v/impl=cells", clock, selects), func(b *testing.B) {
				r := newRow(clock)
				overload(b, func(ctx context.Context) { r.get(ctx, selects) }, r.put)
			})
		}
	}
}

// overload has 128 callers, each with a ctx of its own, who yield once before they give back.
func overload(b *testing.B, get func(context.Context), put func()) {
	defer time.AfterFunc(time.Hour, func() {}).Stop() // as in every program that does anything else
	b.SetParallelism(128 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for pb.Next() {
			get(ctx)
			runtime.Gosched()
			put()
		}
	})
}

const cells = 62

type cell struct {
	by    *parker
	state atomic.Uint32 // 0 empty, 1 somebody waits, 2 served, 3 broken
}

type segment struct {
	base  uint64
	next  atomic.Pointer[segment]
	cells [cells]cell
}

type parker struct {
	ch    chan int
	done  <-chan struct{}
	began int64
}

type row struct {
	tail, head  atomic.Uint64
	last, first atomic.Pointer[segment]
	_           [64]byte
	idle        atomic.Int32
	parkers     sync.Pool
	epoch       time.Time
	clock       bool
	waited      atomic.Int64
}

func newRow(clock bool) *row {
	r := &row{epoch: time.Now(), clock: clock}
	s := new(segment)
	r.last.Store(s)
	r.first.Store(s)
	r.idle.Store(2)
	r.parkers.New = func() any { return &parker{ch: make(chan int, 1)} }
	return r
}

func (r *row) now() int64 {
	if !r.clock {
		return 0
	}
	return int64(time.Since(r.epoch))
}

func (r *row) take() bool {
	for n := r.idle.Load(); n > 0; n = r.idle.Load() {
		if r.idle.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

func (r *row) get(ctx context.Context, selects bool) {
	if r.take() {
		return
	}
	k := r.parkers.Get().(*parker)
	k.done, k.began = ctx.Done(), r.now()
	for {
		s := r.last.Load()
		n := r.tail.Add(1) - 1
		for n >= s.base+cells {
			next := s.next.Load()
			if next == nil {
				next = &segment{base: s.base + cells}
				if !s.next.CompareAndSwap(nil, next) {
					next = s.next.Load()
				}
			}
			r.last.CompareAndSwap(s, next)
			s = next
		}
		w := &s.cells[n-s.base]
		w.by = k
		if w.state.CompareAndSwap(0, 1) {
			break
		}
	}
	if !r.empty() && r.take() { // one may have been given back before
		r.put()
	}
	if selects {
		select {
		case <-k.ch:
		case <-k.done:
		}
	} else {
		<-k.ch
	}
	if r.clock {
		r.waited.Add(r.now() - k.began)
	}
	r.parkers.Put(k)
}

func (r *row) empty() bool { return r.idle.Load() == 0 }

func (r *row) put() {
	for {
		s, h := r.first.Load(), r.head.Load()
		for h >= s.base+cells {
			next := s.next.Load()
			if next == nil {
				break
			}
			r.first.CompareAndSwap(s, next)
			s = next
		}
		if h >= s.base+cells || r.tail.Load() <= h {
			r.idle.Add(1)
			if r.tail.Load() <= h || !r.take() {
				return
			}
			continue // somebody has come meanwhile
		}
		w := &s.cells[h-s.base]
		switch {
		case w.state.CompareAndSwap(1, 2):
			k := w.by
			r.head.CompareAndSwap(h, h+1)
			select {
			case <-k.done:
			default:
			}
			k.ch <- 1
			return
		case w.state.Load() == 0 && r.tail.Load() == h+1:
			runtime.Gosched() // it is about to be there; the pool does not wait for it
		default:
			w.state.CompareAndSwap(0, 3)
			if w.state.Load() != 1 {
				r.head.CompareAndSwap(h, h+1)
			}
		}
	}
}
