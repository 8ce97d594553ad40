//go:build explore

package explore

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Options are a scenario's own. Zero values take what the environment says, or the usual.
type Options struct {
	Bound   int  // preemptions; -1: none
	Selects bool // a select may find two cases ready
	Plain   bool // no reductions
	Wants   bool // it is known to fail: not to fail is a failure
}

// A search looks for a schedule that fails.
type search struct {
	t        *testing.T
	scenario func(*Run)
	options  Options
	limits   limits

	places  map[uintptr]bool // where a preemption may make a difference
	grown   bool             // places has, in the last schedule
	began   time.Time
	runs    int
	pruned  int
	retries int
	most    int      // steps in one schedule
	outcome []string // what the last schedule has noted (see Run.Note)
	failing *Run
}

// A node is a choice in a schedule.
type node struct {
	can    []choice
	first  int  // index of the one that comes by itself
	free   bool // all others cost nothing
	used   int  // preemptions before
	taken  int
	tried  []bool
	placed bool // the preempted one stands at a place where it may make a difference
}

type choice struct {
	id     int
	op     op
	asleep bool
}

// Test explores a scenario: f sets it up and says, by methods of Run, what is to go on
// in which goroutines, and what must hold. f is called once for each schedule, in a synctest
// bubble of its own, and must do the same each time.
func Test(t *testing.T, options Options, f func(*Run)) {
	t.Helper()
	s := newSearch(t, options, limitsOf(t, options), f)
	if s.limits.replay != "" {
		s.replay(s.limits.replay)
		return
	}
	said := s.explore()
	if s.failing == nil && !s.over() {
		said += ", " + s.random()
	}
	took := time.Since(s.began)
	t.Logf("%s; %d schedules in %v, %v each; at most %d steps; %d pruned, %d repeated for a select",
		said, s.runs, took.Round(time.Millisecond), (took / time.Duration(max(s.runs, 1))).Round(time.Microsecond), s.most, s.pruned, s.retries)
	if s.failing != nil {
		s.report()
	} else if options.Wants {
		t.Errorf("no schedule fails")
	}
}

func newSearch(t *testing.T, options Options, limits limits, f func(*Run)) *search {
	procs, percent := runtime.GOMAXPROCS(1), debug.SetGCPercent(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		runtime.GOMAXPROCS(procs)
	})
	return &search{t: t, scenario: f, options: options, limits: limits, places: map[uintptr]bool{}, began: time.Now()}
}

func (s *search) over() bool { return time.Since(s.began) > s.limits.time }

// explore searches depth first, with none, one, and more preemptions.
func (s *search) explore() string {
	finished := -1
	for bound := 0; bound <= s.limits.bound; bound++ {
		for again := true; again; {
			again = false
			if !s.depthFirst(bound, &again) {
				if finished < 0 {
					return "bound 0 not searched to the end"
				}
				return fmt.Sprintf("all with %d preemptions, not all with %d", finished, bound)
			}
		}
		finished = bound
	}
	return fmt.Sprintf("all with %d preemptions", finished)
}

// depthFirst reports false if it has not come to an end. If a new place was met, what
// it skipped before may have mattered: then it is to be called again.
func (s *search) depthFirst(bound int, again *bool) bool {
	var path []node
	for {
		path = s.repeat(path, bound)
		if s.failing != nil || s.over() {
			return false
		}
		if s.grown && bound > 0 {
			*again = true
		}
		if path = s.backtrack(path, bound); path == nil {
			return true
		}
		if *again {
			return true
		}
	}
}

// backtrack makes the last choice of path that has another way take it, and forgets
// those after it. It returns nil if there is none.
func (s *search) backtrack(path []node, bound int) []node {
	for i := len(path) - 1; i >= 0; i-- {
		n := &path[i]
		n.tried[n.taken] = true
		for k := range n.can {
			if n.tried[k] || n.can[k].asleep {
				continue
			}
			if !n.free && k != n.first && (n.used >= bound || !n.placed && !s.options.Plain) {
				continue
			}
			n.taken = k
			return path[:i+1]
		}
	}
	return nil
}

// repeat runs the schedule of path and goes on after it in the usual way: the same
// goroutine, or the first. It returns the whole of it.
func (s *search) repeat(path []node, bound int) []node {
	for range attempts {
		prefix := len(path)
		long := slices.Clone(path)
		diverged := ""
		at := 0
		used := 0
		var last *routine
		s.limits.note(path)
		s.run(func(r *Run, can []*routine) *routine {
			defer func() { at++ }()
			fresh := s.node(can, last, used)
			if at < prefix {
				n := &long[at]
				if diverged = n.differs(fresh); diverged != "" {
					diverged = fmt.Sprintf("at step %d: %s", at, diverged)
					return nil
				}
				fresh.taken, fresh.tried = n.taken, n.tried
				*n = fresh
			} else {
				if fresh.taken < 0 {
					return nil // all are asleep
				}
				long = append(long, fresh)
			}
			n := &long[at]
			g := r.all[n.can[n.taken].id]
			if !n.free && n.taken != n.first {
				used++
				last.asleep = !s.options.Plain
			}
			last = g
			return g
		})
		if diverged == "" {
			return long
		}
		if !s.options.Selects {
			s.t.Fatalf("a repetition differs from what was recorded: %s", diverged)
		}
		s.retries++
	}
	s.t.Fatalf("in %d attempts a recorded schedule could not be repeated", attempts)
	return nil
}

