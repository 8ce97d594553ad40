package pool

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// overdueAfter is how long an open may take before nobody counts on it any more but
// the caller who asked for it. It goes on, but others have another one begun.
const overdueAfter = time.Second

// ensureOpen sees to it that as many connections are being opened as callers wait,
// as far as MaxConnections allows. The first of them is opened for asker, with the
// values of its ctx; a nil asker is nobody in particular. An open whose asker has given
// up is as good as another, as long as it is not overdue: if it were not, a storm of
// short deadlines would be a storm of opens; if it always were, one that hangs would
// keep others waiting for it.
//
// The race between the two sides, capacity that comes free and a caller who comes
// to wait:
//
//	leaver:  lowers open; then reads the gate (ensureOpen)
//	waiter:  raises the gate; then reads open (ensureOpen)
//
// At least one of them sees the other, and opens. And between opening and Close:
// the limit is in the word by which an open is admitted, and Close sets it to zero
// first of all. What was admitted before ends in settle, which sees the gate closed.
func (p *Pool[T]) ensureOpen(asker *waiter, ctx context.Context) {
	for {
		g := gateWord(p.gate.Load())
		if g.closed() || g.waiters() == 0 {
			return
		}
		c := census(p.conns.Load())
		if c.open() >= c.max() || c.opening()-int(p.overdue.Load()) >= g.waiters() {
			return
		}
		step.At("ensureOpen: census read")
		if p.conns.CompareAndSwap(uint64(c), uint64(c+censusOpen+censusOpening)) {
			// There is a vacant slot for each that is counted: leavers make
			// theirs vacant before they lower the count.
			step.At("ensureOpen: admitted")
			slot, word := p.ring.Claim()
			go p.open(slot, word, asker, ctx)
			asker, ctx = nil, nil
		}
	}
}

// open opens one connection into a slot that has been claimed for it.
func (p *Pool[T]) open(slot int, word ring.Word, asker *waiter, asked context.Context) {
	ctx := p.lifetime
	if asked != nil {
		// Its values and no more: the connection may serve somebody else.
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(context.WithoutCancel(asked))
		defer cancel(nil)
		defer context.AfterFunc(p.lifetime, func() { cancel(ErrClosed) })()
	}
	if p.config.OpenTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.config.OpenTimeout)
		defer cancel()
	}
	c := &conn[T]{pool: p, slot: slot, born: word.Generation()}
	err := errGoexit
	began := time.Now()
	endWatch := p.watchOpen(asker)
	defer func() { // deferred, in case of runtime.Goexit
		endWatch() // first: until it is counted out below, it counts as under way
		if err != nil {
			p.openFailed(slot, word, asker, err)
		} else {
			p.opened(c, word, time.Since(began))
		}
	}()
	err = guard("Open", func() (err error) {
		c.value, err = p.factory.Open(ctx)
		return err
	})
	if err != nil {
		return
	}
	if isNil(c.value) {
		err = errNilConn
		return
	}
	c.opened = time.Now()
	if p.factory.Watch == nil {
		return
	}
	err = errGoexit
	defer func() {
		if err != nil { // never lent, and never counted as opened
			p.unclosed.Inc()
			go func() {
				defer p.forget()
				p.callClose(c, err)
			}()
		}
	}()
	err = guard("Watch", func() error {
		p.factory.Watch(c.value, func(cause error) { p.broke(c, cause) })
		if cause := c.broken.Load(); cause != nil {
			return *cause // so the caller is told, and does not ask again and again
		}
		return nil
	})
}

// watchOpen counts an open as overdue, once it is and its asker does not wait any
// more, until the function that it returns is called.
func (p *Pool[T]) watchOpen(asker *waiter) (end func()) {
	const counted, ended = 1, 2
	var state atomic.Uint32
	var look func()
	look = func() {
		switch {
		case state.Load() == ended:
		case asker != nil && asker.live():
			time.AfterFunc(overdueAfter, look)
		case state.CompareAndSwap(0, counted):
			p.overdue.Inc()
			p.ensureOpen(nil, nil)
		}
	}
	timer := time.AfterFunc(overdueAfter, look)
	return func() {
		timer.Stop()
		if !state.CompareAndSwap(0, ended) {
			p.overdue.Dec()
		}
	}
}

