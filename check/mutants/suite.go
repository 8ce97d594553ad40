package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A stage is a part of the suite that is run against each mutant that has survived those
// before: some tests of one package. Several may have the same name.
type stage struct {
	name    string
	pkg     string // from the root of the module
	tags    string
	tests   func(s *stage, root, file string) (arguments []string, any bool, err error) // for a mutant of that file
	onlyFor string                                                                      // mutants of files that begin like that
	limit   time.Duration                                                               // a test that takes longer hangs
	binary  string
}

var stageNames = []string{"ring", "step", "near", "quick", "explore", "slow"}

// slow are the tests that take most of the time: they come last.
const slow = "^(TestCloseAgainstEverything|TestAWaitAllocatesNextToNothing|TestAServerThatDiesWithAHundredConnectionsOpen|" +
	"TestAnIdleConnectionIsClosedAfterMaxIdleTimeAndNotMuchLater|TestStatsAddUpAtEverySampleUnderLoad|" +
	"TestAConnectionThatIsPutBackAfterAQuietTimeIsNotClosedAtOnce|TestServiceIsFullWithinASecondOfTheServersReturn|" +
	"TestRandomActionsOfMany)$"

// The packages with the tests of the core: those beside it, and those by subject.
var packages = []string{"internal/core", "internal/queue", "internal/words", "internal/group", "check/lending", "check/opening", "check/ending", "check/insight", "check/group", "check/budget", "check/stress", "."}

// stages returns the stages with the given names. Each limit is several times what the
// longest test takes without a mutant; run measures that, and refuses to go on if it is
// not so.
func stages(names []string) ([]*stage, error) {
	all := map[string][]*stage{
		"ring": {
			{name: "ring", pkg: "ring", tests: noArguments, onlyFor: "ring/", limit: 8 * time.Second},
			{name: "ring", pkg: "ring", tags: "step", tests: inFiles(`step_test\.go$`), onlyFor: "ring/", limit: 8 * time.Second},
			{name: "ring", pkg: "ring", tags: "explore", tests: inFiles(`^explore_ring_test\.go$`), onlyFor: "ring/", limit: 60 * time.Second},
		},
		"step": {
			{name: "step", pkg: "internal/queue", tags: "step", tests: inFiles(`^step_test\.go$`), onlyFor: "internal/queue/", limit: 8 * time.Second},
			{name: "step", pkg: "check/steps", tags: "step", tests: noArguments, limit: 8 * time.Second},
		},
		"explore": {
			{name: "explore", pkg: "internal/queue", tags: "explore", tests: inFiles(`^explore_`), onlyFor: "internal/queue/", limit: 60 * time.Second},
			{name: "explore", pkg: "check/schedules", tags: "explore", tests: chosen(explored, "close"), limit: 60 * time.Second},
		},
	}
	for _, pkg := range packages {
		all["near"] = append(all["near"], &stage{name: "near", pkg: pkg, tests: near, limit: 8 * time.Second})
		all["quick"] = append(all["quick"], &stage{name: "quick", pkg: pkg, tests: arguments("-test.skip", slow), limit: 8 * time.Second})
		all["slow"] = append(all["slow"], &stage{name: "slow", pkg: pkg, tests: arguments("-test.run", slow), limit: 60 * time.Second})
	}
	var chosen []*stage
	for _, n := range names {
		if all[n] == nil {
			return nil, fmt.Errorf("there is no stage %q", n)
		}
		chosen = append(chosen, all[n]...)
	}
	return chosen, nil
}

func noArguments(*stage, string, string) ([]string, bool, error) { return nil, true, nil }

