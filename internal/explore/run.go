//go:build explore

package explore

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// A Run is one schedule of a scenario. It is the testing.TB of that schedule, too: what
// is reported to it is reported with the schedule. Parallel and Run have no meaning in
// it.
type Run struct {
	testing.TB

	// mu guards arrived, words, failures, and each routine's addr and op: several
	// goroutines may stop in one step.
	mu       sync.Mutex
	on       bool // operations stop
	counts   bool // words get their numbers
	checking bool // what is not controlled must come to an end
	loose    bool // the schedule is over, and whoever has not ended runs to its end
	free     int  // operations since
	all      []*routine
	known    int        // how many of them have their numbers
	arrived  []*routine // since the last step
	words    map[unsafe.Pointer]int32
	ignored  [][2]uintptr
	current  *routine
	setUp    uintptr // a checksum of where the words were met that the setting-up met

	notes  []string
	starts []func()
	always []func()
	ends   []func()

	steps    []stepTaken
	failures []string
	failed   bool
	whole    bool // it has come to its end
	traced   bool
}

// A routine is a goroutine under control, or a clock.
type routine struct {
	id      int
	name    string
	release chan struct{}
	addr    uintptr        // of a local variable in the hook, when it came first
	op      op             // that it stands before
	word    unsafe.Pointer // of op, if it has no number yet
	stack   []uintptr
	stopped bool // at op
	mine    bool // started by the scenario
	ended   bool // if mine
	asleep  []op // it is to go on only after another has done what one of these does not commute with

	tick time.Duration // a clock: how far one step goes
	left int           // a clock: how many steps it has
	idle bool          // a clock: it goes on only when nobody else can
}

// An op is what a goroutine is about to do.
type op struct {
	pc     uintptr // its place in the code; 0 for a point
	word   int32   // number of the word, or one of those below
	writes bool
	from   int32  // of later
	label  string // of what is no operation on a word
}

const (
	point = -1 // commutes with nothing
	start = -2 // commutes with everything
	later = -3 // some word that had no number yet: one from op.from on
)

func (o op) commutes(other op) bool {
	switch {
	case o.word == later:
		return other.word == start || other.word >= 0 && other.word < o.from
	case o.word == start || other.word == start:
		return true
	case o.word == point || other.word == point:
		return false
	}
	return o.word != other.word || !o.writes && !other.writes
}

// A stepTaken is for the report.
type stepTaken struct {
	who   *routine
	op    op
	woke  []*routine // who has come under control by it
	stack []uintptr
}

type failNow struct{}

func newRun(tb testing.TB) *Run {
	return &Run{TB: tb, words: make(map[unsafe.Pointer]int32)}
}

// Go starts a goroutine of the scenario. It does nothing until the schedule says so.
func (r *Run) Go(name string, f func()) {
	g := r.add(name)
	g.mine = true
	go func() {
		r.enter(g)
		r.body(g, f)
	}()
}

// Begin starts a goroutine of the scenario and lets it run, uncontrolled as all of the
// setting up is, until it is blocked. When it is woken, it comes under control.
func (r *Run) Begin(name string, f func()) {
	g := r.add(name)
	g.mine = true
	go func() {
		r.settleStack(g)
		debug.SetPanicOnFault(true)
		r.body(g, f)
	}()
	synctest.Wait()
}

func (r *Run) body(g *routine, f func()) {
	defer func() {
		if p := recover(); p != nil && p != (failNow{}) {
			r.Errorf("%s panicked: %v\n%s", g.name, p, debug.Stack())
		}
		g.ended = true
	}()
	f()
}

// Clock makes time a goroutine of the scenario that goes so many steps of the given
// length, each of them whenever the schedule says so: while others are stopped, too.
func (r *Run) Clock(step time.Duration, steps int) { r.clock(step, steps, false) }

// Later lets time pass by so much once nobody can go on. Several calls add up to several
// such times.
func (r *Run) Later(step time.Duration) { r.clock(step, 1, true) }

func (r *Run) clock(step time.Duration, steps int, idle bool) {
	g := r.add("clock")
	g.tick, g.left, g.idle = step, steps, idle
	g.op = op{word: point, label: step.String()}
	g.stopped = true
}

// Point is where the calling goroutine may be stopped, as before an atomic operation.
func (r *Run) Point(label string) {
	if r.on {
		r.stop(r.self(), op{word: point, label: label})
	}
}

// Ignore says that what is in the next size bytes from start on, as counters for
// statistics are, is of no interest: nobody stops for it.
func (r *Run) Ignore(start unsafe.Pointer, size uintptr) {
	r.ignored = append(r.ignored, [2]uintptr{uintptr(start), size})
}

// Start calls f before the first step, when all that was set up is at rest. What f does is
// not controlled.
func (r *Run) Start(f func()) { r.starts = append(r.starts, f) }

// Always calls f after each step, while nobody moves. What f does is not controlled.
func (r *Run) Always(f func()) { r.always = append(r.always, f) }

// End calls f at the end of the schedule: everybody has ended or is blocked. What f does
// is not controlled. It is not called if the schedule has failed already.
func (r *Run) End(f func()) { r.ends = append(r.ends, f) }

// Note adds to the outcome of the schedule, which is what the test of the explorer
// compares.
func (r *Run) Note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// Running returns the name of the goroutine that made the last step.
func (r *Run) Running() string {
	if r.current == nil {
		return ""
	}
	return r.current.name
}

func (r *Run) add(name string) *routine {
	g := &routine{id: len(r.all), name: name, release: make(chan struct{})}
	r.all = append(r.all, g)
	return g
}