// isNil reports whether v is a nil interface or pointer: Open may lie.
func isNil[T any](v T) bool {
	r := reflect.ValueOf(&v).Elem()
	for r.Kind() == reflect.Interface && !r.IsNil() {
		r = r.Elem()
	}
	return (r.Kind() == reflect.Interface || r.Kind() == reflect.Pointer) && r.IsNil()
}

func (p *Pool[T]) opened(c *conn[T], word ring.Word, took time.Duration) {
	p.counters.opened.Inc()
	p.lastOpen.Store(nil)
	p.unclosed.Inc()
	p.config.Logger.Debug("connection opened", slog.Int("slot", c.slot), slog.Duration("took", took))
	p.slots[c.slot].Store(c)
	// Established from here on. The slot is nobody else's until settle.
	p.conns.Sub(uint64(censusOpening))
	step.At("opened: established")
	p.advanceTick(time.Duration(p.now()))
	word = p.ring.Fill(c.slot, word, uint16(p.tick.Load()))
	p.settle(held{c.slot, word}, true)
	p.wakeSweeper() // which may have seen that nothing was open
	// Somebody may have come to wait meanwhile, counted this one as being opened
	// for it, and got nothing.
	p.ensureOpen(nil, nil)
}

// openFailed gives the error to the waiter whose Get asked for the connection. If
// that one is gone, it was served or gave up, and nobody is owed an error: whoever
// waits then has asked, or will be asked for, by an attempt of its own. An attempt
// that nobody in particular asked for was made for the oldest, who is told.
//
// This cannot go on for ever: each failure ends one wait, or its asker's had ended
// before, or nobody waits.
func (p *Pool[T]) openFailed(slot int, word ring.Word, asker *waiter, err error) {
	p.counters.openErrors.Inc()
	level := slog.LevelWarn
	if p.lifetime.Err() != nil {
		level = slog.LevelDebug // Close has ended it
	}
	p.config.Logger.LogAttrs(context.Background(), level, "opening a connection failed", slog.Any("error", err), stackOf(err))
	err = &openError{err}
	p.lastOpen.Store(err)
	p.ring.Vacate(slot, word)
	if asker == nil {
		p.refuseOldest(err)
	} else if p.refuse(asker, err) {
		p.sweepAside()
	}
	// The error comes before the capacity, so that no waiter gets the error of an
	// attempt that began after its own; then the capacity is offered again.
	p.conns.Sub(uint64(censusOpen + censusOpening))
	step.At("openFailed: census lowered")
	p.ensureOpen(nil, nil)
}

// stackOf returns the stack of a panic in a factory function, for the log.
func stackOf(err error) slog.Attr {
	if p, ok := err.(*panicError); ok {
		return slog.String("stack", string(p.stack))
	}
	return slog.Attr{}
}

// broke is what Watch's broken does.
func (p *Pool[T]) broke(c *conn[T], cause error) {
	if cause == nil {
		cause = errBroken
	} else {
		cause = fmt.Errorf("pool: reported broken: %w", cause)
	}
	if !c.broken.CompareAndSwap(nil, &cause) {
		return
	}
	step.At("broke: marked")
	// If the connection is idle, it is closed now. If it is not, whoever has it
	// reads the mark before it is lent, or after it is published (settle). If it
	// is taken just now, Get reads the mark after it has taken it.
	word := p.ring.At(c.slot)
	if word.Phase() != ring.Idle || p.slots[c.slot].Load() != c {
		return
	}
	step.At("broke: slot read")
	word, ok := p.ring.Retake(c.slot, word)
	if !ok {
		return
	}
	h := held{c.slot, word}
	if p.slots[c.slot].Load() == c {
		p.destroy(h, closedByWatch, cause)
	} else {
		p.settle(h, false) // another connection has come into the slot, with the same word
	}
}
