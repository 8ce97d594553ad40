package ecosystems

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/S4AK4N/pool/bench/behaviour"
	"github.com/S4AK4N/pool/bench/harness"
)

// A Runner is a pool with the program that runs scenarios with it. The name of the scenario and the
// port of a server are added to its arguments.
type Runner struct {
	Name    string   `json:"name"`
	Version string   `json:"version"` // of the pool
	System  string   `json:"system"`  // what it runs on
	Command []string `json:"command"` // empty for the pool of this repository
}

// Values are what one pool has done in all scenarios, by scenario and metric.
type Values struct {
	numbers map[string][]float64 // a value for each repetition
	texts   map[string]string    // by scenario, what it did in words
}

// own are the scenarios of the harness that are the same ones.
var own = map[string]string{
	"uncontended": "cycle/goroutines=1/size=16/hold=0",
	"overload":    "cycle/goroutines=64/size=2/hold=yield",
	"spike2":      "spike/hold=2ms",
	"spike20":     "spike/hold=20ms",
	"outage":      "outage",
	"order":       "order",
	"cancel":      "cancel",
}

// scenarios in the order in which they are run.
var scenarios = []string{"uncontended", "overload", "spike2", "spike20", "outage", "order", "cancel", "close", "second"}

// metrics of the harness by those of the runners.
var metrics = map[string]map[string]string{
	"uncontended": {"ns": harness.NsOp},
	"overload":    {"ns": harness.NsOp},
	"spike2":      {"opened": harness.Attempts, "ms": harness.AllMs},
	"spike20":     {"opened": harness.Attempts, "ms": harness.AllMs},
	"outage":      {"attempts": harness.Attempts, "failed": harness.Failures, "first": harness.FirstMs, "full": harness.FullMs},
	"order":       {"overtaken": harness.Overtaken, "again": harness.Barged},
	"cancel":      {"lost": harness.Lost},
}

// Measure runs all scenarios with all runners, which take turns. bench is the program that measures the pool of this
// repository.
func Measure(ctx context.Context, bench string, runners []Runner, reps int, progress io.Writer) ([]Values, error) {
	all := make([]Values, len(runners))
	for i := range all {
		all[i] = Values{map[string][]float64{}, map[string]string{}}
	}
	for rep := 1; rep <= reps; rep++ {
		for _, scenario := range scenarios {
			for i, r := range runners {
				fmt.Fprintf(progress, "repetition %d of %d, %s, %s\n", rep, reps, scenario, r.Name)
				var numbers map[string]float64
				var said string
				var err error
				switch {
				case len(r.Command) == 0:
					numbers, said, err = measureOwn(ctx, bench, scenario)
				case scenario == "outage":
					numbers, err = outage(ctx, r)
				default:
					numbers, said, err = one(ctx, r, scenario)
				}
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", r.Name, scenario, err)
				}
				for metric, v := range numbers {
					at := scenario + " " + metric
					all[i].numbers[at] = append(all[i].numbers[at], v)
				}
				if said != "" {
					all[i].texts[scenario] = said
				}
			}
		}
	}
	return all, nil
}

// asked are the questions of package behaviour that are the same ones, and their answers in the words
// of the runners.
var asked = map[string]struct {
	question string
	words    map[string]string
}{
	"close":  {"close-waiter", map[string]string{"at once": "told at once"}},
	"second": {"second-put", map[string]string{"refused": "refused"}},
}

func measureOwn(ctx context.Context, bench, scenario string) (map[string]float64, string, error) {
	if q, ok := asked[scenario]; ok {
		b, err := exec.CommandContext(ctx, bench, "answer", "-peer", "pool", "-question", q.question).Output()
		if err != nil {
			return nil, "", err
		}
		var said behaviour.Said
		if err := json.Unmarshal(b, &said); err != nil {
			return nil, "", err
		}
		if q.words[said.Answer] == "" {
			return nil, "", fmt.Errorf("it has answered %q %s", said.Answer, said.Failed)
		}
		return nil, q.words[said.Answer], nil
	}
	text := ""
	if scenario == "cancel" {
		text = context.Canceled.Error() // anything else is a wrong of its own
	}
	b, err := exec.CommandContext(ctx, bench, "one", "-peer", "pool", "-scenario", own[scenario]).Output()
	if err != nil {
		return nil, "", err
	}
	var res harness.Result
	if err := json.Unmarshal(b, &res); err != nil {
		return nil, "", err
	}
	if res.Failed != "" || len(res.Wrong) > 0 {
		return nil, "", fmt.Errorf("%s %v", res.Failed, res.Wrong)
	}
	numbers := map[string]float64{}
	for metric, name := range metrics[scenario] {
		numbers[metric] = res.Metrics[name]
	}
	return numbers, text, nil
}

