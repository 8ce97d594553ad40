package budget

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

type wires = pool.Pool[*testkit.Wire]

// A caller that has been served, of one of several pools.
type caller struct {
	of    string
	lease pool.Lease[*testkit.Wire]
	err   error
}

// ask has n callers ask a pool, who say so on served when they have a lease.
func ask(p *wires, name string, n int, served chan<- caller) {
	for range n {
		go func() {
			l, err := p.Get(context.Background())
			served <- caller{name, l, err}
		}()
	}
	synctest.Wait()
}

// Rights go to pools in turn, whatever the number of their callers.
func TestPoolsStandInLineAndNotTheirCallers(t *testing.T) {
	for _, n := range []int{1, 1000} {
		testkit.Bubble(t, fmt.Sprint(n), func(t *testing.T) {
			b := pool.NewBudget(3)
			c := pool.Config{MaxConnections: 2000, OpenEagerly: true, MaxWaitTime: -1}
			holder, _ := begin(t, b, c)
			many, _ := begin(t, b, c)
			one, _ := begin(t, b, c)
			another, _ := begin(t, b, c)
			var leases []pool.Lease[*testkit.Wire]
			for range 3 {
				leases = append(leases, testkit.Borrow(t, holder))
			}
			served := make(chan caller, 2000)
			ask(many, "many", n, served)
			testkit.Sleep(time.Millisecond)
			ask(one, "one", 1, served)
			testkit.Sleep(time.Millisecond)
			ask(another, "another", 1, served)
			if got := many.Stats(); got.AwaitingBudget != n || got.OpeningConnections != 0 {
				t.Errorf("it stands in line for %d, want %d, and opens %d, want none", got.AwaitingBudget, n, got.OpeningConnections)
			}
			var order []string
			held := map[string][]pool.Lease[*testkit.Wire]{}
			for _, l := range leases {
				testkit.GiveBack(t, holder, l)
				synctest.Wait()
				w := <-served
				if w.err != nil {
					t.Fatal(w.err)
				}
				order = append(order, w.of)
				held[w.of] = append(held[w.of], w.lease)
			}
			if want := []string{"many", "one", "another"}; !slices.Equal(order, want) {
				t.Errorf("served were %v, want %v", order, want)
			}
			// The others of the first pool are served by what comes back.
			for of, p := range map[string]*wires{"one": one, "another": another} {
				testkit.GiveBack(t, p, held[of][0])
			}
			testkit.GiveBack(t, many, held["many"][0])
			for range n - 1 {
				w := <-served
				testkit.GiveBack(t, many, w.lease)
			}
			atRest(t, b, 3, holder, many, one, another)
		})
	}
}

