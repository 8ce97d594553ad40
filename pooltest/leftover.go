package pooltest

import (
	"runtime"
	"strings"
)

// A census is what there was before TestFactory began.
type census struct {
	goroutines  map[string]bool
	descriptors map[string]bool
}

func take() census {
	c := census{goroutines: map[string]bool{}, descriptors: map[string]bool{}}
	for _, s := range stacks() {
		c.goroutines[nameOf(s)] = true
	}
	for _, d := range descriptors() {
		c.descriptors[d] = true
	}
	return c
}

// nameOf returns what tells one goroutine from all others, ever.
func nameOf(stack string) string {
	name, _, _ := strings.Cut(stack, " [")
	return name
}

// newGoroutines returns the stacks of goroutines that were not there before and that are not of
// this package or of the runtime.
func (c census) newGoroutines(ignore func(stack string) bool) (left []string) {
	for _, s := range stacks() {
		if !c.goroutines[nameOf(s)] && !ours(s) && (ignore == nil || !ignore(s)) {
			left = append(left, s)
		}
	}
	return left
}

// ours reports whether a goroutine is that of a Wire, of the testing package, or of the runtime.
func ours(stack string) bool {
	return strings.Contains(stack, "pooltest.(*Wire).") || strings.Contains(stack, "\ncreated by testing.") || strings.Contains(stack, "\ncreated by runtime.")
}

// newDescriptors returns the descriptors that were not there before, as the system names them.
//
// Package net keeps pipes for io.Copy between two sockets, and leaves them to the collector. So if pipes
// alone are left, that runs first. A socket that waits for the collector is left behind.
func (c census) newDescriptors() (left []string) {
	pipes := true
	for _, d := range descriptors() {
		if !c.descriptors[d] {
			left = append(left, d)
			pipes = pipes && strings.HasPrefix(d, "pipe:")
		}
	}
	if pipes && len(left) > 0 {
		runtime.GC()
	}
	return left
}
