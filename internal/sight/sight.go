// Package sight remembers, for the report of a leak, since when a lease has been in force
// and where it was taken. The sweeper writes it, and also the callers of Get if leaks are
// looked for. It knows a lease by the word of its slot, and nothing else of the pool.
package sight

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A Sight is what the pool remembers of the latest lease of one connection.
type Sight struct {
	// Written by the sweeper when it first sees the lease.
	at   atomic.Int64  // on the pool's clock, or unknown
	word atomic.Uint64 // of the lease

	// Written by the caller of Get if LeakAfter is set: it clears word, then writes
	// where or stack and placed, unless only the time is noted, then taken.
	taken  atomic.Uint64 // the word of the lease
	placed atomic.Uint64 // the same, if where or stack is of that lease
	where  atomic.Uintptr
	stack  atomic.Pointer[[]uintptr] // nil: only where is known

	// Used by the sweeper alone.
	reported ring.Word     // the lease that has been reported
	call     uint32        // of Check or Clean, and
	callSeen time.Duration // when it was first seen
}

// deepStack is the number of callers that are remembered once the pool has found a leak.
const deepStack = 16

// A Depth says how much is noted of a lease.
type Depth int

const (
	Time    Depth = iota // that it has begun
	Place                // and where Get was called
	Callers              // and the callers further up
)

// Note remembers that a lease has begun and, if depth says so, where it was taken: at the
// call of the function that is so many calls above Note, 0 being Note itself.
//
// To look up one caller is cheaper than to look up all, and it is enough, unless Get is
// called in a helper that everybody calls.
func (s *Sight) Note(word ring.Word, depth Depth, above int) {
	s.Forget(word)
	switch depth {
	case Place:
		var pc [1]uintptr
		runtime.Callers(above+2, pc[:])
		s.where.Store(pc[0])
		s.placed.Store(uint64(word))
	case Callers:
		stack := make([]uintptr, deepStack)
		stack = stack[:runtime.Callers(above+2, stack)]
		s.stack.Store(&stack)
		s.placed.Store(uint64(word))
	}
	s.taken.Store(uint64(word))
}

// Forget removes what the sweeper has noted under a word. The sweeper may have seen the slot
// while the pool itself held it, before the lease of that word began.
func (s *Sight) Forget(word ring.Word) {
	if s.word.Load() == uint64(word) {
		step.At("forget: word read")
		s.word.CompareAndSwap(uint64(word), 0) // by now it may be that of another lease
	}
}

// Noted reports whether Note has been called for a lease.
func (s *Sight) Noted(word ring.Word) bool { return s.taken.Load() == uint64(word) }

// Where returns where a lease was taken, or "" if that has not been noted.
func (s *Sight) Where(word ring.Word) string {
	if s.placed.Load() != uint64(word) {
		return ""
	}
	stack := []uintptr{s.where.Load()}
	if deep := s.stack.Load(); deep != nil {
		stack = *deep
	}
	var b strings.Builder
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if f.PC != 0 && f.Function != "runtime.goexit" && f.Function != "runtime.main" {
			if b.Len() > 0 {
				b.WriteString(" < ")
			}
			fmt.Fprintf(&b, "%s %s:%d", f.Function, f.File, f.Line)
		}
		if !more {
			break
		}
	}
	if b.Len() == 0 {
		return "a go statement"
	}
	return b.String()
}

// Since returns when the sweeper first saw a lease, on the pool's clock. ok is false if
// it has not seen it yet.
//
// It reads the word, then the time. See writes that there is no time yet, then the word; Began writes the time. So the
// time is of that lease, or of a later one; then that lease has ended by now, which the caller has to rule out.
func (s *Sight) Since(word ring.Word) (at time.Duration, ok bool) {
	ok = s.word.Load() == uint64(word)
	step.At("since: word read")
	at = time.Duration(s.at.Load())
	return at, ok && at != unknown
}

// unknown is no time.
const unknown = time.Duration(math.MinInt64)

// See is called by the sweeper, at now, for a lease that is in force. It returns how long ago the sweeper
// first saw it. If this is the first time, it notes that and reports false. Then the sweeper reads the slot
// again, and calls Began or Forget.
func (s *Sight) See(word ring.Word, now time.Duration) (held time.Duration, seen bool) {
	if s.word.Load() == uint64(word) {
		return now - time.Duration(s.at.Load()), true
	}
	s.at.Store(int64(unknown)) // before the word: see Since
	s.word.Store(uint64(word))
	return 0, false
}

// Began notes when the lease was first seen that See has noted.
func (s *Sight) Began(at time.Duration) { s.at.Store(int64(at)) }

// Reported reports whether Report has been called for a lease. The sweeper alone calls
// both.
func (s *Sight) Reported(word ring.Word) bool { return s.reported == word }

// Report notes that a lease has been reported as a leak.
func (s *Sight) Report(word ring.Word) { s.reported = word }

// SeeCall is called by the sweeper, at now, for a call of Check or Clean that is in
// progress. It returns how long ago the sweeper first saw that call, and 0 the first
// time.
func (s *Sight) SeeCall(call uint32, now time.Duration) time.Duration {
	if s.call != call {
		s.call, s.callSeen = call, now
	}
	return now - s.callSeen
}
