package testkit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
)

// A Warming is a call of Warm in a goroutine of its own.
type Warming struct {
	done chan struct{}
	Err  error
}

// Warm begins a Warm, and returns when it waits or has returned.
func Warm(ctx context.Context, p *pool.Pool[*Wire], n int) *Warming {
	w := &Warming{done: make(chan struct{})}
	go func() {
		w.Err = p.Warm(ctx, n)
		close(w.done)
	}()
	synctest.Wait()
	return w
}

func (w *Warming) Returned() bool {
	synctest.Wait()
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *Warming) Pending(t *testing.T, when string) {
	t.Helper()
	if w.Returned() {
		t.Fatalf("%s: Warm has returned %v, want it to wait", when, w.Err)
	}
}

// Is fails the test unless Warm has returned an error that is want.
func (w *Warming) Is(t *testing.T, when string, want error) {
	t.Helper()
	if !w.Returned() {
		t.Fatalf("%s: Warm waits, want %v", when, want)
	}
	if !errors.Is(w.Err, want) || want == nil && w.Err != nil {
		t.Fatalf("%s: Warm returned %v, want %v", when, w.Err, want)
	}
}
