// Command instructions does as many Gets and Puts as it is told, in one of several ways,
// for bench/count, which counts the instructions.
//
//	instructions get|check|clean|tryget|group|groupstruct N
package main

import (
	"context"
	"os"
	"strconv"

	"github.com/S4AK4N/pool"
)

type conn struct{ _ int }

var ways = map[string]func(n int, f pool.Factory[*conn], c pool.Config){
	"get": ofPool,
	"check": func(n int, f pool.Factory[*conn], c pool.Config) {
		f.Check = nothing
		ofPool(n, f, c)
	},
	"clean": func(n int, f pool.Factory[*conn], c pool.Config) {
		f.Clean = nothing
		ofPool(n, f, c)
	},
	"tryget": tries,
}

func nothing(*conn) error { return nil }

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	f := pool.Factory[*conn]{
		Open:  func(context.Context) (*conn, error) { return new(conn), nil },
		Close: func(*conn, error) error { return nil },
	}
	ways[os.Args[1]](n, f, pool.Config{MaxConnections: 16})
}

func ofPool(n int, f pool.Factory[*conn], c pool.Config) {
	p, err := pool.New(f, c)
	if err != nil {
		panic(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range n {
		l, err := p.Get(ctx)
		if err != nil {
			panic(err)
		}
		_ = p.Put(l)
	}
}

func tries(n int, f pool.Factory[*conn], c pool.Config) {
	p, err := pool.New(f, c)
	if err != nil {
		panic(err)
	}
	defer p.Close()
	if err := p.Warm(context.Background(), 1); err != nil {
		panic(err)
	}
	for range n {
		l, ok := p.TryGet()
		if !ok {
			panic("nothing is idle")
		}
		_ = p.Put(l)
	}
}
