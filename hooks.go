package pool

import (
	"log/slog"
	"time"
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

// hookApart calls a hook in a goroutine of its own, and waits for it: the calling
// goroutine has things to do afterwards, even if the hook calls runtime.Goexit.
func (p *Pool[T]) hookApart(name string, call func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.hook(name, call)
	}()
	<-done
}

// hook calls a hook and survives its panic.
func (p *Pool[T]) hook(name string, call func()) {
	if err := guard("Hooks."+name, func() error { call(); return nil }); err != nil {
		p.config.Logger.Error("a hook panicked", slog.String("hook", name), slog.Any("error", err), stackOf(err))
	}
}

func (p *Pool[T]) hookOpened(took time.Duration, err error) {
	if f := p.config.Hooks.Opened; f != nil {
		p.hookApart("Opened", func() { f(took, err) })
	}
}

func (p *Pool[T]) hookClosed(why reason, cause error) {
	if f := p.config.Hooks.Closed; f != nil {
		p.hookApart("Closed", func() { f(why.String(), cause) })
	}
}

func (p *Pool[T]) hookWaited(l Lease[T], waited time.Duration, err error) {
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

func (p *Pool[T]) hookRejected(err error) {
	if f := p.config.Hooks.Rejected; f != nil {
		p.hook("Rejected", func() { f(err) })
	}
}

// logEvery is how often the same failure is logged.
const logEvery = 10 * time.Second

// A logLimit lets one of many equal messages pass every logEvery.
type logLimit struct {
	next    counter // when the next may pass, on the pool's clock
	skipped counter // how many have not passed since the last one
}

// warn logs at warning level, unless it has done so a short while ago. What was left out
// is counted in the next message.
func (p *Pool[T]) warn(limit *logLimit, message string, args ...any) {
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
