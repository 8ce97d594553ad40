package main

import (
	"context"

	"github.com/S4AK4N/pool"
)

// A file of its own: bench/count leaves it out at commits that have no Group.
func init() {
	ways["group"] = func(n int, f pool.Factory[*conn], c pool.Config) { ofGroup(n, "account-000042", f, c) }
	ways["groupstruct"] = func(n int, f pool.Factory[*conn], c pool.Config) {
		type account struct {
			name   string
			region int
		}
		ofGroup(n, account{"account-000042", 42}, f, c)
	}
}

func ofGroup[K comparable](n int, key K, f pool.Factory[*conn], c pool.Config) {
	g, err := pool.NewGroup(func(K) (pool.Factory[*conn], pool.Config, error) { return f, c, nil }, pool.GroupConfig{})
	if err != nil {
		panic(err)
	}
	defer g.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range n {
		l, err := g.Get(ctx, key)
		if err != nil {
			panic(err)
		}
		_ = g.Put(l)
	}
}
