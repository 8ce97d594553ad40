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

	"github.com/S4AK4N/pool/internal/atomic"
)

// Options are a scenario's own. Zero values take what the environment says, or the usual.
type Options struct {
	Selects bool // a select may find two cases ready
	Plain   bool // no reductions
}

// A search looks for a schedule that fails.
type search struct {
	t        *testing.T
	scenario func(*Run)
	options  Options
	limits   limits

	began    time.Time
	deadline time.Time
	runs     int
	pruned   int
	retries  int
	most     int     // steps in one schedule
	setUp    uintptr // see Run
	failing  *Run
	broken   string // why the search cannot be trusted
}

// A node is a choice in a schedule.
type node struct {
	can   []choice
	first int  // index of the one that comes by itself
	free  bool // all others cost nothing
	used  int  // preemptions before
	taken int
	tried []bool
	words int32 // that had a number
	raced bool  // in a schedule that goes the first way, another has raced with it
}

type choice struct {
	id     int
	op     op
	asleep bool
	block  []op // what it did, when it was tried, before it blocked or ended
}

// Test explores a scenario: f sets it up and says, by methods of Run, what is to go on
// in which goroutines, and what must hold. f is called once for each schedule, in a synctest
// bubble of its own, and must do the same each time.
func Test(t *testing.T, options Options, f func(*Run)) {
	t.Helper()
	s := newSearch(t, options, limitsOf(t), f)
	if s.limits.replay != "" {
		s.replay(s.limits.replay)
		return
	}
	s.deadline = s.began.Add(s.limits.time * 2 / 3)
	said := s.explore()
	s.deadline = s.began.Add(s.limits.time) // the random ones have the rest
	if s.failing == nil && s.broken == "" {
		said += ", " + s.random()
	}
	took := time.Since(s.began)
	t.Logf("%s; %d schedules in %v, %v each; at most %d steps; %d pruned, %d repeated",
		said, s.runs, took.Round(time.Millisecond), (took / time.Duration(max(s.runs, 1))).Round(time.Microsecond), s.most, s.pruned, s.retries)
	switch {
	case s.broken != "":
		t.Fatal(s.broken)
	case s.failing != nil:
		s.report()
	}
}

func newSearch(t *testing.T, options Options, limits limits, f func(*Run)) *search {
	procs, percent := runtime.GOMAXPROCS(1), debug.SetGCPercent(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		runtime.GOMAXPROCS(procs)
	})
	return &search{t: t, scenario: f, options: options, limits: limits, began: time.Now(), deadline: time.Now().Add(limits.time)}
}

func (s *search) over() bool { return time.Now().After(s.deadline) }

// explore searches depth first, with none, one, and more preemptions.
func (s *search) explore() string {
	finished := -1
	for bound := 0; bound <= s.limits.bound; bound++ {
		if !s.depthFirst(bound) {
			if finished < 0 {
				return "not all without preemptions"
			}
			return fmt.Sprintf("all with %d preemptions, not all with %d", finished, bound)
		}
		finished = bound
	}
	return fmt.Sprintf("all with %d preemptions", finished)
}

