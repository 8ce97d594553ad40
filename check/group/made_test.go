package group

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestOpenIsCalledOnceHoweverManyAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(string, int) error { time.Sleep(time.Second); return nil }, config: pool.Config{MaxConnections: 50}}
		g := start(t, a, pool.GroupConfig{})
		var asked []*request
		for range 50 {
			asked = append(asked, ask(t.Context(), g, "a"))
		}
		if has(g, "a") {
			t.Error("the key has a pool before open has returned")
		}
		for _, r := range asked {
			<-r.done
			if r.err != nil || r.took != time.Second {
				t.Fatalf("Get returned %v after %v, want a lease after the second that open takes", r.err, r.took)
			}
			giveBack(t, g, r.lease)
		}
		if got := a.called("a"); got != 1 {
			t.Errorf("open was called %d times, want once", got)
		}
	})
}

func TestACallerWhoseCtxEndsLeavesTheOpenToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(string, int) error { time.Sleep(time.Minute); return nil }}
		g := start(t, a, pool.GroupConfig{})
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		short, long := ask(ctx, g, "a"), ask(t.Context(), g, "a")
		<-short.done
		if short.took != time.Second || !errors.Is(short.err, context.DeadlineExceeded) || !errors.Is(short.err, cause) {
			t.Errorf("Get returned %v after %v, want the end of its ctx, with its cause, after 1s", short.err, short.took)
		}
		<-long.done
		if long.err != nil {
			t.Fatalf("the other Get returned %v", long.err)
		}
		giveBack(t, g, long.lease)
		// Nobody has the pool in hand any more: it goes when it is unused.
		testkit.Sleep(2 * time.Minute)
		if has(g, "a") {
			t.Error("the pool is kept although it is not used")
		}
	})
}

func TestAPoolForWhichNobodyWaitsAnyMoreIsKeptForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{open: func(string, int) error { time.Sleep(2 * time.Second); return nil }}
		g := start(t, a, pool.GroupConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		<-ask(ctx, g, "a").done
		testkit.Sleep(2 * time.Second)
		visit(t, g, "a")
		if got := a.called("a"); got != 1 {
			t.Errorf("open was called %d times, want once", got)
		}
	})
}

func TestACtxThatHasEndedMakesNoPool(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get returned %v, want the end of its ctx", err)
	}
	if got := a.called("a"); got != 0 {
		t.Errorf("open was called %d times, want never", got)
	}
}

func TestWhatOpenFailsWithIsToldToAllAndNothingIsKept(t *testing.T) {
	want := errors.New("no such account")
	for name, fail := range map[string]func() error{
		"error": func() error { return want },
		"panic": func() error { panic(want) },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			a := &accounts{open: func(_ string, call int) error {
				time.Sleep(time.Second)
				if call == 1 {
					return fail()
				}
				return nil
			}}
			g := start(t, a, pool.GroupConfig{})
			asked := []*request{ask(t.Context(), g, "a"), ask(t.Context(), g, "a"), ask(t.Context(), g, "a")}
			for _, r := range asked {
				if <-r.done; !errors.Is(r.err, want) {
					t.Errorf("Get returned %v, want %v", r.err, want)
				}
			}
			if has(g, "a") {
				t.Error("the key has a pool")
			}
			visit(t, g, "a")
			if got := a.called("a"); got != 2 {
				t.Errorf("open was called %d times, want twice", got)
			}
		})
	}
}

func TestAnOpenThatEndsItsGoroutineIsAnError(t *testing.T) {
	a := &accounts{open: func(string, int) error { runtime.Goexit(); return nil }}
	g := start(t, a, pool.GroupConfig{})
	if _, err := g.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "Goexit") {
		t.Errorf("Get returned %v, want an error that names runtime.Goexit", err)
	}
}

func TestWhatNewRefusesIsToldToTheCaller(t *testing.T) {
	a := &accounts{config: pool.Config{MaxConnections: -1}}
	g := start(t, a, pool.GroupConfig{})
	if _, err := g.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "MaxConnections") {
		t.Errorf("Get returned %v, want the field that is invalid", err)
	}
	if has(g, "a") {
		t.Error("the key has a pool")
	}
}

