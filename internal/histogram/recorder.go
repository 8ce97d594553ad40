// Package histogram counts durations, from many goroutines at the same time, in fixed
// buckets. It returns plain values; the root package makes a Histogram of them, with the
// methods that users have. It writes its own counters and nothing else.
package histogram

import (
	"math"
	"math/bits"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/words"
)

// The buckets, by the duration in nanoseconds. Between the first and the last there are
// four for each power of two: the two bits behind the leading one tell which.
const (
	First   = 10 // the first bucket ends at 2¹⁰ ns
	Last    = 40 // the last bucket begins at 2⁴⁰ ns
	Buckets = 1 + 4*(Last-First) + 1
)

// BucketOf returns the bucket that d is counted in. A negative duration counts as zero.
func BucketOf(d time.Duration) int {
	// The upper bound of a bucket belongs to it, because exporters say "at most". With
	// one subtracted, the bits of the number tell the bucket.
	n := uint64(max(d, 1)) - 1
	exp := bits.Len64(n) - 1
	switch {
	case exp < First:
		return 0
	case exp >= Last:
		return Buckets - 1
	}
	return 1 + 4*(exp-First) + int(n>>(exp-2)&3)
}

// BoundOf returns the longest duration that is counted in a bucket.
func BoundOf(bucket int) time.Duration {
	switch bucket {
	case 0:
		return 1 << First
	case Buckets - 1:
		return math.MaxInt64
	}
	exp, quarter := First+(bucket-1)/4, (bucket-1)%4
	return time.Duration(4+quarter+1) << (exp - 2)
}

// A Snapshot is what a Recorder has recorded. Count is the sum of Counts. Counts is nil
// if nothing is recorded. Sum may include durations that are being recorded and not
// counted yet.
type Snapshot struct {
	Count  uint64
	Sum    time.Duration
	Counts []uint64
}

// A Recorder counts durations. The zero Recorder is ready for use. It must not be copied
// after first use.
//
// No call waits for another: Record is two atomic additions, and a recorder or reader
// that stalls holds up nobody. Processors that record in the same bucket at the same time
// would take the cache line from each other. So there are several stripes, each with a
// count for every bucket, and callers that record in different stripes never share a
// line.
//
// Stripes are made when they are first recorded in, each a block of 1 KiB without a pointer:
// a pool in which nobody has waited yet has no room for waits. A block consists of 64-bit words
// alone, so that all of them are aligned on 386, too.
type Recorder struct {
	stripes [stripes]atomic.Pointer[stripe]
}

const stripes = 4

type stripe struct {
	sum    atomic.Uint64 // nanoseconds
	counts [Buckets]atomic.Uint64
	_      [(words.Pad - 8*(1+Buckets)%words.Pad) % words.Pad]byte // the next block lies apart
}

// Record counts d. Callers that are likely to record at the same time should pass
// different stripes. Any number is valid.
func (r *Recorder) Record(stripe uint, d time.Duration) {
	s := r.stripes[stripe%stripes].Load()
	if s == nil {
		s = r.begin(stripe % stripes)
	}
	// The sum first, then the count. The other side is in Snapshot, which reads the
	// counts first: whatever it has counted is in the sum.
	if d > 0 && s.sum.Add(uint64(d)) > math.MaxInt64 {
		// 292 years, which 10,000 waiting callers reach in eleven days. From here on the
		// sum stays at the maximum. It could wrap past zero only if others added as much
		// again between these two steps.
		s.sum.Store(math.MaxInt64)
	}
	s.counts[BucketOf(d)].Inc() // d is recorded here
}

// begin makes a stripe. Of several goroutines that do, one has its own used by all.
func (r *Recorder) begin(i uint) *stripe {
	if s := new(stripe); r.stripes[i].CompareAndSwap(nil, s) {
		return s
	}
	return r.stripes[i].Load()
}

// Snapshot returns what has been recorded. It reads the buckets one after the other: it
// has everything that was recorded before the call, and some of what was recorded during
// it. Of two snapshots, one after the other, no number in the second is less than in the
// first.
func (r *Recorder) Snapshot() Snapshot {
	var (
		h      Snapshot
		sum    uint64
		counts [Buckets]uint64
	)
	for i := range r.stripes {
		s := r.stripes[i].Load()
		if s == nil {
			continue // what is recorded in it from now on is recorded after this
		}
		for b := range counts {
			n := s.counts[b].Load()
			counts[b] += n
			h.Count += n
		}
		sum = min(sum+min(s.sum.Load(), math.MaxInt64), math.MaxInt64)
	}
	if h.Count == 0 {
		return Snapshot{} // nothing is counted yet: leave the sum out, too
	}
	h.Sum, h.Counts = time.Duration(sum), append([]uint64(nil), counts[:]...)
	return h
}

// Include adds what o has counted to s.
func (s *Snapshot) Include(o Snapshot) {
	s.Sum = sumOf(s.Sum, o.Sum)
	s.merge(o, func(a, b uint64) uint64 { return a + b })
}

// AtLeast makes no number of s less than that of o.
func (s *Snapshot) AtLeast(o Snapshot) {
	s.Sum = max(s.Sum, o.Sum)
	s.merge(o, func(a, b uint64) uint64 { return max(a, b) })
}

// sumOf is a+b, and at most the longest Duration.
func sumOf(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// merge combines the buckets of o with those of s, which are not shared with another Snapshot.
func (s *Snapshot) merge(o Snapshot, combine func(a, b uint64) uint64) {
	if o.Count == 0 {
		return
	}
	if s.Counts == nil {
		s.Counts = make([]uint64, Buckets)
	}
	s.Count = 0
	for b := range s.Counts {
		s.Counts[b] = combine(s.Counts[b], o.Counts[b])
		s.Count += s.Counts[b]
	}
}
