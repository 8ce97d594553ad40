package pool

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// Hooks are functions that a [Pool] calls for events other than an ordinary Get or Put, for
// example to feed metrics. Each may be nil. They are called from any goroutine, several at
// the same time. The pool holds nothing while it calls one, but what is reported waits for
// the hook, so it should be quick. A panic in a hook is logged and otherwise ignored.
type Hooks struct {
	// Opened reports a call of Factory.Open that has ended. It is called before the
	// connection is lent.
	Opened func(OpenInfo)

	// Closed reports that a connection is being closed, before Factory.Close is called.
	Closed func(CloseInfo)

	// Detached reports that a connection has left the pool by [Pool.Detach], which waits
	// for the hook. Each connection that was reported as opened is reported once as closed
	// or detached.
	Detached func(DetachInfo)

	// Waited reports a call of Get that found nothing idle and has waited, also for a
	// connection that was opened for it. It is called in Get, before that returns.
	Waited func(WaitInfo)

	// Rejected reports a call of Get that failed without a wait, with [ErrRejected] or an
	// error that wraps [ErrUnavailable]. It is called in Get, before that returns.
	Rejected func(RejectInfo)

	// Leaked reports a lease that has been in force for longer than [Config.LeakAfter],
	// once. Nothing waits for this hook. It may end the lease by [Pool.Revoke].
	Leaked func(LeaseInfo)
}

// An OpenInfo is what [Hooks].Opened is told.
type OpenInfo struct {
	// Number is the number of the connection in its pool, which is in the log as well. It
	// is 0 if Err is not nil.
	Number uint64
	// Took is how long the call of Factory.Open took.
	Took time.Duration
	// Err is the error of Open, or nil.
	Err error
}

// A CloseInfo is what [Hooks].Closed is told.
type CloseInfo struct {
	// Number is the number of the connection in its pool.
	Number uint64
	// Reason is one of "idle", "lifetime", "check", "clean", "watch", "discard", "revoke",
	// "reset", "resize", "fresh", "budget", "abandoned" and "shutdown": the names that [Stats.ClosedBy] has.
	Reason string
	// Cause is what Factory.Close is given: nil for "idle", "lifetime", "resize", "fresh" and "budget", and
	// for "shutdown" unless the connection was leased.
	Cause error
	// Age is how long the connection has been open.
	Age time.Duration
}

// A DetachInfo is what [Hooks].Detached is told.
type DetachInfo struct {
	// Number is the number of the connection in its pool.
	Number uint64
	// Age is how long the connection has been open.
	Age time.Duration
}

// A WaitInfo is what [Hooks].Waited is told.
type WaitInfo struct {
	// Ctx is that of the call of Get. It may be used until the hook returns.
	Ctx context.Context
	// Number is the number of the connection that it got, which [Hooks].Opened was told when
	// the connection was opened. It is 0 if Err is not nil.
	Number uint64
	// Reused is what [Lease.Reused] says of it: false if the connection has just been opened,
	// and was handed to this call at once.
	Reused bool
	// Waited is how long the call has waited.
	Waited time.Duration
	// Err is what Get returns: nil if it got a connection.
	Err error
}

// A RejectInfo is what [Hooks].Rejected is told.
type RejectInfo struct {
	// Ctx is that of the call of Get. It may be used until the hook returns.
	Ctx context.Context
	// Err is what Get returns.
	Err error
}

// JoinHooks returns hooks that call those of all, in order. If one panics, or ends its
// goroutine, those after it are called all the same.
func JoinHooks(all ...Hooks) Hooks {
	return Hooks{
		Opened:   join(all, func(h Hooks) func(OpenInfo) { return h.Opened }),
		Closed:   join(all, func(h Hooks) func(CloseInfo) { return h.Closed }),
		Detached: join(all, func(h Hooks) func(DetachInfo) { return h.Detached }),
		Waited:   join(all, func(h Hooks) func(WaitInfo) { return h.Waited }),
		Rejected: join(all, func(h Hooks) func(RejectInfo) { return h.Rejected }),
		Leaked:   join(all, func(h Hooks) func(LeaseInfo) { return h.Leaked }),
	}
}

// join returns a function that calls one of each of the hooks: nil if there is none, so
// that nothing is called for nothing.
func join[T any](all []Hooks, of func(Hooks) func(T)) func(T) {
	var fs []func(T)
	for _, h := range all {
		if f := of(h); f != nil {
			fs = append(fs, f)
		}
	}
	switch len(fs) {
	case 0:
		return nil
	case 1:
		return fs[0]
	}
	return func(info T) {
		for i := len(fs) - 1; i > 0; i-- {
			defer fs[i](info)
		}
		fs[0](info)
	}
}

// bare returns h for the core.
func (h Hooks) bare(unboxed func(any) any) core.Hooks {
	return core.Hooks{
		Opened:   told(h.Opened, func(i core.OpenInfo) OpenInfo { return OpenInfo(i) }),
		Closed:   told(h.Closed, func(i core.CloseInfo) CloseInfo { return CloseInfo(i) }),
		Detached: told(h.Detached, func(i core.DetachInfo) DetachInfo { return DetachInfo(i) }),
		Waited:   told(h.Waited, func(i core.WaitInfo) WaitInfo { return WaitInfo(i) }),
		Rejected: told(h.Rejected, func(i core.RejectInfo) RejectInfo { return RejectInfo(i) }),
		Leaked:   told(h.Leaked, func(l core.LeaseInfo) LeaseInfo { return leaseInfoOf(l, unboxed) }),
	}
}

// told returns a hook of the core for one of the shell, and nil for nil.
func told[C, S any](hook func(S), of func(C) S) func(C) {
	if hook == nil {
		return nil
	}
	return func(info C) { hook(of(info)) }
}
