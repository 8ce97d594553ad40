//go:build explore

package schedules

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/group"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A shelf is a group in an exploration. Its function returns only when the schedule says so.
type shelf struct {
	*explore.Run
	g     *pool.Group[string, *testkit.Wire]
	in    *group.Group[string, pool.Pool[*testkit.Wire]]
	fail  func(key string, call int) error // what the function returns; nil: never an error
	calls map[string]int                   // of the function
	stale map[string]int                   // calls that had begun before a Remove that has returned
	made  []*volume
	held  map[*testkit.Wire]string // by whom
	ended bool                     // Close or Shutdown has returned
}

// A volume is what one call of the function has returned.
type volume struct {
	testkit.Exchange
	key  string
	call int
}

func (v *volume) name() string { return fmt.Sprint(v.key, v.call) }

func newShelf(r *explore.Run, c pool.Config, gc pool.GroupConfig) *shelf {
	s := &shelf{Run: r, calls: map[string]int{}, stale: map[string]int{}, held: map[*testkit.Wire]string{}}
	g, err := pool.NewGroup(func(key string) (pool.Factory[*testkit.Wire], pool.Config, error) {
		s.calls[key]++
		v := &volume{key: key, call: s.calls[key]}
		r.Point("the function returns")
		if s.fail != nil {
			if err := s.fail(key, v.call); err != nil {
				return pool.Factory[*testkit.Wire]{}, c, err
			}
		}
		s.made = append(s.made, v)
		c := c
		c.Name = v.name()
		return v.Factory(), c, nil
	}, gc)
	if err != nil {
		r.Fatalf("NewGroup: %v", err)
	}
	s.g, s.in = g, testkit.Group(g)
	r.Cleanup(func() { g.Close() })
	stopAtPoints(r)
	r.Always(func() {
		if n := s.in.Size(); gc.MaxPools > 0 && n > gc.MaxPools {
			s.Errorf("there are %d pools, and %d may be", n, gc.MaxPools)
		}
	})
	return s
}

// get is a Get. What it returns is of no call that had begun before a Remove that had returned
// before the Get.
func (s *shelf) get(name string, ctx context.Context, key string) (pool.Lease[*testkit.Wire], error) {
	stale, ended := s.stale[key], s.ended
	l, err := s.g.Get(ctx, key)
	if err != nil {
		return l, err
	}
	if ended {
		s.Errorf("%s was lent something by a closed group", name)
	}
	for _, v := range s.made {
		for _, w := range v.Wires {
			if w == l.Value() && (v.key != key || v.call <= stale) {
				s.Errorf("%s was lent a connection of %s after Remove had returned", name, v.name())
			}
		}
	}
	if other := s.held[l.Value()]; other != "" {
		s.Errorf("%s and %s were lent the same connection", other, name)
	}
	s.held[l.Value()] = name
	return l, nil
}

func (s *shelf) put(l pool.Lease[*testkit.Wire]) {
	delete(s.held, l.Value())
	if err := s.g.Put(l); err != nil {
		s.Errorf("Put: %v", err)
	}
}

// visit is a Get and a Put. The Get may fail with one of those errors.
func (s *shelf) visit(name string, ctx context.Context, key string, errs ...error) {
	l, err := s.get(name, ctx, key)
	if err == nil {
		s.put(l)
		return
	}
	for _, e := range errs {
		if errors.Is(err, e) {
			return
		}
	}
	s.Errorf("%s: Get: %v", name, err)
}

func (s *shelf) visitor(name, key string, errs ...error) {
	s.Go(name, func() { s.visit(name, background, key, errs...) })
}

func (s *shelf) remover(key string) { s.Go("remover", func() { s.remove(key) }) }

func (s *shelf) remove(key string) {
	begun := s.calls[key]
	s.g.Remove(key)
	s.stale[key] = max(s.stale[key], begun)
}

// lend gets a connection before the schedule begins.
func (s *shelf) lend(key string) pool.Lease[*testkit.Wire] {
	l, err := s.get("setup", background, key)
	if err != nil {
		s.Fatalf("Get: %v", err)
	}
	synctest.Wait()
	return l
}

