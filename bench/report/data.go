package report

import (
	"fmt"
	"slices"

	"github.com/S4AK4N/pool/bench/harness"
	"golang.org/x/perf/benchmath"
)

// own is the peer that the others are compared with.
const own = "pool"

type place struct {
	scenario string
	cpu      int
	peer     string
}

// data are results, by where they stand.
type data struct {
	header harness.Header
	at     map[place][]harness.Result
	cpus   map[string][]int // of each scenario that there are results of
}

func newData(h harness.Header, results []harness.Result) (*data, error) {
	d := &data{header: h, at: map[place][]harness.Result{}, cpus: map[string][]int{}}
	if !slices.ContainsFunc(h.Peers, func(p harness.Info) bool { return p.Name == own }) {
		return nil, fmt.Errorf("the results have no peer %q to compare with", own)
	}
	for _, r := range results {
		at := place{r.Scenario, r.CPU, r.Peer}
		if slices.ContainsFunc(d.at[at], func(o harness.Result) bool { return o.Rep == r.Rep }) {
			return nil, fmt.Errorf("the results have repetition %d of %s in %s on %d cpu twice", r.Rep, r.Peer, r.Scenario, r.CPU)
		}
		d.at[at] = append(d.at[at], r)
		if !slices.Contains(d.cpus[r.Scenario], r.CPU) {
			d.cpus[r.Scenario] = append(d.cpus[r.Scenario], r.CPU)
		}
	}
	for scenario, cpus := range d.cpus {
		slices.Sort(cpus)
		for _, cpu := range cpus {
			for _, p := range h.Peers {
				if len(d.at[place{scenario, cpu, p.Name}]) == 0 {
					return nil, fmt.Errorf("the results have nothing of %s in %s on %d cpu, and say not why", p.Name, scenario, cpu)
				}
			}
		}
	}
	return d, nil
}

// A cell is what all repetitions say of one metric.
type cell struct {
	sample *benchmath.Sample // nil if there is no value
	why    string            // why there is none, or fewer than there could be
}

func (d *data) cell(scenario string, cpu int, peer, metric string) cell {
	var values []float64
	var c cell
	failed := 0
	results := d.at[place{scenario, cpu, peer}]
	for _, r := range results {
		if r.Lacks != "" {
			return cell{why: r.Lacks}
		}
		if v, ok := r.Metrics[metric]; ok {
			values = append(values, v)
			continue
		}
		if failed++; c.why == "" {
			c.why = r.Failed
		}
	}
	if failed > 0 && failed < len(results) {
		c.why = fmt.Sprintf("in %d of %d runs: %s", failed, len(results), c.why)
	}
	if len(values) > 0 {
		c.sample = benchmath.NewSample(values, &benchmath.DefaultThresholds)
	}
	return c
}

func (c cell) summary() benchmath.Summary {
	return benchmath.AssumeNothing.Summary(c.sample, 0.95)
}

// betterThan reports whether c is better than the pool's, and not by chance.
func (c cell) betterThan(pools cell, metric string) bool {
	if c.sample == nil || pools.sample == nil {
		return false
	}
	a, b := c.summary().Center, pools.summary().Center
	if !harness.Better(metric, a, b) {
		return false
	}
	cmp := benchmath.AssumeNothing.Compare(c.sample, pools.sample)
	return cmp.P < cmp.Alpha
}
