package main

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A histogram counts durations. Its steps are those of an HdrHistogram of nanoseconds
// with two significant digits, so a percentile is at most 1/128 above the true one. The
// longest duration and the sum are exact.
//
// The zero histogram is empty. Only one goroutine may use it at a time.
type histogram struct {
	steps *hdrhistogram.Histogram // nil: empty
	count uint64
	max   time.Duration
	sum   float64 // nanoseconds
}

// longest is the longest duration that has a step of its own: more than the longest phase
// and its grace. A longer one is counted there. A histogram takes 38 KiB.
const longest = 2 * time.Hour

// record adds d. A negative d counts as zero.
func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	if h.steps == nil {
		h.steps = hdrhistogram.New(1, int64(longest), 2)
	}
	h.steps.RecordValue(int64(min(d, longest))) // fails for what is out of range only
	h.count++
	h.max = max(h.max, d)
	h.sum += float64(d)
}

// add adds all that other has counted.
func (h *histogram) add(other *histogram) {
	if other.count == 0 {
		return
	}
	if h.steps == nil {
		h.steps = hdrhistogram.New(1, int64(longest), 2)
	}
	h.steps.Merge(other.steps)
	h.count += other.count
	h.max = max(h.max, other.max)
	h.sum += other.sum
}

// percentile returns a duration that p percent of those recorded do not exceed: not less
// than the smallest such duration, and at most 1/128 more. It is 0 for an empty
// histogram.
func (h *histogram) percentile(p float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	// The library rounds p/100 of the count to the nearest rank, so that less than p
	// percent may be within what it returns. It gets the percentile of the rank above.
	rank := max(1, math.Ceil(p/100*float64(h.count)))
	if rank >= float64(h.count) {
		return h.max
	}
	return min(time.Duration(h.steps.ValueAtPercentile(100*rank/float64(h.count))), h.max)
}

// mean returns the mean of the durations, or 0 for an empty histogram.
func (h *histogram) mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count))
}

// A recorder is a histogram for many goroutines. Those with the same place share a part
// of it. So it takes the same memory for a thousand clients as for ten, and shows little
// in the heap that is measured.
type recorder [4]struct {
	mu sync.Mutex
	histogram
}

// record adds d for the goroutine of the given place.
func (r *recorder) record(place int, d time.Duration) {
	part := &r[place%len(r)]
	part.mu.Lock()
	defer part.mu.Unlock()
	part.histogram.record(d)
}

// reset forgets everything.
func (r *recorder) reset() {
	for i := range r {
		part := &r[i]
		part.mu.Lock()
		part.histogram = histogram{}
		part.mu.Unlock()
	}
}

// all returns what has been recorded.
func (r *recorder) all() histogram {
	var all histogram
	for i := range r {
		part := &r[i]
		part.mu.Lock()
		all.add(&part.histogram)
		part.mu.Unlock()
	}
	return all
}
