package main

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations with a relative error of at most 1/64. Each
// power of two is a row of 64 equal steps, and a row is made when the first
// duration falls into it.
//
// It is not HdrHistogram, because each of a thousand clients has one of its own,
// so that they share no counter: with rows made on demand that is 2 KiB each for
// the few rows that a client touches, instead of 100 KiB and more, which would
// show in the heap that is being measured. What is left of the task is this file.
//
// A count has room for an hour at a million a second.
//
// The zero histogram is empty. Only one goroutine may use it at a time.
type histogram struct {
	rows  [maxRows]*[steps]uint32
	count uint64
	max   time.Duration
}

const (
	stepBits = 6
	steps    = 1 << stepBits
	// Row 0 holds the durations below 64 ns, and row r > 0 those with r + 6
	// significant bits. A positive Duration has 63 at most.
	maxRows = 63 - stepBits + 1
)

// record adds d. A negative d counts as zero.
func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	row, step := place(d)
	if h.rows[row] == nil {
		h.rows[row] = new([steps]uint32)
	}
	h.rows[row][step]++
	h.count++
	h.max = max(h.max, d)
}

// place returns where d is counted.
func place(d time.Duration) (row, step int) {
	row = max(0, bits.Len64(uint64(d))-stepBits)
	if row == 0 {
		return 0, int(d)
	}
	return row, int(d>>(row-1)) - steps
}

// upper returns the longest duration that is counted at row and step.
func upper(row, step int) time.Duration {
	if row == 0 {
		return time.Duration(step)
	}
	low := time.Duration(step+steps) << (row - 1)
	return low + (1<<(row-1) - 1)
}

// add adds all that other has counted.
func (h *histogram) add(other *histogram) {
	for i, from := range other.rows {
		if from == nil {
			continue
		}
		if h.rows[i] == nil {
			h.rows[i] = new([steps]uint32)
		}
		for j, n := range from {
			h.rows[i][j] += n
		}
	}
	h.count += other.count
	h.max = max(h.max, other.max)
}

// percentile returns a duration that p percent of those recorded do not exceed:
// not less than the smallest such duration, and at most 1/64 more. It is 0 for
// an empty histogram.
func (h *histogram) percentile(p float64) time.Duration {
	rank := uint64(math.Ceil(p / 100 * float64(h.count)))
	rank = min(max(rank, 1), h.count)
	seen := uint64(0)
	for i, row := range h.rows {
		if row == nil {
			continue
		}
		for j, n := range row {
			if seen += uint64(n); n > 0 && seen >= rank {
				return min(upper(i, j), h.max)
			}
		}
	}
	return 0
}
