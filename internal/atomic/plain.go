//go:build !explore

// Package atomic is go.uber.org/atomic, as far as the pool and its ring use it. It
// imports nothing else of the module. In an ordinary build its types are aliases, and it
// adds nothing. Built with -tags explore, it lets a scheduler decide before each operation which
// goroutine goes on. So a test can run through the interleavings of a few goroutines one
// by one.
package atomic

import (
	"sync"
	"sync/atomic"

	uber "go.uber.org/atomic"
)

// The types of go.uber.org/atomic. Its Pointer is a wrapper around that of sync/atomic, and
// each call of a method that is inlined through both leaves an instruction behind that does
// nothing: one in Put, two in Get. So Pointer is that of sync/atomic itself.
type (
	Bool           = uber.Bool
	Error          = uber.Error
	Int32          = uber.Int32
	Int64          = uber.Int64
	Uint32         = uber.Uint32
	Uint64         = uber.Uint64
	Uintptr        = uber.Uintptr
	Pointer[T any] = atomic.Pointer[T]

	// A Narrow has four bytes. Uint32 has eight: it contains a type that must not be compared.
	Narrow = atomic.Uint32
)

// A Mutex is here so that the scheduler knows who waits for it.
type Mutex = sync.Mutex

// inline calls the methods that the fast paths use. A package that has a type from here
// does not import go.uber.org/atomic itself. The compiler passes on the bodies of that
// package's methods, to be inlined, only if this package calls them.
func inline(b *Bool, i *Int32, v *Uint32, u *Uint64, p *Pointer[int]) {
	b.Load()
	b.CompareAndSwap(false, true)
	i.Load()
	i.Inc()
	i.Dec()
	v.Load()
	v.Store(0)
	v.Inc()
	v.CompareAndSwap(0, 0)
	u.Load()
	u.Store(0)
	u.Add(0)
	u.Sub(0)
	u.Inc()
	u.Swap(0)
	u.CompareAndSwap(0, 0)
	p.Load()
	p.Store(nil)
	p.Swap(nil)
	p.CompareAndSwap(nil, nil)
}

var _ = inline
