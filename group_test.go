package pool_test

import (
	"context"
	"strings"
	"testing"

	"github.com/S4AK4N/pool"
)

func TestNewGroupNamesTheFieldThatIsInvalid(t *testing.T) {
	open := func(string) (pool.Factory[*benchConn], pool.Config, error) { return benchFactory(), pool.Config{}, nil }
	if _, err := pool.NewGroup[string, *benchConn](nil, pool.GroupConfig{}); err == nil || !strings.Contains(err.Error(), "open") {
		t.Errorf("without a function NewGroup returned %v", err)
	}
	if _, err := pool.NewGroup(open, pool.GroupConfig{MaxPools: -1}); err == nil || !strings.Contains(err.Error(), "GroupConfig.MaxPools is negative: -1") {
		t.Errorf("with a negative MaxPools NewGroup returned %v", err)
	}
	g, err := pool.NewGroup(open, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("Close of a group without pools returned %v", err)
	}
}

func TestGetOfAKeyThatExistsDoesNotAllocate(t *testing.T) {
	type key struct {
		account string
		region  int
	}
	g, err := pool.NewGroup(func(key) (pool.Factory[*benchConn], pool.Config, error) { return benchFactory(), pool.Config{}, nil }, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	k := key{"alice", 3}
	ctx := context.Background()
	visit := func() {
		l, err := g.Get(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Put(l); err != nil {
			t.Fatal(err)
		}
	}
	visit()
	if n := testing.AllocsPerRun(1000, visit); n != 0 {
		t.Errorf("a Get and a Put allocate %v times, want never", n)
	}
}

// A Pool is a Source.
var _ pool.Source = (*pool.Pool[*benchConn])(nil)
