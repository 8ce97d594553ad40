package core

import (
	"context"
	"log/slog"
	"time"
)

// Hooks are the Hooks of the root package, which documents each. Each may be nil.
type Hooks struct {
	Opened   func(OpenInfo)
	Closed   func(CloseInfo)
	Detached func(DetachInfo)
	Waited   func(WaitInfo)
	Rejected func(RejectInfo)
	Leaked   func(LeaseInfo)
}

// What hooks are told is the same as in the root package, which documents it.
type (
	OpenInfo struct {
		Number uint64
		Took   time.Duration
		Err    error
	}
	CloseInfo struct {
		Number uint64
		Reason string
		Cause  error
		Age    time.Duration
	}
	DetachInfo struct {
		Number uint64
		Age    time.Duration
	}
	WaitInfo struct {
		Ctx    context.Context
		Number uint64
		Reused bool
		Waited time.Duration
		Err    error
	}
	RejectInfo struct {
		Ctx context.Context
		Err error
	}
)

// hookApart calls a hook in a goroutine of its own, and waits for it. The calling
// goroutine has more to do afterwards, even if the hook calls runtime.Goexit.
func (p *Pool) hookApart(name string, call func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.hook(name, call)
	}()
	<-done
}

// hook calls a hook and survives its panic.
func (p *Pool) hook(name string, call func()) {
	if err := guard("Hooks."+name, func() error { call(); return nil }); err != nil {
		p.config.Logger.Error("a hook panicked", slog.String("hook", name), slog.Any("error", err), stackOf(err))
	}
}

func (p *Pool) hookOpened(info OpenInfo) {
	if f := p.config.Hooks.Opened; f != nil {
		p.hookApart("Opened", func() { f(info) })
	}
}

func (p *Pool) hookClosed(c *conn, why reason, cause error) {
	if f := p.config.Hooks.Closed; f != nil {
		p.hookApart("Closed", func() { f(CloseInfo{c.number, why.String(), cause, time.Since(c.opened)}) })
	}
}

func (p *Pool) hookDetached(c *conn) {
	if f := p.config.Hooks.Detached; f != nil {
		p.hookApart("Detached", func() { f(DetachInfo{c.number, time.Since(c.opened)}) })
	}
}

func (p *Pool) hookWaited(ctx context.Context, l Lease, waited time.Duration, err error) {
	if p.config.Hooks.Waited != nil {
		p.callWaited(ctx, l, waited, err)
	}
}

func (p *Pool) callWaited(ctx context.Context, l Lease, waited time.Duration, err error) {
	returned := false
	defer func() {
		if !returned && err == nil { // runtime.Goexit: nobody will get the lease
			_ = p.Put(l)
		}
	}()
	p.hook("Waited", func() { p.config.Hooks.Waited(WaitInfo{ctx, l.Number(), l.Reused(), waited, err}) })
	returned = true
}

func (p *Pool) hookRejected(ctx context.Context, err error) {
	if f := p.config.Hooks.Rejected; f != nil {
		p.hook("Rejected", func() { f(RejectInfo{ctx, err}) })
	}
}

// logEvery is the shortest time between two messages about the same failure.
const logEvery = 10 * time.Second

// A logLimit lets one of many equal messages pass every logEvery.
type logLimit struct {
	next    counter // when the next may pass, on the pool's clock
	skipped counter // how many have been left out since then
}

// warn logs at warning level, but at most one message every logEvery for each limit. The
// next message says how many were left out.
func (p *Pool) warn(limit *logLimit, message string, args ...any) {
	now := uint64(p.now())
	next := limit.next.Load()
	if now < next || !limit.next.CompareAndSwap(next, now+uint64(logEvery)) {
		limit.skipped.Inc()
		return
	}
	if n := limit.skipped.Swap(0); n > 0 {
		args = append(args, slog.Uint64("more_since_last", n))
	}
	p.config.Logger.Warn(message, args...)
}
