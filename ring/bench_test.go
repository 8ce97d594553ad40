package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// full returns a ring with all slots idle.
func full(n int) *Ring {
	r := New(n)
	for range n {
		i, w := r.Claim()
		w = r.Fill(i, w, 0)
		r.Publish(i, w)
	}
	return r
}

type lease struct {
	slot int
	w    Word
}

func take(r *Ring) lease {
	i, w, ok := r.Take()
	if !ok {
		i, w, ok = r.Scan()
		if !ok {
			panic("empty")
		}
	}
	return lease{i, w}
}

// occupy leases pct percent at random positions, leaving at least one.
func occupy(r *Ring, pct int) []lease {
	n := r.Len()
	all := make([]lease, n)
	for i := range all {
		all[i] = take(r)
	}
	rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	k := min(n*pct/100, n-1)
	for _, l := range all[k:] {
		r.Give(l.slot, l.w, 0)
	}
	return all[:k]
}

func BenchmarkTakeGive(b *testing.B) {
	{
		for _, n := range []int{16, 100, 1000, 10000} {
			for _, pct := range []int{0, 50, 90, 99} {
				b.Run(fmt.Sprintf("order=same/size=%d/leased=%d", n, pct), func(b *testing.B) {
					r := full(n)
					occupy(r, pct)
					for b.Loop() {
						l := take(r)
						r.Give(l.slot, l.w, 0)
					}
				})
				b.Run(fmt.Sprintf("order=random/size=%d/leased=%d", n, pct), func(b *testing.B) {
					r := full(n)
					held := occupy(r, pct)
					idx := make([]uint16, 8192)
					for i := range idx {
						idx[i] = uint16(rand.IntN(max(1, len(held))))
					}
					i := 0
					for b.Loop() {
						l := take(r)
						if len(held) > 0 {
							i++
							k := idx[i&8191]
							held[k], l = l, held[k]
						}
						r.Give(l.slot, l.w, 0)
					}
				})
				b.Run(fmt.Sprintf("order=batch/size=%d/leased=%d", n, pct), func(b *testing.B) {
					r := full(n)
					occupy(r, pct)
					k := min(n-n*pct/100, 16)
					batch := make([]lease, k)
					perm := rand.Perm(k)
					for i := 0; i < b.N; i += k {
						for j := range batch {
							batch[j] = take(r)
						}
						for _, j := range perm {
							r.Give(batch[j].slot, batch[j].w, 0)
						}
					}
				})
			}
		}
	}
}
