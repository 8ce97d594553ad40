package fleet

import (
	"context"
	"testing"
	"time"
	"log/slog"
	"os"
	"fmt"

	"github.com/S4AK4N/pool"
)

type thing struct{ n int }

func newPool(t *testing.T, b pool.Budget, c pool.Config) *pool.Pool[*thing] {
	n := 0
	c.Budget = b
	p, err := pool.New(pool.Factory[*thing]{Open: func(ctx context.Context) (*thing, error) { n++; return &thing{n}, nil }, Close: func(*thing, error) error { return nil }}, c)
	if err != nil { t.Fatal(err) }
	return p
}

func TestSmoke(t *testing.T) {
	s := newServer(t)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b1, err := NewBudget(s.newClient(), "x", 20, &Options{Found: true, Logger: log})
	if err != nil { t.Fatal(err) }
	b2, err := NewBudget(s.newClient(), "x", 20, &Options{Found: true, Logger: log})
	if err != nil { t.Fatal(err) }
	p1, p2 := newPool(t, b1, pool.Config{MaxConnections: 30}), newPool(t, b2, pool.Config{MaxConnections: 30})
	var ls []pool.Lease[*thing]
	start := time.Now()
	for i := range 20 {
		l, err := p1.Get(context.Background())
		if err != nil { t.Fatal(i, err) }
		ls = append(ls, l)
	}
	fmt.Println("20 opens", time.Since(start))
	for _, l := range ls { p1.Put(l) }
	for range 5 {
	start = time.Now()
	l, err := p2.Get(context.Background())
	fmt.Println("got from other", time.Since(start), err)
	defer p2.Put(l)
	}
	fmt.Println(p1.Stats().ClosedBudget)
	p1.Close(); p2.Close()
	fmt.Println(b1.Close(), b2.Close())
}
