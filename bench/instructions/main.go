// Command instructions does as many Gets and Puts as it is told, for bench/count, which
// counts the instructions.
package main

import (
	"context"
	"os"
	"strconv"

	"github.com/S4AK4N/pool"
)

type conn struct{ _ int }

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	p, err := pool.New(pool.Factory[*conn]{
		Open:  func(context.Context) (*conn, error) { return new(conn), nil },
		Close: func(*conn, error) error { return nil },
	}, pool.Config{MaxConnections: 16})
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
