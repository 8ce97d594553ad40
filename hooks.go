package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// Hooks are functions that a [Pool] calls when something happens that is not an ordinary
// Get or Put: for metrics. Each may be nil. They are called from whatever
// goroutine is at hand, several at the same time, with nothing held, and delay what they
// report, so they should be quick. A hook that panics is logged, and nothing else.
type Hooks struct {
	// Opened is told how long a call of Factory.Open took, and what it returned,
	// before the connection is lent.
	Opened func(took time.Duration, err error)

	// Closed is told why a connection is being closed: "idle", "lifetime", "check",
	// "clean", "watch", "discard", "reset", "resize", "abandoned" or "shutdown", which
	// are the names of the counters in [Stats], and what Factory.Close is given.
	Closed func(reason string, cause error)

	// Waited is told how long a call of Get has waited, and what it returns: nil if
	// it got a connection. It is called in Get.
	Waited func(waited time.Duration, err error)

	// Rejected is told of a call of Get that failed without a wait: with [ErrRejected],
	// or with an error that wraps [ErrUnavailable]. It is called in Get.
	Rejected func(err error)

	// Leaked is told of a lease that is in force for longer than [Config.LeakAfter],
	// once. Nothing waits for it.
	Leaked func(lease LeaseInfo)
}

// bare returns h for the core.
func (h Hooks) bare(unboxed func(any) any) core.Hooks {
	b := core.Hooks{Opened: h.Opened, Closed: h.Closed, Waited: h.Waited, Rejected: h.Rejected}
	if h.Leaked != nil {
		b.Leaked = func(l core.LeaseInfo) { h.Leaked(leaseInfoOf(l, unboxed)) }
	}
	return b
}
