package fleet_test

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/fleet"
	"github.com/redis/go-redis/v9"
)

func ExampleNewBudget() {
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	defer client.Close()
	serve := func(factory pool.Factory[net.Conn]) error {
		budget, err := fleet.NewBudget(client, "account-7", 100, nil)
		if err != nil {
			return err
		}
		defer budget.Close()
		p, err := pool.New(factory, pool.Config{Budget: budget, MaxConnections: 50})
		if err != nil {
			return err
		}
		defer p.Close()
		return p.Do(context.Background(), func(_ context.Context, conn net.Conn) error {
			_, err := conn.Write([]byte("hello"))
			return err
		})
	}
	_ = serve
}

func ExampleNames() {
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	defer client.Close()
	show := func(ctx context.Context) error {
		names, err := fleet.Names(ctx, client)
		if err != nil {
			return err
		}
		for _, name := range names {
			state, err := fleet.Inspect(ctx, client, name)
			if err != nil {
				return err
			}
			fmt.Print(state)
		}
		return nil
	}
	_ = show
}

// What operators want to know: who has how many, and who waits.
func ExampleInspect() {
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	defer client.Close()
	show := func(ctx context.Context) error {
		state, err := fleet.Inspect(ctx, client, "account-7")
		if err != nil {
			return err
		}
		fmt.Print(state)
		for _, p := range state.Processes {
			if p.Waiting > 0 {
				fmt.Println(p.Label, "waits for", p.Waiting)
			}
		}
		return nil
	}
	_ = show
}

// A database that can end the connections of a process by their application_name keeps the bound even while a process stands still.
func ExampleOptions() {
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	defer client.Close()
	query := func(ctx context.Context, sql string, args ...any) error { return nil } // of an administrator's connection
	budget, err := fleet.NewBudget(client, "database", 500, &fleet.Options{
		Strict: true,
		Fence: func(ctx context.Context, id string) error {
			return query(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", id)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer budget.Close()
	dsn := "postgres://localhost/orders?application_name=" + budget.ID() // in each call of Open
	_ = dsn
}