func TestKeysUnequalToThemselvesAreRefused(t *testing.T) {
	type place struct {
		name string
		x    float64
	}
	calls := 0
	g, err := pool.NewGroup(func(place) (pool.Factory[*testkit.Wire], pool.Config, error) {
		calls++
		return new(testkit.Exchange).Factory(), pool.Config{}, nil
	}, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	nan := place{"a", math.NaN()}
	if _, err := g.Get(t.Context(), nan); err == nil {
		t.Error("Get has lent something")
	}
	if err := g.Do(t.Context(), nan, func(context.Context, *testkit.Wire) error { return nil }); err == nil {
		t.Error("Do has returned no error")
	}
	if err := g.Warm(t.Context(), nan, 1); err == nil {
		t.Error("Warm has returned no error")
	}
	_, tried := g.TryGet(nan)
	_, found := g.Pool(nan)
	if tried || found || g.Remove(nan) || calls != 0 {
		t.Errorf("TryGet %v, Pool %v, open called %d times; want none of it", tried, found, calls)
	}
}

func TestTryGetMakesNoPool(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	if _, ok := g.TryGet("a"); ok || a.called("a") != 0 {
		t.Errorf("TryGet returned %v and open was called %d times, want neither", ok, a.called("a"))
	}
	visit(t, g, "a")
	l, ok := g.TryGet("a")
	if !ok {
		t.Fatal("TryGet finds nothing, want the idle connection")
	}
	giveBack(t, g, l)
}

func TestWarmMakesThePoolAndOpensConnections(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	if err := g.Warm(t.Context(), "a", 3); err != nil {
		t.Fatal(err)
	}
	if s := g.Stats(); s.IdleConnections != 3 {
		t.Errorf("%d are idle, want 3", s.IdleConnections)
	}
}

func TestDoPutsDiscardsAndKnowsItsPool(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	for range 2 { // without a pool, and with one
		if err := g.Do(t.Context(), "a", func(_ context.Context, w *testkit.Wire) error {
			if w.Number != 1 {
				t.Errorf("connection %d, want the first", w.Number)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := errors.New("late reply")
	if err := g.Do(t.Context(), "a", func(context.Context, *testkit.Wire) error { return want }); err != want {
		t.Errorf("Do returned %v, want %v", err, want)
	}
	if s := g.Stats(); s.ClosedDiscard != 1 || s.Gets != 3 {
		t.Errorf("%d discarded after %d leases, want 1 after 3", s.ClosedDiscard, s.Gets)
	}
}

func TestALeaseOfAnotherGroupOrPoolIsRefused(t *testing.T) {
	a := new(accounts)
	g, other := start(t, a, pool.GroupConfig{}), start(t, a, pool.GroupConfig{})
	p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{})
	for name, l := range map[string]pool.Lease[*testkit.Wire]{"zero": {}, "of a pool": testkit.Borrow(t, p), "of a group": borrow(t, other, "a")} {
		_, detached := g.Detach(l)
		for what, err := range map[string]error{"Put": g.Put(l), "PutUnused": g.PutUnused(l), "Discard": g.Discard(l, nil), "Detach": detached} {
			if err != pool.ErrNotLeased {
				t.Errorf("%s of a lease %s returned %v, want ErrNotLeased", what, name, err)
			}
		}
	}
	l := borrow(t, g, "b")
	own, _ := g.Pool("b")
	if err := own.Put(l); err != nil {
		t.Errorf("Put of its own pool returned %v", err)
	}
	for what, end := range map[string]func(pool.Lease[*testkit.Wire]) error{
		"PutUnused": g.PutUnused,
		"Discard":   func(l pool.Lease[*testkit.Wire]) error { return g.Discard(l, nil) },
		"Detach":    func(l pool.Lease[*testkit.Wire]) error { _, err := g.Detach(l); return err },
	} {
		l := borrow(t, g, "b")
		if err := end(l); err != nil {
			t.Errorf("%s returned %v", what, err)
		}
		if err := g.Put(l); err != pool.ErrNotLeased {
			t.Errorf("Put after %s returned %v, want ErrNotLeased", what, err)
		}
	}
}

func TestThePlaceOfALeaseIsWhereTheGroupWasAsked(t *testing.T) {
	for _, way := range []string{"Get", "Get of a new key", "Do", "Do of a new key"} {
		a := &accounts{config: pool.Config{LeakAfter: time.Hour}}
		g := start(t, a, pool.GroupConfig{})
		key := "a"
		if !strings.Contains(way, "new") {
			if err := g.Warm(t.Context(), key, 1); err != nil { // idle, and never lent: the first lease is noted
				t.Fatal(err)
			}
		}
		where := func() string {
			p, _ := g.Pool(key)
			leases := p.Leases()
			if len(leases) != 1 {
				t.Fatalf("%s: %d leases, want 1", way, len(leases))
			}
			return leases[0].Where
		}
		var got string
		if strings.HasPrefix(way, "Get") {
			l := borrow(t, g, key)
			got = where()
			giveBack(t, g, l)
			if !strings.Contains(got, "group.borrow ") {
				t.Errorf("%s: the lease was taken by %q, want borrow", way, got)
			}
			continue
		}
		if err := g.Do(t.Context(), key, func(context.Context, *testkit.Wire) error { got = where(); return nil }); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, "TestThePlaceOfALease") {
			t.Errorf("%s: the lease was taken by %q, want this test", way, got)
		}
	}
}
