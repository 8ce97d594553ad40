package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEveryDurationIsCountedBelowTheUpperEndOfItsStep(t *testing.T) {
	check := func(d time.Duration) {
		t.Helper()
		row, step := place(d)
		if row < 0 || row >= maxRows || step < 0 || step >= steps {
			t.Fatalf("%d is counted at row %d, step %d", d, row, step)
		}
		if u := upper(row, step); u < d || u-d > d/64 {
			t.Fatalf("%d is counted up to %d", d, u)
		}
		if r, s := place(upper(row, step)); r != row || s != step {
			t.Fatalf("the upper end of the step of %d is counted elsewhere", d)
		}
	}
	for d := range time.Duration(5000) {
		check(d)
	}
	for shift := range 63 {
		for _, around := range []time.Duration{-1, 0, 1} {
			check(max(0, 1<<shift+around))
		}
	}
	check(math.MaxInt64)
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
			if got < want || got > want+want/64 {
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
