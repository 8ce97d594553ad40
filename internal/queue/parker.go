package queue

// A Parker is what a goroutine needs to wait: a channel, and nodes for its next waits. It
// belongs to one goroutine at a time. It may be reused for the next wait because its
// channel is empty and nobody will send to it any more: a sender gets the channel only by
// deciding a waiter, and sends once. The owner releases the parker only after it has
// received that token, or has decided the waiter itself.
type Parker struct {
	ch     chan Token
	slab   *[slabSize]Waiter
	used   int
	Stripe uint // of the histogram of waits: parkers in use at the same time should differ
}

// slabSize is how many waiters are allocated together. Two live waiters never share a
// slab, nor a cache line. slabStride is coprime to slabSize and larger than 1, so a
// waiter is not the neighbour of the one before it, which others may still look at and
// sever.
const (
	slabSize   = 12
	slabStride = 5
)

// NewParker returns a parker whose waits are recorded in the given stripe.
func NewParker(stripe uint) *Parker {
	return &Parker{ch: make(chan Token, 1), used: slabSize, Stripe: stripe}
}

// Tokens returns the channel on which the owner waits for its token.
func (k *Parker) Tokens() <-chan Token { return k.ch }

// Waiter returns a waiter for the next wait, which begins at since, on the pool's clock.
// done is the Done channel of the caller's ctx.
func (k *Parker) Waiter(done <-chan struct{}, since int64) *Waiter {
	if k.used == slabSize {
		k.slab, k.used = new([slabSize]Waiter), 0
	}
	w := &k.slab[k.used*slabStride%slabSize]
	k.used++
	w.ch, w.done, w.Since = k.ch, done, since
	return w
}
