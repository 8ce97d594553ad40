package words

// The Gate is the word that Get and Put read first. Zero lets them take their fast paths:
// nobody waits, and nothing else is out of the ordinary.
//
//	63     closed: no connection is handed out any more
//	62     shrink: after a Resize, more connections may be open than MaxConnections
//	61     asleep: most of the pool has not been made yet
//	60     asked: somebody lacks a right of the budget, perhaps in another pool
//	41..0  waiters: at least as many as there are live waiters in the queue
//
// 42 bits count more goroutines than any memory holds. The bits between are unused.
type Gate uint64

// The parts of a Gate.
const (
	GateClosed  Gate = 1 << 63
	GateShrink  Gate = 1 << 62
	GateAsleep  Gate = 1 << 61
	GateAsked   Gate = 1 << 60
	GateWaiter  Gate = 1
	gateWaiters Gate = 1<<42 - 1
)

// Closed reports whether the pool is closed.
func (g Gate) Closed() bool { return g&GateClosed != 0 }

// Shrinking reports whether more connections may be open than MaxConnections.
func (g Gate) Shrinking() bool { return g&GateShrink != 0 }

// Asleep reports whether most of the pool has not been made yet.
func (g Gate) Asleep() bool { return g&GateAsleep != 0 }

// Asked reports whether somebody lacks a right of the budget, in this pool or another one.
func (g Gate) Asked() bool { return g&GateAsked != 0 }

// Waiters returns the number of waiters.
func (g Gate) Waiters() int { return int(g & gateWaiters) }

// Open reports whether a caller may take an idle slot: nobody waits, and the pool is neither
// closed nor asleep.
func (g Gate) Open() bool { return g&^(GateShrink|GateAsked) == 0 }
