package testkit

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/google/go-cmp/cmp"
)

// ClosedFor fails the test unless w was closed once, with the given cause.
func ClosedFor(t *testing.T, when string, w *Wire, cause error) {
	t.Helper()
	synctest.Wait()
	if got := w.ClosedWith(); len(got) != 1 || got[0] != cause {
		t.Errorf("%s: connection %d was closed with %v, want %v, once", when, w.Number, got, cause)
	}
}

// Whole fails the test unless n connections can be leased at the same time, and no
// more, and all of them idle again.
func Whole(t *testing.T, p *pool.Pool[*Wire], n int) {
	t.Helper()
	synctest.Wait()
	if got := p.Stats(); got.ActiveConnections != 0 || got.OpeningConnections != 0 || got.WaitingRequests != 0 {
		t.Fatalf("the pool does not rest: %+v", got)
	}
	Fill(t, p, n)
	if got := p.Stats(); got.IdleConnections != n || got.VacantConnections() != 0 {
		t.Errorf("the pool is not whole: %+v", got)
	}
}

// IdleIs fails the test unless so many are idle.
func IdleIs(t *testing.T, p *pool.Pool[*Wire], when string, want int) {
	t.Helper()
	synctest.Wait()
	if got := p.Stats(); got.IdleConnections != want || got.OpeningConnections != 0 {
		t.Errorf("%s: %+v, want %d idle", when, got, want)
	}
}

// Refused fails the test unless each ender refuses l and changes nothing.
func Refused(t *testing.T, p *pool.Pool[*Wire], l pool.Lease[*Wire], what string) {
	t.Helper()
	synctest.Wait()
	before := p.Stats()
	for name, end := range Enders {
		if err := end(p, l); err != pool.ErrNotLeased {
			t.Errorf("%s of %s returned %v, want ErrNotLeased", name, what, err)
		}
	}
	synctest.Wait()
	if diff := cmp.Diff(before, p.Stats()); diff != "" {
		t.Errorf("refusing %s changed something (-before +after):\n%s", what, diff)
	}
}

// Figures returns the counts alone, without what depends on times and errors.
func Figures[T any](p *pool.Pool[T]) pool.Stats {
	s := p.Stats()
	s.LastOpenError, s.WaitTime, s.OpenTime = nil, pool.Histogram{}, pool.Histogram{}
	return s
}

// BrokenOnce fails the test unless w was closed once, with a cause that is cause.
func BrokenOnce(t *testing.T, when string, w *Wire, cause error) {
	t.Helper()
	synctest.Wait()
	got := w.ClosedWith()
	if len(got) != 1 || !errors.Is(got[0], cause) {
		t.Errorf("%s: connection %d was closed with %v, want %v, once", when, w.Number, got, cause)
	}
}
