//go:build explore

package explore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
)

// found explores a scenario and returns the search, without failing the test for what
// is found.
func found(t *testing.T, o Options, bound int, f func(*Run)) *search {
	s := newSearch(t, o, limits{bound: bound, runs: 1 << 30, time: time.Minute}, f)
	s.explore()
	return s
}

// increments is the lost update: so many goroutines load, and store one more.
func increments(goroutines int) func(*Run) {
	return func(r *Run) {
		var n atomic.Int32
		for i := range goroutines {
			r.Go(fmt.Sprint("adder ", i), func() { n.Store(n.Load() + 1) })
		}
		r.End(func() {
			if got := n.Load(); got != int32(goroutines) {
				r.Errorf("%d of %d are counted", got, goroutines)
			}
		})
	}
}

func TestALostUpdateNeedsOnePreemption(t *testing.T) {
	if s := found(t, Options{}, 0, increments(2)); s.failing != nil {
		t.Errorf("found without a preemption: %s", s.failing)
	}
	s := found(t, Options{}, 1, increments(2))
	if s.failing == nil {
		t.Fatal("not found")
	}
	steps, again := s.again(s.failing.String())
	if !again {
		t.Errorf("the schedule does not fail again:\n%s", steps)
	}
	for _, want := range []string{"adder 0", "adder 1", "start"} {
		if !strings.Contains(steps, want) {
			t.Errorf("the steps say nothing of %q:\n%s", want, steps)
		}
	}
}

// A fault for which two goroutines must be stopped at the same time.
func twice(r *Run) {
	var x, y, bad atomic.Int32
	r.Go("a", func() {
		x.Store(1)
		x.Store(2)
		x.Store(3)
	})
	r.Go("b", func() {
		y.Store(1)
		y.Store(2)
		y.Store(3)
	})
	r.Go("c", func() {
		if x.Load() == 2 && y.Load() == 2 {
			bad.Store(1)
		}
	})
	r.End(func() {
		if bad.Load() == 1 {
			r.Errorf("both were halfway")
		}
	})
}

func TestTheBoundIsExact(t *testing.T) {
	if s := found(t, Options{}, 1, twice); s.failing != nil {
		t.Errorf("found with one preemption: %s", s.failing)
	}
	if s := found(t, Options{}, 2, twice); s.failing == nil {
		t.Errorf("not found with two preemptions")
	}
}

func TestRandomSchedulesFindWhatNeedsTwoPreemptions(t *testing.T) {
	s := found(t, Options{}, 0, twice)
	s.limits.random, s.limits.depth, s.limits.seed = 2000, 3, 1
	s.random()
	if s.failing == nil {
		t.Fatal("not found in 2000 random schedules")
	}
	if _, again := s.again(s.failing.String()); !again {
		t.Error("the schedule does not fail again")
	}
}

func TestWhatAMutexGuardsIsNotLost(t *testing.T) {
	s := found(t, Options{}, 3, func(r *Run) {
		var mu atomic.Mutex
		var n atomic.Int32
		for i := range 2 {
			r.Go(fmt.Sprint("adder ", i), func() {
				mu.Lock()
				n.Store(n.Load() + 1)
				mu.Unlock()
			})
		}
		r.End(func() {
			mu.Lock()
			defer mu.Unlock()
			if n.Load() != 2 {
				r.Errorf("%d of 2 are counted", n.Load())
			}
		})
	})
	if s.failing != nil {
		t.Error(s.failing.failures)
	}
	if s.most < 11 { // who comes second has to try twice
		t.Errorf("at most %d steps: nobody was stopped while he had the mutex", s.most)
	}
}

func TestTwoMutexesInTwoOrdersAreADeadlock(t *testing.T) {
	s := found(t, Options{}, 1, func(r *Run) {
		var mus [2]atomic.Mutex
		for i := range 2 {
			r.Go(fmt.Sprint(i), func() {
				mus[i].Lock()
				mus[1-i].Lock()
				r.Note("%d has both", i)
				mus[1-i].Unlock()
				mus[i].Unlock()
			})
		}
		r.Cleanup(func() {
			if r.Failed() {
				mus[0].Unlock()
			}
		})
	})
	if s.failing == nil {
		t.Fatal("not found")
	}
	if got := s.failing.failures[0]; !strings.Contains(got, "blocked for good") {
		t.Errorf("reported as %q", got)
	}
}

