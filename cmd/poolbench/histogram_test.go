package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// The library promises two significant digits. The text of -h says what that is.
func TestADurationIsCountedAtMostOnePart128TooHigh(t *testing.T) {
	check := func(d time.Duration) {
		t.Helper()
		var h histogram
		h.record(d)
		h.record(longest) // the greatest is exact
		if got := h.percentile(50); got < d || got-d > d/128 {
			t.Fatalf("%d is counted as %d", d, got)
		}
	}
	for d := range time.Duration(600) {
		check(d)
	}
	for shift := range 42 {
		for _, around := range []time.Duration{-1, 0, 1} {
			check(1<<shift + around)
		}
	}
}

func TestADurationBeyondTheLongestIsCounted(t *testing.T) {
	var h histogram
	h.record(longest)
	h.record(math.MaxInt64)
	h.record(longest + time.Hour)
	if h.count != 3 || h.percentile(100) != math.MaxInt64 || h.percentile(50) < longest {
		t.Errorf("%d counted, greatest %v, half of them below %v", h.count, h.percentile(100), h.percentile(50))
	}
}

func TestTheMeanIsExact(t *testing.T) {
	var h histogram
	if h.mean() != 0 {
		t.Errorf("the mean of nothing is %v", h.mean())
	}
	for _, d := range []time.Duration{1_000_001, 2_000_003, 3_000_005} {
		h.record(d)
	}
	if got := h.mean(); got != 2_000_003 {
		t.Errorf("got %d", got)
	}
}

func TestARecorderHasWhatAllItsGoroutinesRecorded(t *testing.T) {
	var r recorder
	var all sync.WaitGroup
	for place := range 40 {
		all.Go(func() {
			for range 500 {
				r.record(place, time.Duration(place))
			}
		})
	}
	all.Wait()
	got := r.all()
	if got.count != 20_000 || got.max != 39 || got.mean() != 19 || got.percentile(50) != 19 {
		t.Errorf("%d counted, greatest %d, mean %d, p50 %d", got.count, got.max, got.mean(), got.percentile(50))
	}
	r.reset()
	if got := r.all(); got.count != 0 || got.percentile(99) != 0 {
		t.Errorf("%d counted after reset", got.count)
	}
}

func TestPercentilesAreThoseOfTheSortedDurations(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var parts [3]histogram
		var all []time.Duration
		for range 1 + random.IntN(3000) {
			d := time.Duration(math.Exp(random.Float64() * 25)) // up to 72 s
			all = append(all, d)
			parts[random.IntN(len(parts))].record(d)
		}
		var h histogram
		for i := range parts {
			h.add(&parts[i])
		}
		slices.Sort(all)
		if h.count != uint64(len(all)) || h.max != all[len(all)-1] {
			t.Fatalf("count %d and max %v, want %d and %v", h.count, h.max, len(all), all[len(all)-1])
		}
		for _, p := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
			rank := max(1, int(math.Ceil(p/100*float64(len(all)))))
			want, got := all[rank-1], h.percentile(p)
			if got < want || got > want+want/128 {
				t.Fatalf("p%v of %d: got %v, want %v", p, len(all), got, want)
			}
		}
	}
}

func TestAnEmptyHistogramHasNoPercentiles(t *testing.T) {
	var h histogram
	h.add(&histogram{})
	if got := h.percentile(99); got != 0 {
		t.Errorf("got %v", got)
	}
}

func TestTheGreatestPercentileIsExact(t *testing.T) {
	var h histogram
	h.record(1_000_001)
	h.record(-5)
	if got := h.percentile(100); got != 1_000_001 {
		t.Errorf("p100 is %d", got)
	}
	if got := h.percentile(50); got != 0 {
		t.Errorf("p50 is %d: a negative duration counts as zero", got)
	}
}
