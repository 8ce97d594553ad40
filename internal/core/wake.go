package core

import (
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// A pool sleeps until it is first used: it has its limits and the function that makes the rest,
// and costs less than 1 kB, where a pool that is awake has some 20 kB. While it sleeps, the gate
// says so. So the fast path of Get, which reads the gate first, needs no further condition, and
// every other method that looks at more than gate, census, clock and name calls wake first, or
// leaves a pool alone that sleeps. Put needs neither: whoever has a lease of this pool has it
// from a pool that is awake.

// wake makes the rest of the pool, if it sleeps. It reports false, and changes nothing, if it does and the caller
// is not in the place of the pool: what is made now has channels of that place.
func (p *Pool) wake() bool { return !words.Gate(p.gate.Load()).Asleep() || p.wakeUp() }

func (p *Pool) wakeUp() bool {
	if p.elsewhere() {
		return false
	}
	p.waking.Lock()
	defer p.waking.Unlock()
	if p.made == nil {
		return true // somebody else has been faster
	}
	p.init(p.made())
	p.made = nil // nothing keeps the shell's closures
	step.At("wake: made")
	// From here on everybody uses the rest: whoever sees the flag cleared sees all of it.
	p.clearGate(words.GateAsleep)
	if p.config.MinIdle > 0 {
		p.passSoon()
	}
	return true
}

// Wake makes the rest of the pool now.
func (p *Pool) Wake() { p.wake() }