func TestADeadlockIsFound(t *testing.T) {
	s := found(t, Options{}, 1, func(r *Run) {
		a, b := make(chan bool, 1), make(chan bool, 1)
		for i, c := range [][2]chan bool{{a, b}, {b, a}} {
			r.Go(fmt.Sprint(i), func() {
				c[0] <- true
				r.Point("between")
				c[1] <- true
				<-c[0]
				<-c[1]
			})
		}
		r.Cleanup(func() {
			for range 2 {
				select {
				case <-a:
				default:
				}
				select {
				case <-b:
				default:
				}
			}
		})
	})
	if s.failing == nil {
		t.Fatal("not found")
	}
	if got := s.failing.failures[0]; !strings.Contains(got, "blocked for good") {
		t.Errorf("reported as %q", got)
	}
}

func TestAGoroutineThatSpinsIsFound(t *testing.T) {
	s := found(t, Options{}, 0, func(r *Run) {
		var stop atomic.Bool
		r.Go("waits", func() {
			for !stop.Load() {
			}
		})
		r.Go("stops", func() { stop.Store(true) })
	})
	if s.failing == nil || !strings.Contains(s.failing.failures[0], "spins") {
		t.Errorf("not found")
	}
}

func TestAPanicIsFound(t *testing.T) {
	s := found(t, Options{}, 0, func(r *Run) { r.Go("panics", func() { panic("as it should") }) })
	if s.failing == nil || !strings.Contains(s.failing.failures[0], "as it should") {
		t.Errorf("not found")
	}
}

// What a scenario starts itself, and what waits for a channel, is controlled as well.
func TestGoroutinesThatAreSpawnedAndWokenAreControlled(t *testing.T) {
	s := found(t, Options{}, 1, func(r *Run) {
		var n atomic.Int32
		c := make(chan bool)
		r.Go("spawner", func() {
			go func() {
				n.Store(n.Load() + 1)
				c <- true
			}()
			n.Store(n.Load() + 1)
			<-c
			r.Note("%d", n.Load())
			if n.Load() != 2 {
				r.Errorf("lost")
			}
		})
	})
	if s.failing == nil {
		t.Error("not found")
	}
}

func TestTimePassesWhenNobodyCanGoOnOrWhenTheScheduleSaysSo(t *testing.T) {
	outcomes := func(clock func(r *Run)) []string {
		all := map[string]bool{}
		found(t, Options{}, 1, func(r *Run) {
			var late atomic.Bool
			time.AfterFunc(time.Second, func() { late.Store(true) })
			r.Go("looks", func() { r.Note("%v", late.Load()) })
			clock(r)
			r.End(func() { all[fmt.Sprint(r.notes)] = true })
		})
		return slices.Sorted(maps.Keys(all))
	}
	if got := outcomes(func(r *Run) { r.Later(2 * time.Second) }); !slices.Equal(got, []string{"[false]"}) {
		t.Errorf("later: %v", got)
	}
	if got := outcomes(func(r *Run) { r.Clock(2*time.Second, 1) }); !slices.Equal(got, []string{"[false]", "[true]"}) {
		t.Errorf("clock: %v", got)
	}
}

