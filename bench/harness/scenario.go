package harness

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A Scenario is one thing that all peers go through.
type Scenario struct {
	Name    string
	Needs   []Trait
	Metrics []string // what a Result has if nothing failed
	CPUs    []int    // those it is measured with, if not all that are asked for
	Slow    bool     // it takes seconds: fewer repetitions
	All     bool     // not in the tables, only with -all

	run func(*run) error
}

// A run is one peer in one scenario.
type run struct {
	peer  Peer
	short bool
	res   *Result

	maxWait time.Duration // of pools that are made

	dialer *Dialer
	pool   Pool
}

// Metrics that scenarios have. All but the first are the less the better.
const (
	Served     = "served"      // share of callers with the fewest turns in what a fair share is
	NsOp       = "ns_op"       // time of a Get and a Put with what is between them
	AllocsOp   = "allocs_op"   //
	BytesOp    = "bytes_op"    //
	WaitP50    = "wait_p50_ns" // of a Get
	WaitP99    = "wait_p99_ns" //
	WaitMax    = "wait_max_ns" //
	HoldNs     = "hold_ns"     // mean time from Get to Put
	MostOpen   = "most_open"   // connections open at once
	Opened     = "opened"      // connections
	Waited     = "waited"      // callers that were seen waiting
	Overtaken  = "overtaken"   // waiters that somebody overtook who came later
	Barged     = "barged"      // times that the one who puts got it again while somebody waited
	CancelNs   = "cancel_ns"   // time of a Get that waits until it is cancelled
	BaseNs     = "base_ns"     // time of the same without a pool
	Lost       = "lost"        // connections that could not be had any more afterwards
	Foreign    = "foreign"     // part of the errors that are not context.Canceled
	Ended      = "ended"       // part of the Gets whose ctx has ended that are given a connection
	FirstMs    = "first_ms"    // until the first was served
	AllMs      = "all_ms"      // until all were served
	PatientPS  = "patient_s"   // leases a second of patient callers beside sleepers
	StormPS    = "storm_s"     // leases a second in the storm
	StormLoss  = "storm_loss"  // part of the patient callers' leases that the storm costs
	Attempts   = "attempts"    // calls of Open
	Failures   = "failures"    // calls of Get that failed
	Untold     = "untold"      // of those, without the cause in the error
	Broken     = "broken"      // requests that failed on a connection
	FullMs     = "full_ms"     // until full service
	PoolBytes  = "pool_bytes"  // a pool that has not been used
	UsedBytes  = "used_bytes"  // one that has lent a connection and got it back
	IdleBytes  = "idle_bytes"  // for each idle connection, without the connection
	Goroutines = "goroutines"  // of a pool that has been used
)

// Better reports whether a is better than b.
func Better(metric string, a, b float64) bool {
	switch metric {
	case Served, PatientPS, StormPS, Waited:
		return a > b
	}
	return a < b
}

// Scenarios are all there are, in the order of the tables.
var Scenarios = scenarios()

