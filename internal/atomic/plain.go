//go:build !explore

// Package atomic is go.uber.org/atomic, as far as the pool and its ring use it. In an
// ordinary build its types are aliases and it adds nothing. Built with -tags explore it
// lets a scheduler decide, before each operation, which goroutine goes on, so that
// a test can run through the interleavings of a few goroutines one by one.
package atomic

import "go.uber.org/atomic"

// The types are those of go.uber.org/atomic.
type (
	Bool           = atomic.Bool
	Error          = atomic.Error
	Int32          = atomic.Int32
	Int64          = atomic.Int64
	Uint32         = atomic.Uint32
	Uint64         = atomic.Uint64
	Uintptr        = atomic.Uintptr
	Pointer[T any] = atomic.Pointer[T]
)
