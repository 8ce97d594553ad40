package budget

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A right is free as soon as its connection has ended, and not before: Factory.Close has returned.
func TestEachEndOfAConnectionGivesItsRightBack(t *testing.T) {
	type world struct {
		p      *wires
		s      *server
		broken func(int, error)
		bad    *bool
	}
	atOnce := map[string]bool{"Detach": true}
	for name, end := range map[string]func(t *testing.T, w world, l pool.Lease[*testkit.Wire]){
		"Discard": func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) { _ = w.p.Discard(l, nil) },
		"Detach": func(t *testing.T, w world, l pool.Lease[*testkit.Wire]) {
			if _, err := w.p.Detach(l); err != nil {
				t.Error(err)
			}
		},
		"Revoke": func(_ *testing.T, w world, _ pool.Lease[*testkit.Wire]) { w.p.Revoke(w.p.Leases()[0]) },
		"Reset":  func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) { w.p.Reset(); _ = w.p.Put(l) },
		"report": func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) { w.broken(1, nil); _ = w.p.Put(l) },
		"Clean":  func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) { *w.bad = true; _ = w.p.Put(l) },
		"Check":  func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) { _ = w.p.Put(l); *w.bad = true; w.p.TryGet() },
		"idle": func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) {
			_ = w.p.Put(l)
			testkit.Sleep(36 * time.Second)
		},
		"life": func(_ *testing.T, w world, l pool.Lease[*testkit.Wire]) {
			testkit.Sleep(2 * time.Hour)
			_ = w.p.Put(l)
		},
		"Close": func(_ *testing.T, w world, _ pool.Lease[*testkit.Wire]) { go w.p.Close() },
		"Shutdown": func(t *testing.T, w world, l pool.Lease[*testkit.Wire]) {
			_ = w.p.Put(l)
			go w.p.Shutdown(context.Background())
		},
		"another asks": func(t *testing.T, w world, l pool.Lease[*testkit.Wire]) {
			_ = w.p.Put(l)
		},
	} {
		for _, strict := range []bool{false, true} {
			title := name
			if strict {
				title += ", StrictMax"
			}
			testkit.Bubble(t, title, func(t *testing.T) {
				b := pool.NewBudget(1)
				s := new(server)
				closing, goOn := testkit.Obstacle(t)
				s.close = func() error { <-closing; return nil }
				s.factory()
				f, broken := testkit.Watched(&s.Exchange)
				bad := false
				unfit := func(*testkit.Wire) error {
					if bad {
						return testkit.ErrUnfit
					}
					return nil
				}
				f.Clean = unfit
				if name == "Check" {
					f.Check, f.Clean = unfit, nil
				}
				p := testkit.Start(t, f, pool.Config{Budget: b, StrictMax: strict, MaxLifetime: time.Hour, MaxIdleTime: 30 * time.Second, MaxWaitTime: -1, CheckInterval: -1})
				l := testkit.Borrow(t, p)
				other, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
				end(t, world{p, s, broken, &bad}, l)
				synctest.Wait()
				r := testkit.Ask(t.Context(), other)
				if atOnce[name] {
					testkit.GiveBack(t, other, r.Served(t, "after it has left"))
					atRest(t, b, 1, p, other)
					return
				}
				r.Pending(t, "while Close is at work")
				goOn()
				testkit.GiveBack(t, other, r.Served(t, "after Close has returned"))
				atRest(t, b, 1, p, other)
			})
		}
	}
}

func TestAnAbandonedCloseGivesItsRightBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, s := begin(t, b, pool.Config{MaxWaitTime: -1})
		closing, goOn := testkit.Obstacle(t)
		s.close = func() error { <-closing; return nil }
		_ = p.Discard(testkit.Borrow(t, p), nil)
		other, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		r := testkit.Ask(t.Context(), other)
		testkit.Sleep(core.CallLimit - time.Millisecond)
		r.Pending(t, "while Close may take its time")
		testkit.Sleep(2 * time.Millisecond)
		testkit.GiveBack(t, other, r.Served(t, "when Close was abandoned"))
		goOn()
		s.close = nil
		atRest(t, b, 1, p, other)
	})
}

// An attempt has its right until Open has returned, however it has ended before.
func TestEachEndOfAnAttemptGivesItsRightBack(t *testing.T) {
	for name, tt := range map[string]struct {
		open func(<-chan struct{}, context.Context) error
		end  func(p *wires)
	}{
		"error":                    {func(c <-chan struct{}, _ context.Context) error { <-c; return testkit.ErrDial }, nil},
		"panic":                    {func(c <-chan struct{}, _ context.Context) error { <-c; panic("open") }, nil},
		"abandoned":                {func(c <-chan struct{}, _ context.Context) error { <-c; return nil }, func(*wires) { testkit.Sleep(time.Minute) }},
		"abandoned, then an error": {func(c <-chan struct{}, _ context.Context) error { <-c; return testkit.ErrDial }, func(*wires) { testkit.Sleep(time.Minute) }},
		"Reset":                    {func(c <-chan struct{}, _ context.Context) error { <-c; return nil }, func(p *wires) { p.Reset() }},
		"Close":                    {func(c <-chan struct{}, _ context.Context) error { <-c; return nil }, func(p *wires) { p.Close() }},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			b := pool.NewBudget(1)
			p, s := begin(t, b, pool.Config{OpenTimeout: 5 * time.Second, FailFastAfter: testkit.AtOnce, MaxConnections: 1})
			opening, goOn := testkit.Obstacle(t)
			first := true
			s.open = func(ctx context.Context) error {
				if !first {
					return nil
				}
				first = false
				return tt.open(opening, ctx)
			}
			ctx, cancel := context.WithCancel(t.Context())
			testkit.Ask(ctx, p)
			other, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
			r := testkit.Ask(t.Context(), other)
			if tt.end != nil {
				tt.end(p)
			}
			r.Pending(t, "while Open is at work")
			if got := len(s.Opened()); got != 0 {
				t.Errorf("%d have been opened, want none", got)
			}
			cancel()
			synctest.Wait()
			goOn()
			testkit.GiveBack(t, other, r.Served(t, "when Open has returned"))
			atRest(t, b, 1, p, other)
		})
	}
}

