package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// A rival is an alternative to a ring: a number of slots, each leased to one owner at a
// time. All of them, the ring included, are called through this interface, which costs
// each the same.
type rival interface {
	take() (lease, bool) // does not wait
	give(l lease)
}

type ringRival struct{ *Ring }

func (r ringRival) take() (lease, bool) {
	slot, w, ok := r.Take()
	if !ok {
		slot, w, ok = r.Scan()
	}
	return lease{slot, w}, ok
}

func (r ringRival) give(l lease) { r.Give(l.slot, l.w, 0) }

type mutexRival struct {
	mu   sync.Mutex
	idle []int
}

func (m *mutexRival) take() (lease, bool) {
	m.mu.Lock()
	last := len(m.idle) - 1
	if last < 0 {
		m.mu.Unlock()
		return lease{}, false
	}
	slot := m.idle[last]
	m.idle = m.idle[:last]
	m.mu.Unlock()
	return lease{slot: slot}, true
}

func (m *mutexRival) give(l lease) {
	m.mu.Lock()
	m.idle = append(m.idle, l.slot)
	m.mu.Unlock()
}

type chanRival chan int

func (c chanRival) take() (lease, bool) {
	select {
	case slot := <-c:
		return lease{slot: slot}, true
	default:
		return lease{}, false
	}
}

func (c chanRival) give(l lease) { c <- l.slot }

var rivals = []struct {
	name string
	new  func(size int) rival
}{
	{"ring", func(size int) rival { return ringRival{full(size)} }},
	{"mutex", func(size int) rival {
		m := &mutexRival{idle: make([]int, 0, size)}
		for i := range size {
			m.give(lease{slot: i})
		}
		return m
	}},
	{"chan", func(size int) rival {
		c := make(chanRival, size)
		for i := range size {
			c.give(lease{slot: i})
		}
		return c
	}},
}

// occupy leases so many percent of the slots, at random positions, but leaves one.
func occupy(p rival, size, percent int) []lease {
	all := make([]lease, size)
	for i := range all {
		all[i], _ = p.take()
	}
	rand.Shuffle(size, func(i, j int) { all[i], all[j] = all[j], all[i] })
	k := min(size*percent/100, size-1)
	for _, l := range all[k:] {
		p.give(l)
	}
	return all[:k]
}

// One op is one Take and one Give by one goroutine, while others hold leases.
// order=same gives what was taken; order=random gives one of the leases that others
// hold, and leaves them the one that was taken; order=batch takes up to 16 and gives
// them in random order.
func BenchmarkTakeGive(b *testing.B) {
	for _, size := range []int{16, 100, 1000, 10000} {
		for _, leased := range []int{0, 50, 90, 99} {
			for _, order := range []string{"same", "random", "batch"} {
				for _, impl := range rivals {
					name := fmt.Sprintf("size=%d/leased=%d/order=%s/impl=%s", size, leased, order, impl.name)
					b.Run(name, func(b *testing.B) {
						b.ReportAllocs()
						p := impl.new(size)
						held := occupy(p, size, leased)
						switch {
						case order == "batch":
							takeGiveBatch(b, p, min(size-len(held), 16))
						case order == "random" && len(held) > 0:
							takeGiveRandom(b, p, held)
						default:
							for b.Loop() {
								l, _ := p.take()
								p.give(l)
							}
						}
					})
				}
			}
		}
	}
}

func takeGiveRandom(b *testing.B, p rival, held []lease) {
	victims := make([]uint16, 1<<13) // drawn beforehand, as that costs as much as a Take
	for i := range victims {
		victims[i] = uint16(rand.IntN(len(held)))
	}
	i := 0
	for b.Loop() {
		l, _ := p.take()
		h := &held[victims[i%len(victims)]]
		i++
		*h, l = l, *h
		p.give(l)
	}
}

func takeGiveBatch(b *testing.B, p rival, size int) {
	batch := make([]lease, size)
	order := rand.Perm(size)
	b.ResetTimer()
	for i := 0; i < b.N; i += size {
		for j := range batch {
			batch[j], _ = p.take()
		}
		for _, j := range order {
			p.give(batch[j])
		}
	}
}

// One op is one Take and one Give, whichever goroutine does it. With more goroutines
// than slots, those that find none yield.
func BenchmarkParallelTakeGive(b *testing.B) {
	for _, size := range []int{16, 100} {
		for _, goroutines := range []int{1, 8, 64} {
			for _, impl := range rivals {
				b.Run(fmt.Sprintf("size=%d/goroutines=%d/impl=%s", size, goroutines, impl.name), func(b *testing.B) {
					b.ReportAllocs()
					p := impl.new(size)
					var wg sync.WaitGroup
					b.ResetTimer()
					for g := range goroutines {
						wg.Go(func() {
							for range (b.N + g) / goroutines {
								l, ok := p.take()
								for ; !ok; l, ok = p.take() {
									runtime.Gosched()
								}
								p.give(l)
							}
						})
					}
					wg.Wait()
				})
			}
		}
	}
}