// A pool that is never idle gives way to one that came before those who wait in it, and goes on
// when it is its turn again.
func TestAPoolThatIsNeverIdleGivesWay(t *testing.T) {
	for _, callers := range []int{2, 1000} {
		testkit.Bubble(t, fmt.Sprint(callers), func(t *testing.T) {
			b := pool.NewBudget(1)
			c := pool.Config{MaxConnections: 2000, MaxWaitTime: -1, OpenEagerly: true}
			busy, _ := begin(t, b, c)
			shy, _ := begin(t, b, c)
			const rounds = 20
			var served atomic.Int64
			asked := make(chan struct{})
			stop := make(chan struct{})
			done := make(chan struct{}, callers)
			var came []int // how often busy was served between two turns of shy
			for range callers {
				go func() {
					defer func() { done <- struct{}{} }()
					for {
						select {
						case <-stop:
							return
						default:
						}
						l, err := busy.Get(context.Background())
						if err != nil {
							t.Error(err)
							return
						}
						served.Add(1)
						time.Sleep(time.Millisecond)
						if err := busy.Put(l); err != nil {
							t.Error(err)
						}
					}
				}()
			}
			synctest.Wait()
			go func() {
				defer close(asked)
				for range rounds {
					time.Sleep(10 * time.Millisecond)
					before := served.Load()
					l, err := shy.Get(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					came = append(came, int(served.Load()-before))
					if err := shy.Put(l); err != nil {
						t.Error(err)
					}
				}
			}()
			<-asked
			close(stop)
			for range callers {
				<-done
			}
			for i, n := range came {
				if n > callers+1 { // those who were there already, and one who had it
					t.Errorf("in round %d the other pool was served %d times before, of %d callers who came earlier", i, n, callers)
				}
			}
			if len(came) != rounds {
				t.Errorf("it was served %d times of %d", len(came), rounds)
			}
			atRest(t, b, 1, busy, shy)
		})
	}
}

// Pools with as many callers each share what there is: none is served twice as often.
func TestBusyPoolsShareTheBudget(t *testing.T) {
	for _, callers := range []int{3, 1000} {
		testkit.Bubble(t, fmt.Sprint(callers), func(t *testing.T) {
			b := pool.NewBudget(4)
			c := pool.Config{MaxConnections: 2000, MaxWaitTime: -1}
			var pools [3]*wires
			var served [3]atomic.Int64
			stop := make(chan struct{})
			var all sync.WaitGroup
			for i := range pools {
				pools[i], _ = begin(t, b, c)
			}
			for i, p := range pools {
				for range callers {
					all.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							l, err := p.Get(context.Background())
							if err != nil {
								t.Error(err)
								return
							}
							time.Sleep(time.Millisecond)
							served[i].Add(1)
							if err := p.Put(l); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			testkit.Sleep(10 * time.Second)
			close(stop)
			all.Wait()
			var n []int64
			var closed uint64
			for i, p := range pools {
				n = append(n, served[i].Load())
				closed += p.Stats().ClosedBudget
			}
			if slices.Max(n) > 2*slices.Min(n) {
				t.Errorf("the pools were served %v times", n)
			}
			t.Logf("served %v, %d connections were closed for another pool", n, closed)
			atRest(t, b, 4, pools[:]...)
		})
	}
}

// A pool that may open one at a time asks for one right at a time: when it has got one, it is the turn of others.
func TestAPoolThatHasGotARightStandsBehindThoseWhoCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		holder, _ := begin(t, b, pool.Config{})
		first, _ := begin(t, b, pool.Config{MaxOpening: 1, MaxWaitTime: -1})
		second, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		l, m := testkit.Borrow(t, holder), testkit.Borrow(t, holder)
		a := testkit.Ask(t.Context(), first)
		again := testkit.Ask(t.Context(), first)
		testkit.Sleep(time.Millisecond)
		other := testkit.Ask(t.Context(), second)
		testkit.Sleep(time.Millisecond)
		testkit.GiveBack(t, holder, l)
		l = a.Served(t, "first come")
		testkit.GiveBack(t, holder, m)
		m = other.Served(t, "second come")
		again.Pending(t, "its pool has had its turn")
		testkit.GiveBack(t, second, m)
		testkit.GiveBack(t, first, again.Served(t, "its turn has come again"))
		testkit.GiveBack(t, first, l)
		atRest(t, b, 2, holder, first, second)
	})
}

// Who has to wait on, because another pool came first, keeps its place among those of its own pool.
func TestWhoWaitsForAnotherPoolKeepsItsPlace(t *testing.T) {
	for name, put := range map[string]func(*wires, pool.Lease[*testkit.Wire]) error{
		"Put":    func(p *wires, l pool.Lease[*testkit.Wire]) error { return p.Put(l) },
		"PutFor": func(p *wires, l pool.Lease[*testkit.Wire]) error { return p.PutFor(l, time.Hour) },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			b := pool.NewBudget(1)
			p, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
			other, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
			l := testkit.Borrow(t, p)
			asker := testkit.Ask(t.Context(), other)
			testkit.Sleep(time.Millisecond)
			first := testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Millisecond)
			second := testkit.Ask(t.Context(), p)
			if err := put(p, l); err != nil {
				t.Fatal(err)
			}
			m := asker.Served(t, "first come")
			testkit.GiveBack(t, other, m)
			l = first.Served(t, "second come")
			second.Pending(t, "another one of its pool came first")
			testkit.GiveBack(t, p, l)
			testkit.GiveBack(t, p, second.Served(t, "third come"))
			atRest(t, b, 1, p, other)
		})
	}
}

// The place of a pool is that of who has waited longest in it, also if it comes to the line later: it has opened
// another one until then.
func TestThePlaceOfAPoolIsThatOfItsOldestCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		holder, _ := begin(t, b, pool.Config{})
		first, s := begin(t, b, pool.Config{MaxOpening: 1, MaxWaitTime: -1})
		second, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		s.open = func(ctx context.Context) error { return testkit.Pause(ctx, 50*time.Millisecond) }
		h := testkit.Borrow(t, holder)
		a := testkit.Ask(t.Context(), first)
		testkit.Sleep(time.Millisecond)
		early := testkit.Ask(t.Context(), first)
		testkit.Sleep(time.Millisecond)
		late := testkit.Ask(t.Context(), second)
		testkit.Sleep(100 * time.Millisecond)
		l := a.Served(t, "there was a right")
		testkit.GiveBack(t, holder, h)
		testkit.Sleep(100 * time.Millisecond)
		m := early.Served(t, "it came first")
		late.Pending(t, "another one came first")
		testkit.GiveBack(t, first, l)
		testkit.GiveBack(t, second, late.Served(t, "second come"))
		testkit.GiveBack(t, first, m)
		atRest(t, b, 2, holder, first, second)
	})
}

func TestAPoolThatIsClosedLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		closed, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), closed)
		closed.Close()
		r.Failed(t, "its pool is closed", pool.ErrClosed)
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		if got := p.Stats(); got.ClosedBudget != 0 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for a pool that is closed, want none, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
		atRest(t, b, 1, p)
	})
}

// What has been idle longest in any other pool is closed, and nothing else.
func TestTheOldestIdleConnectionOfAnotherPoolIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(4)
		first, fs := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		second, ss := begin(t, b, pool.Config{MaxIdleTime: time.Hour})
		asker, _ := begin(t, b, pool.Config{})
		f1, f2 := testkit.Borrow(t, first), testkit.Borrow(t, first)
		s1, s2 := testkit.Borrow(t, second), testkit.Borrow(t, second)
		for _, l := range []struct {
			p *wires
			l pool.Lease[*testkit.Wire]
		}{{second, s1}, {first, f1}, {first, f2}, {second, s2}} {
			testkit.GiveBack(t, l.p, l.l)
			testkit.Sleep(3 * time.Second)
		}
		var open []pool.Lease[*testkit.Wire]
		for i, want := range []*testkit.Wire{s1.Value(), f1.Value(), f2.Value(), s2.Value()} {
			open = append(open, testkit.Ask(t.Context(), asker).Served(t, "while something is idle elsewhere"))
			synctest.Wait()
			closed := 0
			for _, w := range append(fs.Opened(), ss.Opened()...) {
				closed += len(w.ClosedWith())
			}
			if len(want.ClosedWith()) != 1 || closed != i+1 {
				t.Errorf("after %d more are open, %d are closed, and the one that was idle longest %d times", i+1, closed, len(want.ClosedWith()))
			}
		}
		if f, s := first.Stats(), second.Stats(); f.ClosedBudget != 2 || s.ClosedBudget != 2 || f.IdleConnections+s.IdleConnections != 0 {
			t.Errorf("closed for another pool: %d and %d, want 2 and 2", f.ClosedBudget, s.ClosedBudget)
		}
		for _, l := range open {
			testkit.GiveBack(t, asker, l)
		}
		atRest(t, b, 4, first, second, asker)
	})
}

// Those who wait in a pool are served before another pool that came later.
func TestThoseWhoWaitInAPoolComeBeforeALaterPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, _ := begin(t, b, pool.Config{})
		other, _ := begin(t, b, pool.Config{})
		l := testkit.Borrow(t, p)
		early := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		asker := testkit.Ask(t.Context(), other)
		testkit.Sleep(time.Millisecond)
		late := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, l)
		l = early.Served(t, "first come")
		asker.Pending(t, "another came first")
		testkit.GiveBack(t, p, l)
		m := asker.Served(t, "second come")
		late.Pending(t, "two came first")
		if got := p.Stats(); got.ClosedBudget != 1 || got.AwaitingBudget != 1 {
			t.Errorf("closed for the other pool: %d, want 1, and awaiting %d, want 1", got.ClosedBudget, got.AwaitingBudget)
		}
		testkit.GiveBack(t, other, m)
		testkit.GiveBack(t, p, late.Served(t, "third come"))
		atRest(t, b, 1, p, other)
	})
}

// MinIdle and Warm take what is free, and nothing from others.
func TestMinIdleAndWarmTakeWhatIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		first, _ := begin(t, b, pool.Config{MinIdle: 2})
		second, _ := begin(t, b, pool.Config{MinIdle: 2})
		testkit.Sleep(10 * time.Second)
		f, s := first.Stats(), second.Stats()
		if f.IdleConnections+s.IdleConnections != 2 || f.ClosedBudget+s.ClosedBudget != 0 || f.Opened+s.Opened != 2 {
			t.Errorf("%d are idle, %d have been closed, %d opened; want 2, none, 2", f.IdleConnections+s.IdleConnections, f.ClosedBudget+s.ClosedBudget, f.Opened+s.Opened)
		}
		third, _ := begin(t, b, pool.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := third.Warm(ctx, 1); err == nil {
			t.Error("Warm has taken a right that was not free")
		}
		// It is told when one is free.
		warmed := make(chan error, 1)
		go func() { warmed <- third.Warm(t.Context(), 1) }()
		synctest.Wait()
		first.Close()
		second.Close() // it hopes, too, if the first had both
		synctest.Wait()
		select {
		case err := <-warmed:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("Warm has not been told that a right is free")
		}
		atRest(t, b, 2, third)
	})
}

