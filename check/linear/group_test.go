package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"

	"github.com/anishathalye/porcupine"
	"go.uber.org/atomic"
)

// Histories of a Group. Which pool a key has is told by the number of the call of the function that
// made it: they count from 1 for each key.

// A deed is one call of a caller of a Group that took effect.
type deed struct {
	kind deedKind
	key  int
	pool int // that has lent
	last int // calls that had begun before a Remove
}

type deedKind uint8

const (
	served  deedKind = iota // Get or TryGet has returned a lease of that pool
	removed                 // Remove has returned true
	spared                  // Remove has returned false
)

func (a deed) String() string {
	switch a.kind {
	case served:
		return fmt.Sprintf("key %d: lease of pool %d", a.key, a.pool)
	case removed:
		return fmt.Sprintf("key %d: removed, all up to pool %d", a.key, a.last)
	}
	return fmt.Sprintf("key %d: nothing to remove", a.key)
}

// A shelf is what is known of one key: the pool that it has, if somebody has seen one, and
// those of the past.
type shelf struct {
	pool int // 0: perhaps none
	past int // what has a number up to this has been removed
}

// step says whether a may happen, and makes it happen. By itself, a group removes a pool only to make room.
func (s *shelf) step(a deed, bounded bool) bool {
	switch a.kind {
	case served:
		if a.pool <= s.past || s.pool > a.pool || s.pool != 0 && s.pool != a.pool && !bounded {
			return false
		}
		s.pool = a.pool
	case removed:
		// What was being made is thrown away as well, seen or not.
		*s = shelf{past: max(s.past, s.pool, a.last)}
	case spared:
		return s.pool == 0 || bounded
	}
	return true
}

// groupSpec is the specification of a group in which all keys have no pool.
func groupSpec(bounded bool) porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[int][]porcupine.Operation{}
			for _, o := range all {
				key := o.Input.(deed).key
				byKey[key] = append(byKey[key], o)
			}
			var parts [][]porcupine.Operation
			for _, p := range byKey {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() any { return shelf{} },
		Step: func(state, input, _ any) (bool, any) {
			s := state.(shelf)
			ok := s.step(input.(deed), bounded)
			return ok, s
		},
	}
}

func TestGroupSpecificationTellsRightFromWrong(t *testing.T) {
	type at struct {
		call, ret int64
		deed
	}
	get := func(n int) deed { return deed{kind: served, pool: n} }
	remove := func(last int) deed { return deed{kind: removed, last: last} }
	for _, c := range []struct {
		name           string
		strict, bounds bool // whether that may happen in a group without and with a bound
		story          []at
	}{
		{"the same pool again", true, true, []at{{1, 2, get(1)}, {3, 4, get(1)}}},
		{"another pool, and nobody has removed the first", false, true, []at{{1, 2, get(1)}, {3, 4, get(2)}}},
		{"an older pool again", false, false, []at{{1, 2, get(2)}, {3, 4, get(1)}}},
		{"removed, and another", true, true, []at{{1, 2, get(1)}, {3, 4, remove(1)}, {5, 6, get(2)}}},
		{"removed, and the same", false, false, []at{{1, 2, get(1)}, {3, 4, remove(1)}, {5, 6, get(1)}}},
		{"the removed one, while Remove is under way", true, true, []at{{1, 2, get(1)}, {3, 6, remove(1)}, {4, 5, get(1)}}},
		{"the removed one after the other, while Remove is under way", false, false, []at{{3, 9, remove(1)}, {4, 5, get(2)}, {6, 7, get(1)}}},
		{"both at the same time, while Remove is under way", true, true, []at{{3, 9, remove(1)}, {4, 7, get(2)}, {5, 6, get(1)}}},
		{"what was being made when it was removed", false, false, []at{{1, 2, remove(1)}, {3, 4, get(1)}}},
		{"nothing to remove, though somebody was served", false, true, []at{{1, 2, get(1)}, {3, 4, deed{kind: spared}}}},
		{"nothing to remove after a Remove", true, true, []at{{1, 2, get(1)}, {3, 4, remove(1)}, {5, 6, deed{kind: spared}}}},
	} {
		var ops []porcupine.Operation
		for i, s := range c.story {
			ops = append(ops, porcupine.Operation{ClientId: i, Input: s.deed, Call: s.call, Return: s.ret})
		}
		if got := porcupine.CheckOperations(groupSpec(false), ops); got != c.strict {
			t.Errorf("%s: %v, want %v", c.name, got, c.strict)
		}
		if got := porcupine.CheckOperations(groupSpec(true), ops); got != c.bounds {
			t.Errorf("%s, with a bound: %v, want %v", c.name, got, c.bounds)
		}
	}
}

