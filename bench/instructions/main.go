// Command instructions does as many Gets and Puts as it is told, in one of several ways,
// for bench/count, which counts the instructions.
//
//	instructions get|check|clean|tryget N
package main

import (
	"context"
	"os"
	"strconv"

	"github.com/S4AK4N/pool"
)

type conn struct{ _ int }

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	f := pool.Factory[*conn]{
		Open:  func(context.Context) (*conn, error) { return new(conn), nil },
		Close: func(*conn, error) error { return nil },
	}
	nothing := func(*conn) error { return nil }
	switch os.Args[1] {
	case "check":
		f.Check = nothing
	case "clean":
		f.Clean = nothing
	}
	p, err := pool.New(f, pool.Config{MaxConnections: 16})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if os.Args[1] == "tryget" {
		if err := p.Warm(ctx, 1); err != nil {
			panic(err)
		}
		for range n {
			l, ok := p.TryGet()
			if !ok {
				panic("nothing is idle")
			}
			_ = p.Put(l)
		}
		return
	}
	for range n {
		l, err := p.Get(ctx)
		if err != nil {
			panic(err)
		}
		_ = p.Put(l)
	}
}
