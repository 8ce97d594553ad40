package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// Hooks are functions that a [Pool] calls for events other than an ordinary Get or Put, for
// example to feed metrics. Each may be nil. They are called from any goroutine, several at
// the same time. The pool holds nothing while it calls one, but what is reported waits for
// the hook, so it should be quick. A panic in a hook is logged and otherwise ignored.
type Hooks struct {
	// Opened reports how long a call of Factory.Open took and what it returned. It is
	// called before the connection is lent.
	Opened func(took time.Duration, err error)

	// Closed reports why a connection is being closed, and the cause that Factory.Close
	// is given. The reasons are "idle", "lifetime", "check", "clean", "watch", "discard",
	// "reset", "resize", "abandoned" and "shutdown", like the counters in [Stats].
	Closed func(reason string, cause error)

	// Waited reports how long a call of Get has waited and what it returns; err is nil if
	// it got a connection. It is called in Get.
	Waited func(waited time.Duration, err error)

	// Rejected reports a call of Get that failed without a wait, with [ErrRejected] or an
	// error that wraps [ErrUnavailable]. It is called in Get.
	Rejected func(err error)

	// Leaked reports a lease that has been in force for longer than [Config.LeakAfter],
	// once. Nothing waits for this hook.
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