// Find returns the scenario of that name.
func Find(name string) (Scenario, error) {
	for _, s := range Scenarios {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("there is no scenario %q", name)
}

func scenarios() []Scenario {
	all := cycles()
	return append(all,
		Scenario{Name: "order", Needs: []Trait{Waits}, Metrics: []string{Waited, Overtaken, Barged}, run: order},
		Scenario{Name: "cancel", Needs: []Trait{Waits, Ctx}, Metrics: []string{CancelNs, BaseNs, Lost, Foreign, Ended}, run: cancels},
		Scenario{Name: "cold", Needs: []Trait{Opens}, Metrics: []string{FirstMs, AllMs, Attempts}, CPUs: []int{2}, Slow: true, run: cold},
		Scenario{Name: "spike/hold=2ms", Needs: []Trait{Opens}, Metrics: []string{AllMs, Attempts}, CPUs: []int{2}, Slow: true,
			run: func(r *run) error { return spike(r, 2*time.Millisecond) }},
		Scenario{Name: "spike/hold=20ms", Needs: []Trait{Opens}, Metrics: []string{AllMs, Attempts}, CPUs: []int{2}, Slow: true,
			run: func(r *run) error { return spike(r, 20*time.Millisecond) }},
		Scenario{Name: "storm", Needs: []Trait{Waits, Ctx, Cycle}, Metrics: []string{PatientPS, StormPS, StormLoss}, CPUs: []int{2}, Slow: true, run: storm},
		Scenario{Name: "outage", Needs: []Trait{Opens, Discard}, Metrics: []string{Attempts, Failures, Untold, FirstMs, FullMs}, CPUs: []int{2}, Slow: true, run: outage},
		Scenario{Name: "restart", Needs: []Trait{Opens, Discard}, Metrics: []string{Broken, Failures, Opened, AllMs}, CPUs: []int{2}, Slow: true, run: restart},
		Scenario{Name: "memory", Needs: []Trait{Bare}, Metrics: []string{PoolBytes, UsedBytes, IdleBytes, Goroutines}, CPUs: []int{1}, run: memory},
	)
}

// tabled are the combinations of goroutines, size and hold that the tables have.
var tabled = []string{
	"1/16/0", "2/16/0", "8/16/0", // a connection for everybody
	"64/100/10us", "1000/1000/1ms",
	"2/2/yield", "8/2/yield", "64/2/yield", "1000/2/yield", // more and more callers for two
	"64/2/0", "64/2/10us", "64/2/1ms",
	"64/16/yield", "1000/16/10us", "1000/100/1ms",
}

func cycles() []Scenario {
	var all []Scenario
	for _, goroutines := range []int{1, 2, 8, 64, 1000} {
		for _, size := range []int{2, 16, 100, 1000} {
			for _, hold := range []string{"0", "yield", "10us", "1ms"} {
				s := Scenario{
					Name:    fmt.Sprintf("cycle/goroutines=%d/size=%d/hold=%s", goroutines, size, hold),
					Needs:   []Trait{Cycle},
					Metrics: []string{NsOp, AllocsOp, BytesOp, WaitP50, WaitP99, WaitMax, Served, HoldNs, MostOpen, Opened},
					All:     !slices.Contains(tabled, fmt.Sprintf("%d/%d/%s", goroutines, size, hold)),
					run:     func(r *run) error { return cycle(r, goroutines, size, hold) },
				}
				if goroutines > size {
					s.Needs = append(s.Needs, Waits)
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// lacks returns why the peer cannot be in s.
func (s Scenario) lacks(p Peer) string {
	for _, t := range s.Needs {
		if why := p.Lacks[t]; why != "" {
			return why
		}
	}
	return ""
}

// One measures p in s. What goes wrong is in the result.
func One(p Peer, s Scenario, short bool) Result {
	res := Result{Rep: 1, CPU: runtime.GOMAXPROCS(0), Peer: p.Name, Scenario: s.Name, Metrics: map[string]float64{}}
	if res.Lacks = s.lacks(p); res.Lacks != "" {
		return res
	}
	// While any timer is pending the scheduler reads the clock each time that it looks for work.
	// In a program that does anything else there always is one. So there is one for all.
	defer time.AfterFunc(time.Hour, func() {}).Stop()
	r := &run{peer: p, short: short, res: &res}
	if err := s.run(r); err != nil {
		res.Failed = err.Error()
	}
	slices.Sort(res.Wrong)
	res.Wrong = slices.Compact(res.Wrong)
	if res.Failed == "" {
		var missing []string
		for _, m := range s.Metrics {
			if _, ok := res.Metrics[m]; !ok {
				missing = append(missing, m)
			}
		}
		if len(missing) > 0 {
			res.Failed = fmt.Sprintf("nothing measured: %s (of %v)", strings.Join(missing, ", "), slices.Sorted(maps.Keys(res.Metrics)))
		}
	}
	return res
}

func (r *run) set(metric string, v float64) { r.res.Metrics[metric] = v }

func (r *run) wrong(format string, args ...any) {
	r.res.Wrong = append(r.res.Wrong, fmt.Sprintf(format, args...))
}

// open makes the pool of r. address is that of a server; if empty, connections are in memory.
func (r *run) open(size int, address string) error {
	r.dialer = &Dialer{Address: address}
	s := Settings{Size: size, Open: r.dialer.Open, MaxWait: r.maxWait}
	if address != "" {
		s.Check = (*Conn).Check
	}
	var err error
	r.pool, err = r.peer.New(s)
	return err
}

// limited says what is wrong if more were open than size, of a peer that says that it limits.
func (r *run) limited(size int) {
	if n := r.dialer.MostOpen(); n > int64(size) && r.peer.Lacks[Waits] == "" {
		r.wrong("more connections than its limit were open at once (%s)", r.res.Scenario)
	}
}

// span is how long a measurement lasts.
func (r *run) span(long time.Duration) time.Duration {
	if r.short {
		return long / 10
	}
	return long
}

// patient makes pools whose waits end with their ctx only: where a scenario builds a queue one
// by one, a limit would be one on how busy the machine may be.
func (r *run) patient() { r.maxWait = time.Hour }

// deadline is longer than any wait that a scenario has in mind.
func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 40*time.Second)
}