func start(ctx context.Context, r Runner, scenario, port string) *exec.Cmd {
	args := append(slices.Clone(r.Command[1:]), scenario, port)
	c := exec.CommandContext(ctx, r.Command[0], args...)
	c.Stderr = os.Stderr
	return c
}

func one(ctx context.Context, r Runner, scenario string) (map[string]float64, string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	b, err := start(ctx, r, scenario, "0").Output()
	if err != nil {
		return nil, "", err
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, "", fmt.Errorf("%w in %q", err, b)
	}
	numbers := map[string]float64{}
	for metric := range metrics[scenario] {
		v, ok := all[metric].(float64)
		if !ok {
			return nil, "", fmt.Errorf("it has printed no %s", metric)
		}
		numbers[metric] = v
	}
	if lent, ok := all["lent"].(float64); ok && lent > 0 {
		return nil, "", errors.New("it has lent a connection though all were leased")
	}
	said, _ := all["text"].(string)
	return numbers, said, nil
}

// outage does to a runner what the scenario of the harness does: the server goes away for four
// seconds. The runner prints a line when its callers begin, and after 16 s when what has happened.
func outage(ctx context.Context, r Runner) (map[string]float64, error) {
	const steady, down, patience, window = 2 * time.Second, 4 * time.Second, 8 * time.Second, 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var server harness.Server
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer server.Close()
	_, port, _ := strings.Cut(server.Address(), ":")
	c := start(ctx, r, "outage", port)
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "running\n" {
		return nil, fmt.Errorf("it said %q (%v)", line, err)
	}
	time.Sleep(steady)
	gone := time.Now()
	if err := server.Stop(); err != nil {
		return nil, err
	}
	time.Sleep(down)
	back := time.Now()
	if err := server.Start(); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(lines)
	if err != nil {
		return nil, err
	}
	if err := c.Wait(); err != nil {
		return nil, err
	}
	return judge(bytes.TrimSpace(b), gone, back, patience, window)
}

// judge reads when attempts, failures and served requests were, in milliseconds since 1970.
func judge(b []byte, gone, back time.Time, patience, window time.Duration) (map[string]float64, error) {
	var at struct{ Attempts, Failed, Served []float64 }
	if err := json.Unmarshal(b, &at); err != nil {
		return nil, err
	}
	between := func(all []float64, from, to time.Time) (n float64) {
		for _, ms := range all {
			if t := time.UnixMicro(int64(ms * 1000)); !t.Before(from) && t.Before(to) {
				n++
			}
		}
		return n
	}
	rate := between(at.Served, gone.Add(-time.Second), gone)
	if rate == 0 {
		return nil, errors.New("nobody was served before the outage")
	}
	var after []time.Time
	for _, ms := range at.Served {
		if t := time.UnixMicro(int64(ms * 1000)); t.After(back) && t.Before(back.Add(patience)) {
			after = append(after, t)
		}
	}
	sort.Slice(after, func(i, j int) bool { return after[i].Before(after[j]) })
	if len(after) == 0 {
		return nil, fmt.Errorf("nobody was served within %v after the outage", patience)
	}
	full, ok := harness.FullService(after, rate, window)
	if !ok {
		return nil, fmt.Errorf("no full service within %v after the outage", patience)
	}
	return map[string]float64{
		"attempts": between(at.Attempts, gone, back),
		"failed":   between(at.Failed, gone, back),
		"first":    after[0].Sub(back).Seconds() * 1000,
		"full":     full.Sub(back).Seconds() * 1000,
	}, nil
}

