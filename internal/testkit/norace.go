//go:build !race

package testkit

// RaceEnabled reports whether the race detector is on: it allocates.
const RaceEnabled = false