// A pool whose callers have gone, or have been served, leaves the line: nothing is closed for it, and
// a right that comes for it all the same goes on without a dial.
func TestAPoolInWhichNobodyWaitsLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		asker, s := begin(t, b, pool.Config{})
		l := testkit.Borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		gone := testkit.Ask(ctx, asker)
		expires := testkit.Ask(t.Context(), asker)
		if got := asker.Stats().AwaitingBudget; got != 2 {
			t.Errorf("it stands in line for %d, want 2", got)
		}
		cancel()
		gone.Failed(t, "its ctx has ended", context.Canceled)
		if got := asker.Stats().AwaitingBudget; got != 1 {
			t.Errorf("it stands in line for %d, want 1", got)
		}
		testkit.Sleep(6 * time.Second)
		expires.Failed(t, "MaxWaitTime is over", pool.ErrExhausted)
		var exhausted *pool.ExhaustedError
		if !errors.As(expires.Err, &exhausted) || exhausted.Stats.AwaitingBudget != 1 {
			t.Errorf("the error is %v, want one that names the budget", expires.Err)
		}
		if want := "pool: connection pool exhausted: waited 5s, 0 active of 10, 0 opening, 1 waiting, the budget has no right for 1 more (the first for 5s)"; expires.Err.Error() != want {
			t.Errorf("it says %q, want %q", expires.Err, want)
		}
		if got := asker.Stats(); got.AwaitingBudget != 0 || got.Unavailable != 0 || got.Timeouts != 1 || got.LastOpenError != nil {
			t.Errorf("afterwards it is %+v", got)
		}
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 1 || len(s.Opened()) != 0 {
			t.Errorf("%d are idle, want 1, and %d were opened, want none", got.IdleConnections, len(s.Opened()))
		}
		atRest(t, b, 1, p, asker)
	})
}

// Waiting for a right does not count as opening: OpenTimeout begins with the right.
func TestOpenTimeoutBeginsWithTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		asker, s := begin(t, b, pool.Config{OpenTimeout: time.Second, MaxWaitTime: -1})
		var left time.Duration
		s.open = func(ctx context.Context) error {
			at, _ := ctx.Deadline()
			left = time.Until(at)
			return nil
		}
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), asker)
		testkit.Sleep(time.Minute)
		if got := asker.Stats(); got.OpeningConnections != 0 || got.OpenErrors != 0 || testkit.Inside(asker).Outage().Failures != 0 || got.AwaitingBudget != 1 {
			t.Errorf("while it waits for a right: %+v", got)
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, asker, r.Served(t, "when there is a right"))
		if left != time.Second {
			t.Errorf("Open has %v, want a second", left)
		}
		atRest(t, b, 1, p, asker)
	})
}

// A goroutine that asks for a second connection while it has all of the budget waits for itself.
func TestMaxWaitTimeEndsAWaitForOneself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		other, _ := begin(t, b, pool.Config{MaxWaitTime: time.Second})
		l := testkit.Borrow(t, p)
		if _, err := other.Get(t.Context()); !errors.Is(err, pool.ErrExhausted) {
			t.Errorf("Get returned %v, want %v", err, pool.ErrExhausted)
		}
		testkit.GiveBack(t, p, l)
		atRest(t, b, 1, p, other)
	})
}

func TestABudgetThatIsInvalidIsRefusedByNew(t *testing.T) {
	var s server
	for _, max := range []int{0, -1} {
		if _, err := pool.New(s.factory(), pool.Config{Budget: pool.NewBudget(max)}); err == nil {
			t.Errorf("New accepts a budget of %d", max)
		}
		g, err := pool.NewGroup(func(string) (pool.Factory[*testkit.Wire], pool.Config, error) {
			return s.factory(), pool.Config{Budget: pool.NewBudget(max)}, nil
		}, pool.GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), ""); err == nil {
			t.Errorf("a group accepts a budget of %d", max)
		}
		g.Close()
	}
	for _, b := range []pool.Budget{pool.NewRights(nil), new(pool.Rights), (*pool.Rights)(nil)} {
		if _, err := pool.New(s.factory(), pool.Config{Budget: b}); err == nil {
			t.Error("New accepts a budget that has no rights")
		}
	}
	if _, err := pool.NewGroup(func(string) (pool.Factory[*testkit.Wire], pool.Config, error) { panic("not called") }, pool.GroupConfig{MaxConnections: -1}); err == nil {
		t.Error("NewGroup accepts a negative MaxConnections")
	}
}

func TestABudgetBelongsToItsBubble(t *testing.T) {
	b := pool.NewBudget(1)
	synctest.Test(t, func(t *testing.T) {
		var s server
		if _, err := pool.New(s.factory(), pool.Config{Budget: b}); !errors.Is(err, pool.ErrBubble) {
			t.Errorf("New returned %v, want %v", err, pool.ErrBubble)
		}
	})
}
