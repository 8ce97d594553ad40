package prompool_test

import (
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkCollect reads one pool of 100 connections.
func BenchmarkCollect(b *testing.B) {
	p, err := pool.New(pool.Factory[*conn]{Open: open}, pool.Config{Name: "p", MaxConnections: 100, TimeUse: true})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if err := p.Warm(b.Context(), 100); err != nil {
		b.Fatal(err)
	}
	if err := p.Do(b.Context(), func(ctx, *conn) error { return nil }); err != nil {
		b.Fatal(err)
	}
	c := prompool.NewCollector(p)
	ch := make(chan prometheus.Metric, 1000)
	for b.Loop() {
		c.Collect(ch)
		for len(ch) > 0 {
			<-ch
		}
	}
}
