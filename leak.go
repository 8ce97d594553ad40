package pool

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/ring"
)

// A LeaseInfo describes a lease in force, for those who look for one that does not end.
type LeaseInfo struct {
	// Conn is the connection, to be looked at: it is in somebody's use.
	Conn any

	// Opened is when the connection was opened.
	Opened time.Time

	// Since is when the pool has first seen the lease, which is up to a second after
	// its beginning. It is zero if the pool has not seen it yet, or never looks: if
	// MaxIdleTime is negative, and none of MaxLifetime, MinIdle and LeakAfter is set.
	Since time.Time

	// Where is the place from which Get, TryGet or Do was called, as "function
	// file:line", or "a go statement" if nothing else called it. Once the pool has
	// found a leak it remembers the callers of that place, too, for the leases that
	// begin from then on, each after " < ". It is empty without [Config.LeakAfter].
	Where string
}

// A sight is what the pool remembers of a lease.
type sight struct {
	// Written by the sweeper, when it first sees the lease.
	at   atomic.Int64  // on the pool's clock
	word atomic.Uint64 // of the lease

	// Written by the caller of Get, if LeakAfter is set: it clears word, writes where,
	// and then taken.
	taken atomic.Uint64 // the word of the lease
	where atomic.Uintptr
	stack atomic.Pointer[[]uintptr] // nil: where alone is known

	// The sweeper's own.
	reported ring.Word     // the lease that has been reported
	call     uint32        // of Check or Clean, and
	callSeen time.Duration // when it was first seen
}

// deepStack is how many callers are remembered when the pool leaks.
const deepStack = 16

// note remembers where a lease was taken: by the caller of the function that is so many
// calls above note.
//
// One caller is what can be had in reasonable time, and which is enough unless Get is
// called in a function that everybody calls. So the whole stack is taken once a leak
// has been found.
func (p *Pool[T]) note(l Lease[T], above int) {
	s := l.conn.sight
	s.word.Store(0) // it has not been seen, even if the sweeper has had the slot under the same word
	if p.counters.leaked.Load() == 0 {
		var pc [1]uintptr
		runtime.Callers(above+2, pc[:])
		s.where.Store(pc[0])
	} else {
		stack := make([]uintptr, deepStack)
		stack = stack[:runtime.Callers(above+2, stack)]
		s.stack.Store(&stack)
	}
	s.taken.Store(uint64(l.word))
}

// place returns where a lease was taken, if that is known.
func (s *sight) place(word ring.Word) string {
	if s.taken.Load() != uint64(word) {
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

// see is called by the sweeper for a slot that is leased. It remembers when the lease was
// first seen, and reports it once it has been in force for LeakAfter.
func (p *Pool[T]) see(c *conn[T], word ring.Word, now time.Duration) {
	s := c.sight
	noted := s.taken.Load() == uint64(word) // asked first: what is seen then, was seen of this lease
	if s.word.Load() != uint64(word) {
		s.word.Store(0) // for Leases: at and word belong together
		s.at.Store(int64(now))
		s.word.Store(uint64(word))
		return
	}
	if !noted || s.reported == word || now-time.Duration(s.at.Load()) < p.config.LeakAfter {
		return
	}
	info, ok := p.info(c)
	if !ok || c.ring.At(c.index) != word {
		return
	}
	s.reported = word
	p.counters.leaked.Inc()
	p.config.Logger.Warn("a lease is in force for longer than LeakAfter", slog.Uint64("conn", c.number),
		slog.Duration("held", now-time.Duration(s.at.Load())), slog.String("taken_by", info.Where))
	if f := p.config.Hooks.Leaked; f != nil {
		go p.hook("Leaked", func() { f(info) }) // nobody's time may depend on it
	}
}

// info describes the lease that is in force for c. It fails if there is none.
func (p *Pool[T]) info(c *conn[T]) (LeaseInfo, bool) {
	word := c.ring.At(c.index)
	info := LeaseInfo{Conn: c.value, Opened: c.opened, Where: c.sight.place(word)}
	at := c.sight.at.Load()
	if c.sight.word.Load() == uint64(word) {
		info.Since = p.epoch.Add(time.Duration(at))
	}
	// All of that belongs to this lease if it is still in force: whoever has the next
	// one writes only after the slot has got another word.
	b, i := p.bankOf(c.slot)
	return info, word.Phase() == ring.Leased && b.ring.At(i) == word && b.slots[i].Load() == c
}

// Leases lists the leases that are in force: which connection, since when, and where it
// was taken. What the pool has in its own hands, to check it, to clean it, or on its way
// to a waiter, is among them. Each is looked at on its own, and nobody is held up.
func (p *Pool[T]) Leases() []LeaseInfo {
	var leases []LeaseInfo
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			c := b.slots[i].Load()
			if c == nil || b.ring.At(i).Phase() != ring.Leased {
				continue
			}
			if info, ok := p.info(c); ok {
				leases = append(leases, info)
			}
		}
	}
	return leases
}
