//go:build explore

package atomic

import (
	"sync"
	syncatomic "sync/atomic"
	"unsafe"

	"go.uber.org/atomic"
)

// A Hook is called before each operation. It gets the word, and whether the operation may
// write it. It runs on the goroutine that operates, called by the method, which the code
// under test calls.
type Hook func(word unsafe.Pointer, writes bool)

var (
	hook Hook
	lane func() int
)

// Install sets the function that is called before each operation, and the one that [Lane]
// calls. No operation may be in progress. Nil removes both.
func Install(before Hook, number func() int) { hook, lane = before, number }

// Lane returns a small number that tells the calling goroutine from others. It is the
// same in each repetition of a schedule. The ring uses it in place of the address of the
// stack.
func Lane() int {
	if lane == nil {
		return 0
	}
	return lane()
}

// reads and writes are out of line, so that each is one frame above the method.
//
//go:noinline
func reads(word unsafe.Pointer) {
	if hook != nil {
		hook(word, false)
	}
}

//go:noinline
func writes(word unsafe.Pointer) {
	if hook != nil {
		hook(word, true)
	}
}

// The types have the size of the types that they stand for, and those of their methods
// that are used.
type (
	Int32   = integer[int32, atomic.Int32, *atomic.Int32]
	Int64   = integer[int64, atomic.Int64, *atomic.Int64]
	Uint32  = integer[uint32, atomic.Uint32, *atomic.Uint32]
	Uint64  = integer[uint64, atomic.Uint64, *atomic.Uint64]
	Uintptr = integer[uintptr, atomic.Uintptr, *atomic.Uintptr]
)

type number[T, A any] interface {
	*A
	Load() T
	Store(T)
	Swap(T) T
	CompareAndSwap(old, new T) bool
	Add(T) T
	Sub(T) T
	Inc() T
	Dec() T
}

type integer[T, A any, P number[T, A]] struct{ v A }

func (x *integer[T, A, P]) word() unsafe.Pointer { return unsafe.Pointer(&x.v) }

func (x *integer[T, A, P]) Load() T    { reads(x.word()); return P(&x.v).Load() }
func (x *integer[T, A, P]) Store(v T)  { writes(x.word()); P(&x.v).Store(v) }
func (x *integer[T, A, P]) Swap(v T) T { writes(x.word()); return P(&x.v).Swap(v) }
func (x *integer[T, A, P]) Add(d T) T  { writes(x.word()); return P(&x.v).Add(d) }
func (x *integer[T, A, P]) Sub(d T) T  { writes(x.word()); return P(&x.v).Sub(d) }
func (x *integer[T, A, P]) Inc() T     { writes(x.word()); return P(&x.v).Inc() }
func (x *integer[T, A, P]) Dec() T     { writes(x.word()); return P(&x.v).Dec() }

func (x *integer[T, A, P]) CompareAndSwap(old, new T) bool {
	writes(x.word())
	return P(&x.v).CompareAndSwap(old, new)
}

// A Bool is atomic.Bool.
type Bool struct{ v atomic.Bool }

func (x *Bool) Load() bool       { reads(unsafe.Pointer(x)); return x.v.Load() }
func (x *Bool) Store(v bool)     { writes(unsafe.Pointer(x)); x.v.Store(v) }
func (x *Bool) Swap(v bool) bool { writes(unsafe.Pointer(x)); return x.v.Swap(v) }

func (x *Bool) CompareAndSwap(old, new bool) bool {
	writes(unsafe.Pointer(x))
	return x.v.CompareAndSwap(old, new)
}

// An Error is atomic.Error.
type Error struct{ v atomic.Error }

func (x *Error) Load() error        { reads(unsafe.Pointer(x)); return x.v.Load() }
func (x *Error) Store(v error)      { writes(unsafe.Pointer(x)); x.v.Store(v) }
func (x *Error) Swap(v error) error { writes(unsafe.Pointer(x)); return x.v.Swap(v) }

func (x *Error) CompareAndSwap(old, new error) bool {
	writes(unsafe.Pointer(x))
	return x.v.CompareAndSwap(old, new)
}

// A Narrow is Uint32 of sync/atomic.
type Narrow struct{ v syncatomic.Uint32 }

func (x *Narrow) Load() uint32 { reads(unsafe.Pointer(x)); return x.v.Load() }

func (x *Narrow) CompareAndSwap(old, new uint32) bool {
	writes(unsafe.Pointer(x))
	return x.v.CompareAndSwap(old, new)
}

// A Pointer is atomic.Pointer.
type Pointer[T any] struct{ v atomic.Pointer[T] }

func (x *Pointer[T]) Load() *T     { reads(unsafe.Pointer(x)); return x.v.Load() }
func (x *Pointer[T]) Store(v *T)   { writes(unsafe.Pointer(x)); x.v.Store(v) }
func (x *Pointer[T]) Swap(v *T) *T { writes(unsafe.Pointer(x)); return x.v.Swap(v) }

func (x *Pointer[T]) CompareAndSwap(old, new *T) bool {
	writes(unsafe.Pointer(x))
	return x.v.CompareAndSwap(old, new)
}

// A Mutex is sync.Mutex. Goroutines may be stopped while they have it: those who wait for it are
// blocked in a channel, and what they do with it are operations.
type Mutex struct {
	inside sync.Mutex // guards what follows; nobody is stopped while he has that
	taken  bool
	freed  chan struct{} // closed by Unlock; nil: nobody waits
}

func (m *Mutex) Lock() {
	for {
		writes(unsafe.Pointer(m))
		freed := m.tryLock()
		if freed == nil {
			return
		}
		<-freed
	}
}

// tryLock returns nil if it has the mutex, and otherwise what is closed when it is worth another try.
func (m *Mutex) tryLock() (freed <-chan struct{}) {
	m.inside.Lock()
	defer m.inside.Unlock()
	if !m.taken {
		m.taken = true
		return nil
	}
	if m.freed == nil {
		m.freed = make(chan struct{})
	}
	return m.freed
}

func (m *Mutex) Unlock() {
	writes(unsafe.Pointer(m))
	m.inside.Lock()
	defer m.inside.Unlock()
	m.taken = false
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}
