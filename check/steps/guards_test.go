//go:build step

package steps

import (
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// The tests in this file are about guards whose loss no other test noticed
// (check/mutants).

// wait.go wait: the last failure refuses all waiters. A caller that has been counted, but
// is not linked yet, is not among them. If another caller's attempt is in progress when
// it is linked, it must ask for itself.
func TestWaiterThatComesBetweenIsNotKeptForTheProbeOfAnother(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		for i := range words.KeepsFailing - 1 {
			r := testkit.Ask(bg, p)
			result(i+1, testkit.ErrDial)
			r.Failed(t, "after its open failed", testkit.ErrDial)
		}
		first := testkit.Ask(bg, p)
		late := s.StopNext("wait: registered")
		r := testkit.Ask(bg, p)
		late.Arrived(t)
		result(words.KeepsFailing, testkit.ErrDial)
		first.Failed(t, "after the last failure", pool.ErrUnavailable)
		testkit.Sleep(words.BackoffMost) // the sweeper begins the probe
		if got := x.Tried(); got != words.KeepsFailing+1 {
			t.Fatalf("Open was called %d times, want one probe more than %d", got, words.KeepsFailing)
		}
		late.GoOn()
		r.Failed(t, "while the probe is under way", pool.ErrUnavailable)
		result(words.KeepsFailing+1, nil)
	})
}

// warm.go Warm: a connection that is established, and not yet idle, is not one that Warm
// can answer for.
func TestWarmWaitsForWhatHasNotLandedYet(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		landing := s.StopNext("opened: established")
		w := testkit.Warm(bg, p, 1)
		result(1, nil)
		landing.Arrived(t)
		other := testkit.Warm(bg, p, 1)
		other.Pending(t, "before the connection is idle")
		landing.GoOn()
		other.Is(t, "when it is", nil)
		w.Is(t, "when it is", nil)
		if got := p.Stats().IdleConnections; got != 1 {
			t.Errorf("%d are idle, want 1", got)
		}
	})
}