// visited makes the pool of a key, with an idle connection.
func (s *shelf) visited(key string) { s.put(s.lend(key)) }

// emptied makes the pool of a key, without a connection.
func (s *shelf) emptied(key string) {
	l := s.lend(key)
	delete(s.held, l.Value())
	if err := s.g.Discard(l, nil); err != nil {
		s.Fatalf("Discard: %v", err)
	}
	synctest.Wait()
}

// rests checks at the end of the schedule that the group is at rest, and its pools, and that of
// those that are gone nothing is open.
func (s *shelf) rests() {
	s.End(func() {
		for _, fault := range s.in.Faults() {
			s.Errorf("%s", fault)
		}
		open := map[string]int{}
		for key, p := range s.g.All() {
			testkit.AtRest(s, p, 0)
			if _, twice := open[p.Name()]; twice || key != p.Name()[:len(key)] {
				s.Errorf("the pool of %s is %s", key, p.Name())
			}
			open[p.Name()] = p.Stats().IdleConnections
		}
		for _, v := range s.made {
			n := 0
			for _, w := range v.Wires {
				if len(w.Closes) == 0 {
					n++
				} else if len(w.Closes) > 1 {
					s.Errorf("a connection of %s was closed %d times", v.name(), len(w.Closes))
				}
			}
			if n != open[v.name()] {
				s.Errorf("of %s %d connections are open, and its pool, if it has one, counts %d", v.name(), n, open[v.name()])
			}
		}
	})
}

// unused is the configuration in which a pool goes when it is removed, and not before.
var unused = pool.GroupConfig{IdleTime: -1}

// The tender's look, and a Get that uses the pool at which it looks: see group.Tender.
func TestExploreAUseAgainstALook(t *testing.T) {
	for name, users := range map[string][]string{"one": {"a"}, "two of one pool": {"a", "a"}, "two of two": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				// Two connections: with one, the second visitor would wait until the first has touched.
				s := newShelf(r, timeless(2), pool.GroupConfig{MaxPools: 3, IdleTime: -1})
				s.visited("b")
				time.Sleep(10 * time.Second) // nobody looks any more
				s.visited("a")
				r.Clock(time.Second, 1)
				for i, key := range users {
					s.visitor(fmt.Sprint("visitor ", i), key)
				}
				s.rests()
			})
		})
	}
}

// The pool has nothing, and its time is over when somebody asks for it.
func TestExploreAUseAgainstTheEndOfAnUnusedPool(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), pool.GroupConfig{IdleTime: 8 * time.Second})
		s.emptied("a")
		time.Sleep(3 * time.Second) // it has been looked at after one, and will be after nine
		r.Clock(6*time.Second, 1)
		s.visitor("visitor", "a")
		s.rests()
	})
}

func TestExploreRemoveAgainstAnUnusedPool(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), pool.GroupConfig{IdleTime: 8 * time.Second})
		s.emptied("a")
		time.Sleep(3 * time.Second)
		r.Clock(6*time.Second, 1)
		s.remover("a")
		s.rests()
		s.End(func() {
			if n := s.in.Size(); n != 0 {
				s.Errorf("%d pools are left", n)
			}
		})
	})
}

// Whoever comes is served: by the pool that is removed, or by the one after it.
func TestExploreRemoveAgainstAGet(t *testing.T) {
	for name, before := range map[string]func(*shelf){
		"of an idle connection": func(s *shelf) { s.visited("a") },
		"of an empty pool":      func(s *shelf) { s.emptied("a") },
		"that makes the pool":   func(s *shelf) {},
	} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := newShelf(r, timeless(1), unused)
				before(s)
				s.visitor("visitor", "a")
				s.remover("a")
				s.rests()
			})
		})
	}
}

// What had been begun before the Remove is not for whoever comes after it.
func TestExploreAGetAfterRemove(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), unused)
		s.visitor("visitor", "a")
		s.Go("remover", func() {
			s.Point("remove")
			s.remove("a")
			s.visit("remover", background, "a")
		})
		s.rests()
	})
}

