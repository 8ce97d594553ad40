package pool

import (
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/S4AK4N/pool/internal/histogram"
)

// A Histogram counts durations by their length, as of the moment when it was read. It is a
// plain value. The zero Histogram is empty.
//
// The buckets are always the same: four of equal width for each power of two from 1.024 µs
// (2¹⁰ ns) to 18 m 20 s (2⁴⁰ ns), one for everything below and one for everything above. A
// bucket includes its upper bound.
type Histogram struct {
	// Count is the number of durations. It is always the sum of Counts.
	Count uint64

	// Sum is the sum of all durations. It is read after Counts, so it includes everything
	// that is counted there and may include a little more. It stops at the longest
	// Duration, 292 years.
	Sum time.Duration

	// Counts has the number of durations in each bucket. It is nil if there are none.
	// [Histogram.All] has the bounds. Copies of a Histogram share Counts: do not change it.
	Counts []uint64
}

// All iterates over all buckets, from the shortest durations to the longest, empty ones
// included: the upper bound of the bucket, which it includes, and the number of durations in
// that bucket alone. The bound of the last bucket is the longest Duration, which stands for
// infinity. The zero Histogram has the same buckets.
//
// These are the bounds (but for the last) and bucket counts of OpenTelemetry. Prometheus wants
// cumulative counts: add them up on the way. An exporter to which 122 buckets are too many
// can merge neighbours, such as the four that end at a power of two.
func (h Histogram) All() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for i := range histogram.Buckets {
			if !yield(histogram.BoundOf(i), h.in(i)) {
				return
			}
		}
	}
}

// in returns the number of durations in a bucket.
func (h Histogram) in(bucket int) uint64 {
	if bucket < len(h.Counts) {
		return h.Counts[bucket]
	}
	return 0
}

// Quantile returns an upper bound of the q-quantile: the bound of the bucket that contains
// it. So the result is never less than the exact quantile. It is at most 25 % more, for
// durations above 1.024 µs and below the last bucket, whose bound is the longest Duration.
// q below 0 counts as 0 and q above 1 as 1. Quantile returns 0 if there are no durations.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	// The rank of the quantile: how many durations do not exceed it, itself included.
	// At 1 it is not calculated: what float64 makes of Count may be more than Count, and
	// too much for an integer. With the next lower q the product is less than Count.
	rank := uint64(1)
	switch r := math.Ceil(q * float64(h.Count)); {
	case q >= 1:
		rank = h.Count
	case r > 1: // not so for NaN
		rank = uint64(r)
	}
	for bound, n := range h.All() {
		if n >= rank {
			return bound
		}
		rank -= n
	}
	return math.MaxInt64 // more in Count than in Counts: not a Histogram of ours
}

// Mean returns the average duration, or 0 if there are none.
func (h Histogram) Mean() time.Duration {
	if h.Count == 0 {
		return 0
	}
	return time.Duration(uint64(h.Sum) / h.Count)
}

// Sub returns the durations that were recorded after earlier and up to h. Both must be from
// the same Pool. Where that would be negative, because they are not or are given in the
// wrong order, the result is zero.
func (h Histogram) Sub(earlier Histogram) Histogram {
	d := Histogram{Sum: max(h.Sum-earlier.Sum, 0)}
	var counts [histogram.Buckets]uint64
	for i := range counts {
		if now, then := h.in(i), earlier.in(i); now > then {
			counts[i] = now - then
			d.Count += now - then
		}
	}
	if d.Count > 0 {
		d.Counts = append([]uint64(nil), counts[:]...)
	}
	return d
}

// String returns the count, the median, the 99th percentile and the upper bound of the
// longest duration in one line, rounded to three digits.
func (h Histogram) String() string {
	if h.Count == 0 {
		return "count 0"
	}
	return fmt.Sprintf("count %d, p50 %s, p99 %s, max %s", h.Count, boundText(h.Quantile(0.5)), boundText(h.Quantile(0.99)), boundText(h.Quantile(1)))
}

// boundText returns the upper bound of a bucket for people to read.
func boundText(bound time.Duration) string {
	if bound == math.MaxInt64 {
		return "over " + boundText(1<<histogram.Last)
	}
	unit := time.Duration(1)
	for bound/unit >= 1000 {
		unit *= 10
	}
	return bound.Round(unit).String()
}

// MarshalJSON returns h as an object: count, sum_seconds, and buckets, an array of those that
// are not empty, each with its upper bound in le_seconds, null for infinity, and the count of
// that bucket alone.
func (h Histogram) MarshalJSON() ([]byte, error) {
	type bucket struct {
		Le    *float64 `json:"le_seconds"`
		Count uint64   `json:"count"`
	}
	buckets := []bucket{}
	for bound, n := range h.All() {
		if n == 0 {
			continue
		}
		var le *float64
		if bound != math.MaxInt64 {
			seconds := bound.Seconds()
			le = &seconds
		}
		buckets = append(buckets, bucket{le, n})
	}
	return json.Marshal(struct {
		Count   uint64   `json:"count"`
		Sum     float64  `json:"sum_seconds"`
		Buckets []bucket `json:"buckets"`
	}{h.Count, h.Sum.Seconds(), buckets})
}

// LogValue returns h as a group of attributes.
func (h Histogram) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("count", h.Count),
		slog.Duration("p50", h.Quantile(0.5)),
		slog.Duration("p90", h.Quantile(0.9)),
		slog.Duration("p99", h.Quantile(0.99)),
		slog.Duration("mean", h.Mean()),
	)
}
