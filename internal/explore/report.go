//go:build explore

package explore

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/step"
)

// limits are what the environment says.
type limits struct {
	bound  int           // EXPLORE_BOUND: preemptions, 2
	runs   int           // EXPLORE_SCHEDULES: how many schedules before the random ones at most, 1500
	random int           // EXPLORE_RANDOM: how many random schedules, 300
	depth  int           // EXPLORE_DEPTH: at how many steps of each somebody falls behind, 3
	seed   uint64        // EXPLORE_SEED: of the first of them; from the clock
	time   time.Duration // EXPLORE_TIME: for one scenario at most, 10s
	replay string        // EXPLORE_REPLAY: a schedule to repeat, and no others
	log    *os.File      // EXPLORE_LOG: a file that holds the schedule under way, should it kill the process
	traced bool
}

func limitsOf(t *testing.T) limits {
	l := limits{
		bound:  env(t, "EXPLORE_BOUND", strconv.Atoi, 2),
		runs:   env(t, "EXPLORE_SCHEDULES", strconv.Atoi, 1500),
		random: env(t, "EXPLORE_RANDOM", strconv.Atoi, 300),
		depth:  env(t, "EXPLORE_DEPTH", strconv.Atoi, 3),
		seed:   env(t, "EXPLORE_SEED", func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }, uint64(time.Now().UnixMilli())),
		time:   env(t, "EXPLORE_TIME", time.ParseDuration, 10*time.Second),
		replay: os.Getenv("EXPLORE_REPLAY"),
	}
	if name := os.Getenv("EXPLORE_LOG"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		l.log = f
	}
	return l
}

func env[T any](t *testing.T, name string, parse func(string) (T, error), usual T) T {
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	v, err := parse(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// note writes the schedule that is about to be run into the log. What follows after it is
// the usual way.
func (l limits) note(path []node) {
	if l.log == nil {
		return
	}
	l.log.Truncate(0)
	l.log.WriteAt([]byte("EXPLORE_REPLAY="+compact(path)+"\n"), 0)
}

func compact(path []node) string {
	ids := make([]int, len(path))
	for i, n := range path {
		ids[i] = n.can[n.taken].id
	}
	return encode(ids)
}

// encode writes a schedule as a string: a letter for a goroutine, and how many steps it
// makes, if more than one.
func encode(ids []int) string {
	var b strings.Builder
	for i := 0; i < len(ids); {
		n := i
		for n < len(ids) && ids[n] == ids[i] {
			n++
		}
		b.WriteByte(letters[ids[i]])
		if n-i > 1 {
			b.WriteString(strconv.Itoa(n - i))
		}
		i = n
	}
	return b.String()
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func decode(s string) (ids []int, err error) {
	for len(s) > 0 {
		id := strings.IndexByte(letters, s[0])
		if id < 0 {
			return nil, fmt.Errorf("%q is no schedule", s)
		}
		s = s[1:]
		end := 0
		for end < len(s) && '0' <= s[end] && s[end] <= '9' {
			end++
		}
		n := 1
		if end > 0 {
			if n, err = strconv.Atoi(s[:end]); err != nil {
				return nil, err
			}
		}
		for range n {
			ids = append(ids, id)
		}
		s = s[end:]
	}
	return ids, nil
}

// sum is a checksum of what was done, by which a repetition is known to be one.
func (r *Run) sum() string {
	h := fnv.New32a()
	for _, s := range r.steps {
		fmt.Fprintln(h, s.who.id, s.op.word, s.op.writes, s.op.label)
	}
	return fmt.Sprintf("%06x", h.Sum32()&0xffffff)
}

func (r *Run) String() string {
	ids := make([]int, len(r.steps))
	for i, s := range r.steps {
		ids[i] = s.who.id
	}
	return encode(ids) + "-" + r.sum()
}

// report repeats the schedule that failed, this time noting where everybody is, and
// fails the test.
func (s *search) report() {
	s.t.Helper()
	schedule, failures := s.failing.String(), s.failing.failures
	steps, again := s.again(schedule)
	if !again {
		steps += "\nThe repetition has not failed.\n"
	}
	s.t.Fatalf("%s\n\n%s\nTo repeat it: EXPLORE_REPLAY=%s go test -tags %s -run '^%s$'", strings.Join(failures, "\n"), steps, schedule, tags(), s.t.Name())
}

func tags() string {
	if step.Enabled {
		return "explore,step"
	}
	return "explore"
}

func (s *search) replay(schedule string) {
	s.t.Helper()
	steps, _ := s.again(schedule)
	if s.failing == nil {
		s.t.Logf("passed\n%s", steps)
		return
	}
	s.t.Fatalf("%s\n\n%s", strings.Join(s.failing.failures, "\n"), steps)
}

// again repeats a schedule that is given as a string. It may be the beginning of one,
// which goes on in the usual way.
func (s *search) again(schedule string) (steps string, failed bool) {
	s.t.Helper()
	ids, sum, _ := strings.Cut(schedule, "-")
	order, err := decode(ids)
	if err != nil {
		s.t.Fatal(err)
	}
	s.limits.traced = true
	first, diverged := "", ""
	if s.failing != nil {
		first = strings.Join(s.failing.failures, "\n")
	}
	for range attempts {
		s.failing, diverged = nil, ""
		at := 0
		var last *routine
		r, _ := s.run(func(r *Run, can []*routine) *routine {
			defer func() { at++ }()
			for _, g := range can {
				g.asleep = nil
				if at < len(order) && g.id == order[at] {
					last = g
					return g
				}
			}
			if at < len(order) {
				diverged = fmt.Sprintf("at step %d goroutine %c cannot go on", at, letters[order[at]])
				return nil
			}
			n := s.node(can, last, 0)
			last = r.all[n.can[n.taken].id]
			return last
		})
		if diverged == "" && sum != "" && (len(r.steps) != len(order) || r.sum() != sum) {
			diverged = fmt.Sprintf("it is %s", r)
		}
		if diverged == "" {
			return r.list(), s.failing != nil
		}
		if !s.options.Selects {
			break
		}
	}
	s.t.Fatalf("the repetition of %s differs: %s\nIt is to fail with: %s", schedule, diverged, first)
	return "", false
}

// list is the schedule in words.
func (r *Run) list() string {
	var b strings.Builder
	for _, g := range r.all {
		fmt.Fprintf(&b, "%c is %s\n", letters[g.id], g.name)
	}
	var last *routine
	for i, s := range r.steps {
		who := ""
		if s.who != last {
			who = s.who.name
		}
		last = s.who
		fmt.Fprintf(&b, "%4d  %c %-14s %s\n", i, letters[s.who.id], who, s.words())
	}
	return b.String()
}

func (s stepTaken) words() string {
	if len(s.stack) == 0 {
		return "— " + s.op.label
	}
	what := "reads"
	if s.op.writes {
		what = "writes"
	}
	var path []string
	text := ""
	frames := runtime.CallersFrames(s.stack)
	for n := 0; n < 4; n++ {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "/pool") || strings.HasSuffix(f.File, "_test.go") {
			break
		}
		path = append(path, fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line))
		if n == 0 {
			text = line(f.File, f.Line)
		}
		if !more {
			break
		}
	}
	return fmt.Sprintf("%-6s word %-2d  %-60s  %s", what, s.op.word, text, strings.Join(path, " < "))
}

// line returns a line of a source file.
func line(file string, n int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	if n > len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[n-1])
}
