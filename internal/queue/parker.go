package queue

import (
	"context"

	"github.com/S4AK4N/pool/internal/atomic"
)

// A Parker is what a goroutine needs to wait: a channel, and what others may have to know of the
// wait. It belongs to one goroutine at a time. It may be reused for the next wait because its
// channel is empty and nobody will send to it any more: a sender gets the channel only by
// deciding a waiter, and sends once. The owner releases the parker only after it has
// received that token, or has decided the waiter itself.
type Parker struct {
	// What anybody may read. As the parker may be used again, it is true of a waiter if that is live
	// after it has been read.
	since  atomic.Int64                    // when the wait began, on the pool's clock
	ticket atomic.Uint64                   // of one who waits for a single connection: how many had come to wait for any
	values atomic.Pointer[context.Context] // whose values Factory.Open gets if it is called for this waiter; may be nil

	ch     chan Token
	done   <-chan struct{} // of the caller's ctx. The winner of Decide reads and clears it: nobody else, and nobody earlier
	Stripe uint            // of the histogram of waits: parkers in use at the same time should differ
}

// NewParker returns a parker whose waits are recorded in the given stripe.
func NewParker(stripe uint) *Parker {
	return &Parker{ch: make(chan Token, 1), Stripe: stripe}
}

// Tokens returns the channel on which the owner waits for its token.
func (k *Parker) Tokens() <-chan Token { return k.ch }

// Begin tells k of its next wait, which begins at since, on the pool's clock. done is the Done
// channel of the caller's ctx. SetValues and SetTicket come after it, and before Enqueue.
func (k *Parker) Begin(done <-chan struct{}, since int64) {
	k.done = done
	k.since.Store(since)
}

// SetValues sets the ctx that Waiter.Values returns.
func (k *Parker) SetValues(ctx context.Context) { k.values.Store(&ctx) }

// SetTicket says how many had come to wait for any connection.
func (k *Parker) SetTicket(came uint64) { k.ticket.Store(came) }