// at is the hook.
func (r *Run) at(word unsafe.Pointer, writes bool) {
	if !r.counts {
		if r.free++; r.free > maxFree && r.checking {
			r.Errorf("no end after %d operations of a check: it spins", r.free)
			panic(failNow{})
		} else if r.free > maxFree && r.loose {
			runtime.Goexit() // nobody is left whom it could wait for
		}
		return
	}
	for _, span := range r.ignored {
		if uintptr(word)-span[0] < span[1] {
			return
		}
	}
	if !r.on {
		if before := len(r.words); int(r.number(word)) == before {
			var pc [1]uintptr
			runtime.Callers(4, pc[:])
			r.setUp = (r.setUp ^ pc[0]) * 16777619
		}
		return
	}
	g := r.self()
	var pc [1]uintptr
	runtime.Callers(4, pc[:])          // of whoever called the method
	o := op{pc: pc[0], writes: writes} // without a number yet: see meet
	g.word = word
	if r.traced {
		g.stack = make([]uintptr, 8)
		g.stack = g.stack[:runtime.Callers(4, g.stack)]
	}
	r.stop(g, o)
}

// number returns the number of a word.
func (r *Run) number(word unsafe.Pointer) int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.words[word]
	if !ok {
		n = int32(len(r.words))
		r.words[word] = n
	}
	return n
}

// meet numbers those who have come under control in this step, and the words that all
// stand before, in an order that does not depend on who ran first: timers for the same
// instant go off in any order.
func (r *Run) meet() {
	fresh := r.all[r.known:]
	slices.SortStableFunc(fresh, func(a, b *routine) int {
		return cmp.Or(cmp.Compare(a.op.label, b.op.label), cmp.Compare(a.op.pc, b.op.pc))
	})
	for i, g := range fresh {
		g.id = r.known + i
		g.name = fmt.Sprintf("spawned %d", g.id)
	}
	r.known = len(r.all)
	slices.SortFunc(r.arrived, func(a, b *routine) int { return cmp.Compare(a.id, b.id) })
	for _, g := range r.arrived {
		if g.word != nil {
			g.op.word = r.number(g.word)
			g.word = nil
		}
	}
}

func (r *Run) stop(g *routine, o op) {
	r.mu.Lock()
	g.op, g.stopped = o, true
	r.arrived = append(r.arrived, g)
	r.mu.Unlock()
	<-g.release
	debug.SetPanicOnFault(true) // the mark of self
}

// play runs the schedule that pick decides on: it is given those who can go on, in the
// order of their numbers, and returns nil to give up.
func (r *Run) play(pick func(can []*routine) *routine) (done bool) {
	defer r.letGo()
	r.known = len(r.all)
	r.counts = false
	for _, f := range r.starts {
		r.guarded(f)
	}
	for n := 0; ; n++ {
		can := r.able()
		if len(can) == 0 {
			break
		}
		if n == maxSteps {
			r.Errorf("no end after %d steps: somebody spins", n)
			return true
		}
		g := pick(can)
		if g == nil {
			return false
		}
		r.step(g)
		for _, f := range r.always {
			r.guarded(f)
		}
		if r.failed {
			return true
		}
	}
	for _, g := range r.all {
		if g.mine && !g.ended {
			r.Errorf("%s is blocked for good", g.name)
		}
	}
	for _, f := range r.ends {
		if r.failed {
			break
		}
		r.guarded(func() {
			f()
			synctest.Wait()
		})
	}
	r.whole = true
	return true
}

const maxSteps = 4000

// able returns those who can go on.
func (r *Run) able() (can []*routine) {
	for _, g := range r.all {
		if g.stopped && !g.idle {
			can = append(can, g)
		}
	}
	if len(can) > 0 {
		return can
	}
	for _, g := range r.all {
		if g.stopped { // the first of the idle clocks
			return []*routine{g}
		}
	}
	return nil
}

// step lets g do the operation that it stands before, and waits until all have stopped
// again.
func (r *Run) step(g *routine) {
	done, stack := g.op, g.stack
	g.stack = nil
	r.current = g
	g.asleep = nil
	r.arrived = r.arrived[:0]
	r.on, r.counts = true, true
	if g.tick > 0 {
		g.left--
		g.stopped = g.left > 0
		time.Sleep(g.tick)
	} else {
		g.stopped = false
		g.release <- struct{}{}
	}
	synctest.Wait()
	r.on, r.counts = false, false
	r.meet()
	s := stepTaken{who: g, op: done, stack: stack}
	for _, a := range r.arrived {
		if a != g {
			s.woke = append(s.woke, a)
		}
	}
	r.steps = append(r.steps, s)
	if s.woke != nil {
		done = op{word: point}
	}
	for _, other := range r.all {
		if slices.ContainsFunc(other.asleep, func(o op) bool { return !o.commutes(done) }) {
			other.asleep = nil
		}
	}
}

// letGo ends the control. Whoever is stopped goes on, and the scenario's cleanup has to
// see to it that all end.
func (r *Run) letGo() {
	r.on, r.counts, r.loose, r.free = false, false, true, 0
	for _, g := range r.all {
		if g.stopped && g.tick == 0 {
			g.stopped = false
			close(g.release)
		}
	}
}

func (r *Run) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil && p != (failNow{}) {
			r.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	r.checking, r.free = true, 0
	defer func() { r.checking = false }()
	f()
}

const maxFree = 100_000

// The methods of testing.TB that report.

func (r *Run) Helper() {}

func (r *Run) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *Run) Error(args ...any)                 { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *Run) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *Run) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *Run) Fail()                             { r.Errorf("failed") }
func (r *Run) FailNow()                          { panic(failNow{}) }
func (r *Run) Failed() bool                      { return r.failed }
