//go:build step

package steps

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A shelf is a group, and what its function has returned: an exchange for each call.
type shelf struct {
	*pool.Group[string, *testkit.Wire]
	mu   sync.Mutex // guards made
	made []*testkit.Exchange
	open func()
}

func newShelf(t *testing.T, c pool.Config, gc pool.GroupConfig) *shelf {
	s := &shelf{open: func() {}}
	g, err := pool.NewGroup(func(string) (pool.Factory[*testkit.Wire], pool.Config, error) {
		s.open()
		x := new(testkit.Exchange)
		s.mu.Lock()
		s.made = append(s.made, x)
		s.mu.Unlock()
		return x.Factory(), c, nil
	}, gc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	s.Group = g
	return s
}

func (s *shelf) visit(t *testing.T, key string) {
	t.Helper()
	l, err := s.Get(bg, key)
	if err != nil {
		t.Errorf("Get(%s): %v", key, err)
		return
	}
	if err := s.Put(l); err != nil {
		t.Errorf("Put: %v", err)
	}
}

// A Get that is stopped anywhere on its way to its pool or in it, while the pool is removed, is
// served: by the new pool, or by the old one if it had a connection of it.
func TestAGetIsServedWhereverRemoveMeetsIt(t *testing.T) {
	for _, c := range []struct {
		place string
		idle  bool // a connection is idle in the pool before
		from  int  // which pool serves the Get
	}{
		{"find: cells read", true, 1},
		{"get: gate read", true, 1},
		{"get: taken", true, 0},
		{"wait: registered", false, 1},
		{"wait: parked", false, 1},
		{"enter: asked", false, 1},
	} {
		for _, before := range []string{"", "remove: taken"} {
			t.Run(c.place+"/"+before, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					g := newShelf(t, pool.Config{MaxConnections: 1}, pool.GroupConfig{})
					var kept pool.Lease[*testkit.Wire]
					switch {
					case c.idle:
						g.visit(t, "a")
					case c.place != "enter: asked":
						var err error
						if kept, err = g.Get(bg, "a"); err != nil {
							t.Fatal(err)
						}
					}
					var l pool.Lease[*testkit.Wire]
					var err error
					getter := s.Act(c.place, func() { l, err = g.Get(bg, "a") })
					end := s.Changing(before, func() { g.Remove("a") })
					getter.GoOn()
					end()
					getter.End()
					if err != nil {
						t.Fatalf("Get returned %v", err)
					}
					from := c.from
					if (c.place == "get: gate read" || c.place == "enter: asked") && before != "" {
						from = 0 // that pool is not closed yet
					}
					if n := len(g.made[from].Opened()); n == 0 || g.made[from].Opened()[0] != l.Value() {
						t.Errorf("Get returned a connection that is not of pool %d", from)
					}
					if err := g.Put(l); err != nil {
						t.Errorf("Put returned %v", err)
					}
					if kept != (pool.Lease[*testkit.Wire]{}) {
						g.Put(kept)
					}
					synctest.Wait()
					g.made[0].AllClosedOnce(t) // of the removed pool
					g.visit(t, "a")
				})
			})
		}
	}
}

// A pool that is used while the group looks at its pools counts as used, whoever of the two is
// stopped where (tender.go: Touch, push and rouse against collect, look and rest). If the group
// missed it, x, which had been unused for longest before, would have to make room.
func TestAPoolThatIsUsedWhileTheGroupLooksIsUsed(t *testing.T) {
	for _, looks := range []string{"collect: taken", "look: collected", "rest: not soon", "rest: alarm set"} {
		for _, uses := range []string{"", "push: flag set", "push: pushed", "rouse: soon set"} {
			t.Run(looks+"/"+uses, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					g := newShelf(t, pool.Config{MaxConnections: 1, MaxIdleTime: time.Second}, pool.GroupConfig{MaxPools: 2, IdleTime: time.Hour})
					g.visit(t, "x")
					testkit.Sleep(10 * time.Second)
					g.visit(t, "y")
					look := s.StopNext(looks)
					testkit.Sleep(10 * time.Second)
					look.Arrived(t)
					place := uses
					if looks != "rest: not soon" && looks != "rest: alarm set" && uses == "rouse: soon set" {
						place = "" // a look is under way, and nobody need ask for another one
					}
					end := s.Changing(place, func() { g.visit(t, "x") })
					look.GoOn()
					end()
					testkit.Sleep(5 * time.Second)
					seen := testkit.Looks(g.Group)
					if testkit.Sleep(10 * time.Second); testkit.Looks(g.Group) != seen {
						t.Error("the group still looks, at nothing")
					}
					if seen < 4 { // two when x was used first and closed its connection, and as many now
						t.Errorf("the group has looked %d times", seen)
					}
					g.visit(t, "z")
					if _, ok := g.Pool("x"); !ok {
						t.Error("x was removed, and y was unused for longer")
					}
					if _, ok := g.Pool("y"); ok {
						t.Error("y was not removed")
					}
				})
			})
		}
	}
}

// Two that touch the same pool at the same time push it once.
func TestTwoThatUseAPoolAtTheSameTimePushItOnce(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := newShelf(t, pool.Config{MaxIdleTime: time.Second}, pool.GroupConfig{})
		g.visit(t, "a")
		testkit.Sleep(10 * time.Second)
		first := s.Act("push: flag set", func() { g.visit(t, "a") })
		g.visit(t, "a")
		first.End()
		testkit.Sleep(90 * time.Second)
		if _, ok := g.Pool("a"); ok {
			t.Error("the pool is still there")
		}
	})
}

// A pool whose opening ends just when its caller gives up is not held by that caller for ever.
func TestACallerThatGivesUpAsThePoolIsMadeHoldsItNot(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := newShelf(t, pool.Config{}, pool.GroupConfig{MaxPools: 1})
		for range 30 { // which of the two the caller sees first is a matter of chance
			ctx, cancel := context.WithCancel(bg)
			getter := s.Act("enter: asked", func() {
				if l, err := g.Get(ctx, "a"); err == nil {
					g.Put(l)
				}
			})
			cancel()
			getter.End()
			if _, ok := g.Pool("a"); !ok {
				t.Fatal("the pool was not made")
			}
			g.visit(t, "b") // a makes room
		}
	})
}

// A pool that has been made for a caller is not removed before that caller has got to it, neither
// to make room nor because it is unused.
func TestAPoolWaitsForTheCallerForWhomItWasMade(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		g := newShelf(t, pool.Config{}, pool.GroupConfig{MaxPools: 1, IdleTime: time.Second})
		getter := s.Act("enter: asked", func() { g.visit(t, "a") })
		if _, err := g.Get(bg, "b"); err != pool.ErrRejected {
			t.Errorf("Get of another key returned %v, want ErrRejected", err)
		}
		testkit.Sleep(time.Minute)
		if _, ok := g.Pool("a"); !ok {
			t.Error("the pool was removed")
		}
		getter.End()
		if len(g.made) != 1 {
			t.Errorf("%d pools were made, want 1", len(g.made))
		}
	})
}