// A pool that needs a right later than others takes the place of its oldest caller, and one that has had its turn stays
// behind those whose turn it is, also when it gives way to that one.
func TestAPoolComesToTheLineInThePlaceOfItsOldestCallerAndGoesToTheEndAfterItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(2)
		c := pool.Config{MaxConnections: 10, MaxWaitTime: -1}
		holder, _ := begin(t, b, c)
		turned, _ := begin(t, b, c)
		behind, _ := begin(t, b, c)
		full, _ := begin(t, b, pool.Config{MaxConnections: 1, MaxWaitTime: -1})
		l, m := testkit.Borrow(t, holder), testkit.Borrow(t, full)
		testkit.Sleep(time.Millisecond)
		oldest := testkit.Ask(t.Context(), full) // needs no right: the pool is full
		testkit.Sleep(time.Millisecond)
		first, second := testkit.Ask(t.Context(), turned), testkit.Ask(t.Context(), turned)
		testkit.Sleep(time.Millisecond)
		third := testkit.Ask(t.Context(), behind)
		testkit.Sleep(time.Millisecond)
		if err := holder.Discard(l, nil); err != nil {
			t.Fatal(err)
		}
		l = first.Served(t, "first in the line")
		testkit.Sleep(time.Millisecond)
		if err := full.Resize(2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		testkit.GiveBack(t, turned, l)
		n := oldest.Served(t, "he has waited longest of all")
		second.Pending(t, "his pool has given way")
		if err := full.Discard(n, nil); err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, behind, third.Served(t, "the other pool has had its turn since he came"))
		testkit.GiveBack(t, turned, second.Served(t, "last in the line"))
		testkit.GiveBack(t, full, m)
		atRest(t, b, 2, holder, turned, behind, full)
	})
}

// When the oldest caller of a pool leaves, the pool has the place of the next one.
func TestAPoolHasThePlaceOfItsOldestCallerWhoIsStillThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		c := pool.Config{MaxWaitTime: -1}
		holder, _ := begin(t, b, c)
		p, _ := begin(t, b, c)
		q, _ := begin(t, b, c)
		l := testkit.Borrow(t, holder)
		ctx, leave := context.WithCancel(t.Context())
		first := testkit.Ask(ctx, p)
		testkit.Sleep(time.Millisecond)
		second := testkit.Ask(t.Context(), q)
		testkit.Sleep(time.Millisecond)
		third := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		leave()
		first.Failed(t, "its ctx has ended", context.Canceled)
		testkit.GiveBack(t, holder, l)
		l = second.Served(t, "the first one has left")
		third.Pending(t, "another one came before")
		testkit.GiveBack(t, q, l)
		testkit.GiveBack(t, p, third.Served(t, "in his turn"))
		atRest(t, b, 1, holder, p, q)
	})
}

// Nor does it get the right that it gives up, if it lacks as many as before.
func TestAPoolDoesNotGetTheRightThatItGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(1)
		p, s := begin(t, b, pool.Config{MaxWaitTime: -1, MaxOpening: 1})
		q, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		l := testkit.Borrow(t, p)
		ctx, leave := context.WithCancel(t.Context())
		first := testkit.Ask(ctx, p)
		testkit.Sleep(time.Millisecond)
		second := testkit.Ask(t.Context(), q)
		testkit.Sleep(time.Millisecond)
		later := []*testkit.Request[*testkit.Wire]{testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)}
		leave()
		first.Failed(t, "its ctx has ended", context.Canceled)
		if got := p.Stats().AwaitingBudget; got != 1 {
			t.Errorf("it stands in line for %d, want 1 at a time", got)
		}
		testkit.GiveBack(t, p, l)
		l = second.Served(t, "he came before those who are still there")
		testkit.GiveBack(t, q, l)
		for _, r := range later {
			testkit.GiveBack(t, p, r.Served(t, "in their turn"))
		}
		if got := len(s.Opened()); got != 2 {
			t.Errorf("%d were opened, want 2", got)
		}
		atRest(t, b, 1, p, q)
	})
}

// As many connections are closed for a pool as it lacks, at the same time.
func TestAsManyAreClosedAtOnceAsAPoolLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewBudget(3)
		p, s := begin(t, b, pool.Config{MaxWaitTime: -1})
		q, _ := begin(t, b, pool.Config{MaxWaitTime: -1})
		testkit.Fill(t, p, 3)
		closed := slowlyClosed(t, s)
		first, second := testkit.Ask(t.Context(), q), testkit.Ask(t.Context(), q)
		if got := p.Stats(); got.ClosedBudget != 2 || got.IdleConnections != 1 {
			t.Errorf("%d are being closed for two callers, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
		closed()
		testkit.GiveBack(t, q, first.Served(t, "there is a right"))
		testkit.GiveBack(t, q, second.Served(t, "there is another"))
		atRest(t, b, 3, p, q)
	})
}
