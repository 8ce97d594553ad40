package puddle_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/jackc/puddle/v2"
)

func ExampleConfigure() {
	defer puddle.Configure(nil)

	puddle.Configure(func(c *pool.Config) {
		c.Name = "orders"
		c.LeakAfter = 30 * time.Second
		c.FailFastAfter = 3 * time.Second // callers wait as long for a server that restarts
		c.Hooks.Leaked = func(lease pool.LeaseInfo) {
			slog.Warn("forgotten", "by", lease.Where)
		}
	})

	p, err := puddle.NewPool(&puddle.Config[int]{
		Constructor: func(context.Context) (int, error) { return 42, nil },
		Destructor:  func(int) {},
		MaxSize:     4,
	})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	for n := range puddle.Pools() {
		fmt.Println(n.Name(), n.Stats().MaxConnections)
	}
	// Output: orders 4
}

func ExamplePools() {
	p, err := puddle.NewPool(&puddle.Config[int]{
		Constructor: func(context.Context) (int, error) { return 42, nil },
		Destructor:  func(int) {},
		MaxSize:     4,
	})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	res, err := p.Acquire(context.Background())
	if err != nil {
		panic(err)
	}
	defer res.Release()

	for p := range puddle.Pools() {
		s := p.Stats()
		fmt.Printf("%s: %d in use, %d idle, %d wait\n", p.Name(), s.ActiveConnections, s.IdleConnections, s.WaitingRequests)
		for _, lease := range p.Leases() {
			fmt.Println("connection", lease.Number, "is in use")
		}
	}
	// Output:
	// puddle: 1 in use, 0 idle, 0 wait
	// connection 1 is in use
}