func arguments(a ...string) func(*stage, string, string) ([]string, bool, error) {
	return func(*stage, string, string) ([]string, bool, error) { return a, true, nil }
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// inFiles chooses the tests in the files with such names.
func inFiles(pattern string) func(*stage, string, string) ([]string, bool, error) {
	name := regexp.MustCompile(pattern)
	return func(s *stage, root, _ string) ([]string, bool, error) {
		entries, err := os.ReadDir(filepath.Join(root, s.pkg))
		if err != nil {
			return nil, false, err
		}
		var tests []string
		for _, e := range entries {
			if !name.MatchString(e.Name()) {
				continue
			}
			source, err := os.ReadFile(filepath.Join(root, s.pkg, e.Name()))
			if err != nil {
				return nil, false, err
			}
			for _, m := range testFunction.FindAllSubmatch(source, -1) {
				tests = append(tests, string(m[1]))
			}
		}
		return []string{"-test.run", "^(" + strings.Join(tests, "|") + ")$"}, len(tests) > 0, nil
	}
}

// nearest are the test files that are likely to catch a mutant of a file, beside those
// that are called guards_test.go and those in the package itself.
var nearest = map[string]string{
	"queue.go": "queue|fifo|waits", "waiter.go": "queue|fifo|waits", "parker.go": "queue|alloc", "settle.go": "handoff|fifo|rest|cancel|review|watch|limit|" + ofBudgets,
	"wait.go": "waits|fifo|time|cancel|recover|config", "quota.go": "quota|recover|open", "outage.go": "outage|aside|recover|quota", "aside.go": "aside|outage|limit",
	"open.go": "open|recover|factory|quota|limit|reset|warm", "close.go": "close|strict|misuse|kill|limit", "resize.go": "resize|config",
	"reset.go": "reset|watch", "warm.go": "warm|recover|" + ofBudgets, "limit.go": "limit", "pass.go": "idle|lifetime|time|limit|hope",
	"sweep.go": "sweep|time|idle|limit|lifetime|hope", "slots.go": "resize", "leak.go": "leak", "sight.go": "leak|limit", "pool.go": "pool|misuse|close|idle|leak|limit",
	"counters.go": "stats|exact", "conn.go": "pool|misuse", "gate.go": "resize|close", "hooks.go": "hooks", "factory.go": "factory|config",
	"fresh.go": "fresh|retry", "same.go": "same|reserve|look", "reserve.go": "reserve|same", "look.go": "look|limit|close", "place.go": "bubble", "wake.go": "asleep",
	"revoke.go": "revoke", "life.go": "expires|lifetime", "probe.go": "expires|recover|review|limit", "call.go": "close|limit", "errors.go": "errors|outage|time",
	"budget.go": ofBudgets, "rights.go": ofBudgets, "share.go": ofBudgets, "config.go": "config", "owner.go": ofGroups + "|moved", "sum.go": ofGroups, "group.go": ofGroups,
}

// explored are the files with scenarios that are likely to catch a mutant of a file: to go
// through all takes minutes.
var explored = map[string]string{
	"queue.go": "wait", "waiter.go": "wait", "settle.go": "wait|close|fresh|budget", "wait.go": "wait|limit|close", "quota.go": "limit|open", "outage.go": "outage|limit", "aside.go": "aside|outage",
	"open.go": "open|reset", "close.go": "close", "resize.go": "resize", "reset.go": "reset|watch", "warm.go": "warm", "limit.go": "limit", "look.go": "limit", "fresh.go": "fresh|aside", "same.go": "same|reserve", "reserve.go": "reserve|same",
	"pass.go": "time", "sweep.go": "time|limit", "slots.go": "resize", "pool.go": "close|open", "gate.go": "resize|close",
	"revoke.go": "revoke", "life.go": "life", "probe.go": "life|aside", "budget.go": "budget", "rights.go": "budget", "share.go": "budget",
	"config.go": "", "factory.go": "", "errors.go": "", // no scenario meets these
}

// chosen chooses the tests in the files that a map names for the file of a mutant.
func chosen(of map[string]string, otherwise string) func(*stage, string, string) ([]string, bool, error) {
	return func(s *stage, root, file string) ([]string, bool, error) {
		names, ok := of[filepath.Base(file)]
		switch {
		case filepath.Dir(file) == "internal/group":
			names = "group"
		case !ok:
			names = otherwise
		}
		return inFiles("^("+names+")_test\\.go$")(s, root, file)
	}
}

// ofGroups are the test files with tests of groups.
const ofGroups = "end|idle|made|removed|same|stress|group"

// ofBudgets are the test files with tests of budgets.
const ofBudgets = "budget|end|hope|lost|never|order|reserve|store|two"

// near chooses the tests that are likely to catch a mutant.
func near(s *stage, root, file string) (args []string, any bool, err error) {
	if filepath.Dir(file) == s.pkg {
		return []string{"-test.skip", slow}, true, nil
	}
	names, ok := nearest[filepath.Base(file)]
	switch {
	case filepath.Dir(file) == "internal/group":
		names = ofGroups
	case !ok:
		names = "pool"
	}
	args, any, err = inFiles("^(guards|"+names+")_test\\.go$")(s, root, file)
	return append(args, "-test.skip", slow), any, err
}

// What the results say.
const (
	survived = "survived"
	hang     = "hang: "
)

// theSwitch is added to each package: which mutant is in effect.
const theSwitch = `package %s

import (
	"os"
	"strconv"
)

var mutant = func() int { n, _ := strconv.Atoi(os.Getenv("POOL_MUTANT")); return n }()
`

// build compiles all mutants into the test binaries of the stages.
func build(root, dir string, sources map[string][]byte, all []*stage) error {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(file string, text []byte) error {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		overlay.Replace[filepath.Join(root, file)] = to
		return os.WriteFile(to, text, 0o644)
	}
	for file, text := range sources {
		if err := add(file, text); err != nil {
			return err
		}
	}
	switched := map[string]bool{}
	for file := range sources {
		dir := filepath.Dir(file)
		if switched[dir] {
			continue
		}
		switched[dir] = true
		pkg := filepath.Base(dir)
		if dir == "." {
			pkg = "pool"
		}
		if err := add(filepath.Join(dir, "mutant_switch.go"), fmt.Appendf(nil, theSwitch, pkg)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o644); err != nil {
		return err
	}
	for _, s := range all {
		s.binary = filepath.Join(dir, "test_"+strings.ReplaceAll(s.pkg, "/", "_")+"_"+s.tags)
		if _, err := os.Stat(s.binary); err == nil {
			continue // another stage's, too
		}
		cmd := exec.Command("go", "test", "-c", "-overlay", list, "-tags", s.tags, "-o", s.binary, "./"+s.pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	return nil
}

var (
	firstFailure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*|fatal error: .*)`)
	running      = regexp.MustCompile(`(?m)^=== RUN\s+(\S+)`)
)

// A witness notes what a test run prints, and when it did so last.
type witness struct {
	mu   sync.Mutex // guards what follows: the test run writes, try looks
	text bytes.Buffer
	last time.Time
}

func (w *witness) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	return w.text.Write(b)
}

func (w *witness) silence() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.last)
}

// try runs a stage against one mutant; number 0 is none. It returns what has failed first,
// or "", also if it has no test for such a mutant, and the longest time that a test took.
func (s *stage) try(root, file string, number int) (failure string, longest time.Duration, err error) {
	args, any, err := s.tests(s, root, file)
	if err != nil || !any {
		return "", 0, err
	}
	args = append(args, "-test.v", "-test.short", "-test.failfast", "-test.timeout", "5m")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// A mutant may open connections without end.
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `ulimit -v 6000000; exec "$0" "$@"`, s.binary}, args...)...)
	cmd.Dir = filepath.Join(root, s.pkg)
	cmd.Env = append(os.Environ(), "POOL_MUTANT="+strconv.Itoa(number))
	cmd.WaitDelay = time.Second
	w := &witness{last: time.Now()}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	hung := false
	for waiting := true; waiting; {
		select {
		case err = <-ended:
			waiting = false
		case <-ticks.C:
			longest = max(longest, w.silence())
			if !hung && longest > s.limit {
				hung = true
				cancel()
			}
		}
	}
	out := w.text.Bytes()
	switch {
	case err == nil:
		return "", longest, nil
	case hung:
		test := "before the first test"
		if m := running.FindAllSubmatch(out, -1); m != nil {
			test = string(m[len(m)-1][1])
		}
		return hang + test, longest, nil
	case !errors.As(err, new(*exec.ExitError)):
		return "", longest, err
	}
	if m := firstFailure.FindSubmatch(out); m != nil {
		failure = string(m[1])
		if len(m[2]) > 0 {
			failure = string(m[2])
			if r := running.FindAllSubmatch(out[:bytes.Index(out, m[2])], -1); r != nil {
				failure = string(r[len(r)-1][1]) + ": " + failure
			}
		}
		return strings.ReplaceAll(failure, "\t", " "), longest, nil
	}
	return "exit: " + err.Error(), longest, nil
}

// run runs the stages against the mutants, each up to the first failure.
func run(only string, sample int, seed uint64, names []string, out string) error {
	root, generated, sources, err := generate()
	if err != nil {
		return err
	}
	mutants, err := choose(generated, only, sample, seed)
	if err != nil {
		return err
	}
	suite, err := stages(names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log.Printf("%d mutants of %d", len(mutants), len(generated))
	if err := build(root, dir, sources, suite); err != nil {
		return err
	}
	for _, s := range suite {
		began := time.Now()
		failure, longest, err := s.try(root, "internal/core/pool.go", 0)
		if err != nil {
			return err
		}
		log.Printf("stage %s of %s%s without a mutant: %v, the longest test %v", s.name, s.pkg, strings.Repeat(", tag "+s.tags, min(len(s.tags), 1)),
			time.Since(began).Round(time.Second/10), longest.Round(time.Second/10))
		if failure != "" || longest > s.limit/2 {
			return fmt.Errorf("without a mutant it must pass, and no test may take half of %v: %s", s.limit, failure)
		}
	}
	known := results{}
	write := func(string) error { return nil }
	if out != "" {
		if err := known.read(out); err != nil && !os.IsNotExist(err) {
			return err
		}
		f, err := os.OpenFile(out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		write = func(line string) error { _, err := fmt.Fprintln(f, line); return err }
	}
	mutants = slices.DeleteFunc(mutants, func(m mutant) bool { _, ok := known[m.id]; return ok })
	// At random, so that what has been run when somebody stops it is a fair sample.
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
	expected, err := listed(filepath.Join(root, "check/mutants/survivors.md"))
	if err != nil {
		return err
	}
	caught := 0
	var surprises []string
	for i, m := range mutants {
		began := time.Now()
		by, failure := survived, ""
		for _, s := range suite {
			if !strings.HasPrefix(m.file, s.onlyFor) {
				continue
			}
			if failure, _, err = s.try(root, m.file, m.number); err != nil {
				return err
			}
			if failure != "" {
				by = s.name
				caught++
				break
			}
		}
		if by == survived && !expected[m.id] {
			surprises = append(surprises, m.id)
		}
		log.Printf("%d/%d %s %s %s (%v)", i+1, len(mutants), m.id, by, failure, time.Since(began).Round(time.Second/10))
		if err := write(m.id + "\t" + by + "\t" + failure); err != nil {
			return err
		}
	}
	log.Printf("%d of %d caught", caught, len(mutants))
	if len(surprises) > 0 {
		return fmt.Errorf("survivors that survivors.md does not name: %s", strings.Join(surprises, ", "))
	}
	return nil
}

var survivorRow = regexp.MustCompile(`(?m)^\| ([\w/]+\.go:[\w:.]+)\*? \|`)

// listed returns the mutants that the tables of survivors.md name.
func listed(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	names := map[string]bool{}
	for _, m := range survivorRow.FindAllSubmatch(text, -1) {
		names[string(m[1])] = true
	}
	return names, err
}
