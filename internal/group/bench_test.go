package group

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

type pair struct {
	a string
	b int
}

func benchTable[K comparable](b *testing.B, n int, key func(int) K) {
	keys := make([]K, n)
	for i := range keys {
		keys[i] = key(i)
	}
	order := rand.Perm(1 << 16)
	b.Run("impl=table", func(b *testing.B) {
		var t Table[K, [512]byte]
		t.Init()
		for i := range keys {
			t.Put(&Member[K, [512]byte]{Key: key(i)})
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			i := rand.IntN(n)
			for pb.Next() {
				i++
				if t.Find(keys[order[i&0xffff]%n]) == nil {
					b.Error("not found")
				}
			}
		})
	})
	b.Run("impl=syncmap", func(b *testing.B) {
		var m sync.Map
		for i := range keys {
			m.Store(keys[i], &Member[K, [512]byte]{Key: key(i)})
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			i := rand.IntN(n)
			for pb.Next() {
				i++
				v, _ := m.Load(keys[order[i&0xffff]%n])
				if v.(*Member[K, [512]byte]) == nil {
					b.Error("not found")
				}
			}
		})
	})
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{10, 1000, 100000} {
		b.Run(fmt.Sprintf("keys=%d/type=string", n), func(b *testing.B) {
			benchTable(b, n, func(i int) string { return fmt.Sprintf("account-%06d", i) })
		})
		b.Run(fmt.Sprintf("keys=%d/type=struct", n), func(b *testing.B) {
			benchTable(b, n, func(i int) pair { return pair{fmt.Sprintf("account-%06d", i), i} })
		})
	}
}
