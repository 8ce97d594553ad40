package otelpool

import (
	"context"
	"math"
	"time"

	"github.com/S4AK4N/pool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// bounds are those of the three times. Each is one of a [pool.Histogram], so that no bucket of
// that is split.
func bounds() metric.HistogramOption {
	var seconds []float64
	for bound := time.Duration(1) << 14; bound <= 1<<36; bound *= 2 {
		seconds = append(seconds, bound.Seconds())
	}
	return metric.WithExplicitBucketBoundaries(seconds...)
}

// record records each of the durations in h. They are known by their buckets and their sum alone.
// All are taken to be at the same place in their buckets, at the one with which the sum is right.
func record(ctx context.Context, to metric.Float64Histogram, h pool.Histogram, attrs attribute.Set) {
	if h.Count == 0 || !to.Enabled(ctx) {
		return
	}
	least, width := 0.0, 0.0 // the sums of where the buckets begin, and of how wide they are
	for b := range buckets(h) {
		least += float64(b.n) * b.below
		width += float64(b.n) * b.width
	}
	// A bucket does not include where it begins. Sum is read after the counts, so it may be
	// that of a few more.
	place := min(max((h.Sum.Seconds()-least)/width, 0.001), 1)
	set := []metric.RecordOption{metric.WithAttributeSet(attrs)} // one for all: each would be allocated
	for b := range buckets(h) {
		v := b.below + place*b.width // never over the bucket's bound, also by its last digit: there is a test of all
		for range b.n {
			to.Record(ctx, v, set...)
		}
	}
}

// A bucket is one of a [pool.Histogram] that is not empty, in seconds.
type bucket struct {
	n            uint64
	below, width float64
}

func buckets(h pool.Histogram) func(yield func(bucket) bool) {
	return func(yield func(bucket) bool) {
		below := time.Duration(0)
		for bound, n := range h.All() {
			if bound == math.MaxInt64 { // what is longer than all is at most twice as long
				bound = 2 * below
			}
			if n > 0 && !yield(bucket{n, below.Seconds(), (bound - below).Seconds()}) {
				return
			}
			below = bound
		}
	}
}
