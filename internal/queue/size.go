//go:build !explore && !step

package queue

// segmentSize is how many cells are made together. With what else a segment has they fill 1 kB.
const segmentSize = 62
