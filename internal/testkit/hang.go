package testkit

import (
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"go.uber.org/atomic"
)

// Slack is how much later than its limit a call of Check or Clean is abandoned: the
// sweeper has to see it first, and then looks every second.
const Slack = 2*core.MaxTick + 50*time.Millisecond

// A Hanging is a factory with a Check or a Clean that hangs for the first connection.
type Hanging struct {
	Exchange
	On      atomic.Bool
	Calls   atomic.Int32 // that hang, or have hung
	Release func()
	Late    error // what it returns in the end
}

func NewHanging(t *testing.T, function string) (h *Hanging, f pool.Factory[*Wire]) {
	h = new(Hanging)
	var hang <-chan struct{}
	hang, h.Release = Obstacle(t)
	call := func(w *Wire) error {
		if w.Number == 1 && h.On.Load() {
			h.Calls.Inc()
			<-hang
			return h.Late
		}
		return nil
	}
	f = h.Factory()
	if function == "Clean" {
		f.Clean = call
	} else {
		f.Check = call
	}
	return h, f
}
