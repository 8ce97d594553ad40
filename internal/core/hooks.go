package core

import (
	"log/slog"
	"time"
)

// Hooks are the Hooks of the root package, which documents each. Each may be nil.
type Hooks struct {
	Opened   func(took time.Duration, err error)
	Closed   func(reason string, cause error)
	Waited   func(waited time.Duration, err error)
	Rejected func(err error)
	Leaked   func(lease LeaseInfo)
}

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

func (p *Pool) hookOpened(took time.Duration, err error) {
	if f := p.config.Hooks.Opened; f != nil {
		p.hookApart("Opened", func() { f(took, err) })
	}
}

func (p *Pool) hookClosed(why reason, cause error) {
	if f := p.config.Hooks.Closed; f != nil {
		p.hookApart("Closed", func() { f(why.String(), cause) })
	}
}

func (p *Pool) hookWaited(l Lease, waited time.Duration, err error) {
	f := p.config.Hooks.Waited
	if f == nil {
		return
	}
	returned := false
	defer func() {
		if !returned && err == nil { // runtime.Goexit: nobody will get the lease
			_ = p.Put(l)
		}
	}()
	p.hook("Waited", func() { f(waited, err) })
	returned = true
}

func (p *Pool) hookRejected(err error) {
	if f := p.config.Hooks.Rejected; f != nil {
		p.hook("Rejected", func() { f(err) })
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
