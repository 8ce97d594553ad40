package prompool_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A conn is a connection that does nothing.
type conn struct{}

func (*conn) Close() error { return nil }

type ctx = context.Context

func open(context.Context) (*conn, error) { return new(conn), nil }

func Example() {
	p, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "orders", MaxConnections: 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	q, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "prices", MaxConnections: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(prompool.NewCollector(p, q))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{}) // for http.Handle("/metrics", metrics)

	lease, err := p.Get(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Put(lease)

	server := httptest.NewServer(metrics)
	defer server.Close()
	reply, err := server.Client().Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "pool_connections{") || strings.HasPrefix(line, "pool_max") {
			fmt.Print(line)
		}
	}
	// Output:
	// pool_connections{pool="orders",state="active"} 1
	// pool_connections{pool="orders",state="idle"} 0
	// pool_connections{pool="orders",state="opening"} 0
	// pool_connections{pool="prices",state="active"} 0
	// pool_connections{pool="prices",state="idle"} 0
	// pool_connections{pool="prices",state="opening"} 0
	// pool_max_connections{pool="orders"} 20
	// pool_max_connections{pool="prices"} 5
}

// A Group has a series for each of its pools, within a limit.
func ExampleNewCollectorFunc() {
	g, err := accounts()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(prompool.NewCollectorFunc(g.Sources()))
	// Output:
}

// A Pool, and beside it each pool of a Group.
func ExampleNewCollectorFunc_besideAPool() {
	p, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	g, err := accounts()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	if err := g.Do(context.Background(), "alice", func(context.Context, *conn) error { return nil }); err != nil {
		fmt.Println(err)
		return
	}

	registry := prometheus.NewRegistry()
	all := func(yield func(prompool.Source) bool) {
		if yield(p) {
			g.Sources()(yield)
		}
	}
	registry.MustRegister(prompool.NewCollectorFunc(all))

	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, family := range families {
		if family.GetName() == "pool_leases_total" {
			for _, m := range family.Metric {
				fmt.Println(m.GetLabel()[0].GetValue(), m.GetCounter().GetValue())
			}
		}
	}
	// Output:
	// alice 1
	// orders 0
}

// A Group is one series, beside that of a Pool.
func ExampleNewCollector_group() {
	p, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	g, err := accounts()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(prompool.NewCollector(p, pool.NewSource("accounts", g)))
	// Output:
}

// At most 500 pools of a Group have series of their own, and so has a Pool beside them.
func ExampleMaxNames() {
	p, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	g, err := accounts()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()

	some := pool.ByName(g.Sources(), 500)
	all := func(yield func(prompool.Source) bool) {
		if yield(p) {
			some(yield)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prompool.NewCollectorFunc(all, prompool.MaxNames(-1)))
	// Output:
}

func accounts() (*pool.Group[string, *conn], error) {
	return pool.NewGroup(func(account string) (pool.Factory[*conn], pool.Config, error) {
		return pool.Factory[*conn]{Open: open}, pool.Config{Name: account}, nil
	}, pool.GroupConfig{})
}
