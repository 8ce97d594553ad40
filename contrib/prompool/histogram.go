package prompool

import (
	"math"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The buckets of classic histograms: one for each power of two of nanoseconds, each of four
// buckets of ours, so that none is split.
const (
	first = time.Duration(1) << 14 // 16 µs
	last  = time.Duration(1) << 36 // 69 s
)

// The buckets of native histograms: four for each power of two of seconds, as many as ours, though
// not the same. What is in one of ours counts in the one that has its middle: never two of ours in
// the same one.
const (
	schema        = 2
	zeroThreshold = float64(1<<10) / 1e9 // what is in our first bucket is zero; not 0, which would make an empty one look classic
)

// A histogram is a Metric that is classic and native at the same time: the text format has the
// classic buckets, protobuf has both.
type histogram struct {
	desc *prometheus.Desc
	pool string
	h    pool.Histogram
}

func (m histogram) Desc() *prometheus.Desc { return m.desc }

func (m histogram) Write(out *dto.Metric) error {
	h := &dto.Histogram{
		SampleCount:   new(m.h.Count),
		SampleSum:     new(m.h.Sum.Seconds()),
		Schema:        new(int32(schema)),
		ZeroThreshold: new(zeroThreshold),
		ZeroCount:     new(uint64(0)),
	}
	var (
		below time.Duration // where the bucket begins
		sum   uint64
		next  int32 // the native bucket behind the last one that is written
		prev  int64 // what is in that last one
	)
	for bound, n := range m.h.All() {
		sum += n
		if bound >= first && bound <= last && bound&(bound-1) == 0 {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(bound.Seconds()), CumulativeCount: new(sum)})
		}
		switch {
		case below == 0:
			*h.ZeroCount = n
		case n > 0:
			index := nativeBucket(below, bound)
			if len(h.PositiveSpan) == 0 || index != next {
				h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: new(index - next), Length: new(uint32(0))})
			}
			*h.PositiveSpan[len(h.PositiveSpan)-1].Length++
			h.PositiveDelta = append(h.PositiveDelta, int64(n)-prev)
			next, prev = index+1, int64(n)
		}
		below = bound
	}
	out.Label = prometheus.MakeLabelPairs(m.desc, []string{m.pool})
	out.Histogram = h
	return nil
}

// nativeBucket returns the index of the native bucket that has the middle between two bounds of
// ours: bucket i ends at 2^(i/4) seconds.
func nativeBucket(below, bound time.Duration) int32 {
	if bound == math.MaxInt64 { // our last bucket has no end
		bound = below + below/4
	}
	return int32(math.Ceil(math.Log2((below.Seconds()+bound.Seconds())/2) * (1 << schema)))
}
