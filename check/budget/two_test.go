package budget

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

type accounts = pool.Group[string, *testkit.Wire]

// grouped makes a group whose pools have a budget of their own beside that of the group.
func grouped(t *testing.T, max int, c pool.Config, gs ...*gauge) *accounts {
	t.Helper()
	g, err := pool.NewGroup(func(string) (pool.Factory[*testkit.Wire], pool.Config, error) {
		return new(server).factory(gs...), c, nil
	}, pool.GroupConfig{MaxConnections: max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func take(t *testing.T, g *accounts, key string) pool.Lease[*testkit.Wire] {
	t.Helper()
	l, err := g.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get of %s: %v", key, err)
	}
	return l
}

func TestTheBoundOfAGroupHoldsOverAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all gauge
		g := grouped(t, 2, pool.Config{MaxWaitTime: time.Second}, &all)
		a, b := take(t, g, "a"), take(t, g, "b")
		if _, err := g.Get(t.Context(), "c"); !errors.Is(err, pool.ErrExhausted) {
			t.Errorf("with both leased Get returned %v, want %v", err, pool.ErrExhausted)
		}
		_ = g.Put(a)
		c := take(t, g, "c")
		if got := g.Stats(); got.ClosedBudget != 1 || got.ActiveConnections != 2 {
			t.Errorf("%d were closed for another key, want 1, and %d are leased, want 2", got.ClosedBudget, got.ActiveConnections)
		}
		_, _ = g.Put(b), g.Put(c)
		if !g.Remove("b") {
			t.Error("there is no pool of b")
		}
		synctest.Wait()
		_, _ = take(t, g, "a"), take(t, g, "c") // b's right is back
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		all.never(t, 2)
	})
}

// Of two budgets neither is held while the other is waited for: whoever needs the one alone gets it.
func TestOfTwoBudgetsNeitherIsHeldWhileTheOtherIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := pool.NewBudget(1)
		both := grouped(t, 1, pool.Config{MaxWaitTime: -1, Budget: own})
		alone, _ := begin(t, own, pool.Config{MaxWaitTime: -1})

		// The own one is used up, that of the group is free.
		l := testkit.Borrow(t, alone)
		got := make(chan pool.Lease[*testkit.Wire], 2)
		ask := func(key string) {
			go func() {
				l, err := both.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				got <- l
			}()
			synctest.Wait()
		}
		ask("a")
		p, _ := both.Pool("a")
		if s := p.Stats(); s.AwaitingBudget != 1 || s.OpeningConnections != 0 {
			t.Errorf("it stands in line for %d, want 1, and opens %d", s.AwaitingBudget, s.OpeningConnections)
		}
		if has := testkit.Inside(p).Rights(); has != 0 {
			t.Errorf("it has %d rights while it waits, want none", has)
		}
		testkit.GiveBack(t, alone, l)
		m := <-got

		// That of the group is used up, and its own.
		ask("b")
		r := testkit.Ask(t.Context(), alone)
		_ = both.Put(m)
		synctest.Wait()
		// b did not stand in the line of the own one before it got the right of the group.
		testkit.GiveBack(t, alone, r.Served(t, "the only one in the line"))
		synctest.Wait()
		select {
		case m = <-got:
		default:
			t.Fatal("b has been forgotten")
		}
		_ = both.Put(m)
		if err := both.Close(); err != nil {
			t.Error(err)
		}
		atRest(t, own, 1, alone)
	})
}

// What a pool has got of one budget, and had to give back for want of the other, was not its turn: it keeps its place.
func TestARightThatWasOfNoUseIsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := pool.NewBudget(1)
		g, err := pool.NewGroup(func(key string) (pool.Factory[*testkit.Wire], pool.Config, error) {
			c := pool.Config{MaxWaitTime: -1, OpenEagerly: true}
			if key == "both" {
				c.Budget = own
			}
			return new(server).factory(), c, nil
		}, pool.GroupConfig{MaxConnections: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		alone, _ := begin(t, own, pool.Config{MaxWaitTime: -1})
		has, l := take(t, g, "has"), testkit.Borrow(t, alone)
		end := func(p *wires, l pool.Lease[*testkit.Wire]) {
			t.Helper()
			if err := p.Discard(l, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			testkit.Sleep(time.Millisecond)
		}
		pools := map[string]*wires{}
		for _, key := range []string{"has", "both", "one", "behind"} {
			if err := g.Warm(t.Context(), key, 0); err != nil {
				t.Fatal(err)
			}
			pools[key], _ = g.Pool(key)
		}
		both := []*testkit.Request[*testkit.Wire]{testkit.Ask(t.Context(), pools["both"]), testkit.Ask(t.Context(), pools["both"])}
		testkit.Sleep(time.Millisecond)
		one := testkit.Ask(t.Context(), pools["one"])
		testkit.Sleep(time.Millisecond)
		behind := testkit.Ask(t.Context(), pools["behind"])
		testkit.Sleep(time.Millisecond)
		end(pools["has"], has)
		m := one.Served(t, "the pool before lacks a right of the other budget")
		end(alone, l)
		both[0].Pending(t, "the right of the Group is in use")
		end(pools["one"], m)
		l = both[0].Served(t, "he has waited longest, and his pool has had no turn")
		behind.Pending(t, "his pool came later")
		testkit.GiveBack(t, pools["both"], l)
	})
}

// Two groups with a common budget, and a bound of one each: each goes on in turn.
func TestPoolsWithTwoBudgetsAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all gauge
		own := pool.NewBudget(1)
		x := grouped(t, 1, pool.Config{MaxWaitTime: -1, Budget: own}, &all)
		y := grouped(t, 1, pool.Config{MaxWaitTime: -1, Budget: own}, &all)
		served := map[string]int{}
		turn := make(chan string)
		stop := make(chan struct{})
		for name, g := range map[string]*accounts{"x": x, "y": y} {
			for _, key := range []string{"1", "2"} {
				go func() {
					for {
						l, err := g.Get(t.Context(), key)
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(time.Millisecond)
						_ = g.Put(l)
						select {
						case turn <- name + key:
						case <-stop:
							return
						}
					}
				}()
			}
		}
		for range 400 {
			served[<-turn]++
		}
		close(stop)
		testkit.Sleep(time.Second)
		for _, who := range []string{"x1", "x2", "y1", "y2"} {
			if n := served[who]; n < 50 {
				t.Errorf("served were %v: %s was forgotten", served, who)
			}
		}
		_, _ = x.Close(), y.Close()
		synctest.Wait()
		all.never(t, 1)
		allBack(t, own, 1)
	})
}
