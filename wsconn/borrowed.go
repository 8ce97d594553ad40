package wsconn

import (
	"context"
	"time"

	"go.uber.org/atomic"
)

// A borrowed is a context that stands for another one during one call of the WebSocket
// layer, and for context.Background after it. That layer keeps the last context of each
// direction until the next call: of an idle connection that would be a request's, with
// all that its values hold.
//
// The pointer is atomic for the rare goroutine that looks at its context a little after
// the call: the timer of a context that the layer has derived from this one.
type borrowed struct {
	ctx atomic.Pointer[context.Context]
}

// background stands for context.Background, of which there is nothing to keep.
var background = new(borrowed)

// borrow returns a context for one call that gets ctx: b, or another one while a call
// that goes on beside this one has b.
func (b *borrowed) borrow(ctx context.Context) *borrowed {
	if ctx == context.Background() {
		return background
	}
	held := ctx // allocated here, not above
	if !b.ctx.CompareAndSwap(nil, &held) {
		b = new(borrowed)
		b.ctx.Store(&held)
	}
	return b
}

// giveBack ends the call.
func (b *borrowed) giveBack() {
	if b != background {
		b.ctx.Store(nil)
	}
}

func (b *borrowed) lent() context.Context {
	if ctx := b.ctx.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

func (b *borrowed) Deadline() (time.Time, bool) { return b.lent().Deadline() }
func (b *borrowed) Done() <-chan struct{}       { return b.lent().Done() }
func (b *borrowed) Err() error                  { return b.lent().Err() }
func (b *borrowed) Value(key any) any           { return b.lent().Value(key) }