// A librarian is a group and all that is known about it.
type librarian struct {
	g     *pool.Group[int, int] // a connection is the number of its pool
	clock atomic.Int64
	calls [2]atomic.Int64 // of the function, by key
	fail  func(format string, args ...any)

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

func newLibrarian(t *testing.T, config pool.GroupConfig) *librarian {
	w := &librarian{fail: t.Errorf}
	g, err := pool.NewGroup(func(key int) (pool.Factory[int], pool.Config, error) {
		n := int(w.calls[key].Inc())
		for range rand.IntN(4) {
			runtime.Gosched()
		}
		if rand.IntN(16) == 0 {
			return pool.Factory[int]{}, pool.Config{}, errDial
		}
		return pool.Factory[int]{
			Open:  func(context.Context) (int, error) { return n, nil },
			Close: func(int, error) error { return nil },
		}, pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1}, nil
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	w.g = g
	return w
}

// write adds a call that has just come to its end.
func (w *librarian) write(client int, call int64, a deed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, porcupine.Operation{ClientId: client, Input: a, Call: call, Return: w.clock.Inc()})
}

func (w *librarian) caller(client int, rnd *rand.Rand) {
	for range 40 {
		key := rnd.IntN(len(w.calls))
		last := int(w.calls[key].Load())
		call := w.clock.Inc()
		var l pool.Lease[int]
		ok := false
		switch n := rnd.IntN(8); n {
		case 0, 1:
			a := deed{kind: spared, key: key}
			if w.g.Remove(key) {
				a.kind, a.last = removed, last
			}
			w.write(client, call, a)
		case 2:
			l, ok = w.g.TryGet(key)
		default:
			ctx, cancel := context.Background(), context.CancelFunc(func() {})
			if n == 3 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(100))*time.Microsecond)
			}
			var err error
			l, err = w.g.Get(ctx, key)
			cancel()
			ok = err == nil
			if !ok && !errors.Is(err, errDial) && !errors.Is(err, pool.ErrRejected) && ctx.Err() == nil {
				w.fail("Get: %v", err)
			}
		}
		if !ok {
			continue
		}
		w.write(client, call, deed{kind: served, key: key, pool: l.Value()})
		if rnd.IntN(2) == 0 {
			runtime.Gosched()
		}
		end := w.g.Put
		if rnd.IntN(4) == 0 {
			end = func(l pool.Lease[int]) error { return w.g.Discard(l, nil) }
		}
		if err := end(l); err != nil {
			w.fail("the end of a lease: %v", err)
		}
	}
}

// TestHistoriesOfAGroupAreLinearizable: whoever comes after a Remove is served by a pool that was
// made after it, and as long as nobody removes it, all are served by the same one.
func TestHistoriesOfAGroupAreLinearizable(t *testing.T) {
	for name, config := range map[string]pool.GroupConfig{"no bound": {IdleTime: -1}, "one pool": {MaxPools: 1, IdleTime: -1}} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			s := seed(t)
			t.Logf("seed %d", s)
			rnd := rand.New(rand.NewPCG(s, 0))
			shake(t, s)
			groups, calls := 0, 0
			for end := time.Now().Add(budget(t) / 8); time.Now().Before(end) && !t.Failed(); groups++ {
				w := newLibrarian(t, config)
				var all sync.WaitGroup
				for client := range 4 {
					rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
					all.Go(func() { w.caller(client, rnd) })
				}
				all.Wait()
				w.g.Close()
				calls += len(w.ops)
				verdict := porcupine.CheckOperationsTimeout(groupSpec(config.MaxPools > 0), w.ops, 20*time.Second)
				if verdict == porcupine.Ok {
					continue
				}
				slices.SortFunc(w.ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
				var b strings.Builder
				for _, o := range w.ops {
					fmt.Fprintf(&b, "%6d %6d  caller %d  %v\n", o.Call, o.Return, o.ClientId, o.Input)
				}
				says := "no order explains this:"
				if verdict == porcupine.Unknown {
					says = "not decided in time:"
				}
				t.Errorf("%s\n%s", says, &b)
			}
			t.Logf("%d calls in %d groups", calls, groups)
		})
	}
}
