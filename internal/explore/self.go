//go:build explore

package explore

import (
	"runtime/debug"
	"unsafe"
)

// self returns the routine of the calling goroutine. It has to tell goroutines apart
// some hundred thousand times a second, and Go has no name for them. There is one bit
// that a goroutine has to itself, whether it panics on a fault: it is set for those that
// are known. Which of those it is tells the address of its stack, as those who are known
// have been made to have a large one, of which they use the upper end only, and which
// does not move.
func (r *Run) self() *routine {
	addr := here()
	if !debug.SetPanicOnFault(false) {
		g := r.add("")
		r.settleStack(g)
		return g
	}
	g := r.near(addr)
	if g == nil {
		panic("explore: internal error: a stack has moved")
	}
	return g
}

func (r *Run) near(addr uintptr) (found *routine) {
	for _, g := range r.all {
		if g.addr != 0 && addr-g.addr+reach < 2*reach {
			if found != nil {
				panic("explore: internal error: two goroutines on one stack")
			}
			found = g
		}
	}
	return found
}

const (
	stackWanted = 40 << 10 // so that a stack has 64 KB
	apart       = 48 << 10 // two are farther apart than that
	reach       = 20 << 10 // how much of one may be used
)

func (r *Run) enter(g *routine) {
	r.settleStack(g)
	r.stop(g, op{word: start, label: "start"})
}

// settleStack gives the calling goroutine a large stack.
func (r *Run) settleStack(g *routine) {
	grow()
	addr := here()
	r.mu.Lock()
	for _, other := range r.all {
		if other.addr != 0 && addr-other.addr+apart < 2*apart {
			other.addr = 0 // it has ended, and this is its stack
		}
	}
	g.addr = addr
	r.mu.Unlock()
}

//go:noinline
func grow() byte {
	var large [stackWanted]byte
	return large[here()%stackWanted]
}

//go:noinline
func here() uintptr {
	var local byte
	return uintptr(unsafe.Pointer(&local))
}

// lane is the number of the calling goroutine, 0 if it is not under control yet.
func (r *Run) lane() int {
	addr := here()
	if !r.on || !debug.SetPanicOnFault(false) {
		return 0
	}
	debug.SetPanicOnFault(true)
	if g := r.near(addr); g != nil {
		return g.id
	}
	return 0
}
