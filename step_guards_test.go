//go:build step

package pool

import (
	"testing"
	"time"
)

// The tests in this file are of guards that could be left out, and no other test noticed
// (check/mutants).

// wait.go wait: the last failure refuses all who wait. One who has been counted, but is
// not linked yet, is not among them; if somebody else's attempt is under way when it
// is, it must ask for itself.
func TestWaiterThatComesBetweenIsNotKeptForTheProbeOfAnother(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		for i := range keepsFailing - 1 {
			r := ask(bg, p)
			result(i+1, errDial)
			r.failed(t, "after its open failed", errDial)
		}
		first := ask(bg, p)
		late := s.stopNext("wait: registered")
		r := ask(bg, p)
		late.arrived(t)
		result(keepsFailing, errDial)
		first.failed(t, "after the last failure", ErrUnavailable)
		time.Sleep(backoffMost) // the sweeper begins the probe
		if got := x.tried(); got != keepsFailing+1 {
			t.Fatalf("Open was called %d times, want one probe more than %d", got, keepsFailing)
		}
		late.goOn()
		r.failed(t, "while the probe is under way", ErrUnavailable)
		result(keepsFailing+1, nil)
	})
}

// warm.go Warm: a connection that is established, and not yet idle, is not one that Warm
// can answer for.
func TestWarmWaitsForWhatHasNotLandedYet(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		landing := s.stopNext("opened: established")
		w := warm(bg, p, 1)
		result(1, nil)
		landing.arrived(t)
		other := warm(bg, p, 1)
		other.pending(t, "before the connection is idle")
		landing.goOn()
		other.is(t, "when it is", nil)
		w.is(t, "when it is", nil)
		if got := p.Stats().IdleConnections; got != 1 {
			t.Errorf("%d are idle, want 1", got)
		}
	})
}