// depthFirst reports false if it has not come to an end.
func (s *search) depthFirst(bound int) bool {
	for path := []node(nil); ; {
		path = s.repeat(path, bound)
		if s.failing != nil || s.broken != "" || s.over() || s.runs >= s.limits.runs {
			return false
		}
		if path = s.backtrack(path, bound); path == nil {
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
			if !n.free && k != n.first && (n.used >= bound || !n.raced && !s.options.Plain) {
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
		r, _ := s.run(func(r *Run, can []*routine) *routine {
			defer func() { at++ }()
			fresh := s.node(can, last, used)
			fresh.words = int32(len(r.words))
			if at < prefix {
				n := &long[at]
				if diverged = n.differs(fresh); diverged != "" {
					diverged = fmt.Sprintf("at step %d: %s", at, diverged)
					return nil
				}
				n.used = used
			} else {
				if fresh.taken < 0 {
					return nil // all are asleep
				}
				long = append(long, fresh)
			}
			n := &long[at]
			g := r.all[n.can[n.taken].id]
			preempts := !n.free && n.taken != n.first
			if preempts {
				used++
			}
			if !s.options.Plain {
				for k, c := range n.can {
					if n.tried[k] && k != n.taken && !c.asleep {
						r.all[c.id].asleep = c.block
					}
				}
				if preempts {
					last.asleep = []op{last.op}
				}
			}
			last = g
			return g
		})
		if diverged == "" {
			races(r.steps, len(r.all), func(i int) { long[i].raced = true })
			long[max(prefix, 1)-1].noteBlock(r.steps[max(prefix, 1)-1:])
			for i := prefix; i < len(long); i++ {
				long[i].noteBlock(r.steps[i:])
			}
			return long
		}
		if !s.options.Selects {
			s.broken = "a repetition differs from what was recorded: " + diverged
			return nil
		}
		s.retries++
	}
	s.broken = fmt.Sprintf("in %d attempts a recorded schedule could not be repeated", attempts)
	return nil
}

const attempts = 64

func (s *search) node(can []*routine, last *routine, used int) node {
	n := node{can: make([]choice, len(can)), first: -1, free: true, used: used, taken: -1, tried: make([]bool, len(can))}
	for i, g := range can {
		n.can[i] = choice{g.id, g.op, g.asleep != nil, nil}
		if g == last && g.tick == 0 {
			n.first, n.free = i, false
		}
	}
	n.taken = n.first
	for i := 0; n.taken < 0 && i < len(can); i++ {
		if can[i].asleep == nil {
			n.taken = i
		}
	}
	return n
}

// noteBlock notes what the goroutine did that was taken here for the first time.
func (n *node) noteBlock(steps []stepTaken) {
	c := &n.can[n.taken]
	if c.block != nil {
		return
	}
	c.block = make([]op, 0, 8) // not nil
	for _, step := range steps {
		if step.who.id != c.id {
			break
		}
		o := step.op
		o.pc = 0
		if o.word >= n.words {
			o = op{word: later, from: n.words}
		}
		if step.woke != nil {
			o = op{word: point}
		}
		if !slices.Contains(c.block, o) {
			c.block = append(c.block, o)
		}
	}
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

// run runs one schedule. The setting-up is not controlled, and on a busy machine the
// runtime may stop a goroutine in the midst of it. If it has gone another way than the
// first time, it is done again.
func (s *search) run(pick func(r *Run, can []*routine) *routine) (r *Run, done bool) {
	for range attempts {
		var again bool
		if r, done, again = s.once(pick); !again {
			return r, done
		}
		s.retries++
	}
	s.broken = "the setting-up is not the same each time"
	return r, done
}

func (s *search) once(pick func(r *Run, can []*routine) *routine) (r *Run, done, again bool) {
	if s.runs++; s.runs%collectEvery == 0 {
		runtime.GC() // between two schedules only, as it shrinks stacks and empties sync.Pools
	}
	var failures []string
	defer func() {
		atomic.Install(nil, nil)
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
		t.Cleanup(func() { // the last one
			if !r.whole {
				time.Sleep(time.Hour) // some may be asleep
			}
		})
		r.traced = s.limits.traced
		r.counts = true
		atomic.Install(r.at, r.lane)
		r.guarded(func() { s.scenario(r) })
		if r.failed {
			done, failures = true, slices.Clone(r.failures)
			r.letGo()
			return
		}
		synctest.Wait() // all stand at their start
		if s.setUp == 0 {
			s.setUp = r.setUp
		}
		if again = s.setUp != r.setUp; again {
			r.letGo()
			return
		}
		done = r.play(func(can []*routine) *routine { return pick(r, can) })
		r.mu.Lock()
		failures = slices.Clone(r.failures)
		r.failed = len(failures) > 0 && done
		r.mu.Unlock()
	})
	if !done && !again {
		s.pruned++
	}
	s.most = max(s.most, len(r.steps))
	return r, done, again
}

const collectEvery = 50
