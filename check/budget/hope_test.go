package budget

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
		if _, _, hoping := s.counts(); hoping != 1 {
			t.Errorf("%d pools hope, want 1", hoping)
		}
		cancel()
		first.Is(t, "its ctx has ended", context.Canceled)
		second.Pending(t, "there is still none")
		s.grant(1)
		second.Is(t, "there is one", nil)
		s.are(t, "it is used", 1, 0)
	})
}

// It lacks a right of the Group. Its own budget has some.
func TestAWarmOfAGroupHopesOnWhenAnotherOneHasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(4)
		g, err := pool.NewGroup(func(int) (pool.Factory[*testkit.Wire], pool.Config, error) {
			return new(server).factory(), pool.Config{Budget: s}, nil
		}, pool.GroupConfig{MaxConnections: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		l, err := g.Get(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- g.Warm(ctx, 1, 1) }()
		go func() { second <- g.Warm(t.Context(), 1, 1) }()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first returned %v", err)
		}
		synctest.Wait()
		if err := g.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-second:
			if err != nil {
				t.Errorf("the second returned %v", err)
			}
		default:
			t.Error("the second hopes no more")
		}
	})
}

// A Warm hopes on, whatever line the callers of its pool go to meanwhile: of the Group here, then of their own budget,
// then none.
func TestAWarmHopesOnWhenTheCallersOfItsPoolGoToAnotherLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := pool.NewBudget(2)
		g := grouped(t, 1, pool.Config{MaxWaitTime: -1, Budget: own})
		alone, _ := begin(t, own, pool.Config{MaxWaitTime: -1})
		has := take(t, g, "has")
		l := testkit.Borrow(t, alone)
		warmed := make(chan error, 1)
		go func() { warmed <- g.Warm(t.Context(), "lacks", 1) }()
		synctest.Wait()
		p, _ := g.Pool("lacks")
		ctx, leave := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, p)
		s := testkit.Ask(t.Context(), alone)
		if err := g.Discard(has, nil); err != nil {
			t.Fatal(err)
		}
		m := s.Served(t, "a right of its own budget has come free")
		r.Pending(t, "there is only one of the Group")
		leave()
		r.Failed(t, "its ctx has ended", context.Canceled)
		for _, l := range []pool.Lease[*testkit.Wire]{l, m} {
			if err := alone.Discard(l, nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		select {
		case err := <-warmed:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("Warm waits, and rights of both kinds are free")
		}
	})
}

// MinIdle gets what a store has to spare, at once or later, and hopes for no more than is missing.
func TestMinIdleGetsWhatAStoreHasToSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1)
		p, sv := begin(t, s, pool.Config{MinIdle: 3})
		hope := func(when string, open, hoping int) {
			t.Helper()
			synctest.Wait()
			if out, waiting, got := s.counts(); out != open || len(sv.Opened()) != open || waiting != 0 || got != hoping {
				t.Errorf("%s: %d rights are out, and %d connections are open, want %d; %d wait, want none, and %d hope, want %d", when, out, len(sv.Opened()), open, waiting, got, hoping)
			}
		}
		testkit.Sleep(2 * time.Second)
		hope("there is one right", 1, 1)
		s.grant(1)
		hope("there is another", 2, 1)
		s.grant(4)
		testkit.Sleep(2 * time.Second)
		hope("there are enough", 3, 0)
		s.only(0)
		p.Close()
		synctest.Wait()
		s.are(t, "it is closed", 0, 0)
	})
}

// It hopes no more when callers have left behind what was missing.
func TestMinIdleHopesForNothingWhenNothingIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, _ := begin(t, s, pool.Config{MinIdle: 1})
		testkit.Sleep(2 * time.Second)
		r := testkit.Ask(t.Context(), p)
		s.grant(1)
		l := r.Served(t, "those who wait come first")
		testkit.Sleep(2 * time.Second)
		if _, _, hoping := s.counts(); hoping != 1 {
			t.Errorf("%d pools hope, want 1", hoping)
		}
		testkit.GiveBack(t, p, l)
		testkit.Sleep(2 * time.Second)
		if _, _, hoping := s.counts(); hoping != 0 {
			t.Errorf("%d pools hope when nothing is missing, want none", hoping)
		}
		s.grant(2)
		s.are(t, "nobody wants them", 1, 0)
	})
}

// What nobody has opened when the pool is closed is kept for nobody.
func TestMinIdleHopesForNothingWhenThePoolIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		p, _ := begin(t, s, pool.Config{MinIdle: 3})
		testkit.Sleep(2 * time.Second)
		if _, _, hoping := s.counts(); hoping != 1 {
			t.Errorf("%d pools hope, want 1", hoping)
		}
		p.Close()
		synctest.Wait()
		if _, _, hoping := s.counts(); hoping != 0 {
			t.Errorf("%d pools hope when it is closed, want none", hoping)
		}
		s.grant(2)
		s.are(t, "nobody wants them", 0, 0)
	})
}

// A caller waits, and his pool does not hope beside that, also when it tries one of two budgets.
func TestAPoolThatWaitsDoesNotHope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(0)
		g := grouped(t, 1, pool.Config{MaxWaitTime: -1, Budget: s})
		if err := g.Warm(t.Context(), "", 0); err != nil {
			t.Fatal(err)
		}
		p, _ := g.Pool("")
		r := testkit.Ask(t.Context(), p)
		if _, waiting, hoping := s.counts(); waiting != 1 || hoping != 0 {
			t.Errorf("%d wait, want 1, and %d hope, want none", waiting, hoping)
		}
		s.grant(1)
		testkit.GiveBack(t, p, r.Served(t, "there is a right"))
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

// A refusing store says to whatever it is told that nothing can be had.
type refusing struct {
	rights *pool.Rights
	told   []int
}

func (s *refusing) Rights() (*pool.Rights, error) { return s.rights, nil }
func (s *refusing) Give(int)                      {}

func (s *refusing) Want(waiting, hoping int) {
	if s.told = append(s.told, waiting+hoping); len(s.told) < 100 {
		s.rights.Fail(errDown)
	}
}

var errDown = errors.New("store is down")

// It is told once that nothing is wanted any more, and not each time that it says no.
func TestAStoreThatFailsWhateverItIsToldIsNotToldForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(refusing)
		s.rights = pool.NewRights(s)
		p, _ := begin(t, s, pool.Config{FailFastAfter: testkit.AtOnce})
		testkit.Ask(t.Context(), p).Failed(t, "the store is down", errDown)
		synctest.Wait()
		if want := []int{1, 0}; !slices.Equal(s.told, want) {
			t.Errorf("it was told that so many are wanted: %v, want %v", s.told, want)
		}
	})
}

// A pool that had nothing left when the line became empty was not told. When Warm gets a right, it looks.
func TestAPoolThatIsWarmedAgainHasForgottenTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		q, _ := begin(t, b, pool.Config{})
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		if err := q.Discard(testkit.Ask(t.Context(), q).Served(t, "what was idle is closed"), nil); err != nil {
			t.Fatal(err)
		}
		testkit.Warm(t.Context(), p, 1).Is(t, "a right is free", nil)
		atRest(t, b, 1, p, q)
	})
}
