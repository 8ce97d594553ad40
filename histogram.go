package pool

import (
	"fmt"
	"iter"
	"log/slog"
	"math"
	"math/bits"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
)

// A Histogram says how long things have taken, as counted up to the moment when it was
// read. It is a plain value. The zero Histogram has nothing in it, and is what one reads
// where nothing has been recorded.
//
// Its buckets are the same always: four of equal width for each power of two from 1.024
// µs (2¹⁰ ns) to 18 m 20 s (2⁴⁰ ns), one for everything below and one for everything
// above. A bucket has its upper bound in it, and the bound of the one before not in it.
type Histogram struct {
	// Count is how many durations there are: always the sum of Counts.
	Count uint64

	// Sum is how long they have taken together. It is read after Counts, and has at
	// least all in it that are counted there; it may run ahead by what is being
	// recorded. When it comes to the longest Duration, 292 years, it stays there.
	Sum time.Duration

	// Counts has the number of durations in each bucket, and is nil if there are none.
	// [Histogram.All] tells the bounds. Copies of a Histogram share it: it is not to
	// be changed.
	Counts []uint64
}

// The buckets, by the duration in nanoseconds. Those between the first and the last are
// four for each power of two: the bits behind the leading one tell which.
const (
	histogramFirst   = 10 // the first bucket ends at 2¹⁰ ns
	histogramLast    = 40 // the last bucket begins at 2⁴⁰ ns
	histogramBuckets = 1 + 4*(histogramLast-histogramFirst) + 1
)

// bucketOf returns the bucket that d is counted in. What is negative is counted as zero.
func bucketOf(d time.Duration) int {
	// A bucket has its upper bound in it, because exporters say "at most". One less,
	// and the bits of the number tell the bucket.
	n := uint64(max(d, 1)) - 1
	exp := bits.Len64(n) - 1
	switch {
	case exp < histogramFirst:
		return 0
	case exp >= histogramLast:
		return histogramBuckets - 1
	}
	return 1 + 4*(exp-histogramFirst) + int(n>>(exp-2)&3)
}

// boundOf returns the longest duration that is counted in a bucket.
func boundOf(bucket int) time.Duration {
	switch bucket {
	case 0:
		return 1 << histogramFirst
	case histogramBuckets - 1:
		return math.MaxInt64
	}
	exp, quarter := histogramFirst+(bucket-1)/4, (bucket-1)%4
	return time.Duration(4+quarter+1) << (exp - 2)
}

// All iterates over all buckets, empty ones too, from the shortest durations to the
// longest: the upper bound of each, which is in it, and the number of durations in it
// alone. The bound of the last is the longest Duration, and stands for infinity. The zero
// Histogram has the same buckets, and tells the bounds.
//
// That is what OpenTelemetry has as bounds, but for the last, and bucket counts.
// Prometheus wants each bucket with all before it: add the counts up on the way. An
// exporter to which 122 buckets are too many can add up neighbours, such as the four that
// end at a power of two.
func (h Histogram) All() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for i := range histogramBuckets {
			if !yield(boundOf(i), h.in(i)) {
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

// Quantile returns a duration that at least the part q of all durations do not exceed:
// the upper bound of the bucket that has the quantile in it. So it is never less than the
// exact quantile, and more than that by a quarter at most, if that is above 1.024 µs and
// not in the last bucket, whose bound is the longest Duration. What is below 0 is taken
// for 0, which gives the bound of the shortest, and what is above 1 for 1. Quantile
// returns 0 if there are no durations.
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

// Sub returns what has been recorded after earlier and up to h, both of which are
// from the same Pool. If they are not, or are given the wrong way round, what would be
// less than nothing is nothing.
func (h Histogram) Sub(earlier Histogram) Histogram {
	d := Histogram{Sum: max(h.Sum-earlier.Sum, 0)}
	var counts [histogramBuckets]uint64
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

// String returns the count, the median, the 99th percentile and the bound of the longest
// duration, in one line, rounded to three digits.
func (h Histogram) String() string {
	if h.Count == 0 {
		return "count 0"
	}
	return fmt.Sprintf("count %d, p50 %s, p99 %s, max %s", h.Count, boundText(h.Quantile(0.5)), boundText(h.Quantile(0.99)), boundText(h.Quantile(1)))
}

// boundText returns the upper bound of a bucket for people to read.
func boundText(bound time.Duration) string {
	if bound == math.MaxInt64 {
		return "over " + boundText(1<<histogramLast)
	}
	unit := time.Duration(1)
	for bound/unit >= 1000 {
		unit *= 10
	}
	return bound.Round(unit).String()
}

// LogValue makes a group of attributes of h.
func (h Histogram) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("count", h.Count),
		slog.Duration("p50", h.Quantile(0.5)),
		slog.Duration("p90", h.Quantile(0.9)),
		slog.Duration("p99", h.Quantile(0.99)),
		slog.Duration("mean", h.Mean()),
	)
}

// A recorder counts durations for a [Histogram]. The zero recorder is ready for use, and
// must not be copied after that.
//
// No call waits for another: record is two atomic additions, and a recorder or a reader
// that stalls holds up nobody. Processors that record the same bucket at the same time
// would take the line from each other, so there are several stripes, each with a count
// for every bucket: those who record in different ones never meet.
//
// It is one block of 4 KiB, without a pointer. It consists of 64-bit words alone, so that
// all are aligned on 386, too, if it is allocated by itself.
type recorder struct {
	stripes [recorderStripes]recorderStripe
}

const recorderStripes = 4

type recorderStripe struct {
	sum    atomic.Uint64 // nanoseconds
	counts [histogramBuckets]atomic.Uint64
	_      [(pad - 8*(1+histogramBuckets)%pad) % pad]byte // the next stripe lies apart
}

// record counts d. Callers that are likely to record at the same time should give
// different stripes; any number will do.
func (r *recorder) record(stripe uint, d time.Duration) {
	s := &r.stripes[stripe%recorderStripes]
	// First the sum, then the count. The other side is in snapshot, which reads the
	// counts first: whatever it counts, it finds in the sum.
	if d > 0 && s.sum.Add(uint64(d)) > math.MaxInt64 {
		// 292 years: 10,000 callers can wait for so long in eleven days. It stays
		// there. To pass zero in spite of it, others would have to add as much again
		// between these two steps.
		s.sum.Store(math.MaxInt64)
	}
	s.counts[bucketOf(d)].Inc() // d is recorded here
}

// snapshot returns what has been recorded. Its buckets are read one after the other: it
// has everything in it that had been recorded when snapshot was called, and some of what
// was recorded meanwhile. Of two snapshots, one after the other, no number in the second
// is less than in the first.
func (r *recorder) snapshot() Histogram {
	var (
		h      Histogram
		sum    uint64
		counts [histogramBuckets]uint64
	)
	for i := range r.stripes {
		s := &r.stripes[i]
		for b := range counts {
			n := s.counts[b].Load()
			counts[b] += n
			h.Count += n
		}
		sum = min(sum+min(s.sum.Load(), math.MaxInt64), math.MaxInt64)
	}
	if h.Count == 0 {
		return Histogram{} // the sum of what is about to be recorded can wait
	}
	h.Sum, h.Counts = time.Duration(sum), append([]uint64(nil), counts[:]...)
	return h
}
