//go:build explore || step

package queue

// segmentSize is small where tests look at each step.
const segmentSize = 2