const attempts = 64

func (s *search) node(can []*routine, last *routine, used int) node {
	n := node{can: make([]choice, len(can)), first: -1, free: true, used: used, taken: -1, tried: make([]bool, len(can))}
	for i, g := range can {
		n.can[i] = choice{g.id, g.op, g.asleep}
		if g == last && g.tick == 0 {
			n.first, n.free = i, false
			n.placed = g.op.word < 0 || s.places[g.op.pc]
		}
	}
	n.taken = n.first
	for i := 0; n.taken < 0 && i < len(can); i++ {
		if !can[i].asleep {
			n.taken = i
		}
	}
	return n
}

// differs says how what was recorded differs from what is.
func (n *node) differs(now node) string {
	if len(n.can) != len(now.can) {
		return fmt.Sprintf("%d can go on, %d could", len(now.can), len(n.can))
	}
	for i := range n.can {
		if a, b := n.can[i], now.can[i]; a.id != b.id || a.op != b.op {
			return fmt.Sprintf("goroutine %d stands before %v, goroutine %d stood before %v", b.id, b.op, a.id, a.op)
		}
	}
	return ""
}

// random runs schedules with random priorities.
func (s *search) random() string {
	n := 0
	for ; n < s.limits.random && !s.over() && s.failing == nil; n++ {
		s.pct(s.limits.seed + uint64(n))
	}
	return fmt.Sprintf("%d random ones from seed %d on", n, s.limits.seed)
}

func (s *search) pct(seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 0))
	changes := make([]int, s.limits.depth)
	for i := range changes {
		changes[i] = dice.IntN(max(s.most, 1))
	}
	priority := map[int]float64{}
	at := 0
	s.run(func(r *Run, can []*routine) *routine {
		for {
			var best *routine
			for _, g := range can {
				if _, ok := priority[g.id]; !ok {
					priority[g.id] = 1 + dice.Float64()
				}
				if best == nil || priority[g.id] > priority[best.id] {
					best = g
				}
			}
			if i := slices.Index(changes, at); i >= 0 {
				changes[i] = -1
				priority[best.id] = -float64(at) - float64(i)/16
				continue
			}
			at++
			return best
		}
	})
}

// run runs one schedule.
func (s *search) run(pick func(r *Run, can []*routine) *routine) (r *Run, done bool) {
	if s.runs++; s.runs%collectEvery == 0 {
		runtime.GC() // between two schedules only, as it shrinks stacks and empties sync.Pools
	}
	var failures []string
	defer func() {
		if p := recover(); p != nil && !(done && r.failed) {
			done, r.failed = true, true
			failures = append(failures, fmt.Sprintf("after the schedule, with nobody controlled any more: %v", p))
		}
		if done && r.failed {
			r.failures = failures
			s.failing = r
		}
	}()
	synctest.Test(s.t, func(t *testing.T) {
		r = newRun(t)
		r.traced = s.limits.traced
		r.guarded(func() { s.scenario(r) })
		if r.failed {
			done, failures = true, slices.Clone(r.failures)
			r.letGo()
			return
		}
		done = r.play(func(can []*routine) *routine { return pick(r, can) })
		r.mu.Lock()
		failures = slices.Clone(r.failures)
		r.failed = len(failures) > 0 && done
		r.mu.Unlock()
	})
	if !done {
		s.pruned++
	}
	s.most = max(s.most, len(r.steps))
	s.outcome = r.notes
	s.learn(r)
	return r, done
}

const collectEvery = 500

// learn notes the places at which two goroutines came upon one word, at least one of
// them to write.
func (s *search) learn(r *Run) {
	s.grown = false
	type use struct {
		who    int
		op     op
		writes bool
	}
	uses := make([][]use, len(r.words))
	for _, step := range r.steps {
		if step.op.word < 0 {
			continue
		}
		list := uses[step.op.word]
		for _, u := range list {
			if u.who != step.who.id && (u.op.writes || step.op.writes) {
				for _, pc := range []uintptr{u.op.pc, step.op.pc} {
					if !s.places[pc] {
						s.places[pc], s.grown = true, true
					}
				}
			}
		}
		if u := (use{step.who.id, step.op, step.op.writes}); !slices.Contains(list, u) {
			uses[step.op.word] = append(list, u)
		}
	}
}
