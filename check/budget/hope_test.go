package budget

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A Warm that has given up hopes for nothing, and keeps nothing from others.
func TestWhatAWarmHopedForThatHasGivenUpGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, _ := begin(t, s, pool.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		w := testkit.Warm(ctx, p, 1)
		w.Pending(t, "there is no right")
		if _, _, hoping := s.counts(); hoping != 1 {
			t.Errorf("%d hope, want 1", hoping)
		}
		cancel()
		w.Is(t, "its ctx has ended", context.Canceled)
		if _, _, hoping := s.counts(); hoping != 0 {
			t.Errorf("%d hope when it has given up, want none", hoping)
		}
		s.grant(4)
		s.are(t, "nobody wants it", 0, 0)
	})
}

// Another Warm of the same pool hopes on.
func TestAWarmHopesOnWhenAnotherOneHasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, _ := begin(t, s, pool.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := testkit.Warm(ctx, p, 1), testkit.Warm(t.Context(), p, 1)
		first.Pending(t, "there is no right")
		second.Pending(t, "there is no right")
		cancel()
		first.Is(t, "its ctx has ended", context.Canceled)
		second.Pending(t, "there is still none")
		s.grant(1)
		second.Is(t, "there is one", nil)
		s.are(t, "it is used", 1, 0)
	})
}

// A slow store has not yet heard what is wanted when it says that nothing can be had.
type slow struct {
	*store
	once  sync.Once
	hears chan struct{}
}

func (s *slow) Want(waiting, hoping int) {
	s.once.Do(func() { <-s.hears })
	s.store.Want(waiting, hoping)
}

func TestAStoreThatHasFailedIsNotLeftWithWhatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("store is down")
		s := &slow{store: &store{}, hears: make(chan struct{})}
		s.rights = pool.NewRights(s)
		p, _ := begin(t, s, pool.Config{FailFastAfter: testkit.AtOnce})
		r := testkit.Ask(t.Context(), p)
		synctest.Wait()
		s.rights.Fail(down)
		close(s.hears)
		r.Failed(t, "the store has failed", down)
		s.are(t, "nobody waits", 0, 0)
	})
}
