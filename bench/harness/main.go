package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Inner runs the commands that a program with peers has to have for Measure: «peers» lists
// them, «verify» sees whether they are what they say, «one» measures one of them in one scenario. It reports whether args were of these.
func Inner(args []string, peers []Peer, out io.Writer) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case "peers":
		var all []Info
		for _, p := range peers {
			all = append(all, Info{p.Name, p.Module, p.How, p.Lacks})
		}
		return true, json.NewEncoder(out).Encode(all)
	case "verify":
		for _, p := range peers {
			if err := Verify(p); err != nil {
				return true, err
			}
		}
		return true, nil
	case "one":
		flags := flag.NewFlagSet("one", flag.ContinueOnError)
		peer := flags.String("peer", "", "`name` of the peer")
		scenario := flags.String("scenario", "", "`name` of the scenario")
		short := flags.Bool("short", false, "a tenth of the time")
		if err := flags.Parse(args[1:]); err != nil {
			return true, err
		}
		s, err := Find(*scenario)
		if err != nil {
			return true, err
		}
		for _, p := range peers {
			if p.Name == *peer {
				return true, json.NewEncoder(out).Encode(One(p, s, *short))
			}
		}
		return true, fmt.Errorf("there is no peer %q", *peer)
	}
	return false, nil
}

// A Plan is what is to be measured.
type Plan struct {
	Programs  []string // with the peers: each has the commands of Inner
	Reps      int
	SlowReps  int // of scenarios that take seconds
	CPUs      []int
	Short     bool
	All       bool // the scenarios that are not in the tables, too
	Scenarios *regexp.Regexp
	Peers     *regexp.Regexp
	Progress  io.Writer
	Limit     time.Duration // for one process; if zero, a minute: the slowest scenario lasts 14 s
}

// Measure runs the plan and writes its results to out. Peers take turns within a repetition, so
// that what else the machine does meets them alike, and each repetition begins with another one.
func (p Plan) Measure(ctx context.Context, out io.Writer, commit, command string) error {
	type peer struct {
		Info
		program string
	}
	var peers []peer
	h := Header{
		Machine: machine(),
		Go:      runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Commit:  commit, Command: command, Date: time.Now().UTC().Truncate(time.Second),
		Reps: p.Reps, Short: p.Short, Load: load(),
	}
	for _, program := range p.Programs {
		b, err := exec.CommandContext(ctx, program, "peers").Output()
		if err != nil {
			return fmt.Errorf("%s peers: %w", program, err)
		}
		if b, err := exec.CommandContext(ctx, program, "verify").CombinedOutput(); err != nil {
			return fmt.Errorf("%s verify: %w: %s", program, err, b)
		}
		var infos []Info
		if err := json.Unmarshal(b, &infos); err != nil {
			return fmt.Errorf("%s peers: %w", program, err)
		}
		for _, i := range infos {
			if p.Peers == nil || p.Peers.MatchString(i.Name) {
				peers = append(peers, peer{i, program})
				h.Peers = append(h.Peers, i)
			}
		}
	}
	if len(peers) == 0 {
		return errors.New("there are no such peers")
	}
	var scenarios []Scenario
	for _, s := range Scenarios {
		if (p.All || !s.All) && (p.Scenarios == nil || p.Scenarios.MatchString(s.Name)) {
			scenarios = append(scenarios, s)
		}
	}
	if len(scenarios) == 0 {
		return errors.New("there are no such scenarios")
	}
	if err := Write(out, h); err != nil {
		return err
	}
	began := time.Now()
	for rep := 1; rep <= max(p.Reps, p.SlowReps); rep++ {
		for _, s := range scenarios {
			if rep > p.Reps || s.Slow && rep > p.SlowReps {
				continue
			}
			cpus := p.CPUs
			if s.CPUs != nil {
				cpus = s.CPUs
			}
			for _, cpu := range cpus {
				for i := range peers {
					peer := peers[(i+rep-1)%len(peers)]
					res := p.one(ctx, peer.program, peer.Name, s, cpu)
					if ctx.Err() != nil {
						return ctx.Err()
					}
					res.Rep, res.CPU = rep, cpu
					if err := Write(out, res); err != nil {
						return err
					}
				}
				if p.Progress != nil {
					fmt.Fprintf(p.Progress, "%6s  repetition %d of %d, %d cpu, %s\n",
						time.Since(began).Truncate(time.Second), rep, p.Reps, cpu, s.Name)
				}
			}
		}
	}
	return nil
}

func (p Plan) one(ctx context.Context, program, peer string, s Scenario, cpu int) Result {
	limit := p.Limit
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := exec.CommandContext(ctx, program, "one", "-peer", peer, "-scenario", s.Name, "-short="+strconv.FormatBool(p.Short))
	c.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cpu))
	var stderr strings.Builder
	c.Stderr = &stderr
	b, err := c.Output()
	res := Result{Peer: peer, Scenario: s.Name}
	switch {
	case ctx.Err() != nil:
		res.Failed = fmt.Sprintf("it did not end within %v", limit)
	case err != nil:
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		res.Failed = strings.TrimSuffix(fmt.Sprintf("the process ended with %v: %s", err, said), ": ")
	default:
		if err := json.Unmarshal(b, &res); err != nil {
			res.Failed = fmt.Sprintf("the process printed no result: %v", err)
		}
	}
	return res
}

// machine names the processor and how many of its cores there are.
func machine() string {
	name := "an unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := runtime.GOOS
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d cores of %s, %s", runtime.NumCPU(), name, kernel)
}

// load is how many processes wanted a processor in the last minute, or -1.
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	word, _, _ := strings.Cut(string(b), " ")
	f, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return -1
	}
	return f
}

// Machine says in words what is measured on, when, and how busy it was when it began.
func Machine() string {
	return fmt.Sprintf("on %s: %s, on which %.2f processes on average wanted a core when it began",
		time.Now().UTC().Format("2006-01-02"), machine(), load())
}