// Small scenarios have the same outcomes with and without the reductions.
func TestTheReductionsLoseNoOutcome(t *testing.T) {
	for name, f := range map[string]func(r *Run){
		"counter": func(r *Run) {
			var x, own [3]atomic.Int32
			for i := range 3 {
				r.Go(fmt.Sprint(i), func() {
					own[i].Store(1)
					a := x[0].Load()
					own[i].Store(own[i].Load() + 1)
					x[0].Store(a + 1)
					b := x[(i+1)%3].Load()
					x[i].Add(1)
					r.Note("%d: %d %d", i, a, b)
				})
			}
		},
		"dekker": func(r *Run) {
			var x, y atomic.Int32
			r.Go("a", func() { x.Store(1); r.Note("a sees %d", y.Load()) })
			r.Go("b", func() { y.Store(1); r.Note("b sees %d", x.Load()) })
			r.Go("c", func() { r.Note("c sees %d %d", x.Load(), y.Load()) })
		},
		"channel": func(r *Run) {
			var x atomic.Int32
			c := make(chan int32, 1)
			r.Go("sends", func() {
				x.Add(1)
				select {
				case c <- x.Load():
				default:
					r.Note("full")
				}
				x.Add(1)
			})
			r.Go("sends too", func() {
				x.Add(10)
				select {
				case c <- x.Load():
				default:
					r.Note("full too")
				}
			})
			r.Go("receives", func() {
				x.Add(100)
				r.Note("got %d", <-c)
				r.Note("then %d", x.Load())
			})
		},
		"mutex": func(r *Run) {
			var mu atomic.Mutex
			var x, y atomic.Int32
			for i := range int32(3) {
				r.Go(fmt.Sprint(i), func() {
					mu.Lock()
					a := x.Load()
					x.Store(10*a + i)
					mu.Unlock()
					r.Note("%d: %d %d", i, a, y.Load())
					y.Add(1)
				})
			}
		},
		"spawn": func(r *Run) {
			var x atomic.Int32
			r.Go("a", func() {
				go func() { x.CompareAndSwap(0, 1) }()
				r.Note("a sees %d", x.Load())
				x.CompareAndSwap(0, 2)
			})
			r.Go("b", func() {
				if x.CompareAndSwap(1, 3) || x.CompareAndSwap(2, 4) {
					r.Note("b")
				}
			})
			r.End(func() { r.Note("%d", x.Load()) })
		},
	} {
		bounds := 4
		if testing.Short() {
			bounds = 3
		}
		t.Run(name, func(t *testing.T) {
			var all [2][]string
			var runs [2]int
			for i, plain := range []bool{true, false} {
				for bound := range bounds {
					seen := map[string]bool{}
					s := found(t, Options{Plain: plain}, bound, func(r *Run) {
						f(r)
						r.End(func() { seen[fmt.Sprint(slices.Sorted(slices.Values(r.notes)))] = true })
					})
					if s.failing != nil {
						t.Fatal(s.failing.failures)
					}
					runs[i] = s.runs
					all[i] = append(all[i], fmt.Sprint(bound, len(seen), slices.Sorted(maps.Keys(seen))))
				}
			}
			for b := range all[0] {
				if all[0][b] != all[1][b] {
					t.Errorf("bound %d: without reductions\n%s\nwith\n%s", b, all[0][b], all[1][b])
				}
			}
			if runs[1] > runs[0] {
				t.Errorf("%d schedules with reductions, %d without", runs[1], runs[0])
			}
			t.Logf("%d schedules without reductions, %d with", runs[0], runs[1])
		})
	}
}

func TestASelectWithTwoCasesReadyIsRepeatedUntilItFallsTheSameWay(t *testing.T) {
	s := found(t, Options{Selects: true}, 2, func(r *Run) {
		var x atomic.Int32
		r.Go("selects", func() {
			for range 3 {
				a, b := make(chan bool, 1), make(chan bool, 1)
				a <- true
				b <- true
				select {
				case <-a:
					x.Store(1)
				case <-b:
					x.Load()
				}
			}
		})
		r.Go("looks", func() { x.Store(x.Load() + 1) })
	})
	if s.failing != nil {
		t.Error(s.failing.failures)
	}
	if s.retries == 0 {
		t.Error("nothing had to be repeated: the test has lost its point")
	}
}

// A scenario must do the same each time.
func TestARepetitionThatDiffersIsAnError(t *testing.T) {
	n := 0
	s := found(t, Options{}, 1, func(r *Run) {
		var x atomic.Int32
		n++
		r.Go("differs", func() {
			x.Store(1)
			if n%2 == 0 {
				x.Store(2)
			}
			x.Store(3)
		})
		r.Go("looks", func() { x.Load() })
	})
	if s.failing != nil {
		t.Error(s.failing.failures)
	}
	if !strings.Contains(s.broken, "differs from what was recorded") {
		t.Errorf("the search says %q", s.broken)
	}
}

func TestAScheduleIsWrittenAsAString(t *testing.T) {
	ids := []int{0, 0, 0, 1, 27, 27, 2}
	s := encode(ids)
	if s != "a3bB2c" {
		t.Errorf("%v is %q", ids, s)
	}
	if got, err := decode(s); err != nil || !slices.Equal(got, ids) {
		t.Errorf("%q is %v, %v", s, got, err)
	}
	if _, err := decode("a3."); err == nil {
		t.Error("no error")
	}
}