func TestExploreRemoveAgainstTwoGets(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), unused)
		s.visited("a")
		s.visitor("visitor 0", "a")
		s.visitor("visitor 1", "a")
		s.remover("a")
		s.rests()
	})
}

// One waits in the pool for the lease of another.
func TestExploreRemoveAgainstAWaiterAndAPut(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), unused)
		l := s.lend("a")
		s.Begin("waiter", func() { s.visit("waiter", background, "a") })
		s.Go("putter", func() { s.put(l) })
		s.remover("a")
		s.rests()
	})
}

// There is room for one pool. Whoever finds no room is refused.
func TestExploreAGetOfWhatMakesRoom(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), pool.GroupConfig{MaxPools: 1, IdleTime: -1})
		s.visited("a")
		s.visitor("visitor of a", "a", pool.ErrRejected)
		s.visitor("visitor of b", "b", pool.ErrRejected)
		s.rests()
	})
}

// None goes for one that is not made.
func TestExploreNothingMakesRoomForAFailure(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), pool.GroupConfig{MaxPools: 1, IdleTime: -1})
		s.visited("a")
		s.fail = func(key string, _ int) error { return testkit.ErrDial }
		s.visitor("visitor of a", "a")
		s.visitor("visitor of b", "b", testkit.ErrDial, pool.ErrRejected)
		s.rests()
	})
}

// Two wait for a pool that is made for one, and the other's ctx ends.
func TestExploreCtxEndsWhileAPoolIsMade(t *testing.T) {
	for name, fails := range map[string]bool{"": false, "that fails": true} {
		t.Run(name, func(t *testing.T) {
			explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
				s := newShelf(r, timeless(1), pool.GroupConfig{MaxPools: 1, IdleTime: -1})
				if fails {
					s.fail = func(_ string, call int) error {
						if call == 1 {
							return testkit.ErrDial
						}
						return nil
					}
				}
				ctx, cancel := context.WithCancel(background)
				s.Cleanup(cancel)
				s.Go("canceler", func() {
					s.Point("cancel")
					cancel()
				})
				s.Go("impatient", func() { s.visit("impatient", ctx, "a", context.Canceled, testkit.ErrDial) })
				s.visitor("visitor", "a", testkit.ErrDial)
				s.rests()
			})
		})
	}
}

// ender is a goroutine that ends the group.
func (s *shelf) ender(end func() error) {
	s.Go("ender", func() {
		if err := end(); err != nil {
			s.Errorf("the end of the group: %v", err)
		}
		s.ended = true
	})
}

func TestExploreTheEndOfAGroupAgainstAGet(t *testing.T) {
	for name, before := range map[string]func(*shelf){
		"of an idle connection": func(s *shelf) { s.visited("a") },
		"of an empty pool":      func(s *shelf) { s.emptied("a") },
		"that makes the pool":   func(s *shelf) {},
	} {
		for how, end := range map[string]func(*shelf) error{
			"Close":    func(s *shelf) error { return s.g.Close() },
			"Shutdown": func(s *shelf) error { return s.g.Shutdown(background) },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
					s := newShelf(r, timeless(1), unused)
					before(s)
					s.visitor("visitor", "a", pool.ErrClosed)
					s.ender(func() error { return end(s) })
					s.rests()
				})
			})
		}
	}
}

func TestExploreTheEndOfAGroupAgainstRemove(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), unused)
		l := s.lend("a")
		s.remover("a")
		s.ender(func() error { return s.g.Shutdown(background) })
		s.Go("putter", func() { s.put(l) })
		s.rests()
	})
}

// The function has not returned when the group is closed.
func TestExploreTheEndOfAGroupWhileAPoolIsMade(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s := newShelf(r, timeless(1), unused)
		s.visitor("visitor", "a", pool.ErrClosed)
		s.remover("a")
		s.ender(s.g.Close)
		s.rests()
	})
}