// Page puts the tables of all values into a page, in place of those between the two markers.
func Page(before, command, machine string, runners []Runner, all []Values) (string, error) {
	head, rest, ok := strings.Cut(before, Begin)
	_, tail, ended := strings.Cut(rest, End)
	if !ok || !ended {
		return "", fmt.Errorf("the page has no part that begins with %q and ends with %q", Begin, End)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n## Pools of other languages\n\n`%s`, %s. %s\n\n", Begin, command, machine, text)
	better(&b, runners, all)
	table := func(heads []string, cell func(v Values, n int) string) {
		b.WriteString("| | " + strings.Join(heads, " | ") + " |\n|---|" + strings.Repeat("---|", len(heads)) + "\n")
		for i, r := range runners {
			name := r.Name
			if len(r.Command) == 0 {
				name = "**" + name + "**"
			}
			b.WriteString("| " + name + " |")
			for n := range heads {
				b.WriteString(" " + cell(all[i], n) + " |")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	for _, part := range []struct{ from, to int }{{0, 8}, {8, len(columns)}} {
		var heads []string
		for _, c := range columns[part.from:part.to] {
			heads = append(heads, c.head)
		}
		table(heads, func(v Values, n int) string { return v.show(columns[part.from+n].at) })
	}
	table([]string{"one who waits, when the pool is closed", "a second put, when somebody else has the connection", "the error of one who gives up"},
		func(v Values, n int) string {
			if n < 2 {
				return v.texts[[]string{"close", "second"}[n]]
			}
			return "`" + strings.NewReplacer("|", "\\|", "`", "'").Replace(v.texts["cancel"]) + "`"
		})
	b.WriteString("| | version | on |\n|---|---|---|\n")
	for _, r := range runners {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Name, r.Version, r.System)
	}
	return head + b.String() + "\n" + End + tail, nil
}

// columns are those of the tables, by scenario and metric. Each is the less the better.
var columns = []struct{ at, head, in string }{
	{"spike2 opened", "2 ms each: opened", "50 requests of 2 ms: opened"},
	{"spike2 ms", "last one served after, ms", "50 requests of 2 ms: last one served after, ms"},
	{"spike20 opened", "20 ms each: opened", "50 requests of 20 ms: opened"},
	{"spike20 ms", "last one served after, ms", "50 requests of 20 ms: last one served after, ms"},
	{"outage attempts", "outage of 4 s: attempts to connect", "outage: attempts to connect"},
	{"outage failed", "callers failed", "outage: callers failed"},
	{"outage first", "first one served after, ms", "outage: first one served after, ms"},
	{"outage full", "full service after, ms", "outage: full service after, ms"},
	{"order overtaken", "waiters overtaken, of 16", "waiters overtaken"},
	{"order again", "a returner got it again, times", "a returner got it again, times"},
	{"cancel lost", "connections lost to callers who give up", "connections lost"},
	{"uncontended ns", "1 caller, ns", "1 caller, ns"},
	{"overload ns", "64 callers for 2 connections, ns", "64 callers for 2 connections, ns"},
}

// better tells first what does not speak for the pool: where the most of another one is less than
// its least.
func better(b *strings.Builder, runners []Runner, all []Values) {
	pool := slices.IndexFunc(runners, func(r Runner) bool { return len(r.Command) == 0 })
	var rows []string
	for _, c := range columns {
		var names []string
		for i, r := range runners {
			if pool >= 0 && slices.Max(all[i].numbers[c.at]) < slices.Min(all[pool].numbers[c.at]) {
				names = append(names, fmt.Sprintf("%s (%s)", r.Name, all[i].show(c.at)))
			}
		}
		if len(names) > 0 {
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", c.in, all[pool].show(c.at), strings.Join(names, ", ")))
		}
	}
	if len(rows) > 0 {
		b.WriteString("Where others are better in all repetitions:\n\n| | the pool | better |\n|---|---|---|\n" + strings.Join(rows, "") + "\n")
	}
}

// Begin and End mark the part of the page that is written anew.
const (
	Begin = "<!-- bench/ecosystems/run writes what stands from here on, -->"
	End   = "<!-- to here. -->"
)

const text = `The scenarios are those above, with the same numbers: 50 short requests that meet 5 idle connections and room
for 50, where an open takes 150 ms; an outage of 4 s, in which 20 callers with 10 connections wait for a second at most (attempts are counted where they are made;
a caller who waits fails once a second, one who is told at once fails a thousand times);
the order of 16 who wait, and whether one who puts back gets it again before one who waits, at most 1,000 times, the most of 20 tries; 64 callers who wait in vain for
two connections and give up; one who waits with a limit of 8 s when the pool is closed, whose holder puts the connection back 2 s later. Each pool is used as its documentation says, with a look at an idle connection before it is lent where it has a place for that. Connections are
in memory, in the outage over TCP to one server for all. Values are medians, with the least and the most where these differ by more than a tenth. What a thread and a promise cost
differs from language to language, so compare times only where they differ much.`

// show is the median of a metric, with the least and the most if they differ by more than a tenth.
func (v Values) show(at string) string {
	values := slices.Clone(v.numbers[at])
	slices.Sort(values)
	n := len(values)
	least, mid, most := values[0], (values[(n-1)/2]+values[n/2])/2, values[n-1]
	if most-least <= mid/10 {
		return number(mid)
	}
	return fmt.Sprintf("%s (%s to %s)", number(mid), number(least), number(most))
}

// number writes v with a comma before each three digits.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
